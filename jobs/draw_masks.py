"""Draw masks into a FITS file, with the model that `astro-dist train masks` published.

    astro-dist train masks configs/small.yaml --out runs/small
    python jobs/draw_masks.py runs/small 5000 masks.fits

The first HDU has the classes (N, side, side), the second the objects. Mask i is that of stamp i, unturned.
"""

import argparse
from functools import partial
from pathlib import Path

import numpy as np
from astropy.io import fits

from astro_dist.engine.errors import ConfigError, errors_in_one_line
from astro_dist.generate.conditions import find_donors
from astro_dist.generate.config import GenerateConfig
from astro_dist.generate.masks import open_masks
from astro_dist.models.device import pin
from astro_dist.pipelines import reopen
from astro_dist.store.reader import StoreReader

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
for name, kind in {"run": Path, "masks": int, "target": Path}.items():
    parser.add_argument(name, type=kind)
own = parser.parse_args()
with errors_in_one_line():
    if own.masks < 1 or own.target.exists():
        raise ConfigError(f"{own.masks} masks in {own.target}: ask for 1 or more, in a new file")
    run = reopen(own.run).run
    settings, reader = run.section(GenerateConfig), StoreReader(run.product("cutouts.zarr"))
    pin(settings.threads)
    weights, stream = settings.masks.weights, partial(run.stream, "generate")
    donors = find_donors(reader, settings.accept, weights=weights)
    source = open_masks(run, reader, donors)
    batches = (range(i, i + settings.micro_batch) for i in range(0, own.masks, settings.micro_batch))
    drawn = [source.read(b, [donors.choose(reader, weights, stream, i) for i in b])[:2] for b in batches]
    classes, objects = (np.concatenate(part)[: own.masks] for part in zip(*drawn, strict=True))
    fits.HDUList([fits.PrimaryHDU(classes), fits.ImageHDU(objects)]).writeto(own.target)
