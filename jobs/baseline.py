"""Find the sources of a map with this package or with sep, as a first catalogue for a challenge.

python jobs/baseline.py own challenge/public/map.fits own.csv
astro-dist challenge score own.csv --package challenge
"""

import argparse
from pathlib import Path

import numpy as np

from astro_dist.engine.errors import errors_in_one_line
from astro_dist.sky.config import AnnotateConfig, MapsConfig
from astro_dist.sky.finder import find_islands
from astro_dist.sky.maps import SkyMap
from astro_dist.sky.windows import Window

parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
parser.add_argument("finder", choices=("own", "sep"))
for name in ("map", "out"):
    parser.add_argument(name)
given = parser.parse_args()
if Path(given.out).exists():
    parser.error(f"{given.out} exists; name a new file")
names = ("ra_deg", "dec_deg", "flux_jy", "peak_jy_beam")
with errors_in_one_line():
    field = SkyMap.open(Path(given.map), MapsConfig())
    if given.finder == "own":
        found = find_islands(field, AnnotateConfig()).columns
        columns = np.stack([found[name][found["class"] > 1] for name in names])  # class 1 are artefacts
    else:
        import sep

        image = np.nan_to_num(field.read(Window.of_shape(field.shape)))
        back = sep.Background(image)
        f = sep.extract(image - back, 5.0, err=back.rms(), minarea=5)
        flux = sep.sum_ellipse(image - back, *(f[name] for name in ("x", "y", "a", "b", "theta")), 3.5)[0]
        places = f["y"], f["x"]
        columns = np.stack([*field.sky_of(*places), flux / field.beam_area_pix(*places), f["peak"]])
    np.savetxt(given.out, columns[:, columns[2] > 0].T, "%.10g", ",", header=",".join(names), comments="")
