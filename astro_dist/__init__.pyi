"""The public names for type checkers and editors; `__init__.py` imports them when they are first used."""

from typing import Any

from astro_dist.api.datasets import Cutouts as Cutouts
from astro_dist.api.drawing import Stamps as Stamps
from astro_dist.api.opened import OpenRun as OpenRun
from astro_dist.api.opened import open_run as open_run
from astro_dist.api.pipeline import StampPipeline as StampPipeline
from astro_dist.api.running import configurations as configurations
from astro_dist.api.running import plan as plan
from astro_dist.api.running import run as run
from astro_dist.engine.errors import AstroDistError as AstroDistError
from astro_dist.engine.errors import ConfigError as ConfigError
from astro_dist.engine.errors import IntegrityError as IntegrityError
from astro_dist.enhance.one_map import enhance_map as enhance_map
from astro_dist.enhance.one_picture import enhance_picture as enhance_picture
from astro_dist.sky.classes import SourceClass as SourceClass

__version__: str
__all__ = [
    "AstroDistError",
    "ConfigError",
    "Cutouts",
    "IntegrityError",
    "OpenRun",
    "SourceClass",
    "StampPipeline",
    "Stamps",
    "__version__",
    "configurations",
    "enhance",
    "enhance_map",
    "enhance_picture",
    "open_run",
    "plan",
    "run",
]

def enhance(image: Any, out: Any = None, hdu: Any = None) -> Any: ...
