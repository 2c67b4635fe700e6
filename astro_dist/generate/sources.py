"""The sources of masks and backgrounds: cutouts of the store, a label image, a map, and the mask model.

A stamp has the beam, the noise and the turn of its donor, whatever the source of its mask. The brightness of
a labelled object is that of a donors' object of the same class and about the same size, because the sky shows
neither faint peaks in large masks nor bright peaks in small ones.

Shape letters: B batch, S side of a stamp in pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.arrays import Image
from astro_dist.engine.errors import ConfigError
from astro_dist.field.objects import reach_pix
from astro_dist.generate.conditions import HIGHEST_FIRST, Choice, Donors, Stream, deal, sky_of
from astro_dist.generate.config import GenerateConfig, source_files
from astro_dist.models.planes import background_planes, paint_peaks
from astro_dist.sky.class_words import ClassWords
from astro_dist.sky.classes import SourceClass
from astro_dist.sky.label_files import read_labels
from astro_dist.sky.labels import Labels, Plane
from astro_dist.sky.stretch import stretch
from astro_dist.sky.symmetries import apply_symmetry
from astro_dist.sky.windows import Window
from astro_dist.store.facts import describe_cutouts
from astro_dist.store.reader import StoreReader

TRIES = 100
"""Random windows of a map that are tried before the map is refused."""
SOURCE_SNR = 3.0
"""Pixels of a map that are brighter count as sources and are taken out of the background."""
MaskStacks = tuple[NDArray[np.uint8], NDArray[np.uint16], Image]
"""Classes, instances and peaks (B, S, S); a peak is an object's brightest pixel in network range."""


@dataclass(frozen=True, eq=False)
class Conditions:
    """The conditions of a micro-batch of stamps, as the sampler takes them.

    Attributes
    ----------
    mask_BSS, instances_BSS
        uint8 class per pixel and uint16 object per pixel, turned.
    peak_BSS
        float32, brightest pixel of the object at each pixel, in network range.
    background_B2SS
        float32, see `astro_dist.models.planes.background_planes`.
    rms_jy_beam_B
        float32, noise of the mask's donor.
    facts_BF
        float32, beam, noise and survey of the mask's donor, see `astro_dist.store.facts`.
    """

    mask_BSS: NDArray[np.uint8]
    instances_BSS: NDArray[np.uint16]
    peak_BSS: Image
    background_B2SS: Image
    rms_jy_beam_B: Image
    facts_BF: Image


class MaskSource(Protocol):
    """A source of masks, which are not turned yet."""

    def read(self, stamps: Sequence[int], choices: Sequence[Choice]) -> MaskStacks:
        """Return classes, instances and peaks (B, S, S) of some stamps."""
        ...


@dataclass(frozen=True, eq=False)
class StoreMasks:
    """The masks of the donors, read from the store of cutouts."""

    reader: StoreReader

    def read(self, stamps: Sequence[int], choices: Sequence[Choice]) -> MaskStacks:
        """Return classes, instances and peaks of some stamps, see `MaskSource`."""
        donors = [choice.donor for choice in choices]
        mask, instances = (self.reader.read(name, donors) for name in ("mask", "instances"))
        # A NaN would become the maximum of its whole object.
        u = np.nan_to_num(_network_range(self.reader, donors))
        return mask, instances, np.stack([paint_peaks(*pair) for pair in zip(u, instances, strict=True)])


@dataclass(frozen=True, eq=False)
class LabelMasks:
    """Windows of a label image, each around one of its objects.

    Attributes
    ----------
    labels
        The label image.
    pools
        Numbers of the usable objects, by class.
    donors
        The donors from whose objects brightness is drawn.
    weights
        Share of each class among the stamps.
    stream
        Function that returns the random generator of a key.
    size_pix, stretch
        Side of a cutout and stretch, of the store of cutouts.
    """

    labels: Labels
    pools: dict[str, NDArray[np.int64]]
    donors: Donors
    weights: dict[str, float]
    stream: Stream
    size_pix: int
    stretch: str

    def read(self, stamps: Sequence[int], choices: Sequence[Choice]) -> MaskStacks:
        """Return classes, instances and peaks of some stamps, see `MaskSource`."""
        mask, instances, peak = zip(*(self._read_one(stamp) for stamp in stamps), strict=True)
        return np.stack(mask), np.stack(instances), np.stack(peak)

    @cached_property
    def corners(self) -> NDArray[np.int64]:
        """First row and column (n, 2) of the window of each object."""
        return self.labels.corners(self.size_pix)

    def _read_one(self, stamp: int) -> tuple[NDArray[Any], ...]:
        item = deal(self.pools, self.weights, partial(self.stream, "labels"), stamp)
        y0, x0 = (int(start) for start in self.corners[item])
        mask, instances, items = self.labels.paint(Window(y0, y0 + self.size_pix, x0, x0 + self.size_pix))
        # A stream apart from the noise of the stamp, whose draws stay the same for any number of objects.
        rng = self.stream("brightness", stamp)
        snr = [
            self.donors.draw_snr(int(self.labels.classes[i]), int(self.labels.sizes[i]), rng) for i in items
        ]
        # The brightness is in units of the noise already, hence a background of 0 and an rms of 1.
        # Instance 0 is the sky.
        return mask, instances, stretch(np.array([0.0, *snr]), 0.0, 1.0, self.stretch)[instances]


class SkySource(Protocol):
    """A source of backgrounds."""

    def read(self, stamps: Sequence[int], choices: Sequence[Choice]) -> Image:
        """Return the planes (B, 2, S, S) of some stamps, see `astro_dist.models.planes.background_planes`."""
        ...


@dataclass(frozen=True, eq=False)
class StoreSky:
    """The background donors without their objects, read from the store of cutouts."""

    reader: StoreReader

    def read(self, stamps: Sequence[int], choices: Sequence[Choice]) -> Image:
        """Return the background planes of some stamps, see `SkySource`."""
        skies = [choice.background_donor for choice in choices]
        planes = zip(_network_range(self.reader, skies), self.reader.read("mask", skies), strict=True)
        return np.stack([background_planes(u, mask, np.isfinite(u)) for u, mask in planes])


@dataclass(frozen=True, eq=False)
class MapSky:
    """Random windows of a map, each in units of its own noise and without pixels above 3 sigma."""

    plane: Plane
    stream: Stream
    size_pix: int
    stretch: str

    def read(self, stamps: Sequence[int], choices: Sequence[Choice]) -> Image:
        """Return the background planes of some stamps, see `SkySource`."""
        return np.stack([self._read_one(stamp) for stamp in stamps])

    def _read_one(self, stamp: int) -> Image:
        # Imported here, because its libraries are slow to import and only this source needs it.
        from astro_dist.sky.background import measure_cells

        # A window without data is drawn again from the stamp's own stream, so that stamps stay independent.
        rng = self.stream("sky", stamp)
        for _ in range(TRIES):
            # `integers` excludes its end: the last window ends where the map ends.
            y0, x0 = (int(rng.integers(length - self.size_pix + 1)) for length in self.plane.shape)
            image = self.plane.read_sky(Window(y0, y0 + self.size_pix, x0, x0 + self.size_pix))
            # The whole window is one cell, so there is one value of each.
            background, rms = measure_cells(image, self.size_pix)
            if np.isfinite(rms[0]):
                bright = (image - background[0]) / rms[0] > SOURCE_SNR
                u = stretch(image, background[0], rms[0], self.stretch)
                return background_planes(u, bright.astype(np.uint8), np.isfinite(u))
        raise ConfigError(
            f"{self.plane.path}: {TRIES} random windows of {self.size_pix} x {self.size_pix} pixels are "
            "blank or constant; give generate.background a map with more data"
        )


@dataclass(frozen=True, eq=False)
class Source:
    """The conditions of any stamp of a run: donors, source of masks and source of backgrounds.

    Attributes
    ----------
    reader, donors
        The store of cutouts, and the donors among them.
    weights
        Share of each class among the stamps.
    stream
        Function that returns the random generator of a key.
    masks, sky
        The sources of masks and of backgrounds.
    """

    reader: StoreReader
    donors: Donors
    weights: dict[str, float]
    stream: Stream
    masks: MaskSource
    sky: SkySource

    @cached_property
    def facts(self) -> Image:
        """Beam, noise and survey of every cutout (n, F) float32."""
        return describe_cutouts(self.reader.attrs, self.reader.columns)

    def choose(self, stamp: int) -> Choice:
        """Return the donors and the turn of a stamp."""
        return self.donors.choose(self.reader, self.weights, self.stream, stamp)

    def read(self, stamps: Sequence[int], choices: Sequence[Choice]) -> Conditions:
        """Return the conditions of some stamps; masks are turned, backgrounds are not."""
        turns = [choice.symmetry for choice in choices]
        mask, instances, peak = (_turned(stack, turns) for stack in self.masks.read(stamps, choices))
        donors = [choice.donor for choice in choices]
        return Conditions(
            mask_BSS=mask,
            instances_BSS=instances,
            peak_BSS=peak,
            background_B2SS=self.sky.read(stamps, choices),
            rms_jy_beam_B=self.reader.columns["rms_jy_beam"][donors].astype(np.float32),
            facts_BF=self.facts[donors],
        )


def open_source(reader: StoreReader, donors: Donors, settings: GenerateConfig, stream: Stream) -> Source:
    """Open the sources of masks and backgrounds that the settings name.

    A source of the mask model takes the place of ``masks`` later, see `astro_dist.generate.masks.open_masks`.

    Raises
    ------
    ConfigError
        A file cannot be used (see `Plane.open` and `read_labels`) or has no usable object.
    """
    size_pix, kind = int(reader.attrs["size_pix"]), str(reader.attrs["stretch"])
    weights = settings.masks.weights
    plane, labels = open_background(settings, size_pix), open_labels(settings, size_pix)
    masks: MaskSource = StoreMasks(reader)
    if labels is not None:
        pools = _find_items(labels, reader, donors, settings)
        masks = LabelMasks(labels, pools, donors, weights, stream, size_pix, kind)
    sky = MapSky(plane, stream, size_pix, kind) if plane is not None else StoreSky(reader)
    return Source(reader, donors, weights, stream, masks, sky)


def open_background(settings: GenerateConfig, size_pix: int) -> Plane | None:
    """Open the user's background, where there is one; raises `ConfigError` as `Plane.open_sky` does."""
    path = source_files(settings).get("background")
    return None if path is None else Plane.open_sky(path, size_pix, **dict(settings.read))


def open_labels(settings: GenerateConfig, size_pix: int) -> Labels | None:
    """Read the user's masks, where there are any; raises `ConfigError` as `read_labels` does."""
    files = source_files(settings)
    if "labels" not in files:
        return None
    words = ClassWords({str(label): name for label, name in settings.masks.classes.items()})
    return read_labels(
        files["labels"], size_pix, words, files.get("instances"), files.get("map"), settings.read.hdu
    )


def check_files(settings: GenerateConfig, size_pix: int) -> None:
    """Read the labels and open the background of the user, and raise the errors of a run."""
    background = open_background(settings, size_pix)
    labels = open_labels(settings, size_pix)
    if labels is not None:
        wanted = [name for name, share in settings.masks.weights.items() if share > 0]
        named = np.isin(labels.classes, [SourceClass[name.upper()] for name in wanted])
        # The least rim; the beams of the donors, which set the rim, may not be cut out yet.
        if not (named & _fit(labels, size_pix, 1)).any():
            raise _none_usable(labels, wanted, settings, size_pix)
    if background is not None and not background.has_data():
        raise ConfigError(
            f"{background.path}: its pixels are blank or constant; give generate.background a map with data"
        )


def _remedy(labels: Labels, settings: GenerateConfig) -> str:
    remedy = "give other labels or change the shares in generate.masks"
    if len(labels.classes) and (labels.classes == SourceClass.SPURIOUS).all() and not settings.masks.classes:
        remedy += ", or say what they are: generate.masks.classes: {1: compact} for a mask of 0 and 1"
    return remedy


def _none_usable(
    labels: Labels, names: Sequence[str], settings: GenerateConfig, size_pix: int
) -> ConfigError:
    return ConfigError(
        f"{settings.masks.labels}: none of its {len(labels.boxes)} objects is {' or '.join(names)} and "
        f"fits with its rim into a stamp of {size_pix} x {size_pix} pixels; {_remedy(labels, settings)}"
    )


def _fit(labels: Labels, size_pix: int, margins: int | NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return whether each object and a rim of ``margins`` pixels along y and x lie in its window."""
    starts, ends = (labels.boxes[:, edge] - labels.corners(size_pix) for edge in ([0, 2], [1, 3]))
    return np.asarray(((starts > margins) & (ends + margins < size_pix)).all(axis=1))


def _find_items(
    labels: Labels, reader: StoreReader, donors: Donors, settings: GenerateConfig
) -> dict[str, NDArray[np.int64]]:
    """Return, by class, the objects of a label image whose footprint fits into a stamp."""
    size_pix, accept = int(reader.attrs["size_pix"]), settings.accept.with_spurious()
    # A set, because a survey has few beams however many donors it has.
    skies = {sky_of(reader, int(i)) for pool in donors.pools.values() for i in pool}
    # Donors are drawn independently of labels, so an object has to fit under the beam of any donor.
    margins = np.max([reach_pix(*sky, accept) for sky in skies], axis=0)
    whole = _fit(labels, size_pix, margins)
    weights = {name: weight for name, weight in settings.masks.weights.items() if name in accept.classes}
    pools = {
        c.name.lower(): np.flatnonzero(whole & (labels.classes == c))
        for c in HIGHEST_FIRST
        if weights.get(c.name.lower(), 0) > 0
    }
    if not any(len(pool) for pool in pools.values()):
        raise _none_usable(labels, list(pools), settings, size_pix)
    return pools


def _network_range(reader: StoreReader, indices: Sequence[int]) -> Image:
    """Return cutouts in network range, with their NaN."""
    names = ("background_jy_beam", "rms_jy_beam")
    background, rms = (reader.columns[name][indices][:, None, None] for name in names)
    return stretch(reader.read("image", indices), background, rms, str(reader.attrs["stretch"]))


def _turned(stack: NDArray[Any], turns: Sequence[int]) -> NDArray[Any]:
    return np.stack([apply_symmetry(plane, k) for plane, k in zip(stack, turns, strict=True)])
