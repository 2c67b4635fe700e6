"""A painter of untrained networks, as a folder."""

from pathlib import Path

import torch

from astro_dist.models.painter import (
    build_decoder,
    build_encoders,
    build_scheduler,
    build_uvit,
    build_vae,
    write_index,
)

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
