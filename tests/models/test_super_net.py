"""Networks, noise and samplers of super-resolution."""

import itertools
import math
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from astro_dist.engine.errors import TimeUpError
from astro_dist.engine.stopping import STOP_AT
from astro_dist.models.diffusers_types import DPMSolverMultistepScheduler
from astro_dist.models.noise_blocks import BLOCK_PIX, draw_noise
from astro_dist.models.super_levels import LAST_LOG_SNR, Sampler, even_levels, gammas, log_snr
from astro_dist.models.super_net import SuperNet, embed_level, enlarge_bicubic
from astro_dist.models.super_presets import SUPER, settings_of
from astro_dist.models.super_res import SuperRes
from astro_dist.pictures.images import resize

MILLIONS = {"sr3": 101.6, "code": 99.5, "improved": 106.9}


def made(name, width=8, planes=1, **facts):
    torch.manual_seed(1)
    network = SuperNet(**settings_of(name, width, planes), **facts).eval()
    for parameter in network.parameters():
        # Zero weights would hide what the network sees.
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    return network


@pytest.mark.parametrize("name", SUPER)
def test_the_presets_have_their_sizes(name):
    with torch.device("meta"):
        network = SuperNet(**settings_of(name))
    millions = sum(p.numel() for p in network.parameters()) / 1e6
    assert millions == pytest.approx(MILLIONS.get(name, SUPER[name].cost[0] / 1e6), rel=0.05)


@pytest.mark.parametrize("name", SUPER)
def test_a_network_takes_any_level(name):
    network, x = made(name, planes=3), torch.randn(2, 3, 32, 32)
    level = torch.tensor([0.3, 0.999])
    with torch.no_grad():
        one = network(x, level, x)
        other = network(x, level + 1e-4, x)
    assert one.shape == x.shape
    assert not torch.equal(one, other)
    assert bool(one.isfinite().all())


@pytest.mark.parametrize("name", ["tiny", "local"])
def test_an_untrained_network_that_adds_to_the_bicubic_enlargement_predicts_nothing(name):
    network = SuperNet(**settings_of(name, 8, 1))
    x = torch.randn(1, 1, 16, 16)
    assert not network(x, torch.tensor([0.5]), x).any()


def test_neighbouring_levels_are_told_apart_where_they_are_scaled():
    """Near 1 the root of gamma hardly changes; the sinusoids see 5,000 times that, or log SNR."""
    gamma = torch.tensor([1 - 1e-6, 1 - 1e-3])
    near = {name: float(embed_level(gamma, name).diff().abs()) for name in ("root", "scaled_root", "log_snr")}
    assert near["root"] < 1e-3
    assert near["scaled_root"] > 2
    assert near["log_snr"] > 100


def test_the_base_is_that_of_pillow():
    picture = np.random.default_rng(1).random((1, 12, 12)).astype(np.float32)
    ours = enlarge_bicubic(torch.from_numpy(picture)[None])[0].numpy()
    np.testing.assert_allclose(ours, resize(picture, 24), atol=1e-6)


def changed(network, calls, place, side=48):
    """Where a sample changes, in pixels of the input, when one of these changes."""
    image = np.random.default_rng(1).random((1, side, side)).astype(np.float32)
    other = image.copy()
    other[0, place, place] += 5
    model = SuperRes(network, Sampler(calls=calls))
    apart = (model.draw(image) != model.draw(other))[0]
    return apart.reshape(side, 2, side, 2).any((1, 3))


@pytest.mark.parametrize("calls", [1, 2])
def test_the_stated_reach_is_the_reach(calls):
    """Nothing beyond the halo changes; after one call something at its last pixel does."""
    network = made("local", stretch="asinh")
    model = SuperRes(network, Sampler(calls=calls))
    halo = model.halo_pix
    assert halo <= calls * model.reach_pix
    rows = np.flatnonzero(changed(network, calls, 24).any(1))
    assert 24 - halo <= rows.min() < rows.max() <= 24 + halo
    # The share of what a second call adds so far away is below the last bit.
    assert calls > 1 or rows.max() - rows.min() == 2 * halo


def test_networks_with_norms_over_pixels_state_no_reach():
    assert changed(made("tiny", stretch="asinh"), 1, 4).all()
    assert SuperRes(made("tiny")).halo_pix is None


@pytest.mark.parametrize("method", ["dpm++", "ancestral"])
def test_tiles_are_the_whole(method):
    """Tiles with a halo, cut off at the border of the map, give what the whole map gives."""
    model = SuperRes(made("local", stretch="asinh"), Sampler(method, 2), seed=3)
    image = np.random.default_rng(1).standard_normal((1, 96, 80)).astype(np.float32)
    whole, halo = model.draw(image, 1, (10, 100)), model.halo_pix
    for y, x in itertools.product((0, 32, 64), (0, 40)):
        top, left = max(0, y - halo), max(0, x - halo)
        tile = image[:, top : y + 32 + halo, left : x + 40 + halo]
        drawn = model.draw(tile, 1, (10 + top, 100 + left))
        inner = drawn[:, 2 * (y - top) :, 2 * (x - left) :][:, :64, :80]
        np.testing.assert_allclose(
            inner, whole[:, 2 * y : 2 * y + 64, 2 * x : 2 * x + 80], atol=1e-5 * whole.std()
        )


def test_noise_belongs_to_its_place():
    whole = draw_noise(1, 0, 0, (-70, 5), (2, 200, 150))
    assert whole.std() == pytest.approx(1, abs=0.02)
    part = draw_noise(1, 0, 0, (-70 + 33, 5 + BLOCK_PIX), (2, 60, 70))
    np.testing.assert_array_equal(part, whole[:, 33:93, BLOCK_PIX : BLOCK_PIX + 70])
    for other in ((2, 0, 0), (1, 1, 0), (1, 0, 1)):
        assert (
            abs(np.corrcoef(draw_noise(*other, (-70, 5), (2, 200, 150)).ravel(), whole.ravel())[0, 1]) < 0.02
        )


def test_the_schedule_is_that_of_the_public_code():
    assert gammas()[-1] == pytest.approx(4.4e-5, rel=0.1)
    assert gammas(500)[-1] == pytest.approx(0.081, rel=0.02)
    spaced = [log_snr(gamma) for gamma in even_levels(15)]
    np.testing.assert_allclose(np.diff(spaced), (LAST_LOG_SNR - spaced[0]) / 14, rtol=1e-9)


class Ideal(nn.Module):
    """The best prediction for Gaussian images of one spread: nothing is left to chance but the noise."""

    def __init__(self, spread):
        super().__init__()
        self.spread, self.told = spread, []

    def forward(self, x, gamma, base):
        self.told.append(float(gamma[0]))
        return x

    def clean_of(self, x, predicted, gamma):
        power = gamma * self.spread**2
        return gamma**0.5 * self.spread**2 / (power + 1 - gamma) * x

    def to_target(self, large, base):
        return large - base

    def from_target(self, target, base):
        return base + target


def noises(call):
    return torch.from_numpy(draw_noise(1, 0, call, (0, 0), (1, 128, 128)))[None]


@pytest.mark.parametrize(
    ("method", "calls", "least", "most"),
    [("dpm++", 15, 0.95, 1.05), ("ddim", 50, 0.8, 1.0), ("ancestral", 500, 0.94, 1.02)],
)
def test_with_an_ideal_network_samples_keep_the_spread(method, calls, least, most):
    ideal = Ideal(0.1)
    base = torch.zeros(1, 1, 128, 128)
    drawn = Sampler(method, calls).sample(ideal, base, noises)
    assert least < float(drawn.std()) / 0.1 < most
    assert len(ideal.told) == calls
    assert ideal.told == sorted(ideal.told)


def test_dpm_is_that_of_diffusers():
    """diffusers rounds its times to whole steps, here 10,000 fine ones."""
    log_gamma = np.interp(np.linspace(0, 2000, 10_001), np.arange(2001), np.r_[0, np.log(gammas())])
    scheduler = DPMSolverMultistepScheduler(
        trained_betas=-np.expm1(np.diff(log_gamma)),
        num_train_timesteps=10_000,
        use_lu_lambdas=True,
        prediction_type="sample",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        scheduler.set_timesteps(12)
    ideal, x = Ideal(0.3), noises(0)
    for timestep in scheduler.timesteps:
        gamma = float(scheduler.alphas_cumprod[timestep])
        x = scheduler.step(ideal.clean_of(x, x, gamma), timestep, x).prev_sample
    ours = Sampler("dpm++", 12).sample(ideal, torch.zeros_like(x), noises)
    # Their last level is that of the betas, log SNR 6.9 and more, so that a little of the difference stays.
    assert float((ours - x).abs().max()) < 0.05
    assert float(ours.std() / x.std()) == pytest.approx(1, abs=0.03)


def test_matching_noise_begins_at_its_level():
    begun = []

    def draw(call):
        begun.append(call)
        return torch.ones(1, 1, 8, 8)

    base = torch.full((1, 1, 8, 8), 0.5)
    network = made("code", planes=1)
    gamma = gammas(500)[-1]
    x = Sampler("ancestral", 500, "matching")._begin(network, base, draw, gamma)
    np.testing.assert_allclose(x.numpy(), math.sqrt(gamma) * 0.5 + math.sqrt(1 - gamma), rtol=1e-6)
    assert begun == [0]


def test_a_stop_ends_a_sample_at_its_next_call(monkeypatch):
    """And not at its end: of thousands of calls that may be hours away."""
    seen = []

    def noise(call):
        seen.append(call)
        if call == 3:
            monkeypatch.setenv(STOP_AT, "0")
        return torch.zeros(1, 1, 16, 16)

    with pytest.raises(TimeUpError):
        Sampler("ancestral", 2000).sample(made("local"), torch.zeros(1, 1, 16, 16), noise)
    assert seen == [0, 1, 2, 3]
