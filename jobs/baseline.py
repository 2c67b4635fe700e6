"""Find the sources of a map with one of four programs, as a first catalogue for a challenge.

    python jobs/baseline.py own challenge/public/map.fits own.csv
    astro-dist challenge score own.csv --package challenge

`own` is the finder of this package; `sep`, `pybdsf` and `aegean` are programs of the extra `interop`. All
have the settings that they begin with, sep a threshold of 5 sigma.
"""

import argparse
import logging
from pathlib import Path

import numpy as np

from astro_dist.engine.errors import ConfigError, errors_in_one_line
from astro_dist.sky.config import AnnotateConfig, MapsConfig
from astro_dist.sky.finder import find_islands
from astro_dist.sky.maps import SkyMap
from astro_dist.sky.windows import Window


def own(path, out):
    """Find islands with this package, and leave those of artefacts out."""
    found = find_islands(SkyMap.open(path, MapsConfig()), AnnotateConfig()).columns
    names = ("ra_deg", "dec_deg", "flux_jy", "peak_jy_beam", "class")
    # Class 1 are artefacts.
    write(out, {name: found[name][(found["class"] > 1) & (found["flux_jy"] > 0)] for name in names})


def sep(path, out):
    """Find objects above an isophote, with fluxes in elliptical apertures."""
    import sep as program

    field = SkyMap.open(path, MapsConfig())
    image = np.nan_to_num(field.read(Window.of_shape(field.shape)))
    back = program.Background(image)
    f = program.extract(image - back, 5.0, err=back.rms(), minarea=5)
    flux = program.sum_ellipse(image - back, f["x"], f["y"], f["a"], f["b"], f["theta"], 3.5)[0]
    flux /= field.beam_area_pix(f["y"], f["x"])
    columns = zip(("ra_deg", "dec_deg"), field.sky_of(f["y"], f["x"]), strict=True)
    table = {**dict(columns), "flux_jy": flux, "peak_jy_beam": f["peak"]}
    write(out, {name: values[flux > 0] for name, values in table.items()})


def pybdsf(path, out):
    """Fit Gaussians and group them."""
    import bdsf

    image = bdsf.process_image(str(path), quiet=True, outdir=str(out.parent), ncores=1)
    image.write_catalog(outfile=str(out), format="csv", catalog_type="srl")


def aegean(path, out):
    """Fit components."""
    from AegeanTools.catalogs import save_catalog
    from AegeanTools.source_finder import SourceFinder

    found = SourceFinder(log=logging.getLogger("aegean")).find_sources_in_image(str(path), cores=1)
    save_catalog(str(out), found)
    # Aegean writes components, islands and sources into files with such a word in their names.
    out.with_name(f"{out.stem}_comp{out.suffix}").rename(out)


def write(out, table):
    """Write columns as CSV."""
    rows = np.stack([np.asarray(values, float) for values in table.values()], axis=1)
    np.savetxt(out, rows, delimiter=",", header=",".join(table), comments="", fmt="%.10g")


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("finder", choices=("own", "sep", "pybdsf", "aegean"))
for name in ("map", "out"):
    parser.add_argument(name, type=Path)
given = parser.parse_args()
with errors_in_one_line():
    if given.out.suffix != ".csv" or given.out.exists():
        raise ConfigError(f"{given.out}: name a new file that ends with .csv")
    globals()[given.finder](given.map, given.out)
