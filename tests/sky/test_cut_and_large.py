"""Sources cut by edges or blanks are flagged; emission larger than a mesh cell is no noise."""

import numpy as np
import pytest
from astropy.io import fits

from astro_dist.engine.config import validate
from astro_dist.sky import finder
from astro_dist.sky.annotations import Annotations
from astro_dist.sky.background import COARSE, cover_structure
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


def large(shape, cells, peak):
    y, x = (np.arange(n) - n / 2 for n in shape)
    return peak * np.exp(-4 * np.log(2) * (y[:, None] ** 2 + x**2) / (80 * cells) ** 2)


@pytest.mark.parametrize(("cells", "peak"), [(2, 30), (3, 10), (4, 30)])
def test_emission_larger_than_a_cell_is_an_island_and_no_noise(make_map, cells, peak):
    shape = (880, 880)
    emission = large(shape, cells, peak)
    sky = make_map(RMS * (noise(shape) + emission))
    before = find_islands(sky, AnnotateConfig(structure_sigma=0))
    after = find_islands(sky, AnnotateConfig())
    true = RMS * emission.sum() / BEAM.area_pix(PIXEL)
    assert before.sources["flux_jy"].sum() < 0.4 * true
    assert before.mesh.rms.max() > 1.5 * RMS
    assert after.mesh.rms.max() < 1.4 * RMS
    largest = after.sources["flux_jy"].argmax()
    assert 0.6 * true < after.sources["flux_jy"][largest] < 1.02 * true
    assert after.sources["class"][largest] == 3


def test_faint_emission_larger_than_a_cell_is_kept_on_request(make_map):
    """Of a Gaussian of peak P the part 1 - 3/P lies above 3 sigma, 0.4 at 5 sigma."""
    shape = (880, 880)
    emission = large(shape, 2, 5)
    sky = make_map(RMS * (noise(shape) + emission))
    true = RMS * emission.sum() / BEAM.area_pix(PIXEL)
    lost, kept = (find_islands(sky, AnnotateConfig(structure_sigma=sigma)).sources for sigma in (3, 1.5))
    assert lost["flux_jy"].sum() < 0.05 * true
    assert 0.33 * true < kept["flux_jy"].max() < 0.42 * true


def test_emission_of_two_cells_at_8_sigma_is_kept_whole_on_request_alone(make_map):
    """The part of its flux that `docs/maps.md` states for either setting."""
    shape = (900, 900)
    emission = large(shape, 1.77, 8)
    sky = make_map(RMS * (noise(shape) + emission))
    true = RMS * emission.sum() / BEAM.area_pix(PIXEL)
    default, kept = (find_islands(sky, AnnotateConfig(structure_sigma=sigma)).sources for sigma in (3, 1.5))
    assert 0.1 * true < default["flux_jy"].max() < 0.3 * true
    assert 0.5 * true < kept["flux_jy"].max() < 0.63 * true


def test_the_mesh_of_a_map_without_such_emission_is_the_same_bit_for_bit(make_map):
    """Neither noise that rises to an edge nor a noisy corner nor bright sources are emission."""
    shape = (640, 640)
    rise = 1 + 2 * np.linspace(0, 1, 640) ** 4
    image = RMS * (
        noise(shape) * rise + spots(shape, *[(60 * i + 50, 50 * i + 90) for i in range(9)], snr=2000)
    )
    image[:200, :200] = 3 * RMS * noise((200, 200), 8)
    sky = make_map(image)
    old, new = find_islands(sky, AnnotateConfig(structure_sigma=0)), find_islands(sky, AnnotateConfig())
    assert np.array_equal(old.mesh.rms, new.mesh.rms)
    assert np.array_equal(old.mesh.background, new.mesh.background)


def test_covered_cells_take_what_surrounds_them():
    rng = np.random.default_rng(1)
    background, rms = rng.normal(0, 0.02, (20, 20)), rng.normal(1, 0.01, (20, 20))
    emission = background.copy(), rms.copy()
    emission[0][8:11, 8:11], emission[1][7:12, 7:12] = 6, 4
    covered = cover_structure(*(nodes.astype(np.float32) for nodes in emission), 3.0)
    assert np.abs(covered[0]).max() < 0.1
    assert np.abs(covered[1] - 1).max() < 0.05
    inside = np.zeros((20, 20), bool)
    inside[7:12, 7:12] = True
    for new, old in zip(covered, (background, rms), strict=True):
        np.testing.assert_array_equal(new[~inside], old.astype(np.float32)[~inside])
    # Nothing is left to compare with where emission fills the map: it counts as sky.
    everywhere = np.full((COARSE, COARSE), 6, np.float32), np.ones((COARSE, COARSE), np.float32)
    assert all(a is b for a, b in zip(cover_structure(*everywhere, 3.0), everywhere, strict=True))


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
