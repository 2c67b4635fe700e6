"""Cutouts and stamps as pictures: one each, or contact sheets of many at one stretch over their noise."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from astro_dist.exports.pieces import Piece
from astro_dist.field.panels import Sheet, Stretch, magnify
from astro_dist.sky.classes import SourceClass

COLUMNS, ROWS = 8, 8
PER_SHEET = COLUMNS * ROWS
EDGE, HEAD, LABEL, GAP = 14, 40, 18, 8
TOP_SNR = 30.0
LARGE_PIX, TEXT_PIX = 512, 512
OUTLINES = {
    SourceClass.COMPACT: (90, 220, 255),
    SourceClass.EXTENDED: (255, 166, 46),
    SourceClass.SPURIOUS: (170,) * 3,
}


def write_picture(folder: Path, piece: Piece) -> None:
    """Write a piece as ``NAME.png``, enlarged to about 512 pixels, with the outlines of its objects."""
    factor = max(1, LARGE_PIX // max(piece.mask.shape))
    pixels = magnify(_paint(piece), factor)
    # Below 400 pixels the lines of text are wider than the picture.
    sheet = Sheet(max(pixels.shape[1], TEXT_PIX) + 2 * EDGE, pixels.shape[0] + HEAD + 3 * LABEL + EDGE)
    sheet.text(EDGE, EDGE, _say(piece))
    sheet.sky(EDGE, HEAD, pixels)
    for line, text in enumerate((_say_sizes(piece), *_legend().split("; "))):
        sheet.text(EDGE, HEAD + pixels.shape[0] + 4 + line * LABEL, text, 12)
    sheet.publish(folder / f"{piece.name}.png", f"{_say(piece)}; {_legend()}")


def write_sheet(path: Path, pieces: Sequence[Piece]) -> None:
    """Write a contact sheet of up to `PER_SHEET` pieces, each with its number and its objects outlined."""
    side = max(max(piece.mask.shape) for piece in pieces)
    rows = -(-len(pieces) // COLUMNS)
    columns = min(COLUMNS, len(pieces))
    width = 2 * EDGE + columns * (side + GAP) - GAP
    sheet = Sheet(width, HEAD + rows * (side + LABEL + GAP) + EDGE)
    sheet.text(EDGE, EDGE, _legend())
    for place, piece in enumerate(pieces):
        y, x = HEAD + place // COLUMNS * (side + LABEL + GAP), EDGE + place % COLUMNS * (side + GAP)
        sheet.sky(x, y, _paint(piece))
        sheet.text(x, y + side + 3, str(piece.index), 12)
    sheet.publish(path, f"{pieces[0].name} to {pieces[-1].name}; {_legend()}")


def _paint(piece: Piece) -> NDArray[np.uint8]:
    """Return RGB pixels, first row above, of the brightness over the noise with outlines of the mask."""
    snr = (piece.image_jy_beam - piece.background_jy_beam) / piece.rms_jy_beam
    pixels = Stretch.over_noise(0.0, 1.0, TOP_SNR).paint(snr.astype(np.float32))
    mask = piece.mask[::-1]
    # The pixels round an object, so that none of its own is covered.
    padded = np.pad(mask, 1)
    around = [np.roll(padded, step, axis)[1:-1, 1:-1] for axis in (0, 1) for step in (-1, 1)]
    rim = np.where(mask == 0, np.max(around, axis=0), 0)
    for source_class, colour in OUTLINES.items():
        pixels[rim == source_class] = colour
    return pixels


def _say(piece: Piece) -> str:
    objects = len(np.unique(piece.instances[piece.mask > 0]))
    return f"{piece.name}: {objects} objects, noise {1e3 * piece.rms_jy_beam:.3g} mJy/beam"


def _say_sizes(piece: Piece) -> str:
    ny, nx = piece.mask.shape
    pixel, beam = piece.pixel, piece.beam
    return (
        f"{nx * pixel.dx_arcsec:.4g} x {ny * pixel.dy_arcsec:.4g} arcsec, pixels {pixel.dx_arcsec:.3g} x "
        f"{pixel.dy_arcsec:.3g}, beam {beam.major_arcsec:.3g} x {beam.minor_arcsec:.3g}"
    )


def _legend() -> str:
    return f"white is {TOP_SNR:g} times the noise; outlines: compact blue, extended orange, spurious grey"
