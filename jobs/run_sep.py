"""Find the sources of a challenge's map with sep, of the extra `interop`.

python jobs/run_sep.py challenge/public/map.fits sep.csv
"""

import argparse
from pathlib import Path

import numpy as np
import sep

from astro_dist.engine.errors import errors_in_one_line
from astro_dist.sky.config import MapsConfig
from astro_dist.sky.labels import Plane
from astro_dist.sky.maps import SkyMap
from astro_dist.sky.windows import Window

parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
parser.add_argument("map", type=Path)
parser.add_argument("out", type=Path, help="a new CSV file")
given = parser.parse_args()
if given.out.exists():
    parser.error(f"{given.out} exists; name a new file")
names = ("ra_deg", "dec_deg", "flux_jy", "peak_jy_beam")
with errors_in_one_line():
    field = SkyMap.open(given.map, MapsConfig())
    whole, fwhm = Window.of_shape(field.shape), field.beam.fwhm_pix(field.pixel)
    image, rms = np.nan_to_num(field.read(whole)), Plane.open(given.map.with_name("rms.fits"), 1).read(whole)
    back = sep.Background(image, bw=round(8 * fwhm), bh=round(8 * fwhm))
    # Near bright sources the artefacts count as noise. sep's own filter is for white noise: it would treble
    # the significance of noise that has the shape of the beam. Lobes of one source stay together.
    options = {"minarea": 3, "filter_kernel": None, "deblend_cont": 1.0}
    f = sep.extract(image - back, 5.0, err=np.maximum(back.rms(), rms), **options)
    widths = [np.fmax(f[name], fwhm / 2.3548) for name in "ab"]  # NaN where an island is one row
    # sep refuses its own angle of a quarter turn, which it rounds up.
    angle = np.clip(f["theta"], -np.pi / 2, np.pi / 2)
    flux = sep.sum_ellipse(image - back, f["x"], f["y"], *widths, angle, 3.0)[0]
    places = f["y"], f["x"]
    columns = np.stack([*field.sky_of(*places), flux / field.beam_area_pix(*places), f["peak"]])
    np.savetxt(given.out, columns[:, columns[2] > 0].T, "%.10g", ",", header=",".join(names), comments="")
