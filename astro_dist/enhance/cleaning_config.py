"""Settings of cleaning: how objects are found, and what takes their place."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from astro_dist.engine.config import Section
from astro_dist.engine.errors import ConfigError
from astro_dist.enhance.cleaner_config import CleanerConfig
from astro_dist.enhance.colourise_config import fit_crop
from astro_dist.pictures.config import CLASSES, PicturesConfig
from astro_dist.train.config import Positive

Share = Annotated[float, Field(ge=0, le=1)]
Radius = Annotated[float, Field(ge=1, le=256)]
TemplateName = Literal["spheres", "dots", "stars"]
PICTURE_STORE, MASK_STORE = "pictures.zarr", "masks.zarr"
"""Stores of the product `cleaned`: the cleaned pictures, and 255 where they were changed."""
NO_COLOUR = (
    "cleaning.{name}.colour: grey pictures have no colours to look for; set it to null, which goes by "
    "brightness and may take the middle of a galaxy for a sphere, or cleaning.method to network"
)
RIM = 1.5
"""Half a side of a template in units of the radius of its object."""


class TemplatesConfig(Section):
    """How objects are found by templates."""

    kinds: tuple[TemplateName, ...] = ("spheres", "dots")
    """Objects that are looked for: blue spheres, red dots, white stars."""
    files: tuple[str, ...] = ()
    """Pictures of objects that are looked for too, each filling its picture."""
    radii_pix: Annotated[tuple[Radius, ...], Field(min_length=1)] = (1.5, 2.2, 3.2, 4.5, 6.5)
    """Radii at which they are looked for; one radius is one template of each kind."""
    correlation: Share = 0.5
    """Least normalised correlation of a template with the picture."""
    colour: Share | None = 0.15
    """Least strength of the object's colour, where it is found and in every pixel of its mask; null looks at
    brightness alone, and masks whole discs."""


def template_side(radius_pix: float) -> int:
    """Return the side of a template, an odd number of pixels."""
    return 2 * math.ceil(RIM * radius_pix) + 1


class CleaningConfig(Section):
    """Objects that disturb pictures are found, masked, and painted over with what is round them."""

    method: Literal["templates", "network"] = "templates"
    """What finds the objects: templates, or the network that `train cleaner` trains."""
    templates: TemplatesConfig = TemplatesConfig()
    """Templates of all classes."""
    per_class: Mapping[str, TemplatesConfig] = {}
    """Other templates for the pictures of a class, such as {nebulae: {correlation: 0.8}}."""
    threshold: Share = 0.5
    """Least probability of a masked pixel, for the network."""
    grow_pix: Annotated[int, Field(ge=0, le=32)] = 1
    """Pixels by which masks are grown before they are painted over."""
    inpaint: Literal["telea", "ns"] = "telea"
    """What paints over masked pixels: Telea 2004, or the Navier-Stokes equations."""
    radius_pix: Annotated[float, Field(gt=0, le=64)] = 3.0
    """Distance over which pixels round a masked one are looked at."""
    shard: Annotated[int, Field(ge=1, le=1 << 20)] = 64
    """Pictures per shard file and task."""
    threads: Positive = 1
    """CPU threads per worker; a setting, because the number of threads changes the last bits of sums."""

    @model_validator(mode="before")
    @classmethod
    def _inherit(cls, tree: Any) -> Any:
        # A class has the templates of all but for what it sets itself.
        found = tree if isinstance(tree, dict) else {}
        own, common = found.get("per_class"), found.get("templates")
        if not isinstance(own, dict) or not isinstance(common, dict):
            return tree
        merged = {name: {**common, **one} if isinstance(one, dict) else one for name, one in own.items()}
        return {**tree, "per_class": merged}

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.per_class and self.method == "network":
            raise ValueError("per_class sets templates, and method network has none; leave it out")
        for name, one in {"templates": self.templates, **self.per_class}.items():
            if not one.kinds and not one.files:
                raise ValueError(f"{name} looks for nothing; name kinds or files")
        return self


def settle_cleaner(pictures: PicturesConfig, cleaner: CleanerConfig, maps: bool) -> CleanerConfig:
    """Return the settings of the cleaner's training with crops that pictures of this size have."""
    if maps:
        raise ConfigError("cleaner: learns from pictures, not from survey maps; leave this section out")
    return cleaner if cleaner.pairs is not None else fit_crop(pictures, cleaner, "cleaner")


def settle_cleaning(pictures: PicturesConfig, cleaning: CleaningConfig, maps: bool, cleaner: bool) -> None:
    """Refuse settings of cleaning that contradict other sections."""
    if maps:
        raise ConfigError("cleaning: takes pictures, not survey maps; leave this section out")
    if cleaning.method == "network" and not cleaner:
        raise ConfigError(
            "cleaning.method: the network is trained by a section cleaner, which is missing; add `cleaner: "
            "{start_from: enhance, steps: 0}` for that of the package"
        )
    for name, one in {"templates": cleaning.templates, **cleaning.per_class}.items():
        coloured = one.colour is not None and {*one.kinds} - {"stars"}
        if cleaning.method == "templates" and pictures.planes == 1 and coloured:
            raise ConfigError(NO_COLOUR.format(name=name if name == "templates" else f"per_class.{name}"))
    if pictures.source == "toy":
        check_classes(cleaning, pictures.classes or CLASSES)
    radius = max(max(one.radii_pix) for one in (cleaning.templates, *cleaning.per_class.values()))
    if cleaning.method == "templates" and template_side(radius) > pictures.size_pix:
        raise ConfigError(
            f"cleaning.templates.radii_pix: radius {radius:g} needs {template_side(radius)} pixels a side, "
            f"pictures have {pictures.size_pix}; lower it, or raise pictures.size_pix"
        )


def check_classes(cleaning: CleaningConfig, classes: Any) -> None:
    """Refuse settings of a class that there is none of."""
    if unknown := sorted(set(cleaning.per_class) - set(classes)):
        raise ConfigError(
            f"cleaning.per_class: there is no class {unknown[0]!r} among {', '.join(classes)}; mend its name"
        )
