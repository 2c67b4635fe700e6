"""The pipeline `enhance`: colour, super-resolution and cleaning of pictures and of survey maps.

The room is a function too: `astro_dist.enhance(image)` is `astro_dist.enhance_map` or, for a Pillow image and
the file of a picture, `astro_dist.enhance_picture`, the names by which type checkers know it. A function in
its place would hide the modules of the room.
"""

import sys
from types import ModuleType
from typing import Any


class _Room(ModuleType):
    def __call__(self, image: Any, out: Any = None, hdu: Any = None) -> Any:
        from pathlib import Path

        from astro_dist.pictures.config import SUFFIXES

        named = isinstance(image, str | Path) and Path(image).suffix.lower() in SUFFIXES
        # Only images of Pillow's have a word as mode; a tensor has a method.
        if named or isinstance(getattr(image, "mode", None), str):
            from astro_dist.engine.errors import ConfigError
            from astro_dist.enhance.one_picture import enhance_picture

            if hdu is not None:
                raise ConfigError("hdu chooses an image of a FITS file; leave it out for a picture")
            return enhance_picture(image, out)
        from astro_dist.enhance.one_map import enhance_map

        return enhance_map(image, out, hdu)


enhance = sys.modules[__name__]
enhance.__class__ = _Room
