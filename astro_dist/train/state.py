"""The whole state of a training, gathered from and split over any number of ranks.

A checkpoint has one layout for all strategies: full weights, their average and both moments of AdamW by the
names of the parameters, in one safetensors file. Any number of ranks under any strategy can therefore read a
checkpoint of any other, and nothing is unpickled. While a checkpoint is written, the whole state is once in
the memory of the first rank.
"""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from astro_dist.engine.errors import IntegrityError
from astro_dist.train.average import Average, part, partitioned

MOMENTS = ("exp_avg", "exp_avg_sq")
FILE, BEST = "state.safetensors", "best/"


def takes_part(group: Mapping[str, Any], step: int) -> bool:
    """Return whether a group of parameters moves in a step: with ``turn`` (k, n) in k, k + n, k + 2 n, ..."""
    first, every = group.get("turn", (0, 1))
    return bool(step % every == first)


class State:
    """The weights, averages and moments of a network that Accelerate has prepared.

    Calls that all ranks must make together: `save`, `load`, `averages`, `check_equal`.

    Parameters
    ----------
    accelerator : Accelerator
        The Accelerator that has prepared network and optimiser.
    network : nn.Module
        The network itself, without the wrapper of DDP or DeepSpeed.
    optimiser : Any
        The prepared AdamW.
    decay : float
        Decay of the average per step.
    averaged : str
        Prefix of the names of the averaged parameters.
    """

    def __init__(
        self, accelerator: Accelerator, network: nn.Module, optimiser: Any, decay: float, averaged: str = ""
    ) -> None:
        self.accelerator, self.network, self.optimiser = accelerator, network, optimiser
        self.parameters = {name: p for name, p in network.named_parameters() if p.requires_grad}
        self.averaged = [name for name in self.parameters if name.startswith(averaged)]
        self.average = Average([self.parameters[name] for name in self.averaged], decay)
        self.best: dict[str, Tensor] = {}

    def save(self, folder: Path) -> None:
        """Write the whole state below ``folder``; all ranks gather, the first rank writes."""
        leads, whole = self.accelerator.is_main_process, {}
        for name, tensor in self._gather():
            if leads:
                # A contiguous copy on the CPU: safetensors refuses other memory orders and shared memory.
                plain = torch.empty(tensor.shape, dtype=tensor.dtype)
                whole[name] = plain.copy_(tensor.detach())
        if leads:
            save_file(whole, folder / FILE)

    def load(self, folder: Path, step: int) -> None:
        """Load the state after ``step`` optimiser steps from ``folder``."""
        whole = load_file(folder / FILE)
        best = {name: tensor for name, tensor in whole.items() if name.startswith(BEST)}
        self.best = {name.removeprefix(BEST): tensor for name, tensor in best.items()}
        for name, buffer in self._unaveraged():
            buffer.copy_(whole[f"weight/{name}"])
        # Before the first step AdamW has no moments that the loop below could fill.
        self._begin_moments(step)
        for name, average in zip(self.averaged, self.average.values, strict=True):
            average.copy_(self._cut(self.parameters[name], whole[f"average/{name}"]))
        for name, parameter in self.parameters.items():
            self._set_weight(parameter, whole[f"weight/{name}"])
            for key in MOMENTS:
                self._set_moment(parameter, key, whole[f"{key}/{name}"])

    def averages(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the full average of every averaged parameter by its name."""
        for name, value in zip(self.averaged, self.average.values, strict=True):
            yield name, self._join(self.parameters[name], value)

    def keep_best(self) -> None:
        """Take the present averages for the weights to publish, until a later call; all ranks must call."""
        self.best = {name: tensor.detach().to("cpu", copy=True) for name, tensor in self._publishable()}

    def publish_into(self, network: nn.Module) -> None:
        """Copy the averaged weights, and all others, into ``network``: the network itself or a whole copy.

        After `keep_best` these are the weights that were kept.
        """
        targets = {**dict(network.named_parameters()), **dict(network.named_buffers())}
        with torch.no_grad():
            for name, tensor in self.best.items() or self._publishable():
                targets[name].copy_(tensor)

    def check_equal(self) -> None:
        """Raise `IntegrityError` when the ranks' copies of the weights differ; ZeRO-3 has one copy only."""
        if self.accelerator.num_processes == 1 or self._stage() == 3:
            return
        # Digests are compared in place of weights: 32 bytes per rank are gathered, and equal means every bit.
        digest = hashlib.sha256()
        for parameter in self.parameters.values():
            digest.update(parameter.detach().cpu().contiguous().numpy().tobytes())
        own = torch.tensor(list(digest.digest()), device=self.accelerator.device)
        if len(self.accelerator.gather(own[None]).unique(dim=0)) > 1:
            raise IntegrityError(
                "the ranks of this training hold different weights: they were not synchronised, and "
                "the steps since the last checkpoint are worthless; run the same command to go on from there"
            )

    def _gather(self) -> Iterator[tuple[str, Tensor]]:
        for name, parameter in self.parameters.items():
            yield f"weight/{name}", self._join(parameter, part(parameter))
            for key in MOMENTS:
                yield f"{key}/{name}", self._moment(parameter, key)
        yield from ((f"average/{name}", value) for name, value in self.averages())
        yield from ((f"weight/{name}", tensor) for name, tensor in self._unaveraged())
        yield from ((f"{BEST}{name}", tensor) for name, tensor in self.best.items())

    def _publishable(self) -> Iterator[tuple[str, Tensor]]:
        yield from self.averages()
        yield from self._others()
        yield from self._unaveraged()

    def _unaveraged(self) -> Iterator[tuple[str, Tensor]]:
        """Yield buffers and parameters without gradient, by name; every rank holds all of each."""
        yield from ((name, p.data) for name, p in self.network.named_parameters() if not p.requires_grad)
        yield from self.network.named_buffers()

    def _others(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the full weights of trained parameters that are not averaged."""
        for name in (name for name in self.parameters if name not in self.averaged):
            yield name, self._join(self.parameters[name], part(self.parameters[name]))

    def _stage(self) -> int:
        plugin = self.accelerator.state.deepspeed_plugin
        return int(plugin.zero_stage) if plugin else 0

    def _join(self, parameter: nn.Parameter, own: Tensor) -> Tensor:
        """Return the tensor of which ``own`` is this rank's part."""
        split = partitioned(parameter)
        if split is None:
            return own
        ranks = self.accelerator.num_processes
        # Parts may be offloaded to the CPU, but the collective call runs on the rank's device.
        pieces = own.new_empty(ranks * own.numel(), device=self.accelerator.device)
        torch.distributed.all_gather_into_tensor(pieces, own.to(pieces.device).flatten())
        # The last part is padded with zeros, which are cut off here.
        return pieces[: split.ds_numel].view(split.ds_shape)

    def _cut(self, parameter: nn.Parameter, whole: Tensor) -> Tensor:
        """Return this rank's part of a tensor, flat; parts have one size, the last has zeros at its end."""
        split = partitioned(parameter)
        if split is None:
            return whole
        size = split.ds_tensor.numel()
        padding = size * self.accelerator.num_processes - whole.numel()
        return functional.pad(whole.flatten(), (0, padding)).narrow(
            0, size * self.accelerator.process_index, size
        )

    def _set_weight(self, parameter: nn.Parameter, whole: Tensor) -> None:
        # DeepSpeed steps on a float32 copy of its own, and would overwrite the weights with it.
        part(parameter).copy_(self._cut(parameter, whole))
        if stage := self._stage():
            from deepspeed.utils import safe_set_full_fp32_param, safe_set_local_fp32_param

            if stage == 3:
                safe_set_local_fp32_param(parameter, self._cut(parameter, whole))
            else:
                safe_set_full_fp32_param(parameter, whole)

    def _moment(self, parameter: nn.Parameter, key: str) -> Tensor:
        if not self._stage():
            return self.optimiser.state[parameter][key]
        from deepspeed.utils import safe_get_full_optimizer_state

        return safe_get_full_optimizer_state(parameter, key)

    def _set_moment(self, parameter: nn.Parameter, key: str, whole: Tensor) -> None:
        if not (stage := self._stage()):
            self.optimiser.state[parameter][key].copy_(whole)
            return
        from deepspeed.utils import safe_set_full_optimizer_state, safe_set_local_optimizer_state

        if stage == 3:
            safe_set_local_optimizer_state(parameter, self._cut(parameter, whole), key)
        else:
            safe_set_full_optimizer_state(parameter, whole, key)

    def _begin_moments(self, step: int) -> None:
        """Make AdamW's moments, which AdamW itself would make in its first step only."""
        stage, zero = self._stage(), self.optimiser.optimizer
        adam, tensors = zero, list(self.parameters.values())
        if stage:
            # ZeRO wraps AdamW, which then steps on flat float32 tensors and not on the parameters.
            adam = zero.optimizer
            tensors = (
                zero.fp32_partitioned_groups_flat if stage == 3 else zero.single_partition_of_fp32_groups
            )
        turns = {id(p): group for group in zero.param_groups for p in group["params"]}
        for tensor in tensors:
            group = turns.get(id(tensor), {})
            taken = sum(takes_part(group, past) for past in range(step)) if "turn" in group else step
            zeros = {key: torch.zeros_like(tensor, requires_grad=False) for key in MOMENTS}
            adam.state[tensor] = {"step": torch.tensor(float(taken)), **zeros}
        if stage in (1, 2):
            # Links the flat moments to the parameters, which `safe_set_full_optimizer_state` needs.
            zero._lazy_init_hp_params_optimizer_state()
