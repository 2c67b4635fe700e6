"""The field: pixels, mask, instances and truth agree, whoever made it and in whatever bands."""

import shutil
import warnings
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from astropy.io.votable import parse
from radio_beam import Beam as RadioBeam
from scipy.ndimage import binary_dilation

from astro_dist.engine.errors import ConfigError
from astro_dist.engine.outputs import Reading
from astro_dist.engine.record import read_record, write_record
from astro_dist.engine.rounds import Rounds
from astro_dist.field.assembly import LAYOUT, Assembly
from astro_dist.field.columns import LAYOUT_COLUMNS, read_columns_file, write_columns_file
from astro_dist.field.stage import ASSEMBLE
from astro_dist.sky.maps import MapsConfig, SkyMap
from astro_dist.sky.noise import beam_noise
from astro_dist.sky.windows import Window
from astro_dist.workers.attempts import SerialExecutor, Worker
from tests.field.direct import added_pixels
from tests.field.small_sky import BEAM, PIXEL, RMS, again, assemble, digests, make_run, run_tasks
from tests.sky.repairs import bring_damaged

SHAPE = (300, 340)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    run = make_run(tmp_path_factory.mktemp("field"), shape=SHAPE, objects=45, band_rows=128)
    return run, assemble(run)


def read(run, name):
    with fits.open(run.root / "field" / name, checksum=True) as hdus:
        return hdus[0].data.astype(hdus[0].data.dtype.newbyteorder("=")), hdus[0].header


def test_map_is_background_plus_objects(made):
    run, _ = made
    image, _ = read(run, "map.fits")
    background = beam_noise(Window.of_shape(SHAPE), BEAM, PIXEL, run.seed, ("assemble", "noise"))
    expected = (background * np.float32(RMS)).astype(np.float64)
    truth = read_columns_file(run.root / "field" / "placements.parquet")
    for row, whole in added_pixels(run, truth, SHAPE, BEAM, PIXEL):
        expected += whole
        assert whole.sum() / BEAM.area_pix(PIXEL) == pytest.approx(row["flux_jy"], rel=1e-5)
        assert whole.max() == pytest.approx(row["peak_jy_beam"], rel=1e-5)
        assert whole[row["y_peak_pix"], row["x_peak_pix"]] == pytest.approx(whole.max(), rel=1e-5)
        # The box ends where a point has fallen to 1e-8 of its peak.
        box = whole[row["y0"] : row["y0"] + row["height"], row["x0"] : row["x0"] + row["width"]]
        assert box.sum() == pytest.approx(whole.sum(), rel=1e-6)
    assert image == pytest.approx(expected, abs=1e-5 * RMS)
    # Background out, all that is left is in the truth: flux in is flux out.
    left = (image - background * np.float32(RMS)).sum(dtype=np.float64) / BEAM.area_pix(PIXEL)
    assert left == pytest.approx(truth["flux_jy"].sum(), rel=1e-5)


def test_every_row_has_its_pixels_and_every_pixel_its_row(made):
    run, _ = made
    mask, instances = read(run, "mask.fits")[0], read(run, "instances.fits")[0]
    truth = read_columns_file(run.root / "field" / "truth.parquet")
    expected, unsure = np.zeros(SHAPE, np.int32), np.zeros(SHAPE, bool)
    placements = read_columns_file(run.root / "field" / "placements.parquet")
    for row, whole in added_pixels(run, placements, SHAPE, BEAM, PIXEL):
        level = min(3 * row["sigma_jy_beam"], 0.5 * row["peak_jy_beam"])
        expected[whole >= level] = row["id"] if row["detectable"] else -row["id"]
        unsure |= abs(whole - level) < 1e-4 * level
    assert np.array_equal(instances[~unsure], expected[~unsure])
    assert np.count_nonzero(unsure) < 10
    assert np.array_equal(np.unique(abs(instances[instances != 0])), truth["id"])
    assert np.array_equal(truth["id"], np.arange(1, 46))
    assert np.array_equal(np.unique(instances[instances > 0]), truth["id"][truth["detectable"] == 1])
    kinds = np.concatenate([[0], truth["class"]])
    assert np.array_equal(mask, kinds[np.maximum(instances, 0)])


def test_the_truth_says_what_can_be_detected(made):
    truth = read_columns_file(made[0].root / "field" / "truth.parquet")
    assert truth["detectable"].any()
    assert np.array_equal(truth["detectable"] == 1, np.maximum(truth["snr"], truth["integrated_snr"]) >= 5)
    compact = truth["class"] == 2
    # A point has the same signal-to-noise in one pixel and in all.
    beams = (truth["major_arcsec"] * truth["minor_arcsec"] / 64)[compact]
    ratio = (truth["integrated_snr"] / truth["snr"])[compact]
    flux = truth["flux_jy"] / truth["peak_jy_beam"]
    assert ratio == pytest.approx(flux[compact] / np.sqrt(np.maximum(beams, 1)), rel=1e-4)
    # Not of every double: far lobes cover a large area.
    assert np.median((truth["integrated_snr"] / truth["snr"])[~compact]) > 1
    assert truth["core_fraction"] == pytest.approx(np.minimum(1 / flux, 1), rel=1e-5)


@pytest.mark.parametrize(("band_rows", "workers"), [(64, 0), (512, 0), (77, 2)])
def test_bytes_do_not_depend_on_bands_or_workers(made, tmp_path, band_rows, workers):
    run, _ = made
    other = make_run(tmp_path, shape=SHAPE, objects=45, band_rows=band_rows)
    assemble(other, workers)
    assert digests(other) == digests(run)


def catalogue_of(run, path, n=40):
    """Write a catalogue of positions between pixels, over the edge of the field too."""
    rng = np.random.default_rng(5)
    ASSEMBLE.prepare(run)
    field = SkyMap.open(run.output / "map.fits", MapsConfig(), verify=False)
    ra, dec = field.sky_of(*(rng.random((2, n)) * np.array(field.shape)[:, None] - 0.5))
    rows = zip(rng.exponential(1e-3, n), ra, dec, strict=True)
    path.write_text("flux_jy,ra_deg,dec_deg\n" + "\n".join(f"{f:.6e},{a:.9f},{d:.9f}" for f, a, d in rows))
    return {"mode": "catalogue", "catalogue": str(path)}


@pytest.mark.parametrize("mode", ["counts", "catalogue"])
def test_blended_fields_do_not_depend_on_bands_workers_or_kills(tmp_path, mode):
    settings = {"shape": (100, 120), "reuse": 20}
    if mode == "counts":
        flux = {"mode": "counts", "counts": {"limit_jy": 1e-6}}
        settings |= {"flux": flux, "background": {"rms_jy_beam": 1e-6}}
    else:
        settings["flux"] = catalogue_of(make_run(tmp_path / "map", objects=1, **settings), tmp_path / "c.csv")
    made = {}
    for name, rows, disturbed in (("whole", 512, (0, 0)), ("bands", 17, (2 if mode == "counts" else 1, 1))):
        run = make_run(tmp_path / name, band_rows=rows, **settings)
        facts = assemble(run, *disturbed)
        made[name] = digests(run)
    assert made["whole"] == made["bands"]
    assert facts["blended"] > 5
    truth = read_columns_file(run.root / "field" / "truth.parquet")
    # What the edge of the field cuts has less flux than was given.
    within = (truth["y0"] > 0) & (truth["x0"] > 0)
    within &= (truth["y0"] + truth["height"] < 100) & (truth["x0"] + truth["width"] < 120)
    assert truth["flux_jy"][within] == pytest.approx(truth["flux_given_jy"][within], rel=1e-5)
    assert (truth["flux_jy"] <= truth["flux_given_jy"] * (1 + 1e-5)).all()


def test_seed_changes_everything_random(made, tmp_path):
    other = make_run(tmp_path, seed=4, shape=SHAPE, objects=45)
    assemble(other)
    same = {name for name, digest in digests(other).items() if digests(made[0])[name] == digest}
    # Without blends the list of overlaps is empty.
    unchanged = {"objects.parquet", "shapes.npy", "pieces.npy", "truth_overlaps.parquet"}
    # Nothing is bright enough for an artefact.
    unchanged |= {"artefacts.parquet", "layout_artefacts.parquet"}
    assert same == unchanged | {"truth_sdc1_columns.txt"}


def test_headers_verify_and_carry_provenance(made):
    run, _ = made
    for name, bitpix in (("map.fits", -32), ("mask.fits", 8), ("instances.fits", 32)):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with fits.open(run.root / "field" / name, checksum=True) as hdus:
                hdus.verify("exception")
                header = hdus[0].header
        assert header["BITPIX"] == bitpix
        assert header["SYNTH"] is True
        assert header["SEED"] == 3
        assert "assemble: 45 objects, radiff scale 3 cap 10 redraw" in str(header["HISTORY"])
        assert "DATE" not in header
    _, header = read(run, "map.fits")
    assert (header["NAXIS1"], header["NAXIS2"], header["BUNIT"]) == (SHAPE[1], SHAPE[0], "Jy/beam")
    assert header["RESTFRQ"] == header["RESTFREQ"] == 1.4e9
    beam = RadioBeam.from_fits_header(header)
    assert beam.major.to_value("arcsec") == pytest.approx(8.0)
    assert read(run, "mask.fits")[1]["CLASS3"] == "extended"


def test_map_opens_in_spectral_cube(made):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from spectral_cube import Projection

        with fits.open(made[0].root / "field" / "map.fits") as hdus:
            plane = Projection.from_hdu(hdus[0])
    assert str(plane.unit) == "Jy / beam"
    assert plane.beam.minor.to_value("arcsec") == pytest.approx(8.0)
    assert plane.shape == SHAPE


def test_facts_tell_the_field(made):
    run, facts = made
    assert facts["objects"] == sum(facts["classes"].values()) == 45
    assert facts["distinct_objects"] == 45
    assert facts["spurious"] == 0
    assert facts["brightened"] == 0
    assert facts["map"]["n_blank"] == 0
    assert facts["map"]["rms_jy_beam"] == pytest.approx(RMS, rel=0.1)
    truth = read_columns_file(run.root / "field" / "truth.parquet")
    assert 0.05 < facts["fill"] < 0.3
    assert facts["detectable"] == truth["detectable"].sum()
    assert facts["snr_quantiles"][4] <= 10 * (1 + 1e-6)


def test_estimate_is_an_upper_bound(made):
    run, _ = made
    estimate = ASSEMBLE.estimate(run)
    sizes = [path.stat().st_size for path in (run.root / "field").iterdir()]
    assert estimate.tasks == 4
    assert estimate.files >= len(sizes)
    assert estimate.bytes + 3_000_000 >= sum(sizes)


def spoil(name):
    """Return a damage to one file of the layout or of the images, 3500 bytes before its end."""

    def damage(folder):
        with (folder / name).open("rb+") as handle:
            handle.seek(-3500, 2)
            handle.write(b"\x7f" * 40)

    return damage


def test_damage_is_found_and_named_for_its_task(made, tmp_path):
    run = make_run(tmp_path, shape=SHAPE, objects=45, band_rows=128)
    rounds = Rounds(run, ASSEMBLE, run.fingerprint)
    with SerialExecutor().crew(ASSEMBLE, run) as crew:
        results = run_tasks(rounds, crew)
    assert set(results) == {"layout", "band-0", "band-1", "band-2"}
    ASSEMBLE.seal(run, results)
    assert Reading(run.output).find_damage(results) == set()
    for name, task in (("map.fits", "band-2"), ("shapes.npy", "layout"), ("layout.parquet", "layout")):
        before = (run.output / name).read_bytes()
        spoil(name)(run.output)
        assert Reading(run.output).find_damage(results) == {task}
        (run.output / name).write_bytes(before)
        assert Reading(run.output).find_damage(results) == set()
    for name in ("map.fits", "mask.fits", "instances.fits"):
        before = (run.output / name).read_bytes()
        row = results["band-1"]["ranges"][name]["offset"]
        (run.output / name).write_bytes(before[:row] + bytes([before[row] ^ 1]) + before[row + 1 :])
        assert Reading(run.output).find_damage(results) == {"band-1"}
        (run.output / name).write_bytes(before)
    # What the bands were made from is gone, so that all of them are made again; a band stands alone.
    assert rounds.forget({"band-1"}) == {"band-1"}
    rounds.records.record("band-1", results["band-1"], {})
    assert rounds.forget({"layout"}) == set(results)
    assert rounds.records.results() == {}


def test_damaged_pieces_are_made_again(made, tmp_path):
    run = make_run(tmp_path, shape=SHAPE, objects=45, band_rows=128)
    published, done = bring_damaged(run, ASSEMBLE, spoil("map.fits"), spoil("shapes.npy"))
    everything = ["layout", "band-0", "band-1", "band-2"]
    assert done == [*everything, "band-2", *everything]
    assert published.facts == made[1]
    assert published.files == digests(run) == digests(made[0])


def test_another_kind_of_machine_is_refused(tmp_path):
    """The record names libraries, and the instructions of functions that have several; no torch."""
    run = make_run(tmp_path, shape=SHAPE, objects=5)
    Worker(ASSEMBLE, run)
    path = run.records.folder / ".numerics.json"
    found = read_record(path)
    assert found.keys() == {"numpy", "scipy", "exp", "log"}
    assert found["exp"]
    path.unlink()
    write_record(path, found | {"exp": "abacus"})
    with pytest.raises(ConfigError, match=r"exp: abacus then, .* now"):
        Worker(ASSEMBLE, run)


def test_finish_may_run_twice(made, tmp_path):
    run = make_run(tmp_path, shape=SHAPE, objects=45)
    assemble_stage = replace(
        ASSEMBLE,
        seal=lambda r, q: (ASSEMBLE.seal(r, q), ASSEMBLE.seal(r, q))[1],
        finish=lambda r, q: (ASSEMBLE.finish(r, q), ASSEMBLE.finish(r, q))[1],
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.field.small_sky.ASSEMBLE", assemble_stage)
        assemble(run)
    assert digests(run) == digests(made[0])


def test_overlapping_objects_show_the_later_one(tmp_path):
    shape, settings = (40, 240), {"objects": 90, "reuse": 4, "max_overlap": 1.0, "detect_snr": 2.0}
    run = make_run(tmp_path, shape=shape, **settings)
    assemble(run)
    image, instances = read(run, "map.fits")[0], read(run, "instances.fits")[0]
    table = read_columns_file(run.root / "field" / "placements.parquet")
    expected = beam_noise(Window.of_shape(shape), BEAM, PIXEL, 3, ("assemble", "noise")) * np.float32(RMS)
    expected, top, unsure = expected.astype(np.float64), np.zeros(shape, np.int32), np.zeros(shape, bool)
    faint, inside, beyond = np.zeros(shape, np.int32), {}, {}
    for row, whole in added_pixels(run, table, shape, BEAM, PIXEL):
        expected += whole
        beyond[row["id"]] = 1 - whole.sum() / (row["flux_jy"] * row["beam_area_pix"])
        level = min(3 * row["sigma_jy_beam"], 0.5 * row["peak_jy_beam"])
        unsure |= abs(whole - level) < 1e-4 * level
        (top if row["detectable"] else faint)[whole >= level] = row["id"]
        if row["detectable"]:
            inside[row["id"]] = whole >= level
    assert image == pytest.approx(expected, abs=1e-5 * RMS)
    shown = np.where(top > 0, top, -faint)
    # Faint ones never cover others, nor those of their kind that came before.
    assert np.array_equal(instances[~unsure & (top > 0)], shown[~unsure & (top > 0)])
    assert np.array_equal(instances[~unsure] != 0, shown[~unsure] != 0)
    check_blends(run, table, inside)
    check_flags(run, beyond)
    assert np.bincount(table["object"]).max() <= 4
    for rows in (1, 64):
        other = make_run(tmp_path / str(rows), shape=shape, band_rows=rows, **settings)
        assemble(other)
        assert digests(other) == digests(run)


def check_flags(run, beyond):
    """Compare the flags of every catalogue with the part of the flux that is added beyond the field."""
    folder = run.root / "field"
    truth = read_columns_file(folder / "truth.parquet")
    cut = set(truth["id"][truth["flags"] == 1].tolist())
    assert {number for number, part in beyond.items() if part > 1e-4} <= cut
    assert len(cut) < len(truth["id"])
    assert max(beyond[number] for number in truth["id"].tolist() if number not in cut) < 1e-5
    tables = [fits.getdata(folder / f"{name}.fits") for name in ("truth", "truth_components")]
    tables.append(parse(folder / "truth.vot").get_first_table().array)
    for table in (*tables, read_columns_file(folder / "truth_components.parquet")):
        assert set(np.asarray(table["id"])[np.asarray(table["flags"]) == 1].tolist()) == cut


def check_blends(run, table, inside):
    """Compare the list of overlaps and the groups with those of the whole images of all sources."""
    overlaps = read_columns_file(run.root / "field" / "truth_overlaps.parquet")
    listed = {
        (a, b): n for a, b, n in zip(*(overlaps[c].tolist() for c in ("id", "other", "n_pix")), strict=True)
    }
    ids = sorted(inside)
    pairs = {(a, b): int((inside[a] & inside[b]).sum()) for a in ids for b in ids if a < b}
    # A pixel at the level itself may fall on either side.
    assert set(listed) == {pair for pair, n in pairs.items() if n > 0}
    assert all(abs(n - pairs[pair]) <= 1 for pair, n in listed.items())
    assert len(listed) > 3
    label = {a: a for a in ids}
    touching = [(a, b) for a, b in pairs if (binary_dilation(inside[a], np.ones((3, 3))) & inside[b]).any()]
    for _ in ids:
        for a, b in touching:
            label[a] = label[b] = min(label[a], label[b])
    found = dict(zip(table["id"].tolist(), table["blend"].tolist(), strict=True))
    assert {a: found[a] for a in ids} == label
    sizes = dict(zip(table["id"].tolist(), table["blend_size"].tolist(), strict=True))
    assert all(sizes[a] == list(label.values()).count(label[a]) for a in ids)
    assert all(found[a] == a and sizes[a] == 1 for a in found if a not in label)


def test_spurious_objects_are_in_the_map_and_never_in_the_truth(tmp_path):
    run = make_run(tmp_path, shape=SHAPE, objects=40, spurious=True, detect_snr=1.0)
    facts = assemble(run)
    placements = read_columns_file(run.root / "field" / "placements.parquet")
    truth = read_columns_file(run.root / "field" / "truth.parquet")
    mask, instances = read(run, "mask.fits")[0], read(run, "instances.fits")[0]
    # Six streaks were accepted beside 48 sources.
    assert facts["spurious"] == (placements["class"] == 1).sum() == 5
    assert len(truth["id"]) == 40
    assert set(truth["class"]) == {2, 3}
    assert (mask == 1).any()
    assert (instances[mask == 1] == 0).all()
    assert np.array_equal(placements["drawn"] == 1, placements["class"] == 1)
    assert np.array_equal(np.unique(abs(instances)), np.arange(41))
    streaks = {name: values[placements["class"] == 1] for name, values in placements.items()}
    image = read(run, "map.fits")[0] - beam_noise(
        Window.of_shape(SHAPE), BEAM, PIXEL, 3, ("assemble", "noise")
    ) * np.float32(RMS)
    for row, whole in added_pixels(run, streaks, SHAPE, BEAM, PIXEL):
        core = whole > 0.2 * whole.max()
        assert image[core] == pytest.approx(whole[core], abs=0.01 * RMS)
        assert row["k"] == pytest.approx(row["snr"])


def test_an_infinite_field_is_refused(made, tmp_path):
    state = Assembly(made[0])
    state.folder = shutil.copytree(made[0].root / "field", tmp_path / "field")
    table = read_columns_file(state.folder / LAYOUT)
    table["k"] = np.where(table["id"] == 1, 1e300, table["k"])
    write_columns_file(state.folder / LAYOUT, table, LAYOUT_COLUMNS)
    with (
        np.errstate(invalid="ignore", over="ignore"),
        pytest.raises(ConfigError, match="infinite or NaN in rows 0 to 299"),
    ):
        state.make(Window.of_shape(SHAPE))


def test_missing_user_files_are_named(tmp_path):
    run = make_run(tmp_path)
    for settings in (
        {"density": "none.fits"},
        {"flux": {"mode": "catalogue", "catalogue": "none.csv"}},
        {"background": {"kind": "map", "path": "none.fits"}},
    ):
        with pytest.raises(ConfigError, match="there is no file none"):
            ASSEMBLE.sources(again(run, **settings))
