"""The weights of a painter's folder compared with the networks that its settings describe, by name and shape.

Only the headers of the files are read, and the networks are built without memory for their numbers.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from astro_dist.engine.errors import ConfigError
from astro_dist.engine.foreign import check_regular, read_mapping
from astro_dist.models.diffusers_types import AutoencoderKL, UniDiffuserModel, UniDiffuserTextDecoder
from astro_dist.models.foreign import OLD_NAMES
from astro_dist.models.painter import hub
from astro_dist.models.painter_layout import CONFIGS, part_folder

Shapes = dict[str, tuple[int, ...]]


def _from_diffusers(kind: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda settings: kind.from_config(settings)


BUILDERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "vae": _from_diffusers(AutoencoderKL),
    "text_encoder": lambda settings: hub.CLIPTextModel(hub.CLIPTextConfig.from_dict(settings)),
    "image_encoder": lambda settings: hub.CLIPVisionModelWithProjection(
        hub.CLIPVisionConfig.from_dict(settings)
    ),
    "text_decoder": _from_diffusers(UniDiffuserTextDecoder),
    "unet": _from_diffusers(UniDiffuserModel),
}
# The head of the decoder may be the table of its tokens; positions are counted anew.
UNNEEDED = re.compile(r"(lm_head\.weight|position_ids)$")
# transformers has dropped these from its names, and reads files that have them.
PREFIX = re.compile(r"^(text_model|vision_model)\.")


def find_fault(folder: Path) -> str:
    """Return which part of a painter's folder has weights of another network, and how; "" where none has."""
    for name, build in BUILDERS.items():
        part = part_folder(folder, name)
        try:
            with torch.device("meta"):
                network = build(read_mapping(part / CONFIGS[name]))
            wanted = {_plain(key): tuple(value.shape) for key, value in network.state_dict().items()}
            found = _read_shapes(part)
        except (ConfigError, SafetensorError, OSError) as error:
            return f"the weights of {name} cannot be read ({str(error).splitlines()[0]})"
        # Settings of others end in errors of many kinds inside the constructors.
        except Exception as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            return f"no {name} can be built from its settings ({reason[:200]})"
        if fault := _compare(name, wanted, found):
            return fault
    return ""


def _read_shapes(part: Path) -> Shapes:
    found = {}
    for path in sorted(part.glob("*.safetensors")):
        check_regular(path)
        with safe_open(path, framework="pt") as file:
            found.update({_plain(key): tuple(file.get_slice(key).get_shape()) for key in file.keys()})  # noqa: SIM118
    return found


def _plain(name: str) -> str:
    for old, new in OLD_NAMES:
        name = name.replace(old, new) if re.search(r"attentions\.\d+\.", name) else name
    return PREFIX.sub("", name)


def _compare(name: str, wanted: Shapes, found: Shapes) -> str:
    for key, shape in wanted.items():
        if key not in found:
            if not UNNEEDED.search(key):
                return f"{name} lacks the tensor {key}"
        # Old attention layers were convolutions of one pixel, with two axes of length 1 at the end.
        elif found[key] != shape and found[key] != (*shape, 1, 1):
            return f"the tensor {key} of {name} has the shape {list(found[key])}, not {list(shape)}"
    return ""
