"""What handing out a task costs: ``python -m tests.benchmarks.overhead [TASKS] [WORKERS]``.

Tasks that do nothing but write a shard of 1 kB, on every executor: milliseconds per task beyond what the
same tasks cost when they are called in a plain loop, and seconds until the first task is done. The files
are in memory where there is /dev/shm, so that no disk is measured; flushing the two files of a task to
a disk costs some milliseconds more, on every executor alike.
"""

import sys
import tempfile
import time
from pathlib import Path

from astro_dist.engine.work import for_stage
from astro_dist.workers.attempts import Worker
from astro_dist.workers.machine import choose_machine
from tests.toys import SHARDS, toy_runner


def time_plain(tasks, root):
    """Seconds of a plain loop over the tasks."""
    run = for_stage(toy_runner(root, {"shards": {"count": tasks}}).run, SHARDS, "p" * 64)
    root.mkdir(exist_ok=True)
    worker = Worker(SHARDS, run)
    SHARDS.prepare(run)
    begin = time.perf_counter()
    for task in SHARDS.plan(run, {}):
        worker.do(task)
    return time.perf_counter() - begin


def time_crew(executor, tasks, workers, root):
    """Seconds to the first task, and from there to the last."""
    tree = {"machine": {"executor": executor, "workers": workers}, "shards": {"count": tasks}}
    runner = toy_runner(root, tree)
    run = for_stage(runner.run, SHARDS, "c" * 64)
    root.mkdir(exist_ok=True)
    SHARDS.prepare(run)
    ends = []
    begin = time.perf_counter()
    executors = runner.executor(choose_machine(runner.config.machine))
    with executors as opened, opened.crew(SHARDS, run) as crew:
        failures = crew.execute(SHARDS.plan(run, {}), lambda task, result: ends.append(time.perf_counter()))
    assert not failures
    assert len(ends) == tasks
    return ends[0] - begin, ends[-1] - ends[0]


def main(tasks=400, workers=2):
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        plain = time_plain(tasks, Path(folder) / "plain") / tasks
        print(f"plain loop   {1e3 * plain:7.2f} ms per task")
        crews = [("serial", 1), *((kind, n) for kind in ("processes", "ray") for n in (1, workers))]
        for executor, count in crews:
            first, rest = time_crew(executor, tasks, count, Path(folder) / f"{executor}-{count}")
            each = rest / (tasks - 1)
            beside = each * count - plain
            print(
                f"{executor:<9} x{count} {1e3 * each:7.2f} ms per task, {1e3 * beside:+6.2f} ms per task and "
                f"worker beside the loop, first task done after {first:.2f} s"
            )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
