"""The public names for type checkers and editors; `__init__.py` imports them when they are first used."""

from astro_dist.flare.enhance import SwinIR as SwinIR
from astro_dist.flare.sample import DiffusionModel as DiffusionModel

PLACES: dict[str, str]
