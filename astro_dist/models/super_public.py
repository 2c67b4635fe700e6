"""Weights of the public code of SR3, turned into those of preset ``code``.

The public network differs from diffusers' `UNet2DModel` in one place: what is told of the noise level is a
vector z of C numbers that each block maps linearly, where diffusers has 4 C numbers that go through SiLU
first. As silu(z) - silu(-z) = z, weights [F, -F] on [z, -z] give the public network exactly.

API: ``convert(tensors, sizes)`` -> weights of ``SuperNet.net``; ``is_public(tensors)``.
"""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from astro_dist.engine.errors import ConfigError

PREFIX = "denoise_fn."
"""Before the names of the network's tensors in files of the public code; others are its noise schedule."""
FIRST = "downs.0.weight"
RESNET = {
    "block1.block.0": "norm1",
    "block1.block.3": "conv1",
    "block2.block.0": "norm2",
    "block2.block.3": "conv2",
}
Named = Iterator[tuple[str, str]]


def is_public(tensors: Mapping[str, Tensor]) -> bool:
    """Return whether tensors have the names of the public code."""
    return any(name.endswith(FIRST) for name in tensors)


def convert(
    tensors: Mapping[str, Tensor], sizes: Mapping[str, Any], shapes: Mapping[str, Any]
) -> dict[str, Tensor]:
    """Return the weights of diffusers' network for those of the public code.

    Parameters
    ----------
    tensors
        As in the file.
    sizes
        Arguments of `UNet2DModel`.
    shapes
        Shapes of the tensors of that network by name.

    Raises
    ------
    ConfigError
        A tensor is missing, unknown, of another shape or not finite; the message names it.
    """
    prefix = PREFIX if any(name.startswith(PREFIX) for name in tensors) else ""
    own = {name.removeprefix(prefix): t.float() for name, t in tensors.items() if name.startswith(prefix)}
    layers = dict(_layers(sizes))
    wanted = {
        f"{public}.{kind}"
        for public, ours in layers.items()
        for kind in (("weight",) if public.endswith("qkv") else ("weight", "bias"))
        if f"{ours}.{kind}" in shapes or public.endswith("qkv")
    }
    if strange := sorted(wanted ^ own.keys()):
        where = "missing" if strange[0] in wanted else "not of this network"
        raise ConfigError(f"the tensor {strange[0][:80]!r} is {where}; preset code has other layers")
    found: dict[str, Tensor] = {}
    for public, ours in layers.items():
        for kind in ("weight", "bias"):
            if (tensor := own.get(f"{public}.{kind}")) is None:
                continue
            if not bool(tensor.isfinite().all()):
                raise ConfigError(f"the tensor {public}.{kind} holds NaN or infinite numbers")
            for name, value in _turn(public, f"{ours}.{kind}", tensor, shapes):
                if value.shape != shapes[name]:
                    raise ConfigError(
                        f"the tensor {public}.{kind} has the shape {list(tensor.shape)}, preset code another"
                    )
                found[name] = value
    return found


def _turn(public: str, ours: str, tensor: Tensor, shapes: Mapping[str, Any]) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of diffusers' network that one of the public code becomes."""
    if public.endswith("attn.qkv"):
        for part, name in zip(tensor[..., 0, 0].chunk(3), ("to_q", "to_k", "to_v"), strict=True):
            yield ours.replace("qkv", name), part
            # The public code has no bias here.
            yield ours.replace("qkv.weight", f"{name}.bias"), torch.zeros(len(part))
    elif public.endswith("attn.out"):
        yield ours, tensor[..., 0, 0] if tensor.ndim == 4 else tensor
    elif public == "noise_level_mlp.3":
        yield ours, _widen(torch.cat([tensor, -tensor]), shapes[ours], 0)
    elif public.endswith("noise_func.noise_func.0") and tensor.ndim == 2:
        yield ours, _widen(torch.cat([tensor, -tensor], 1), shapes[ours], 1)
    else:
        yield ours, tensor


def _widen(tensor: Tensor, shape: Any, axis: int) -> Tensor:
    """Return a tensor filled up with zeros on an axis."""
    missing = list(tensor.shape)
    missing[axis] = max(0, shape[axis] - missing[axis])
    return torch.cat([tensor, tensor.new_zeros(missing)], axis)


def _layers(sizes: Mapping[str, Any]) -> Named:
    """Yield the name of each layer of the public code and that of diffusers' network."""
    levels, blocks = len(sizes["block_out_channels"]), int(sizes["layers_per_block"])
    yield from (
        ("noise_level_mlp.1", "time_embedding.linear_1"),
        ("noise_level_mlp.3", "time_embedding.linear_2"),
    )
    yield from (
        ("downs.0", "conv_in"),
        ("final_conv.block.0", "conv_norm_out"),
        ("final_conv.block.3", "conv_out"),
    )
    for way, ways, first, kinds, count in (
        ("down", "downs", 1, sizes["down_block_types"], blocks),
        ("up", "ups", 0, sizes["up_block_types"], blocks + 1),
    ):
        places = itertools.count(first)
        for level, kind in enumerate(kinds):
            for j in range(count):
                block = f"{way}_blocks.{level}"
                yield from _block(f"{ways}.{next(places)}", block, j, kind.startswith("Attn"))
            if level < levels - 1:
                yield f"{ways}.{next(places)}.conv", f"{way}_blocks.{level}.{way}samplers.0.conv"
    yield from _block("mid.0", "mid_block", 0, bool(sizes["add_attention"]))
    yield from _block("mid.1", "mid_block", 1, False)


def _block(public: str, ours: str, number: int, attention: bool) -> Named:
    for theirs, name in RESNET.items():
        yield f"{public}.res_block.{theirs}", f"{ours}.resnets.{number}.{name}"
    yield f"{public}.res_block.noise_func.noise_func.0", f"{ours}.resnets.{number}.time_emb_proj"
    yield f"{public}.res_block.res_conv", f"{ours}.resnets.{number}.conv_shortcut"
    if attention:
        own = f"{ours}.attentions.{number}"
        yield f"{public}.attn.norm", f"{own}.group_norm"
        yield f"{public}.attn.qkv", f"{own}.qkv"
        yield f"{public}.attn.out", f"{own}.to_out.0"
