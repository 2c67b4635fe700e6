import numpy as np
import pytest

from astro_dist.report import samples
from astro_dist.sky.classes import SourceClass
from astro_dist.sky.symmetries import apply_symmetry
from astro_dist.store.reader import StoreReader
from tests.report.small_run import RMS, STAMP, add_stores, make_run, publish


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = make_run(tmp_path_factory.mktemp("samples"))
    add_stores(run)
    return run


def test_examples_are_stamps_of_their_class(run):
    found = samples.read_examples(run, 4)
    assert list(found) == ["compact", "extended", "spurious"]
    assert all(example.masks.shape == (4, STAMP, STAMP) for example in found.values())
    assert not np.isin(found["compact"].masks, [1, 3]).any()
    assert (found["extended"].masks == 3).any(axis=(1, 2)).all()
    assert (found["spurious"].masks == 1).any(axis=(1, 2)).all()


def test_a_real_cutout_is_turned_as_its_mask_was(run):
    example = samples.read_examples(run, 30)["extended"]
    stamps, cutouts = StoreReader(run.product("stamps.zarr")), StoreReader(run.product("cutouts.zarr"))
    masks = stamps.read("mask", range(len(stamps)))
    positions = np.flatnonzero((masks == 3).any(axis=(1, 2)))
    for column, stamp in enumerate(positions):
        donor, turn = stamps.columns["donor"][stamp], int(stamps.columns["symmetry"][stamp])
        np.testing.assert_array_equal(apply_symmetry(cutouts.read("mask", [donor])[0], turn), masks[stamp])
        real = apply_symmetry(cutouts.read("image", [donor])[0] / np.float32(RMS), turn)
        np.testing.assert_allclose(example.rows["real"][column], real, rtol=1e-5, atol=1e-5)
        image = stamps.read("image", [stamp])[0] / RMS
        np.testing.assert_allclose(example.rows["generated"][column], image, rtol=1e-5)
    inside = masks[positions] == 3
    assert example.rows["real"][inside].mean() > 5 * abs(
        np.nanmean(example.rows["real"][masks[positions] == 0])
    )


def test_noise_is_added_only_where_the_network_draws_on_an_empty_sky(run, tmp_path):
    rows = samples.read_examples(run, 2)["compact"].rows
    noise = rows["generated\nwith noise"] - rows["generated"]
    assert noise.std() == pytest.approx(1, abs=0.1)
    assert not np.array_equal(noise[0], noise[1])
    told = make_run(tmp_path)
    for name in ("cutouts.zarr", "stamps.zarr"):
        (tmp_path / name).symlink_to(run.product(name))
    publish(told, "diffusion", "models/diffusion", {"target": "source"})
    assert list(samples.read_examples(told, 2)["compact"].rows) == list(rows)
    publish(told, "diffusion", "models/diffusion", {"target": "stamp"})
    assert list(samples.read_examples(told, 2)["compact"].rows) == ["real", "generated"]


@pytest.mark.parametrize(("n", "expected"), [(1, [1]), (2, [1, 4]), (3, [1, 3, 4]), (9, [1, 3, 4])])
def test_examples_are_spread_evenly(n, expected):
    masks = np.zeros((6, 4, 4), np.uint8)
    masks[[1, 3, 4], 0, 0], masks[5, 0, 0], masks[5, 1, 1] = 2, 2, 3
    assert samples.choose_examples(masks, SourceClass.COMPACT, n).tolist() == expected[: max(n, 1)]
    assert samples.choose_examples(masks, SourceClass.EXTENDED, n).tolist() == [5]
    assert samples.choose_examples(masks, SourceClass.SPURIOUS, n).tolist() == []


def test_refused_objects_are_outlined_and_the_reasons_take_turns(run):
    refused = samples.read_refused(run, 6)
    assert len(refused.reasons) == len(refused.image_snr) == len(refused.outlines) <= 6
    assert refused.outlines.any(axis=(1, 2)).all()
    several = len(set(refused.reasons))
    assert len(set(refused.reasons[:several])) == several
    assert not any("_" in reason for reason in refused.reasons)
