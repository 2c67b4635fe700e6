"""Learning curves: JSON lines for the report and TensorBoard events, both cut back on resume.

Accelerate's trackers are off unless the setting `trackers` of a training names them, because most of them use
the network.
"""

import json
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from accelerate import Accelerator
from accelerate.tracking import GeneralTracker, filter_trackers, get_available_trackers

from astro_dist.engine.errors import ConfigError
from astro_dist.engine.files import replace_bytes


class Curves:
    """The learning curves of a training, in ``logs/STAGE.curve.jsonl`` and ``logs/tensorboard/STAGE``.

    A line holds ``step`` and the figures of that step, all floats. Lines after ``start`` were written by a
    training that was killed after its last checkpoint; they are dropped, because the resumed training writes
    them again. Of several ranks only the rank with ``leads`` writes. ``trackers`` receive the same figures.
    """

    def __init__(
        self,
        logs: Path,
        stage: str,
        start: int,
        leads: bool = True,
        trackers: Sequence[GeneralTracker] = (),
    ) -> None:
        self.leads, self.trackers = leads, trackers
        if not leads:
            return
        # The import of TensorBoard's writer may warn about its own dependencies.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from torch.utils.tensorboard.writer import SummaryWriter
        path = logs / f"{stage}.curve.jsonl"
        kept = [line for line in _lines(path) if _step(line) <= start]
        logs.mkdir(parents=True, exist_ok=True)
        # Not written in place: a link of that name would lead the writing elsewhere.
        replace_bytes(path, "".join(f"{line}\n" for line in kept).encode())
        # Buffered by lines: a kill loses no finished line.
        self.file = path.open("a", buffering=1)
        # `purge_step` hides the points that TensorBoard has from after the last checkpoint.
        self.board = SummaryWriter(str(logs / "tensorboard" / stage), purge_step=start)

    def add(self, step: int, **figures: float) -> None:
        """Add a point to each named curve."""
        if not self.leads:
            return
        # JSON has no NaN: a figure without a value has no point in this step.
        whole = {name: value for name, value in figures.items() if math.isfinite(value)}
        self.file.write(json.dumps({"step": step, **{k: round(v, 6) for k, v in whole.items()}}) + "\n")
        for name, value in whole.items():
            self.board.add_scalar(name, value, step)
        for tracker in self.trackers:
            tracker.log(whole, step=step)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Any:
        if self.leads:
            self.file.close()
            self.board.close()
            for tracker in self.trackers:
                tracker.finish()


def start_trackers(
    accelerator: Accelerator, names: Sequence[str], project: str, logs: Path, settings: dict[str, Any]
) -> Sequence[GeneralTracker]:
    """Start the trackers of Accelerate with these names, record the settings of a training, and return them.

    Raises
    ------
    ConfigError
        When a name is no tracker of Accelerate, or the package of that tracker is not installed.
    """
    known = sorted(str(name) for name in get_available_trackers())
    if absent := [name for name in names if name not in known]:
        raise ConfigError(
            f"trackers: {absent[0]} is not installed or no tracker of Accelerate's; "
            f"install its package or name others ({', '.join(known)})"
        )
    if names:
        folder = str(logs / "trackers")
        accelerator.project_configuration.logging_dir = folder
        accelerator.log_with = filter_trackers(list(names), folder)
        accelerator.init_trackers(project, {key: str(value) for key, value in settings.items()})
    return list(accelerator.trackers) if names else ()


def _lines(path: Path) -> list[str]:
    """Return the complete lines of a file whose last line may have been cut by a kill."""
    if not path.exists():
        return []
    return [line for line in path.read_text(errors="replace").split("\n")[:-1] if line.endswith("}")]


def _step(line: str) -> float:
    """Return the step of a line, infinity for a damaged one, which is then dropped."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf
