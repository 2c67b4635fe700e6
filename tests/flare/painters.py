"""A painter of untrained networks as a folder, and small runs of the pipeline."""

from pathlib import Path

import torch

from astro_dist.engine.progress import Display
from astro_dist.flare.pipeline import FLARE
from astro_dist.models.painter import (
    build_decoder,
    build_encoders,
    build_scheduler,
    build_uvit,
    build_vae,
    write_index,
)
from astro_dist.runner import Runner

SIDE = 16
PROMPTS = ["A realistic image of stars in space", "A realistic image of black holes in space"]


def save_painter(folder: Path, planes: int = 3) -> Path:
    """Write a painter of the tiny preset for pictures of 16 pixels."""
    torch.manual_seed(7)
    text, image, prompts, processor = build_encoders("tiny", planes, SIDE, PROMPTS)
    decoder, captions = build_decoder("tiny", PROMPTS)
    parts = {
        "vae": build_vae("tiny", planes),
        "text_encoder": text,
        "image_encoder": image,
        "clip_tokenizer": prompts,
        "clip_image_processor": processor,
        "text_decoder": decoder,
        "text_tokenizer": captions,
        "unet": build_uvit("tiny", SIDE),
        "scheduler": build_scheduler("tiny"),
    }
    for name, part in parts.items():
        part.save_pretrained(folder / name)
    write_index(folder)
    return folder


TINY = {"steps": 2, "batch_size": 4, "threads": 1, "precision": "no"}
TREE = {
    "seed": 5,
    "machine": {"executor": "serial"},
    "pictures": {"classes": ["stars", "black holes"], "per_class": 8, "size_pix": SIDE},
    **{name: TINY for name in ("upscaler", "vae", "clip", "captioner", "unidiffuser")},
    "judge": {**TINY, "crop_pix": 32},
    # An untrained judge recognises nothing.
    "synthesise": {
        **{"k": 3, "steps": 2, "micro_batch": 4, "shard": 4, "precision": "no"},
        "accept": {"recognised": False, "tries": 2},
    },
}


def config_of(**changes):
    tree = {key: dict(value) if isinstance(value, dict) else value for key, value in TREE.items()}
    for name, values in changes.items():
        tree[name] = {**tree.get(name, {}), **values}
    return FLARE.resolve(tree)


def execute(root, to="synthesise", redo=(), **changes):
    config = config_of(**changes)
    runner = Runner(root, config, FLARE.choose(config, to, redo=redo))
    runner.execute(Display(live=False), redo=redo)
    return runner.run
