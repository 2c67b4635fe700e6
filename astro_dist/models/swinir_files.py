"""Weights of SwinIR by its authors: files of ``torch.save`` or safetensors.

Which network a file holds follows from its tensors. Read are the networks for classical (``pixelshuffle``),
lightweight (``pixelshuffledirect``) and real-world (``nearest+conv``) pictures, for enlargement by 2 or 4;
anything else is refused with the tensor's name.

API: ``load_checked(path, setting)`` -> the network of a file, or of a folder that this package published;
``check_fit(path, preset, scale, planes, setting)`` refuses one that the settings cannot take.
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from astro_dist.engine.errors import ConfigError
from astro_dist.models.foreign import CONFIG, check_finite, check_part, read_settings
from astro_dist.models.swinir import UPSAMPLERS, SwinIR, load_swinir
from astro_dist.models.tensor_files import read_tensors
from astro_dist.models.upscalers import UPSCALERS

MOST_BYTES = 1 << 29
"""Largest file that is read; that of the largest network has 112 MB in float32."""
BUFFERS = (".attn_mask", ".relative_position_index")
"""Ends of the names of tensors that follow from the settings, and depend on the size of pictures."""
FIRST = "layers.0.residual_group.blocks.0."
NEEDED = {
    "conv_first.weight": 4,
    f"{FIRST}attn.relative_position_bias_table": 2,
    f"{FIRST}mlp.fc1.weight": 2,
}
"""Tensors, with their numbers of axes, without which a file holds no SwinIR."""
SETTINGS: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(("width", "depths", "heads", "window", "mlp_ratio", "planes", "features"), ()),
    **{"scale": (2, 4), "upsampler": UPSAMPLERS, "body": ("1conv", "3conv"), "base": ("bicubic", "none")},
}
"""Settings of a network, with the values that they may have where these are few."""
MOST_WIDTH, MOST_DEPTH = 1024, 64
Shapes = Mapping[str, tuple[int, ...]]


def load_checked(path: Path, setting: str) -> SwinIR:
    """Return the network of a published folder, or of a file of the authors, float32 on the CPU.

    Raises
    ------
    ConfigError
        Naming ``setting.start_from``, the file and the tensor: it is missing, of another shape, or holds
        numbers that are not finite.
    """
    if path.is_file():
        settings, tensors = _read_file(path, setting)
        network = SwinIR(**settings)
        network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
        return network.eval()
    check_part(path, _outline(_read_folder(path, setting)), setting)
    # Weights may lie in half precision; computing is in float32.
    network = load_swinir(path).float()
    check_finite(path, network.state_dict().items(), setting)
    return network


def check_fit(path: Path, preset: str, scale: int, planes: int, setting: str) -> None:
    """Refuse weights that are not of the preset, the scale and the planes of the settings.

    The layers at the end may be others than the preset's, as those of the authors' networks are.

    Raises
    ------
    ConfigError
        Naming the file, both values and the setting to change.
    """
    if path.is_file():
        theirs = _read_file(path, setting)[0]
    else:
        theirs = _read_folder(path, setting)
        check_part(path, _outline(theirs), setting)
    ours = {"body": "1conv", **UPSCALERS[preset].network, "scale": scale, "planes": planes}
    for name in ("scale", "planes", "width", "depths", "heads", "body"):
        wanted = list(ours[name]) if isinstance(ours[name], tuple) else ours[name]
        if theirs[name] != wanted:
            remedy = {"scale": f"{setting}.scale", "planes": "pictures.planes"}.get(name, f"{setting}.preset")
            raise ConfigError(
                f"{setting}.start_from: {path} has the {name} {str(theirs[name])[:40]}, the settings say "
                f"{wanted}; set {remedy} to that of the weights"
            )


def _read_folder(path: Path, setting: str) -> dict[str, Any]:
    """Return the settings of a published network, none of which can make it large."""
    theirs = read_settings(path / CONFIG, setting)
    known = {name: theirs.get(name, value) for name, value in _outline({}).config.items() if name in SETTINGS}
    numbers = [known[name] for name in ("width", "heads", "window", "scale", "planes", "features")]
    depths = known["depths"]
    fine = (
        theirs.get("_class_name") == "SwinIR"
        and all(type(number) is int and 1 <= number <= MOST_WIDTH for number in numbers)
        and isinstance(depths, list)
        and len(depths) <= MOST_DEPTH
        and all(type(depth) is int and 1 <= depth <= MOST_DEPTH for depth in depths)
        and type(known["mlp_ratio"]) in (int, float)
        and 0 < known["mlp_ratio"] <= 16
        and all(known[name] in allowed for name, allowed in SETTINGS.items() if allowed)
        and known["width"] % known["heads"] == 0
    )
    if not fine:
        raise ConfigError(
            f"{setting}.start_from: {path / CONFIG} describes no SwinIR; fetch the weights again or leave "
            "start_from out"
        )
    return known


def _outline(settings: dict[str, Any]) -> SwinIR:
    """Return a network without memory for its numbers: only names and shapes are compared."""
    with torch.device("meta"):
        return SwinIR(**settings)


def _read_file(path: Path, setting: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        found = read_tensors(path, MOST_BYTES)
        tensors = {name: tensor for name, tensor in found.items() if not name.endswith(BUFFERS)}
        shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        if empty := sorted(name for name, shape in shapes.items() if 0 in shape):
            raise ConfigError(f"no SwinIR: the tensor {empty[0][:80]!r} is empty")
        settings = _describe(shapes)
        _check(shapes, settings)
    except ConfigError as error:
        text = str(error) if str(path) in str(error) else f"{path}: {error}"
        raise ConfigError(f"{setting}.start_from: {text}") from None
    # Shapes with too few axes, or numbers of which no network can be made.
    except (IndexError, ZeroDivisionError, ValueError):
        raise ConfigError(
            f"{setting}.start_from: {path}: no SwinIR: its tensors have no known shapes"
        ) from None
    for name, tensor in tensors.items():
        if not bool(tensor.isfinite().all()):
            raise ConfigError(
                f"{setting}.start_from: {path}: the tensor {name} holds NaN or infinite numbers"
            )
    return settings, tensors


def _describe(shapes: Shapes) -> dict[str, Any]:
    for name, axes in NEEDED.items():
        if len(shapes.get(name, ())) != axes:
            where = "is missing" if name not in shapes else f"has the shape {list(shapes[name])}"
            raise ConfigError(f"no SwinIR: the tensor {name} {where}")
    width, planes = shapes["conv_first.weight"][:2]
    rows, heads = shapes[f"{FIRST}attn.relative_position_bias_table"]
    body = "1conv" if "layers.0.conv.weight" in shapes else "3conv"
    upsampler, scale, features = _describe_end(shapes, planes)
    return {
        "width": width,
        "depths": _depths(shapes),
        "heads": heads,
        # (2 window - 1)^2 relative positions.
        "window": (math.isqrt(rows) + 1) // 2,
        "mlp_ratio": shapes[f"{FIRST}mlp.fc1.weight"][0] / width,
        "scale": scale,
        "planes": planes,
        "upsampler": upsampler,
        "body": body,
        "features": features,
        "base": "none",
    }


def _describe_end(shapes: Shapes, planes: int) -> tuple[str, int, int]:
    """Return kind, factor and channels of the layers that enlarge."""
    features = shapes.get("conv_before_upsample.0.weight", (64,))[0]
    if "conv_hr.weight" in shapes:
        return "nearest+conv", 4 if "conv_up2.weight" in shapes else 2, features
    steps = [shape for name, shape in shapes.items() if re.fullmatch(r"upsample\.\d+\.weight", name)]
    if not steps:
        raise ConfigError(
            "the tensor upsample.0.weight is missing: a network for noise or JPEG enlarges nothing"
        )
    direct = "conv_before_upsample.0.weight" not in shapes
    # A step has scale^2 times the channels of its result, which are those of its input unless it is direct.
    factors = [math.isqrt(shape[0] // (planes if direct else shape[1])) for shape in steps]
    if (scale := math.prod(factors)) not in (2, 4):
        raise ConfigError(f"a network that enlarges by {scale}; give one for 2 or 4")
    return "pixelshuffledirect" if direct else "pixelshuffle", scale, features


def _depths(shapes: Shapes) -> list[int]:
    found: dict[int, int] = {}
    for name in shapes:
        if match := re.match(r"layers\.(\d{1,3})\.residual_group\.blocks\.(\d{1,3})\.", name):
            layer, block = map(int, match.groups())
            found[layer] = max(found.get(layer, 0), block + 1)
    return [found.get(layer, 0) for layer in range(max(found) + 1)]


def _check(shapes: Shapes, settings: dict[str, Any]) -> None:
    """Refuse tensors that the network of these settings does not have, lacks, or has in another shape."""
    if settings["width"] % settings["heads"] or not 2 <= settings["window"] <= 32:
        raise ConfigError(f"no SwinIR: {settings['heads']} heads of {settings['width']} channels")
    wanted = {name: tuple(tensor.shape) for name, tensor in _outline(settings).state_dict().items()}
    if strange := sorted(wanted.keys() ^ shapes.keys()):
        where = "missing" if strange[0] in wanted else "not of SwinIR"
        raise ConfigError(f"the tensor {strange[0][:80]!r} is {where}; give a file of SwinIR for 2 or 4")
    for name, shape in shapes.items():
        if shape != wanted[name]:
            raise ConfigError(f"the tensor {name} has the shape {list(shape)}, not {list(wanted[name])}")
