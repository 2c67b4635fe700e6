"""The tasks of `evaluate`.

The product holds the results of all rounds: ``drawn/`` (stamps in units of the noise), ``judged/`` (arrays
per image) and ``metrics.json``.
"""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from astro_dist.engine.files import publish_bytes
from astro_dist.engine.stopping import check_stop
from astro_dist.engine.work import Run, Task
from astro_dist.evaluate.config import EvaluateConfig
from astro_dist.evaluate.figures import FEW_IMAGES, MEANINGS, FigureTable, to_json
from astro_dist.evaluate.masks import HeldOutMasks
from astro_dist.evaluate.networks import Networks
from astro_dist.evaluate.rounds import read_target
from astro_dist.evaluate.rows import ROWS, RowJudge
from astro_dist.generate.config import GenerateConfig, MasksConfig
from astro_dist.generate.stamps import StampMaker
from astro_dist.models.device import pin

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


class Evaluator:
    """The open state of a worker: the model that draws and the networks that judge, loaded when needed."""

    def __init__(self, run: Run) -> None:
        self.run, self.masks = run, HeldOutMasks(run)
        self.judge = RowJudge(self.masks, Networks(run), run.output / "drawn", read_target(run))
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
        if self._maker is None:
            settings = self.run.section(GenerateConfig)
            plain = settings.model_copy(update={"masks": MasksConfig(), "background": None})
            self._maker = StampMaker(self.run.having(plain))
        return self._maker

    def _measure(self) -> dict[str, Any]:
        folder = self.run.output / "judged"
        rows = {path.stem: dict(np.load(path)) for path in sorted(folder.glob("*.npz"))}
        measured = FigureTable(self.run, self.masks, rows)
        figures = to_json(measured.measure())
        settings, n = self.run.section(EvaluateConfig), self.masks.n
        drawn = self.run.section(GenerateConfig)
        report = {
            "target": read_target(self.run),
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


def run_task(evaluator: Evaluator, task: Task) -> dict[str, Any]:
    """Do a task of any round."""
    return evaluator.do(task)
