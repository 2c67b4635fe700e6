"""Cutouts and stamps as FITS images, with the place of their pixels on the sky, beam, unit and terms."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.origins import history_lines
from astro_dist.exports.pieces import Piece, Pieces
from astro_dist.exports.radiff import publish_radiff
from astro_dist.sky.classes import CLASS_NAMES, SourceClass
from astro_dist.sky.fits_arrays import cut_wcs, wcs_of_cards
from astro_dist.sky.fits_file import BandedImage, plane_wcs, publish_image, radio_header

LAYERS = {"": (np.float32, "Jy/beam", "brightness"), "-mask": (np.uint8, "", "class of each pixel")}
LAYERS["-instances"] = np.int32, "", "number of the object of each pixel, 0 where none"
NO_PLACE = "A stamp has no place on the sky; its reference position is made up."


def write_fits(folder: Path, pieces: Pieces, piece: Piece) -> None:
    """Write the image of a piece, its classes and its object numbers: ``NAME.fits`` and two more."""
    arrays: list[NDArray[Any]] = [piece.image_jy_beam, piece.mask, piece.instances.astype(np.int32)]
    paths = fits_paths(folder, piece.name)
    for path, (dtype, unit, meaning), pixels in zip(paths, LAYERS.values(), arrays, strict=True):
        header = _header(pieces, piece, unit, dtype, meaning)
        publish_image(path, BandedImage(header, pixels.shape, dtype), pixels)


def fits_paths(folder: Path, name: str) -> list[Path]:
    """Return the FITS files of a piece of a name."""
    return [folder / f"{name}{suffix}.fits" for suffix in LAYERS]


def write_radiff(folder: Path, pieces: Pieces, piece: Piece) -> None:
    """Write a piece as RADiff has its masks: an image, JSON beside it, an image of ones for each object."""

    def header(dtype: Any, unit: str, meaning: str) -> Any:
        return _header(pieces, piece, unit, dtype, meaning)

    publish_radiff(folder, piece.name, piece.image_jy_beam, _objects(piece), header, {})


def _objects(piece: Piece) -> Iterator[tuple[int, str, Any]]:
    """Yield the number, the class and the pixels of each object of a piece."""
    numbers = np.unique(piece.instances[piece.mask > 0])
    for number in numbers:
        pixels = (piece.instances == number) & (piece.mask > 0)
        kind = SourceClass(int(piece.mask[pixels].max()))
        yield int(number), CLASS_NAMES[kind], pixels.astype(np.uint8)


def _header(pieces: Pieces, piece: Piece, unit: str, dtype: Any, meaning: str) -> Any:
    shape, about = piece.image_jy_beam.shape, piece.about
    if about is None:
        wcs = plane_wcs(shape, piece.pixel, 0.0, 0.0)
        made = [f"stamp {piece.index} of stamps.zarr"]
    else:
        wcs = cut_wcs(wcs_of_cards(about["header"]), about["y0"], about["x0"])
        made = [f"cutout {piece.index} of cutouts.zarr: map {about['name']}, from row {about['y0']}, column "]
        made[0] += f"{about['x0']}, counted from 0"
    real = not pieces.simulated and about is not None
    observed = pieces.observed.get(about["name"], {}) if real and about is not None else {}
    cards = {
        **observed,
        "SYNTH": (not real, "whether this sky does not exist"),
        "CONTENT": meaning,
        "RMS": (piece.rms_jy_beam, "[Jy/beam] noise"),
        "BACKGR": (piece.background_jy_beam, "[Jy/beam] mean of the sky"),
    }
    if not unit:
        cards |= {f"CLASS{c.value}": c.name.lower() for c in SourceClass}
    header = radio_header(
        shape,
        wcs,
        piece.beam,
        piece.frequency_hz,
        unit=unit,
        # The name of a cutout is no name of a source or a field; HISTORY has it.
        object_name="" if real else piece.name,
        dtype=dtype,
        cards=cards,
        history=[*made, *history_lines(pieces.origins)],
    )
    if real and "TELESCOP" not in observed:
        del header["TELESCOP"]
    if about is None:
        header.add_comment(NO_PLACE)
    return header
