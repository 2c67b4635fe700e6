"""The stage `enhance` for the pictures of a store: every picture goes through all steps of the chain.

Shape letters: P planes, H W pixels.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.arrays import Image
from astro_dist.engine.ledger import Result
from astro_dist.engine.origins import FACT, as_facts, merge, of_facts
from astro_dist.engine.outputs import check_product
from astro_dist.engine.stopping import check_stop
from astro_dist.engine.work import Results, Run, Task
from astro_dist.enhance.chain_config import DOUBLING, ChainConfig
from astro_dist.enhance.projection import enlarge_bicubic
from astro_dist.models.device import choose_device, pin
from astro_dist.pictures.pixels import from_network
from astro_dist.store.pictures import publish_pictures, write_pictures
from astro_dist.store.reader import StoreReader

STORE = "pictures.zarr"
OWN = ("schema_version", "kind", "size_pix", "per_shard", "further", "splits", "planes")
Step = Callable[[Image, int], Image]
"""Makes a picture (P, H, W) from 0 to 1 into another one; the number is that of the picture."""


@dataclass(frozen=True)
class PictureState:
    """The store that is read, and the steps."""

    run: Run
    reader: StoreReader
    steps: tuple[Step, ...]


def source_store(run: Run) -> str:
    """Return the store that the chain begins with: the cleaned pictures where they are part of it."""
    return "cleaned/pictures.zarr" if "cleaning" in run.section(ChainConfig).chain else STORE


def plan(run: Run) -> list[Task]:
    """Return a task for every shard."""
    pictures, shard = run.facts("pictures").get("pictures", 0), run.section(ChainConfig).shard
    return [Task(f"shard-{i:05}", {"index": i}) for i in range(math.ceil(pictures / shard))]


def open_pictures(run: Run) -> PictureState:
    """Open the store and the networks of the chain."""
    config = run.section(ChainConfig)
    pin(config.threads)
    check_product(run.root, "cleaning" if "cleaning" in config.chain else "pictures")
    device = choose_device(run)
    steps = tuple(open_step(run, name, device) for name in config.chain if name != "cleaning")
    return PictureState(run, StoreReader(run.product(source_store(run))), steps)


def open_step(run: Run, name: str, device: str) -> Step:
    """Return a step of the chain; pictures of the stage `cleaning` are cleaned already."""
    config = run.section(ChainConfig)
    if name == "cleaning":
        from astro_dist.enhance.cleaning import open_cleaner

        cleaner = open_cleaner(run, device)
        return lambda picture, _: np.asarray(cleaner.apply(picture), np.float32)
    if name == "colourise":
        return _open_colours(run, device)
    if name == "bicubic":
        return lambda picture, _: enlarge_bicubic(picture).astype(np.float32)
    if name == "bilateral":
        from astro_dist.enhance.filters import filter_bilateral

        numbers = config.filter
        return lambda picture, _: filter_bilateral(
            picture, numbers.diameter_pix, numbers.brightness, numbers.radius_pix
        )
    from astro_dist.enhance.links import open_superres

    network = open_superres(run, device)

    def double(picture: Image, number: int) -> Image:
        total = np.zeros((len(picture), 2 * picture.shape[1], 2 * picture.shape[2]))
        for sample in range(config.samples):
            check_stop()
            # Pictures are no parts of one map: each has numbers of its own.
            total += network.draw(picture, number * config.samples + sample)
        return (total / config.samples).astype(np.float32)

    return double


def _open_colours(run: Run, device: str) -> Step:
    from astro_dist.enhance.colourise import to_grey
    from astro_dist.enhance.colours import Colouriser

    check_product(run.root, "colourise")
    colours = Colouriser.from_pretrained(run.product("models/colourise"), device)

    def colour(picture: Image, _: int) -> Image:
        grey = picture if len(picture) == 1 else to_grey(picture[None])[0]
        return np.asarray(colours.apply(grey), np.float32)

    return colour


def enhance_shard(state: PictureState, task: Task) -> Result:
    """Send the pictures of a shard through the chain and write them."""
    config, index = state.run.section(ChainConfig), task.args["index"]
    rows = range(index * config.shard, min((index + 1) * config.shard, len(state.reader)))
    found = [send_through(state.steps, state.reader.read("picture", [row])[0], row) for row in rows]
    written = write_pictures(state.run.output / STORE, index, np.stack(found), config.shard, config.threads)
    digests = {f"{STORE}/{name}": digest for name, digest in written.items()}
    return {"planes": len(found[0]), "sha256": digests}


def send_through(steps: tuple[Step, ...], picture: NDArray[Any], number: int) -> NDArray[Any]:
    """Return a stored picture after all steps, of the same type."""
    from astro_dist.enhance.colourise import to_unit

    image = to_unit(picture)
    for step in steps:
        image = step(image, number)
    return from_network(2 * np.clip(image, 0, 1) - 1, picture.dtype.name)


def finish(run: Run, results: Results) -> dict[str, Any]:
    """Write columns and attributes of the store."""
    config, reader = run.section(ChainConfig), StoreReader(run.product(source_store(run)))
    scale = 2 if set(config.chain) & set(DOUBLING) else 1
    planes = max(int(result["planes"]) for result in results.values())
    origins = as_facts(merge(*(of_facts(run.facts(stage)) for stage in run.inputs)))
    attrs = {name: value for name, value in reader.attrs.items() if name not in OWN}
    attrs |= {"planes": planes, "enhanced": list(config.chain), FACT: origins}
    side_pix = scale * int(reader.attrs["size_pix"])
    publish_pictures(run.output / STORE, side_pix, config.shard, reader.columns, attrs)
    return {FACT: origins, "pictures": len(reader), "scale": scale, "chain": list(config.chain)}
