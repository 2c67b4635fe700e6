"""The choice of an executor: this process, others on this machine, or Ray."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from astro_dist.engine.work import Executor
from astro_dist.workers.attempts import SerialExecutor
from astro_dist.workers.machine import Machine
from astro_dist.workers.processes import ALL_GPUS, ProcessExecutor, visible_gpus
from astro_dist.workers.scratch import caches_in_scratch


@contextlib.contextmanager
def open_executor(kind: str, machine: Machine, log: Path, ray_address: str | None) -> Iterator[Executor]:
    """Yield the executor of a kind (``serial``, ``processes`` or ``ray``); Ray prints to ``log``."""
    if machine.gpus and not machine.fake_gpus:
        os.environ[ALL_GPUS] = ",".join(visible_gpus(machine.gpus))
    with caches_in_scratch():
        if kind == "serial":
            yield SerialExecutor()
        elif kind == "ray":
            from astro_dist.workers.ray import RayExecutor

            with RayExecutor(machine, log, ray_address) as executor:
                yield executor
        else:
            gpus = 0 if machine.fake_gpus else machine.gpus
            yield ProcessExecutor(machine.workers_for, gpus, machine.first_worker)
