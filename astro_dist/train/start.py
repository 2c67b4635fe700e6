"""Weights that a training begins with: those that come with the package, or a model of the user's.

The shipped ones lie in half precision below ``astro_dist/weights``; training and publishing are in float32.
"""

import json
from pathlib import Path
from typing import Any

from astro_dist.engine.errors import ConfigError

PARTS = {"autoencoder": ".", "diffusion": "unet", "masks": "."}
"""The trainings that can begin with weights, and where in a model's folder its first part is."""
SHIPPED = Path(__file__).parents[1] / "weights"


def find_start(start_from: str, stage: str) -> Path:
    """Return the folder of the weights that ``start_from`` means for one of the trainings.

    Raises
    ------
    ConfigError
        When neither the package has such weights nor there is a model of that kind in such a folder.
    """
    shipped = SHIPPED / start_from / stage
    if "/" not in start_from and shipped.is_dir():
        return shipped
    folder = Path(start_from).expanduser()
    for found in (folder / "models" / stage, folder):
        if (found / PARTS[stage] / "config.json").is_file():
            return found
    names = ", ".join(sorted(path.name for path in SHIPPED.glob("*") if (path / stage).is_dir()))
    raise ConfigError(
        f"{stage}.start_from: {start_from!r} is neither a folder with a published {stage} nor weights of "
        f"the package ({names or 'it has none of that kind'}); mend it or leave it out"
    )


def start_files(start_from: str, stage: str) -> list[Path]:
    """Return the files of those weights, sorted."""
    return sorted(path for path in find_start(start_from, stage).rglob("*") if path.is_file())


def begin_from(objective: Any, start_from: str, stage: str) -> None:
    """Put the weights into the untrained network of an objective, as float32, and their schedule beside it.

    Raises
    ------
    ConfigError
        When they are of another network than the settings name.
    """
    from astro_dist.models.autoencoder import load_autoencoder
    from astro_dist.models.denoiser import load_denoiser, load_scheduler
    from astro_dist.models.masks import load_mask_denoiser

    folder = find_start(start_from, stage)
    try:
        if stage == "autoencoder":
            loaded, target = load_autoencoder(folder), objective.network.autoencoder
            target.load_state_dict(loaded.float().state_dict())
            target.register_to_config(scaling_factor=loaded.config.scaling_factor)
            return
        note = folder / "latents.json"
        if note.is_file() and json.loads(note.read_text()) != objective.latents_of:
            raise ConfigError(
                f"{stage}.start_from: {start_from!r} knows the latents of another autoencoder than that of "
                "this run; take both models from one run directory"
            )
        loaded = load_mask_denoiser(folder) if stage == "masks" else load_denoiser(folder)
        for name in ("target", "stretch") if stage == "diffusion" else ():
            theirs, ours = loaded.config[name], objective.network.config[name]
            if theirs != ours:
                raise ConfigError(
                    f"{stage}.start_from: {start_from!r} has the {name} {theirs!r}, the "
                    f"settings say {ours!r}; make them agree"
                )
        objective.network.load_state_dict(loaded.float().state_dict())
        objective.scheduler = load_scheduler(folder)
        objective.alpha_bar_T = objective.scheduler.alphas_cumprod.to(objective.alpha_bar_T.device)
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        first = str(error).splitlines()[0]
        raise ConfigError(
            f"{stage}.start_from: the weights of {start_from!r} do not fit the preset of the settings or "
            f"cannot be read ({first}); set {stage}.preset to theirs"
        ) from None
