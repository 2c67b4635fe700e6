"""Two small stages that exercise the whole engine: shards with a second round, and their sum.

``python -m tests.toys OUT EXECUTOR WORKERS`` brings them to their end, so that tests can kill that process.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Literal

from astro_dist.engine.config import Section
from astro_dist.engine.errors import AstroDistError, DataError
from astro_dist.engine.files import publish_bytes
from astro_dist.engine.pipeline import Pipeline, PipelineConfig
from astro_dist.engine.progress import Display
from astro_dist.engine.stopping import check_stop, stop_on_signals
from astro_dist.engine.work import Stage, Task
from astro_dist.runner import Runner
from tests.waiting import records_of, wait_until


class ShardsConfig(Section):
    unmarked = frozenset({"stoppable_s"})
    count: int = 12
    wanted: int = 30
    pause_s: float = 0.0
    poison: int = -1
    poisons: tuple[int, ...] = ()
    die_once: int = -1
    hang: int = -1
    hang_once: int = -1
    stoppable_s: float = 0.0
    stoppable_once: bool = False
    slow_until: tuple[int, ...] = ()
    threads: int = 1


class TotalConfig(Section):
    factor: int = 1


class ToyConfig(PipelineConfig):
    pipeline: Literal["toy"] = "toy"
    name: str = "toy"
    seed: int = 7
    shards: ShardsConfig = ShardsConfig()
    total: TotalConfig = TotalConfig()


def plan_shards(run, results):
    """Twelve shards, then as many more as the promised sum of small numbers needs."""
    first = [Task(f"shard-{i:03}", {"index": i}) for i in range(run.section(ShardsConfig).count)]
    if any(task.name not in results for task in first):
        return first
    missing = run.section(ShardsConfig).wanted - sum(results[task.name]["small"] for task in first)
    extra = range(len(first), len(first) + max(0, missing))
    return first + [Task(f"shard-{i:03}", {"index": i}) for i in extra]


def prepare_shards(run):
    run.output.mkdir(exist_ok=True)


def first_time(mark, shared=None):
    """Whether this mark is new; with ``shared``, whether this mark was the first to take that name."""
    try:
        (shared or mark).symlink_to(mark)
    except FileExistsError:
        return shared is not None and shared.readlink() == mark
    return True


def run_shard(run, task):
    settings, index = run.section(ShardsConfig), task.args["index"]
    time.sleep(settings.pause_s)
    cured = (run.root / "cured").exists()
    if index == settings.poison or (index in settings.poisons and not cured):
        raise DataError("this shard is poisonous")
    mark = run.root / "died-once"
    if index == settings.die_once and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), 9)
    if index == settings.hang or (index == settings.hang_once and first_time(run.root / "hung-once")):
        os.kill(os.getpid(), signal.SIGSTOP)
    if index == 0 and not (settings.stoppable_once and not first_time(run.root / "stopped-once")):
        for i in range(round(10 * settings.stoppable_s)):
            time.sleep(0.1)
            check_stop()
            run.progress(task.name, i, 10 * settings.stoppable_s)
    if settings.slow_until and first_time(run.root / f"slow-{os.getpid()}", run.root / "slow"):
        # The worker that comes first is slow: it waits until the next of these numbers of tasks are done.
        wanted = min((n for n in settings.slow_until if n >= len(records_of(run.root))), default=0)
        wait_until(lambda: len(records_of(run.root)) >= wanted)
    data = run.stream("shards", index).bytes(1000)
    digest = publish_bytes(run.output / f"{task.name}.bin", data)
    return {"sha256": {f"{task.name}.bin": digest}, "small": int(data[0] % 4)}


def finish_shards(run, results):
    publish_bytes(run.output / "index.txt", "\n".join(sorted(results)).encode())
    return {"shards": len(results)}


def run_total(run, task):
    files = sorted(run.product("shards").glob("*.bin"))
    value = sum(sum(path.read_bytes()) for path in files) * run.section(TotalConfig).factor
    return {"sha256": {".": publish_bytes(run.output, str(value).encode())}, "value": value}


SHARDS = Stage(
    "shards",
    "shards",
    plan_shards,
    run_shard,
    prepare=prepare_shards,
    finish=finish_shards,
    sections=("shards",),
    own="shards",
    gpu=True,
)


def total_of(run, results):
    return {"value": results["total"]["value"]}


def plan_total(run, results):
    return [Task("total")]


TOTAL = Stage(
    "total", "out/total.txt", plan_total, run_total, finish=total_of, sections=("total",), inputs=("shards",)
)
TOY = Pipeline("toy", "shards and their sum", ToyConfig, (SHARDS, TOTAL), shown={"sum": "out/total.txt"})


def toy_runner(root, tree=None, only=None):
    config = TOY.resolve(tree or {})
    return Runner(Path(root), config, TOY.choose(config, only=only), only, TOY.shown)


def execute(root, tree=None, redo=()):
    toy_runner(root, tree).execute(Display(live=False), redo)


def main(out, executor, workers, settings="{}"):
    machine = {"executor": executor, "workers": int(workers)}
    tree = {"machine": machine, "shards": {"pause_s": 0.05}}
    for section, values in json.loads(settings).items():
        tree[section] = {**tree.get(section, {}), **values}
    try:
        with stop_on_signals():
            execute(out, tree)
    except AstroDistError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    # Ray's actors look the stages up as `tests.toys`; in this process the same file is `__main__`.
    from tests import toys

    toys.main(*sys.argv[1:])
