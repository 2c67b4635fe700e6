"""Pictures from a prompt or from a picture: ``DiffusionModel``, and the command `astro-dist flare sample`.

Shape letters: as in `astro_dist.flare.sample_hands`.
"""

from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from PIL import Image

from astro_dist.engine.errors import ConfigError, show
from astro_dist.engine.files import publish_bytes
from astro_dist.engine.foreign import expand_home
from astro_dist.engine.pixels import from_network, to_network
from astro_dist.engine.seeds import stream
from astro_dist.flare.sample_hands import Hand, has_words, open_hand
from astro_dist.models.device import flushed_denormals, pin
from astro_dist.pictures.config import CLASSES
from astro_dist.pictures.images import from_image, png_bytes, resize, to_image

BATCH = 4
"""Pictures that are painted at once; the last bits depend on it."""


class DiffusionModel:
    """A painter that is ready to paint from prompts, or the names of its classes, and from pictures.

    Parameters
    ----------
    hand
        The painter with its solver and guidance, see `from_pretrained`.
    """

    def __init__(self, hand: Hand) -> None:
        self.hand = hand

    @classmethod
    def from_pretrained(
        cls, path: str | Path = "flare", steps: int = 20, guidance: float | None = None
    ) -> Self:
        """Return the painter of a path.

        Parameters
        ----------
        path
            Folder in the layout of UniDiffuserPipeline, folder of a painter of classes, folder of a run that
            trained one of them, or ``flare`` for the painter of the package, which knows the toy classes.
        steps, guidance
            As in `SynthesiseConfig`; a guidance of 1 is none, by default it is 5 for prompts, 3 for classes.

        Raises
        ------
        ConfigError
            There is no painter, or it lacks a part.
        """
        return cls(open_hand(str(path), steps, guidance))

    @torch.inference_mode()
    def generate(
        self, given: Any, num_samples: int = 1, seed: int = 1, strength: float | None = None
    ) -> list[Image.Image]:
        """Return pictures of a prompt, or variants of a picture.

        Parameters
        ----------
        given
            A prompt, in which a painter of classes looks for the name of one of them; or a Pillow image or
            uint8 array (H, W) or (H, W, 3), which is brought to the painter's side.
        num_samples
            Number of pictures. Picture i depends on ``given``, the seed and i alone.
        seed
            Seed of the random numbers.
        strength
            For variants: noise from 0 to 1 that the picture gets (SDEdit); by default the variants are
            painted from its caption alone, which a painter of classes cannot.

        Raises
        ------
        ConfigError
            The prompt is longer than the text encoder takes or names no class, the strength is not between 0
            and 1, or a painter of classes needs one, or what is given is neither text nor picture.
        """
        if strength is not None and not 0 < strength <= 1:
            raise ConfigError(f"strength {strength} is not above 0 and at most 1; change it")
        if num_samples < 1:
            raise ConfigError(f"{num_samples} pictures are asked for; ask for 1 or more")
        hand, found = self.hand, list[Image.Image]()
        for first in range(0, num_samples, BATCH):
            streams = [stream(seed, "sample", first + i) for i in range(BATCH)]
            with flushed_denormals():
                if isinstance(given, str):
                    x_BPSS = hand.draw(given, streams)
                else:
                    x_BPSS = hand.change(self._read(given).expand(BATCH, -1, -1, -1), streams, strength)
            pictures = from_network(x_BPSS.float().cpu().numpy(), "uint8")
            found += [to_image(picture) for picture in pictures[: num_samples - first]]
        return found

    def _read(self, image: Any) -> torch.Tensor:
        try:
            given = image if isinstance(image, Image.Image) else Image.fromarray(np.asarray(image, np.uint8))
        except (IndexError, TypeError, ValueError):
            raise ConfigError("give a prompt, a Pillow image or a uint8 array (H, W) or (H, W, 3)") from None
        picture = from_image(given.convert("L" if self.hand.planes == 1 else "RGB"))
        x_BPSS = torch.from_numpy(to_network(resize(picture, self.hand.size_pix))[None])
        return x_BPSS.to(self.hand.device)


def note_unknown(prompt: str, model: str) -> str | None:
    """Return a note with the classes of the package's painter for a prompt that names none; else None."""
    if model != "flare" or any(has_words(prompt, name) for name in CLASSES):
        return None
    return (
        f"the painter of the package knows toys of {', '.join(CLASSES)}, and this prompt names none of them: "
        "the pictures show whichever it takes them for"
    )


def sample_pictures(prompt: str, num_samples: int, seed: int, out: Path, model: str, threads: int) -> None:
    """Write pictures of a prompt as PNG files into a folder; the command ``astro-dist flare sample``.

    Raises
    ------
    ConfigError
        There is no such painter, or a file of that name is there.
    """
    targets = [expand_home(out) / f"sample-{seed}-{i:04}.png" for i in range(num_samples)]
    for target in targets:
        if target.exists():
            raise ConfigError(f"{target} is there already; name another --out")
    pin(threads)
    if note := note_unknown(prompt, model):
        show(f"astro-dist: {note}")
    try:
        painter = DiffusionModel.from_pretrained(model)
    except ConfigError as error:
        raise ConfigError(f"--model {error}") from None
    pictures = painter.generate(prompt, num_samples, seed)
    for target, picture in zip(targets, pictures, strict=True):
        publish_bytes(target, png_bytes(picture))
        print(target)
