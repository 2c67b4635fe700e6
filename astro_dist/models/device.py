"""The device and the precision of torch's computations. Importing this module does not import torch.

API: ``pin(threads)`` first in every worker; ``choose_device(run)`` -> ``"cuda"`` or ``"cpu"``;
``resolve_precision(wish, device)`` -> ``"bf16"`` or ``"no"``; ``autocast(device, precision)`` is the
context to run networks in, inside ``flushed_denormals()``; ``numerics(run)`` is the ``Stage.numerics`` of
every stage that uses torch. On one kind of machine, with pinned threads and a fixed batch shape, a network
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
    """Fix torch's number of threads, choose deterministic kernels, and silence the libraries.

    The settings hold for the whole process. ``HF_HUB_OFFLINE`` and ``CUBLAS_WORKSPACE_CONFIG`` are set in its
    environment unless the user has set them.
    """
    # Before the imports below: libraries read these variables once. cuBLAS is reproducible only with a fixed
    # workspace, and ":4096:8" is one of the two sizes that its manual names.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    import torch

    torch.set_num_threads(threads)
    # A GPU kernel without a deterministic form gives a warning: an error would end the training.
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Filling new tensors with NaN is for debugging and costs time.
    deterministic: Any = torch.utils.deterministic
    deterministic.fill_uninitialized_memory = False
    # Benchmarking chooses kernels by their speed at the moment; TF32 keeps 10 bits of float32's 23.
    torch.backends.cudnn.benchmark = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    silence()


@contextlib.contextmanager
def flushed_denormals() -> Iterator[None]:
    """Treat denormal numbers as zero within the context.

    The setting ends with the context, because other stages may share the process. Without it oneDNN flushes
    denormals in some kernels only, and bits and speed depend on which kernels ran before.
    """
    import torch

    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def silence() -> None:
    """Suppress advice from diffusers and the libraries it loads, on which a user cannot act."""
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
        The settings ask for a GPU, or the executor assigned one, and the installed torch cannot use it.
    """
    import torch

    machine = run.machine
    # Fake GPUs are counted where tasks are placed; no kernel can run on them.
    if machine.fake_gpus or machine.gpus == 0:
        return "cpu"
    if torch.cuda.is_available():
        return "cuda"
    # No silent fall back to the CPU: the stage would occupy a GPU and be far slower than planned.
    if machine.gpus or _is_pinned():
        raise ConfigError(
            f"there is a GPU, but torch {torch.__version__} has no working CUDA; install a CUDA build "
            "of torch from its wheel index (https://pytorch.org), or use the cores: --set machine.gpus=0"
        )
    return "cpu"


def _is_pinned() -> bool:
    """Return whether the executor assigned a GPU to this process.

    Without a driver ``CUDA_VISIBLE_DEVICES`` is a leftover of the environment and counts as no GPU.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return visible not in ("", "-1", "NoDevFiles") and shutil.which("nvidia-smi") is not None


def resolve_precision(wish: Precision, device: str) -> Literal["bf16", "no"]:
    """Resolve ``"auto"``: ``"bf16"`` where the hardware computes in bfloat16, else ``"no"`` (float32).

    A CPU without bfloat16 instructions emulates them, more slowly than it computes in float32.
    """
    import torch

    if wish != "auto":
        return wish
    if device == "cuda":
        # By default torch also says yes for a GPU that only emulates bfloat16.
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
    """Describe the machine and the libraries on which the bits of the run's stage depend.

    Two machines with equal descriptions give equal bits. A stage that began under one description can only be
    continued under the same one.
    """
    import diffusers
    import numpy
    import torch

    device = choose_device(run)
    section = run.own
    return {
        "device": f"cuda: {torch.cuda.get_device_name()}" if device == "cuda" else _processor(),
        # The instruction set that torch chose. `ATEN_CPU_CAPABILITY` can lower it on the same processor.
        "capability": torch.backends.cpu.get_cpu_capability(),
        "precision": resolve_precision(getattr(section, "precision", "auto"), device),
        # Partial sums per thread: another number of threads adds in another order.
        "threads": int(getattr(section, "threads", 1)),
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
        "numpy": numpy.__version__,
    }


def _processor() -> str:
    """Return the model name of the CPU.

    Kernels choose their block sizes by the caches of the CPU, and block sizes decide the order of sums.
    """
    with contextlib.suppress(OSError):
        # First, because `platform.processor()` gives at most the architecture on Linux.
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
