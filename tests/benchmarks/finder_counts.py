"""Does a source finder measure the published counts on a field of mode counts?

    python -m tests.benchmarks.finder_counts RUN OTHER [SIDE]

Runs PyBDSF (5 sigma peaks, 3 sigma islands) on the first SIDE x SIDE pixels (3,000) of the maps of two runs
of different seeds. OTHER says how many sources of its truth there are in a bin of flux for each one found
there, which is at once incompleteness, false detections, and the flux that noise and resolution move between
bins. The sources found in RUN times that ratio are compared with the published table at 1.4 GHz. Columns: bin
in Jy, found in RUN, ratio, corrected number, published number, and their distance in errors: Poisson's of the
three numbers, and the published one.
"""

import itertools
import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from astropy.io import fits

from astro_dist.field.columns import read_columns_file
from astro_dist.sky.counts import COUNTS_HZ
from astro_dist.sky.survey import SPECTRAL_INDEX
from tests.benchmarks.counts import published_numbers

FAINTEST_SNR = 5


def corner(root, side):
    """Return the fluxes that PyBDSF finds in a corner, those of the truth, area, noise and frequency."""
    folder = Path(root) / "field"
    with fits.open(folder / "map.fits", memmap=True) as hdus, tempfile.TemporaryDirectory() as own:
        header, pixels = hdus[0].header, np.array(hdus[0].data[:side, :side])
        path = Path(own) / "corner.fits"
        fits.writeto(path, pixels, header)
        call = [sys.executable, "-m", "tests.end_to_end.finders", "pybdsf", str(path)]
        done = subprocess.run(call, capture_output=True, text=True, check=True)
    found = np.array([one["flux_jy"] for one in json.loads(done.stdout.splitlines()[-1])["sources"]])
    truth = read_columns_file(folder / "truth.parquet")
    inside = (truth["y_pix"] < side - 0.5) & (truth["x_pix"] < side - 0.5)
    area = pixels.size * abs(header["CDELT1"] * header["CDELT2"]) * (math.pi / 180) ** 2
    return found, truth["flux_given_jy"][inside], area, truth["sigma_jy_beam"][0], header["RESTFRQ"]


def main(root, other, side="3000"):
    """Print the table."""
    found, _, area, sigma, frequency = corner(root, int(side))
    found_other, true_other, *_ = corner(other, int(side))
    to_1400 = (frequency / COUNTS_HZ) ** -SPECTRAL_INDEX
    first = math.ceil(4 * math.log10(FAINTEST_SNR * sigma * to_1400)) / 4
    edges = 10 ** np.arange(first, 0.26, 0.25)
    one, two, true = (np.histogram(flux * to_1400, edges)[0] for flux in (found, found_other, true_other))
    wanted, own = published_numbers(edges, area)
    print(f"{len(found)} sources found in {root}, {len(found_other)} of {len(true_other)} in {other}")
    for (low, high), n, m, t, w, e in zip(
        itertools.pairwise(edges), one, two, true, wanted, own, strict=True
    ):
        if not min(n, m, t):
            print(f"{low:9.3g} {high:9.3g} {n:6d} {'':6s} {'':9s} {w:9.1f}")
            continue
        ratio, corrected = t / m, n * t / m
        error = math.hypot(w * e, corrected * math.sqrt(1 / n + 1 / m + 1 / t))
        away = (corrected - w) / error
        print(f"{low:9.3g} {high:9.3g} {n:6d} {ratio:6.2f} {corrected:9.1f} {w:9.1f} {away:6.1f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
