"""Settings of the generation of stamps."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from astro_dist.engine.config import Section
from astro_dist.engine.foreign import expand_home
from astro_dist.field.config import AcceptConfig
from astro_dist.models.device import Precision

# The same as `astro_dist.models.solvers.SolverName`, whose module imports torch.
SamplerName = Literal["dpm++", "ddim", "ddpm", "heun"]

Positive = Annotated[int, Field(ge=1)]
NotNegative = Annotated[float, Field(ge=0)]


class MasksConfig(Section):
    """The origin of the stamps' masks, and the shares of the classes, of which only the ratios count."""

    labels: str | None = None
    """Masks whose objects are drawn, with brightness, noise and beam of the survey's own objects; by default
    those of the survey's cutouts. A FITS image of classes (0 background, 1 spurious, 2 compact, 3 extended),
    COCO's JSON, RADiff's JSON or a folder of it, or regions of DS9 or CASA (.reg, .crtf)."""
    classes: Mapping[int | str, Literal["background", "spurious", "compact", "extended"]] = {}
    """Classes of the labels in the masks where they are others: {1: compact}, {FRII: extended}; "*" stands
    for all that are not named."""
    map: str | None = None
    """FITS map that regions are drawn on, for labels that are regions."""
    later: ClassVar[frozenset[str]] = frozenset({"classes", "map"})
    instances: str | None = None
    """FITS image of object numbers for the labels; by default connected pixels are an object."""
    model: bool = False
    """Draw new masks with the mask model; `train masks` is then a stage of the run."""
    steps: Positive = 20
    """Steps of the solver that draws a mask."""
    compact: NotNegative = 0.7
    """Share of the stamps whose mask holds a compact source as its highest class."""
    extended: NotNegative = 0.3
    """Share of the stamps whose mask holds an extended source."""
    spurious: NotNegative = 0.0
    """Share of the stamps whose mask holds spurious objects only."""

    @model_validator(mode="after")
    def _check(self) -> "MasksConfig":
        if not sum(self.weights.values()):
            raise ValueError("compact, extended and spurious are all 0; give at least one a share")
        if self.model and self.labels is not None:
            raise ValueError("masks come from labels or from the model; leave one of the two out")
        if self.instances is not None and self.labels is None:
            raise ValueError("instances go with labels; give labels too")
        if self.labels is None and (self.classes or self.map):
            raise ValueError("classes and map go with labels; give labels too")
        return self

    @property
    def weights(self) -> dict[str, float]:
        """The shares by class name."""
        return {"extended": self.extended, "compact": self.compact, "spurious": self.spurious}


class ReadConfig(Section):
    """The part of a FITS file that is read, and a value of it that means no data."""

    hdu: int | str | None = None
    """Number from 0 or EXTNAME of the image, in a file that has such an image; by default its one map."""
    plane: int | tuple[int, ...] | None = None
    """Plane of a cube, counted from 0; a list where several of its axes have more than one."""
    blank: float | None = None
    """A value that means no data, beside NaN, BLANK and regions of one value."""

    @property
    def is_default(self) -> bool:
        """Whether nothing is said."""
        return self == ReadConfig()


class GuidanceConfig(Section):
    """Strength of the guidance by each condition; with 1 and 1 a step calls the network once."""

    mask: NotNegative = 1.0
    """Guidance by mask and brightness. Above 1 objects fit their masks better but become too bright; 0 draws
    without a mask."""
    background: NotNegative = 1.0
    """Guidance by the background. 0 draws without a background; both 0 draw unconditional stamps."""

    @property
    def terms(self) -> dict[tuple[bool, bool], float]:
        """The weight of each prediction that counts, by whether mask and background are given.

        The weighted sum is e(0, 0) + background (e(0, b) - e(0, 0)) + mask (e(m, b) - e(0, b)): eq. 3 of
        Brooks et al. 2023, with the background as the first condition and the mask as the second.
        """
        weights = {
            (True, True): self.mask,
            (False, True): self.background - self.mask,
            (False, False): 1.0 - self.background,
        }
        return {shown: weight for shown, weight in weights.items() if weight}


class GenerateConfig(Section):
    """The promised number of objects, the way they are drawn, and the conditions of their acceptance."""

    objects: Positive | None = None
    """Promised number of distinct accepted sources; by default as many as assemble needs."""
    steps: Positive = 10
    """Steps of the sampler. 10 are enough for sources on an empty sky, whole stamps need 20, and with fewer
    than 5 all sources of a mask look alike."""
    sampler: SamplerName = "dpm++"
    """Method by which noise is removed: dpm++ needs the fewest steps; ddim; ddpm, which like ddim with eta
    draws noise at every step and needs 50 to 1,000 steps; heun (of EDM) calls the network twice a step."""
    eta: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Noise that ddim draws at every step, from none (0) to that of ddpm (1)."""
    guidance: GuidanceConfig = GuidanceConfig()
    """Classifier-free guidance by each condition."""
    masks: MasksConfig = MasksConfig()
    """Origin of the masks, and share of each class."""
    background: str | None = None
    """FITS image whose windows are the backgrounds of the stamps; by default other cutouts."""
    read: ReadConfig = ReadConfig()
    """How `background` and `masks.map` are read; by default as `maps.hdu`, `plane` and `blank` say."""
    later: ClassVar[frozenset[str]] = frozenset({"read"})
    micro_batch: Positive = 16
    """Stamps drawn at once. The number changes the last bits of sums, so a result depends on this setting."""
    per_shard: Positive = 64
    """Stamps per task and file."""
    max_stamps_per_object: Annotated[float, Field(gt=0)] = 5.0
    """Most stamps drawn per promised object; generate fails if they hold too few accepted objects."""
    threads: Positive = 1
    """CPU threads per worker. They change the last bits of sums, so a result depends on this setting."""
    precision: Precision = "auto"
    """bf16, no (float32), or auto: bf16 where the hardware computes in bfloat16."""
    accept: AcceptConfig = AcceptConfig()
    """Conditions under which a generated source is accepted and may be placed on a map."""

    @property
    def calls(self) -> int:
        """Number of calls of the network per stamp."""
        # The last step of heun ends at zero noise, where there is no second call.
        each = 2 * self.steps - 1 if self.sampler == "heun" else self.steps
        return each * len(self.guidance.terms)

    @model_validator(mode="after")
    def _check_eta(self) -> "GenerateConfig":
        if self.eta and self.sampler != "ddim":
            raise ValueError(f"eta is for the sampler ddim, not for {self.sampler}; leave it out or set 0")
        return self


def source_files(settings: GenerateConfig) -> dict[str, Path]:
    """Return the user's files from which conditions are read, by the setting that names them."""
    given = {
        "labels": settings.masks.labels,
        "map": settings.masks.map,
        "instances": settings.masks.instances,
        "background": settings.background,
    }
    return {name: expand_home(path) for name, path in given.items() if path is not None}
