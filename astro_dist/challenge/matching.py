"""Which submitted source is which true one: the one matching behind all figures of detection.

A submitted position may be a true source's where it lies within that source's radius: the width of the beam,
or half of the source's observed major width where that is more. Distances are on the sphere, from the
centroid or from the brightest pixel, whichever is nearer. True sources choose, the brightest first: each
takes the nearest position that is still free, so that both sides are matched once at most. Neither the order
of rows nor that of equal ones counts for any figure.
"""

from dataclasses import dataclass

import numpy as np

from astro_dist.challenge.spheres import pairs_on_sphere, separation_arcsec
from astro_dist.engine.arrays import Columns, Floats, Integers


@dataclass(frozen=True)
class Matches:
    """Pairs of rows, in the order of the truth's rows.

    Attributes
    ----------
    row, true_row
        Rows of the submission and of the truth.
    apart_arcsec
        Distance of each pair.
    """

    row: Integers
    true_row: Integers
    apart_arcsec: Floats

    def __len__(self) -> int:
        return len(self.row)


def match(found: Columns, truth: Columns, beam_arcsec: float) -> Matches:
    """Match two tables.

    Parameters
    ----------
    found
        ``ra_deg``, ``dec_deg`` and ``flux_jy`` of a submission.
    truth
        A truth with `astro_dist.challenge.names.TRUTH_COLUMNS`.
    beam_arcsec
        Major width of the beam.
    """
    radius = np.maximum(beam_arcsec, truth["major_arcsec"].astype(np.float64) / 2)
    true_row, row, apart = _candidates(found, truth, radius)
    # Brightest first, by number where they are equal; of each the nearest, of equals the brightest.
    order = np.lexsort((found["dec_deg"][row], found["ra_deg"][row], -found["flux_jy"][row], apart))
    order = order[np.lexsort((truth["id"][true_row][order], -truth["flux_jy"][true_row][order]))]
    taken, chosen = np.zeros(len(found["ra_deg"]), bool), np.full(len(truth["id"]), -1)
    for pair, one, true_one in zip(
        order.tolist(), row[order].tolist(), true_row[order].tolist(), strict=True
    ):
        if chosen[true_one] < 0 and not taken[one]:
            taken[one], chosen[true_one] = True, pair
    kept = chosen[chosen >= 0]
    return Matches(row[kept], true_row[kept], apart[kept])


def _candidates(found: Columns, truth: Columns, radius: Floats) -> tuple[Integers, Integers, Floats]:
    """Return all pairs within the radius of the true source, each once, with the shorter distance."""
    sky = found["ra_deg"], found["dec_deg"]
    parts = []
    for ra, dec in (("ra_deg", "dec_deg"), ("ra_peak_deg", "dec_peak_deg")):
        true_row, row = pairs_on_sphere((truth[ra], truth[dec]), sky, radius)
        apart = separation_arcsec(sky[0][row], sky[1][row], truth[ra][true_row], truth[dec][true_row])
        parts.append((true_row, row, apart))
    true_row, row, apart = (np.concatenate(some) for some in zip(*parts, strict=True))
    order = np.lexsort((apart, row, true_row))
    true_row, row, apart = true_row[order], row[order], apart[order]
    first = np.ones(len(row), bool)
    first[1:] = (np.diff(row) != 0) | (np.diff(true_row) != 0)
    return true_row[first], row[first], apart[first]
