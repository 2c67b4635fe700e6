"""The map as HiPS tiles: what other programs read from them is the map, and its coverage."""

import importlib.util
from dataclasses import replace

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits

from astro_dist.challenge.about import verify_package
from astro_dist.challenge.config import ChallengeConfig
from astro_dist.challenge.stage import PACKAGE
from astro_dist.engine.custody import remove
from astro_dist.engine.errors import ConfigError
from astro_dist.engine.files import tree_digests
from astro_dist.engine.outputs import Reading
from astro_dist.engine.work import for_stage
from astro_dist.sky import hips
from tests.challenge import small

SECOND_S = 1_700_000_000
TILE_PIX, ORDER = 512, 8


@pytest.fixture(scope="module")
def package(run, tmp_path_factory):
    if importlib.util.find_spec("mocpy") is None or importlib.util.find_spec("reproject") is None:
        pytest.skip("mocpy or reproject is not installed; pip install -e '.[hips]'")
    return small.package(run, tmp_path_factory.mktemp("hips") / "package", tile_pix=128, hips=True)


def read_tile(path):
    """Return brightness and place of the pixels of a tile, as a reader of HiPS finds them: by HEALPix."""
    from astropy_healpix import HEALPix

    tile, grid = fits.getdata(path), HEALPix(nside=TILE_PIX << ORDER, order="nested")
    y, x = np.nonzero(np.isfinite(tile))
    number = int(path.stem.removeprefix("Npix"))
    # Rows of FITS run upwards, and columns of a cell to the south-east.
    cell = number * TILE_PIX**2 + spread_bits(TILE_PIX - 1 - y) + 2 * spread_bits(x)
    ra, dec = grid.healpix_to_lonlat(cell)
    return tile[y, x], ra.deg, dec.deg


def spread_bits(values):
    return sum((values >> bit & 1) << 2 * bit for bit in range(9))


def test_the_tiles_show_the_map_at_its_places(package, judge):
    field, whole = judge.field, fits.getdata(package / "public/map.fits")
    seen = 0
    for path in sorted((package / f"public/hips/Norder{ORDER}").rglob("*.fits")):
        values, ra, dec = read_tile(path)
        assert values.dtype == ">f4"
        row, column = field.pixel_of(ra, dec)
        inside = (row > 0) & (row < 399) & (column > 0) & (column < 459)
        near = whole[np.rint(row[inside]).astype(int), np.rint(column[inside]).astype(int)]
        # A pixel of the tile lies up to half a pixel of the map, an eighth of the beam, from the nearest one.
        assert np.corrcoef(near, values[inside])[0, 1] > 0.97
        assert ((row > -1) & (row < 400) & (column > -1) & (column < 460)).all()
        seen += np.count_nonzero(inside)
    # All of the map is shown, in pixels of 1.61 arcsec.
    pixel = hips.ORDER_0_ARCSEC / (TILE_PIX << ORDER)
    assert seen == pytest.approx(398 * 458 * (2 / pixel) ** 2, rel=0.01)


def test_a_reader_of_hips_finds_the_map_at_its_places(package, judge):
    """By the reader of reproject, which has places of its own for the pixels of the whole sky."""
    from reproject.hips import hips_as_dask_array

    array, wcs = hips_as_dask_array(str(package / "public/hips"), level=ORDER)
    middle = [float(one) for one in wcs.world_to_pixel_values(*judge.field.sky_of(150, 200))]
    column, row = (int(one) // TILE_PIX for one in middle)
    tile = array.blocks[row, column].compute()
    y, x = np.nonzero(np.isfinite(tile))
    places = wcs.pixel_to_world_values(x + column * TILE_PIX, y + row * TILE_PIX)
    known = np.isfinite(places[0])  # half of a tile may lie beyond the seam of the whole sky
    near = np.rint(judge.field.pixel_of(*(one[known] for one in places))).astype(int)
    inside = (near >= 0).all(0) & (near[0] < 400) & (near[1] < 460)
    whole = fits.getdata(package / "public/map.fits")
    assert inside.sum() > 20_000
    assert np.corrcoef(whole[tuple(near[:, inside])], tile[y, x][known][inside])[0, 1] > 0.97


def test_the_coverage_is_that_of_the_map(package, judge):
    from mocpy import MOC

    moc = MOC.from_fits(package / "public/hips/Moc.fits")
    y, x = np.meshgrid(np.linspace(0, 399, 20), np.linspace(0, 459, 20), indexing="ij")
    ra, dec = judge.field.sky_of(y.ravel(), x.ravel())
    assert moc.contains_lonlat(ra * u.deg, dec * u.deg).all()
    area = 400 * 460 * (2 / 3600) ** 2 / 41252.96
    # Whole cells of 51 arcsec at the rim.
    assert area < moc.sky_fraction < 1.3 * area


def test_no_clock_and_no_web_is_in_it_and_all_of_it_is_listed(package, run, folder, tmp_path, monkeypatch):
    assert verify_package(package) == []
    root = package / "public/hips"
    assert not (root / "index.html").exists()
    properties = (root / "properties").read_text()
    assert "hips_order           = 8" in properties
    assert "date" not in properties
    assert not [path for path in root.rglob("*") if path.is_file() and b"http" in path.read_bytes()]
    assert "`hips/`" in (package / "public/README.md").read_text()
    # The rest of the package has the bytes that it has without them.
    plain, with_tiles = tree_digests(folder), tree_digests(package)
    differ = {name for name in plain if plain[name] != with_tiles[name]}
    papers = ("README.md", "ro-crate-metadata.json", "croissant.json", "manifest.json")
    assert differ == {f"public/{name}" for name in papers}
    monkeypatch.setenv("SOURCE_DATE_EPOCH", str(SECOND_S))
    dated = small.package(run, tmp_path / "dated", tile_pix=128, hips=True)
    assert "hips_release_date    = 2023-11-14T22:13Z" in (dated / "public/hips/properties").read_text()
    again = tree_digests(dated)
    tiles = {name for name in with_tiles if "/hips/" in name and not name.endswith("properties")}
    assert len(tiles) > 10
    assert {name: again[name] for name in tiles} == {name: with_tiles[name] for name in tiles}


def test_as_a_task_it_repairs_what_was_left(run, package):
    config = ChallengeConfig(tile_pix=128, hips=True)
    settings = replace(run.settings, sections={**run.settings.sections, "challenge": config})
    stage_run = for_stage(replace(run, settings=settings), PACKAGE, "d" * 64)
    PACKAGE.prepare(stage_run)
    state = PACKAGE.open(stage_run)
    (task,) = [one for one in PACKAGE.plan(stage_run, {}) if one.name == "hips"]
    left = stage_run.output / next(name for name in tree_digests(package) if "/Norder8/" in name)
    left.parent.mkdir(parents=True)
    left.write_text("of a worker that was killed")
    stated = PACKAGE.run(state, task)
    assert Reading(stage_run.output).find_damage({"hips": stated}) == set()
    whole = tree_digests(package)
    assert stated["sha256"] == {name: digest for name, digest in whole.items() if "/hips/" in name}
    remove(stage_run.output)


def test_without_the_packages_it_is_refused_before_anything_runs(run, monkeypatch):
    settings = replace(
        run.settings, sections={**run.settings.sections, "challenge": ChallengeConfig(hips=True)}
    )
    asked = replace(run, settings=settings)
    # As where they are installed, and as where they are not, whichever is the case here.
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    PACKAGE.refuse(asked)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"challenge\.hips needs reproject and mocpy; pip install"):
        PACKAGE.refuse(asked)
    PACKAGE.refuse(asked.having(ChallengeConfig()))
