"""The truth as the catalogue of SKA's first challenge; positions, sizes and angles on the sky in ICRS."""

from collections.abc import Iterable
from typing import Literal

import numpy as np

from astro_dist.engine.arrays import Columns
from astro_dist.sky.beams import Beam

Sdc1Angle = Literal["east_of_north", "clockwise"]
SDC1_COLUMNS = {
    "id": "number of the source",
    "ra_core": "right ascension of the brightest pixel, deg, ICRS",
    "dec_core": "its declination, deg",
    "ra_cent": "right ascension of the centroid, deg, ICRS",
    "dec_cent": "its declination, deg",
    "flux": "flux density, Jy",
    "core_frac": "share of the flux in one beam round the brightest pixel, 0 to 1",
    "b_maj": "full width along the major axis without the beam, arcsec",
    "b_min": "full width along the minor axis without the beam, arcsec",
    "pa": "angle of the major axis, deg",
    "size": "2: widths are full widths at half maximum of a Gaussian",
    "class": "2 compact, 3 extended",
}
SDC1_ANGLES: dict[Sdc1Angle, str] = {
    "east_of_north": "pa is counted from north to east, as SKAO's own solution of the challenge writes it.",
    "clockwise": "pa is counted clockwise from the direction of longitude, as the challenge defines it.",
}
SDC1_GAUSSIAN = 2
LEAST_BEAM_SHARE = 0.01
"""Least intrinsic width in the SDC1 text, in minor widths of the beam: its score divides by both widths."""


def sdc1_lines(truth: Columns, beam: Beam, angle: Sdc1Angle = "east_of_north") -> Iterable[str]:
    """Yield the rows of an SDC1 catalogue: numbers only, in the order of `SDC1_COLUMNS`, no header.

    Parameters
    ----------
    beam
        Beam of the field. Widths without the beam are at least `LEAST_BEAM_SHARE` of its minor width.
    angle
        Zero and sense of the position angle: see `SDC1_ANGLES`.
    """
    # Jy/beam over Jy is the share in one beam. Negative pixels or narrow shapes may bring it above 1.
    core = np.clip(truth["peak_jy_beam"] / truth["flux_jy"], 0, 1)
    columns = [truth[name] for name in ("id", "ra_peak_deg", "dec_peak_deg", "ra_deg", "dec_deg", "flux_jy")]
    widths = [truth[f"intrinsic_{name}_arcsec"] for name in ("major", "minor")]
    columns += [core, *(np.maximum(width, LEAST_BEAM_SHARE * beam.minor_arcsec) for width in widths)]
    # An axis at angle p from north to east lies at p + 90 from west, counter-clockwise: clockwise at 90 - p.
    pa = truth["intrinsic_pa_deg"] if angle == "east_of_north" else (90 - truth["intrinsic_pa_deg"]) % 180
    for row in zip(*(c.tolist() for c in columns), pa.tolist(), truth["class"].tolist(), strict=True):
        number, ra, dec, ra_mean, dec_mean, flux, share, major, minor, direction, kind = row
        yield (
            f"{number} {ra:.7f} {dec:.7f} {ra_mean:.7f} {dec_mean:.7f} {flux:.6e} {share:.5f} "
            f"{major:.6g} {minor:.6g} {direction:.3f} {SDC1_GAUSSIAN} {kind}\n"
        )


def sdc1_columns(beam: Beam, angle: Sdc1Angle, classes: str = SDC1_COLUMNS["class"]) -> Iterable[str]:
    """Yield the text that describes the columns of ``truth_sdc1.txt``, which itself holds numbers only."""
    yield "Columns of truth_sdc1.txt, in the order of SKA Science Data Challenge 1\n\n"
    for number, (name, meaning) in enumerate((SDC1_COLUMNS | {"class": classes}).items(), 1):
        yield f"{number:2d} {name:9s} {meaning}\n"
    least = LEAST_BEAM_SHARE * beam.minor_arcsec
    yield f"\n{SDC1_ANGLES[angle]} The other convention: assemble.sdc1_angle.\n"
    yield f"Widths are at least {least:.6g} arcsec, a hundredth of the beam: the score divides by them.\n"
