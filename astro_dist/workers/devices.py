"""The GPUs that CUDA_VISIBLE_DEVICES names, read as CUDA and torch read it.

Slurm writes ``NoDevFiles`` for a job without a GPU, indices, or the identifiers of GPUs and of MIG slices.
"""

import os
import re
from collections.abc import Mapping


def named_devices(environment: Mapping[str, str] = os.environ) -> list[str] | None:
    """Return the entries that stand for a device each; None where the variable is not set.

    The list ends before the first entry that names none (``NoDevFiles``, ``-1``, an empty one), and a device
    that is named twice leaves no device at all. A slice of a GPU (MIG) is a device.
    """
    value = environment.get("CUDA_VISIBLE_DEVICES")
    if value is None:
        return None
    found: list[str] = []
    # The first entry decides whether entries are indices, GPUs or slices; CUDA does not mix them.
    kind = next((prefix for prefix in ("GPU-", "MIG-") if value.strip().startswith(prefix)), "")
    for part in value.split(","):
        entry = part.strip()
        if kind:
            name = entry if entry.startswith(kind) else None
        else:
            # As strtoul reads it: `1gpu` is 1.
            match = re.match(r"\+?(\d+)", entry)
            name = str(int(match[1])) if match else None
        if name is None:
            break
        if name in found:
            return []
        found.append(name)
    return found
