"""The viewer of a package: pages that open from the disk and from any server, and what they show.

There are two, of the same page. The public one has the map and the truth of the open area, and no more: it is
made from files of the public part. The one in the hidden part shows the tiles of the public one, which must
lie beside it, with the truth and the labels of the whole field and the stamps that sources come from.
"""

import zlib
from collections.abc import Iterator
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from astro_dist import __version__
from astro_dist.challenge import strips, tiles
from astro_dist.challenge.names import HIDDEN, OPEN, POPULATIONS, PUBLIC, VIEWER
from astro_dist.challenge.packing import Packing
from astro_dist.engine.arrays import Columns
from astro_dist.engine.files import publish_bytes
from astro_dist.field.columns import read_columns_file
from astro_dist.sky.classes import CLASS_NAMES
from astro_dist.sky.column_names import KNOWN
from astro_dist.sky.known_catalogues import FORMS
from astro_dist.sky.windows import Window
from astro_dist.store.reader import StoreReader

BRIGHTNESS, LABELS = "map", "labels"
PAGE = ("index.html", "viewer.css", "sky.js", "pixels.js", "table.js", "viewer.js")
DATA = ("about.js", "truth.js")
SHOWN = (
    *("id", "class", "population", "ra_deg", "dec_deg", "ra_peak_deg", "dec_peak_deg", "x_pix", "y_pix"),
    *("flux_jy", "peak_jy_beam", "snr", "major_arcsec", "minor_arcsec", "image_pa_deg", "pa_deg"),
    *("detectable", "blend_size"),
)
"""Columns of the truth that the page shows."""
DIGITS = {"flux_jy": 6, "peak_jy_beam": 6, "snr": 4}
STEP_DEG, LEAST_NODES, MOST_NODES = 1.0, 13, 129
STAMP_LEVELS = 255


def write_tiles(packing: Packing, folder: Path, strip: Window) -> None:
    """Write the tiles of a strip of the map."""
    last = tiles.last_level(packing.field.shape)
    tiles.write_strip(folder / PUBLIC / VIEWER / BRIGHTNESS, strip, last, _numbers(packing))


def write_public_viewer(packing: Packing, folder: Path) -> None:
    """Write the public page, its coarse tiles, and the truth and labels of the open area."""
    folder, box = folder / PUBLIC / VIEWER, packing.about.areas.training
    read = _numbers(packing)
    tiles.write_coarse(folder / BRIGHTNESS, packing.field.shape, read)
    truth = {name: packing.truth[name][packing.truth["area"] == OPEN] for name in SHOWN}
    _write_page(packing, folder, truth, box, public=True)


def write_hidden_viewer(packing: Packing, folder: Path) -> None:
    """Write the page of the organisers, with the truth and the labels of the whole field."""
    folder, whole = folder / HIDDEN / VIEWER, Window.of_shape(packing.field.shape)
    _write_page(packing, folder, {name: packing.truth[name] for name in SHOWN}, whole, public=False)
    publish_bytes(folder / "stamps.js", tiles.call("stamps", _read_stamps(packing)))


def find_sigma(packing: Packing) -> float:
    """Return the noise that numbers of tiles are in the scale of, Jy/beam: that of the middle of the map."""
    sigma = packing.truth["sigma_jy_beam"]
    if len(sigma) and (level := float(np.median(sigma))) > 0:
        return float(f"{level:.6g}")
    sample = _middle(packing)
    spread = float(np.nanmax(abs(sample), initial=0.0)) if np.isfinite(sample).any() else 0.0
    # Without any noise a thousandth of the brightest pixel is as good.
    return float(f"{spread / 1000:.6g}") or 1.0


def _numbers(packing: Packing) -> Any:
    sigma = find_sigma(packing)
    return lambda window: tiles.quantise(packing.read_map(window), sigma)


def _middle(packing: Packing) -> NDArray[np.float32]:
    """Return the pixels in the middle of the map, `strips.TILE_PIX` on a side at most."""
    ny, nx = packing.field.shape
    height, width = (min(n, strips.TILE_PIX) for n in (ny, nx))
    y, x = (ny - height) // 2, (nx - width) // 2
    return packing.read_map(Window(y, y + height, x, x + width))


def _label_rows(packing: Packing, window: Window) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Yield the labels of rows of tiles; pixels outside of the window have none."""
    ny, nx = packing.field.shape
    first = window.y0 // strips.TILE_PIX
    for row in range(first, -(-window.y1 // strips.TILE_PIX)):
        y = row * strips.TILE_PIX
        labels = np.zeros((min(y + strips.TILE_PIX, ny) - y, nx), np.int64)
        part = Window(y, y + len(labels), 0, nx) & window
        assert part is not None  # the rows of tiles are those of the window
        for (band, number), (_, kind) in zip(
            packing.instance_rows(part), packing.mask_rows(part), strict=True
        ):
            labels[band.within(Window(y, y + len(labels), 0, nx))] = (
                tiles.KINDS * number.astype(np.int64) + kind
            )
        yield row, labels


def _write_page(packing: Packing, folder: Path, truth: Columns, labelled: Window, *, public: bool) -> None:
    for name in PAGE:
        source = files("astro_dist.challenge").joinpath("page", name)
        publish_bytes(folder / name, source.read_bytes())
    names = tiles.write_labels(folder / LABELS, _label_rows(packing, labelled))
    facts = _describe(packing, public) | {"labels": names}
    publish_bytes(folder / "about.js", tiles.call("about", facts))
    table = {name: _short(name, values) for name, values in truth.items()}
    publish_bytes(folder / "truth.js", tiles.call("truth", table))


def _short(name: str, values: NDArray[Any]) -> list[Any]:
    """Return a column as JSON has it: places to a hundredth of a pixel or of an arcsec, None for NaN."""
    if values.dtype.kind != "f":
        return values.tolist()
    if name in DIGITS:
        short = [float(f"{value:.{DIGITS[name]}g}") for value in values.tolist()]
    else:
        short = values.astype(np.float64).round(7 if "ra_" in name or "dec_" in name else 2).tolist()
    return [value if np.isfinite(value) else None for value in short]


def _describe(packing: Packing, public: bool) -> dict[str, Any]:
    """Return the facts of the map that the scripts in ``page/`` read: sizes, scale, coordinates, beam."""
    about, sigma = packing.about, find_sigma(packing)
    return {
        "name": about.name,
        "version": __version__,
        "public": public,
        "tiles": BRIGHTNESS if public else f"../../{PUBLIC}/{VIEWER}/{BRIGHTNESS}",
        "shape": about.shape,
        "tile_pix": strips.TILE_PIX,
        "levels": _sky_levels(packing, sigma),
        "label_levels": [0, strips.FINE],
        "sigma": sigma,
        "scale": [tiles.K, tiles.S],
        "beam": asdict(about.beam),
        "pixel": asdict(about.pixel),
        "frequency_hz": about.frequency_hz,
        "detect_snr": about.detect_snr,
        "training": asdict(about.areas.training),
        "nodes": _place_nodes(packing),
        "classes": CLASS_NAMES,
        "populations": POPULATIONS,
        "columns": {name: KNOWN[name] for name in ("ra_deg", "dec_deg", "flux_jy")},
        "forms": [
            {
                "name": form.name,
                "needs": sorted(form.needs),
                "unit": form.unit,
                "columns": {
                    name: list(form.columns.get(name, ())) for name in ("ra_deg", "dec_deg", "flux_jy")
                },
            }
            for form in FORMS
        ],
    }


def _sky_levels(packing: Packing, sigma: float) -> list[float]:
    """Return the median of each level in the middle of the map: brightest pixels of blocks lie above zero."""
    pixels, levels = tiles.quantise(_middle(packing), sigma), []
    for _ in range(tiles.last_level(packing.field.shape) + 1):
        known = pixels[pixels != tiles.BLANK]
        median = np.array([np.median(known) if len(known) else 0]).astype(np.int16)
        levels.append(float(f"{tiles.restore(median, sigma)[0]:.6g}"))
        pixels = tiles.coarsen(pixels, 2) if max(pixels.shape) > 1 else pixels
    return levels


def _place_nodes(packing: Packing) -> dict[str, Any]:
    """Return directions on the sky at points of an even grid, between which the page interpolates.

    The grid reaches one step beyond the map on each side. Cubic interpolation of unit vectors serves every
    projection; `STEP_DEG` leaves an error of some 1e-8 of a degree.
    """
    ny, nx = packing.field.shape
    pixel = packing.about.pixel
    ny_deg, nx_deg = ny * abs(pixel.dy_arcsec) / 3600, nx * abs(pixel.dx_arcsec) / 3600
    rows, columns = (
        int(np.clip(np.ceil(side / STEP_DEG) * 4 + 1, LEAST_NODES, MOST_NODES)) for side in (ny_deg, nx_deg)
    )
    step_y, step_x = (ny - 1 or 1) / (rows - 1), (nx - 1 or 1) / (columns - 1)
    y = step_y * np.arange(-1, rows + 1)
    x = step_x * np.arange(-1, columns + 1)
    ra, dec = (np.radians(v) for v in packing.field.sky_of(*np.meshgrid(y, x, indexing="ij")))
    vectors = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)
    flat = [None if np.isnan(v) else v for v in vectors.round(13).reshape(-1).tolist()]
    return {"step_y": step_y, "step_x": step_x, "rows": rows + 2, "columns": columns + 2, "xyz": flat}


def _read_stamps(packing: Packing) -> dict[str, Any]:
    """Return the stamps that placed sources come from, as 256 greys, and which source has which.

    Fields by models and catalogues have sources without one; runs that were handed on may have no stamps.
    """
    path, truth = packing.run.root / "stamps.zarr", read_columns_file(packing.folder / "truth.parquet")
    row = {number: i for i, number in enumerate(truth["id"].tolist())}
    rows = np.array([row[number] for number in packing.truth["run_id"].tolist()], np.int64)
    stamp, instance = truth["stamp"][rows], truth["instance"][rows]
    used, which = np.unique(stamp[stamp >= 0], return_inverse=True)
    if not path.is_dir() or not len(used):
        return {"n": 0}
    reader = StoreReader(path)
    boxes = [ndimage.find_objects(one.astype(np.int32)) for one in reader.read("instances", used)]
    greys = np.stack([_grey(image) for image in reader.read("image", used)])
    side, number = greys.shape[-1], np.full(len(stamp), -1, np.int64)
    number[stamp >= 0] = which
    return {
        "n": len(used),
        "side": side,
        "stamp": number.tolist(),
        "box": [
            _square(boxes[n][i - 1], side) if n >= 0 else None
            for n, i in zip(number.tolist(), instance.tolist(), strict=True)
        ],
        "turn_deg": truth["turn_deg"][rows].round(2).tolist(),
        "flip": truth["flip"][rows].tolist(),
        "data": tiles.encode(zlib.compress(greys.tobytes(), 6)),
    }


def _square(box: tuple[slice, slice], side: int) -> list[int]:
    """Return ``[y0, x0, size]`` of a square in a stamp that holds an object with some room round it."""
    size = min(side, 8 + max(part.stop - part.start for part in box))
    y0, x0 = (min(max(0, (part.start + part.stop - size) // 2), side - size) for part in box)
    return [y0, x0, size]


def _grey(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return a stamp in greys whose steps grow with brightness: its root over its peak."""
    peak = float(np.nanmax(image, initial=0.0)) or 1.0
    return np.rint(STAMP_LEVELS * np.sqrt(np.clip(np.nan_to_num(image) / peak, 0, 1))).astype(np.uint8)
