"""What the weights of the package reach: `pytest -m soak -n 0 -s tests/enhance/test_superres_figures.py`.

No training saw the pictures.
"""

from dataclasses import replace

import numpy as np
import pytest

from astro_dist.enhance.superres_stage import RECIPE
from astro_dist.models.device import pin
from astro_dist.models.super_levels import Sampler
from astro_dist.models.super_res import SuperRes
from astro_dist.pictures.degradations import halve
from astro_dist.train.start import find_start
from tests.enhance import doubling
from tests.flare import upscaling

pytestmark = [
    pytest.mark.soak,
    pytest.mark.timeout(3 * 3600),
    pytest.mark.skipif(not upscaling.DATA.is_dir(), reason="the real pictures are not in ../shared"),
]
LEAST_GAIN = {"Hubble": 0.5, "galaxies": 0.2}
"""Lower end in dB of the interval of the gain over bicubic."""
OLD = Sampler("ancestral", 2000)
SAMPLERS = (
    *((Sampler(calls=calls), 2) for calls in (5, 10, 15, 20, 50, 200)),
    *((Sampler("ancestral", calls), 1) for calls in (500, 1000, 2000)),
    *((Sampler("ancestral", calls, "matching"), 1) for calls in (500, 1000)),
)
"""Methods, and how many samples are drawn by each."""


@pytest.fixture(scope="module")
def model():
    # Two threads wait for each other whenever something else has a core.
    pin(1)
    return SuperRes.from_pretrained(find_start(RECIPE, "enhance"))


def test_fifteen_calls_are_as_good_as_many(model):
    """Against 200 calls: power of the detail within 5 %, PSNR of the mean within 0.2 dB.

    Against 2,000 steps of the linear schedule: not shown to be farther from the true power in any octave, by
    the paired 95 % interval.
    """
    pictures = np.concatenate([doubling.held_middles(64, 2), doubling.galaxies()[::3, :, 32:96, 32:96]])
    found = {}
    for sampler, samples in SAMPLERS:
        figures = doubling.measure(replace(model, sampler=sampler), pictures, samples)
        found[sampler] = figures
        print(sampler, figures["power"].round(3), figures["single"].mean(), figures["mean"].mean())
    few, many, old = (found[sampler] for sampler in (Sampler(calls=15), Sampler(calls=200), OLD))
    np.testing.assert_allclose(few["power"], many["power"], rtol=0.05)
    assert abs(few["mean"].mean() - many["mean"].mean()) < 0.2
    farther = doubling.find_farther(few, old)
    print("farther from the true power by", farther.round(4))
    assert (farther[1] < 0).all()


def test_what_is_expected_is_above_bicubic_and_the_mean_of_samples(model):
    """At 128 x 128 pixels, with the paired 95 % interval; four samples."""
    for name, pictures in (("Hubble", doubling.held_middles()), ("galaxies", doubling.galaxies())):
        figures = doubling.measure(model, pictures, 4)
        for below, least in (("bicubic", LEAST_GAIN[name]), ("mean", 0.0)):
            gain = figures["expected"] - figures[below]
            half = 1.96 * gain.std(ddof=1) / np.sqrt(len(gain))
            print(
                name,
                len(gain),
                f"{figures['expected'].mean():.2f} dB, over {below} {gain.mean():.3f} +- {half:.3f}",
            )
            assert gain.mean() - half > least


def test_means_of_samples_are_above_bicubic(model):
    """The mean of 32 samples, with the paired 95 % interval."""
    for name, pictures in (
        ("Hubble", doubling.held_middles(64)),
        ("galaxies", doubling.galaxies()[:, :, 32:96, 32:96]),
    ):
        figures = doubling.measure(model, pictures, 32)
        gain = figures["mean"] - figures["bicubic"]
        half = 1.96 * gain.std(ddof=1) / np.sqrt(len(gain))
        print(name, len(gain), f"{gain.mean():.3f} +- {half:.3f} dB", figures["power"].round(3))
        assert gain.mean() - half > LEAST_GAIN.get(name, -np.inf)


def test_weights_that_went_on_with_galaxies_draw_their_power(tmp_path):
    """Within 10 % in each octave, mean of single samples, as galaxies of 128 x 128 pixels have it."""
    pin(1)
    pictures = doubling.all_galaxies()
    held = doubling.held_galaxies(len(pictures))
    settings = {"preset": "local", "start_from": "enhance", "steps": 3000, "lr": 1.5e-3}
    model = SuperRes.from_pretrained(doubling.train(tmp_path, pictures, held, **settings))
    true = doubling.power(pictures[held] / 255)
    small = [halve(picture, "bicubic").astype(np.float32) / 255 for picture in pictures[held]]
    ratios = []
    for sample in range(4):
        drawn = np.stack([model.draw(one, sample, (1000 * i, 0)) for i, one in enumerate(small)])
        power = doubling.power(np.clip(drawn, 0, 1))
        ratios.append(doubling.find_ratio(np.stack([power, true])))
        alike = np.exp(np.log(power / true).mean(0))
        print(len(held), "galaxies, sample", sample, ratios[-1].round(3), "alike", alike.round(3), flush=True)
    np.testing.assert_allclose(np.mean(ratios, 0), 1, atol=0.1)
