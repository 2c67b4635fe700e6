"""A private Ray cluster for a script: loopback only, with a token, without a dashboard."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from astro_dist.workers.ray_agent import OBJECT_STORE_BYTES, QUIET
from astro_dist.workers.ray_foreman import LOOPBACK
from astro_dist.workers.ray_leftovers import INNER, TOKEN, make_folder, remove_cluster


@contextlib.contextmanager
def ray_cluster(address: str | None = None) -> Iterator[Path]:
    """Start a private cluster, or join the one at ``address``; yield a folder for Ray's own notes.

    A private cluster is removed at the end of the context. A cluster at an address is joined with the token
    in the file that RAY_AUTH_TOKEN_PATH names.
    """
    # Ray reads these variables when it is imported.
    os.environ.update({**QUIET, **(LOOPBACK if address is None else {})})
    import ray

    if address is not None:
        # A cluster at an address has no folder of ours for notes.
        with tempfile.TemporaryDirectory() as notes:
            ray.init(address, log_to_driver=True)
            yield Path(notes)
        return
    folder = make_folder()
    os.environ["RAY_AUTH_TOKEN_PATH"] = str(folder / TOKEN)
    try:
        ray.init(
            "local",
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            _temp_dir=str(folder / INNER),
        )
        yield folder / INNER
    finally:
        remove_cluster(folder)
