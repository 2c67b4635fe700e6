"""Settings of the chain that enhances pictures and maps."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from astro_dist.engine.config import Section
from astro_dist.enhance.superres_config import FilterConfig
from astro_dist.models.device import Precision
from astro_dist.models.upscalers import EnlargerName
from astro_dist.train.config import Positive

LinkName = Literal["cleaning", "colourise", "superres", "bicubic", "bilateral"]
DOUBLING = ("superres", "bicubic")
MOST_SAMPLES, MOST_CALLS = 1024, 10_000
OF_PICTURES = ("cleaning", "colourise", "bilateral")
"""Steps that pictures alone go through: they change fluxes."""
SolverName = Literal["dpm++", "ddim", "ancestral"]
# The same as in `astro_dist.models.super_levels`, whose module imports torch.


class ChainConfig(Section):
    """The chain of networks and filters, and the images that it enhances."""

    # What it decides is in the settings of the training.
    unmarked = frozenset({"with_"})
    later = frozenset({"estimate"})

    with_: EnlargerName | None = Field(None, alias="with")
    """The network of the step superres: superres, which draws samples, or swinir, for pictures alone, both by
    default with the weights of the package; null takes whichever superres.start_from holds."""
    chain: tuple[LinkName, ...] = ()
    """Steps in order: cleaning, colourise, superres or bicubic, bilateral; by default those that are trained
    in this run, with bicubic for pictures and maps where no network doubles them. Maps are doubled alone."""
    files: tuple[str, ...] = ()
    """FITS files or patterns to enhance; by default the maps, or the pictures, of the run."""
    hdu: int | str | None = None
    """Number from 0 or EXTNAME of the image in these files; by default the one image with a sky."""
    samples: Annotated[int, Field(ge=1, le=MOST_SAMPLES)] = 8
    """Samples of the network whose mean is published."""
    estimate: Literal["mean", "expected"] = "mean"
    """The published image: the mean of the samples, or what the network expects of each at its first call,
    from noise alone, which is nearer to the truth than the mean of many; samples and uncertainty stay."""
    keep_samples: Annotated[int, Field(ge=0, le=64)] = 0
    """Samples that are published as well."""
    most_samples: Annotated[int, Field(ge=1, le=4096)] = 32
    """Samples whose mean is taken where a source was invented, before the network is given up there."""
    calls: Annotated[int, Field(ge=1, le=MOST_CALLS)] = 15
    """Calls of the network per sample."""
    solver: SolverName = "dpm++"
    """How samples are drawn."""
    flux: Literal["auto", "mean", "sum"] = "auto"
    """What of 2 x 2 new pixels of a map is the old one: their mean (brightness), their sum (flux or counts in
    a pixel), or auto, by its BUNIT."""
    source_sigma: Annotated[float, Field(gt=1)] = 5.0
    """What rises above this many sigma is a source."""
    input_sigma: Annotated[float, Field(gt=0)] = 4.0
    """A source counts as invented where the input does not reach this within a beam."""
    fwhm_pix: Annotated[float, Field(gt=0, le=10000)] | None = None
    """Width of beam or PSF in pixels of the input, where the header gives none."""
    unlike: Literal["refuse", "flag"] = "refuse"
    """What happens to images unlike those of the training: refused, or enhanced and flagged."""
    filter: FilterConfig = FilterConfig()
    """The filter of the step bilateral."""
    band_rows: Annotated[int, Field(ge=32, multiple_of=32)] = 256
    """Rows of the input per task."""
    tile_pix: Annotated[int, Field(ge=32, multiple_of=32)] = 512
    """Widest part of a band that is computed at once; memory follows from it, and the last bits."""
    shard: Annotated[int, Field(ge=1, le=1 << 20)] = 32
    """Pictures per shard file and task."""
    precision: Precision = "no"
    """no (float32), bf16, or auto: bf16 where the hardware computes in it."""
    threads: Positive = 1
    """CPU threads per worker; a setting, because the number of threads changes the last bits of sums."""

    @model_validator(mode="after")
    def _check_chain(self) -> Self:
        if len(set(self.chain)) < len(self.chain) or set(DOUBLING) <= set(self.chain):
            raise ValueError("chain: each step once, and one of superres and bicubic; take the others out")
        if self.most_samples < self.samples:
            raise ValueError("most_samples is below samples; raise it or lower samples")
        if self.keep_samples > self.samples:
            raise ValueError("keep_samples is above samples; lower it or raise samples")
        return self
