import pytest
import torch

from astro_dist.models.denoiser import build_scheduler
from astro_dist.models.presets import PRESETS
from astro_dist.models.solvers import Solver

STEPS = {"dpm++": 20, "ddim": 100, "ddpm": 100, "heun": 20}
MEAN, STD = 0.7, 0.5


def predictor(scheduler, mean=MEAN, std=STD):
    """The exact prediction for normally distributed samples of some mean and standard deviation."""
    alpha_bar = scheduler.alphas_cumprod.double()

    def predict(x, timestep):
        t = torch.as_tensor(timestep, dtype=torch.float64)
        low = alpha_bar[t.floor().long()]
        high = alpha_bar[t.ceil().long()]
        # The solvers interpolate the logarithm of signal to noise.
        odds = torch.lerp((low / (1 - low)).log(), (high / (1 - high)).log(), t % 1).exp()
        a = odds / (1 + odds)
        clean = (a.sqrt() * std**2 * x + (1 - a) * mean) / (a * std**2 + 1 - a)
        noise = (x - a.sqrt() * clean) / (1 - a).sqrt()
        if scheduler.config.prediction_type == "epsilon":
            return noise.float()
        return (a.sqrt() * noise - (1 - a).sqrt() * clean).float()

    return predict


@pytest.fixture(scope="module")
def noise():
    return torch.randn(1500, 1, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("preset", ["tiny", "paper"])
def test_every_solver_ends_in_the_distribution_that_was_learnt(name, preset, noise):
    scheduler = build_scheduler(preset)
    solver = Solver(scheduler, name, STEPS[name], 0.0, "cpu")
    samples = solver.solve(noise, predictor(scheduler), range(len(noise)))
    assert float(samples.mean()) == pytest.approx(MEAN, abs=0.06)
    assert float(samples.std()) == pytest.approx(STD, rel=0.08)


@pytest.mark.parametrize(
    ("name", "eta", "draws"), [("ddim", 0.0, False), ("ddim", 1.0, True), ("ddpm", 0, True)]
)
def test_noise_comes_from_the_seed_of_each_sample(name, eta, draws, noise):
    scheduler = build_scheduler("tiny")
    solver, predict = Solver(scheduler, name, 5, eta, "cpu"), predictor(scheduler)
    seeds = list(range(8))
    whole = solver.solve(noise[:8], predict, seeds)
    assert torch.equal(whole, solver.solve(noise[:8], predict, seeds))
    assert torch.equal(whole[[5]], solver.solve(noise[[5]], predict, [5]))
    assert torch.equal(whole, solver.solve(noise[:8], predict, seeds[::-1])) != draws


@pytest.mark.parametrize("steps", [2, 5, 40])
def test_heun_calls_the_network_twice_per_step_but_the_last(steps, noise):
    scheduler, called = build_scheduler("tiny"), []
    predict = predictor(scheduler)
    solver = Solver(scheduler, "heun", steps, 0.0, "cpu")
    solver.solve(noise, lambda x, t: (called.append(float(t)), predict(x, t))[1])
    assert len(called) == 2 * steps - 1
    assert called == sorted(called, reverse=True)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", STEPS)
def test_every_preset_can_be_solved_every_way(preset, name, noise):
    scheduler = build_scheduler(preset)
    solver = Solver(scheduler, name, 4, 0.0, "cpu")
    assert solver.solve(noise[:4], lambda x, t: 0.1 * x, range(4)).isfinite().all()
