"""What the bytes of a field depend on beside its inputs: libraries, and the instructions that numpy chose.

Without torch: the exponentials of a patch are vectorised, and their last bits differ with the instructions.
"""

from typing import Any

import numpy as np
import scipy

from astro_dist.engine.work import Run

_FUNCTIONS = ("exp", "log")


def numerics(run: Run) -> dict[str, Any]:
    """Return the versions of NumPy and SciPy, and the instruction set of each function that has several."""
    found: dict[str, Any] = {"numpy": np.__version__, "scipy": scipy.__version__}
    for name in _FUNCTIONS:
        variants = np.lib.introspect.opt_func_info(func_name=f"^{name}$", signature="float64")
        found[name] = " ".join(sorted({kind["current"] for kind in variants.get(name, {}).values()}))
    return found
