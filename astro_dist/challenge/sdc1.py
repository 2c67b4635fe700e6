"""The score of SKA Science Data Challenge 1 by its published rules, with any beam.

The rules are those of the program `ska-sdc` 2.0.0, its oddities included: a row below zero takes the rows of
zero with it, a catalogue without a match scores 0 and not minus its rows, and angles are reduced by 90 and 45
degrees. The program has a beam of 0.25 arcsec at 1.4 GHz written into it; here the beam is that of the field.
Rows are sorted before anything is compared, so that the order of a file never counts.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from astro_dist.challenge.spheres import pairs_on_sphere, pairs_within, separation_arcsec
from astro_dist.engine.arrays import Columns, Floats, Integers

SDC1_NAMES = (
    *("id", "ra_core", "dec_core", "ra_cent", "dec_cent", "flux", "core_frac"),
    *("b_maj", "b_min", "pa", "size", "class"),
)
PARTS = ("position", "flux", "b_maj", "b_min", "pa", "core_frac", "class")
SKA_BEAM_ARCSEC = 0.25
"""The beam of the challenge at 1.4 GHz."""
LAS, GAUSSIAN, EXPONENTIAL = 1, 2, 3
"""What the sizes of a row are: largest angular size, full width of a Gaussian, scale of a disc."""
AS_GAUSSIAN = {LAS: 2.355 / 5.0, GAUSSIAN: 1.0, EXPONENTIAL: 2**0.5}
"""Factors from a size of each kind to the full width of a Gaussian."""
MATCH_SIGMAS = 5.0
POSITION, FLUX, SIZE, ANGLE_DEG, CORE = 0.3, 0.1, 0.3, 10.0, 0.05
"""Errors up to which a part has its full score."""
MEAN_CORE = 0.75
SPREAD = {"position": 0.31 * 3, "flux": 0.12 * 3, "size": 1.46 * 3}
"""Errors that count as one sigma each in the distance of a pair."""

Inside = Callable[[Floats, Floats], NDArray[np.bool_]]
Mode = Literal["core", "cent"]


@dataclass(frozen=True)
class Sdc1Rules:
    """What the rules leave to the field.

    Attributes
    ----------
    beam_arcsec
        Full width of the beam.
    mode
        Whether core or centroid positions are matched.
    flat
        Whether the search radius counts degrees of right ascension as they are, as the program does, which
        narrows it by the cosine of the declination. Otherwise distances are those on the sky.
    """

    beam_arcsec: float
    mode: Mode = "core"
    flat: bool = False


@dataclass(frozen=True)
class Sdc1Score:
    """A score and what it is made of.

    Attributes
    ----------
    value
        Sum of the scores of the matches, less one for each false detection.
    n_det, n_match, n_bad, n_false
        Rows of the submission in the scored area; of them matched; with a source near by, but too unlike it;
        all that are not matched.
    row, truth_row
        Rows of the two catalogues, as they were given, of every match.
    parts
        Score of each match by part, at most 1, NaN where it is not defined, which counts as 0.
    """

    value: float
    n_det: int
    n_match: int
    n_bad: int
    n_false: int
    row: Integers
    truth_row: Integers
    parts: Mapping[str, Floats]

    @property
    def total(self) -> float:
        """Sum of the scores of the matches."""
        return self.value + self.n_false if self.n_match else 0.0

    @property
    def accuracy(self) -> float:
        """Mean score of a match, 0 without any."""
        return self.total / self.n_match if self.n_match else 0.0


def score_sdc1(
    submitted: Columns, truth: Columns, rules: Sdc1Rules, inside: Inside | None = None
) -> Sdc1Score:
    """Score a catalogue.

    Parameters
    ----------
    submitted, truth
        Tables with `SDC1_NAMES`: degrees, Jy, arcsec.
    inside
        ``(ra_core, dec_core) -> whether there``: rows elsewhere are left out of both tables.
    """
    found, rows = _prepare(submitted, rules, inside)
    real, real_rows = _prepare(truth, rules, inside)
    row, truth_row, distance = _sieve(found, real, *_pair(found, real, rules), rules)
    good = distance < MATCH_SIGMAS
    n_bad = int((distance >= MATCH_SIGMAS).sum())
    row, truth_row = row[good], truth_row[good]
    parts = _score_parts(
        {n: v[row] for n, v in found.items()}, {n: v[truth_row] for n, v in real.items()}, rules
    )
    n_det, n_match = len(rows), len(row)
    total = sum(float(np.nansum(part)) for part in parts.values()) / len(PARTS)
    value = total - (n_det - n_match) if n_match else 0.0
    return Sdc1Score(value, n_det, n_match, n_bad, n_det - n_match, rows[row], real_rows[truth_row], parts)


def _prepare(table: Columns, rules: Sdc1Rules, inside: Inside | None) -> tuple[Columns, Integers]:
    """Return the rows that count, sorted, with ``conv_size`` and in [-180, 180), and where they come from."""
    rows = np.lexsort([table[name] for name in reversed(SDC1_NAMES)])
    table = {name: np.asarray(table[name], np.float64)[rows] for name in SDC1_NAMES}
    kept = np.logical_and.reduce([np.isfinite(values) for values in table.values()])
    for name in ("flux", "core_frac", "b_min", "b_maj"):
        if (table[name][kept] < 0).any():
            kept &= table[name] > 0
    for name in ("ra_core", "ra_cent"):
        table[name] = np.where(table[name] > 180, table[name] - 360, table[name])
    if inside is not None:
        kept &= inside(table["ra_core"], table["dec_core"])
    table = {name: values[kept] for name, values in table.items()}
    size = np.maximum(table["b_maj"], table["b_min"]) * _factors(table["size"], 1.0)
    table["conv_size"] = np.hypot(size, rules.beam_arcsec)
    return table, rows[kept]


def _factors(kinds: Floats, other: float) -> Floats:
    """Return the factor to Gaussian widths of each kind of size, ``other`` for unknown kinds."""
    return np.select([kinds == kind for kind in AS_GAUSSIAN], [*AS_GAUSSIAN.values()], other)


def _pair(found: Columns, real: Columns, rules: Sdc1Rules) -> tuple[Integers, Integers]:
    """Return the pairs of rows within the size of the submitted source, beam included."""
    sky, real_sky = (tuple(t[f"{axis}_{rules.mode}"] for axis in ("ra", "dec")) for t in (found, real))
    if not rules.flat:
        return pairs_on_sphere((sky[0], sky[1]), (real_sky[0], real_sky[1]), found["conv_size"])
    radius = found["conv_size"] / 3600
    row, other = pairs_within(np.stack(sky, 1), np.stack(real_sky, 1), radius)
    squared = sum((a[row] - b[other]) ** 2 for a, b in zip(sky, real_sky, strict=True))
    near = np.asarray(squared <= radius[row] ** 2)
    return row[near], other[near]


def _sieve(
    found: Columns, real: Columns, row: Integers, other: Integers, rules: Sdc1Rules
) -> tuple[Integers, Integers, Floats]:
    """Return one pair at most for each number of either catalogue, and the distances in sigmas.

    A submitted number keeps its nearest source only: where that is taken by a nearer one, it is false.
    """
    distance = _distance({n: v[row] for n, v in found.items()}, {n: v[other] for n, v in real.items()}, rules)
    for by_truth in (False, True):
        numbers = found["id"][row], real["id"][other]
        # Ties go to the smaller number; NaN, the distance of an unknown kind of size, comes last.
        order = np.lexsort([numbers[not by_truth], distance, numbers[by_truth]])
        best = np.sort(order[np.unique(numbers[by_truth][order], return_index=True)[1]])
        row, other, distance = row[best], other[best], distance[best]
    return row, other, distance


def _distance(found: Columns, real: Columns, rules: Sdc1Rules) -> Floats:
    """Return how unlike the two rows of each pair are, in sigmas of place, flux and size together."""
    sky = (found[f"ra_{rules.mode}"], found[f"dec_{rules.mode}"])
    place = separation_arcsec(*sky, real[f"ra_{rules.mode}"], real[f"dec_{rules.mode}"]) / real["conv_size"]
    widths = [(t["b_maj"] + t["b_min"]) / 2 * _factors(t["size"], np.nan) for t in (found, real)]
    with np.errstate(divide="ignore", invalid="ignore"):
        errors = {
            "position": place,
            "flux": (found["flux"] - real["flux"]) / real["flux"],
            "size": (widths[1] - widths[0]) / real["conv_size"],
        }
    return np.asarray(np.sqrt(sum((errors[name] / sigma) ** 2 for name, sigma in SPREAD.items())))


def _score_parts(found: Columns, real: Columns, rules: Sdc1Rules) -> dict[str, Floats]:
    """Return the score of each match by part."""
    scale = np.sqrt(4 * rules.beam_arcsec**2 + ((real["b_maj"] + real["b_min"]) / 2) ** 2)
    places = [
        separation_arcsec(*(t[f"{axis}_{mode}"] for t in (found, real) for axis in ("ra", "dec"))) / scale
        for mode in ("core", "cent")
    ]
    # From the kind of size that is submitted to that of the truth.
    factor = _factors(found["size"], 1.0) / _factors(real["size"], 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = {
            "position": _share(POSITION, np.fmin(*places)),
            "flux": _share(FLUX, np.abs(found["flux"] - real["flux"]) / real["flux"]),
            "b_maj": _share(SIZE, np.abs(found["b_maj"] * factor - real["b_maj"]) / real["b_maj"]),
            "b_min": _share(SIZE, np.abs(found["b_min"] * factor - real["b_min"]) / real["b_min"]),
            "pa": _share(ANGLE_DEG, np.abs(_reduced(found["pa"]) - _reduced(real["pa"]))),
            "core_frac": _share(CORE, np.abs(found["core_frac"] - real["core_frac"]) / MEAN_CORE),
            "class": (found["class"] == real["class"]).astype(np.float64),
        }
    # The narrow axis and the angle of a double source are not defined.
    for name in ("b_min", "pa"):
        parts[name][real["size"] == LAS] = 1.0
    return {name: parts[name] for name in PARTS}


def _share(most: float, error: Floats) -> Floats:
    """Return 1 up to an error of ``most``, and less in proportion beyond; NaN stays."""
    return np.asarray(np.minimum(1.0, most / error))


def _reduced(angle: Floats) -> Floats:
    """Return angles as the program reduces them: by 180, 90 and 45 degrees, one after the other."""
    for limit in (180, 90, 45):
        angle = np.where(angle > limit, angle - limit, angle)
    return np.where(angle < -45, angle + 45, angle)
