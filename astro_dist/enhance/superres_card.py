"""The model card of super-resolution, without date, host or path."""

from pathlib import Path

from astro_dist.enhance.superres_config import SuperresConfig
from astro_dist.models.super_net import SuperNet

_CARD = """\
---
library_name: diffusers
tags: [astro_dist, super-resolution, sr3]
---
# SR3, doubling {what}

* preset {preset}, {training}
* small images by `{half}`{filtered}; loss: {loss}
* reach of one call: {reach}

Load: `astro_dist.models.super_res.SuperRes.from_pretrained(folder).enhance(image)`.
"""


def write_superres_card(folder: Path, config: SuperresConfig, network: SuperNet) -> None:
    """Write ``README.md`` beside the weights of super-resolution."""
    facts = network.config
    steps = "{steps} steps of {batch_size} crops of {crop_pix} x {crop_pix} pixels, learning rate {lr:g}"
    training = steps.format(**config.model_dump()) if config.steps else "weights of others as they are"
    if config.steps and config.start_from is not None:
        training += ", from weights of others"
    text = _CARD.format(
        what="pictures" if facts.stretch is None else f"maps stretched by {facts.stretch}",
        preset=config.preset,
        training=training,
        half=facts.half,
        filtered=", targets filtered" if facts.filtered else "",
        loss="mean absolute error of the noise"
        if facts.predicts == "noise"
        else "squared error of the velocity",
        reach="the whole tile" if facts.reach_pix is None else f"{facts.reach_pix} pixels of the input",
    )
    (folder / "README.md").write_text(text)
