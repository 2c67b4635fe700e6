"""Find the sources of a map with PyBDSF or Aegean, as they begin, for a challenge.

    python jobs/run_finder.py pybdsf challenge/public/map.fits pybdsf.csv

Both are programs of the extra `interop`; `astro-dist challenge score` reads their catalogues as they are.
"""

import argparse
import logging
from pathlib import Path

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("finder", choices=("pybdsf", "aegean"))
parser.add_argument("map")
parser.add_argument("out", type=Path, help="a new CSV file")
given = parser.parse_args()
if given.out.suffix != ".csv" or given.out.exists():
    parser.error(f"{given.out}: name a new file that ends with .csv")
if given.finder == "pybdsf":
    import bdsf

    image = bdsf.process_image(given.map, quiet=True, outdir=str(given.out.parent), ncores=1)
    image.write_catalog(outfile=str(given.out), format="csv", catalog_type="srl")
else:
    import numpy as np
    from AegeanTools.catalogs import save_catalog
    from AegeanTools.source_finder import SourceFinder

    # Aegean 2.3 catches an error of singular matrices by a name that numpy 2.4 no longer has.
    np.linalg.linalg = np.linalg
    found = SourceFinder(log=logging.getLogger("aegean")).find_sources_in_image(given.map, cores=1)
    save_catalog(str(given.out), found)
    # Aegean writes components, islands and sources into files with such a word in their names.
    given.out.with_name(f"{given.out.stem}_comp.csv").rename(given.out)
