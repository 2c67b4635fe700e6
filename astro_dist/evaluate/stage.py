"""The stage that measures the model on cutouts that it was not trained on."""

from astro_dist.engine.later import Later
from astro_dist.engine.work import Estimate, Run, Stage, make_folder
from astro_dist.evaluate.config import EvaluateConfig
from astro_dist.generate.config import GenerateConfig
from astro_dist.models.judges import JUDGES
from astro_dist.models.presets import PRESETS
from astro_dist.store.config import CutoutsConfig
from astro_dist.train.config import TrainingConfig


def estimate(run: Run) -> Estimate:
    """Return an upper bound of the cost: drawing three sets, judging six rows and the training images."""
    settings, generate = run.section(EvaluateConfig), run.section(GenerateConfig)
    size_pix = run.section(CutoutsConfig).size_pix
    area = (size_pix / 64) ** 2
    # The presets give the cost of a training step; a forward pass alone is about a third of it.
    drawn = PRESETS[run.section(TrainingConfig, "diffusion").preset]
    draw_s = (generate.calls + 2) * drawn.costs["diffusion"][1] / 3
    presets = {name: run.section(TrainingConfig, name).preset for name in ("byol", "segmenter")}
    judge_s = sum(JUDGES[preset].costs[name][1] / 3 for name, preset in presets.items())
    return Estimate(
        tasks=3 * -(-settings.stamps // settings.per_task) + 8,  # 6 rows, the training images, the figures
        # Three sets of float32 stamps, and for each image of a row about 8,000 bytes of arrays: half of them
        # histograms, a quarter features.
        bytes=settings.stamps * (3 * size_pix**2 * 4 + 6 * 8000) + 200_000_000,
        files=3 * -(-settings.stamps // settings.per_task) + 10,
        memory_bytes=int(1.5e9 + 40 * settings.stamps * size_pix**2),
        cpu_s=settings.stamps * area * (3 * draw_s + 6 * judge_s),
        exact=False,
    )


EVALUATE = Stage(
    name="evaluate",
    product="evaluation",
    plan=Later("astro_dist.evaluate.rounds:plan"),
    run=Later("astro_dist.evaluate.evaluator:run_task"),
    prepare=make_folder,
    open=Later("astro_dist.evaluate.evaluator:Evaluator"),
    finish=Later("astro_dist.evaluate.rounds:finish"),
    estimate=estimate,
    sections=("evaluate", "generate"),
    reads=("cutouts", "diffusion", "byol", "segmenter"),
    own="evaluate",
    inputs=("cutouts", "autoencoder", "diffusion", "byol", "segmenter"),
    numerics=Later("astro_dist.models.device:numerics"),
    gpu=True,
    schema=2,
)
