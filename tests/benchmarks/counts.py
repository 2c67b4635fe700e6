"""Are the sources of a field as many as published, flux by flux?

    python -m tests.benchmarks.counts RUN

Compares the truth of a field of mode counts with the published table at 1.4 GHz, in bins of a quarter of
a decade: fluxes of the truth are brought to 1.4 GHz by the spectral index of each source. The published
number of a bin is the weighted mean of its points (each over the curve, which gives the shape within the
bin), and its error that of the mean or of the spread of the surveys, whichever is larger. Columns: bin in Jy,
sources of the truth, published number with its error, distance in errors (Poisson's and the published one),
and the part of the sources that are objects of the library.
"""

import itertools
import math
import sys
from pathlib import Path

import numpy as np

from astro_dist.field.columns import read_columns_file
from astro_dist.field.given import area_sr
from astro_dist.sky.config import MapsConfig
from astro_dist.sky.counts import COUNTS_HZ, euclidean_counts, number_between, published
from astro_dist.sky.maps import SkyMap


def published_numbers(edges, area):
    """Return the published number of sources in each bin and its relative error, NaN without points."""
    table = published()
    over = np.log(table.counts / euclidean_counts(table.flux_jy))
    error = np.maximum((table.above + table.below) / 2 / table.counts, 0.05)
    rows = []
    for low, high in itertools.pairwise(edges):
        inside = table.fitted & (table.flux_jy >= low) & (table.flux_jy < high)
        if not inside.any():
            rows.append((math.nan, math.nan))
            continue
        mean, weight = np.average(over[inside], weights=error[inside] ** -2, returned=True)
        own = max(weight**-0.5, over[inside].std() / math.sqrt(inside.sum()))
        rows.append((number_between(low, high) * area * math.exp(mean), own))
    return np.array(rows).T


def main(root):
    """Print the table."""
    field = SkyMap.open(Path(root) / "field" / "map.fits", MapsConfig(), verify=False)
    truth = read_columns_file(Path(root) / "field" / "truth.parquet")
    flux = truth["flux_given_jy"] / (field.frequency_hz / COUNTS_HZ) ** truth["spectral_index"]
    first = math.ceil(4 * math.log10(flux.min()) - 0.01) / 4
    edges = 10 ** np.arange(first, 1.3, 0.25)
    area = area_sr(field)
    print(f"{len(flux)} sources in {area * (180 / math.pi) ** 2:.3f} square degrees")
    for (low, high), wanted, own in zip(
        itertools.pairwise(edges), *published_numbers(edges, area), strict=True
    ):
        inside = (flux >= low) & (flux < high)
        n = np.count_nonzero(inside)
        away = (n - wanted) / math.hypot(math.sqrt(wanted), wanted * own)
        objects = np.count_nonzero(truth["object"][inside] >= 0) / max(n, 1)
        print(
            f"{low:9.3g} {high:9.3g} {n:7d} {wanted:9.1f} +- {wanted * own:6.1f} {away:6.1f} {objects:6.2f}"
        )


if __name__ == "__main__":
    main(sys.argv[1])
