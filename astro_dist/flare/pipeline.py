"""The pipeline `flare`: from a folder of pictures to a classifier, and what synthetic pictures add to it.

Importing this module imports settings and declarations, and none of the libraries that the stages use.
"""

from astro_dist.engine.pipeline import Pipeline
from astro_dist.flare.config import FlareConfig
from astro_dist.store.picture_stage import PICTURES

STAGES = (PICTURES,)

FLARE = Pipeline(
    name="flare",
    help="from a folder of pictures to a classifier, and what synthetic pictures add to it",
    config=FlareConfig,
    stages=STAGES,
    shown={"pictures": "pictures.zarr"},
)
