"""Stamps drawn for masks of one's own, with any published model and without a run."""

# Annotations stay text: those of arrays are ten lines long where `help` shows them.
from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from astro_dist.engine.config import validate
from astro_dist.engine.errors import ConfigError
from astro_dist.engine.hints import nearest
from astro_dist.engine.origins import Origin, merge, read_origins
from astro_dist.engine.seeds import stream
from astro_dist.generate.config import GenerateConfig
from astro_dist.generate.sampler import Sampler
from astro_dist.generate.sources import Conditions
from astro_dist.models.device import flushed_denormals
from astro_dist.models.planes import background_planes, paint_peaks
from astro_dist.sky.classes import SourceClass
from astro_dist.sky.stretch import stretch, unstretch
from astro_dist.store.facts import describe_cutouts
from astro_dist.train.start import SHIPPED

STRIDE_PIX = 16
"""Sides of a mask are multiples of this, by which the networks reduce an image."""


class Stamps:
    """A model that draws stamps for masks.

    Parameters
    ----------
    folder
        A run directory, a folder with the models ``autoencoder`` and ``diffusion`` in it, or the name of
        weights of the package: ``small``, or ``told``, which regards beam and noise most.
    beam_arcsec, pixel_arcsec, rms_jy_beam, frequency_hz
        The instrument whose sky is drawn: full width of its round beam, side of its pixels, its noise, its
        frequency; by default those of FIRST.
    steps
        Steps of the sampler.
    device
        ``cpu`` or ``cuda``.

    Attributes
    ----------
    terms
        Terms of use of the weights, by the name of the data they learnt from.
    rms_jy_beam
        The noise of the instrument, Jy/beam, in which ``snr`` is counted.

    Raises
    ------
    ConfigError
        There are no models in the folder, the instrument is none, or there is no such device.

    Examples
    --------
    >>> import astro_dist, numpy as np
    >>> stamps = astro_dist.Stamps("small", steps=4)
    >>> mask = np.zeros((64, 64), np.uint8)
    >>> mask[30:36, 20:44] = astro_dist.SourceClass.EXTENDED
    >>> image = stamps.draw(mask, snr=40, seed=1)
    >>> image.shape, image.dtype
    ((64, 64), dtype('float32'))
    >>> bool(image[mask > 0].mean() > 20 * abs(image[mask == 0].mean()))
    True
    """

    def __init__(
        self,
        folder: str | Path = "small",
        *,
        beam_arcsec: float = 5.4,
        pixel_arcsec: float = 1.8,
        rms_jy_beam: float = 1.5e-4,
        frequency_hz: float = 1.4e9,
        steps: int = 10,
        device: str = "cpu",
    ) -> None:
        models = find_models(folder)
        if device.startswith("cuda") and not torch.cuda.is_available():
            raise ConfigError(f"device {device}: there is no GPU that this torch can use; leave it out")
        settings = validate(GenerateConfig, {"steps": steps})
        self._sampler = Sampler(models / "autoencoder", models / "diffusion", settings, device, "no")
        self.terms = {origin.name: origin.terms for origin in origins_of(models)}
        self._point_at(beam_arcsec, pixel_arcsec, rms_jy_beam, frequency_hz)

    def __repr__(self) -> str:
        return f"Stamps({', '.join(self.terms) or 'no data named'}; rms {self.rms_jy_beam:g} Jy/beam)"

    @classmethod
    def of(cls, sampler: Sampler, terms: Mapping[str, str], **instrument: float) -> Stamps:
        """Return the stamps of networks that are loaded already; ``instrument`` as of the class."""
        stamps = cls.__new__(cls)
        stamps._sampler, stamps.terms = sampler, dict(terms)
        stamps._point_at(**instrument)
        return stamps

    def _point_at(
        self, beam_arcsec: float, pixel_arcsec: float, rms_jy_beam: float, frequency_hz: float
    ) -> None:
        for name, value in (
            *(("beam_arcsec", beam_arcsec), ("pixel_arcsec", pixel_arcsec)),
            *(("rms_jy_beam", rms_jy_beam), ("frequency_hz", frequency_hz)),
        ):
            if not (math.isfinite(value) and value > 0):
                raise ConfigError(f"{name} is {value:g}; give a finite number above 0")
        self.rms_jy_beam = rms_jy_beam
        beam = {f"beam_{axis}_arcsec": np.array([beam_arcsec]) for axis in ("major", "minor")}
        self._facts = describe_cutouts(
            {"maps": [{"pixel_arcsec": [pixel_arcsec, pixel_arcsec], "frequency_hz": frequency_hz}]},
            {
                **beam,
                **{"beam_pa_deg": np.zeros(1), "source_map": np.zeros(1, np.int64)},
                "rms_jy_beam": np.array([rms_jy_beam]),
            },
        )

    def draw(
        self,
        mask: ArrayLike,
        snr: float | Mapping[int, float] = 20.0,
        background: ArrayLike | None = None,
        seed: int = 0,
        instances: ArrayLike | None = None,
    ) -> NDArray[np.float32]:
        """Draw one stamp; the same arguments give the same bits on the same kind of machine.

        Parameters
        ----------
        mask
            Class of every pixel (`SourceClass`), shape (h, w), sides that are multiples of 16; the networks
            of the package learnt on crops of 64 and masks of 128 pixels.
        snr
            Peak of each object over the noise: one number, or one for each number in ``instances``. A network
            follows it roughly, within a factor of about 1.5 for the weights of the package; where fluxes must
            be exact scale what is drawn, as `assemble` does.
        background
            A piece of sky in Jy/beam, shape (h, w), NaN where there is none; by default an empty sky. A model
            of whole stamps continues it, a model of sources on an empty sky takes only its kind from it.
        seed
            Chooses the noise that the drawing starts from.
        instances
            Number of the object of each pixel, 0 for none; by default connected pixels are an object, counted
            from 1 in the order of rows.

        Returns
        -------
        ndarray
            Shape (h, w), float32, Jy/beam above a background of zero.

        Raises
        ------
        ConfigError
            Mask, instances and background do not fit each other or the networks, or an object has no
            brightness.
        """
        classes, numbers = _check_masks(mask, instances)
        peaks_u = self._peaks(numbers, snr)
        kind = self._sampler.stretch
        sky = (
            np.zeros(classes.shape, np.float32) if background is None else np.asarray(background, np.float32)
        )
        if sky.shape != classes.shape:
            raise ConfigError(f"the background has the shape {sky.shape} and the mask {classes.shape}")
        if np.isinf(sky).any():
            raise ConfigError("the background is infinite somewhere; give NaN where there is no sky")
        u = np.nan_to_num(stretch(sky, 0.0, self.rms_jy_beam, kind))
        conditions = Conditions(
            mask_BSS=classes[None],
            instances_BSS=numbers[None],
            peak_BSS=peaks_u[None],
            background_B2SS=background_planes(u, classes, np.isfinite(sky))[None],
            rms_jy_beam_B=np.array([self.rms_jy_beam], np.float32),
            facts_BF=self._facts,
        )
        channels, *_ = self._sampler.noise_shape(classes.shape[0])
        rng = stream(seed, "draw")
        noise = rng.standard_normal((1, channels, *(side // 4 for side in classes.shape)), np.float32)
        with flushed_denormals():
            drawn = self._sampler.draw(conditions, noise, [int(rng.integers(2**63))])
        return unstretch(drawn[0], 0.0, self.rms_jy_beam, kind)

    def _peaks(self, numbers: NDArray[np.uint16], snr: float | Mapping[int, float]) -> NDArray[np.float32]:
        """Return the plane of the objects' peaks in network range."""
        found = [int(number) for number in np.unique(numbers) if number]
        given = {number: snr[number] for number in found if number in snr} if isinstance(snr, Mapping) else {}
        given = given if isinstance(snr, Mapping) else dict.fromkeys(found, snr)
        if without := sorted(set(found) - given.keys()):
            raise ConfigError(f"snr: object {without[0]} has none; give one for each of {found}")
        for number, value in given.items():
            if not (isinstance(value, int | float | np.number) and math.isfinite(value) and value > 0):
                raise ConfigError(f"snr: object {number} has {value!r}; give a finite number above 0")
        values = np.zeros(max(found, default=0) + 1, np.float32)
        for number, value in given.items():
            values[number] = stretch(np.float32(value), 0.0, 1.0, self._sampler.stretch)
        return paint_peaks(values[numbers], numbers)


def origins_of(models: Path) -> tuple[Origin, ...]:
    """Return what the two models learnt from."""
    return merge(*(read_origins(models / name) for name in ("autoencoder", "diffusion")))


def find_models(folder: str | Path) -> Path:
    """Return the folder that holds the two models; raise `ConfigError` where there is none."""
    path = Path(folder)
    # A name without a slash is that of weights of the package, if there are any of this name.
    shipped = [SHIPPED / str(folder)] if "/" not in str(folder) else []
    for place in (*shipped, path / "models", path):
        if all((place / name).is_dir() for name in ("autoencoder", "diffusion")):
            return place
    names = sorted(place.name for place in SHIPPED.iterdir() if (place / "autoencoder").is_dir())
    raise ConfigError(
        f"{folder}: no folder with the models autoencoder and diffusion; give a run directory, or a name of "
        f"weights of the package: {nearest(str(folder), names)}"
    )


def _check_masks(
    mask: ArrayLike, instances: ArrayLike | None
) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    classes = np.asarray(mask)
    if classes.ndim != 2 or any(side % STRIDE_PIX or not side for side in classes.shape):
        raise ConfigError(f"the mask has the shape {classes.shape}; give two sides that are multiples of 16")
    if unknown := sorted(set(np.unique(classes).tolist()) - {int(c) for c in SourceClass}):
        raise ConfigError(
            f"the mask holds {unknown[0]}; classes are 0 background, 1 spurious, 2 compact, 3 extended"
        )
    if not classes.any():
        raise ConfigError("the mask holds no object; give one or more pixels of a class from 1 to 3")
    classes = classes.astype(np.uint8)
    if instances is None:
        return classes, _number_objects(classes)
    numbers = np.asarray(instances)
    if numbers.shape != classes.shape or (numbers[classes > 0] < 1).any():
        raise ConfigError(
            "instances must have the shape of the mask, and a number from 1 wherever it has a class"
        )
    return classes, np.where(classes > 0, numbers, 0).astype(np.uint16)


def _number_objects(classes: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Return the number of the object of each pixel: connected pixels of a class, corners included."""
    numbers = np.zeros(classes.shape, np.uint16)
    for source_class in range(1, len(SourceClass)):
        pieces, _ = ndimage.label(classes == source_class, np.ones((3, 3)))
        numbers[pieces > 0] = pieces[pieces > 0] + numbers.max()
    # By their first pixel, whatever their class.
    order = np.unique(numbers[numbers > 0], return_index=True)
    rank = np.zeros(int(numbers.max()) + 1, np.uint16)
    rank[order[0][np.argsort(order[1])]] = np.arange(1, len(order[0]) + 1)
    return rank[numbers]
