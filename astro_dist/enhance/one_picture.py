"""One picture doubled in memory, without a run directory: ``astro-dist enhance PICTURE``, `enhance_picture`.

Shape letters: P planes, h w pixels of the picture, H W of the enlarged one.
"""

# Annotations stay text: those of arrays are ten lines long where `help` shows them.
from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from astro_dist.engine.arrays import Image as Planes
from astro_dist.engine.errors import ConfigError, DataError
from astro_dist.engine.files import check_new, publish_bytes
from astro_dist.engine.foreign import expand_home
from astro_dist.engine.stopping import check_stop
from astro_dist.enhance.superres_stage import RECIPE
from astro_dist.models.enlargers import KINDS, Enlarger, Options, kind_of, open_enlarger
from astro_dist.models.super_levels import Sampler
from astro_dist.models.super_res import SuperRes
from astro_dist.models.upscalers import WINDOW_PIX
from astro_dist.pictures.decode import MOST_AREA_PIX, read_image, take_image
from astro_dist.pictures.images import from_image, png_bytes, to_image
from astro_dist.sky.windows import Window, bands
from astro_dist.train.start import find_start

TILE_PIX = 1024
"""Longest side that is enlarged in one piece; with its halo such a tile takes about 2.4 GB."""
MOST_PIX = 1 << 24
"""Most pixels of a picture for a network that sees all of it at once."""


SAID_S, SAY_EVERY_S = 5, 20
"""Seconds that may be left without a word, and seconds from one word to the next."""


@dataclass(frozen=True)
class Doubler:
    """A network that is ready to double pictures, and of how many samples a picture is the mean."""

    enlarger: Enlarger
    samples: int
    name: str

    @classmethod
    def open(cls, model: str | Path = "enhance", samples: int = 4, calls: int = 1, seed: int = 1) -> Doubler:
        """Return the network of a run or of a folder, by default that of the package.

        With one call per sample a picture is what the network expects, see `SuperRes.expect`; the mean of few
        samples of more calls is noisier and takes as many times longer.

        Raises
        ------
        ConfigError
            There is no such network, or it learnt from maps.
        """
        try:
            path = find_start(RECIPE, str(model))
            kind = KINDS[kind_of(path, RECIPE.name)]
            enlarger = open_enlarger(path, RECIPE.name, Options(sampler=Sampler(calls=calls), seed=seed))
        except ConfigError as error:
            # Here no setting names the weights.
            reason = re.sub(r"^superres\.start_from: | or leave (start_from|it) out", "", str(error))
            raise ConfigError(reason) from None
        if isinstance(enlarger, SuperRes) and enlarger.network.config.stretch is not None:
            raise ConfigError(
                f"{model}: this network learnt from maps, whose brightness pictures do not have; take another"
            )
        return cls(enlarger, samples if kind.sampled else 1, str(model))

    def double(
        self, image: Image.Image, name: str = "the picture", say: Callable[[str], None] | None = None
    ) -> Image.Image:
        """Return a picture, grey or in colours, enlarged by the scale of the network.

        Parameters
        ----------
        say
            Takes a line on the time that is left, after the first sample and then now and then, where that is
            more than some seconds.

        Raises
        ------
        DataError
            The network has other planes, or the picture is too small, too large or of one colour.
        """
        planes, grey = self.enlarger.planes, image.mode in ("L", "1")
        if planes == 1 and not grey:
            raise DataError(f"{name}: it has colours, and the network {self.name} takes grey pictures alone")
        self._check_size(image, name)
        picture = from_image(image.convert("RGB" if planes == 3 else "L"))
        if (picture == picture[:, :1, :1]).all():
            raise DataError(f"{name}: one colour everywhere; give a picture that shows something")
        mean = self._draw_mean(picture.astype(np.float32) / np.float32(255), name, say)
        large = to_image(np.rint(255 * np.clip(mean, 0, 1)).astype(np.uint8))
        # What is grey stays grey.
        return large.convert("L") if grey else large

    def _check_size(self, image: Image.Image, name: str) -> None:
        whole = self.enlarger.halo_pix is None
        most = MOST_PIX if whole else MOST_AREA_PIX
        if min(image.size) < WINDOW_PIX or image.width * image.height > most:
            raise DataError(
                f"{name}: {image.width} x {image.height} pixels cannot be enlarged: from {WINDOW_PIX} x "
                f"{WINDOW_PIX} pixels to {most >> 20} million in all"
            )

    def _draw_mean(self, picture_Phw: Planes, name: str, say: Callable[[str], None] | None) -> Planes:
        """Return the mean of the samples, by tiles that equal the whole where the network is local."""
        planes, *sides = picture_Phw.shape
        whole = Window.of_shape(sides)
        scale, halo = self.enlarger.scale, self.enlarger.halo_pix
        mean = np.empty((planes, *(scale * side for side in sides)), np.float32)
        cores = [whole] if halo is None else tiles(whole)
        left = Left(self.samples * int(np.prod(whole.shape)))
        for core in cores:
            around = core.grown(halo or 0) & whole
            assert around is not None
            inner, outer = (
                (slice(None), *(slice(scale * s.start, scale * s.stop) for s in part))
                for part in (core.within(around), core.slices)
            )
            total: NDArray[Any] = np.zeros(mean[outer].shape)
            for sample in range(self.samples):
                check_stop()
                tile = picture_Phw[(slice(None), *around.slices)]
                total += self.enlarger.draw(tile, sample, (around.y0, around.x0))[inner]
                left_s = left.count(int(np.prod(core.shape)))
                if left_s is not None and say is not None:
                    say(f"{name}: {self.samples} samples, about {left_s:.0f} s left")
            mean[outer] = total / self.samples
        return mean


class Left:
    """Counts drawn pixels and estimates the seconds left from their rate, at most every `SAY_EVERY_S`."""

    def __init__(self, total: int) -> None:
        self.total, self.done, self.began, self.said = total, 0, time.monotonic(), -math.inf

    def count(self, pixels: int) -> float | None:
        """Count pixels that are drawn; return the seconds that are left when it is time to say so."""
        self.done += pixels
        now = time.monotonic()
        left_s = (now - self.began) * (self.total / self.done - 1)
        if left_s <= SAID_S or now - self.said < SAY_EVERY_S:
            return None
        self.said = now
        return left_s


def tiles(whole: Window) -> list[Window]:
    """Return the tiles of a picture."""
    return [
        Window(band.y0, band.y1, x0, min(x0 + TILE_PIX, whole.x1))
        for band in bands(whole.shape, TILE_PIX)
        for x0 in range(0, whole.x1, TILE_PIX)
    ]


def enhance_picture(
    image: Any, out: str | Path | None = None, model: str | Path = "enhance", samples: int = 4
) -> Image.Image:
    """Return a picture enlarged, by default doubled by the network of the package.

    Parameters
    ----------
    image
        A picture file, or a Pillow image, which is converted as a file of its mode is.
    out
        A PNG file to write.
    model
        ``enhance`` for the weights of the package, or a run or folder with a network that enlarges pictures.
    samples
        Samples of the network whose mean the picture is.

    Raises
    ------
    ConfigError
        There is no such network, or ``out`` is there already or cannot be written.
    DataError
        The picture cannot be read or enlarged.
    """
    target = None if out is None else expand_home(str(out))
    if target is not None:
        check_new(target)
    name = "the picture" if isinstance(image, Image.Image) else str(image)
    given = take_image(image) if isinstance(image, Image.Image) else read_image(expand_home(name), name)
    large = Doubler.open(model, samples).double(given, name)
    if target is not None:
        publish_bytes(target, png_bytes(large))
    return large
