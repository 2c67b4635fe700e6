"""Settings of the training of super-resolution."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from astro_dist.engine.config import Section
from astro_dist.engine.errors import ConfigError
from astro_dist.models.super_presets import SCALE, SUPER, SuperName
from astro_dist.pictures.config import PicturesConfig
from astro_dist.store.config import CutoutsConfig
from astro_dist.train.config import Positive, Steps, TrainingConfig

# The same as in `astro_dist.pictures.degradations`, whose module imports Pillow.
HalfName = Literal["bicubic", "mean"]


class FilterConfig(Section):
    """A bilateral filter: a mean over near pixels of like brightness."""

    diameter_pix: Annotated[int, Field(ge=3, le=31)] = 5
    """Side of the neighbourhood; odd."""
    brightness: Annotated[float, Field(gt=0)] = 0.05
    """Difference of brightness, from black 0 to white 1, within which pixels are alike; per plane."""
    radius_pix: Annotated[float, Field(gt=0)] = 1.5
    """Distance within which pixels are near."""

    @model_validator(mode="after")
    def _check_side(self) -> Self:
        if self.diameter_pix % 2 == 0:
            raise ValueError(f"diameter_pix: {self.diameter_pix} has no middle; give an odd number")
        return self


class SuperresConfig(TrainingConfig):
    """Training of the network that doubles pictures or maps, SR3."""

    preset: SuperName = "tiny"
    """The network: tiny, small, sr3 (as its paper says), code (as its public code), improved, or local for
    maps, by default where there is a section maps."""
    width: Annotated[int, Field(ge=8, multiple_of=8)] | None = None
    """Channels of the first level, by default those of the preset."""
    half: HalfName | None = None
    """How training images are made small: bicubic, or mean of 2 x 2 pixels, by default that for maps."""
    filtered: bool = False
    """Whether the network learns to draw filtered pictures; what it is given is not filtered."""
    filter: FilterConfig = FilterConfig()
    """The filter of filtered targets."""
    steps: Steps = 2000
    """Optimiser steps; 0 takes the weights of start_from as they are."""
    batch_size: Positive = 8
    """Crops per step, over all ranks together."""
    crop_pix: Annotated[int, Field(ge=16, multiple_of=16)] = 64
    """Side of the square training crops in enlarged pixels; a multiple of 16."""
    source_bias: Annotated[float, Field(ge=0, le=1)] = 0.6
    """Fraction of the crops of maps that must contain a pixel of an object."""
    lr: Annotated[float, Field(gt=0)] = 2e-3
    """Peak learning rate, by default lower for larger presets; it rises over the first steps and falls as a
    cosine to a hundredth."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Decay per step of the moving average of the weights; the average is published."""
    threads: Positive = 1
    """CPU threads per rank; a setting, because the number of threads changes the last bits of sums."""

    @model_validator(mode="before")
    @classmethod
    def _settle_rate(cls, tree: Any) -> Any:
        preset = tree.get("preset") if isinstance(tree, dict) else None
        # A list or a mapping, which is no preset, cannot be looked up.
        if not isinstance(preset, str) or preset not in SUPER:
            return tree
        return {"lr": SUPER[preset].lr, **tree}

    @model_validator(mode="after")
    def _check_crop(self) -> Self:
        preset = SUPER[self.preset]
        unit = preset.fold * 2 ** (len(preset.factors) - 1)
        if self.crop_pix % unit:
            raise ValueError(
                f"crop_pix {self.crop_pix} is no multiple of {unit}, which the levels of preset "
                f"{self.preset} need; give such a multiple"
            )
        return self


def settle_superres(
    pictures: PicturesConfig, cutouts: CutoutsConfig | None, superres: SuperresConfig
) -> SuperresConfig:
    """Return the settings with what follows from the images that are learnt from.

    Parameters
    ----------
    cutouts
        Settings of cutouts, None where there are pictures.

    Raises
    ------
    ConfigError
        The preset is not for maps, or crops do not fit; the message names the settings.
    """
    given, changes = superres.model_fields_set, dict[str, Any]()
    if cutouts is not None:
        if "preset" in given and superres.preset != "local":
            raise ConfigError(
                f"superres.preset: {superres.preset} sees a whole tile at once, so that tiles of a map would "
                "not fit together; set it to local"
            )
        if superres.filtered:
            raise ConfigError("superres.filtered: maps are not filtered; leave it out")
        changes["preset"] = "local"
    if superres.filtered:
        # Here, because few settings need it.
        from astro_dist.enhance.opencv import require_opencv

        require_opencv("superres.filtered: filtered targets")
    if superres.half is None:
        changes["half"] = "bicubic" if cutouts is None else "mean"
    where, size_pix = ("pictures", pictures.size_pix) if cutouts is None else ("cutouts", cutouts.size_pix)
    if superres.crop_pix > size_pix:
        if "crop_pix" in given or size_pix < 16:
            raise ConfigError(
                f"superres.crop_pix: crops of {superres.crop_pix} pixels do not fit into {where} of "
                f"{size_pix}; lower it, or raise {where}.size_pix"
            )
        changes["crop_pix"] = size_pix // 16 * 16
    if size_pix % SCALE:
        raise ConfigError(f"{where}.size_pix: {size_pix} is odd and has no half; set it to an even number")
    return superres.model_copy(update=changes) if changes else superres
