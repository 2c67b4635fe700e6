"""The extension that DeepSpeed compiles at its first start: where it lies, and who may compile it.

torch marks a build by a file named ``lock``, waits for the end of that file without a limit, and a build that
is killed leaves it, so that no later training would begin. Here a process builds under a lock that the kernel
releases at any end of the process, in a folder that no other program and no other machine builds in. Whoever
holds the lock knows that a file ``lock`` in there was left by a kill.
"""

import contextlib
import fcntl
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

FOLDER = "TORCH_EXTENSIONS_DIR"
"""Variable with the folder that torch builds extensions below."""


def build_extensions() -> None:
    """Load what DeepSpeed compiles, one process of a machine at a time; it is compiled where it is missing.

    DeepSpeed keeps what is loaded, so that its own request finds it later and touches no file.
    """
    from deepspeed.comm.torch import build_shm_op

    with build_folder():
        build_shm_op()


@contextlib.contextmanager
def build_folder() -> Iterator[Path]:
    """Let torch build in a folder of our own, once no other process builds there; remove what kills left."""
    folder = own_folder()
    folder.mkdir(parents=True, exist_ok=True)
    given = os.environ.get(FOLDER)
    with (folder / ".building").open("w") as guard:
        # Storage without locks: nothing is removed there, and torch's own file is all that there is.
        with contextlib.suppress(OSError):
            fcntl.flock(guard, fcntl.LOCK_EX)
            for stale in list(folder.glob("*/lock")):
                # All of it: compilers that outlived the kill may still write into files of that folder.
                shutil.rmtree(stale.parent, ignore_errors=True)
        os.environ[FOLDER] = str(folder)
        try:
            yield folder
        finally:
            del os.environ[FOLDER]
            if given is not None:
                os.environ[FOLDER] = given


def own_folder() -> Path:
    """Return the folder of this machine, Python and torch below the one that torch would build in."""
    from torch.utils.cpp_extension import get_default_build_root

    root = Path(os.environ.get(FOLDER) or get_default_build_root())
    # The host is part of it: locks of a shared home may not hold across nodes, and code is compiled for the
    # processor that it is compiled on. So is the user, as one may load only what is one's own.
    version = f"py{sys.version_info.major}{sys.version_info.minor}-torch{torch.__version__}"
    return root / f"astro_dist-{os.getuid()}-{os.uname().nodename}-{version}"
