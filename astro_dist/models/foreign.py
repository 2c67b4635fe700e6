"""Weights of others, compared with the network of the settings before anything is built from them.

A configuration that differs from the preset's in what decides on the layers is refused, so that no count in
it can be larger than the preset's. Tensors must have the names and shapes of the network's, and be finite.

API: ``check_settings(folder, kind, ours, setting)`` before there is a network, without torch;
``check_part(folder, network, setting)`` and ``check_scheduler(folder, setting)`` before diffusers reads a
folder; ``check_finite(folder, tensors, setting)`` for what was read.
"""

import json
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from astro_dist.engine.errors import ConfigError
from astro_dist.engine.foreign import check_regular, parse_mapping, read_mapping

CONFIG, WEIGHTS = "config.json", "diffusion_pytorch_model.safetensors"
SCHEDULER = "scheduler/scheduler_config.json"
HEADER_BYTES = 1 << 24
"""Most bytes of the description of the tensors in a safetensors file."""
MOST_STEPS = 10_000
"""Most steps of a noise schedule: diffusers makes some schedules in a Python loop."""
FREE = {
    *("scaling_factor", "shift_factor", "latents_mean", "latents_std", "force_upcast", "sample_size"),
    *("dropout", "target", "stretch", "act_fn"),
}
"""Settings of a network that may differ from the preset's: they decide on no layer."""
# Bytes of one number, by safetensors' name of the type.
DTYPES = {
    **{"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2},
    **{"I8": 1, "U8": 1, "BOOL": 1},
}
# Names of attention layers in older weights, which diffusers reads as the names beside them.
OLD_NAMES = ((".query.", ".to_q."), (".key.", ".to_k."), (".value.", ".to_v."), (".proj_attn.", ".to_out.0."))


def read_settings(path: Path, setting: str) -> dict[str, Any]:
    """Return the mapping in a JSON file of foreign weights; raises `ConfigError` naming the file."""
    settings: dict[str, Any] = _told(path, setting, read_mapping)
    return settings


def lacks_facts(folder: Path, facts: int) -> bool:
    """Return whether weights lack the inputs for beam, noise and survey that the settings' network has.

    Such weights go into it and draw what they drew; a training may then begin to use the facts.
    """
    return facts > 0 and not read_settings(folder / "conditioner" / CONFIG, "diffusion").get("facts")


def check_part(folder: Path, network: Any, setting: str) -> None:
    """Refuse the folder of a network that is not of the kind and size of ``network``.

    Parameters
    ----------
    network
        The untrained network of the settings, with its ``config``.
    setting
        Section of the settings, for the message.

    Raises
    ------
    ConfigError
        Naming the file and the remedy.
    """
    check_settings(folder, type(network).__name__, dict(network.config), setting)
    path = folder / WEIGHTS
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    _told(path, setting, lambda path: _check_tensors(path, shapes, f"set {setting}.preset to theirs"))


def check_settings(folder: Path, kind: str, ours: dict[str, Any], setting: str) -> None:
    """Refuse the folder of a network that is not of the class ``kind`` with the settings ``ours``.

    Raises
    ------
    ConfigError
        Naming the file and the remedy.
    """
    theirs = read_settings(folder / CONFIG, setting)
    if theirs.get("_class_name") != kind:
        raise _refusal(folder / CONFIG, setting, f"{_short(theirs.get('_class_name'))} is no {kind}")
    if "quantization_config" in theirs or (folder / f"{WEIGHTS}.index.json").exists():
        raise _refusal(
            folder, setting, "the weights are quantised or in several files; save them as one file"
        )
    # Through JSON and back, which turns tuples into lists as in their file.
    ours = json.loads(json.dumps(ours))
    for name, value in theirs.items():
        if name in FREE:
            _check_free(folder / CONFIG, setting, name, value)
        # Names with an underscore are diffusers' notes, such as its version. A name that the network does
        # not have is ignored by diffusers too.
        elif name in ours and not name.startswith("_") and ours[name] != value:
            what = f"{name} is {_short(value)}, that of the preset {_short(ours[name])}"
            key = "pictures.planes" if name == "planes" else f"{setting}.preset"
            raise _refusal(folder / CONFIG, setting, f"{what}; set {key} to theirs")


def check_scheduler(folder: Path, setting: str) -> None:
    """Refuse a noise schedule of impossible numbers; raises `ConfigError` naming the file."""
    path = folder / SCHEDULER
    theirs = read_settings(path, setting)
    steps = theirs.get("num_train_timesteps", 1000)
    # Not `isinstance`: True is an int for Python.
    if type(steps) is not int or not 1 <= steps <= MOST_STEPS:
        raise _refusal(path, setting, f"num_train_timesteps is {_short(steps)}, not 1 to {MOST_STEPS}")
    betas = theirs.get("trained_betas")
    if betas is not None and not (
        isinstance(betas, list) and len(betas) == steps and all(_is_number(beta) for beta in betas)
    ):
        raise _refusal(path, setting, f"trained_betas are not {steps} numbers")
    for name, value in theirs.items():
        # An endless lambda_min_clipped is diffusers' default.
        small = value is None or _is_number(value) or (isinstance(value, str) and len(value) < 100)
        if name not in ("trained_betas", "lambda_min_clipped") and not small:
            raise _refusal(path, setting, f"{_short(name)} is {_short(value)}")


def check_finite(folder: Path, tensors: Iterable[tuple[str, Any]], setting: str) -> None:
    """Refuse weights with a NaN or an infinite number; raises `ConfigError`."""
    for name, tensor in tensors:
        if not bool(tensor.isfinite().all()):
            raise _refusal(folder, setting, f"the tensor {name} holds NaN or infinite numbers")


def _check_free(path: Path, setting: str, name: str, value: Any) -> None:
    numbers = value if isinstance(value, list) else [value]
    fine = len(numbers) <= 1000 and all(
        one is None or _is_number(one) or (isinstance(one, str) and len(one) < 100) for one in numbers
    )
    # Latents are divided by this factor before they are decoded.
    if name == "scaling_factor":
        fine = _is_number(value) and not isinstance(value, bool) and value > 0
    if not fine:
        raise _refusal(path, setting, f"{name} is {_short(value)}, no number that can be used")


def _check_tensors(path: Path, shapes: dict[str, tuple[int, ...]], remedy: str) -> None:
    check_regular(path)
    size = path.stat().st_size
    with path.open("rb") as handle:
        # A safetensors file: 8 bytes with the length of the header, the header in JSON, then the numbers.
        # A length is checked before so many bytes are read.
        n = int.from_bytes(handle.read(8), "little")
        if n > min(HEADER_BYTES, size - 8):
            raise ConfigError("its header does not fit into the file; fetch it again")
        header = parse_mapping(handle.read(n))
    header.pop("__metadata__", None)
    found = {_new_name(name): value for name, value in header.items()}
    if strange := sorted(set(shapes) ^ set(found)):
        where = "missing" if strange[0] in shapes else "not of this network"
        raise ConfigError(f"the tensor {_short(strange[0])} is {where}; {remedy}")
    for name, value in found.items():
        if not isinstance(value, dict) or str(value.get("dtype")) not in DTYPES:
            raise ConfigError(f"the tensor {name} is of no type that is known; fetch it again")
        if value.get("shape") != list(shapes[name]):
            ours = list(shapes[name])
            raise ConfigError(
                f"the tensor {name} has the shape {_short(value.get('shape'))}, not {ours}; {remedy}"
            )
        # Offsets count from the end of the header.
        wanted, place = math.prod(shapes[name]) * DTYPES[value["dtype"]], value.get("data_offsets")
        if not (
            isinstance(place, list)
            and len(place) == 2
            and all(type(one) is int for one in place)
            and 0 <= place[0] <= place[1] <= size - 8 - n
            and place[1] - place[0] == wanted
        ):
            raise ConfigError(f"the tensor {name} does not lie in the file; fetch it again")


def _new_name(name: str) -> str:
    # diffusers renames in attention blocks only, so other names must match as they are.
    if re.search(r"attentions\.\d+\.", name):
        for old, new in OLD_NAMES:
            name = name.replace(old, new)
    return name


def _told(path: Path, setting: str, read: Any) -> Any:
    try:
        return read(path)
    except ConfigError as error:
        raise _refusal(path, setting, str(error)) from None


def _refusal(path: Path, setting: str, reason: str) -> ConfigError:
    remedy = "" if ";" in reason else "; fetch the weights again or leave start_from out"
    return ConfigError(f"{setting}.start_from: {path}: {reason}{remedy}")


def _is_number(value: Any) -> bool:
    # NaN and infinity, which Python's JSON accepts, fail the comparison.
    return isinstance(value, bool | int | float) and abs(value) <= 1e9


def _short(value: Any) -> str:
    """Return a value as text of one short line."""
    text = repr(value[:8] if isinstance(value, list | str) else value) if not isinstance(value, int) else ""
    return text[:60] or (str(value) if abs(value) < 1 << 64 else "a number of many digits")
