"""Colour for pictures of a user: ``Colouriser.from_pretrained(path).enhance(picture)``; a link of a chain."""

from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from astro_dist.engine.errors import ConfigError, DataError
from astro_dist.enhance.colourise_stage import RECIPE
from astro_dist.models.colouriser import ColourUNet, load_colouriser
from astro_dist.models.device import flushed_denormals
from astro_dist.models.foreign import CONFIG, check_finite, check_part, read_settings
from astro_dist.pictures.decode import take_image
from astro_dist.pictures.images import from_image, like, to_image, to_planes, unit_planes
from astro_dist.train.start import find_start

MOST_AREA_PIX = 1 << 24
"""Most pixels of a picture that is coloured in one piece."""
MOST_WIDTH, MOST_DEPTH = 512, 6


class Colouriser:
    """A network that is ready to colour grey pictures of any sides; a link of the chain of `enhance`.

    Parameters
    ----------
    network
        The network, in evaluation mode.
    device
        Where it computes.

    Attributes
    ----------
    scale, planes_in, planes_out, calls
        As a link states them: sides stay, one plane becomes three, the network is called once.
    reach_pix
        Pixels from which an output pixel follows, to each side.
    """

    scale, planes_in, planes_out, calls = 1, 1, 3, 1

    def __init__(self, network: ColourUNet, device: str = "cpu") -> None:
        self.network: Any = network.to(device).eval()
        self.device, self.reach_pix = device, network.reach_pix

    @classmethod
    def from_pretrained(cls, path: str | Path, device: str | None = None) -> Self:
        """Return the network of a path.

        Parameters
        ----------
        path
            Folder of a published network or of a run that trained one.
        device
            As torch names it; by default a GPU where there is one.

        Raises
        ------
        ConfigError
            There is no such network, or a part of it is missing or of another shape.
        """
        folder = find_start(RECIPE, str(path))
        network = read_colouriser(folder)
        return cls(network, device or ("cuda" if torch.cuda.is_available() else "cpu"))

    def enhance(self, image: Any) -> Any:
        """Return a grey picture in colour, of the kind that is given.

        Parameters
        ----------
        image
            A Pillow image, which is converted as a file of its mode is; or an array (H, W), (H, W, 3) or
            (P, H, W): uint8, uint16 from 0 to 65535, or float from 0 to 1. Three planes must be equal.

        Returns
        -------
        Image or ndarray
            In mode RGB; of the type of the array, (3, H, W) where its planes came first and else (H, W, 3).

        Raises
        ------
        DataError
            The picture has colours, or no pixels, or too many, or is an array of another kind.
        """
        if isinstance(image, Image.Image):
            return to_image(self.enhance(from_image(take_image(image))))
        array = np.asarray(image)
        grey_PHW = to_planes(array)
        if (grey_PHW != grey_PHW[:1]).any():
            raise DataError("the picture has colours already; give a grey one, (H, W) or of mode L")
        if grey_PHW[0].size > MOST_AREA_PIX:
            raise DataError(
                f"a picture of shape {array.shape} cannot be coloured: at most {MOST_AREA_PIX >> 20} million "
                "pixels"
            )
        return like(self.apply(unit_planes(grey_PHW[:1])), array)

    def apply(self, image_PHW: NDArray[Any], key: Any = None, origin_yx: Any = (0, 0)) -> NDArray[Any]:
        """Return a grey tile (1, H, W), float32 from 0 to 1, in colour (3, H, W).

        ``origin_yx`` is the tile's place in the whole picture: poolings fall on the cells of the whole, so
        that tiles agree where `reach_pix` of halo is round them. No random numbers are drawn, whatever the
        ``key`` is.
        """
        if image_PHW.shape[0] != 1:
            raise DataError(f"{image_PHW.shape[0]} planes are coloured already; give one grey plane")
        step = self.network.step_pix
        above, left = (int(place) % step for place in origin_yx)
        wide = np.pad(image_PHW.astype(np.float32), ((0, 0), (above, 0), (left, 0)), mode="edge")
        with torch.inference_mode(), flushed_denormals():
            made = self.network(torch.from_numpy(wide)[None].to(self.device))[0]
        rgb: NDArray[Any] = made[:, above:, left:].cpu().numpy()
        return np.ascontiguousarray(rgb)


def read_colouriser(folder: Path) -> ColourUNet:
    """Return the network of a published folder of any size; `ConfigError` names what is wrong with it."""
    theirs: dict[str, Any] = read_settings(folder / CONFIG, "colourise")
    width: Any = theirs.get("width")
    depth: Any = theirs.get("depth")
    fine = type(width) is int and 1 <= width <= MOST_WIDTH and type(depth) is int and 1 <= depth <= MOST_DEPTH
    if theirs.get("_class_name") != "ColourUNet" or not fine:
        raise ConfigError(f"{folder / CONFIG} describes no network that colours; name the folder of one")
    with torch.device("meta"):
        outline = ColourUNet(width, depth)
    check_part(folder, outline, "colourise")
    network = load_colouriser(folder)
    check_finite(folder, network.state_dict().items(), "colourise")
    return network
