"""Double many FITS maps, with their fluxes kept: a run for each folder of maps, here or on a cluster.

    python jobs/enhance_maps.py maps/ runs/doubled
    python jobs/enhance_maps.py maps/ runs/doubled --cluster configs/clusters/slurm.yaml

Each folder below ``maps`` that holds FITS files is a run of its own; the same command goes on after any stop.
Files that cannot be read are left out of their run, which names them and ends with 4.
"""

import argparse
from pathlib import Path

import yaml

from astro_dist.cli import main
from astro_dist.engine.errors import ConfigError, errors_in_one_line

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("maps", type=Path)
parser.add_argument("out", type=Path)
own, options = parser.parse_known_args()
SUFFIXES = (".fits", ".fit", ".fits.fz", ".fits.gz")
with errors_in_one_line():
    files = sorted(p.absolute() for p in own.maps.rglob("*") if p.name.lower().endswith(SUFFIXES))
    if not files:
        raise ConfigError(f"{own.maps} holds no FITS file; name another folder")
    codes = []
    for folder in sorted({path.parent for path in files}):
        name = "-".join(folder.relative_to(own.maps.absolute()).parts) or "maps"
        config = own.out / f"{name}.yaml"
        config.parent.mkdir(parents=True, exist_ok=True)
        paths = [str(path) for path in files if path.parent == folder]
        config.write_text(yaml.safe_dump({"pipeline": "enhance", "name": name, "enhance": {"files": paths}}))
        codes.append(main(["run", str(config), "--out", str(own.out / name), *options]))
    raise SystemExit(max(codes))
