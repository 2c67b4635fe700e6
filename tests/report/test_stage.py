import base64
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from astro_dist.engine.outputs import Reading
from astro_dist.engine.work import for_stage
from astro_dist.field.columns import read_columns_file
from astro_dist.radio.pipeline import RADIO
from astro_dist.report import stage
from tests.report.small_run import add_config, add_curves, add_field, add_stores, make_run, publish
from tests.report.test_page import Outline

REFUSED = {"faint": 12, "edge": 3}
VIEWER = "challenge/hidden/viewer/index.html"
REPORT = RADIO.stage("report")
EARLIER = (
    *("simulate", "annotate", "cutouts", "autoencoder", "diffusion", "masks", "generate", "assemble"),
    *("byol", "segmenter", "evaluate"),
)


def write(run):
    """Make the report as the engine does and return it."""
    own = for_stage(run, REPORT, "0" * 64)
    state = REPORT.open(own)
    results = {task.name: REPORT.run(state, task) for task in REPORT.plan(own, {})}
    assert not Reading(own.output).find_damage(results)
    assert REPORT.finish(own, results) == {"bytes": own.output.stat().st_size}
    return own.output.read_text()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = make_run(tmp_path_factory.mktemp("report"))
    add_config(run)
    publish(run, "simulate", "maps", {"maps": ["m"]})
    publish(run, "annotate", "annotations", {"islands": 4321})
    add_stores(run, rejected=REFUSED, accepted=85)
    add_curves(run)
    add_field(run)
    return run


@pytest.fixture(scope="module")
def html(run):
    return write(run)


def test_nothing_on_the_page_comes_from_elsewhere(html):
    page = Outline(html)
    for tag, attributes in page.tags:
        assert tag not in {"script", "link", "iframe", "object"}
        for name in ("src", "href", "srcset", "style"):
            # The viewer of the package is a page of its own.
            assert attributes.get(name, "#").startswith(("data:", "#", VIEWER))
    assert html.count(f'href="{VIEWER}"') == 1
    style = html[html.index("<style>") : html.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    assert "http://" not in html
    assert "https://" not in html
    assert len(html) < 20e6


def test_pictures_are_whole_and_reach_for_nothing(html):
    found = re.findall(r'src="data:image/([a-z+]+);base64,([^"]+)"', html)
    kinds = [kind for kind, _ in found]
    # Overview, two zooms with their truth, three grids and a strip; two curves and four distributions.
    assert kinds.count("webp") == 1 + 2 * 2 + 3 + 1
    assert kinds.count("svg+xml") == 2 + 4
    for kind, text in found:
        content = base64.b64decode(text, validate=True)
        if kind == "webp":
            assert content[:4] == b"RIFF"
            assert content[8:12] == b"WEBP"
        else:
            links = re.findall(rb'(?:xlink:)?href="([^"]+)"', content)
            assert all(link.startswith(b"#") for link in links)


def test_the_chapters_stand_in_order(html):
    titles = re.findall(r"<h2>(.*)</h2>", html)
    # Without `evaluate` there is no chapter about the model's figures.
    assert titles[:3] == ["The field", "Cutouts and stamps", "Training"]
    assert titles[3:] == [
        *("The truth in numbers", "Rejected objects"),
        *("Data and terms", "The run", "Words", "What to do next"),
    ]


def test_the_numbers_are_those_of_the_run(run, html):
    text = " ".join(Outline(html).text.split())
    truth = read_columns_file(run.product("field") / "truth.parquet")
    n_compact = int((truth["class"] == 2).sum())
    expected = [
        "small-<run> & co",
        "300 x 375 pixels with 60 sources",
        "Size (rows x columns) 300 x 375",
        "Beam 6.4 x 5.2 arcsec",
        "Frequency 1,400 MHz",
        "Noise at the sources 0.14 mJy/beam",
        f"Compact sources {n_compact}",
        f"Extended sources {60 - n_compact}",
        f"Above 5 rms {int((truth['snr'] > 5).sum())}",
        "Distinct objects 30",
        "distinct masks they were drawn for",
        f"median {np.median(truth['k']):.3g}",
        f"{truth['flux_jy'].sum():.4g} Jy in all",
        "faint its peak is too faint to be a donor 12 12.0 %",
        "accepted it passed every check 85 85.0 %",
        "intersection over union of 0.812 on average",
        "islands 4,321",
        "map.rms_jy_beam 0.00014",
        "seed 7",
        "scale: 3.0",
    ]
    assert [line for line in expected if line not in text] == []
    for stage_name in ("cutouts", "assemble"):
        for name, digest in run.ledger.published(stage_name).files.items():
            assert f"{run.ledger.published(stage_name).product}/{name}" in text
            assert digest[:12] in text


def test_the_commands_work_on_this_run(run, html):
    text = Outline(html).text
    assert f"astro-dist verify {run.root}" in text
    assert f"astro-dist fork {run.root} {run.root}-second --set assemble.seed=8" in text
    assert f"ds9 -asinh -zscale {run.root}/field/map.fits -region load {run.root}/field/truth.reg" in text


@pytest.mark.parametrize("present", [(), ("generate",), ("cutouts", "generate"), ("assemble",)])
def test_whatever_is_missing_is_named(tmp_path, run, present):
    part = make_run(tmp_path)
    for name in present:
        published = run.ledger.published(name)
        (tmp_path / published.product).symlink_to(run.root / published.product)
        part.ledger.publish(name, published)
    html = write(part)
    text = Outline(html).text
    assert ("The whole field." in text) == ("assemble" in present)
    assert ("assemble did not run in this directory" in text) != ("assemble" in present)
    assert "How good the model is" not in text
    assert ("Stamps with compact objects" in text) == ("cutouts" in present)
    assert "Autoencoder: no learning curve" in text
    assert "What to do next" in text
    assert ("it passed every check" in text) == ("generate" in present)


def test_the_stage_fits_the_engine():
    assert (
        REPORT.inputs == EARLIER == tuple(other.name for other in RADIO.stages[: RADIO.stages.index(REPORT)])
    )
    assert not REPORT.stable
    assert REPORT.product == "report.html"
    code = (
        "import astro_dist.report.stage, sys; print({'matplotlib', 'jinja2', 'astropy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_no_module_of_the_report_uses_pyplot_state():
    for path in Path(stage.__file__).parent.glob("*.py"):
        assert "import matplotlib.pyplot" not in path.read_text()
        assert "from matplotlib import pyplot" not in path.read_text()
