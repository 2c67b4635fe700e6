"""Objects found and painted over: `Cleaner`, for the stage `cleaning`, a chain, and pictures of a user.

Shape letters: P planes, H W pixels.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from astro_dist.engine.errors import ConfigError, DataError
from astro_dist.enhance.cleaner_stage import RECIPE
from astro_dist.enhance.cleaning_config import CleaningConfig
from astro_dist.enhance.opencv import inpaint, require_opencv
from astro_dist.enhance.templates import find_objects
from astro_dist.models.cleaner import CleanerUNet, load_cleaner
from astro_dist.models.device import flushed_denormals
from astro_dist.models.foreign import CONFIG, check_finite, check_part, read_settings
from astro_dist.pictures.decode import take_image
from astro_dist.pictures.images import from_image, like, to_image, to_planes, unit_planes
from astro_dist.train.start import find_start

MOST_AREA_PIX = 1 << 24
"""Most pixels of a picture that is cleaned in one piece."""
MOST_CHANNELS, MOST_BLOCKS = 2048, 64
Mask = NDArray[np.bool_]


class Cleaner:
    """What finds objects and paints over them; a link of the chain of `enhance`.

    Parameters
    ----------
    config
        Settings of cleaning.
    network
        The network, for the method ``network``.
    device
        Where it computes.

    Attributes
    ----------
    scale, planes_in, planes_out, calls
        As a link states them: sides and planes stay; one call.
    reach_pix
        None: inpainting continues the picture across holes of any size, so that no distance bounds it.
    """

    scale, calls, reach_pix = 1, 1, None

    def __init__(
        self, config: CleaningConfig, network: CleanerUNet | None = None, device: str = "cpu"
    ) -> None:
        require_opencv()
        if config.method == "network" and network is None:
            raise ConfigError("cleaning.method network needs a network; give the folder of one")
        self.config, self.device = config, device
        self.network: Any = network.to(device).eval() if network is not None else None
        self.planes_in = self.planes_out = 3 if network is None else int(network.config.planes)

    @classmethod
    def from_pretrained(cls, path: str | Path = "enhance", device: str | None = None) -> Self:
        """Return a cleaner with the network of a path.

        Parameters
        ----------
        path
            Folder of a published network or of a run that trained one, or ``enhance`` for the weights of the
            package.
        device
            As torch names it; by default a GPU where there is one.

        Raises
        ------
        ConfigError
            There is no such network, or a part of it is missing or of another shape, or OpenCV is missing.
        """
        network = read_cleaner(find_start(RECIPE, str(path)))
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        return cls(CleaningConfig(method="network"), network, device)

    def enhance(self, image: Any) -> Any:
        """Return a picture without objects, of the kind that is given.

        Parameters
        ----------
        image
            A Pillow image, which is converted as a file of its mode is; or an array (H, W), (H, W, 3) or
            (P, H, W): uint8, uint16 from 0 to 65535, or float from 0 to 1.

        Raises
        ------
        DataError
            The picture is too large, too small for the templates, of other planes than the network's, or an
            array of another kind.
        """
        if isinstance(image, Image.Image):
            taken = take_image(image)
            colours = self.network is not None and self.planes_in == 3
            cleaned = to_image(self.clean(from_image(taken.convert("RGB") if colours else taken))[0])
            # What is grey stays grey.
            return cleaned.convert(taken.mode)
        array = np.asarray(image)
        return like(self.clean(to_planes(array))[0], array)

    def apply(self, image_PHW: NDArray[Any], key: Any = None, origin_yx: Any = (0, 0)) -> NDArray[Any]:
        """Return a picture, float32 from 0 to 1, without objects."""
        return self.clean(image_PHW)[0]

    def clean(self, picture_PHW: NDArray[Any], label: str | None = None) -> tuple[NDArray[Any], Mask]:
        """Return a picture without objects, and the mask (H, W) outside of which every bit is the old one.

        Parameters
        ----------
        picture_PHW
            uint8, or float32 from 0 to 1.
        label
            Class of the picture, for settings of its own.
        """
        mask = self.find(picture_PHW, label)
        if self.config.grow_pix:
            mask = np.asarray(ndimage.binary_dilation(mask, iterations=self.config.grow_pix))
        if mask.all():
            # Nothing is left to paint with.
            mask = np.zeros_like(mask)
        return inpaint(picture_PHW, mask, self.config.radius_pix, self.config.inpaint), mask

    def find(self, picture_PHW: NDArray[Any], label: str | None = None) -> Mask:
        """Return the mask (H, W) of the objects, before it is grown."""
        if not 1 <= picture_PHW[0].size <= MOST_AREA_PIX:
            raise DataError(
                f"a picture of {picture_PHW.shape[-1]} x {picture_PHW.shape[-2]} pixels cannot be cleaned: "
                f"from one pixel to {MOST_AREA_PIX >> 20} million"
            )
        unit = unit_planes(picture_PHW)
        if self.network is None:
            classes: Mapping[str, Any] = self.config.per_class
            return find_objects(unit, classes.get(label or "", self.config.templates))
        if len(unit) != self.planes_in:
            raise DataError(f"the network is for {self.planes_in} planes, the picture has {len(unit)}")
        with torch.inference_mode(), flushed_denormals():
            chance = self.network(torch.from_numpy(unit)[None].to(self.device))[0, 0].sigmoid()
        return np.asarray(chance.cpu().numpy() > self.config.threshold)


def read_cleaner(folder: Path) -> CleanerUNet:
    """Return the network of a published folder of any size; `ConfigError` names what is wrong with it."""
    theirs: dict[str, Any] = read_settings(folder / CONFIG, "cleaner")
    planes, channels, blocks = (theirs.get(name) for name in ("planes", "channels", "blocks"))
    fine = (
        theirs.get("_class_name") == "CleanerUNet"
        and planes in (1, 3)
        and all(
            isinstance(many, list)
            and len(many) == 4
            and all(type(one) is int and 1 <= one <= most for one in many)
            for many, most in ((channels, MOST_CHANNELS), (blocks, MOST_BLOCKS))
        )
    )
    if not fine:
        raise ConfigError(f"{folder / CONFIG} describes no network that finds objects; name one that does")
    with torch.device("meta"):
        outline = CleanerUNet(int(planes or 3), tuple(channels or ()), tuple(blocks or ()))
    check_part(folder, outline, "cleaner")
    network = load_cleaner(folder)
    check_finite(folder, network.state_dict().items(), "cleaner")
    return network
