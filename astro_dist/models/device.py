"""Where torch computes and in which precision; importing it does not import torch.

API: ``pin(threads)`` first in every worker; ``choose_device(run)`` -> ``"cuda"`` or ``"cpu"``;
``resolve_precision(wish, device)`` -> ``"bf16"`` or ``"no"``; ``autocast(device, precision)`` is the
context to run networks in, inside ``flushed_denormals()``; ``numerics(run)`` is what a stage gives as
its ``Stage.numerics``. On one kind of machine with pinned threads and a fixed batch shape, a network
gives the same bits each time.
"""

import contextlib
import os
import platform
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from astro_dist.engine.errors import ConfigError
from astro_dist.engine.work import Run

Precision = Literal["auto", "bf16", "no"]


def pin(threads: int) -> None:
    """Fix the number of threads and the deterministic kernels, and silence the libraries."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    import torch

    torch.set_num_threads(threads)
    # Only a warning: a GPU kernel without a deterministic form must not end a training.
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.backends.cudnn.benchmark = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    silence()


@contextlib.contextmanager
def flushed_denormals() -> Iterator[None]:
    """Treat denormal numbers as zero inside, and only inside: other stages may share the process.

    oneDNN flushes them in some kernels only; without this their cost and bits depend on history.
    """
    import torch

    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def silence() -> None:
    """Keep diffusers and its friends from printing advice that a user cannot act on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import diffusers

    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()


def choose_device(run: Run) -> str:
    """Return ``"cuda"`` where a GPU is visible and the run may use it, else ``"cpu"``.

    Raises
    ------
    ConfigError
        When a GPU was promised, by the settings or by the executor, and this torch cannot use it.
    """
    import torch

    machine = run.machine
    if machine.fake_gpus or machine.gpus == 0:
        return "cpu"
    if torch.cuda.is_available():
        return "cuda"
    if machine.gpus or _is_pinned():
        raise ConfigError(
            f"there is a GPU, but torch {torch.__version__} has no working CUDA; install a CUDA build "
            "of torch from its wheel index (https://pytorch.org), or use the cores: --set machine.gpus=0"
        )
    return "cpu"


def _is_pinned() -> bool:
    """Tell whether this process was given a GPU; without a driver the variable is a leftover."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return visible not in ("", "-1", "NoDevFiles") and shutil.which("nvidia-smi") is not None


def resolve_precision(wish: Precision, device: str) -> Literal["bf16", "no"]:
    """Turn ``"auto"`` into bfloat16 where the hardware computes in it, else float32 (``"no"``).

    On a CPU without such instructions bfloat16 is emulated and slower than float32.
    """
    import torch

    if wish != "auto":
        return wish
    if device == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "no"
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16" if native else "no"


def autocast(device: str, precision: str) -> contextlib.AbstractContextManager[Any]:
    """Return the mixed-precision context for ``"bf16"``, and one that does nothing for ``"no"``."""
    import torch

    if precision == "no":
        return contextlib.nullcontext()
    return torch.autocast(device, dtype=torch.bfloat16)


def numerics(run: Run) -> dict[str, Any]:
    """Describe what the bits of this stage depend on beyond its settings.

    Two machines with equal descriptions give equal bits; a stage begun on one may go on there only.
    """
    import diffusers
    import numpy
    import torch

    device = choose_device(run)
    section = run.own
    return {
        "device": f"cuda: {torch.cuda.get_device_name()}" if device == "cuda" else _processor(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "precision": resolve_precision(getattr(section, "precision", "auto"), device),
        "threads": int(getattr(section, "threads", 1)),
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
        "numpy": numpy.__version__,
    }


def _processor() -> str:
    """Return the model of the CPU: kernels choose their blocks, and so the order of sums, by its caches."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
