"""Objects: the sources of a stamp, cut out by instance, checked, and scaled to unit peak.

An isophotal mask holds only part of a source's flux. An object's footprint is therefore its mask grown by
about a beam with weights that fall smoothly to zero, which keeps the wings and leaves no square edges. The
pixels of an instance need not touch: the islands of one source are one object. An object that does not follow
its mask, or any piece of it, is rejected with a one-word reason. The same stamp and settings always
give the same objects.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import ceil, log, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from astro_dist.field.config import AcceptConfig
from astro_dist.field.models import Drawing, SkyModel
from astro_dist.sky.beams import Beam, Pixel
from astro_dist.sky.classes import SourceClass
from astro_dist.sky.windows import Window

REASONS = ("edge", "not_finite", "faint", "peak_outside", "ignored_mask", "spill", "narrower_than_beam")

FloatArray = NDArray[np.float32]
_FEW_PIXELS = 12
"""Fewest pixels of the ring whose median is trusted as a pedestal."""


@dataclass(frozen=True, eq=False)
class SkyObject:
    """One accepted source.

    Attributes
    ----------
    stamp, instance
        Index of the stamp and number of the instance in it.
    source_class
        Class of the source.
    box
        The window of the stamp that `shape` covers.
    shape
        (h, w) float32, brightness over the peak: maximum 1, zero outside the footprint.
    snr
        Peak over the noise of the donor.
    flux_over_peak
        Sum of `shape`, in pixels; a point source has the beam's area.
    iou
        Intersection over union of the object's isophote and the mask that it was generated for.
    pieces
        (h, w) uint8, number of the nearest piece of its mask for each pixel of `shape`, from 1; None where
        the mask is of one piece.
    beam, pixel
        Of the donor.
    drawing
        What its model is made from, over `box`.
    model
        The object without the donor's beam, see `astro_dist.field.modelling`; None for a spurious one.
    """

    stamp: int
    instance: int
    source_class: SourceClass
    box: Window
    shape: FloatArray
    snr: float
    flux_over_peak: float
    iou: float
    beam: Beam
    pixel: Pixel
    drawing: Drawing
    pieces: NDArray[np.uint8] | None = None
    model: SkyModel | None = None


def extract_objects(
    image_jy_beam: FloatArray,
    mask: NDArray[np.uint8],
    instances: NDArray[np.integer[Any]],
    rms_jy_beam: float,
    beam: Beam,
    pixel: Pixel,
    config: AcceptConfig,
    stamp: int = 0,
) -> tuple[list[SkyObject], Counter[str]]:
    """Cut out every wanted instance of a stamp and check it.

    Parameters
    ----------
    image_jy_beam
        (s, s) float32 brightness above the background; NaN means no data.
    mask, instances
        (s, s) class and instance number per pixel, 0 where there is no source.
    rms_jy_beam, beam, pixel
        Of the donor. Thresholds are in units of the noise, distances in beam widths along each axis.
    config, stamp
        The conditions of acceptance; the stamp's index, copied into the objects.

    Returns
    -------
    objects
        The accepted objects in the order of their instance numbers.
    rejected
        Number of refused sources by reason (`REASONS`); spurious ones are never promised, so not counted.
    """
    objects: list[SkyObject] = []
    rejected: Counter[str] = Counter()
    steps = _steps_in_beams(beam, pixel)
    # One beam more than the footprint, for the ring in which the pedestal is measured.
    margins = [
        reach + ceil(1 / step) for reach, step in zip(reach_pix(beam, pixel, config), steps, strict=True)
    ]
    whole = Window(0, instances.shape[0], 0, instances.shape[1])
    for index, found in enumerate(ndimage.find_objects(instances.astype(np.int32))):
        if found is None:  # a number that no pixel has
            continue
        number = index + 1
        source_class = SourceClass(int(mask[found][instances[found] == number].max()))
        if source_class not in config.wanted:
            continue
        window = _grown(found, margins, whole)
        outcome = _examine(
            image_jy_beam[window.slices] / np.float32(rms_jy_beam),
            instances[window.slices],
            number,
            steps,
            beam.area_pix(pixel),
            config,
            _outer_edges(window, whole),
        )
        if not isinstance(outcome, str):
            built = _build(outcome, window, stamp, number, source_class, beam, pixel)
            objects.append(replace(built, pieces=nearest_pieces(instances[built.box.slices] == number)))
        elif source_class is not SourceClass.SPURIOUS:
            rejected[outcome] += 1
    return objects, rejected


def reach_pix(beam: Beam, pixel: Pixel, config: AcceptConfig) -> tuple[int, int]:
    """Return the reach of a footprint beyond its mask along y and x, in whole pixels."""
    y_step, x_step = _steps_in_beams(beam, pixel)
    reach = config.grow_beams + config.taper_beams
    return ceil(reach / y_step), ceil(reach / x_step)


def footprint_weights(
    instances: NDArray[np.integer[Any]], number: int, steps: Sequence[float], config: AcceptConfig
) -> FloatArray:
    """Return the share of each pixel that belongs to an instance, between 0 and 1, float32.

    The share is 1 in the instance's own pixels and up to ``grow_beams`` from them; a cosine taper brings it
    to 0 at ``grow_beams + taper_beams``. The share is 0 in the pixels of other instances. A pixel between
    instances is divided in proportion to the inverse squares of its distances to them, so that the shares
    never sum to more than 1.
    """
    own = _distance(instances == number, steps)
    rim = np.clip((own - config.grow_beams) / config.taper_beams, 0, 1)
    # Half a period of a cosine (Hann taper): 1 and 0 at the ends, without a kink.
    weights = 0.5 + 0.5 * np.cos(np.pi * rim)
    # In a neighbour's own pixels the distance is 0 and the closeness infinite: the share becomes exactly 0.
    with np.errstate(divide="ignore"):
        closeness = [
            _distance(instances == n, steps) ** -2.0 for n in np.unique(instances) if n not in (0, number)
        ]
    if closeness:
        # d0^-2 / (d0^-2 + sum of dn^-2), multiplied through by d0^2, which is 0 in the own pixels.
        weights *= 1 / (1 + own**2 * np.sum(closeness, axis=0))
    return weights.astype(np.float32)


@dataclass(frozen=True)
class _Profile:
    """An instance that passed the checks: arrays over the window that it was examined in."""

    level: FloatArray
    values: FloatArray
    weights: FloatArray
    peak: float
    iou: float


def _examine(
    snr: FloatArray,
    instances: NDArray[np.integer[Any]],
    number: int,
    steps: Sequence[float],
    beam_pix: float,
    config: AcceptConfig,
    edges: NDArray[np.bool_],
) -> _Profile | str:
    """Return the profile of an instance in units of the noise, or the reason why it is refused."""
    region = instances == number
    weights = footprint_weights(instances, number, steps, config)
    footprint = weights > 0
    if (footprint & edges).any():
        return "edge"
    if not np.isfinite(snr[footprint]).all():
        return "not_finite"
    # A generated sky may lie a little off zero. That pedestal would count as flux over the whole footprint.
    ring = (instances == 0) & ~footprint & np.isfinite(snr)
    # The median and not the mean, because wings of neighbours reach into the ring.
    pedestal = np.median(snr[ring]) if np.count_nonzero(ring) >= _FEW_PIXELS else np.float32(0)
    level = np.where(footprint, snr - pedestal, 0).astype(np.float32)
    values = weights * level
    # Peak after the pedestal is gone: an offset must not make a faint object pass.
    peak = float(values.max())
    if peak < config.min_snr:
        return "faint"
    if not region.flat[int(values.argmax())]:
        return "peak_outside"
    # Weights of at least 0.5 exclude the neighbours' wings, which would count as spilt.
    island = level * (weights >= 0.5) > config.threshold_snr
    kept = np.count_nonzero(island & region)
    missing, spilt = np.count_nonzero(region) - kept, np.count_nonzero(island) - kept
    iou = kept / (kept + missing + spilt)
    if iou < config.min_iou:
        return "ignored_mask" if missing >= spilt else "spill"
    # A lobe that was not drawn may be a small part of its source. For a mask of one piece this says no more
    # than the intersection over union.
    if _least_kept(region, island) < config.min_iou:
        return "ignored_mask"
    # Flux over peak of a point source is the beam's area, so a real source has at least that.
    if float(values.sum(dtype=np.float64)) / peak < config.min_beam_fraction * beam_pix:
        return "narrower_than_beam"
    return _Profile(level, values, weights, peak, iou)


def _least_kept(region: NDArray[np.bool_], island: NDArray[np.bool_]) -> float:
    """Return the least part of a piece of the mask that lies in the isophote."""
    pieces, count = ndimage.label(region, np.ones((3, 3)))
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)[1:]
    kept = np.bincount(pieces[island & region], minlength=count + 1)[1:]
    return float((kept / sizes).min())


def _build(
    profile: _Profile,
    window: Window,
    stamp: int,
    number: int,
    source_class: SourceClass,
    beam: Beam,
    pixel: Pixel,
) -> SkyObject:
    rows, columns = (np.flatnonzero((profile.weights > 0).any(axis=axis)) for axis in (1, 0))
    inner = Window(int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1)
    shape = profile.values[inner.slices] / np.float32(profile.peak)
    return SkyObject(
        stamp=stamp,
        instance=number,
        source_class=source_class,
        box=inner.shifted(window.y0, window.x0),
        shape=shape,
        snr=profile.peak,
        flux_over_peak=float(shape.sum(dtype=np.float64)),
        iou=profile.iou,
        beam=beam,
        pixel=pixel,
        drawing=_drawing(profile, inner, beam, pixel),
    )


def _drawing(profile: _Profile, inner: Window, beam: Beam, pixel: Pixel) -> Drawing:
    weights = profile.weights[inner.slices]
    return Drawing(profile.level[inner.slices], weights, beam.covariance_pix(pixel))


def nearest_pieces(inside: NDArray[np.bool_]) -> NDArray[np.uint8] | None:
    """Return for each pixel the number of the nearest piece of a mask, or None for a mask of one piece."""
    pieces, count = ndimage.label(inside, np.ones((3, 3)))
    if count < 2:
        return None
    nearest = ndimage.distance_transform_edt(pieces == 0, return_distances=False, return_indices=True)
    # A stamp has room for 255 pieces of an object only on paper; what would be more joins the last.
    owner: NDArray[np.uint8] = np.minimum(pieces[tuple(nearest)], 255).astype(np.uint8)
    return owner


# Cached, because all stamps of a donor's map have one beam and pixel.
@lru_cache(maxsize=1024)
def _steps_in_beams(beam: Beam, pixel: Pixel) -> tuple[float, float]:
    """Return the size of a pixel along y and x in units of the beam's width (FWHM) along that axis."""
    along_y, along_x = (float(beam.profile(np.array(y), np.array(x), pixel)) for y, x in ((1, 0), (0, 1)))
    return _width_in_beams(along_y), _width_in_beams(along_x)


def _width_in_beams(neighbour: float) -> float:
    # A Gaussian beam is exp(-4 ln 2 d^2) at a distance d in units of its FWHM; solved for d.
    # The floor keeps the logarithm finite for a beam that is much narrower than a pixel.
    return sqrt(-log(max(neighbour, 1e-300)) / (4 * log(2)))


def _distance(pixels: NDArray[np.bool_], steps: Sequence[float]) -> NDArray[np.float64]:
    """Return the distance of every pixel to the nearest of ``pixels``, in beam widths."""
    distance: NDArray[np.float64] = ndimage.distance_transform_edt(~pixels, sampling=steps)
    return distance


def _grown(found: tuple[slice, ...], margins: Sequence[int], whole: Window) -> Window:
    """Return the box of an instance with a margin, clipped to the stamp."""
    (y0, y1), (x0, x1) = ((int(s.start), int(s.stop)) for s in found)
    my, mx = margins
    window = Window(y0 - my, y1 + my, x0 - mx, x1 + mx) & whole
    assert window is not None
    return window


def _outer_edges(window: Window, whole: Window) -> NDArray[np.bool_]:
    """Return which pixels of a window lie on the border of the stamp."""
    edges = np.zeros(window.shape, dtype=np.bool_)
    # `_grown` clips the window: only a side that lies on the stamp's border can cut an object.
    edges[0] |= window.y0 == whole.y0
    edges[-1] |= window.y1 == whole.y1
    edges[:, 0] |= window.x0 == whole.x0
    edges[:, -1] |= window.x1 == whole.x1
    return edges
