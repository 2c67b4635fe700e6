"""Cutouts with maps at other frequencies as planes, beside Gaussians that are known everywhere."""

import json
import math
import shutil

import numpy as np
import pytest
import xarray
from astropy.io import fits
from astropy.table import Table

from astro_dist.engine.config import validate
from astro_dist.engine.errors import ConfigError, IntegrityError
from astro_dist.engine.files import tree_digests
from astro_dist.sky.beams import Beam
from astro_dist.sky.config import PlaneConfig
from astro_dist.sky.maps import open_maps
from astro_dist.sky.planes import open_plane
from astro_dist.sky.windows import Window
from astro_dist.store.config import CutoutsConfig
from astro_dist.store.reader import StoreReader
from astro_dist.store.stage import CUTOUTS, estimate
from astro_dist.store.verify import verify_store
from tests.sky.point_maps import ROUND, show_points, write_points
from tests.store.small_survey import SmallMap, execute, make_run

CENTRE, PIXEL, SIZE, STEP, RIM = (180.0, -30.0), 1.5, 40, 46, 24
LOW, NEAR = Beam(9.0, 8.0, 60.0), Beam(5.0, 5.0)
# A plane in the middle, turned and coarser; one on the same pixels; an infrared one, finer, without a beam.
SCALES = {"low": 0.5, "near": 3.0, "common": 1.0}
PLANES = [{"name": "low"}, {"name": "near"}, {"name": "w1"}]


def lay_points(side, seed=2):
    """Positions, RA and Dec, of side x side points on a map, so far apart that a cutout holds one."""
    rng = np.random.default_rng(seed)
    y, x = (np.mgrid[:side, :side].reshape(2, -1) + 0.5) * STEP + RIM + rng.uniform(-2, 2, (2, side**2))
    middle = (side * STEP + 2 * RIM - 1) / 2
    dec = CENTRE[1] + (y - middle) * PIXEL / 3600
    ra = CENTRE[0] - (x - middle) * PIXEL / 3600 / math.cos(math.radians(CENTRE[1]))
    return ra, dec, rng.uniform(1e-3, 5e-3, side**2)


def points_run(root, side=3, planes=PLANES, **cutouts):
    """A run with a map of points, planes of the same points, and a catalogue of them."""
    root.mkdir(parents=True, exist_ok=True)
    ra, dec, peak = lay_points(side)
    shape = (side * STEP + 2 * RIM,) * 2
    points = list(zip(ra, dec, peak, strict=True))
    Table({"ra_deg": ra, "dec_deg": dec}).write(root / "t.csv", overwrite=True)
    wide = tuple(round(1.5 * n) for n in shape)
    made = {
        "low": ({"angle": 15.0, "unit": "mJy/beam", "beam": LOW}, 2.0, shape, 1e3 / 2),
        "near": ({"beam": NEAR}, PIXEL, shape, 3.0),
        "w1": ({"unit": "DN"}, 1.1, wide, 7e4),
    }
    for name in made.keys() & {one["name"] for one in planes}:
        given, pixel, size, scale = made[name]
        scaled = [(one[0], one[1], scale * one[2]) for one in points]
        write_points(root / "planes" / f"{name}.fits", scaled, size, CENTRE, pixel, **given)
    given = [{"files": [str(root / "planes" / f"{one['name']}*.fits")], **one} for one in planes]
    one = SmallMap("a", shape)
    blank = make_run(root / "empty", [one], CUTOUTS, images={"a": np.full(shape, 1e-12, np.float32)})
    (sky_map,) = open_maps(blank)
    image = show_points(sky_map, Window.of_shape(shape), sky_map.beam, points).astype(np.float32)
    sections = {"size_pix": SIZE, "shard": 7, "split_block_pix": 64, "mode": "catalogue"}
    sections |= {"catalogue": str(root / "t.csv"), "planes": given}
    return make_run(root / "run", [one], CUTOUTS, images={"a": image}, **sections | cutouts)


def check_points(run, common=None):
    """Return the largest errors of flux and of a pixel, of its point's peak, by plane."""
    reader, (sky_map,) = StoreReader(run.output), open_maps(run)
    beams = {"low": LOW, "near": NEAR} if common is None else dict.fromkeys(("low", "near", "common"), common)
    points = list(zip(*lay_points(round(math.sqrt(len(reader)))), strict=True))
    found = {name: reader.read(f"image_{name}", range(len(reader))) for name in beams}
    errors = dict.fromkeys(beams, (0.0, 0.0))
    for i, row in enumerate(reader.columns["row"]):
        y0, x0 = int(reader.columns["y0"][i]), int(reader.columns["x0"][i])
        for name, beam in beams.items():
            # The map's pixels are not turned: the angle in its image is that on the sky.
            shown = SCALES[name] * show_points(
                sky_map, Window(y0, y0 + SIZE, x0, x0 + SIZE), beam, [points[row]]
            )
            flux = abs(found[name][i].sum(dtype=float) / shown.sum() - 1)
            peak = np.abs(found[name][i] - shown).max() / shown.max()
            errors[name] = max(errors[name][0], flux), max(errors[name][1], peak)
    return errors


@pytest.fixture(scope="module")
def cut(tmp_path_factory):
    run = points_run(tmp_path_factory.mktemp("planes") / "one")
    return run, *execute(CUTOUTS, run)


@pytest.fixture(scope="module")
def at_one_beam(tmp_path_factory):
    run = points_run(tmp_path_factory.mktemp("planes") / "common", planes=PLANES[:2], common_beam=True)
    return run, *execute(CUTOUTS, run)


def test_planes_show_what_their_maps_do_on_the_pixels_of_the_map(cut):
    run, _, facts = cut
    errors = check_points(run)
    assert max(flux for flux, _ in errors.values()) < 3e-4
    assert errors["low"][1] < 5e-3
    reader = StoreReader(run.output)
    # On the same pixels they are the same.
    for i in range(len(reader)):
        y0, x0 = reader.columns["y0"][i], reader.columns["x0"][i]
        own = fits.getdata(run.section(CutoutsConfig).planes[1].files[0].replace("*", ""))
        np.testing.assert_array_equal(
            reader.read("image_near", [i])[0], own[y0 : y0 + SIZE, x0 : x0 + SIZE].astype(np.float32)
        )
    assert facts["notes"] == []


def test_the_sum_of_a_plane_without_a_beam_stays(cut):
    run, _, _ = cut
    reader = StoreReader(run.output)
    found = reader.read("image_w1", range(len(reader))).sum(axis=(1, 2), dtype=float)
    (one,) = open_plane(run.section(CutoutsConfig).planes[2], run.root)
    # A Gaussian's sum over the pixels of its own map.
    peak = 7e4 * lay_points(3)[2][reader.columns["row"]]
    np.testing.assert_allclose(found, peak * ROUND.area_pix(one.sky_map.pixel), rtol=1e-3)


def test_the_rest_of_a_store_is_what_it_is_without_planes(cut, tmp_path):
    run, _, _ = cut
    plain = points_run(tmp_path / "plain", planes=[])
    execute(CUTOUTS, plain)
    ours, theirs = tree_digests(run.output), tree_digests(plain.output)
    for name in theirs:
        if "zarr.json" not in name:
            assert ours[name] == theirs[name]
    assert not any("low" in name for name in theirs)
    theirs, ours = StoreReader(plain.output).attrs, StoreReader(run.output).attrs
    assert {k: v for k, v in ours.items() if k != "planes"} == theirs


def test_the_smallest_common_beam_keeps_fluxes(at_one_beam):
    run, _, _ = at_one_beam
    common = Beam(**StoreReader(run.output).attrs["common_beam"])
    # The beam of one plane holds the others.
    assert (common.major_arcsec, common.minor_arcsec) == pytest.approx((9, 8), rel=2e-3)
    assert common.pa_deg == pytest.approx(60, abs=0.5)
    errors = check_points(run, common)
    assert max(flux for flux, _ in errors.values()) < 1e-3
    assert max(peak for _, peak in errors.values()) < 5e-3


def test_a_common_beam_that_is_given_is_taken(tmp_path):
    given = (1.6 * LOW.major_arcsec, 1.6 * LOW.major_arcsec, 0.0)
    run = points_run(tmp_path / "one", side=3, planes=PLANES[:2], common_beam=given)
    execute(CUTOUTS, run)
    assert tuple(StoreReader(run.output).attrs["common_beam"].values()) == given
    errors = check_points(run, Beam(*given))
    assert max(flux for flux, _ in errors.values()) < 1e-3
    assert max(peak for _, peak in errors.values()) < 5e-3


@pytest.mark.soak
@pytest.mark.parametrize("common", [False, True, (14.4, 12.8, 60.0)])
def test_225_rows_keep_their_fluxes(tmp_path, common):
    run = points_run(tmp_path / "one", side=15, planes=PLANES[:2], common_beam=common, shard=64)
    execute(CUTOUTS, run)
    attrs = StoreReader(run.output).attrs
    errors = check_points(run, Beam(**attrs["common_beam"]) if common else None)
    print(errors)
    assert max(flux for flux, _ in errors.values()) < 1e-3
    assert max(peak for _, peak in errors.values()) < 5e-3


def test_the_bytes_do_not_depend_on_the_order_of_tasks_or_on_threads(cut, tmp_path):
    run = points_run(tmp_path / "one", threads=2)
    assert execute(CUTOUTS, run, lambda tasks: [*tasks[::-1], *tasks[1:3]]) == cut[1:]
    assert tree_digests(run.output) == tree_digests(cut[0].output)


def test_xarray_shows_planes_with_their_units_and_the_store_verifies(cut, at_one_beam):
    opened = xarray.open_zarr(cut[0].output)
    units = {name: opened[f"image_{name}"].attrs["units"] for name in ("low", "near", "w1")}
    assert units == {"low": "Jy/beam", "near": "Jy/beam", "w1": "DN"}
    assert opened.image_low.dims == opened.image.dims
    assert {"row", "source_map_low", "ra_deg"} <= set(opened.image_low.coords)
    assert (opened.valid_w1 == np.isfinite(opened.image_w1)).all()
    low, near, w1 = opened.attrs["planes"]
    assert [one["name"] for one in (low, near, w1)] == ["low", "near", "w1"]
    assert low["maps"][0]["frequency_hz"] == 1.4e9
    assert low["maps"][0]["beam"]["major_arcsec"] == pytest.approx(9)
    assert "beam" not in w1["maps"][0]
    assert "image_common" in xarray.open_zarr(at_one_beam[0].output)
    assert verify_store(cut[0].output) == verify_store(at_one_beam[0].output) == []


def test_a_damaged_plane_is_found(tmp_path):
    run = points_run(tmp_path / "one", side=2, planes=PLANES[:1])
    execute(CUTOUTS, run)
    shard = run.output / "image_low" / "c.0.0.0"
    data = bytearray(shard.read_bytes())
    data[100] ^= 4
    shard.write_bytes(data)
    (fault,) = verify_store(run.output)
    assert "image_low/c.0.0.0: 1 images are damaged" in fault
    shard.unlink()
    with pytest.raises(IntegrityError, match="image_low/c"):
        StoreReader(run.output)


def test_of_several_maps_the_one_with_the_most_valid_pixels_is_taken(tmp_path):
    """The first map is blank on one side, the second holds that side alone."""
    run = points_run(tmp_path / "one", planes=PLANES[1:2])
    (first,) = (tmp_path / "one" / "planes").glob("near.fits")
    image, header = fits.getdata(first), fits.getheader(first)
    fits.writeto(first.with_name("near-2.fits"), image[:, 100:].copy(), _moved(header, 100), overwrite=True)
    image[:, 95:] = np.nan
    fits.writeto(first.with_name("near-1.fits"), image, header, overwrite=True)
    first.unlink()
    _, facts = execute(CUTOUTS, run)
    reader = StoreReader(run.output)
    x0, number = reader.columns["x0"], reader.columns["source_map_near"]
    # A window that ends at 95 or before is whole in the first; one from 100 on is whole in the second.
    assert (number[x0 + SIZE <= 95] == 0).all()
    assert (number[x0 >= 100] == 1).all()
    assert set(number.tolist()) == {0, 1}
    share = np.clip(95 - x0, 0, SIZE), np.clip(x0 + SIZE - 100, 0, SIZE)
    np.testing.assert_array_equal(number, (share[1] > share[0]).astype(int))
    valid = reader.read("valid_near", range(len(reader)))
    np.testing.assert_array_equal(valid.sum(axis=(1, 2)), SIZE * np.maximum(*share))
    assert facts["notes"] == []


def _moved(header, columns):
    header = header.copy()
    header["CRPIX1"] -= columns
    return header


def test_rows_off_a_plane_have_none_and_are_counted_before_and_after(tmp_path):
    run = points_run(tmp_path / "one", planes=PLANES[1:2])
    path = tmp_path / "one" / "planes" / "near.fits"
    image, header = fits.getdata(path), fits.getheader(path)
    fits.writeto(path, image[:100], header, overwrite=True)
    CUTOUTS.refuse(run)
    assert estimate(run).notes[-1] == "3 of 9 cutouts have no pixel of the plane near"
    _, facts = execute(CUTOUTS, run)
    assert facts["notes"] == ["3 of 9 cutouts have no pixel of the plane near"]
    reader = StoreReader(run.output)
    missing = reader.columns["source_map_near"] < 0
    assert missing.sum() == 3
    assert np.isnan(reader.read("image_near", np.flatnonzero(missing))).all()
    assert (reader.columns["flags"] == 0).all()


def test_the_fingerprint_of_a_run_without_planes_is_what_it_was():
    assert not {"planes", "common_beam"} & set(CutoutsConfig().marks())
    one = PlaneConfig(name="low", files=("low.fits",))
    assert CutoutsConfig(mode="catalogue", catalogue="t", planes=(one,)).marks()["planes"]


def test_the_estimate_counts_planes_and_their_maps_are_sources(cut):
    run = cut[0]
    names = {path.name for path in CUTOUTS.sources(run)}
    assert names == {"a.fits", "t.csv", "low.fits", "near.fits", "w1.fits"}
    real = sum(file.stat().st_size for file in run.output.rglob("*") if file.is_file())
    assert real <= estimate(run).bytes
    assert len([file for file in run.output.rglob("*") if file.is_file()]) <= estimate(run).files


LOW_ONE, COMMON_ONE = ({"name": name, "files": ["low.fits"]} for name in ("low", "common"))


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"planes": [LOW_ONE]}, "planes belong to mode catalogue"),
        ({"common_beam": True}, "give some or leave it out"),
        ({"mode": "catalogue", "catalogue": "t", "planes": [LOW_ONE, LOW_ONE]}, "the name low is taken"),
        ({"mode": "catalogue", "catalogue": "t", "planes": [COMMON_ONE]}, "common is taken"),
        ({"mode": "catalogue", "catalogue": "t", "planes": [{**LOW_ONE, "survey": "x"}]}, "unknown key"),
        (
            {"mode": "catalogue", "catalogue": "t", "planes": [LOW_ONE], "common_beam": [5, 6, 0]},
            "common_beam: a beam of 5.* is impossible",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused(given, match):
    with pytest.raises(ConfigError, match=match):
        validate(CutoutsConfig, given)


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"common_beam": True}, "the map w1 of the plane w1 has no beam; give its beam_major_arcsec"),
        (
            {"planes": PLANES[:2], "common_beam": (8.5, 8.5, 0)},
            "common_beam: the map low of the plane low has a beam of 9 x 8 arcsec at .* cannot be convolved",
        ),
        ({"planes": PLANES[:2], "common_beam": (5.5, 5.5, 0)}, "the map a has a beam of 6 x 5 arcsec"),
        (
            {"planes": PLANES[:2], "common_beam": (1e9, 1e9, 0)},
            r"a beam of 1e\+09 x 1e\+09 arcsec at 0 deg is wider than a cutout of a \(60 arcsec\); give",
        ),
        ({"planes": PLANES[:2], "common_beam": (61, 20, 0)}, r"wider than a cutout of a \(60 arcsec\)"),
        (
            {"planes": PLANES[:2], "common_beam": (95, 20, 0), "size_pix": 80},
            r"wider than a third of a \(93 arcsec\)",
        ),
        ({"planes": [{"name": "x", "files": ["nowhere/*.fits"]}]}, "planes x: no file matches"),
        ({"planes": [{"name": "low", "unit": "Jy/pixel"}]}, "planes low: .* is Jy/pixel and its own unit"),
        ({"planes": [{"name": "far"}]}, r"none of its maps \(far the first\) meets any of the 9 cutouts"),
    ],
)
def test_the_plan_refuses_what_cannot_be_made(tmp_path, given, match):
    write_points(tmp_path / "one" / "planes" / "far.fits", [], (60, 60), (10.0, 5.0), 1.0, unit="DN")
    run = points_run(tmp_path / "one", **{"planes": PLANES, **given})
    check = CUTOUTS.sources if "no file" in match else CUTOUTS.refuse
    with pytest.raises(ConfigError, match=match):
        check(run)


@pytest.mark.parametrize(
    "planes", [[{"name": "../x", "unit": "", "maps": []}], [{"name": "x", "maps": []}], [3], "low"]
)
def test_a_store_that_lies_about_its_planes_is_not_opened(cut, tmp_path, planes):
    shutil.copytree(cut[0].output, tmp_path / "s.zarr")
    about = json.loads((tmp_path / "s.zarr" / "zarr.json").read_text())
    about["attributes"]["planes"] = planes
    (tmp_path / "s.zarr" / "zarr.json").write_text(json.dumps(about))
    with pytest.raises(IntegrityError, match="planes"):
        StoreReader(tmp_path / "s.zarr")


def test_the_plan_names_a_plane_without_a_frequency(tmp_path):
    run = points_run(tmp_path / "one", side=2, planes=PLANES[::2])
    path = tmp_path / "one" / "planes" / "w1.fits"
    fits.delval(path, "RESTFRQ")
    (note,) = estimate(run).notes
    assert note == "the plane w1 has no frequency; frequency_hz in its entry may give it"
    execute(CUTOUTS, run)
    low, w1 = StoreReader(run.output).attrs["planes"]
    assert (low["maps"][0]["frequency_hz"], w1["maps"][0]["frequency_hz"]) == (1.4e9, None)


@pytest.mark.parametrize(
    ("cards", "remedy"),
    [
        ({"CTYPE3": "STOKES", "CRVAL3": 4}, "(plane), or stokes: V to take it as it is"),
        ({"BUNIT": "Jy/beam", "BMAJ": None}, "beam_major_arcsec"),
    ],
)
def test_faults_of_a_plane_name_the_settings_of_its_entry(tmp_path, cards, remedy):
    points_run(tmp_path, planes=[{"name": "low"}])
    path = tmp_path / "planes" / "low.fits"
    with fits.open(path) as hdus:
        image, header = hdus[0].data.copy(), hdus[0].header.copy()
    header = fits.Header([card for card in header.cards if cards.get(card.keyword, 1) is not None])
    header.update({key: value for key, value in cards.items() if value is not None})
    fits.writeto(path, image[None] if "CTYPE3" in cards else image, header, overwrite=True)
    with pytest.raises(ConfigError) as caught:
        open_plane(PlaneConfig(name="low", files=(str(path),)), tmp_path)
    said = str(caught.value)
    assert said.startswith("cutouts.planes low: ")
    assert remedy in said
    assert not any(name in said for name in (" maps.", "(maps.", "background_only"))
