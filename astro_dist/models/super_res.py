"""Images doubled by a network of super-resolution.

``SuperRes.from_pretrained(folder).enhance(image)`` gives the mean of samples of an image, and
``draw(tile, sample, origin)`` one sample of a tile of a map. A sample is a function of the seed, its number
and the position in the map: neighbouring tiles have the same noise where they overlap.

Shape letters: P planes, H W enlarged pixels, h w pixels of the input.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from astro_dist.engine.arrays import Image
from astro_dist.engine.errors import ConfigError, DataError
from astro_dist.engine.foreign import expand_home
from astro_dist.models.device import autocast, flushed_denormals
from astro_dist.models.noise_blocks import draw_noise
from astro_dist.models.super_files import SHIPPED, load_checked
from astro_dist.models.super_levels import Sampler, SamplerName, StartName
from astro_dist.models.super_net import SuperNet, enlarge_bicubic
from astro_dist.models.super_presets import BASE_REACH_PIX, SCALE
from astro_dist.pictures.decode import take_image
from astro_dist.pictures.images import like, to_planes, unit_planes

LEAST_PIX = 4
"""Shortest side of an image that is enlarged."""


@dataclass(frozen=True)
class SuperRes:
    """A network that is ready to enlarge images, and how samples are drawn from it.

    Attributes
    ----------
    network
        The network on ``device``, in evaluation mode.
    sampler
        Method, calls of the network per sample, and what a sample begins with.
    seed
        Seed of the noise.
    device, precision
        As `astro_dist.models.device` names them.
    """

    network: SuperNet
    sampler: Sampler = field(default_factory=Sampler)
    seed: int = 1
    device: str = "cpu"
    precision: str = "no"

    @classmethod
    def from_pretrained(cls, path: str | Path, **options: Any) -> Self:
        """Return the network of a folder, or of a run that trained one.

        Parameters
        ----------
        path
            Folder of a network or of a run, a file of weights of the public code of SR3, or a name of weights
            of the package: ``enhance`` for colour pictures, ``radio`` for maps.
        options
            Further attributes, such as ``seed``.

        Raises
        ------
        ConfigError
            There is no such network, or a part of it is missing or of another shape.
        """
        network = load_checked(_find_folder(str(path)), None, "superres")
        # No file means the CPU: the same bits wherever a tile is computed.
        device = str(options.get("device", "cpu"))
        return cls(network.to(device, memory_format=torch.channels_last), **options)  # type: ignore[call-overload]

    @property
    def scale(self) -> int:
        """Factor of the enlargement."""
        return SCALE

    @property
    def planes(self) -> int:
        """Planes of an image."""
        return int(self.network.config.planes)

    @property
    def half(self) -> str:
        """How its training pictures were made small."""
        return str(self.network.config.half)

    @property
    def calls(self) -> int:
        """Calls of the network per sample."""
        return self.sampler.calls

    @property
    def reach_pix(self) -> int | None:
        """Pixels of the input that one call sees round a pixel; None where it sees the whole tile."""
        reach: int | None = self.network.config.reach_pix
        return reach

    @property
    def halo_pix(self) -> int | None:
        """Pixels of the input that a sample depends on round a pixel; None for the whole tile.

        At most ``calls * reach_pix``: the bicubic enlargement is made once, not at every call.
        """
        if self.reach_pix is None:
            return None
        return self.calls * (self.reach_pix - BASE_REACH_PIX) + BASE_REACH_PIX

    def draw(self, tile_Phw: Image, sample: int = 0, origin: tuple[int, int] = (0, 0)) -> Image:
        """Return one sample of a tile, enlarged, float32.

        Parameters
        ----------
        tile_Phw
            Pictures from 0 to 1, maps in the stretch of the network.
        sample
            Number of the sample of the whole map.
        origin
            Row and column of the tile's first pixel in the map, in pixels of the input.

        Returns
        -------
        ndarray
            (P, H, W), not clipped. A border of the tile that is none of the map needs `halo_pix` more pixels.
        """
        planes, height, width = (len(tile_Phw), *(SCALE * side for side in tile_Phw.shape[1:]))
        padding = [(0, -side % self.network.unit_pix) for side in (height, width)]
        shape = (planes, *(side + more for side, (_, more) in zip((height, width), padding, strict=True)))
        corner = (SCALE * origin[0], SCALE * origin[1])

        def noise(call: int) -> Tensor:
            return torch.from_numpy(draw_noise(self.seed, sample, call, corner, shape))[None].to(self.device)

        picture = self.network.config.stretch is None
        small = torch.from_numpy(np.ascontiguousarray(tile_Phw, np.float32))[None].to(self.device)
        small = 2 * small - 1 if picture else small
        with torch.inference_mode(), flushed_denormals(), autocast(self.device, self.precision):
            base = functional.pad(enlarge_bicubic(small), (*padding[1], *padding[0]), mode="replicate")
            drawn = self.sampler.sample(self.network, base, noise)
        found = drawn[0, :, :height, :width].float()
        image: Image = (found / 2 + 0.5 if picture else found).cpu().numpy()
        return image

    def expect(self, tile_Phw: Image, sample: int = 0, origin: tuple[int, int] = (0, 0)) -> Image:
        """Return what the network expects of a sample from its noise alone, as `draw` does; one call.

        Noise without a trace of the image says nothing, so that this is the mean of all samples, as far as
        the network knows it: nearer to the truth than a mean of some, and without the detail of a sample.
        """
        return replace(self, sampler=Sampler(calls=1)).draw(tile_Phw, sample, origin)

    def enhance(
        self,
        image: Any,
        steps: int | None = None,
        samples: int = 1,
        seed: int | None = None,
        solver: SamplerName | None = None,
        start: StartName | None = None,
    ) -> NDArray[Any]:
        """Return the mean of samples of an image, twice as large, of the kind that is given.

        Parameters
        ----------
        image
            Array (h, w), (h, w, 3) or (P, h, w): uint8, uint16 from 0 to 65535, or float from 0 to 1 (for
            maps stretched brightness of any size). A Pillow image is converted as a file of its mode is, and
            gives an array; a grey one stands for equal planes where the network has 3.
        steps, seed, solver, start
            In the place of those of the sampler.
        samples
            How many samples the mean is of; 1 is one sample.

        Raises
        ------
        ConfigError
            There are no such steps, samples, solver or start.
        DataError
            The image has other planes than the network, is too small, or is an array of another kind.
        """
        was = self.sampler
        sampler = Sampler(
            was.method if solver is None else solver,
            was.calls if steps is None else steps,
            was.start if start is None else start,
        )
        _check_options(sampler, samples)
        own = replace(self, sampler=sampler, seed=self.seed if seed is None else seed)
        array = self._take(image)
        image_Phw = self._to_planes_of_network(array)
        total = np.zeros((len(image_Phw), *(SCALE * side for side in image_Phw.shape[1:])))
        for sample in range(samples):
            total += own.draw(image_Phw, sample)
        mean = total / samples
        return like(np.clip(mean, 0, 1) if self._bounded else mean, array)

    @property
    def _bounded(self) -> bool:
        """Whether images are from 0 to 1, as pictures are and maps are not."""
        return self.network.config.stretch is None

    def _take(self, image: Any) -> NDArray[Any]:
        # Only images of Pillow's have a word as mode; a tensor has a method.
        if not isinstance(getattr(image, "mode", None), str):
            return np.asarray(image)
        taken = take_image(image)
        return np.asarray(taken.convert("RGB") if self.planes == 3 else taken)

    def _to_planes_of_network(self, array: NDArray[Any]) -> Image:
        planes = to_planes(array, self._bounded)
        if len(planes) != self.planes or min(planes.shape[1:]) < LEAST_PIX:
            raise DataError(
                f"an image of shape {array.shape} cannot be enlarged by a network of {self.planes} planes: "
                f"give {self.planes} planes of at least {LEAST_PIX} x {LEAST_PIX} pixels"
            )
        return unit_planes(planes)


def _check_options(sampler: Sampler, samples: int) -> None:
    for name, number in (("samples", samples), ("steps", sampler.calls)):
        if not isinstance(number, int | np.integer) or number < 1:
            raise ConfigError(f"{name} is {number!r}; give a whole number from 1")
    for name, word, known in (
        ("solver", sampler.method, get_args(SamplerName)),
        ("start", sampler.start, get_args(StartName)),
    ):
        if word not in known:
            raise ConfigError(f"{name} is {word!r}; give one of {', '.join(known)}")


def _find_folder(path: str) -> Path:
    shipped, folder = SHIPPED / path / "superres", expand_home(path)
    # A slash always means a folder of the user, as in `start_from`.
    places = (*([] if "/" in path else [shipped]), folder / "models" / "superres")
    return next((place for place in places if place.is_dir()), folder)
