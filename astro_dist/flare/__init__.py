"""The pipeline `flare`: from a folder of pictures to a classifier, and what synthetic pictures add to it."""

from typing import Any

PLACES = {"SwinIR": "astro_dist.flare.enhance", "DiffusionModel": "astro_dist.flare.sample"}
"""What `from astro_dist.flare import NAME` finds, and where; importing this room loads none of it."""


def __getattr__(name: str) -> Any:
    if name not in PLACES:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    import importlib

    return getattr(importlib.import_module(PLACES[name]), name)
