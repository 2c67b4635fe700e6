"""Write copies of maps at a larger beam, so that a model can be trained on several beams.

    python jobs/convolve_maps.py --own 5.4 5.4 0 --beam 9 6.5 40 --out wider/ maps/*.fits

Beams are major and minor axis in arcsec and the angle in degrees, north through east; --own is for maps whose
headers lack theirs. Values in Jy/beam are scaled to the new beam, so that the peak of a point source stays.
What touches pixels without data becomes blank, at most to two widths of the kernel. List the copies under
`maps.more`; their headers have the new beam.
"""

import argparse
from pathlib import Path

from astropy.io import fits

from astro_dist.engine.errors import ConfigError, errors_in_one_line
from astro_dist.sky.beams import Beam
from astro_dist.sky.wider import widen_map

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--own", nargs=3, type=float)
parser.add_argument("--beam", nargs=3, type=float, required=True)
parser.add_argument("--out", type=Path, required=True)
parser.add_argument("maps", nargs="+", type=Path)
options = parser.parse_args()
with errors_in_one_line():
    if any((options.out / path.name.removesuffix(".fz")).exists() for path in options.maps):
        raise ConfigError(f"{options.out} has such copies already; give another --out")
    options.out.mkdir(parents=True, exist_ok=True)
    for path in options.maps:
        header, image = widen_map(path, Beam(*options.beam), options.own and Beam(*options.own))
        fits.PrimaryHDU(image, header).writeto(options.out / path.name.removesuffix(".fz"))
