"""How ranks share a training: one Accelerator per rank, plain data parallel or DeepSpeed."""

import logging
from typing import Any

from accelerate import Accelerator, DeepSpeedPlugin
from accelerate.state import AcceleratorState
from accelerate.utils import InitProcessGroupKwargs

from astro_dist.train.config import TrainingConfig


def make_accelerator(config: TrainingConfig, device: str, precision: str) -> Accelerator:
    """Return the Accelerator of this process, after checking that all ranks are there.

    Mixed precision is the loop's own autocast, with float32 weights, whatever the strategy; hence
    the Accelerator is always told to leave precision alone.

    Raises
    ------
    RuntimeError
        When Accelerate sees another number of ranks than the settings: some of its launch modes
        train separate copies without a word.
    """
    logging.getLogger("accelerate").setLevel(logging.ERROR)
    AcceleratorState._reset_state(reset_partial_state=True)
    plugin = _deepspeed_plugin(config, precision) if config.strategy == "deepspeed" else None
    handlers: list[Any] = []
    if device == "cpu" and (config.ranks > 1 or plugin is not None):
        handlers.append(InitProcessGroupKwargs(backend="gloo"))
    accelerator = Accelerator(
        mixed_precision="no",
        # DeepSpeed finds the CPU by itself; with cpu=True Accelerate would leave it out.
        cpu=device == "cpu" and plugin is None,
        deepspeed_plugin=plugin,
        kwargs_handlers=handlers,
    )
    if accelerator.num_processes != config.ranks:
        raise RuntimeError(f"{config.ranks} ranks were started, Accelerate sees {accelerator.num_processes}")
    return accelerator


class _Plugin(DeepSpeedPlugin):
    """The plugin without its message to transformers, which need not be installed."""

    def set_deepspeed_weakref(self) -> None:
        """Leave transformers alone."""


def _deepspeed_plugin(config: TrainingConfig, precision: str) -> DeepSpeedPlugin:
    for name in ("DeepSpeed", "deepspeed"):
        logging.getLogger(name).setLevel(logging.ERROR)
    settings = {
        "train_micro_batch_size_per_gpu": config.batch_size // config.ranks,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": 1.0,
        "zero_optimization": {"stage": 2},
        "zero_allow_untested_optimizer": True,
        "torch_autocast": {"enabled": precision == "bf16", "dtype": "bfloat16"},
        "steps_per_print": 10**9,
    }
    return _Plugin(hf_ds_config=settings)
