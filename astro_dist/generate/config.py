"""Settings of the generation of stamps."""

from typing import Annotated

from pydantic import Field

from astro_dist.config import Section
from astro_dist.field.objects import AcceptConfig
from astro_dist.models.device import Precision

Positive = Annotated[int, Field(ge=1)]


class GenerateConfig(Section):
    """How many objects are promised, how they are drawn, and what counts as one."""

    objects: Positive | None = None
    """Distinct accepted sources that are promised; by default as many as assemble needs."""
    steps: Positive = 10
    """Steps of the sampler; 10 are enough for sources on an empty sky, whole stamps want 20."""
    guidance: Annotated[float, Field(ge=0)] = 1.0
    """Classifier-free guidance; above 1 objects fit their masks better but come out too bright."""
    extended_fraction: Annotated[float, Field(ge=0, le=1)] = 0.3
    """Fraction of the stamps whose mask holds an extended source."""
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
