"""Settings of the training of the network that finds objects in pictures."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from astro_dist.engine.config import Section
from astro_dist.models.cleaner_presets import CleanerName
from astro_dist.train.config import Positive, Steps, TrainingConfig

KindName = Literal["spheres", "dots", "stars", "trails"]
Radius = Annotated[float, Field(gt=0, le=64)]
Opacity = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[int, Field(ge=0, le=256)]


class ObjectsConfig(Section):
    """Objects that are injected into training pictures; numbers are drawn evenly between two bounds."""

    kinds: Annotated[tuple[KindName, ...], Field(min_length=1)] = ("spheres", "dots", "stars", "trails")
    """Kinds of objects, each equally often."""
    number: tuple[Count, Count] = (0, 6)
    """Least and most objects of a crop."""
    galaxies: tuple[Count, Count] = (0, 3)
    """Least and most smooth galaxies that a crop gets under its objects, edge-on too: they are no objects,
    and the network learns to leave them alone."""
    radius_pix: tuple[Radius, Radius] = (1.5, 8.0)
    """Least and greatest radius."""
    opacity: tuple[Opacity, Opacity] = (0.6, 1.0)
    """Least and greatest share of the picture that the middle of an object hides."""
    hue_turn: Annotated[float, Field(ge=0, le=0.5)] = 0.08
    """Largest turn of the hue of a kind, as a fraction of the circle."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name in ("number", "galaxies", "radius_pix", "opacity"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name}: {low:g} is above {high:g}; give the smaller one first")
        return self


class CleanerConfig(TrainingConfig):
    """Training of the network that finds objects, a U-Net on a ResNet."""

    preset: CleanerName = "tiny"
    """Size of the network: tiny, or resnet34."""
    steps: Steps = 2000
    """Optimiser steps; 0 takes the weights of start_from as they are."""
    batch_size: Positive = 8
    """Crops per step, over all ranks together."""
    lr: Annotated[float, Field(gt=0)] = 2e-3
    """Peak learning rate; it rises over the first steps and falls as a cosine to a hundredth."""
    pairs: str | None = None
    """Folder with your own pictures and masks, `pictures/NAME` and `masks/NAME.png`, where a mask is white on
    objects; without it objects are injected into the pictures of the training split."""
    objects: ObjectsConfig = ObjectsConfig()
    """The injected objects."""
    threads: Positive = 1
    """CPU threads per rank; a setting, because the number of threads changes the last bits of sums."""
