"""The stage `compare`: whether a training set with synthetic pictures makes a better classifier.

The product holds ``metrics.json`` (figures, gains with intervals, headroom, exchange rates, the paper's
figures, the answer) and the data of the report's pictures: ``spread.parquet``, ``clusters.parquet`` and
``gradients.npz``.
"""

import io
import json
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from astro_dist.engine.files import publish_bytes, sha256_file
from astro_dist.engine.ledger import Result
from astro_dist.engine.work import Results, Run, Task
from astro_dist.flare.answers import answer
from astro_dist.flare.classifiers import OWN_TEST
from astro_dist.flare.classify_config import ClassifyConfig, CombineConfig
from astro_dist.flare.compare_config import CLUSTERS, GRADIENTS, MEASURE, SPREAD, CompareConfig
from astro_dist.flare.gains_table import (
    list_scored,
    tabulate_exchange,
    tabulate_gains,
    tabulate_headroom,
    tabulate_scores,
    to_json,
)
from astro_dist.flare.grid_scores import CellName, read_grid
from astro_dist.flare.look import Viewer, count_copies, find_clusters, integrate, measure_spread
from astro_dist.flare.references import REASONS, list_pairs
from astro_dist.flare.rows import classes_of
from astro_dist.metrics.gains import FEW_SEEDS, LEVEL
from astro_dist.models.device import pin
from astro_dist.sky.tables import write_table_file
from astro_dist.store.reader import StoreReader

METRICS, COPIES = "metrics.json", "copies.json"
MOST_CLUSTERS = 4
"""Sets whose clusters are drawn, as in the paper."""
INTERVAL = (
    f"{LEVEL:.0%} t intervals over groups of near-duplicate test pictures and over seeds; p corrected by "
    "Holm for all comparisons of one figure on one test set. They hold for other test pictures and other "
    "trainings of the same sets: another draw of synthetic pictures is another set."
)
FEW = (
    f"With {FEW_SEEDS} seeds or fewer the variance over seeds is that of each set by itself; five seeds give "
    "narrower intervals."
)


@dataclass(frozen=True)
class State:
    """What all tasks look at."""

    run: Run

    @property
    def config(self) -> CompareConfig:
        """Settings of the stage."""
        return self.run.section(CompareConfig)

    @cached_property
    def viewer(self) -> Viewer:
        """The sets, pictures and classifiers of the run."""
        cells = sorted(map(CellName.parse, self.run.facts("classify")["cells"]), key=self._order)
        return Viewer(self.run, tuple(cells))

    def _order(self, cell: CellName) -> tuple[int, ...]:
        config, arms = self.run.section(ClassifyConfig), list(self.run.section(CombineConfig).arms)
        networks, levels = list[str](config.networks), list[str](config.levels)
        return (
            *(arms.index(cell.arm), networks.index(cell.network), levels.index(cell.level)),
            cell.seed,
        )

    @property
    def arms(self) -> list[str]:
        """The sets of the grid, in the order of the settings."""
        return list(dict.fromkeys(cell.arm for cell in self.viewer.cells))

    @property
    def levels(self) -> list[str]:
        """The levels of the grid."""
        return list(dict.fromkeys(cell.level for cell in self.viewer.cells))

    @property
    def mixed(self) -> str:
        """The last set with painted pictures, whose classifiers the figures show; else the last fair one."""
        arms = self.run.section(CombineConfig).arms
        fair = [name for name in self.arms if not arms[name].as_published] or self.arms
        return next((name for name in reversed(fair) if arms[name].painted), fair[-1])

    @property
    def upscaled(self) -> bool:
        """Whether the run has upscaled pictures."""
        return bool(self.run.facts("upscale"))


def open_state(run: Run) -> State:
    """Return what all tasks look at; a `Stage.open`."""
    return State(run)


def run_task(state: State, task: Task) -> Result:
    """Do one of the tasks; a `Stage.run`."""
    # At every task: another stage in the same process may have set other threads.
    pin(state.config.threads)
    return TASKS[task.name](state)


def _spread(state: State) -> Result:
    found = measure_spread(state.viewer, state.arms, state.config.pictures)
    return _keep_table(state.run.output / "spread.parquet", found)


def _clusters(state: State) -> Result:
    chosen = _choose_shown(state)
    parts = [find_clusters(state.viewer, chosen, level, state.config.perplexity) for level in state.levels]
    parts = [part for part in parts if part]
    found = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    kept = _keep_table(state.run.output / "clusters.parquet", found)
    copies = count_copies(state.viewer, state.levels[0], chosen[0])
    text = json.dumps(to_json(copies), indent=1) + "\n"
    kept["sha256"][COPIES] = publish_bytes(state.run.output / COPIES, text.encode())
    return kept


def _choose_shown(state: State) -> list[str]:
    """Return the sets whose clusters are drawn: the first one, the mixed one, and those between them."""
    arms = state.arms
    middle = [name for name in arms[1:] if name != state.mixed][: MOST_CLUSTERS - 2]
    return list(dict.fromkeys([arms[0], *middle, state.mixed]))


def _gradients(state: State) -> Result:
    steps = state.config.gradient_steps
    found: dict[str, Any] = integrate(state.viewer, state.mixed, state.levels[0], state.upscaled, steps)
    buffer = io.BytesIO()
    # NumPy writes no time, so the bytes are stable.
    np.savez(buffer, **found)
    digest = publish_bytes(state.run.output / "gradients.npz", buffer.getvalue())
    missing = [float(v.max()) for name, v in found.items() if name.endswith("_missing")]
    return {"sha256": {"gradients.npz": digest}, "missing": max(missing, default=0.0)}


def _keep_table(path: Path, columns: dict[str, Any]) -> Result:
    write_table_file(path, pa.table({name: pa.array(values) for name, values in columns.items()}))
    return {"sha256": {path.name: sha256_file(path)}}


def _measure(state: State) -> Result:
    report = to_json(measure(state))
    content = (json.dumps(report, indent=1) + "\n").encode()
    digest = publish_bytes(state.run.output / METRICS, content)
    gains = [
        {key: row[key] for key in ("arm", "reference", "network", "level", "mean", "low", "high", "p_family")}
        for row in report["gains"]
        if row["test"] == OWN_TEST and row["figure"] == "accuracy"
    ]
    facts = {"answers": report["answers"], "gains": gains, "notes": report["answers"]}
    return {"sha256": {METRICS: digest}, "facts": facts}


def measure(state: State) -> dict[str, Any]:
    """Return all figures of the comparison."""
    run, viewer = state.run, state.viewer
    combine = run.section(CombineConfig)
    names = ["__".join((*cell[:3], f"s{cell.seed}")) for cell in viewer.cells]
    grid = read_grid(run.product("classifiers"), names)
    pairs = [p for p in list_pairs(combine, state.config.against) if {p.arm, p.reference} <= set(state.arms)]
    scored, sets = list_scored(grid, state.arms), _describe_sets(state)
    gains = tabulate_gains(scored, pairs)
    headroom = tabulate_headroom(scored, pairs, combine)
    real = {name: one["parents"] for name, one in sets.items()}
    exchange = tabulate_exchange(scored, pairs, combine, real)
    attrs = StoreReader(run.product("pictures.zarr")).attrs
    classes = {level: classes_of(attrs["labels"], attrs.get("macro", {}), level)[0] for level in state.levels}
    copies = run.output / COPIES
    seeds = min(one.predicted[arm].shape[0] for one in grid.values() for arm in one.predicted)
    return {
        "answers": answer(gains, headroom, exchange, sets),
        "interval": f"{INTERVAL} {FEW}" if seeds <= FEW_SEEDS else INTERVAL,
        "shown": {"mixed": state.mixed, "network": viewer.network, "networks": _list_networks(viewer)},
        "classes": classes,
        "sets": sets,
        "scores": tabulate_scores(grid, state.arms),
        "reasons": REASONS,
        "gains": gains,
        "headroom": headroom,
        "exchange": exchange,
        "copies": json.loads(copies.read_text()) if copies.exists() else {},
        "upscale": run.facts("upscale"),
        "paper": read_paper(),
    }


def _list_networks(viewer: Viewer) -> list[str]:
    return list(dict.fromkeys(cell.network for cell in viewer.cells))


def _describe_sets(state: State) -> dict[str, dict[str, Any]]:
    """Return settings and sizes of every set of the grid."""
    facts, arms = state.run.facts("combine")["sets"], state.run.section(CombineConfig).arms
    k = state.run.section(CombineConfig).k
    return {
        name: {**arms[name].model_dump(mode="json"), "k": arms[name].k or k, "painted": arms[name].painted}
        | facts[name]
        for name in state.arms
    }


def read_paper() -> dict[str, Any]:
    """Return the figures that the paper prints, with notes on where it contradicts itself."""
    found: dict[str, Any] = json.loads(files("astro_dist.flare").joinpath("paper.json").read_text())
    return found


def finish(run: Run, results: Results) -> dict[str, Any]:
    """Return the answer and the gains; a `Stage.finish`."""
    missing = results.get(GRADIENTS, {}).get("missing")
    more = {} if missing is None else {"gradients_missing": float(f"{missing:.3g}")}
    return {**results[MEASURE]["facts"], **more}


TASKS = {
    MEASURE: _measure,
    SPREAD: _spread,
    CLUSTERS: _clusters,
    GRADIENTS: _gradients,
}
