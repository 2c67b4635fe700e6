"""Pictures from a prompt or from a picture: ``DiffusionModel``, and the command `astro-dist flare sample`.

Shape letters: as in `astro_dist.models.painter`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from PIL import Image

from astro_dist.engine.errors import ConfigError
from astro_dist.engine.files import publish_bytes
from astro_dist.engine.foreign import expand_home
from astro_dist.engine.seeds import stream
from astro_dist.flare.painter_config import UnidiffuserConfig
from astro_dist.flare.painter_folder import check_parts, check_weights, find_folder
from astro_dist.flare.painter_trainings import require_transformers
from astro_dist.models.device import flushed_denormals, pin
from astro_dist.models.painter import Painter, load_painter
from astro_dist.models.painting import Brush
from astro_dist.pictures.images import from_image, png_bytes, resize, to_image
from astro_dist.pictures.pixels import from_network, to_network

BATCH = 4
"""Pictures that are painted at once; the last bits depend on it."""


class DiffusionModel:
    """A painter that is ready to paint from prompts and pictures.

    Parameters
    ----------
    painter
        The networks, on their device.
    steps, guidance
        Steps of the solver, and strength of the guidance; 1 is none.
    """

    def __init__(self, painter: Painter, steps: int = 20, guidance: float = 5.0) -> None:
        self.painter = painter
        self.brush = Brush(painter, "dpm++", steps, 0.0, guidance)

    @classmethod
    def from_pretrained(cls, path: str | Path = "flare", steps: int = 20, guidance: float = 5.0) -> Self:
        """Return the painter of a path.

        Parameters
        ----------
        path
            Folder in the layout of UniDiffuserPipeline, folder of a run that trained one, or ``flare`` for
            the painter of the package, which knows the toy classes.
        steps, guidance
            As in `SynthesiseConfig`.

        Raises
        ------
        ConfigError
            There is no painter, or it lacks a part.
        """
        require_transformers()
        folder = find_folder(UnidiffuserConfig(folder=str(path)))
        assert folder is not None
        check_parts(folder)
        check_weights(folder)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        return cls(load_painter(folder).to(device), steps, guidance)

    @torch.inference_mode()
    def generate(
        self, given: Any, num_samples: int = 1, seed: int = 1, strength: float | None = None
    ) -> list[Image.Image]:
        """Return pictures of a prompt, or variants of a picture.

        Parameters
        ----------
        given
            A prompt; or a Pillow image or uint8 array (H, W) or (H, W, 3), which is brought to the painter's
            side.
        num_samples
            Number of pictures. Picture i depends on ``given``, the seed and i alone.
        seed
            Seed of the random numbers.
        strength
            For variants: noise from 0 to 1 that the picture gets (SDEdit); by default the variants are
            painted from its caption alone.

        Raises
        ------
        ConfigError
            The prompt is longer than the text encoder takes, or the strength is not between 0 and 1.
        """
        if strength is not None and not 0 < strength <= 1:
            raise ConfigError(f"strength {strength} is not above 0 and at most 1; change it")
        if num_samples < 1:
            raise ConfigError(f"{num_samples} pictures are asked for; ask for 1 or more")
        if isinstance(given, str):
            self._refuse_cut(given)
        found: list[Image.Image] = []
        for first in range(0, num_samples, BATCH):
            streams = [stream(seed, "sample", first + i) for i in range(BATCH)]
            with flushed_denormals():
                pictures = self._paint(given, streams, strength)
            found += [to_image(picture) for picture in pictures[: num_samples - first]]
        return found

    def _paint(self, given: Any, streams: Sequence[np.random.Generator], strength: float | None) -> Any:
        painter, vector_BN = self.painter, None
        if isinstance(given, str):
            texts = [given] * len(streams)
        else:
            vector_BN = painter.encode_pictures(self._read(given).expand(len(streams), -1, -1, -1))
            texts = painter.write_captions(self.brush.describe(vector_BN, streams))
        text_BTd = painter.encode_prompts(painter.tokenize(texts).to(self.brush.device))
        noised = (None, 1.0) if strength is None else (vector_BN, strength)
        x_BPSS = painter.decode_pictures(self.brush.paint(text_BTd, streams, *noised))
        return from_network(x_BPSS.cpu().numpy(), "uint8")

    def _read(self, image: Any) -> torch.Tensor:
        given = image if isinstance(image, Image.Image) else Image.fromarray(np.asarray(image, np.uint8))
        picture = from_image(given.convert("L" if self.painter.planes == 1 else "RGB"))
        return torch.from_numpy(to_network(resize(picture, self.painter.size_pix))[None]).to(
            self.brush.device
        )

    def _refuse_cut(self, prompt: str) -> None:
        most = self.painter.text_shape[0]
        if (count := len(self.painter.clip_tokenizer(prompt).input_ids)) > most:
            raise ConfigError(
                f"the prompt has {count} tokens, and the text encoder takes {most}; make it shorter"
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
    pictures = DiffusionModel.from_pretrained(model).generate(prompt, num_samples, seed)
    for target, picture in zip(targets, pictures, strict=True):
        publish_bytes(target, png_bytes(picture))
        print(target)
