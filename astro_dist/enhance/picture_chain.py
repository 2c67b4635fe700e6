"""The stage `enhance` for the pictures of a store: every picture goes through all steps of the chain.

A network that draws samples is followed by the steps behind it twice: their mean, or what is expected of
them, goes through them and is published, and so does each sample, whose spread is the uncertainty.

Shape letters: P planes, H W pixels, N samples.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.arrays import Image
from astro_dist.engine.ledger import Result
from astro_dist.engine.origins import FACT, as_facts, merge, of_facts
from astro_dist.engine.outputs import check_product
from astro_dist.engine.pixels import from_network
from astro_dist.engine.work import Results, Run, Task
from astro_dist.enhance.chain_config import DOUBLING, ChainConfig
from astro_dist.enhance.cleaning_config import MASK_STORE
from astro_dist.enhance.picture_spread import (
    CALIBRATE,
    Enhanced,
    Spread,
    calibrate_pictures,
    draw_picture,
    draws_spread,
)
from astro_dist.enhance.projection import enlarge_bicubic
from astro_dist.models.device import choose_device, pin
from astro_dist.store.pictures import UNREADABLE, publish_pictures, write_pictures
from astro_dist.store.reader import StoreReader

STORE, UNCERTAINTY, FLAGS = "pictures.zarr", "uncertainty.zarr", "flags.zarr"
PAINTED, CUT = 32, 64
"""Bits of the flags of pictures, beside those of maps: an object was painted over; a value beyond black or
white was cut."""
OWN = ("schema_version", "kind", "size_pix", "per_shard", "further", "splits", "planes")
Step = Callable[[Image, int], Image]
"""Makes a picture (P, H, W) from 0 to 1 into another one; the number is that of the picture."""


@dataclass(frozen=True)
class PictureState:
    """The store that is read, the steps before and behind the network, and the network where there is one."""

    run: Run
    reader: StoreReader
    before: tuple[Step, ...]
    network: Any = None
    behind: tuple[Step, ...] = ()
    masks: StoreReader | None = None


def source_store(run: Run) -> str:
    """Return the store that the chain begins with: the cleaned pictures where they are part of it."""
    return "cleaned/pictures.zarr" if "cleaning" in run.section(ChainConfig).chain else STORE


def plan(run: Run, results: Results) -> list[Task]:
    """Return the task that scales the uncertainty, where there is one, and then a task for every shard."""
    pictures, config = run.facts("pictures").get("pictures", 0), run.section(ChainConfig)
    first = [Task(CALIBRATE)] if draws_spread(config) and pictures else []
    if first and CALIBRATE not in results:
        return first
    shards = range(math.ceil(pictures / config.shard))
    return first + [Task(f"shard-{i:05}", {"index": i}) for i in shards]


def open_pictures(run: Run) -> PictureState:
    """Open the stores and the networks of the chain."""
    config = run.section(ChainConfig)
    pin(config.threads)
    cleaned, device = "cleaning" in config.chain, choose_device(run)
    check_product(run.root, "cleaning" if cleaned else "pictures")
    names = [name for name in config.chain if name != "cleaning"]
    place = names.index("superres") if "superres" in names else len(names)
    before, behind = (
        tuple(open_step(run, name, device) for name in part) for part in (names[:place], names[place + 1 :])
    )
    masks = StoreReader(run.product(f"cleaned/{MASK_STORE}")) if cleaned else None
    network = _open_network(run, device) if place < len(names) else None
    return PictureState(run, StoreReader(run.product(source_store(run))), before, network, behind, masks)


def _open_network(run: Run, device: str) -> Any:
    from astro_dist.enhance.links import open_superres

    return open_superres(run, device)


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
    network = _open_network(run, device)
    return lambda picture, number: draw_picture(network, picture, number, config).image_PHW


def _open_colours(run: Run, device: str) -> Step:
    from astro_dist.enhance.colourise import to_grey
    from astro_dist.enhance.colours import Colouriser

    check_product(run.root, "colourise")
    colours = Colouriser.from_pretrained(run.product("models/colourise"), device)

    def colour(picture: Image, _: int) -> Image:
        grey = picture if len(picture) == 1 else to_grey(picture[None])[0]
        return np.asarray(colours.apply(grey), np.float32)

    return colour


def run_task(state: PictureState, task: Task) -> Result:
    """Do one task of `plan`."""
    if task.name == CALIBRATE:
        return calibrate_pictures(state.run, StoreReader(state.run.product(STORE)), state.network)
    return enhance_shard(state, task)


def enhance_shard(state: PictureState, task: Task) -> Result:
    """Send the pictures of a shard through the chain and write what is published of them."""
    config, index = state.run.section(ChainConfig), task.args["index"]
    spread = Spread.load(state.run) if draws_spread(config) else None
    layers: dict[str, list[NDArray[Any]]] = {}
    for row in range(index * config.shard, min((index + 1) * config.shard, len(state.reader))):
        stored = state.reader.read("picture", [row])[0]
        found = send_through(state, stored, row)
        for name, layer in _layers(state, found, row, stored.dtype.name, spread):
            layers.setdefault(name, []).append(layer)
    digests: dict[str, str] = {}
    for name, pictures in layers.items():
        folder = state.run.output / name
        written = write_pictures(folder, index, np.stack(pictures), config.shard, config.threads)
        digests |= {f"{name}/{file}": digest for file, digest in written.items()}
    return {"planes": len(layers[STORE][0]), "sha256": digests}


def send_through(state: PictureState, picture: NDArray[Any], number: int) -> Enhanced:
    """Return a stored picture after all steps."""
    from astro_dist.enhance.colourise import to_unit

    config, image = state.run.section(ChainConfig), to_unit(picture)
    for step in state.before:
        image = step(image, number)
    samples: list[Image] = []
    if state.network is not None:
        drawn = draw_picture(state.network, image, number, config)
        image, samples = drawn.image_PHW, drawn.samples
    for step in state.behind:
        image, samples = step(image, number), [step(one, number) for one in samples]
    return Enhanced(image, samples)


def _layers(
    state: PictureState, found: Enhanced, row: int, dtype: str, spread: Spread | None
) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield name of the store and pixels of everything that is published of a picture."""
    yield STORE, _stored(found.image_PHW, dtype)
    if spread is not None:
        yield UNCERTAINTY, spread.scale(np.std(np.stack(found.samples).astype(np.float64), 0, ddof=1))
    for i, sample in enumerate(found.samples[: state.run.section(ChainConfig).keep_samples]):
        yield sample_store(i), _stored(sample, dtype)
    cut = ((found.image_PHW < 0) | (found.image_PHW > 1)).any(0)
    flags = np.where(cut, CUT, 0).astype(np.uint8)
    if state.masks is not None:
        mask = state.masks.read("picture", [row])[0][0] > 0
        factor = flags.shape[0] // mask.shape[0]
        flags[mask.repeat(factor, 0).repeat(factor, 1)] |= PAINTED
    yield FLAGS, flags[None]


def sample_store(number: int) -> str:
    """Return the name of the store of a sample."""
    return f"sample-{number:02}.zarr"


def _stored(image_PHW: Image, dtype: str) -> NDArray[Any]:
    return from_network(2 * np.clip(image_PHW, 0, 1) - 1, dtype)


def finish(run: Run, results: Results) -> dict[str, Any]:
    """Write columns and attributes of all stores."""
    config, reader = run.section(ChainConfig), StoreReader(run.product(source_store(run)))
    scale = 2 if set(config.chain) & set(DOUBLING) else 1
    planes = max(int(result["planes"]) for result in results.values() if "planes" in result)
    origins = as_facts(merge(*(of_facts(run.facts(stage)) for stage in run.inputs)))
    attrs = {name: value for name, value in reader.attrs.items() if name not in OWN}
    attrs |= {"planes": planes, "enhanced": list(config.chain), FACT: origins}
    side_pix = scale * int(reader.attrs["size_pix"])
    for name, own in _attributes(config):
        publish_pictures(run.output / name, side_pix, config.shard, reader.columns, attrs | own)
    readable = len(reader) - len(reader.attrs.get(UNREADABLE, []))
    facts = {FACT: origins, "pictures": readable, "scale": scale, "chain": list(config.chain)}
    return {**facts, "notes": list(_notes(config, reader, results))}


def _notes(config: ChainConfig, reader: StoreReader, results: Results) -> Iterator[str]:
    if "colourise" in config.chain and reader.attrs["planes"] == 3:
        yield "pictures are coloured from their brightness alone: colours that they have are left out"
    if results.get(CALIBRATE, {}).get("held_out") == 0:
        yield (
            "no picture is in the validation split, so that the uncertainty is the spread of the samples as "
            "it is; raise pictures.validation_fraction to scale it"
        )


def _attributes(config: ChainConfig) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every store with the attributes that it does not share with the pictures."""
    yield STORE, {}
    if draws_spread(config):
        yield UNCERTAINTY, {"dtype": "float32", "what": "one standard deviation, where white is 1"}
    for i in range(min(config.keep_samples, config.samples) if "superres" in config.chain else 0):
        yield sample_store(i), {"what": f"sample {i} of the network"}
    bits = {"flag_masks": [PAINTED, CUT], "flag_meanings": "painted_over cut_to_the_range"}
    yield FLAGS, {"planes": 1, "dtype": "uint8", **bits}
