"""Weights of super-resolution: published folders, and files of the public code of SR3.

API: ``check_fit(path, settings, setting)`` refuses weights that the settings cannot take;
``load_checked(path, settings, setting)`` -> the network; ``load_super(folder)`` for a folder of a run.
"""

import json
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from astro_dist.engine.errors import ConfigError
from astro_dist.models.foreign import CONFIG, check_finite, check_part, read_settings
from astro_dist.models.super_net import SuperNet
from astro_dist.models.super_presets import SUPER, SuperName, settings_of
from astro_dist.models.super_public import convert, is_public
from astro_dist.models.tensor_files import read_tensors

MOST_BYTES = 1 << 30
"""Largest file that is read; that of the public network has 390 MB in float32."""
LAYERS = ("kind", "sizes", "planes", "fold", "level", "predicts", "base")
"""Settings of a network that decide on its layers and on what they mean."""

SHIPPED = Path(__file__).parents[1] / "weights"
"""Weights of the package: ``NAME/superres`` is a network of super-resolution."""
FACTS = ("residual_scale", "half", "filtered", "stretch", "unit", "beam_pix")
"""Settings that say what a network was trained on."""


def load_super(folder: Path) -> SuperNet:
    """Return the network of a folder, float32 on the CPU, without any download."""
    network = SuperNet.from_pretrained(folder, use_safetensors=True, local_files_only=True)
    return network.float().eval()


def load_checked(path: Path, settings: dict[str, Any] | None, setting: str) -> SuperNet:
    """Return the network of a folder, or of a file of the public code, float32 on the CPU.

    Parameters
    ----------
    settings
        Arguments of `SuperNet` that the weights must have; None takes any of a preset's.

    Raises
    ------
    ConfigError
        Naming ``setting.start_from`` and what differs.
    """
    if path.is_file():
        network = SuperNet(**(settings or settings_of("code")))
        network.net.load_state_dict(_read_public(path, network, setting))
        return network.eval()
    check_fit(path, settings, setting)
    network = load_super(path)
    check_finite(path, network.state_dict().items(), setting)
    return network


def check_fit(path: Path, settings: dict[str, Any] | None, setting: str) -> None:
    """Refuse weights of another network than the settings say, naming what differs.

    Raises
    ------
    ConfigError
        Naming the file, both values and the setting to change.
    """
    if path.is_file():
        if settings is not None and settings["level"] != "root":
            raise ConfigError(
                f"{setting}.start_from: {path} is a file, and files are read of the public code alone, whose "
                f"network is preset code; set {setting}.preset to code"
            )
        _read_public(path, _outline(settings or settings_of("code")), setting)
        return
    theirs = read_settings(path / CONFIG, setting)
    if theirs.get("_class_name") != "SuperNet":
        raise ConfigError(
            f"{setting}.start_from: {path / CONFIG} describes no network of super-resolution; fetch the "
            "weights again or leave start_from out"
        )
    for name in LAYERS:
        if settings is not None and theirs.get(name) != _plain(settings[name]):
            raise ConfigError(f"{setting}.start_from: {path} {_how_to_fit(theirs, settings, name, setting)}")
    known = settings or _known(theirs, path, setting)
    _check_facts(theirs, path, setting)
    outline = _outline(known)
    # Facts of the training are theirs, and decide on no layer.
    outline.register_to_config(**{name: theirs[name] for name in FACTS if name in theirs})
    check_part(path, outline, setting)


def _how_to_fit(theirs: dict[str, Any], settings: dict[str, Any], name: str, setting: str) -> str:
    """Return in what weights differ from the settings, first of all in ``name``, and what to set."""
    known, ours = _find_preset(theirs), _find_preset(settings)
    if known is None or ours is None:
        return f"has the {name} {_differing(theirs.get(name), _plain(settings[name]))}; leave it out"
    (preset, width, _), (our_preset, our_width, _) = known, ours
    if (preset, width) == (our_preset, our_width):
        return (
            f"has the planes {theirs['planes']}, the settings say {settings['planes']}: of the package "
            f"`enhance` is for colour pictures and `radio` for maps; set {setting}.start_from or the planes"
        )
    more = "" if width == SUPER[preset].width else f" and {setting}.width to {width}"
    return (
        f"has the preset {preset} (width {width}), the settings say {our_preset} ({our_width}); set "
        f"{setting}.preset to {preset}{more}"
    )


def _known(theirs: dict[str, Any], path: Path, setting: str) -> dict[str, Any]:
    """Return settings of a preset at some width that equal theirs, so that none can make it large."""
    if (found := _find_preset(theirs)) is None:
        raise ConfigError(
            f"{setting}.start_from: {path / CONFIG} describes a network of no preset; leave it out"
        )
    return found[2]


def _find_preset(theirs: dict[str, Any]) -> tuple[SuperName, int, dict[str, Any]] | None:
    """Return preset, width and settings of a network, None where no preset has such ones."""
    planes, sizes = theirs.get("planes"), theirs.get("sizes")
    width = (
        sizes.get("width") or (sizes.get("block_out_channels") or [0])[0] if isinstance(sizes, dict) else 0
    )
    if planes in (1, 3) and type(width) is int and 8 <= width <= 512:
        for name in SUPER:
            settings = settings_of(cast("SuperName", name), width, planes)
            if all(_plain(theirs.get(key)) == _plain(settings[key]) for key in LAYERS):
                return cast("SuperName", name), width, settings
    return None


def _plain(value: Any) -> Any:
    """Return a value as JSON gives it back: lists for tuples."""
    return json.loads(json.dumps(value))


def _check_facts(theirs: dict[str, Any], path: Path, setting: str) -> None:
    residual, beam = theirs.get("residual_scale", 1.0), theirs.get("beam_pix")
    pairs = (beam, 2), (theirs.get("filtered"), 3)
    fine = (
        type(residual) in (int, float)
        and 1e-4 < residual < 1e6
        and theirs.get("half", "mean") in ("bicubic", "mean")
        and theirs.get("stretch") in (None, "asinh", "tanh")
        and theirs.get("scale", 2) == 2
        and all(
            numbers is None
            or (
                isinstance(numbers, list)
                and len(numbers) == n
                and all(type(x) in (int, float) for x in numbers)
            )
            for numbers, n in pairs
        )
    )
    if not fine:
        raise ConfigError(
            f"{setting}.start_from: {path / CONFIG} holds impossible facts; fetch the weights again"
        )


def _differing(theirs: Any, ours: Any) -> str:
    """Return both values, of mappings those of the first key that differs."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for key in sorted(theirs.keys() | ours.keys(), key=str):
            if theirs.get(key) != ours.get(key):
                return f"{str(key)[:40]} {str(theirs.get(key))[:60]}, the settings say {ours.get(key)}"
    return f"{str(theirs)[:60]}, the settings say {str(ours)[:60]}"


def _outline(settings: dict[str, Any]) -> SuperNet:
    """Return a network without memory for its numbers: only names and shapes are compared."""
    with torch.device("meta"):
        return SuperNet(**settings)


def _read_public(path: Path, network: SuperNet, setting: str) -> dict[str, Tensor]:
    shapes = {name: tensor.shape for name, tensor in network.net.state_dict().items()}
    try:
        tensors = read_tensors(path, MOST_BYTES)
        if not is_public(tensors):
            raise ConfigError(
                f"{path}: no network of the public code of SR3: it has no tensor downs.0.weight"
            )
        if network.config.planes != 3:
            raise ConfigError(f"{path}: the public network is for 3 planes; set pictures.planes to 3")
        return convert(tensors, network.config.sizes, shapes)
    except ConfigError as error:
        text = str(error) if str(path) in str(error) else f"{path}: {error}"
        raise ConfigError(f"{setting}.start_from: {text}") from None
