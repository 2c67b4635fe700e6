"""Find the sources of a map piece by piece, where the whole needs too much memory: finder, map, table.

Pieces have 128 pixels more on each side; a source belongs to the piece in which its place lies.
"""

import argparse
import subprocess
import sys
import tempfile
from itertools import product
from pathlib import Path

import numpy as np
from astropy.io import fits

from astro_dist.sky.config import MapsConfig
from astro_dist.sky.maps import SkyMap
from astro_dist.sky.user_files import read_table

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("finder", choices=("pybdsf", "aegean"))
parser.add_argument("map", type=Path)
parser.add_argument("out", type=Path, help="a new CSV file")
parser.add_argument("--side", type=int, default=4000, help="of a piece, pixels")
if (given := parser.parse_args()).out.exists():
    parser.error(f"{given.out} exists; name a new file")
field, job, rows = SkyMap.open(given.map, MapsConfig()), Path(__file__).with_name("run_finder.py"), []
with fits.open(given.map) as hdus, tempfile.TemporaryDirectory() as folder:
    for y, x in product(*(range(0, n, given.side) for n in field.shape)):
        part = tuple(slice(max(0, k - 128), k + given.side + 128) for k in (y, x))
        piece, found = (Path(folder, f"{y}-{x}.{end}") for end in ("fits", "csv"))
        header = fits.Header({**hdus[0].header, **field.wcs[part].to_header()})
        fits.writeto(piece, hdus[0].data[part], header)
        subprocess.run([sys.executable, job, given.finder, piece, found], check=True)
        table = read_table(found, ("ra_deg", "dec_deg")).columns
        places = np.stack(field.pixel_of(table["ra_deg"], table["dec_deg"])) + 0.5
        inside = (places // given.side == [[y // given.side], [x // given.side]]).all(0)
        lines = [line for line in found.read_text().splitlines() if line.strip()]
        rows += [line for line, here in zip(lines[-len(inside) :], inside, strict=True) if here]
given.out.write_text("\n".join([*lines[: -len(inside)], *rows, ""]))
