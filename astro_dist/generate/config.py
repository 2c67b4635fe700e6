"""Settings of the generation of stamps."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from astro_dist.engine.config import Section
from astro_dist.field.objects import AcceptConfig
from astro_dist.models.device import Precision

# Of `astro_dist.models.solvers`, which needs torch.
SamplerName = Literal["dpm++", "ddim", "ddpm", "heun"]

Positive = Annotated[int, Field(ge=1)]
NotNegative = Annotated[float, Field(ge=0)]


class MasksConfig(Section):
    """Where the masks of the stamps come from, and their mixture; of the three shares only ratios count."""

    labels: str | None = None
    """FITS image of classes (0 background, 1 spurious, 2 compact, 3 extended) whose objects are drawn, with
    brightness, noise and beam of the survey's; by default the masks of its cutouts."""
    instances: str | None = None
    """FITS image of object numbers that goes with the labels; by default connected pixels are an object."""
    model: bool = False
    """Draw masks that nobody has seen, by the model of ``train masks``, which is then trained too."""
    steps: Positive = 20
    """Steps of the sampler that draws a mask."""
    compact: NotNegative = 0.7
    """Share of the stamps whose mask holds a compact source as its highest class."""
    extended: NotNegative = 0.3
    """Share of the stamps whose mask holds an extended source."""
    spurious: NotNegative = 0.0
    """Share of the stamps whose mask holds nothing but artefacts."""

    @model_validator(mode="after")
    def _check(self) -> "MasksConfig":
        if not sum(self.weights.values()):
            raise ValueError("compact, extended and spurious are all 0; give at least one a share")
        if self.model and self.labels is not None:
            raise ValueError("masks come from labels or from the model; leave one of the two out")
        if self.instances is not None and self.labels is None:
            raise ValueError("instances go with labels; give labels too")
        return self

    @property
    def weights(self) -> dict[str, float]:
        """The shares by name of the class."""
        return {"extended": self.extended, "compact": self.compact, "spurious": self.spurious}


class GuidanceConfig(Section):
    """How far a stamp is pushed towards its conditions; 1 and 1 cost one call of the network per step."""

    mask: NotNegative = 1.0
    """By mask and brightness: above 1 objects fit their masks better but come out too bright; 0 draws
    without a mask."""
    background: NotNegative = 1.0
    """Guidance by the background; 0 draws without one, and both 0 draws unconditional stamps."""

    @property
    def terms(self) -> dict[tuple[bool, bool], float]:
        """The weight of each prediction that is needed, by whether it is shown mask and background.

        The sum is e(0, 0) + background (e(0, b) - e(0, 0)) + mask (e(m, b) - e(0, b)): eq. 3 of Brooks et
        al. 2023 with its two conditions in this order.
        """
        weights = {
            (True, True): self.mask,
            (False, True): self.background - self.mask,
            (False, False): 1.0 - self.background,
        }
        return {shown: weight for shown, weight in weights.items() if weight}


class GenerateConfig(Section):
    """How many objects are promised, how they are drawn, and what counts as one."""

    objects: Positive | None = None
    """Distinct accepted sources that are promised; by default as many as assemble needs."""
    steps: Positive = 10
    """Steps of the sampler; 10 are enough for sources on an empty sky, whole stamps want 20, and fewer than 5
    draw all sources of a mask alike."""
    sampler: SamplerName = "dpm++"
    """How noise is taken away: dpm++ needs the fewest steps; ddim; ddpm and ddim with eta draw noise at every
    step and want 50 to 1,000; heun, that of EDM, asks the network twice a step."""
    eta: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Noise that ddim draws at every step, from none (0) to as much as ddpm does (1)."""
    guidance: GuidanceConfig = GuidanceConfig()
    """Classifier-free guidance by each condition."""
    masks: MasksConfig = MasksConfig()
    """Where the masks come from, and how often each class."""
    background: str | None = None
    """FITS image whose windows are shown to the network as background; by default other cutouts."""
    micro_batch: Positive = 16
    """Stamps drawn at once; it changes the last bits of sums, so it is a setting."""
    per_shard: Positive = 64
    """Stamps per task and file."""
    max_stamps_per_object: Annotated[float, Field(gt=0)] = 5.0
    """Give up when so many stamps per promised object were drawn and still too few were accepted."""
    threads: Positive = 1
    """CPU threads per worker; they change the last bits of sums, so they are a setting."""
    precision: Precision = "auto"
    """bf16, no (float32), or auto: bf16 where the hardware computes in it."""
    accept: AcceptConfig = AcceptConfig()
    """What makes a generated source an object that may be placed on a map."""

    @property
    def calls(self) -> int:
        """How often a stamp asks the network."""
        each = 2 * self.steps - 1 if self.sampler == "heun" else self.steps
        return each * len(self.guidance.terms)

    @model_validator(mode="after")
    def _check_eta(self) -> "GenerateConfig":
        if self.eta and self.sampler != "ddim":
            raise ValueError(f"eta is for the sampler ddim, not for {self.sampler}; leave it out or set 0")
        return self


def source_files(settings: GenerateConfig) -> dict[str, Path]:
    """Return the user's files that the conditions come from, by what they are."""
    given = {
        "labels": settings.masks.labels,
        "instances": settings.masks.instances,
        "background": settings.background,
    }
    return {name: Path(path).expanduser() for name, path in given.items() if path is not None}
