"""Find the sources of a map with PyBDSF or Aegean piece by piece, where the whole needs too much memory.

    python jobs/run_in_pieces.py aegean challenge/public/map.fits aegean.csv

Pieces have 128 pixels more on each side, and a source belongs to the piece in which its place lies.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from astropy.io import fits
from astropy.wcs import WCS

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("finder", choices=("pybdsf", "aegean"))
parser.add_argument("map")
parser.add_argument("out", type=Path, help="a new CSV file")
parser.add_argument("--side", type=int, default=4000, help="of a piece, pixels")
given = parser.parse_args()
if given.out.exists():
    parser.error(f"{given.out} exists; name a new file")
job, rows, side = Path(__file__).with_name("run_finder.py"), [], given.side
with fits.open(given.map) as hdus, tempfile.TemporaryDirectory() as folder:
    image, header, sky = hdus[0].data, hdus[0].header, WCS(hdus[0].header)
    for y, x in ((y, x) for y in range(0, len(image), side) for x in range(0, image.shape[1], side)):
        part = tuple(slice(max(0, k - 128), k + side + 128) for k in (y, x))
        piece, found = (Path(folder, f"{y}-{x}.{end}") for end in ("fits", "csv"))
        fits.writeto(piece, image[part], fits.Header({**header, **sky[part].to_header()}))
        subprocess.run([sys.executable, job, given.finder, piece, found], check=True)
        lines = [line for line in found.read_text().splitlines() if line.strip()]
        # PyBDSF writes comments first, the last of which names the columns.
        first = next(i for i, line in enumerate(lines, 1) if ",dec," in line.replace(" ", "").lower())
        names = [name.strip(" #").lower() for name in lines[first - 1].split(",")]
        for line in lines[first:]:
            place = (float(line.split(",")[names.index(name)]) for name in ("ra", "dec"))
            if [int(k + 0.5) // side for k in sky.wcs_world2pix(*place, 0)] == [x // side, y // side]:
                rows.append(line)
        print(f"{piece.stem}: {len(rows)} sources so far", flush=True)
given.out.write_text("\n".join([*lines[:first], *rows, ""]))
