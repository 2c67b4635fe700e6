"""The stage `pictures`; its functions are imported when they are used."""

from pathlib import Path

from astro_dist.engine.later import Later
from astro_dist.engine.work import Estimate, Run, Stage
from astro_dist.pictures.classes import count_toys, refuse_toys
from astro_dist.pictures.config import PicturesConfig

COLUMN_FILES = 10
"""Files of columns and metadata in a store of pictures."""


def count_pictures(run: Run) -> int:
    """Return how many pictures the settings choose."""
    config = run.section(PicturesConfig)
    if config.source == "toy":
        return sum(count_toys(config).values())
    return len(Later("astro_dist.store.pictures:open_state")(run).listing)


def sources(run: Run) -> list[Path]:
    """Return the files of the user that the pictures are in."""
    if run.section(PicturesConfig).source == "toy":
        return []
    paths: list[Path] = Later("astro_dist.store.pictures:open_state")(run).listing.source.paths
    return paths


def refuse(run: Run) -> None:
    """Refuse folders, tables and classes that no store can be made of."""
    config = run.section(PicturesConfig)
    if config.source == "toy":
        # Without the libraries of the other sources: a plan of toys costs nothing.
        refuse_toys(config)
    else:
        Later("astro_dist.store.pictures:refuse_few")(config, run.seed)


def estimate(run: Run) -> Estimate:
    """Return the cost of the store: exact, but for how well the pictures compress."""
    config, n = run.section(PicturesConfig), count_pictures(run)
    picture_bytes = config.planes * (4 if config.stored == "float32" else 1) * config.size_pix**2
    tasks = -(-n // config.shard)
    return Estimate(
        tasks=tasks,
        bytes=int(1.05 * picture_bytes * n) + 200 * n + 100_000,
        files=tasks + 1 + COLUMN_FILES,
        # A picture of the largest area that is read, twice while it is made square.
        memory_bytes=200_000_000 + 2 * picture_bytes * config.shard,
        cpu_s=(0.003 if config.source == "toy" else 0.01) * n,
        notes=(f"{n} pictures",),
    )


PICTURES = Stage(
    name="pictures",
    product="pictures.zarr",
    plan=Later("astro_dist.store.pictures:plan"),
    run=Later("astro_dist.store.pictures:read_shard"),
    open=Later("astro_dist.store.pictures:open_state"),
    finish=Later("astro_dist.store.pictures:finish"),
    scratch=("looks",),
    check=Later("astro_dist.store.verify:verify_store"),
    sources=sources,
    refuse=refuse,
    estimate=estimate,
    sections=("pictures",),
    own="pictures",
)
