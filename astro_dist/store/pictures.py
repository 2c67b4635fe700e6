"""The store of pictures: tasks write whole shards, `finish` finds the groups, deals the splits, adds columns.

Stores of pictures made from pictures (upscaled, synthetic) are written with `write_pictures` and
`publish_pictures` too.
"""

import contextlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.arrays import Floats, Integers
from astro_dist.engine.errors import QUARANTINED, ConfigError, DataError, QuarantinedError
from astro_dist.engine.files import publish_bytes
from astro_dist.engine.ledger import Result
from astro_dist.engine.pixels import from_network, to_network
from astro_dist.engine.work import Results, Run, Task
from astro_dist.pictures.classes import LEAST_GROUPS
from astro_dist.pictures.config import PicturesConfig
from astro_dist.pictures.decode import count_bits
from astro_dist.pictures.duplicates import find_groups, join_pairs
from astro_dist.pictures.listing import APART, Listing, choose_pictures, open_listing
from astro_dist.pictures.looks import LOOK_BYTES, make_look
from astro_dist.store.arrays import FURTHER, picture_spec
from astro_dist.store.picture_fits import FitsSource, link_places
from astro_dist.store.picture_splits import split_pictures
from astro_dist.store.schema import SPLIT_NAMES, publish_store
from astro_dist.store.shards import count_shards, shard_path, write_shard

FEW = 12
"""Pictures of a class that are read before anything runs, to see whether they are copies."""
PEEKED = 50
"""Pictures that are looked at to see whether they have more bits than are stored."""
NOWHERE = (None, None)
"""Position of a cutout that cannot be read, NaN once it is read back."""
LOOKS = "looks"
"""Folder of scratch files below the store."""
UNREADABLE = "unreadable"
"""Attribute with the rows of pictures that could not be read; they are blank, and in no split."""


def write_pictures(
    path: Path, shard: int, pictures: NDArray[Any], per_shard: int, threads: int = 1
) -> dict[str, str]:
    """Publish one shard of pictures and return ``{file: sha256}`` for the task's record.

    Parameters
    ----------
    path
        Folder of the store, which is made when absent.
    shard
        Number of the shard: it holds the pictures from ``shard * per_shard`` on.
    pictures
        Shape (n, planes, s, s), uint8 from 0 to 255 or float32 from -1 to 1; n <= ``per_shard``, fewer only
        in the last shard.
    per_shard
        Pictures in a full shard.
    threads
        Threads that compress. Their number never changes a byte.
    """
    spec = picture_spec(pictures.shape[1], pictures.dtype.name)
    # Relative to the store, whose folder is renamed once the stage is complete.
    name = shard_path(Path(), spec, shard).as_posix()
    return {name: write_shard(path, spec, shard, pictures, per_shard, threads)}


def publish_pictures(
    path: Path, size_pix: int, per_shard: int, columns: Mapping[str, Any], attrs: Mapping[str, Any]
) -> None:
    """Add columns, attributes and metadata: `astro_dist.store.reader.StoreReader` then opens the store.

    Parameters
    ----------
    path
        Folder of the store with all its shards.
    size_pix, per_shard
        Side of a picture, and pictures in a full shard.
    columns
        ``{name: values of shape (N,)}``: label, split, group, file, and others of
        `astro_dist.store.arrays.PICTURE_COLUMNS`.
    attrs
        JSON-able: planes (1 or 3), dtype (uint8 or float32), labels (names of the classes), names (of the
        pictures), perhaps macro, and whatever else belongs to all pictures.
    """
    base = ("label", "split", "group", "file")
    further = sorted(set(columns) - set(base))
    own = {FURTHER: further, "splits": list(SPLIT_NAMES)}
    publish_store(path, "pictures", size_pix, per_shard, columns, {**attrs, **own})


@dataclass(frozen=True)
class _State:
    run: Run
    config: PicturesConfig
    listing: Listing


# Plan, tasks and finish of one process would otherwise list the folder again each time.
_opened: dict[tuple[Path, str], _State] = {}


def open_state(run: Run) -> _State:
    """List the pictures, once per process and version of the stage."""
    key, config = (run.root, run.fingerprint), run.section(PicturesConfig)
    # A run without a stage at hand has no fingerprint, and nothing shows whether its settings changed.
    if key not in _opened or not run.fingerprint:
        _opened.clear()
        _opened[key] = _State(run, config, list_pictures(config, run.seed))
    return _opened[key]


def list_pictures(config: PicturesConfig, seed: int, divided: bool = True) -> Listing:
    """Return the pictures that the settings choose, FITS cutouts too, see `open_listing`."""
    if config.source == "fits":
        return choose_pictures(config, FitsSource(config), divided)
    return open_listing(config, seed, divided)


def plan(run: Run, results: Results) -> list[Task]:
    """Return a task for each shard."""
    shards = count_shards(len(open_state(run).listing), run.section(PicturesConfig).shard)
    return [Task(f"shard-{i:05d}", {"shard": i}) for i in range(shards)]


def read_shard(state: _State, task: Task) -> Result:
    """Read the pictures of a shard and write them; return the digest.

    A picture that cannot be read is blank, and the result names it: it costs no other picture of its shard.
    """
    config, shard = state.config, task.args["shard"]
    rows = range(shard * config.shard, min((shard + 1) * config.shard, len(state.listing)))
    pictures, faults = [], dict[str, str]()
    for row in rows:
        try:
            picture = state.listing.read(row)
            if not config.classed:
                _refuse_blank(picture, state.listing.names[row])
            pictures.append(to_network(picture) if config.stored == "float32" else picture)
        except DataError as error:
            faults[str(row)] = str(error)
            pictures.append(_blank(config))
    digests = write_pictures(state.run.output, shard, np.stack(pictures), config.shard, config.threads)
    if config.duplicates:
        looks = np.stack([_look(one) for one in pictures])
        name = _looks_path(shard)
        digests[name.as_posix()] = publish_bytes(state.run.output / name, looks.tobytes())
    result: Result = {"sha256": digests, **({"faults": faults} if faults else {})}
    if not isinstance(source := state.listing.source, FitsSource):
        return result
    numbers = [None if str(row) in faults else int(state.listing.numbers[row]) for row in rows]
    return {**result, "places": [NOWHERE if one is None else source.place(one) for one in numbers]}


def _refuse_blank(picture: NDArray[Any], name: str) -> None:
    """Refuse a picture of one colour, such as one of a single pixel: it shows nothing to learn or enhance."""
    if not np.ptp(picture, axis=(1, 2)).any():
        raise DataError(f"{name}: one colour everywhere; give a picture that shows something")


def _blank(config: PicturesConfig) -> NDArray[Any]:
    """Return what stands in the place of a picture that cannot be read."""
    shape = config.planes, config.size_pix, config.size_pix
    return np.full(shape, -1, np.float32) if config.source == "fits" else np.zeros(shape, np.uint8)


def _looks_path(shard: int) -> Path:
    """Return the file of the looks of a shard, which `finish` finds near-duplicates in."""
    return Path(LOOKS, f"{shard:05d}.u1")


def finish(run: Run, results: Results) -> dict[str, Any]:
    """Find the groups, deal the splits, write the columns, and return the figures of the store."""
    state = open_state(run)
    config, listing = state.config, state.listing
    places, faults = _read_places(config, results), _read_faults(results)
    is_read = ~np.isin(np.arange(len(listing)), list(faults))
    if not is_read.any():
        raise ConfigError(f"pictures: none of {len(listing)} can be used; {faults[0]}")
    try:
        groups = _find_groups(run, len(listing), is_read, places)
        split = _split(run, listing, groups, is_read)
    except ConfigError as error:
        # What is left of a class is too little, perhaps because of these.
        raise QuarantinedError(f"{error}; {'; '.join(faults.values())}") if faults else error from None
    columns = {
        **{"label": listing.labels, "split": split},
        **{"group": groups, "file": np.arange(len(listing))},
        **({} if places is None else {"ra_deg": places[:, 0], "dec_deg": places[:, 1]}),
    }
    attrs = {
        "planes": config.planes,
        "dtype": config.stored,
        "labels": list(listing.classes),
        "names": list(listing.names),
        "source": config.source,
        "split": config.split,
        **(
            {"macro": {name: list(members) for name, members in config.macro.items()}} if config.macro else {}
        ),
        **({UNREADABLE: sorted(faults)} if faults else {}),
    }
    publish_pictures(run.output, config.size_pix, config.shard, columns, attrs)
    return {
        "pictures": len(listing),
        "classes": _count_classes(listing, split),
        "splits": dict(
            zip(SPLIT_NAMES, np.bincount(split, minlength=len(SPLIT_NAMES)).tolist(), strict=True)
        ),
        "groups": int(groups.max()) + 1 - len(faults),
        "notes": [
            *listing.source.notes,
            *_describe_depth(config, listing),
            *_describe_groups(listing, groups),
            *_describe_split(config, listing, split, is_read),
        ],
        **({QUARANTINED: [faults[row] for row in sorted(faults)]} if faults else {}),
    }


def refuse_few(config: PicturesConfig, seed: int) -> None:
    """Refuse what `list_pictures` refuses, and small classes whose pictures are copies of each other.

    Pictures of small classes alone are read here; a large class of copies is refused when all are read.
    """
    listing = list_pictures(config, seed)
    if not config.classed:
        return
    counts = np.bincount(listing.labels)
    for place in np.flatnonzero(counts <= FEW if config.duplicates else counts < 0):
        looks = []
        for row in np.flatnonzero(listing.labels == place).tolist():
            # What cannot be read is the task's to name.
            with contextlib.suppress(DataError):
                looks.append(_look(listing.read(row)))
        found = find_groups(np.stack(looks)).max(initial=-1) + 1 if looks else 0
        _refuse_copies(listing.classes[place], int(found) + int(counts[place]) - len(looks))


def _refuse_copies(name: str, found: int) -> None:
    if found < LEAST_GROUPS:
        raise ConfigError(
            f"pictures: the class {name} has {found} pictures that are no copies of each other, "
            f"and three splits need {LEAST_GROUPS}; add some, or leave it out with pictures.classes"
        )


def _look(picture: NDArray[Any]) -> NDArray[np.uint8]:
    return make_look(from_network(to_network(picture), "uint8"))


def _read_places(config: PicturesConfig, results: Results) -> Floats | None:
    """Return the positions (N, 2) of FITS cutouts in degrees, None for other pictures."""
    if config.source != "fits":
        return None
    order = sorted(results, key=lambda name: int(name.split("-")[1]))
    return np.concatenate([np.asarray(results[task]["places"], np.float64) for task in order])


def _read_faults(results: Results) -> dict[int, str]:
    """Return the reasons for which pictures could not be read, by their rows."""
    return {int(row): why for one in results.values() for row, why in one.get("faults", {}).items()}


def _read_looks(run: Run, n: int, per_shard: int) -> NDArray[np.uint8]:
    """Return the looks of all pictures, shape (N, `LOOK_BYTES`)."""
    looks = np.empty((n, LOOK_BYTES), np.uint8)
    # Shard by shard into one array: joined bytes would be in memory twice.
    for shard in range(count_shards(n, per_shard)):
        rows = looks[shard * per_shard : (shard + 1) * per_shard]
        rows[:] = np.fromfile(run.output / _looks_path(shard), np.uint8).reshape(rows.shape)
    return looks


def _find_groups(run: Run, n: int, is_read: NDArray[np.bool_], places: Floats | None) -> Integers:
    """Return the group of each picture: near-duplicates, and cutouts that share sky; else it is its own."""
    config, rows = run.section(PicturesConfig), np.flatnonzero(is_read)
    pairs = [np.empty((2, 0), np.int64)]
    if places is not None and len(rows):
        pairs.append(rows[link_places(places[rows], config.separation_arcmin)])
    if config.duplicates and len(rows):
        looks = _read_looks(run, n, config.shard)
        groups = find_groups(looks if is_read.all() else looks[rows])
        # Each picture with the first of its group.
        pairs.append(rows[np.stack([np.unique(groups, return_index=True)[1][groups], np.arange(len(rows))])])
    return join_pairs(np.concatenate(pairs, axis=1), n)


def _describe_depth(config: PicturesConfig, listing: Listing) -> list[str]:
    """Return a sentence where 16 bits are cut to 8, which one of the first pictures shows."""
    if config.source != "folder" or config.stored != "uint8":
        return []
    deep = [path.name for path in listing.source.paths[:PEEKED] if count_bits(path) > 8]
    more = "; pictures.dtype: float32 keeps them"
    return [f"pictures of 16 bits, such as {deep[0]}, are stored with 8{more}"] if deep else []


def _describe_groups(listing: Listing, groups: Integers) -> list[str]:
    """Return sentences about near-duplicates, and about those of several classes."""
    sizes = np.bincount(groups)
    if not (sizes > 1).any():
        return []
    notes = [
        f"{int((sizes[sizes > 1] - 1).sum())} pictures are near-duplicates of others, in one split with them"
    ]
    low, high = np.full(len(sizes), len(listing.classes)), np.zeros(len(sizes), np.int64)
    np.minimum.at(low, groups, listing.labels)
    np.maximum.at(high, groups, listing.labels)
    if len(mixed := np.flatnonzero(low != high)):
        names = [listing.names[row] for row in np.flatnonzero(groups == mixed[0])[:2]]
        notes.append(
            f"{len(mixed)} groups of near-duplicates are of several classes, such as {' and '.join(names)}"
        )
    return notes


def _describe_split(
    config: PicturesConfig, listing: Listing, split: NDArray[np.uint8], is_read: NDArray[np.bool_]
) -> list[str]:
    notes = []
    is_guard = is_read & (split == SPLIT_NAMES.index("guard"))
    if apart := int((is_guard & (listing.given == APART)).sum()):
        notes.append(f"{apart} pictures are apart, in no split")
    if copies := int((is_guard & (listing.given != APART)).sum()):
        notes.append(f"{copies} pictures have near-duplicates in another split folder and are left out")
    if config.split == "as_published":
        notes.append(
            "split as_published: copies of test pictures are in training, and all figures are too high"
        )
    return notes


def _split(run: Run, listing: Listing, groups: Integers, is_read: NDArray[np.bool_]) -> NDArray[np.uint8]:
    config, given = run.section(PicturesConfig), np.where(is_read, listing.given, APART)
    first = np.unique(groups, return_index=True)[1]
    counts = Counter(listing.labels[first[given[first] != APART]].tolist())
    for place, name in enumerate(listing.classes if config.classed else ()):
        _refuse_copies(name, counts[place])
    train = 1 - config.validation_fraction - config.test_fraction
    fractions = train, config.validation_fraction, config.test_fraction
    rng = run.stream("pictures", "splits")
    # The published split knows no near-duplicates.
    owners = groups if config.split == "grouped" else np.arange(len(listing))
    return split_pictures(listing.labels, owners, given, fractions, rng)


def _count_classes(listing: Listing, split: NDArray[np.uint8]) -> dict[str, list[int]]:
    """Return the numbers of pictures in the splits of each class."""
    n = len(SPLIT_NAMES)
    table = np.bincount(listing.labels * n + split, minlength=n * len(listing.classes)).reshape(-1, n)
    return dict(zip(listing.classes, table.tolist(), strict=True))
