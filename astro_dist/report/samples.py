"""Stamps to look at: some beside the cutouts whose masks they were drawn for, and some refused ones."""

from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.arrays import Image
from astro_dist.engine.work import Run
from astro_dist.evaluate.examples import choose_examples, spread_evenly
from astro_dist.field.config import AcceptConfig
from astro_dist.field.objects import extract_objects
from astro_dist.report import origins
from astro_dist.sky.beams import Beam, Pixel
from astro_dist.sky.classes import SourceClass
from astro_dist.sky.noise import beam_noise
from astro_dist.sky.symmetries import apply_symmetry
from astro_dist.sky.windows import Window
from astro_dist.store.reader import StoreReader

MAX_CANDIDATES, MAX_EXAMINED = 600, 200  # stamps that are read, for examples and for refused objects
TOP_PERCENTILE, LOWEST_TOP_SNR, HIGHEST_TOP_SNR = 97.0, 12.0, 100.0


@dataclass(frozen=True)
class Examples:
    """Stamps of one class, ready to be drawn.

    Attributes
    ----------
    masks
        Shape (n, s, s), class of every pixel.
    rows
        ``{label: (n, s, s)}``, images in units of the local noise.
    top_snr
        Upper end of their common colour scale, see `top_of_scale`.
    """

    masks: NDArray[np.uint8]
    rows: dict[str, Image]
    top_snr: float


@dataclass(frozen=True)
class Refused:
    """Stamps with objects that did not pass the checks.

    Attributes
    ----------
    image_snr
        Shape (n, s, s), in units of the local noise.
    outlines
        Shape (n, s, s), True in the masks of the refused objects.
    reasons
        The reason of the refusal, for each stamp.
    """

    image_snr: Image
    outlines: NDArray[np.bool_]
    reasons: tuple[str, ...]


def read_examples(run: Run, n: int) -> dict[str, Examples]:
    """Return up to ``n`` stamps of each class that occurs, beside their donors, by class name.

    When the network draws objects on an empty sky, a row with simulated noise is added.
    """
    stamps, cutouts = _open_stores(run)
    candidates = spread_evenly(len(stamps), MAX_CANDIDATES)
    masks = stamps.read("mask", candidates)
    empty_sky = run.facts("diffusion").get("target", "source") == "source"
    found = {}
    for source_class in (SourceClass.COMPACT, SourceClass.EXTENDED, SourceClass.SPURIOUS):
        chosen = choose_examples(masks, source_class, n)
        if len(chosen):
            rows = _read_rows(run, stamps, cutouts, candidates[chosen], empty_sky)
            # The first row, of cutouts where there are any, sets the scale of all rows.
            top_snr = top_of_scale(next(iter(rows.values())), masks[chosen])
            found[source_class.name.lower()] = Examples(masks[chosen], rows, top_snr)
    return found


def read_refused(run: Run, n: int) -> Refused | None:
    """Return up to ``n`` stamps with refused objects, taking turns over the reasons; None without any.

    Refused objects are counted but not stored, so up to `MAX_EXAMINED` stamps are examined again under the
    conditions of the run.
    """
    stamps, cutouts = _open_stores(run)
    candidates = spread_evenly(len(stamps), MAX_EXAMINED)
    masks, instances = stamps.read("mask", candidates), stamps.read("instances", candidates)
    images = stamps.read("image", candidates)
    accept = AcceptConfig.model_validate(stamps.attrs["accept"])
    by_reason: dict[str, list[tuple[Image, NDArray[np.bool_]]]] = {}
    for i, stamp in enumerate(candidates):
        rms = float(stamps.columns["rms_jy_beam"][stamp])
        beam, pixel = _optics(cutouts, int(stamps.columns["donor"][stamp]))
        objects, reasons = extract_objects(images[i], masks[i], instances[i], rms, beam, pixel, accept)
        # Reasons are counted per stamp: only a single reason can be assigned to its objects.
        if len(reasons) == 1:
            wanted = np.isin(masks[i], accept.wanted)
            refused = wanted & ~np.isin(instances[i], [o.instance for o in objects])
            by_reason.setdefault(next(iter(reasons)).replace("_", " "), []).append((images[i] / rms, refused))
    # One stamp per reason in turn, so that a frequent reason does not push out the others.
    turns = zip_longest(*([(reason, *pair) for pair in pairs] for reason, pairs in sorted(by_reason.items())))
    chosen = [entry for turn in turns for entry in turn if entry is not None][:n]
    if not chosen:
        return None
    reasons_shown, image_snr, outlines = zip(*chosen, strict=True)
    return Refused(np.stack(image_snr), np.stack(outlines), reasons_shown)


def read_donors(run: Run) -> NDArray[np.int64]:
    """Return for every stamp the index of the cutout whose mask it was drawn for."""
    return StoreReader(run.product("stamps.zarr")).columns["donor"].astype(np.int64)


def _open_stores(run: Run) -> tuple[StoreReader, StoreReader]:
    return StoreReader(run.product("stamps.zarr")), StoreReader(run.product("cutouts.zarr"))


def _read_rows(
    run: Run, stamps: StoreReader, cutouts: StoreReader, chosen: NDArray[np.int64], empty_sky: bool
) -> dict[str, Image]:
    donors = stamps.columns["donor"][chosen]
    turns = stamps.columns["symmetry"][chosen]
    background = cutouts.columns["background_jy_beam"][donors, None, None]
    real = (cutouts.read("image", donors) - background) / cutouts.columns["rms_jy_beam"][donors, None, None]
    turned = [apply_symmetry(image, int(turn)) for image, turn in zip(real, turns, strict=True)]
    generated = stamps.read("image", chosen) / stamps.columns["rms_jy_beam"][chosen, None, None]
    # A stamp whose mask came from a label image has no counterpart in the survey.
    name = "simulated" if origins.is_simulated(run) else "real"
    rows = {} if "labels" in stamps.attrs.get("files", {}) else {name: np.stack(turned)}
    rows["generated"] = generated
    if empty_sky:
        noise = [_noise(run, cutouts, int(i), int(donor)) for i, donor in zip(chosen, donors, strict=True)]
        rows["generated\nwith noise"] = generated + np.stack(noise)
    return rows


def _noise(run: Run, cutouts: StoreReader, stamp: int, donor: int) -> Image:
    """Return noise of unit rms with the beam of a cutout, a function of the seed and the stamp."""
    size_pix = cutouts.attrs["size_pix"]
    beam, pixel = _optics(cutouts, donor)
    # A key of its own, so that this noise is not a piece of the noise of the field.
    return beam_noise(Window(0, size_pix, 0, size_pix), beam, pixel, run.seed, ("report", stamp))


def _optics(cutouts: StoreReader, index: int) -> tuple[Beam, Pixel]:
    columns = cutouts.columns
    names = ("beam_major_arcsec", "beam_minor_arcsec", "beam_pa_deg")
    pixel_arcsec = cutouts.attrs["maps"][columns["source_map"][index]]["pixel_arcsec"]
    return Beam(*(float(columns[name][index]) for name in names)), Pixel(*pixel_arcsec)


def top_of_scale(image: Image, masks: NDArray[np.uint8]) -> float:
    """Return the upper end of a colour scale for images (n, s, s) in units of the noise.

    A percentile rather than the maximum of the objects' pixels, which would leave faint objects black.
    """
    values = image[(masks > 0) & np.isfinite(image)]
    top = float(np.percentile(values, TOP_PERCENTILE)) if len(values) else 0.0
    return min(max(top, LOWEST_TOP_SNR), HIGHEST_TOP_SNR)
