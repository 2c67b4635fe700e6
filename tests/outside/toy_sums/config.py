"""The settings."""

from typing import Literal

from astro_dist.engine.config import Section
from astro_dist.engine.pipeline import PipelineConfig
from astro_dist.train.config import TrainingConfig


class NumbersConfig(Section):
    """The numbers."""

    shards: int = 3
    """How many files."""
    per_shard: int = 200
    """Pairs in each."""


class LearnConfig(TrainingConfig):
    """The trainings."""

    steps: int = 60
    """Optimiser steps."""
    batch_size: int = 16
    """Pairs per step."""
    lr: float = 0.05
    """Peak learning rate."""
    threads: int = 1
    """CPU threads per rank."""
    precision: Literal["no"] = "no"
    """Always float32."""


class VerdictConfig(Section):
    """The choice of the best."""

    digits: int = 4
    """Of the losses that are shown."""


class SumsConfig(PipelineConfig):
    """All settings."""

    pipeline: Literal["sums"] = "sums"
    """Which pipeline this configuration is for."""
    numbers: NumbersConfig = NumbersConfig()
    """The numbers."""
    learn: LearnConfig = LearnConfig()
    """The trainings."""
    verdict: VerdictConfig = VerdictConfig()
    """The choice of the best."""
