"""The folder of a painter: put together from trained parts, taken from a user, checked before it is loaded.

`find_folder` names it, `check_folder` compares its parts with each other and with the run without loading
torch, `copy_parts` puts together the one of this run.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from astro_dist.engine.errors import ConfigError
from astro_dist.engine.foreign import expand_home, read_mapping
from astro_dist.engine.later import Later
from astro_dist.flare.painter_config import UnidiffuserConfig
from astro_dist.models.painter_layout import CONFIGS, NETWORKS, part_folder
from astro_dist.models.painter_presets import CAPTION_TOKENS
from astro_dist.train.start import SHIPPED

SETTING = "unidiffuser.folder"
SUFFIXES = (".json", ".txt", ".safetensors")
"""Files that are taken over; `.bin` files are pickles, which run code when they are loaded."""


def find_folder(config: UnidiffuserConfig) -> Path | None:
    """Return the folder of a painter that the settings name, None where its parts are trained.

    Raises
    ------
    ConfigError
        There is no such folder.
    """
    if config.folder is None:
        return None
    if (found := find_prompt_folder(config.folder)) is not None:
        return found
    raise ConfigError(
        f"{SETTING}: {config.folder!r} is no folder with the parts of a UniDiffuser; mend the path, or leave "
        "it out to train them"
    )


def find_prompt_folder(path: str) -> Path | None:
    """Return the folder of a UniDiffuser: a path, a run with one, or a name of the package; None for none."""
    shipped = SHIPPED / path / "unidiffuser"
    # A slash always means a folder of the user.
    if "/" not in path and shipped.is_dir():
        return shipped
    folder = expand_home(path)
    # A run directory has its models below `models/`.
    places = (folder / "models" / "unidiffuser", folder)
    return next((found for found in places if (found / "unet").is_dir()), None)


def folder_files(folder: Path) -> list[Path]:
    """Return the files of a painter that are read, sorted; those of missing parts are left out."""
    parts = [part for name in CONFIGS if (part := part_folder(folder, name)).is_dir()]
    return sorted(
        path for part in parts for path in part.iterdir() if path.is_file() and path.suffix in SUFFIXES
    )


def check_folder(folder: Path, size_pix: int, planes: int) -> None:
    """Refuse a painter that lacks a part, or paints other pictures than those of the run.

    Raises
    ------
    ConfigError
        Naming part and remedy.
    """
    vae, unet = check_parts(folder)
    if vae["in_channels"] != planes:
        raise _refusal(folder, f"it paints {vae['in_channels']} planes; set pictures.planes to that")
    side = unet["sample_size"] * 2 ** (len(vae["block_out_channels"]) - 1)
    if side != size_pix:
        raise _refusal(
            folder, f"it paints pictures of {side} pixels, not {size_pix}; set pictures.size_pix to {side}"
        )
    check_weights(folder)


def check_weights(folder: Path) -> None:
    """Refuse a painter whose weights have other names or shapes than its settings say; loads torch."""
    if SHIPPED in folder.parents:
        return
    if fault := Later("astro_dist.models.painter_weights:find_fault")(folder):
        raise _refusal(folder, fault)


def check_parts(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Refuse a painter that lacks a part or whose parts do not belong together.

    Returns the settings of its autoencoder and of the network of joint noise prediction.
    """
    found = {name: _read(folder, name) for name in CONFIGS}
    for name in NETWORKS:
        if not any(part_folder(folder, name).glob("*.safetensors")):
            raise _refusal(folder, f"{name} has no weights in safetensors; pickles (.bin) are not loaded")
    try:
        _check_pairs(folder, found)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _refusal(folder, f"the settings of a part cannot be used ({error})") from None
    return found["vae"], found["unet"]


def _read(folder: Path, name: str) -> dict[str, Any]:
    part = part_folder(folder, name)
    if not part.is_dir():
        raise _refusal(folder, f"it lacks the part {name}/")
    try:
        return read_mapping(part / CONFIGS[name])
    except ConfigError as error:
        raise _refusal(folder, f"{name}/{CONFIGS[name]} is {error}") from None


def _check_pairs(folder: Path, found: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse parts whose sizes differ where one reads what another writes."""
    vae, unet, decoder = found["vae"], found["unet"], found["text_decoder"]
    # Numbers, before anything is computed from them or built by them.
    sizes = (vae["in_channels"], vae["latent_channels"], unet["sample_size"], decoder["prefix_length"])
    if not all(type(size) is int and 0 < size <= 4096 for size in (*sizes, len(vae["block_out_channels"]))):
        raise _refusal(folder, f"the sizes {sizes} of its parts are no such numbers")
    needed = decoder["prefix_length"] + CAPTION_TOKENS
    if decoder.get("n_positions", 1024) < needed:
        raise _refusal(
            folder,
            f"its text decoder has n_positions {decoder['n_positions']} and needs {needed}: "
            f"{decoder['prefix_length']} of the prompt and {CAPTION_TOKENS} of a caption",
        )
    text, hidden = found["text_encoder"], decoder["prefix_hidden_dim"] or decoder["prefix_inner_dim"]
    pairs = {
        "text_encoder's hidden_size and the text_decoder's prefix_inner_dim": (
            text["hidden_size"],
            decoder["prefix_inner_dim"],
        ),
        "text_decoder's prefix_hidden_dim and the unet's text_dim": (hidden, unet["text_dim"]),
        "image_encoder's projection_dim and the unet's clip_img_dim": (
            found["image_encoder"]["projection_dim"],
            unet["clip_img_dim"],
        ),
        "vae's latent_channels and the unet's in_channels": (vae["latent_channels"], unet["in_channels"]),
    }
    for names, (first, second) in pairs.items():
        if first != second:
            raise _refusal(folder, f"the {names} are {first} and {second}; its parts do not belong together")


def _refusal(folder: Path, reason: str) -> ConfigError:
    remedy = "" if ";" in reason else "; fetch the folder again, or leave it out to train the parts"
    return ConfigError(f"{SETTING}: {folder}: {reason}{remedy}")


def copy_parts(folders: Mapping[str, Path], target: Path) -> None:
    """Copy the files of parts, each from its folder, into a painter's folder."""
    for name, source in folders.items():
        (target / name).mkdir(parents=True, exist_ok=True)
        for path in sorted(source.iterdir()):
            if path.is_file() and path.suffix in SUFFIXES:
                # Content alone: links and permissions of the user's folder are none of ours.
                shutil.copyfile(path, target / name / path.name)


def part_folders(run_models: Path, folder: Path | None) -> dict[str, Path]:
    """Return the folders of all parts but the trained network: this run's, or those of a painter."""
    if folder is not None:
        return {name: part_folder(folder, name) for name in CONFIGS if name != "unet"}
    clip, captioner = run_models / "clip", run_models / "captioner"
    encoders = ("text_encoder", "image_encoder", "clip_tokenizer", "clip_image_processor")
    return {
        "vae": run_models / "vae",
        **{name: clip / name for name in encoders},
        **{name: captioner / name for name in ("text_decoder", "text_tokenizer")},
    }
