"""Settings of the synthetic pictures."""

from typing import Annotated, Literal

from pydantic import Field

from astro_dist.engine.config import Section
from astro_dist.engine.errors import ConfigError
from astro_dist.models.device import Precision
from astro_dist.train.config import Positive

# The same as in `astro_dist.models.solvers`, whose module imports torch.
SolverName = Literal["dpm++", "ddim", "ddpm", "heun"]
Strength = Annotated[float, Field(ge=0.25, le=1)]


class VariantsConfig(Section):
    """How further pictures are made from one."""

    of: Literal["synthetic", "real"] = "synthetic"
    """What is varied: the picture that was painted from the prompt, as in FLARE's paper, or the real picture
    that it was painted for, as in FLARE's code."""
    how: Literal["caption", "noise"] = "caption"
    """From the picture's own caption, which is the only way of UniDiffuser; or noise is added to the picture
    and taken away again with the prompt of its class (SDEdit), the only way of a painter of classes."""
    strengths: Annotated[tuple[Strength, ...], Field(min_length=1)] = (0.25, 0.5, 0.75, 1.0)
    """Noise of how noise, from 0.25 to 1, where nothing is left of the picture; one after the other for the
    variants of a picture."""


class SampleAcceptConfig(Section):
    """Which painted pictures are dropped, to be painted again."""

    recognised: bool = True
    """Whether a picture is dropped whose class the judge does not recognise."""
    copies: bool = True
    """Whether a copy is dropped: a picture that is nearer to a training picture, in the judge's features,
    than all but 1 % of the held-out pictures."""
    tries: Positive = 20
    """Most pictures that are painted for one; with none accepted the run ends."""


class SynthesiseConfig(Section):
    """The painting of synthetic pictures: for each training picture one of its class, and variants of it."""

    k: Positive = 5
    """Synthetic pictures for each training picture: one from its prompt, and k - 1 variants."""
    sampler: SolverName = "dpm++"
    """Solver of the diffusion: dpm++, ddim, ddpm or heun."""
    steps: Positive = 20
    """Steps of the solver."""
    eta: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Noise that ddim draws at every step, from none (0) to that of ddpm (1)."""
    guidance: Annotated[float, Field(ge=1)] = 5.0
    """Strength of the guidance; with 1 a step calls the network once."""
    variants: VariantsConfig = VariantsConfig()
    """How the k - 1 variants are made."""
    accept: SampleAcceptConfig | None = None
    """Which pictures are dropped and painted again; without this section all are kept."""
    micro_batch: Positive = 16
    """Pictures that are painted at once; the last bits depend on it."""
    shard: Annotated[int, Field(ge=1, le=1 << 20)] = 16
    """Training pictures per task; its shard file holds k pictures for each."""
    threads: Positive = 1
    """CPU threads per worker; a setting, because the number of threads changes the last bits of sums."""
    precision: Precision = "auto"
    """bf16, no (float32), or auto: bf16 where the hardware computes in it."""

    @property
    def calls(self) -> int:
        """Number of calls of the network per picture."""
        each = 2 * self.steps - 1 if self.sampler == "heun" else self.steps
        twice = 2 if self.guidance != 1 else 1
        # A caption is drawn with as many steps as a picture.
        per_variant = 2 if self.variants.how == "caption" else 1
        return each * twice * (1 + per_variant * (self.k - 1))


def without_captions(config: SynthesiseConfig) -> SynthesiseConfig:
    """Return the settings for a painter that writes no captions.

    Raises
    ------
    ConfigError
        The settings ask for captions.
    """
    variants = config.variants
    if "how" in variants.model_fields_set and variants.how == "caption":
        raise ConfigError(
            "synthesise.variants.how: the painter of classes writes no captions; set it to noise, or leave "
            "the section diffusion out"
        )
    return config.model_copy(update={"variants": variants.model_copy(update={"how": "noise"})})
