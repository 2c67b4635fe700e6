"""Model cards of the painter and its parts, without date, host or path."""

from pathlib import Path

from astro_dist.flare.painter_config import PainterTrainingConfig, UnidiffuserConfig

_HEAD = """\
---
library_name: diffusers
tags: [astro_dist, flare{kind}]
---
# {title}

{about}

* preset {preset}, {steps} steps of {batch_size} pictures, learning rate {lr:g}, moving average {ema_decay:g}
{more}"""
_ABOUT = {
    "vae": (
        "KL autoencoder of pictures",
        "Maps pictures from -1 to 1 to latents and back; it is diffusers' `AutoencoderKL`.",
    ),
    "clip": (
        "Encoders of prompts and pictures",
        "A CLIP of the run's pictures and prompts: both encoders, and what prepares their input.",
    ),
    "captioner": (
        "Decoder of captions",
        "Writes a prompt again from its encoding; it is diffusers' `UniDiffuserTextDecoder`.",
    ),
    "unidiffuser": (
        "Painter of pictures from prompts",
        "Predicts the noise of picture and prompt, each at its own time (UniDiffuser, Bao et al. 2023).",
    ),
    "diffusion": (
        "Painter of pictures of given classes",
        "Predicts the velocity of pictures from -1 to 1 and their noise, given the number of a class in\n"
        "`labels` of `config.json`; the number after the last stands for any class.",
    ),
}


def write_card(folder: Path, name: str, config: PainterTrainingConfig, more: str = "") -> None:
    """Write the card of the training ``name``."""
    title, about = _ABOUT[name]
    if isinstance(config, UnidiffuserConfig):
        begun = "" if config.folder is None else "begun with a painter that was there already; its terms hold"
        tuned = f"; tuned: {config.tune}" if config.folder is not None and config.steps else ""
        more = (f"* {begun}{tuned}\n" if begun else "") + (
            "\nLoad: `diffusers.UniDiffuserPipeline.from_pretrained(folder)`, or with a random stream per\n"
            "picture `astro_dist.flare.sample.DiffusionModel.from_pretrained(folder)`.\n"
        )
    kind = "" if name == "diffusion" else ", unidiffuser"
    facts = config.model_dump(include={"preset", "steps", "batch_size", "lr", "ema_decay"})
    (folder / "README.md").write_text(_HEAD.format(title=title, about=about, more=more, kind=kind, **facts))
