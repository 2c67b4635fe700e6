"""Pictures of a user enlarged: ``SwinIR.from_pretrained(path).enhance(image)``, and ``flare upscale``."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from astro_dist.engine.errors import ConfigError, DataError
from astro_dist.engine.files import publish_bytes
from astro_dist.engine.foreign import expand_home
from astro_dist.flare.upscale_stage import RECIPE
from astro_dist.models.device import pin
from astro_dist.models.enlargers import Enlarger, Options, open_enlarger
from astro_dist.models.upscalers import WINDOW_PIX
from astro_dist.pictures.decode import read_image, take_image
from astro_dist.pictures.images import from_image, like, png_bytes, to_image, to_planes, unit_planes
from astro_dist.train.start import find_start
from astro_dist.workers.machine import count_cores

MOST_AREA_PIX = 1 << 24
"""Most pixels of a picture that is enlarged here; sixteen million take about 3 GB."""
TILE_PIX = 512


class SwinIR:
    """An upscaler that is ready to enlarge pictures of any sides.

    Parameters
    ----------
    enlarger
        The network, its device and the side of its tiles.
    """

    def __init__(self, enlarger: Enlarger) -> None:
        self.enlarger = enlarger

    @classmethod
    def from_pretrained(cls, path: str | Path = "flare", tile_pix: int = TILE_PIX) -> Self:
        """Return the upscaler of a path.

        Parameters
        ----------
        path
            Folder of an upscaler or of a run that trained one, file of SwinIR's authors, or ``flare`` for the
            weights of the package.
        tile_pix
            Longest side that is enlarged in one piece.

        Raises
        ------
        ConfigError
            There is no upscaler, or a part of it is missing or of another shape.
        """
        try:
            return cls(_open(find_start(RECIPE, str(path)), tile_pix))
        except ConfigError as error:
            # Here no setting names the weights.
            reason = re.sub(r"^upscaler\.start_from: | or leave (start_from|it) out", "", str(error))
            raise ConfigError(reason) from None

    def enhance(self, image: Any) -> Any:
        """Return a picture enlarged by the scale of the network, of the kind that is given.

        Parameters
        ----------
        image
            A Pillow image, which is converted as a file of its mode is; or an array (h, w), (h, w, 3) or
            (P, h, w): uint8, uint16 from 0 to 65535, or float from 0 to 1; of at least 8 pixels a side. The
            network sees 8 bits of it.

        Raises
        ------
        DataError
            The picture has sides that are too short, or too many pixels, or is an array of another kind.
        """
        if isinstance(image, Image.Image):
            given = take_image(image)
            large = to_image(self._enlarge(from_image(given)))
            # What is grey stays grey.
            return large.convert("L") if given.mode == "L" else large
        array = np.asarray(image)
        planes = to_planes(array)
        eight = planes if planes.dtype == np.uint8 else np.rint(255 * planes).astype(np.uint8)
        large_PHW = self._enlarge(eight)
        if len(planes) == 1:
            large_PHW = from_image(to_image(large_PHW).convert("L"))
        return like(large_PHW if array.dtype == np.uint8 else unit_planes(large_PHW), array)

    def _enlarge(self, picture_PHW: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return a picture, uint8, with the planes of the network enlarged."""
        height, width = picture_PHW.shape[1:]
        if min(height, width) < WINDOW_PIX or height * width > MOST_AREA_PIX:
            raise DataError(
                f"a picture of {width} x {height} pixels cannot be enlarged: from {WINDOW_PIX} x "
                f"{WINDOW_PIX} pixels to {MOST_AREA_PIX >> 20} million in all"
            )
        mode = "RGB" if self.enlarger.planes == 3 else "L"
        large: NDArray[np.uint8] = self.enlarger(from_image(to_image(picture_PHW).convert(mode))[None])[0]
        return large


def _open(path: Path, tile_pix: int) -> Enlarger:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return open_enlarger(path, "upscaler", Options(device, tile_pix=tile_pix))


def upscale_pictures(pictures: Sequence[Path], out: Path, model: str, tile_pix: int) -> None:
    """Write enlarged pictures as PNG files into a folder; the command ``astro-dist flare upscale``.

    Raises
    ------
    ConfigError
        There is no such upscaler, or two pictures, or a file that is there, would have the same name.
    DataError
        A picture cannot be read or enlarged; those before it are written.
    """
    targets = [expand_home(out) / f"{path.stem}.png" for path in pictures]
    for place, target in enumerate(targets):
        if target in targets[:place] or target.exists():
            raise ConfigError(f"{target} would be written twice or is there already; name another --out")
    pin(count_cores())
    upscaler = SwinIR.from_pretrained(model, tile_pix)
    for path, target in zip(pictures, targets, strict=True):
        try:
            large = upscaler.enhance(read_image(path, str(path)))
        except DataError as error:
            text = str(error) if str(path) in str(error) else f"{path}: {error}"
            raise DataError(text) from None
        publish_bytes(target, png_bytes(large))
        print(f"{target}: {large.width} x {large.height}")
