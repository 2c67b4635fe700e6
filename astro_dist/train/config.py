"""Settings of the trainings."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from astro_dist.engine.config import Section
from astro_dist.models.device import Precision

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(ge=1)]
Steps = Annotated[int, Field(ge=0)]
LAYOUT = frozenset(
    {"ranks", "strategy", "offload", "accumulate", "threads", "checkpoint_every_s", "trackers"}
)
"""Settings that change at most the last bits of a training, so that checkpoints pass from one to another."""

OWN_STORE = "ASTRO_DIST_OWN_STORE"
"""Set in ranks that this package starts: they connect through `astro_dist.train.strategy.connect_ranks`."""


class TrainingConfig(Section):
    """Settings that all trainings share."""

    unmarked = frozenset({"checkpoint_every_s", "trackers"})
    preset: str = "tiny"
    """Name of the networks; each pipeline names its own sizes."""
    start_from: str | None = None
    """Initial weights: ``small`` for those of the package, or the folder of a published model."""
    steps: Steps = 1000
    """Optimiser steps; 0 takes the weights of start_from as they are."""
    batch_size: Positive = 32
    """Crops per step, over all ranks together."""
    crop_pix: Annotated[int, Field(ge=16, multiple_of=16)] = 64
    """Side of the square training crops in pixels; a multiple of 16, at most the side of a cutout."""
    source_bias: Fraction = 0.6
    """Fraction of the crops that must contain a pixel of an object."""
    lr: Annotated[float, Field(gt=0)] = 2e-3
    """Peak learning rate; it rises over the first steps and falls as a cosine to a hundredth."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """Course of the learning rate after its rise: a fall as a cosine, or constant."""
    warmup_steps: Annotated[int, Field(ge=0)] = 20
    """Steps over which the learning rate rises from zero."""
    clip_norm: Annotated[float, Field(gt=0)] | None = 1.0
    """Largest norm of a step's gradient; longer gradients are scaled down to it, and null sets no limit."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.995
    """Decay per step of the moving average of the weights; the average is published."""
    precision: Precision = "auto"
    """bf16, no (float32), or auto: bf16 where the hardware computes in it."""
    threads: Positive = 2
    """CPU threads per rank; a setting, because the number of threads changes the last bits of sums."""
    ranks: Positive = 1
    """Processes that share each batch; with GPUs one process per GPU."""
    strategy: Literal["ddp", "zero1", "zero2", "zero3"] = "ddp"
    """State that is split over the ranks: none (ddp), AdamW's moments (zero1), gradients too (zero2), weights
    too (zero3)."""
    offload: Literal["none", "optimiser", "all"] = "none"
    """State that ZeRO keeps in CPU memory: none, the state of the optimiser, or (zero3 only) weights too."""
    accumulate: Positive = 1
    """Parts of a rank's share of a batch, computed one after the other to fit the memory of the rank."""
    checkpoint_every_s: Annotated[float, Field(gt=0)] = 30.0
    """Seconds between checkpoints; a killed training loses at most this much."""
    trackers: tuple[str, ...] = ()
    """Trackers of Accelerate that also receive the curves, such as wandb; most trackers use the network."""

    @model_validator(mode="after")
    def _check_start(self) -> Self:
        if self.steps == 0 and self.start_from is None:
            raise ValueError("no steps and no start_from would publish noise; give one of them")
        return self

    @model_validator(mode="after")
    def _check_ranks(self) -> Self:
        # With equal parts the mean of the parts' losses is the loss of the batch.
        if self.batch_size % (self.ranks * self.accumulate):
            raise ValueError(
                f"batch_size {self.batch_size} cannot be shared by {self.ranks} ranks in "
                f"{self.accumulate} parts each; make it a multiple of ranks times accumulate"
            )
        if self.offload != "none" and self.strategy == "ddp":
            raise ValueError(f"offload {self.offload} is ZeRO's; set strategy to zero1, zero2 or zero3")
        if self.offload == "all" and self.strategy != "zero3":
            raise ValueError(f"{self.strategy} cannot offload weights; set strategy to zero3")
        return self
