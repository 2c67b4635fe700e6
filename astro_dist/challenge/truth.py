"""The truth of a challenge: the sources of a run under random numbers, with their population and their area.

Numbers are drawn from all of 31 bits, without an order and without a bound that would tell how many there
are. Nothing of how a source was drawn (stamp, object, turn, row of a catalogue) is taken over.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from astro_dist.challenge.names import HIDDEN_COLUMNS, TRUTH, TRUTH_COLUMNS
from astro_dist.challenge.sdc1 import SDC1_NAMES
from astro_dist.engine.arrays import Columns, Integers
from astro_dist.engine.files import publish_bytes
from astro_dist.field.columns import write_columns_file
from astro_dist.field.truth import votable_lines
from astro_dist.field.truth_text import (
    LEAST_BEAM_SHARE,
    SDC1_GAUSSIAN,
    sdc1_columns,
    sdc1_lines,
)
from astro_dist.sky.beams import Beam
from astro_dist.sky.classes import CLASS_NAMES, SourceClass
from astro_dist.sky.counts import COUNTS_HZ
from astro_dist.sky.fits_tables import Column, write_table
from astro_dist.sky.region_lines import crtf_lines, region_lines

Stream = Callable[..., np.random.Generator]
HIGHEST_ID = 2**31 - 1
SS_AGN, FS_AGN, SFG = 1, 2, 3
FLAT = -0.5
"""Spectral index above which an active nucleus counts as flat."""
FAINT_JY = 2e-4
"""Flux at 1.4 GHz below which most sources are star-forming galaxies (Smolcic et al. 2017, A&A 602, A2)."""
TYPICAL_INDEX = -0.7


def draw_ids(old: Integers, stream: Stream) -> Integers:
    """Return a random number from 1 to 2^31 - 1 for each source, all different."""
    rng, drawn = stream("challenge", "ids"), np.zeros(0, np.int64)
    while len(drawn) < len(old):
        more = rng.integers(1, HIGHEST_ID + 1, 2 * len(old) + 16)
        drawn = np.concatenate([drawn, more])
        # In the order of drawing, so that more draws change none of the earlier ones.
        drawn = drawn[np.sort(np.unique(drawn, return_index=True)[1])]
    return drawn[: len(old)]


def find_populations(truth: Columns, frequency_hz: float | None) -> NDArray[np.uint8]:
    """Return the population of each source, 1 SS-AGN, 2 FS-AGN or 3 SFG.

    Resolved radio galaxies, the extended class, are steep. Of the others those with a spectral index above
    `FLAT` are flat nuclei; below `FAINT_JY` at 1.4 GHz the rest are star-forming galaxies, above it steep
    nuclei. Counts do not say which source is which: this is the likeliest population, not a drawn one.
    """
    index = np.nan_to_num(truth["spectral_index"], nan=TYPICAL_INDEX)
    at_1400 = truth["flux_jy"] * (COUNTS_HZ / (frequency_hz or COUNTS_HZ)) ** index
    faint = np.where(at_1400 < FAINT_JY, SFG, SS_AGN)
    compact = np.where(index > FLAT, FS_AGN, faint)
    return np.where(truth["class"] == SourceClass.EXTENDED, SS_AGN, compact).astype(np.uint8)


def rename_sources(
    truth: Columns,
    area: NDArray[np.uint8],
    stream: Stream,
    frequency_hz: float | None,
    further: Iterable[str] = (),
) -> Columns:
    """Return the columns `HIDDEN_COLUMNS` and ``further`` of a run's truth, sorted by the new numbers."""
    new = draw_ids(truth["id"], stream)
    group = np.unique(truth["blend"], return_inverse=True)[1]
    least = np.full(group.max(initial=-1) + 1, HIGHEST_ID, np.int64)
    np.minimum.at(least, group, new)
    table = dict(truth) | {
        "id": new.astype(np.int32),
        "run_id": truth["id"],
        "blend": least[group].astype(np.int32),
        "population": find_populations(truth, frequency_hz),
        "area": area,
        # As numpy has text: tables of ours give objects.
        "class_name": np.array(CLASS_NAMES)[truth["class"]],
    }
    order = np.argsort(new)
    return {name: table[name][order] for name in (*HIDDEN_COLUMNS, *further)}


def sdc1_table(truth: Columns, beam: Beam) -> Columns:
    """Return the truth in the columns of SDC1, with the population as its class; see `sdc1_lines`."""
    least = LEAST_BEAM_SHARE * beam.minor_arcsec
    values = (
        *(truth[name] for name in ("id", "ra_peak_deg", "dec_peak_deg", "ra_deg", "dec_deg", "flux_jy")),
        np.clip(truth["peak_jy_beam"] / truth["flux_jy"], 0, 1),
        *(np.maximum(truth[f"intrinsic_{name}_arcsec"], least) for name in ("major", "minor")),
        truth["intrinsic_pa_deg"],
        np.full(len(truth["id"]), SDC1_GAUSSIAN),
        truth["population"],
    )
    return {n: np.asarray(v, np.float64) for n, v in zip(SDC1_NAMES, values, strict=True)}


def write_catalogues(
    folder: Path, truth: Columns, about: Mapping[str, Column], beam: Beam, name: str = TRUTH
) -> None:
    """Write a truth as parquet, FITS, VOTable, DS9 and CASA regions, and as SDC1 text."""
    write_columns_file(folder / f"{name}.parquet", truth, about)
    write_table(folder / f"{name}.fits", truth, about, name="TRUTH")
    as_sdc1 = truth | {"class": truth["population"]}
    for end, lines in {
        ".vot": votable_lines(truth, about),
        ".reg": region_lines(truth),
        ".crtf": crtf_lines(truth),
        "_sdc1.txt": sdc1_lines(as_sdc1, beam),
        "_sdc1_columns.txt": sdc1_columns(beam, "east_of_north", "1 SS-AGN, 2 FS-AGN, 3 SFG"),
    }.items():
        publish_bytes(folder / f"{name}{end}", "".join(lines).encode())


def open_rows(truth: Columns, area: int, names: Iterable[str] = TRUTH_COLUMNS) -> Columns:
    """Return the rows of one area with the columns ``names``, those that may be given out."""
    rows = np.flatnonzero(truth["area"] == area)
    return {name: truth[name][rows] for name in names}
