"""How ranks share a training: one Accelerator per rank, plain data parallel or DeepSpeed's ZeRO."""

import logging
import os
import socket
import warnings
from typing import TYPE_CHECKING, Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState
from accelerate.utils import DistributedDataParallelKwargs, DistributedType, InitProcessGroupKwargs

from astro_dist.engine.errors import ConfigError
from astro_dist.train.config import OWN_STORE, TrainingConfig
from astro_dist.train.extensions import build_extensions

if TYPE_CHECKING:

    class DeepSpeedPlugin:
        """The constructor of Accelerate's class with types; accelerate itself has none."""

        def __init__(self, **settings: Any) -> None: ...

else:
    from accelerate import DeepSpeedPlugin


def make_accelerator(config: TrainingConfig, device: str, precision: str) -> Accelerator:
    """Return the Accelerator of this process, after checking that all ranks are there.

    The settings alone decide: variables that `accelerate launch` leaves in the environment are removed. Under
    all strategies mixed precision is the autocast of the loop, with float32 weights; the Accelerator
    therefore has mixed precision switched off.

    Raises
    ------
    ConfigError
        When Accelerate sees other ranks, another strategy or another device than the settings: some launch
        modes would train separate copies without a warning.
    """
    logging.getLogger("accelerate").setLevel(logging.ERROR)
    for name in [name for name in os.environ if name.startswith("ACCELERATE_")]:
        del os.environ[name]
    # Both states are singletons of the process: a second training would get the settings of the first.
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    if config.strategy != "ddp":
        # Before ranks wait for one another: the first time it takes a minute.
        build_extensions()
    connect_ranks(device)
    if (launched := int(os.environ.get("WORLD_SIZE", "1"))) != config.ranks:
        raise _refusal(config, f"{launched} were started")
    plugin = None if config.strategy == "ddp" else _deepspeed_plugin(config, precision)
    handlers: list[Any] = []
    if config.ranks > 2:
        # Without this, torch groups the gradients anew after the first step. The sums of more than two ranks
        # then come in another order, and a resumed training would not end in the same bits.
        handlers.append(DistributedDataParallelKwargs(find_unused_parameters=True))
    if device == "cpu" and (config.ranks > 1 or plugin is not None):
        handlers.append(InitProcessGroupKwargs(backend="gloo"))
    accelerator = Accelerator(
        mixed_precision="no",
        gradient_accumulation_steps=config.accumulate,
        # DeepSpeed finds the CPU by itself; with cpu=True Accelerate would leave DeepSpeed out.
        cpu=device == "cpu" and plugin is None,
        deepspeed_plugin=plugin,
        kwargs_handlers=handlers,
    )
    seen = (accelerator.num_processes, accelerator.distributed_type.value, accelerator.device.type)
    wanted = (config.ranks, _kind(config, device).value, device)
    if seen != wanted:
        shown = [f"{ranks} rank(s), {kind.lower()} on {where}" for ranks, kind, where in (seen, wanted)]
        raise _refusal(config, f"Accelerate has {shown[0]} in place of {shown[1]}")
    return accelerator


def connect_ranks(device: str) -> None:
    """Connect the ranks that `train_on_ranks` started, through a store that strangers cannot reach.

    torch's own store listens on all addresses and has no authentication. On one machine the store is a file
    in the private folder of the ranks, so that other users of the machine cannot reach it either. Over nodes
    the first rank binds the socket itself, to its address on the network of the job: a file would need locks
    that work across nodes. Ranks of a launcher (torchrun, Ray Train) connect as the launcher says.
    """
    if OWN_STORE not in os.environ or torch.distributed.is_initialized():
        return
    rank, ranks = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    kinds: Any = vars(torch.distributed)
    if path := os.environ[OWN_STORE]:
        store = kinds["FileStore"](path, ranks)
    else:
        host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        listener = _listen(host, port) if rank == 0 else None
        store = kinds["TCPStore"](host, port, ranks, rank == 0, master_listen_fd=listener)
    backend = "nccl" if device == "cuda" else "gloo"
    torch.distributed.init_process_group(backend, store=store, rank=rank, world_size=ranks)


def _listen(host: str, port: int) -> int:
    """Return the descriptor of a socket that listens on one address; its user owns it."""
    # `create_server` takes IPv4 unless it is given the family of the address.
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    return socket.create_server((host, port), family=family).detach()


def _kind(config: TrainingConfig, device: str) -> DistributedType:
    if config.strategy != "ddp":
        return DistributedType.DEEPSPEED
    if config.ranks == 1:
        return DistributedType.NO
    return DistributedType.MULTI_CPU if device == "cpu" else DistributedType.MULTI_GPU


def _refusal(config: TrainingConfig, finding: str) -> ConfigError:
    return ConfigError(
        f"the settings ask for {config.ranks} ranks under {config.strategy}, and {finding}; start as many "
        "processes as `ranks` says, with torchrun for example, or none: `astro-dist train` starts them itself"
    )


class _Plugin(DeepSpeedPlugin):
    """The plugin without its notice to transformers, because transformers need not be installed."""

    def set_deepspeed_weakref(self) -> None:
        """Do nothing; the original passes the settings on to transformers."""


def _deepspeed_plugin(config: TrainingConfig, precision: str) -> DeepSpeedPlugin:
    for name in ("DeepSpeed", "deepspeed"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # DeepSpeed calls deprecated names of torch.distributed, with a FutureWarning several times a step.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\.distributed")
    zero: dict[str, Any] = {"stage": int(config.strategy.removeprefix("zero"))}
    if zero["stage"] == 3:
        # Split small weights too: `Average` averages the parts of all parameters.
        zero["stage3_param_persistence_threshold"] = 0
    if config.offload != "none":
        zero["offload_optimizer"] = {"device": "cpu"}
    if config.offload == "all":
        zero["offload_param"] = {"device": "cpu"}
    settings = {
        "train_micro_batch_size_per_gpu": config.batch_size // config.ranks // config.accumulate,
        "gradient_accumulation_steps": config.accumulate,
        "gradient_clipping": config.clip_norm or 0.0,  # 0 sets no limit
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        # torch's AdamW also with offload; the AdamW of DeepSpeed would be compiled on first use.
        "zero_force_ds_cpu_optimizer": False,
        "torch_autocast": {"enabled": precision == "bf16", "dtype": "bfloat16"},
        "steps_per_print": 10**9,  # more steps than a training has, so that nothing is printed
    }
    return _Plugin(hf_ds_config=settings)
