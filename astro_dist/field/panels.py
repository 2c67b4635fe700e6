"""The parts that pictures of a field are made of: grey skies, text, frames, colour bars and PNG files.

The font is the one inside Pillow, so that no picture depends on the fonts of a machine.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from astro_dist.engine.files import publish_bytes
from astro_dist.field.ticks import Ticks, round_levels
from astro_dist.pictures.images import png_bytes
from astro_dist.sky.beams import Beam, Pixel

PAPER, INK, BLANK = (255, 255, 255), (25, 30, 36), (58, 66, 92)
MARK = (255, 166, 46)
TICK_PIX, BAR_PIX, APART_PIX = 7, 18, 30
MAX_BEAM_SHARE = 1 / 3
FLOOR_SNR, LINEAR_SNR = 3.0, 108.0
RGB = tuple[int, int, int]


@dataclass(frozen=True)
class Stretch:
    """A grey scale from black at ``low`` to white at ``high``: linear over ``soft``, logarithmic far above.

    The level is asinh((v - low) / soft), so that noise of that size is seen beside sources of any brightness.
    """

    low: float
    high: float
    soft: float

    @classmethod
    def over_noise(cls, median: float, sigma: float, top_snr: float) -> "Stretch":
        """Return the stretch from 3 sigma below the median to ``top_snr`` above, linear over 3 sigma.

        It is linear over more where white is near, so that the sky is never lighter than a quarter of it.
        """
        soft = max(FLOOR_SNR, LINEAR_SNR / top_snr)
        return cls(median - FLOOR_SNR * sigma, median + top_snr * sigma, soft * sigma)

    def level(self, values: Any) -> NDArray[np.float64]:
        """Return the share of white of values, in [0, 1]; NaN stays NaN."""
        shares = np.clip((np.asarray(values, np.float64) - self.low) / self.soft, 0, None)
        top = math.asinh((self.high - self.low) / self.soft)
        return np.asarray(np.clip(np.arcsinh(shares) / top, 0, 1))

    def paint(self, image: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Return RGB pixels, those without data blue; the last row of the sky comes first."""
        top = math.asinh((self.high - self.low) / self.soft)
        # Where each grey begins: numpy's arcsinh of every pixel would differ between CPUs in its last bits.
        steps = [self.low + self.soft * math.sinh((grey - 0.5) / 255 * top) for grey in range(1, 256)]
        grey = np.searchsorted(np.array(steps), image, side="right").astype(np.uint8)
        pixels = np.repeat(grey[..., None], 3, axis=2)
        pixels[~np.isfinite(image)] = BLANK
        return pixels[::-1]


def noise_stretch(
    image: NDArray[np.float32], share: float = 0.9995, least: float = 12.0, most: float = 300.0
) -> Stretch:
    """Return the stretch of an image over its noise.

    Parameters
    ----------
    share
        Quantile of the pixels that is white.
    least, most
        White is so many sigma above the median at least, because in a field of few sources the quantile is
        noise, which would be drawn as bright as sources; and at most, because a bright source alone would
        make all others dark.
    """
    values = image[np.isfinite(image)]
    if values.size == 0:
        return Stretch(0.0, 1.0, 1.0)
    median = float(np.median(values))
    sigma = 1.4826 * float(np.median(abs(values - np.float32(median))))
    # An image without noise still has limits that differ.
    sigma = sigma or max(abs(median), 1e-12)
    top = (float(np.quantile(values, share)) - median) / sigma
    return Stretch.over_noise(median, sigma, min(max(top, least), most))


class Sheet:
    """A white sheet that pictures and text are put on; places are (x, y) from the upper left corner."""

    def __init__(self, width: int, height: int) -> None:
        self.image = Image.new("RGB", (width, height), PAPER)
        self.draw = ImageDraw.Draw(self.image)

    def text(
        self, x: float, y: float, text: str, size: int = 15, anchor: str = "la", fill: RGB = INK
    ) -> None:
        """Write one line; ``anchor`` is Pillow's, such as ``la`` for left and ascender."""
        self.draw.text((x, y), text, fill, ImageFont.load_default(size), anchor=anchor)

    def upright(self, x: int, y: int, text: str, size: int = 15) -> None:
        """Write one line from below to above, centred at a place."""
        font = ImageFont.load_default(size)
        width, height = math.ceil(font.getlength(text)) + 2, 2 * size
        line = Image.new("RGB", (width, height), PAPER)
        ImageDraw.Draw(line).text((width / 2, height / 2), text, INK, font, anchor="mm")
        turned = line.transpose(Image.Transpose.ROTATE_90)
        self.image.paste(turned, (x - turned.width // 2, y - turned.height // 2))

    def sky(self, x: int, y: int, pixels: NDArray[np.uint8]) -> None:
        """Put RGB pixels down with their upper left corner at a place, and a thin frame round them."""
        self.image.paste(Image.fromarray(np.ascontiguousarray(pixels)), (x, y))
        height, width = pixels.shape[:2]
        self.draw.rectangle((x - 1, y - 1, x + width, y + height), outline=INK)

    def axes(self, box: tuple[int, int, int, int], ra: Ticks, dec: Ticks) -> None:
        """Draw ticks outside the lower and left edges of a box (x, y, width, height), and label them.

        Parameters
        ----------
        ra, dec
            Places in pixels of the sheet from the left and from the lower edge, and labels.
        """
        x, y, width, height = box
        for place, label in ra:
            self.draw.line((x + place, y + height, x + place, y + height + TICK_PIX), fill=INK)
            self.text(x + place, y + height + TICK_PIX + 3, label, anchor="ma")
        for place, label in dec:
            self.draw.line((x - TICK_PIX, y + height - place, x - 1, y + height - place), fill=INK)
            self.text(x - TICK_PIX - 4, y + height - place, label, anchor="rm")
        self.text(x + width / 2, y + height + 34, "Right ascension (ICRS)", 16, "ma")
        self.upright(x - 92, y + height // 2, "Declination (ICRS)", 16)

    def bar(self, x: int, y: int, height: int, stretch: Stretch, scale: float, unit: str) -> None:
        """Draw the grey scale with round numbers on it.

        Parameters
        ----------
        scale, unit
            Factor from the values of the stretch to those that are written, and their unit.
        """
        rows = np.linspace(1, 0, height)
        pixels = np.repeat(np.rint(255 * rows).astype(np.uint8)[:, None], BAR_PIX, axis=1)
        self.sky(x, y, np.repeat(pixels[..., None], 3, axis=2))
        written: list[float] = []
        # Zero and then from the top: of numbers that lie close together the first one is written.
        levels = round_levels(scale * stretch.low, scale * stretch.high)
        for value in sorted(levels, key=lambda v: (v != 0, -v)):
            place = y + (height - 1) * (1 - float(stretch.level(value / scale)))
            if all(abs(place - other) >= APART_PIX for other in written):
                written.append(place)
                self.draw.line((x + BAR_PIX, place, x + BAR_PIX + 5, place), fill=INK)
                self.text(x + BAR_PIX + 9, place, f"{value:g}", anchor="lm")
        self.upright(x + BAR_PIX + 58, y + height // 2, unit, 16)

    def publish(self, path: Path, about: str) -> None:
        """Publish the sheet as PNG with a description."""
        publish_bytes(path, png_bytes(self.image, about))


def brightness_unit(top_jy_beam: float) -> tuple[float, str]:
    """Return the factor and the unit in which a brightness is written with few digits."""
    units = ((1.0, "Jy/beam"), (1e3, "mJy/beam"), (1e6, "uJy/beam"))
    return next((u for u in units if abs(top_jy_beam) * u[0] >= 1), units[-1])


def magnify(pixels: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """Return pixels as squares of ``factor`` pixels."""
    return np.repeat(np.repeat(pixels, factor, 0), factor, 1)


def stamp_beam(pixels: NDArray[np.uint8], beam: Beam, pixel: Pixel, factor: int) -> None:
    """Draw the half-maximum ellipse of the beam to scale over the lower left corner of a magnified sky."""
    fwhm = beam.fwhm_pix(pixel) * factor
    half = math.ceil(0.9 * fwhm * math.sqrt(beam.major_arcsec / beam.minor_arcsec))
    # A beam that would cover a third of the picture is left out rather than hide the sources.
    if 2 * half + 1 > min(pixels.shape[:2]) * MAX_BEAM_SHARE:
        return
    offsets = np.arange(-half, half + 1) / factor
    inside = beam.profile(offsets[:, None], offsets[None, :], pixel)[::-1] >= 0.5
    margin = 6
    corner = pixels[-margin - 2 * half - 1 : -margin, margin : margin + 2 * half + 1]
    corner[:] = PAPER
    corner[inside] = INK


def say_beam(beam: Beam) -> str:
    """Return a beam in words."""
    if math.isclose(beam.major_arcsec, beam.minor_arcsec, rel_tol=1e-3):
        return f"beam {beam.major_arcsec:.3g} arcsec"
    return f"beam {beam.major_arcsec:.3g} x {beam.minor_arcsec:.3g} arcsec at {beam.pa_deg:.3g} deg"


def say_pixel(pixel: Pixel) -> str:
    """Return the size of a pixel in words."""
    dy, dx = pixel.dy_arcsec, pixel.dx_arcsec
    return f"{dx:.3g} arcsec" if math.isclose(dx, dy, rel_tol=1e-3) else f"{dx:.3g} x {dy:.3g} arcsec"


def join_lines(parts: Iterable[str]) -> str:
    """Return the parts that are not empty, as one line."""
    return "; ".join(part for part in parts if part)
