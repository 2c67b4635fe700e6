"""Region files of DS9 and of CASA (CRTF): ellipses on the sky, and outlines of pixels."""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.arrays import Columns
from astro_dist.sky.classes import CLASS_NAMES, SourceClass
from astro_dist.sky.outlines import trace_outline

COLOURS = {SourceClass.COMPACT: "cyan", SourceClass.EXTENDED: "magenta", SourceClass.SPURIOUS: "yellow"}
CRTF_HEAD = "#CRTFv0 CASA Region Text Format version 0\n"
Outlined = tuple[int, SourceClass, NDArray[np.integer], NDArray[np.integer]]
"""Number, class, rows and columns of an object."""


def region_lines(truth: Columns) -> Iterator[str]:
    """Yield a DS9 region file: an ellipse of the observed full widths per source, coloured by class."""
    yield _ds9_head("icrs", edit=False)
    for number, kind, ra, dec, major, minor, angle in _ellipses(truth):
        # DS9 takes half axes, and the angle of the first from west, where +x is: 90 degrees more.
        shape = f'ellipse({ra:.7f},{dec:.7f},{major / 2:.3f}",{minor / 2:.3f}",{(angle + 90) % 180:.2f})'
        yield shape + _ds9_facts(number, kind)


def crtf_lines(truth: Columns) -> Iterator[str]:
    """Yield a CASA region file (CRTF) with the ellipses of `region_lines`; CARTA and CASA read it."""
    yield CRTF_HEAD
    for number, kind, ra, dec, major, minor, angle in _ellipses(truth):
        # Half axes; the angle of the first is counted from north to east.
        yield (
            f"ellipse[[{ra:.7f}deg, {dec:.7f}deg], [{major / 2:.3f}arcsec, {minor / 2:.3f}arcsec], "
            f"{angle % 180:.2f}deg] coord=ICRS, {_crtf_facts(number, kind)}"
        )


def ds9_outlines(objects: Iterable[Outlined]) -> Iterator[str]:
    """Yield a DS9 region file: an outline of the pixels of each object, in pixels of the image."""
    yield _ds9_head("image", edit=True)
    for number, kind, y, x in objects:
        # DS9 counts pixels from 1.
        corners = ",".join(f"{column + 1:.1f},{row + 1:.1f}" for row, column in trace_outline(y, x).tolist())
        yield f"polygon({corners})" + _ds9_facts(number, kind)


def crtf_outlines(objects: Iterable[Outlined]) -> Iterator[str]:
    """Yield a CASA region file (CRTF) with the outlines of `ds9_outlines`."""
    yield CRTF_HEAD
    for number, kind, y, x in objects:
        corners = ", ".join(
            f"[{column:.1f}pix, {row:.1f}pix]" for row, column in trace_outline(y, x).tolist()
        )
        yield f"poly[{corners}] {_crtf_facts(number, kind)}"


def _ds9_head(system: str, *, edit: bool) -> str:
    may = int(edit)
    return (
        "# Region file format: DS9 version 4.1\n"
        f"global color=cyan width=1 select=1 edit={may} move={may} delete=1\n{system}\n"
    )


def _ds9_facts(number: int, kind: SourceClass) -> str:
    return f" # tag={{{CLASS_NAMES[kind]}}} color={COLOURS[kind]} text={{{number}}}\n"


def _crtf_facts(number: int, kind: SourceClass) -> str:
    return f"color={COLOURS[kind]}, label='{CLASS_NAMES[kind]} {number}'\n"


def _ellipses(truth: Columns) -> Iterator[tuple[int, SourceClass, float, float, float, float, float]]:
    names = ("id", "class", "ra_deg", "dec_deg", "major_arcsec", "minor_arcsec", "pa_deg")
    for number, kind, *rest in zip(*(truth[name].tolist() for name in names), strict=True):
        yield number, SourceClass(kind), *rest
