"""Measurements on the cutouts of a training: the scale of uncertainties, and the range of its maps."""

import json
from collections.abc import Iterator
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.arrays import AnyImage
from astro_dist.engine.files import publish_bytes, sha256_file
from astro_dist.engine.ledger import Result
from astro_dist.engine.work import Results, Run
from astro_dist.enhance.calibration import Calibration, Pair, calibrate, is_bright, read_pairs
from astro_dist.enhance.chain_config import ChainConfig
from astro_dist.enhance.likeness import Likeness
from astro_dist.enhance.projection import repeat_twice
from astro_dist.enhance.tiles import UNLIKE, Source, Tile, TileMaker
from astro_dist.sky.sky_image import SkyImage
from astro_dist.sky.windows import Window
from astro_dist.store.reader import StoreReader

CALIBRATE, CALIBRATION = "calibrate", "calibration.json"
MOST_PAIRS, MOST_BRIGHT, MOST_SEARCHED, MOST_PIECES = 64, 256, 1000, 2000
"""Validation cutouts for the scale of uncertainties, as they come, and bright ones of those searched; the
errors of the pixels of one source go together, so that these are many. And training cutouts for the range of
maps."""
BEAM_FACTOR = 1.15
"""Factor by which a beam may lie beyond those of the training."""
MOST_UNLIKE = 0.5
"""Share of the windows of an image that may be unlike the training before it is refused."""
MOST_LOOKED = 200
"""Windows that a task that looks at an image measures for that."""


def measure_windows(like: Likeness, pixels: AnyImage, most: int | None = None) -> list[tuple[float, Window]]:
    """Return the distance of each square window of an image from the training, and where it lies.

    Where there are more than ``most``, as many are measured, spread over all.
    """
    side, (planes, height, width) = like.size_pix, pixels.shape
    windows = [
        Window(y, min(y + side, height), x, min(x + side, width))
        for y in range(0, height, side)
        for x in range(0, width, side)
    ]
    whole = [w for w in windows if min(w.shape) >= side // 2]
    whole = whole[:: max(1, -(-len(whole) // (most or len(whole) or 1)))]
    found = np.empty((planes, len(whole)))
    # Windows at borders are smaller: those of one shape are described together.
    for shape in {w.shape for w in whole}:
        rows = [row for row, w in enumerate(whole) if w.shape == shape]
        for p in range(planes):
            found[p, rows] = like.distances(np.stack([pixels[p][whole[row].slices] for row in rows]))
    return list(zip(np.fmax.reduce(found).tolist(), whole, strict=True))


def why_unlike(image: SkyImage, number: int, results: Results) -> str | None:
    """Return why an image is refused as unlike the training; None where most of it is like it."""
    looks = [one for name, one in results.items() if name.startswith(f"look-{number:05}-")]
    distances = np.array([d for look in looks for d in look.get("distances", [])])
    if not len(distances) or (limit := looks[0].get("limit")) is None:
        return None
    share = float((distances > limit).mean())
    if share <= MOST_UNLIKE:
        return None
    return (
        f"{image.path}: {100 * share:.0f} % of its windows are unlike those of the training (median distance "
        f"{np.median(distances):.3g}, at most {limit:.3g} is like it); train on such maps, or set "
        "enhance.unlike to flag"
    )


def why_other_beam(run: Run, image: SkyImage, config: ChainConfig) -> str | None:
    """Return why the beam of an image, in pixels, is none of those that the network learnt from.

    None where it is, and where header and settings give no beam.
    """
    fwhm_pix = config.fwhm_pix or image.fwhm_pix
    path = run.product("models/superres") / "config.json"
    learnt = json.loads(path.read_text()).get("beam_pix") if path.exists() else None
    if fwhm_pix is None or learnt is None:
        return None
    low, high = learnt[0] / BEAM_FACTOR, learnt[1] * BEAM_FACTOR
    if low <= fwhm_pix <= high:
        return None
    return (
        f"{image.path}: its beam is {fwhm_pix:.3g} pixels wide, and the network learnt from {low:.3g} to "
        f"{high:.3g}; train on maps of such pixels, or set enhance.unlike to flag"
    )


def calibrate_network(run: Run, maker: TileMaker) -> Result:
    """Scale the uncertainty on validation cutouts, and learn what is like the training."""
    reader = StoreReader(run.product("cutouts.zarr"))
    held_out, learnt = reader.select("validation"), reader.select("train")
    like = fit_likeness(reader, learnt)
    spread = spread_rows(held_out, MOST_PAIRS)
    scaled = calibrate(maker, read_pairs(reader, spread), find_bright(reader, held_out, spread))
    found = {
        "calibration": scaled.to_json(),
        "likeness": None if like is None else like.to_json(),
    }
    path = run.output / CALIBRATION
    publish_bytes(path, (json.dumps(found, indent=1) + "\n").encode())
    return {"sha256": {CALIBRATION: sha256_file(path)}, "held_out": len(held_out)}


def fit_likeness(reader: StoreReader, rows: NDArray[np.int64]) -> Likeness | None:
    """Return what is like some of the cutouts; the middle of each, not halved, has a wider beam."""
    pairs = list(read_pairs(reader, spread_rows(rows, MOST_PIECES)))
    return Likeness.fit([pair.small_Phw[0] for pair in pairs], [_middle(pair) for pair in pairs])


def _middle(pair: Pair) -> AnyImage:
    side = pair.small_Phw.shape[-1]
    return pair.large_PHW[0, side // 2 : side // 2 + side, side // 2 : side // 2 + side]


def find_bright(reader: StoreReader, rows: NDArray[np.int64], seen: NDArray[np.int64]) -> Iterator[Pair]:
    """Yield up to `MOST_BRIGHT` bright cutouts of some positions that are not among those seen."""
    others = spread_rows(np.setdiff1d(rows, seen), MOST_SEARCHED)
    return islice(filter(is_bright, read_pairs(reader, others)), MOST_BRIGHT)


def spread_rows(rows: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Return at most so many of some positions, spread over all."""
    return rows[:: max(1, -(-len(rows) // most))]


def scale_spread(tile: Tile, source: Source, core: Window, scaled: Calibration) -> None:
    """Replace the spread of a tile by one standard deviation as held-out cutouts have it."""
    assert tile.spread_PHW is not None
    inner = (slice(None), *core.within(source.window))
    background, rms = (repeat_twice(plane[inner]) for plane in (source.background_Phw, source.rms_Phw))
    levels = np.nan_to_num((tile.image_PHW - background) / rms)
    tile.spread_PHW = scaled.widths(tile.spread_PHW / rms, levels)[0] * rms


def mark_unlike(tile: Tile, like: Likeness, given: AnyImage) -> None:
    """Flag the windows of a tile that are unlike the training."""
    for distance, window in measure_windows(like, given):
        if distance > like.limit:
            rows, columns = (slice(2 * s.start, 2 * s.stop) for s in window.slices)
            tile.flags_HW[rows, columns] |= UNLIKE
