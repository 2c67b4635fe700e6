"""Pipelines that make and judge synthetic astronomical images, on one laptop or a Slurm cluster.

A pipeline is a list of stages with a configuration; `astro_dist.pipelines` lists all of them. The runner
(`astro_dist.runner`) brings the stages to their end over a run directory, in one process, several processes
or a Ray cluster, with the same bytes each time. The pipeline `radio` makes synthetic radio maps with an exact
truth from survey maps.

The names of ``__all__`` are the public interface: `run` and `plan` a configuration, `open_run` what a run has
published, train on `Cutouts`, draw `Stamps` for masks of your own, `enhance` a map or a picture. A name is
imported when it is first used.
"""

import importlib as _importlib
from typing import Any as _Any

__version__ = "0.1.0"

_PLACES = {
    "AstroDistError": "astro_dist.engine.errors",
    "ConfigError": "astro_dist.engine.errors",
    "IntegrityError": "astro_dist.engine.errors",
    "Cutouts": "astro_dist.api.datasets",
    "OpenRun": "astro_dist.api.opened",
    "SourceClass": "astro_dist.sky.classes",
    "StampPipeline": "astro_dist.api.pipeline",
    "Stamps": "astro_dist.api.drawing",
    "enhance": "astro_dist.enhance",
    "enhance_map": "astro_dist.enhance.one_map",
    "enhance_picture": "astro_dist.enhance.one_picture",
    "configurations": "astro_dist.api.running",
    "open_run": "astro_dist.api.opened",
    "plan": "astro_dist.api.running",
    "run": "astro_dist.api.running",
}
__all__ = sorted([*_PLACES, "__version__"])


def __getattr__(name: str) -> _Any:
    """Import a public name when it is first used (PEP 562)."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(_importlib.import_module(_PLACES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
