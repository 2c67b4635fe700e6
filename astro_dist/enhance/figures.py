"""The figures of a chain on images that no training has seen: tasks measure some each, the last one sums up.

The product holds ``parts/`` (the figures of every image), ``panels/`` (images to look at) and
``metrics.json``.
"""

import io
import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.files import publish_bytes
from astro_dist.engine.ledger import Result
from astro_dist.engine.stopping import check_stop
from astro_dist.engine.work import Results, Run, Task
from astro_dist.enhance.chain_config import ChainConfig
from astro_dist.enhance.figures_config import FiguresConfig
from astro_dist.enhance.figures_table import sum_up
from astro_dist.enhance.held_out import held_out, store_of
from astro_dist.enhance.probe import answer_probe
from astro_dist.models.device import pin

METRICS, PROBE, SUM = "metrics.json", "probe", "figures"
Rows = dict[str, dict[str, Any]]
"""Figures of one image by the name of what is measured and that of the figure."""


class Measurer(Protocol):
    """What measures images of a store, and probes what the network adds."""

    def measure(self, row: int) -> tuple[Rows, dict[str, NDArray[Any]]] | None:
        """Return the figures of an image and pictures of it to look at; None where it has blank pixels."""
        ...

    def probe(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Return what the network adds to images of several kinds, and pictures of it."""
        ...

    def describe(self) -> dict[str, Any]:
        """Return how it was measured: rows, baselines, figures and references."""
        ...

    def answer(self, summed: Mapping[str, Any]) -> list[str]:
        """Return sentences about the figures."""
        ...


def plan(run: Run, results: Results) -> list[Task]:
    """Return the tasks that measure, and when these are done the one that sums up."""
    config, count = run.section(FiguresConfig), len(held_out(run, store_of(run)))
    tasks = [
        Task(f"images-{first:05}", {"first": first, "end": min(first + config.per_task, count)})
        for first in range(0, count, config.per_task)
    ]
    if "superres" in run.section(ChainConfig).chain:
        tasks.append(Task(PROBE))
    return [*tasks, Task(SUM)] if all(task.name in results for task in tasks) else tasks


class State:
    """What a worker keeps: the run, the images, and the measurer, opened when it is needed."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._measurer: Any = None

    @property
    def measurer(self) -> Any:
        """The measurer of pictures or of maps."""
        if self._measurer is None:
            self._measurer = _open(self.run)
        return self._measurer


def _open(run: Run) -> Any:
    if "maps" in run.settings.sections:
        from astro_dist.enhance.map_figures import MapMeasurer

        return MapMeasurer(run, store_of(run))
    from astro_dist.enhance.picture_figures import PictureMeasurer

    return PictureMeasurer(run, store_of(run))


def open_state(run: Run) -> State:
    """Set the threads; a `Stage.open`."""
    pin(run.section(FiguresConfig).threads)
    return State(run)


def run_task(state: State, task: Task) -> Result:
    """Do one task of `plan`."""
    if task.name == SUM:
        return _sum(state)
    if task.name == PROBE:
        found, panels = state.measurer.probe()
        return _keep(state.run, PROBE, found, panels)
    rows = held_out(state.run, store_of(state.run))[task.args["first"] : task.args["end"]]
    figures, panels = [], dict[str, list[NDArray[Any]]]()
    for number, row in enumerate(rows.tolist(), task.args["first"]):
        check_stop()
        if (measured := state.measurer.measure(row)) is None:
            continue
        figures.append(measured[0])
        if number < state.run.section(FiguresConfig).examples:
            for name, image in measured[1].items():
                panels.setdefault(name, []).append(image)
    return _keep(state.run, task.name, figures, {name: np.stack(some) for name, some in panels.items()})


def _keep(run: Run, name: str, found: Any, panels: Mapping[str, NDArray[Any]]) -> Result:
    """Publish figures and pictures; NumPy writes no time, so that the bytes are stable."""
    content = {f"parts/{name}.json": (json.dumps(_rounded(found)) + "\n").encode()}
    if panels:
        buffer = io.BytesIO()
        small: dict[str, Any] = {key: image.astype(np.float16) for key, image in panels.items()}
        np.savez_compressed(buffer, **small)
        content[f"panels/{name}.npz"] = buffer.getvalue()
    digests = {}
    for path, data in content.items():
        (run.output / path).parent.mkdir(parents=True, exist_ok=True)
        digests[path] = publish_bytes(run.output / path, data)
    return {"sha256": digests}


def _sum(state: State) -> Result:
    run, folder = state.run, state.run.output / "parts"
    images: list[Rows] = []
    for path in sorted(folder.glob("images-*.json")):
        images += json.loads(path.read_text())
    probe = folder / f"{PROBE}.json"
    config, chain = run.section(FiguresConfig), run.section(ChainConfig)
    described = state.measurer.describe()
    draw = partial(run.stream, "evaluate", "resamples")
    summed = sum_up(images, described["baselines"], draw, config.resamples)
    probed = json.loads(probe.read_text()) if probe.exists() else None
    found = {
        "images": len(images),
        "split": config.split,
        "chain": list(chain.chain),
        "sampler": chain.model_dump(include={"solver", "calls", "samples"}, mode="json"),
        "interval": f"95 % of {config.resamples} bootstrap resamples of the images",
        **described,
        **summed,
        "probe": probed,
        "answers": [*state.measurer.answer(summed), *answer_probe(probed)],
    }
    text = json.dumps(_rounded(found), indent=1) + "\n"
    return {"sha256": {METRICS: publish_bytes(run.output / METRICS, text.encode())}}


def _rounded(found: Any) -> Any:
    """Return numbers with 8 digits, and None for those that are not finite, as JSON has no word for them."""
    if isinstance(found, Mapping):
        return {str(key): _rounded(value) for key, value in found.items()}
    if isinstance(found, list | tuple | np.ndarray):
        return [_rounded(value) for value in found]
    if isinstance(found, float | np.floating):
        return float(f"{float(found):.8g}") if np.isfinite(found) else None
    return int(found) if isinstance(found, np.integer) else found


def finish(run: Run, results: Results) -> dict[str, Any]:
    """Return the headline figures; a `Stage.finish`."""
    found = read_metrics(run.output)
    return {
        "images": found["images"],
        "chain": found["chain"],
        "answers": found["answers"],
        "notes": found["answers"],
    }


def read_metrics(folder: Path) -> dict[str, Any]:
    """Return the figures of a product."""
    read: dict[str, Any] = json.loads((folder / METRICS).read_text())
    return read
