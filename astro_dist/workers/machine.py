"""The cores, memory, GPUs, compilers and schedulers of this machine, found without importing torch."""

import math
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from astro_dist.engine.errors import ConfigError
from astro_dist.engine.work import MachineConfig, Run, Stage
from astro_dist.workers.allocation import find_allocation
from astro_dist.workers.devices import named_devices


def count_cores() -> int:
    """Return the cores this process may use (affinity and cgroup limits included where known)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = Path("/sys/fs/cgroup/cpu.max")
    if limit.exists():
        # Both in microseconds; 100000 is the kernel's default period.
        quota, period = [*limit.read_text().split(), "100000"][:2]
        if quota != "max":
            cores = min(cores, max(1, int(quota) // int(period)))
    # Some sites give a job fewer cores than its affinity mask shows; Slurm's number is the smaller one then.
    return min(cores, int(os.environ.get("SLURM_CPUS_ON_NODE", cores)))


def list_gpus() -> list[str]:
    """Return the names of the GPUs that this process may use.

    NVIDIA GPUs are listed by nvidia-smi, AMD GPUs are counted from the ROCR_VISIBLE_DEVICES that Slurm sets.
    """
    tool = shutil.which("nvidia-smi")
    if tool is None:
        given = os.environ.get("ROCR_VISIBLE_DEVICES", "")
        return [f"AMD GPU {part.strip()}" for part in given.split(",") if part.strip()]
    call = [tool, "--query-gpu=name", "--format=csv,noheader"]
    try:
        answer = subprocess.run(call, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    names = [line.strip() for line in answer.stdout.splitlines() if line.strip()]
    # nvidia-smi lists every GPU of the node, whatever CUDA_VISIBLE_DEVICES says.
    visible = named_devices()
    return names if visible is None else _names_of(visible, names)


def _names_of(visible: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return the name of each visible device from those of all GPUs of the node."""
    found = []
    for entry in visible if names else ():
        if not entry.isdigit():
            found.append(f"{names[0]} ({entry})" if entry.startswith("MIG-") else names[0])
        elif int(entry) < len(names):
            found.append(names[int(entry)])
        else:
            # CUDA ends the list at an index without a GPU.
            break
    return found


@dataclass(frozen=True)
class Machine:
    """The cores, GPUs (real or fake) and workers that a run may use, on one machine or over a cluster."""

    cores: int
    gpus: int
    workers: int | None
    fake_gpus: bool = False
    gpus_per_worker: float = 1.0
    gpus_asked: bool = False
    first_worker: int = 0
    """The number of the first worker here, where several machines share the tasks of a stage."""

    def workers_for(self, stage: Stage, run: Run) -> int:
        """Return the number of workers of a stage: the configured one, else as many as GPUs or cores hold."""
        if self.workers is not None:
            return self.workers
        if stage.gpu and self.gpus:
            return self.gpus * math.floor(1 / self.gpus_per_worker)
        # Each worker has its own threads; more workers than that would share cores.
        return max(1, self.cores // stage.threads(run))

    def gpu_share(self, stage: Stage, workers: int) -> float:
        """Return the share of a GPU that each worker asks for, so small that all workers fit at once."""
        if not stage.gpu or not self.gpus:
            return 0.0
        on_each = math.ceil(workers / self.gpus)
        # Ray counts GPUs in units of 1e-4; a share rounded up would leave the last worker without a place.
        return min(self.gpus_per_worker, math.floor(1e4 / on_each) / 1e4)

    def gpus_here(self) -> int:
        """Return the GPUs that this node brings into a cluster; fake ones are those that Slurm assigned."""
        return len(named_devices() or []) if self.fake_gpus else len(list_gpus())

    def spread(self, resources: Mapping[str, float]) -> "Machine":
        """Return this machine with the cores and GPUs of a whole cluster that has ``resources``."""
        # A configured number of GPUs is that of the whole cluster.
        gpus = self.gpus if self.gpus_asked else int(resources.get("GPU", 0))
        return replace(self, cores=int(resources.get("CPU", 1)), gpus=gpus)


def choose_machine(config: MachineConfig) -> Machine:
    """Return the machine that the ``machine`` section asks for.

    Raises
    ------
    ConfigError
        When this machine has fewer GPUs, and neither fake GPUs nor other nodes could make up for them.
    """
    found = list_gpus()
    elsewhere = config.fake_gpus or config.ray_address is not None
    if config.gpus is not None and config.gpus > len(found) and not (elsewhere or find_allocation()):
        raise ConfigError(
            f"machine.gpus: {config.gpus} asked for and {len(found)} found; "
            "lower it, leave it out to use what is there, or run `astro-dist doctor` to see why"
        )
    # GPUs of other nodes are counted by Ray once the cluster is up; here only those of this node are.
    default = 0 if config.fake_gpus else len(found)
    return Machine(
        count_cores(),
        default if config.gpus is None else config.gpus,
        config.workers,
        config.fake_gpus,
        config.gpus_per_worker,
        gpus_asked=config.gpus is not None,
    )


def describe_machine() -> list[tuple[str, str, bool]]:
    """Return rows ``(what, finding, good)`` for `astro-dist doctor`."""
    import psutil

    memory = psutil.virtual_memory()
    gpus = list_gpus()
    flags = _cpu_flags()
    compiler = shutil.which("g++") or shutil.which("clang++")
    return [
        ("cores", str(count_cores()), True),
        (
            "memory",
            f"{memory.available / 1e9:.1f} of {memory.total / 1e9:.1f} GB free",
            memory.available > 4e9,
        ),
        ("disk here", f"{shutil.disk_usage('.').free / 1e9:.0f} GB free", shutil.disk_usage(".").free > 5e9),
        (
            "GPUs",
            ", ".join(gpus) or f"none ({_why_none()}): stages run on the cores",
            bool(gpus),
        ),
        (
            "bfloat16",
            "avx512_bf16 or amx_bf16" if flags & {"avx512_bf16", "amx_bf16"} else "not in hardware: float32",
            bool(flags & {"avx512_bf16", "amx_bf16"}),
        ),
        (
            "C++ compiler",
            compiler or "none: DeepSpeed cannot build its CPU operators; use strategy: ddp",
            compiler is not None,
        ),
        ("Slurm", *_find_slurm()),
    ]


def _find_slurm() -> tuple[str, bool]:
    """Return where Slurm's sbatch is and whether a controller answers, and whether it does."""
    tool = shutil.which("sbatch")
    if tool is None:
        return "no sbatch on PATH: jobs run on this machine", False
    try:
        call = ["sinfo", "--noheader", "--format=%R"]
        # SIGPIPE stays ignored: munge's library tries again where munged has hung up.
        answer = subprocess.run(
            call, capture_output=True, text=True, timeout=10, check=True, restore_signals=False
        )
    except (OSError, subprocess.SubprocessError):
        return f"{tool}, and no controller answers: jobs run on this machine", False
    return f"{tool}, partitions {', '.join(sorted(set(answer.stdout.split()))) or 'none'}", True


def _why_none() -> str:
    if named_devices() == []:
        return f"CUDA_VISIBLE_DEVICES is {os.environ['CUDA_VISIBLE_DEVICES']!r}"
    return "no nvidia-smi, or it lists none"


def _cpu_flags() -> set[str]:
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return set()
    line = next((x for x in path.read_text().splitlines() if x.startswith("flags")), "")
    return set(line.partition(":")[2].split())
