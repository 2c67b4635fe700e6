"""Sources cut by edges or blanks are flagged; what an earlier version wrote means what it meant."""

import numpy as np
import pytest
from astropy.io import fits

from astro_dist.engine.config import validate
from astro_dist.sky import finder
from astro_dist.sky.annotations import Annotations
from astro_dist.sky.config import AnnotateConfig
from astro_dist.sky.finder import find_islands
from astro_dist.sky.islands import Cut
from astro_dist.sky.noise import beam_noise
from astro_dist.sky.stages import ANNOTATE
from astro_dist.sky.windows import Window
from tests.sky.conftest import BEAM, PIXEL
from tests.sky.test_annotate import bring, run_on

RMS = 2e-5
OLD = {
    **{"seed_sigma": 5.0, "merge_sigma": 3.0, "min_beam": 0.25, "mesh_beams": 20.0, "mesh_least_pix": 64},
    **{"rules": {"narrow": 0.3}, "task_mpix": 8.0},
}
"""Every setting that version 0.1.0 had."""


def noise(shape, seed=3):
    return beam_noise(Window.of_shape(shape), BEAM, PIXEL, seed, ("cut",))


def spots(shape, *places, snr=30):
    y, x = np.mgrid[: shape[0], : shape[1]].astype(float)
    return sum(snr * BEAM.profile(y - a, x - b, PIXEL) for a, b in places)


PLACES = [(0, 60), (100, 199), (50, 100), (97, 100), (150, 60)]
WANTED = [Cut.EDGE, Cut.EDGE, 0, Cut.BLANK, 0]


@pytest.fixture
def cut_map():
    image = RMS * (noise((200, 200)) + spots((200, 200), *PLACES))
    image[100:130, 90:120] = np.nan
    return image


def flags_at(columns, places=PLACES):
    distance = [np.hypot(columns["peak_y"] - y, columns["peak_x"] - x) for y, x in places]
    return [int(columns["flags"][d.argmin()]) for d in distance]


@pytest.mark.parametrize("rows", [1, 10_000])
def test_what_edges_and_blanks_cut_is_flagged_in_every_catalogue(
    tmp_path, make_map, cut_map, monkeypatch, rows
):
    """Blocks end between the source above the blank and the blank, or nowhere."""
    monkeypatch.setattr(finder, "READ_PIX", rows)
    sky = make_map(cut_map)
    run = run_on(tmp_path, sky.path, mesh_least_pix=10, mesh_beams=5, task_mpix=1e-3 * rows)
    facts = bring(ANNOTATE, run)
    folder = run.root / "annotations"
    found = Annotations.load(folder)
    assert flags_at(found.sources) == flags_at(found.islands) == WANTED
    assert facts["cut_by_edges_or_blanks"] == np.count_nonzero(found.sources["flags"]) >= 3
    for name in ("measured", "components"):
        assert flags_at(fits.getdata(folder / f"{name}.fits")) == WANTED


def test_a_source_of_two_islands_is_cut_where_one_of_them_is(make_map):
    y, x = np.mgrid[:300, :300].astype(float)
    lobe = [40 * np.exp(-((y - a) ** 2 / 20 + (x - 150) ** 2 / 8)) for a in (296, 256)]
    found = find_islands(make_map(RMS * (noise((300, 300)) + sum(lobe))), AnnotateConfig())
    here = found.columns["snr"] > 10
    assert found.columns["flags"][here].tolist() == [0, Cut.EDGE]
    whole = found.sources["n_components"] == 2
    assert found.sources["flags"][whole].tolist() == [Cut.EDGE]


def test_settings_that_an_earlier_version_wrote_mean_what_they_meant():
    old = validate(AnnotateConfig, OLD)
    assert (old.catalogue, old.joins) == ("islands", False)
    marks = old.marks()
    assert marks.keys() == OLD.keys()
    assert marks["rules"]["narrow"] == 0.3
    for tree in ({}, {"seed_sigma": 6.0}, {**OLD, "catalogue": "sources"}, {**OLD, "join": {}}):
        new = validate(AnnotateConfig, tree)
        assert new.joins
        assert {"catalogue", "join", "structure_sigma"} <= new.marks().keys()
    # What a run wrote is read as that run meant it.
    for written in (old, AnnotateConfig()):
        assert validate(AnnotateConfig, written.model_dump(mode="json")) == written
