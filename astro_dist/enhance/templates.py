"""Objects found by templates: normalised correlation at several sizes, and the strength of a colour.

In brightness alone the core of a galaxy looks like a sphere. A colour threshold keeps such cores: an object's
colour is the direction of its chroma, and its strength in a pixel the part of the pixel's chroma along it.

Shape letters: P planes, H W pixels of a picture, h w of a template.
"""

import colorsys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from astro_dist.engine.arrays import Floats, Image
from astro_dist.engine.errors import ConfigError, DataError
from astro_dist.engine.foreign import expand_home
from astro_dist.enhance.cleaning_config import NO_COLOUR, RIM, TemplatesConfig, template_side
from astro_dist.enhance.opencv import correlate
from astro_dist.pictures.decode import read_image
from astro_dist.pictures.images import from_image
from astro_dist.pictures.objects import HUES, SATURATIONS, Thing, inject
from astro_dist.pictures.transforms import LUMA

LEAST_CHROMA = 0.15
"""Chroma below which an object has no colour to look for."""


@dataclass(frozen=True)
class Template:
    """An object to look for.

    Attributes
    ----------
    grey
        Brightness (h, w), from 0 to 1.
    colour
        Direction of its chroma, of unit length, shape (3,); zero for objects without colour.
    radius_pix
        Radius of the object.
    """

    grey: Image
    colour: Floats
    radius_pix: float


def find_objects(picture_PHW: Image, config: TemplatesConfig) -> NDArray[np.bool_]:
    """Return the mask (H, W) of the objects in a picture from 0 to 1.

    Raises
    ------
    DataError
        A template is larger than the picture, or its colour is looked for in a grey one.
    """
    grey = _grey(picture_PHW)
    mask = np.zeros(grey.shape, np.bool_)
    templates = make_templates(config)
    if config.colour is not None and len(picture_PHW) == 1 and any(t.colour.any() for t in templates):
        raise DataError(NO_COLOUR.format(name="templates"))
    for template in templates:
        if (wide := max(template.grey.shape)) > min(mask.shape):
            raise DataError(
                f"a template is {wide} pixels wide and a picture {min(mask.shape)}; lower "
                "cleaning.templates.radii_pix"
            )
        mask |= _find(picture_PHW, grey, template, config)
    return mask


def _find(
    picture_PHW: Image, grey_HW: Image, template: Template, config: TemplatesConfig
) -> NDArray[np.bool_]:
    coloured = config.colour is not None and len(picture_PHW) == 3 and template.colour.any()
    if not coloured:
        # Stars have no colour of their own: brightness decides, and the whole disc is masked.
        hits = correlate(grey_HW, template.grey) >= config.correlation
        return _grow(hits, template.radius_pix)
    assert config.colour is not None
    chroma = picture_PHW - picture_PHW.mean(0)
    strength = np.tensordot(template.colour, chroma, 1).astype(np.float32)
    hits = (correlate(strength, template.grey) >= config.correlation) & (strength >= config.colour)
    return _grow(hits, RIM * template.radius_pix) & (strength >= config.colour / 2)


def _grow(hits_HW: NDArray[np.bool_], radius_pix: float) -> NDArray[np.bool_]:
    """Return the pixels within a radius of some pixels."""
    if not hits_HW.any():
        return hits_HW
    return np.asarray(ndimage.distance_transform_edt(~hits_HW) <= radius_pix)


@cache
def make_templates(config: TemplatesConfig) -> tuple[Template, ...]:
    """Return all templates of the settings: each object at each radius."""
    drawn = [_draw(kind, radius) for kind in config.kinds for radius in config.radii_pix]
    return (*drawn, *(_scale(_read(name), radius) for name in config.files for radius in config.radii_pix))


def _draw(kind: str, radius_pix: float) -> Template:
    side = template_side(radius_pix)
    rgb = colorsys.hsv_to_rgb(HUES[kind], SATURATIONS[kind], 1.0)
    # From above, so that no side is brighter.
    thing = Thing(kind, side // 2, side // 2, radius_pix, 0.0, 1.0, rgb)  # type: ignore[arg-type]
    picture, _ = inject(np.zeros((1, side, side), np.float32), [thing])
    grey = picture[0] + picture[0, ::-1] + picture[0, :, ::-1] + picture[0, ::-1, ::-1]
    return Template(np.ascontiguousarray(grey / 4), _direction(np.array(rgb)), radius_pix)


def _read(name: str) -> Image:
    path = Path(expand_home(name))
    try:
        image = read_image(path, str(path)).convert("RGB")
    except DataError as error:
        raise ConfigError(f"cleaning.templates.files: {error}") from None
    pixels = from_image(image).astype(np.float32) / np.float32(255)
    if np.ptp(pixels) == 0:
        raise ConfigError(
            f"cleaning.templates.files: {path} has one colour, which is found everywhere; mend it"
        )
    return pixels


def _scale(picture_3hw: Image, radius_pix: float) -> Template:
    side = 2 * int(np.ceil(radius_pix)) + 1
    factors = [side / length for length in picture_3hw.shape[1:]]
    small = ndimage.zoom(picture_3hw, (1, *factors), order=1, mode="nearest", grid_mode=True)
    grey = np.ascontiguousarray(_grey(small.astype(np.float32)))
    return Template(grey, _direction(small.mean((1, 2))), radius_pix)


def _direction(rgb: Floats) -> Floats:
    chroma = rgb - rgb.mean()
    length = float(np.linalg.norm(chroma))
    # A white star's small chroma is no colour.
    return chroma / length if length > LEAST_CHROMA else np.zeros(3)


def _grey(picture_PHW: Image) -> Image:
    weights = LUMA if len(picture_PHW) == 3 else np.ones(1)
    return np.tensordot(weights, picture_PHW, 1).astype(np.float32)
