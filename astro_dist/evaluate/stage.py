"""The stage that measures the model on cutouts that it was not trained on.

The stage plans in three rounds: stamps are drawn, then each row of images is judged, then the figures are
computed from the arrays of all rows. The product holds the results of all rounds: ``drawn/`` (stamps in units
of the noise), ``judged/`` (arrays per image) and ``metrics.json``.
"""

import io
import json
from pathlib import Path
from typing import Any

from astro_dist.engine.files import publish_bytes
from astro_dist.engine.work import Estimate, Results, Run, Stage, Task
from astro_dist.evaluate.config import EvaluateConfig
from astro_dist.generate.config import GenerateConfig
from astro_dist.models.device import numerics, pin
from astro_dist.models.judges import JUDGES
from astro_dist.models.presets import PRESETS
from astro_dist.store.config import CutoutsConfig
from astro_dist.train.config import TrainingConfig

METRICS = "metrics.json"
HEADLINES = (
    ("kid_excess", "generated"),
    ("frechet", "generated"),
    ("frechet", "real"),
    ("segmentation_ratio", "generated"),
    ("island_ratio", "generated"),
    ("flux_bias_dex", "generated"),
    ("copy_features_share", "trained"),
)


def plan(run: Run, results: Results) -> list[Task]:
    """Return the tasks of all rounds whose earlier rounds are done."""
    from astro_dist.evaluate.masks import SETS, HeldOutMasks
    from astro_dist.evaluate.rows import TRAIN, rows_of

    n, step = HeldOutMasks(run).n, run.section(EvaluateConfig).per_task
    tasks = [
        Task(f"draw-{name}-{first // step:04}", {"name": name, "first": first, "end": min(first + step, n)})
        for name in SETS
        for first in range(0, n, step)
    ]
    if any(task.name not in results for task in tasks):
        return tasks
    tasks += [Task(f"judge-{row}", {"row": row}) for row in (TRAIN, *rows_of(_target(run)))]
    if any(task.name not in results for task in tasks):
        return tasks
    return [*tasks, Task("measure")]


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


class Evaluator:
    """The open state of a worker: the model that draws and the networks that judge, loaded when needed."""

    def __init__(self, run: Run) -> None:
        from astro_dist.evaluate.masks import HeldOutMasks
        from astro_dist.evaluate.networks import Networks
        from astro_dist.evaluate.rows import RowJudge

        self.run, self.masks = run, HeldOutMasks(run)
        self.judge = RowJudge(self.masks, Networks(run), run.output / "drawn", _target(run))
        self._maker: Any = None

    def do(self, task: Task) -> dict[str, Any]:
        """Do a task of any round and return the sha256 of the file it wrote."""
        if "name" in task.args:
            return self._draw(**task.args)
        # At every task: a drawing before in the same process has set the threads of `generate`.
        pin(self.run.section(EvaluateConfig).threads)
        if "row" in task.args:
            row = task.args["row"]
            return self._keep(Path("judged") / f"{row}.npz", self.judge.judge(row))
        return self._measure()

    def _draw(self, name: str, first: int, end: int) -> dict[str, Any]:
        import numpy as np

        from astro_dist.engine.stopping import check_stop

        maker, parts = self._open_maker(), []
        pin(maker.settings.threads)
        for start in range(first, end, maker.settings.micro_batch):
            check_stop()
            indices = range(start, min(start + maker.settings.micro_batch, end))
            stamps = maker.draw(indices, [self.masks.choose(name, i) for i in indices])
            # In units of the noise of the mask's donor, as the real cutouts are.
            parts.append(stamps.image_jy_beam / stamps.rms_jy_beam[:, None, None])
        return self._keep(Path("drawn") / f"{name}-{first:06}.npy", np.concatenate(parts))

    def _open_maker(self) -> Any:
        """Return what draws stamps, as `generate` is set to, but for masks and skies of cutouts."""
        from astro_dist.generate.config import MasksConfig
        from astro_dist.generate.stamps import StampMaker

        if self._maker is None:
            settings = self.run.section(GenerateConfig)
            plain = settings.model_copy(update={"masks": MasksConfig(), "background": None})
            self._maker = StampMaker(self.run.having(plain))
        return self._maker

    def _measure(self) -> dict[str, Any]:
        import numpy as np

        from astro_dist.evaluate.figures import FEW_IMAGES, MEANINGS, FigureTable, to_json
        from astro_dist.evaluate.rows import ROWS

        folder = self.run.output / "judged"
        rows = {path.stem: dict(np.load(path)) for path in sorted(folder.glob("*.npz"))}
        measured = FigureTable(self.run, self.masks, rows)
        figures = to_json(measured.measure())
        settings, n = self.run.section(EvaluateConfig), self.masks.n
        drawn = self.run.section(GenerateConfig)
        report = {
            "target": _target(self.run),
            "images_per_set": n,
            "training_images": len(self.masks.train),
            "splits": list(settings.splits),
            "interval": f"95 % of {settings.resamples} bootstrap resamples of the images",
            "headline": "kid" if n < FEW_IMAGES else "frechet",
            "sampler": drawn.model_dump(include={"sampler", "steps", "eta", "guidance"}),
            "rows": {r: {"meaning": ROWS[r].meaning, "blind": ROWS[r].blind} for r in ROWS if r in rows},
            "meanings": MEANINGS,
            "figures": figures,
            "power": _round(measured.curves()),
            "sky": _round(measured.sky()),
        }
        text = json.dumps(report, indent=1) + "\n"
        digest = publish_bytes(self.run.output / METRICS, text.encode())
        values = {(f["name"], f["row"]): f["value"] for f in figures}
        headlines = {f"{name}_{row}": values.get((name, row)) for name, row in HEADLINES}
        return {"sha256": {METRICS: digest}, "facts": {"images_per_set": n, **headlines}}

    def _keep(self, name: Path, value: Any) -> dict[str, Any]:
        """Publish an array or a mapping of arrays; NumPy writes no time, so the bytes are stable."""
        import numpy as np

        buffer = io.BytesIO()
        if isinstance(value, dict):
            np.savez(buffer, **value)
        else:
            np.save(buffer, value)
        path = self.run.output / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return {"sha256": {str(name): publish_bytes(path, buffer.getvalue())}}


def _round(curves: dict[str, list[float]]) -> dict[str, list[float]]:
    return {name: [float(f"{value:.6g}") for value in values] for name, values in curves.items()}


def _target(run: Run) -> str:
    """Return the target of the published model; the settings may name that of a model still to be trained."""
    folder = run.product("models/diffusion") / "conditioner"
    return str(json.loads((folder / "config.json").read_text())["target"])


def _prepare(run: Run) -> None:
    run.output.mkdir(parents=True, exist_ok=True)


def _run(evaluator: Evaluator, task: Task) -> dict[str, Any]:
    return evaluator.do(task)


def _finish(run: Run, results: Results) -> dict[str, Any]:
    """Return the headline figures."""
    return dict(results["measure"]["facts"])


EVALUATE = Stage(
    name="evaluate",
    product="evaluation",
    plan=plan,
    run=_run,
    prepare=_prepare,
    open=Evaluator,
    finish=_finish,
    estimate=estimate,
    sections=("evaluate", "generate"),
    reads=("cutouts", "diffusion", "byol", "segmenter"),
    own="evaluate",
    inputs=("cutouts", "autoencoder", "diffusion", "byol", "segmenter"),
    numerics=numerics,
    gpu=True,
    schema=2,
)
