"""Maps doubled by a network: the same bytes however the work is shared, uncertainties, refusals."""

import json
import random
import shutil

import numpy as np
import pytest
from astropy.io import fits

from astro_dist.enhance.calibration import Calibration
from astro_dist.enhance.inventions import BLOCK_PIX, Judge
from astro_dist.enhance.likeness import Likeness
from astro_dist.enhance.map_checks import measure_windows
from astro_dist.enhance.projection import halve_mean
from astro_dist.enhance.tiles import BICUBIC, MORE_SAMPLES, OTHER_BEAM, Source, TileMaker
from astro_dist.sky.windows import Window
from tests.enhance import fits_images, scaling


@pytest.fixture(scope="module")
def doubled(tmp_path_factory):
    """Configuration and run directory of a simulated map that is doubled, done in this process."""
    return scaling.double(tmp_path_factory.mktemp("doubled"), **scaling.SMALL)


def test_products_of_a_network(doubled):
    product = doubled / "run" / "enhanced"
    given = fits.getdata(doubled / "run" / "maps" / "simulated-00.fits")
    mean, one, width = (
        fits.getdata(product / f"simulated-00{end}.fits") for end in ("", "-sample-00", "-uncertainty")
    )
    for image in (mean, one):
        assert np.nanmax(np.abs(halve_mean(image[None])[0] - given)) <= 1e-6 * np.nanmax(given)
    assert (width[np.isfinite(mean)] > 0).all()
    said = {
        end: " ".join(fits.getheader(product / f"simulated-00{end}.fits")["HISTORY"])
        for end in ("", "-sample-00")
    }
    assert all("what a network expects, the mean of 2 first calls" in one for one in said.values())
    assert [end for end, one in said.items() if "sample 0 of the network alone" in one] == ["-sample-00"]
    assert np.abs(mean - one).max() > 0
    found = json.loads((product / "calibration.json").read_text())
    assert found["calibration"]["pixels"][0] > 0
    assert ((fits.getdata(product / "simulated-00-flags.fits") & 0xC0) == 0).all()


@pytest.mark.parametrize("executor", ["processes", "ray"])
def test_bytes_do_not_depend_on_who_worked_and_was_killed(doubled, tmp_path, executor):
    scaling.disturb(doubled, tmp_path / "run", executor, 1, random.Random(7))


def test_tiles_are_the_whole_map(doubled, tmp_path):
    """Nine tiles, and one."""
    found = scaling.seams(doubled, tmp_path / "run", 384)
    assert len(found) == 3
    assert max(found.values()) <= 1e-4


class Inventor:
    """A network that adds a bright pixel, in every sample or in the first ones."""

    halo_pix = 2

    def __init__(self, most, height=1.5):
        self.most, self.height = most, height

    def expect(self, tile, sample, origin):
        return self.draw(tile, sample, origin)

    def draw(self, tile, sample, origin):
        large = tile.repeat(2, 1).repeat(2, 2)
        if sample < self.most:
            large[:, 100 - 2 * origin[0], 80 - 2 * origin[1]] = self.height
        return large.astype(np.float32)


@pytest.mark.parametrize(
    ("most", "flag"), [(0, 0), (2, MORE_SAMPLES), (99, MORE_SAMPLES | BICUBIC)], ids=["none", "some", "all"]
)
def test_no_invented_source_stays(most, flag):
    rng = np.random.default_rng(2)
    image = rng.normal(0, 1, (1, 96, 96)).clip(-3.5, 3.5).astype(np.float32)
    ones = np.ones(image.shape, np.float32)
    source = Source(image, 0 * ones, ones, Window(0, 96, 0, 96))
    judge = Judge(5, 4, 3.0)
    tile = TileMaker(judge, Inventor(most), "asinh", 2, 16, 0).make(source, source.window)
    assert not judge.find(tile.image_PHW, source.snr_Phw).any()
    assert tile.flags_HW.max() == flag
    block = 100 // 2 // BLOCK_PIX, 80 // 2 // BLOCK_PIX
    inside = tile.flags_HW[2 * BLOCK_PIX * block[0] :, 2 * BLOCK_PIX * block[1] :]
    assert (inside[: 2 * BLOCK_PIX, : 2 * BLOCK_PIX] == flag).all()
    ways = [one["replaced_by"] for one in tile.invented]
    assert ways == ["more samples", "projected bicubic"][: flag.bit_count()]
    assert np.abs(halve_mean(tile.image_PHW) - image).max() < 1e-9


CHESS = np.indices((64, 64)).sum(0) % 2 * np.float32(2) - np.float32(1)
"""Ones and minus ones, whose 2 x 2 means are 0."""


class Doubtful:
    """A network whose samples lie above and below what it expects."""

    halo_pix = 2

    def draw(self, tile, sample, origin):
        return self.expect(tile, sample, origin) + np.float32(0.05 if sample % 2 else -0.05) * CHESS

    def expect(self, tile, sample, origin):
        return tile.repeat(2, 1).repeat(2, 2) + np.float32(0.02) * CHESS


@pytest.mark.parametrize("estimate", ["mean", "expected"])
def test_what_is_expected_is_published_beside_the_spread_of_samples(estimate):
    zeros = np.zeros((1, 32, 32), np.float32)
    source = Source(zeros, zeros, zeros + 1, Window(0, 32, 0, 32))
    maker = TileMaker(Judge(5, 4, 3.0), Doubtful(), "asinh", 3, 8, 1, estimate)
    tile = maker.make(source, source.window)
    # The stretch backwards, in units of the noise.
    samples = 2 * np.sinh(2 * np.array([-0.03, 0.07, -0.03]))
    wanted = {"mean": samples.mean(), "expected": 2 * np.sinh(2 * 0.02)}[estimate]
    np.testing.assert_allclose(tile.image_PHW[0], wanted * CHESS, atol=1e-6)
    np.testing.assert_allclose(tile.spread_PHW, samples.std(ddof=1), atol=1e-6)
    np.testing.assert_allclose(tile.samples_NPHW[0][0], samples[0] * CHESS, atol=1e-6)


def test_intervals_hold_what_they_say():
    rng = np.random.default_rng(3)
    spread = rng.uniform(0.2, 2, 40_000)
    # Errors three times as wide as the spread, and wider still for bright pixels.
    level = np.where(rng.random(40_000) < 0.2, 8.0, 0.0)
    error = rng.standard_t(4, 40_000) * spread * np.where(level > 5, 6, 3)
    half = slice(None, 20_000), slice(20_000, None)
    scaled = Calibration.fit(error[half[0]], spread[half[0]], level[half[0]])
    again = Calibration.from_json(json.loads(json.dumps(scaled.to_json())))
    for bright in (False, True):
        chosen = (level[half[1]] > 5) == bright
        for share, width in zip((0.68, 0.95), again.widths(spread[half[1]], level[half[1]]), strict=True):
            covered = (np.abs(error[half[1]]) <= width)[chosen].mean()
            assert share - 0.03 <= covered <= share + 0.03


def test_other_images_are_told_apart():
    rng = np.random.default_rng(4)
    from scipy.ndimage import gaussian_filter

    def piece(sigma):
        noise = gaussian_filter(rng.normal(0, 1, (32, 32)), sigma)
        return noise + gaussian_filter(np.where(rng.random((32, 32)) > 0.995, 30.0, 0), 1)

    def pieces(sigma, count):
        return np.stack([piece(sigma) for _ in range(count)])

    like = Likeness.fit(pieces(0.7, 200), pieces(1.4, 200))
    like = Likeness.from_json(json.loads(json.dumps(like.to_json())))
    same = np.mean(like.distances(pieces(0.7, 200)) > like.limit)
    text = np.kron(rng.integers(0, 2, (8, 8)), np.ones((4, 4)))
    other = like.distances(pieces(1.6, 50)) > like.limit
    assert same <= 0.02
    assert np.mean(other) >= 0.95
    assert like.distances(text[None])[0] > like.limit
    # Noise alone, level and unit aside, tells beams of other widths in pixels.
    for sigma, least in ((0.7, 0.0), (1.05, 0.5), (1.4, 0.95)):
        apart = like.texture.excess(7 + 3 * pieces(sigma, 50), 32) > 1
        assert least <= np.mean(apart) <= (1 if least else 0.06)
    half = piece(0.7)
    half[:, :12] = np.nan
    # A window has the same numbers among others as alone, with and without data in places.
    several = np.stack([half, piece(0.7), np.full((32, 32), np.nan), np.ones((32, 32)), piece(1.6)] * 30)
    several[1, 5, 5] = np.inf
    alone = np.concatenate([like.distances(one[None]) for one in several])
    np.testing.assert_array_equal(like.distances(several), alone)
    assert np.isnan(alone).tolist() == [False, False, True, False, False] * 30
    assert like.distances(several[:0]).shape == (0,)
    # Of several planes those with data count.
    planes = np.stack([several[2], several[4]])
    assert measure_windows(like, planes)[0][0] == alone[4]
    assert like.texture.excess(half[None], 32)[0] < 1
    # A run of an earlier version measured no smoothness.
    assert Likeness.from_json({**like.to_json(), "texture": None}).distances(half[None])[0] > 0


@pytest.fixture
def refusing(doubled, command, tmp_path):
    """Enhance files by the network of a copied run, which refuses what is unlike its training."""
    shutil.copytree(doubled / "run", tmp_path / "run")

    def call(*files):
        words = ("--out", tmp_path / "run", "--redo", "enhance", "--on", "serial", "--set")
        own = f"enhance.files=[{', '.join(map(str, files))}]"
        return command("enhance", doubled / "maps.yaml", *words, own, "--set", "enhance.unlike=refuse")

    return call


def stripes(path):
    """Write what no sky looks like, without a beam, which would be refused before."""
    rng = np.random.default_rng(5)
    image = np.sin(np.arange(256) / 2)[:, None] * np.ones(256) + rng.normal(0, 0.01, (256, 256))
    return fits_images.write(path, image.astype(np.float32), beam=False)


def test_a_map_unlike_the_training_is_refused_with_distance_and_limit(refusing, tmp_path):
    done = refusing(stripes(tmp_path / "stripes.fits"))
    assert done.returncode == 2
    assert "unlike those of the training (median distance" in done.stderr


def test_one_map_of_two_that_is_unlike_the_training_is_left_out_with_its_reason(doubled, refusing, tmp_path):
    given = fits.getdata(doubled / "run" / "maps" / "simulated-00.fits")
    like = fits_images.write(tmp_path / "like.fits", halve_mean(given[None])[0], beam=False)
    done = refusing(like, stripes(tmp_path / "stripes.fits"))
    assert done.returncode == 4, done.stderr
    assert "enhance: 1 quarantined" in done.stderr
    assert "stripes.fits: 100 % of its windows are unlike those of the training" in done.stderr
    assert not list((tmp_path / "run" / "enhanced").glob("stripes*"))
    assert (tmp_path / "run" / "enhanced" / "like.fits").exists()


def test_a_beam_that_is_none_of_the_training_is_refused_with_value_and_range(doubled, command, tmp_path):
    """The simulated map itself: its beam is twice as wide, in pixels, as that of its halved cutouts."""
    shutil.copytree(doubled / "run", tmp_path / "run")
    learnt = json.loads((tmp_path / "run" / "models" / "superres" / "config.json").read_text())["beam_pix"]
    words = ("--out", tmp_path / "run", "--redo", "enhance", "--on", "serial")
    done = command("enhance", doubled / "maps.yaml", *words, "--set", "enhance.unlike=refuse")
    assert done.returncode == 2
    assert f"its beam is {2 * learnt[0]:.3g} pixels wide, and the network learnt from" in done.stderr
    # Flagged, and not refused, in the run itself.
    flags = fits.getdata(doubled / "run" / "enhanced" / "simulated-00-flags.fits")
    assert (flags & OTHER_BEAM == OTHER_BEAM).all()
