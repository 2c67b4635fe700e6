"""A package is whole, opens everywhere, and its open part says nothing of the hidden one."""

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from scipy.stats import spearmanr

from astro_dist.challenge.about import About, verify_package
from astro_dist.challenge.area import Areas, choose_areas
from astro_dist.challenge.config import EASY_SEED, ChallengeConfig, seed_notes
from astro_dist.challenge.names import BETWEEN, BITS, HIDDEN_COLUMNS, OPEN, SCORED, TRUTH_COLUMNS
from astro_dist.challenge.origins import find_origins
from astro_dist.challenge.package import find_notes, find_parts, pack
from astro_dist.challenge.packing import Packing
from astro_dist.challenge.papers import write_papers
from astro_dist.challenge.stage import PACKAGE
from astro_dist.challenge.truth import draw_ids, find_populations
from astro_dist.engine.config import fingerprint
from astro_dist.engine.custody import remove
from astro_dist.engine.errors import ConfigError
from astro_dist.engine.files import tree_digests
from astro_dist.engine.ledger import Ledger, Published
from astro_dist.engine.outputs import Reading
from astro_dist.engine.work import for_stage
from astro_dist.field.columns import read_columns_file
from astro_dist.field.config import AssembleConfig
from astro_dist.sky.user_files import read_table
from astro_dist.sky.windows import Window
from tests.challenge import small
from tests.field import small_sky

FILES = {
    *("README.md", "LICENSE.md", "CITATION.cff", "challenge.json", "manifest.json"),
    *("croissant.json", "ro-crate-metadata.json", "map.fits", "rms.fits", "psf.fits", "score_mask.fits"),
    *("submission/template.csv", "submission/tiles.json"),
    *(f"training/{name}" for name in ("map.fits", "mask.fits", "instances.fits", "coco.json")),
    *(f"training/truth{end}" for end in (".parquet", ".fits", ".vot", ".reg", ".crtf")),
    *("training/truth_sdc1.txt", "training/truth_sdc1_columns.txt"),
}
VIEWER = {
    *(f"viewer/{name}" for name in ("index.html", "viewer.css", "about.js", "truth.js")),
    *(f"viewer/{name}.js" for name in ("sky", "pixels", "table", "viewer", "map/0/000-000")),
    *(f"viewer/labels/{level}/000-000.js" for level in (0, 2)),
}


def public_texts(folder):
    """Yield the name and the bytes of every public file."""
    for path in sorted((folder / "public").rglob("*")):
        if path.is_file():
            yield path, path.read_bytes()


def test_the_files_are_those_that_the_readme_lists(folder):
    assert set(tree_digests(folder / "public")) == FILES | VIEWER
    hidden = {name.removeprefix("training/") for name in FILES if "truth" in name}
    assert set(tree_digests(folder / "hidden")) == {
        *(VIEWER - {"viewer/map/0/000-000.js"}), "viewer/stamps.js",
        *hidden, "mask.fits", "instances.fits", "coco.json", "run.json", "manifest.json"
    }  # fmt: skip
    assert verify_package(folder) == []


def test_the_map_has_the_pixels_of_the_field_and_a_header_of_its_own(run, folder):
    with (
        fits.open(run.root / "field/map.fits") as field,
        fits.open(folder / "public/map.fits", checksum=True) as given,
    ):
        given.verify("exception")
        # On a grid whose step is a thousandth of the noise at most.
        assert np.allclose(field[0].data, given[0].data, rtol=0, atol=5e-4 * small_sky.RMS, equal_nan=True)
        assert "SEED" in field[0].header
        assert "HISTORY" in field[0].header
        assert not {"SEED", "MODELSHA", "GENERATR", "HISTORY", "DATE"} & set(given[0].header)
        assert WCS(given[0].header).wcs.compare(WCS(field[0].header).wcs)


def test_mask_and_instances_are_those_of_the_field_under_new_numbers(run, folder):
    truth = read_columns_file(folder / "hidden/truth.parquet")
    old = fits.getdata(run.root / "field/instances.fits")
    new = fits.getdata(folder / "hidden/instances.fits")
    again = dict(zip(truth["run_id"].tolist(), truth["id"].tolist(), strict=True))
    assert np.array_equal(np.vectorize(lambda n: again.get(n, 0))(old), new)
    assert np.array_equal(
        fits.getdata(run.root / "field/mask.fits"), fits.getdata(folder / "hidden/mask.fits")
    )
    box = About.read(folder).areas.training
    for name in ("mask.fits", "instances.fits"):
        whole, part = (fits.getdata(folder / part / name) for part in ("hidden", "public/training"))
        assert np.array_equal(whole[box.slices], part)
    header = fits.getheader(folder / "public/training/mask.fits", 1)
    wcs, whole_wcs = WCS(header), WCS(fits.getheader(folder / "public/map.fits"))
    assert np.allclose(
        wcs.wcs_pix2world([[0, 0]], 0), whole_wcs.wcs_pix2world([[box.x0, box.y0]], 0), atol=1e-12
    )


@pytest.mark.parametrize("part", ["hidden", "public/training"])
def test_every_form_of_the_truth_holds_the_same_rows(folder, part):
    truth = read_columns_file(folder / part / "truth.parquet")
    assert list(truth) == list(TRUTH_COLUMNS if part != "hidden" else HIDDEN_COLUMNS)
    assert (np.diff(truth["id"]) > 0).all()
    for name in ("truth.fits", "truth.vot"):
        table = Table.read(folder / part / name)
        for column in TRUTH_COLUMNS:
            given, values = np.asarray(table[column]), truth[column]
            given = given.astype(str) if column == "class_name" else given
            assert np.array_equal(given, values, equal_nan=values.dtype.kind == "f"), column
    sdc1 = np.loadtxt(folder / part / "truth_sdc1.txt", ndmin=2)
    assert np.array_equal(sdc1[:, 0], truth["id"])
    assert np.array_equal(sdc1[:, -1], truth["population"])
    for name in ("truth.reg", "truth.crtf"):
        text = (folder / part / name).read_text()
        assert text.count("ellipse") == len(sdc1)
        assert all(str(number) in text for number in truth["id"])


def test_fluxes_in_other_bands_are_in_both_truths_and_in_what_describes_them(tmp_path):
    flux = {"mode": "counts", "counts": {"limit_jy": 5e-5}, "bands_hz": [887.5e6, 3e9]}
    run = small.make_run(tmp_path / "run", flux=flux, objects=None, shape=(300, 360))
    folder, more = (
        small.package(run, tmp_path / "package", training_share=0.2),
        ["flux_887_5mhz_jy", "flux_3000mhz_jy"],
    )
    old = read_columns_file(run.root / "field/truth.parquet")
    row = {number: i for i, number in enumerate(old["id"].tolist())}
    hidden = read_columns_file(folder / "hidden/truth.parquet")
    rows = [row[number] for number in hidden["run_id"].tolist()]
    opened, truth = np.flatnonzero(hidden["area"] == OPEN), folder / "public/training/truth"
    assert 0 < len(opened) < len(rows)
    for name in more:
        assert np.array_equal(hidden[name], old[name][rows])
        assert np.array_equal(read_columns_file(truth.with_suffix(".parquet"))[name], hidden[name][opened])
        for end in (".fits", ".vot"):
            table = Table.read(truth.with_suffix(end))
            assert np.array_equal(table[name], hidden[name][opened])
            assert str(table[name].unit) == "Jy"
        assert f"| `{name}` | Jy | flux_jy at " in (folder / "public/README.md").read_text()
        assert f'"column":"{name}"' in re.sub(r"\s", "", (folder / "public/croissant.json").read_text())
    # The columns of SDC1 are what they are.
    assert np.loadtxt(f"{truth}_sdc1.txt", ndmin=2).shape == (len(opened), 12)


def test_a_blend_keeps_its_members_under_the_new_numbers(run, folder):
    old = read_columns_file(run.root / "field/truth.parquet")
    new = read_columns_file(folder / "hidden/truth.parquet")
    blends = {number: {*old["id"][old["blend"] == number].tolist()} for number in np.unique(old["blend"])}
    found = {frozenset(new["run_id"][new["blend"] == number].tolist()) for number in np.unique(new["blend"])}
    assert found == {frozenset(members) for members in blends.values()}
    assert np.isin(new["blend"], new["id"]).all()


def test_the_areas_are_apart_by_more_than_the_largest_source(folder, judge):
    about, truth = judge.about, judge.truth
    largest = max(truth["height"].max(), truth["width"].max())
    assert about.areas.guard_pix > largest
    box = about.areas.training
    assert box.height * box.width == pytest.approx(0.05 * np.prod(about.shape), rel=0.02)
    for area, y, x, height, width in zip(
        *(truth[n] for n in ("area", "y0", "x0", "height", "width")), strict=True
    ):
        touches = Window(y, y + height, x, x + width) & box is not None
        assert touches == (area == OPEN)
    assert set(np.unique(truth["area"])) == {SCORED, OPEN, BETWEEN}
    mask = fits.getdata(folder / "public/score_mask.fits")
    closed = about.areas.closed
    edge = int(np.ceil(2 * 4))  # two beam widths of 8 arcsec in pixels of 2 arcsec
    expected = np.full(about.shape, BITS["edge"])
    expected[edge:-edge, edge:-edge] = 0
    expected[closed.slices] = BITS["between"]
    expected[box.slices] = BITS["training"]
    assert np.array_equal(mask == 0, expected == 0)
    assert (mask[box.slices] & BITS["training"]).all()
    y, x = (np.rint(truth[name]).astype(int) for name in ("y_pix", "x_pix"))
    assert (truth["area"][mask[y, x] == 0] == SCORED).all()


def test_a_field_too_small_for_an_area_is_refused(judge):
    with pytest.raises(ConfigError, match="take more than half of the field of 400 x 460 pixels"):
        choose_areas(judge.truth, judge.about.shape, ChallengeConfig(training_share=0.5))


def test_rms_is_the_local_noise(folder, judge):
    rms = fits.getdata(folder / "public/rms.fits")
    assert rms.shape == judge.about.shape
    assert np.allclose(rms, small_sky.RMS, rtol=1e-6)


def test_detectable_is_peak_or_flux_over_the_local_noise(judge):
    truth, least = judge.truth, judge.about.detect_snr
    assert np.allclose(truth["snr"], truth["peak_jy_beam"] / truth["sigma_jy_beam"], rtol=1e-6)
    best = np.maximum(truth["snr"], truth["integrated_snr"])
    assert np.array_equal(truth["detectable"] == 1, best >= least)
    assert 0 < np.count_nonzero(best < least) < len(best)


def test_images_are_packed_but_for_the_map_that_programs_map_into_memory(folder):
    for part, packed in (("public", {"rms.fits", "psf.fits", "score_mask.fits"}), ("hidden", {"mask.fits"})):
        for path in (folder / part).glob("*.fits"):
            with fits.open(path, disable_image_compression=True) as hdus:
                found = any("ZIMAGE" in hdu.header for hdu in hdus)
            assert found == (path.name in packed | {"instances.fits"}), path


def test_terms_and_papers_are_those_of_the_weights_that_were_used(judge, tmp_path):
    ledger = Ledger(tmp_path)
    settings = {"diffusion": {"diffusion": {"start_from": "told"}}}
    basis = {"settings": settings["diffusion"], "inputs": {}}
    ledger.publish("diffusion", Published(64 * "a", basis, "models/diffusion", {}))
    origins = find_origins(tmp_path)
    write_papers(tmp_path, judge.about, origins, {})
    terms, cited = ((tmp_path / name).read_text() for name in ("LICENSE.md", "CITATION.cff"))
    for survey, paper in (
        ("FIRST", "Becker et al. 1995"),
        ("SUMSS", "Bock et al. 1999"),
        ("SCORPIO", "Umana"),
    ):
        assert survey in terms
        assert paper in cited
    assert "non-commercial use" in terms
    assert "Use the map as the strictest of these allows" in terms


def test_nothing_public_holds_what_would_make_the_field_again(run, folder):
    published = run.ledger.published("assemble")
    secrets = [str(run.seed), fingerprint(published.files)[:12], *(d[:12] for d in published.files.values())]
    hidden = read_columns_file(folder / "hidden/truth.parquet")
    secret_ids = [str(n) for n in hidden["id"][hidden["area"] != OPEN]]
    for path, content in public_texts(folder):
        assert not any(secret.encode() in content for secret in secrets), path
        if path.suffix in (".json", ".md", ".csv", ".cff", ".txt", ".reg", ".crtf", ".vot"):
            words = set(re.findall(rb"\d+", content))
            assert not words & {number.encode() for number in secret_ids}, path
            assert not re.search(rb"stamp|donor|turn_deg|catalogue_row|seed", content), path
    for name in ("training/truth.fits", "training/truth.parquet", "training/instances.fits"):
        assert "stamp" not in TRUTH_COLUMNS, name


@pytest.mark.parametrize(("seed", "same"), [(1, 0), (small.SEED, 1)])
def test_a_run_with_everything_public_makes_no_hidden_source(folder, judge, tmp_path, seed, same):
    """A participant has size, beam, place and flux law right, the survey and the code, and not the seed."""
    header = fits.getheader(folder / "public/map.fits")
    about = json.loads((folder / "public/challenge.json").read_text())
    again = small_sky.make_run(
        tmp_path / "guess",
        seed=seed,
        shape=about["shape"],
        objects=120,
        reuse=6,
        flux=small.FLUX,
        ra_deg=header["CRVAL1"],
        dec_deg=header["CRVAL2"],
    )
    small_sky.assemble(again)
    guess = read_columns_file(again.root / "field/truth.parquet")
    hidden = judge.truth
    # With the seed it is the field again: nothing but the seed is kept back here.
    for name in ("x_pix", "flux_jy"):
        assert np.isin(guess[name], hidden[name]).mean() == same, name


def test_numbers_predict_nothing(judge):
    """Neither order nor gaps of the open numbers tell where, how bright or how many hidden sources are."""
    truth = judge.truth
    for name in ("run_id", "ra_deg", "dec_deg", "flux_jy", "snr", "area"):
        assert spearmanr(truth["id"], truth[name]).pvalue > 0.001, name
    opened = truth["id"][truth["area"] == OPEN]
    # The highest open number would bound the number of sources, were these counted.
    assert opened.max() > 1000 * len(truth["id"])


def test_random_numbers_are_all_different_and_a_prefix_of_more(run):
    few, more = draw_ids(np.arange(10), run.stream), draw_ids(np.arange(5000), run.stream)
    assert np.array_equal(few[:8], more[:8])
    assert len(np.unique(more)) == 5000
    assert 1 <= more.min() <= more.max() < 2**31


def test_populations_follow_the_stated_rule():
    truth = {
        "class": np.array([3, 2, 2, 2, 2]),
        "spectral_index": np.array([-0.2, -0.2, -0.8, -0.8, np.nan]),
        "flux_jy": np.array([1e-4, 1e-4, 1e-4, 1e-3, 1e-3]),
    }
    assert find_populations(truth, 1.4e9).tolist() == [1, 2, 3, 1, 1]
    # At 5 GHz a steep source is fainter than at 1.4 GHz.
    assert find_populations({**truth, "flux_jy": np.full(5, 1.5e-4)}, 5e9).tolist() == [1, 2, 1, 1, 1]


def test_the_same_run_gives_the_same_bytes_with_and_without_the_hidden_part(run, folder, tmp_path):
    packing = Packing.open(run, run.root / "field", ChallengeConfig(tile_pix=128))
    pack(packing, tmp_path / "again", public_only=True)
    assert tree_digests(tmp_path / "again") == {
        name: digest for name, digest in tree_digests(folder).items() if name.startswith("public/")
    }


def test_a_package_is_whole_or_not_there(run, tmp_path, monkeypatch):
    out = tmp_path / "out"
    out.mkdir()
    packing = Packing.open(run, run.root / "field", ChallengeConfig())
    with pytest.raises(ConfigError, match="exists already"):
        pack(packing, out)
    out.rmdir()

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("astro_dist.challenge.package.finish", stop)
    with pytest.raises(KeyboardInterrupt):
        pack(packing, out)
    assert list(tmp_path.iterdir()) == []


def test_verify_names_changed_lost_and_added_files(folder, tmp_path, command):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    assert command("verify", copy).returncode == 0
    assert command("verify", copy / "public").returncode == 0
    (copy / "public/README.md").write_text("other\n")
    (copy / "hidden/coco.json").unlink()
    (copy / "hidden/more").write_text("")
    done = command("verify", copy)
    assert done.returncode == 3
    assert done.stdout.splitlines() == [
        f"{copy}/public/README.md: has other bytes than were published",
        f"{copy}/hidden/coco.json: is missing",
        f"{copy}/hidden/more: is in no manifest",
    ]


def test_metadata_list_every_file_with_its_digest(folder):
    digests = tree_digests(folder / "public")
    crate = json.loads((folder / "public/ro-crate-metadata.json").read_text())
    parts = {one["@id"]: one["sha256"] for one in crate["@graph"] if one["@type"] == "File"}
    assert parts == {name: digests[name] for name in FILES - {"ro-crate-metadata.json", "manifest.json"}}
    croissant = json.loads((folder / "public/croissant.json").read_text())
    listed = {one["@id"]: one["sha256"] for one in croissant["distribution"]}
    others = {"croissant.json", "ro-crate-metadata.json", "manifest.json"}
    assert listed == {name: digests[name] for name in FILES - others}
    columns = [one["source"]["extract"]["column"] for one in croissant["recordSet"][0]["field"]]
    assert columns == list(TRUTH_COLUMNS)
    root = next(one for one in crate["@graph"] if one["@id"] == "./")
    assert {one["@id"] for one in root["hasPart"]} == {*parts, "viewer/"}
    # No clock is read, so that a date is given by SOURCE_DATE_EPOCH alone.
    assert not {"datePublished"} & {*root, *croissant}
    assert croissant["citeAs"].startswith("small-challenge: a data challenge on a synthetic radio map")


def test_the_template_is_a_catalogue_of_open_sources(folder):
    table = read_table(
        folder / "public/submission/template.csv", ("ra_deg", "dec_deg", "flux_jy", "id")
    ).columns
    opened = read_columns_file(folder / "public/training/truth.parquet")
    assert len(table["id"]) == 3
    assert np.isin(table["id"], opened["id"]).all()


def test_areas_place_by_boxes_and_centroids():
    areas = Areas((100, 100), Window(40, 60, 40, 60), 10)
    assert areas.closed == Window(30, 70, 30, 70)
    truth = {
        "y0": np.array([0, 38, 30]),
        "x0": np.array([0, 38, 30]),
        "height": np.array([5, 5, 5]),
        "width": np.array([5, 5, 5]),
    }
    truth |= {name: truth[f"{name[0]}0"] + 2.0 for name in ("y_pix", "x_pix")}
    assert areas.place(truth).tolist() == [SCORED, OPEN, BETWEEN]


def test_as_a_stage_it_has_the_same_bytes_in_any_order_and_after_damage(run, folder):
    settings = replace(
        run.settings, sections={**run.settings.sections, "challenge": ChallengeConfig(tile_pix=128)}
    )
    stage_run = for_stage(replace(run, settings=settings), PACKAGE, "e" * 64)
    PACKAGE.prepare(stage_run)
    state = PACKAGE.open(stage_run)
    tasks = PACKAGE.plan(stage_run, {})
    assert {task.name for task in tasks} == find_parts(state.packing.field.shape, state.packing.config).keys()
    results = {task.name: PACKAGE.run(state, task) for task in reversed(tasks)}
    reading = Reading(stage_run.output)
    assert reading.find_damage(results) == set()
    assert reading.unstated == set()
    for name, task in (("public/map.fits", "map"), ("hidden/coco.json", "hidden_labels")):
        path = stage_run.output / name
        path.write_bytes(path.read_bytes()[:-9] + b"otherbyte")
        assert Reading(stage_run.output).find_damage(results) == {task}
        PACKAGE.run(state, next(one for one in tasks if one.name == task))
    facts = PACKAGE.finish(stage_run, results)
    assert PACKAGE.finish(stage_run, results) == facts
    assert facts["scored"] + facts["open"] + facts["between"] == len(
        read_columns_file(folder / "hidden/truth.parquet")["id"]
    )
    assert facts["notes"] == find_notes(state.packing)
    assert tree_digests(stage_run.output) == tree_digests(folder)
    assert PACKAGE.check(stage_run.output) == []
    remove(stage_run.output)


def test_a_small_seed_is_remarked_on():
    assert seed_notes(1)[0].startswith("the seed 1 can be found by trying")
    assert seed_notes(EASY_SEED) == []


def test_the_plan_is_an_upper_bound_and_remarks_on_a_small_seed(run, folder):
    sections = {**run.settings.sections, "challenge": ChallengeConfig()}
    planned = replace(run, settings=replace(run.settings, sections=sections))
    estimate = PACKAGE.estimate(planned)
    assert estimate.notes == ()
    own = run.section(AssembleConfig).model_copy(update={"seed": 12})
    assert "the seed 12 can be found" in PACKAGE.estimate(planned.having(own)).notes[0]
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    # Of so small a field the papers are a large part.
    assert sum(sizes) < estimate.bytes + 1_000_000
    assert len(sizes) <= estimate.files + 10


def test_the_psf_is_the_beam_and_what_a_run_does_not_have_is_said_absent(folder, judge):
    about = judge.about
    psf = fits.getdata(folder / "public/psf.fits")
    side = psf.shape[0] // 2
    assert psf[side, side] == psf.max() == 1
    assert psf.sum() == pytest.approx(about.beam.area_pix(about.pixel), rel=1e-5)
    header = fits.getheader(folder / "public/psf.fits", 1)
    assert header["BMAJ"] == pytest.approx(about.beam.major_arcsec / 3600)
    said = json.loads((folder / "public/challenge.json").read_text())
    assert said["fields"] == len(said["bands"]) == 1
    assert said["primary_beam"] is None
    assert {said["bands"][0][name] for name in ("map", "rms", "psf")} <= FILES
    assert "No primary beam was stated" in (folder / "public/README.md").read_text()
