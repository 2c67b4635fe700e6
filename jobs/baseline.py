"""Find the sources of a challenge's map with the finder of this package, or label its pixels by a Tiramisu.

    python jobs/baseline.py own challenge/public/map.fits own.csv
    python jobs/baseline.py tiramisu challenge/public/map.fits mask.fits
    astro-dist challenge score own.csv mask.fits --package challenge

The Tiramisu learns from the open area, in a folder beside the mask; the same command goes on after a stop.
"""

import argparse
from pathlib import Path

import numpy as np

from astro_dist.engine.errors import errors_in_one_line
from astro_dist.sky.config import AnnotateConfig, MapsConfig
from astro_dist.sky.finder import find_islands
from astro_dist.sky.maps import SkyMap

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("finder", choices=("own", "tiramisu"))
parser.add_argument("map", type=Path)
parser.add_argument("out", type=Path, help="a new file: a CSV, or FITS for the Tiramisu")
parser.add_argument("--preset", default="small", help="size of the Tiramisu: tiny, small or paper")
parser.add_argument("--steps", type=int, default=600, help="steps of its training")
given = parser.parse_args()
if given.out.exists():
    parser.error(f"{given.out} exists; name a new file")
names = ("ra_deg", "dec_deg", "flux_jy", "peak_jy_beam")
with errors_in_one_line():
    if given.finder == "tiramisu":
        from astro_dist.radio.open_area import label_map

        label_map(given.map, given.out, given.preset, given.steps)
    else:
        found = find_islands(SkyMap.open(given.map, MapsConfig()), AnnotateConfig()).columns
        columns = np.stack([found[name][found["class"] > 1] for name in names])  # class 1 are artefacts
        np.savetxt(given.out, columns.T, "%.10g", ",", header=",".join(names), comments="")
