"""What the open folder tells of the hidden rows: attempts to predict them from numbers, pixels and texts."""

import re

import numpy as np
import pytest
from astropy.io import fits
from scipy.stats import chi2_contingency

from astro_dist.challenge.config import ChallengeConfig
from astro_dist.challenge.names import OPEN, SCORED
from astro_dist.challenge.package import find_notes
from astro_dist.challenge.packing import Packing
from astro_dist.field.columns import read_columns_file
from tests.challenge import small
from tests.field import small_sky

PROPERTIES = ("x_pix", "y_pix", "flux_jy", "snr", "major_arcsec", "intrinsic_pa_deg", "population", "class")
DIGITS = re.compile(rb"\d+\.\d{5,}(?:[eE][-+]?\d+)?")


@pytest.fixture(scope="module")
def rows(folder):
    """The open rows as they are given out, and the scored ones of the hidden truth."""
    opened = read_columns_file(folder / "public/training/truth.parquet")
    hidden = read_columns_file(folder / "hidden/truth.parquet")
    scored = hidden["area"] == SCORED
    return opened, {name: values[scored] for name, values in hidden.items() if name in opened}


def features(table):
    """What could be known of a row without seeing it: the size, digits and bits of its number."""
    number = table["id"].astype(np.int64)
    bits = number[:, None] >> np.arange(0, 31, 5) & 1
    rank = np.argsort(np.argsort(number)) / len(number)
    columns = [np.ones(len(number)), number / 2**31, rank, number % 10 / 10, number % 97 / 97, *bits.T]
    return np.stack(columns, axis=1)


@pytest.mark.parametrize("name", PROPERTIES)
def test_a_fit_to_the_open_rows_predicts_no_hidden_one(rows, name):
    """Even where the numbers of the hidden rows were known: the mean of the open ones does as well."""
    opened, hidden = rows
    fit = np.linalg.lstsq(features(opened), opened[name].astype(float), rcond=None)[0]
    true = hidden[name].astype(float)
    error = np.mean((features(hidden) @ fit - true) ** 2)
    assert error > 0.9 * np.var(true)


def test_a_fit_to_half_of_the_hidden_rows_predicts_no_other(rows):
    """With many rows to learn from: what is learnt of one half says nothing of the other."""
    _, hidden = rows
    chance = np.random.default_rng(3).permutation(len(hidden["id"]))
    learnt, other = np.array_split(chance, 2)
    for name in PROPERTIES:
        values = hidden[name].astype(float)
        fit = np.linalg.lstsq(features(hidden)[learnt], values[learnt], rcond=None)[0]
        error = np.mean((features(hidden)[other] @ fit - values[other]) ** 2)
        assert error > 0.75 * np.var(values[other]), name


def test_no_value_of_an_open_row_is_that_of_a_hidden_one(run, rows, folder):
    """Sources may share a drawn object, turned, resized and at another flux: nothing is left the same."""
    opened, hidden = rows
    for name in opened:
        if opened[name].dtype.kind != "f" or len(np.unique(hidden[name])) < len(hidden["id"]) / 2:
            continue
        known = np.unique(opened[name][np.isfinite(opened[name]) & (opened[name] != 0)])
        # A point has the widths of the beam, to its last bits.
        beam = np.isclose(hidden[name], 8.0, rtol=1e-5)
        assert not np.isin(hidden[name][~beam], known).any(), name
    # What is left of sharing, which is about the shape, is counted and said to the organiser.
    packing = Packing.open(run, run.root / "field", ChallengeConfig(tile_pix=128))
    (note,) = find_notes(packing)
    field = read_columns_file(run.root / "field/truth.parquet")
    area = dict(zip(packing.truth["run_id"].tolist(), packing.truth["area"].tolist(), strict=True))
    objects = {OPEN: set(), SCORED: []}
    for number, *key in zip(*(field[n].tolist() for n in ("id", "stamp", "instance")), strict=True):
        if area[number] == OPEN:
            objects[OPEN].add(tuple(key))
        elif area[number] == SCORED:
            objects[SCORED].append(tuple(key))
    shared = sum(key in objects[OPEN] for key in objects[SCORED])
    assert shared > 0
    assert note.startswith(f"{shared} of {len(objects[SCORED])} scored sources share a drawn object")


def test_objects_of_one_use_leave_nothing_to_say(tmp_path):
    once = small.make_run(tmp_path / "run", n_stamps=20, objects=30, reuse=1)
    assert find_notes(Packing.open(once, once.root / "field", ChallengeConfig())) == []


def test_no_noise_is_used_twice_and_no_bit_marks_a_source(run, folder, judge):
    """Four pixels in a row are nowhere repeated, and the last bits of pixels are alike on and off sources."""
    image = fits.getdata(folder / "public/map.fits").astype(np.float32)
    grain = 2.0 ** np.floor(np.log2(1e-3 * small_sky.RMS))
    assert np.array_equal(np.rint(image / grain) * grain, image)
    # As the field has them, sums of floats, they are not alike: this test would see it.
    field = fits.getdata(run.root / "field/map.fits").astype(np.float32)
    assert parities(field.view(np.uint32), judge).pvalue < 1e-4
    assert parities(np.rint(image / grain).astype(np.int64), judge).pvalue > 1e-3
    runs = np.lib.stride_tricks.sliding_window_view(image, 4, axis=1).reshape(-1, 4)
    packed = np.ascontiguousarray(runs).view(np.dtype((np.void, 16))).ravel()
    assert len(np.unique(packed)) == len(packed)


def parities(numbers, judge):
    """Compare the last bits of pixels on sources, faint ones included, and off them."""
    marked = fits.getdata(judge.folder / "hidden/instances.fits") > 0
    return chi2_contingency([np.bincount(numbers[where] & 15, minlength=16) for where in (marked, ~marked)])


def test_no_text_of_the_open_folder_holds_a_number_of_a_hidden_row(rows, folder):
    opened, hidden = rows
    exact = [name for name in hidden if hidden[name].dtype.kind == "f"]
    secrets = {f"{v:.6g}" for name in exact for v in hidden[name].tolist() if np.isfinite(v)}
    secrets -= {f"{v:.6g}" for name in exact for v in opened[name].tolist()}
    secrets = {value for value in secrets if len(re.sub(r"\D", "", value).lstrip("0")) == 6}
    assert len(secrets) > 1000
    said = set()
    for path in (folder / "public").rglob("*"):
        if path.suffix in (".json", ".md", ".csv", ".cff", ".txt", ".reg", ".crtf", ".vot", ".js"):
            said |= {f"{float(number):.6g}" for number in DIGITS.findall(path.read_bytes())}
    assert len(said) > 100
    # Two of a million numbers of six digits may be the same by chance.
    assert len(said & secrets) <= 2 + len(said) * len(secrets) / 2e5
