"""The model card of the upscaler, without date, host or path."""

from pathlib import Path

from astro_dist.flare.upscale_config import UpscalerConfig

_UPSCALER = """\
---
library_name: diffusers
tags: [astro_dist, super-resolution, swinir]
---
# SwinIR, enlarging pictures by {scale}

* preset {preset}, {training}
* small pictures by the degradation `{degradation}`; loss: mean absolute error

Load: `astro_dist.flare.enhance.SwinIR.from_pretrained(folder).enhance(picture)`.
"""


def write_upscaler_card(folder: Path, config: UpscalerConfig) -> None:
    """Write ``README.md`` beside the weights of an upscaler."""
    steps = "{steps} steps of {batch_size} crops of {crop_pix} x {crop_pix} pixels, learning rate {lr:g}"
    training = steps.format(**config.model_dump()) if config.steps else "weights of others as they are"
    if config.steps and config.start_from is not None:
        training += ", from weights of others"
    text = _UPSCALER.format(training=training, **config.model_dump())
    (folder / "README.md").write_text(text)
