"""The terms of weights reach every product that is made with them."""

import contextlib
import io
import json
import re

import pytest
from astropy.io import fits

from astro_dist.cli import main
from astro_dist.engine.origins import read_origins
from astro_dist.store.reader import StoreReader
from astro_dist.train.start import SHIPPED
from tests.end_to_end.conftest import ROOT
from tests.report.test_page import Outline

SETTINGS = (
    *("simulate.shape=512,512", "cutouts.shard=16", "report.examples=2", "report.zooms=[]"),
    *("generate.steps=1", "generate.per_shard=8", "generate.micro_batch=8", "generate.objects=1"),
    *("assemble.flux.mode=radiff", "assemble.objects=2", "assemble.reuse=2", "assemble.shape=300,300"),
)
SHIPPED_ORIGINS = read_origins(SHIPPED / "told" / "diffusion")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The quick start with the weights of the package, shrunk."""
    root = tmp_path_factory.mktemp("quick") / "run"
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    call = ["run", str(ROOT / "configs/quickstart.yaml"), "--out", str(root), "--on", "serial", *settings]
    with contextlib.redirect_stderr(io.StringIO()) as said:
        assert main(call) == 0
    return root, said.getvalue().splitlines()


@pytest.fixture
def quick(made):
    return made[0]


def test_the_completion_of_a_stage_is_named(made):
    events = [json.loads(line) for line in made[1] if line.startswith("{")]
    of_field = [event["event"] for event in events if event.get("stage") == "assemble"]
    assert of_field[0] == "start"
    assert of_field[-2:] == ["finish", "end"]


def test_a_run_ends_with_what_it_made(made):
    root, said = made
    last = [json.loads(line) for line in said[-5:]]
    assert {event["event"] for event in last} == {"note"}
    sources, objects, learnt, cost, look = (event["text"] for event in last)
    assert sources.startswith("2 sources on 300 x 300 pixels, ")
    assert re.fullmatch(r"\d+ objects drawn in \d+ stamps, \d+ refused", objects)
    assert learnt == "the networks learnt from FIRST, SUMSS and SCORPIO; their terms are in the report"
    assert re.fullmatch(r"this command took \d+ min \d\d s; the run takes 0\.0\d GB of disk", cost)
    assert look == f"open {root / 'report.html'} in a browser"


def test_models_stamps_field_and_manifest_have_the_terms_of_the_weights(quick):
    for name in ("autoencoder", "diffusion"):
        assert read_origins(quick / "models" / name) == SHIPPED_ORIGINS
        card = (quick / "models" / name / "README.md").read_text()
        assert all(f"| {o.name} | {o.terms} | {o.cite} |" in card for o in SHIPPED_ORIGINS)
    stamps = [entry["name"] for entry in StoreReader(quick / "stamps.zarr").attrs["origins"]]
    manifest = [entry["name"] for entry in json.loads((quick / "manifest.json").read_text())["origins"]]
    assert set(stamps) == set(manifest) == {"a simulated survey", *(o.name for o in SHIPPED_ORIGINS)}
    for name in ("map.fits", "mask.fits", "instances.fits", "truth.fits", "truth_components.fits"):
        cards = fits.getheader(quick / "field" / name, 1 if name.startswith("truth") else 0)["HISTORY"]
        said = " ".join(line.strip() for line in cards)
        for origin in SHIPPED_ORIGINS:
            assert f"origin {origin.name}: terms: {origin.terms}; cite: {origin.cite}" in said, name


def test_the_report_says_what_the_weights_learnt_from(quick):
    text = " ".join(Outline((quick / "report.html").read_text()).text.split())
    assert "model that learnt from FIRST, SUMSS and SCORPIO, for masks of a simulated survey" in text
    assert "Autoencoder: the weights told as they are, which learnt from FIRST, SUMSS and SCORPIO" in text
    assert "no learning curve" not in text
    # Nothing was trained, so that no line of a loss is explained.
    assert "running mean" not in text
    assert all(origin.terms in text and origin.cite in text for origin in SHIPPED_ORIGINS)
