"""The stage `combine` (eq. 7 and 8 of FLARE): which rows are in a training set. No pixel is read or written.

A row names a picture of a store and the number of its augmented copy. Rows stand in a fixed order: the real
pictures by copy and position, then the synthetic ones by variant and position. Parents of a row are the real
pictures that its pixels, or their condition, come from; they are of the training split alone, unless the set
repeats the leak of FLARE's code on purpose.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.arrays import Integers
from astro_dist.engine.errors import ConfigError, IntegrityError
from astro_dist.engine.files import sha256_file
from astro_dist.engine.ledger import Result
from astro_dist.engine.work import Results, Run, Task
from astro_dist.flare.classify_config import ArmConfig, CombineConfig, take
from astro_dist.flare.sets import SOURCES, PictureSet, write_pictures_set
from astro_dist.store.reader import StoreReader
from astro_dist.store.schema import SPLIT_NAMES

Columns = Mapping[str, NDArray[Any]]
TRAIN, GUARD = SPLIT_NAMES.index("train"), SPLIT_NAMES.index("guard")


@dataclass(frozen=True)
class Stores:
    """Columns of the stores, the names of the classes, and whether the splits are those of FLARE's code."""

    run: Run
    pictures: Columns
    synthetic: Columns | None
    labels: tuple[str, ...]
    as_published: bool


def open_stores(run: Run) -> Stores:
    """Read the columns of the stores; a `Stage.open`."""
    pictures = StoreReader(run.product("pictures.zarr"))
    painted = any(arm.painted for arm in run.section(CombineConfig).arms.values())
    synthetic = StoreReader(run.product("synthetic.zarr")).columns if painted else None
    labels, leak = tuple(pictures.attrs["labels"]), pictures.attrs["split"] == "as_published"
    return Stores(run, pictures.columns, synthetic, labels, leak)


def write_set(stores: Stores, task: Task) -> Result:
    """Choose the rows of a set and write them; a `Stage.run`."""
    run, config = stores.run, stores.run.section(CombineConfig)
    arm, columns = config.arms[task.name], stores.pictures
    leak = arm.as_published or stores.as_published
    order = run.stream("combine", "order", arm.draw)
    chosen, held_back = choose_pictures(arm, columns["label"], columns["split"], order)
    copies = take(arm.alpha, arm.k or config.k)
    parts = [_real_rows(arm.real, chosen, range(copies), columns)]
    if leak:
        parts = [_deal_copies(arm, copies, columns, run.stream("combine", "leak", task.name))]
    if arm.beta:
        variants = take(arm.beta, config.k_synthetic)
        if arm.synthetic == "held_back":
            extra = _real_rows(arm.real, held_back, range(variants), columns)
        else:
            extra = _synthetic_rows(stores, chosen, variants)
        parts.append(_fill(extra, parts[0], len(stores.labels)) if arm.fill else extra)
    rows = PictureSet.join(parts)
    if not leak:
        check_parents(rows, columns)
    if not len(rows):
        raise ConfigError(f"combine.arms.{task.name}: no picture is left in this set; mend its settings")
    name = f"{task.name}.parquet"
    write_pictures_set(run.output / name, rows, {"name": task.name, "leak": leak, "arm": arm.model_dump()})
    facts = _describe(rows, stores, leak)
    return {"sha256": {name: sha256_file(run.output / name)}, **facts}


def choose_pictures(
    arm: ArmConfig, label: NDArray[Any], split: NDArray[Any], rng: np.random.Generator
) -> tuple[Integers, Integers]:
    """Return the training pictures that a set uses and those it holds back, ascending.

    A smaller share of one draw is part of a larger one, so that sets of growing size contain each other.
    """
    chosen, others = [], []
    for kind in np.unique(label[split == TRAIN]):
        members = rng.permutation(np.flatnonzero((split == TRAIN) & (label == kind)))
        count = max(1, take(arm.fraction, len(members)))
        chosen.append(members[: count if arm.per_class is None else min(count, arm.per_class)])
        others.append(members[count:])
    return np.sort(np.concatenate(chosen)), np.sort(np.concatenate(others))


def _real_rows(source: str, members: Integers, copies: range, columns: Columns) -> PictureSet:
    index = np.tile(members, len(copies))
    copy = np.repeat(np.array(copies, np.int64), len(members))
    code = np.full(len(index), SOURCES.index(source))
    return PictureSet(code, index, copy, columns["label"][index], columns["group"][index], index)


def _synthetic_rows(stores: Stores, parents: Integers, variants: int) -> PictureSet:
    assert stores.synthetic is not None
    columns = stores.synthetic
    found = np.flatnonzero((columns["variant"] < variants) & np.isin(columns["parent"], parents))
    found = found[np.lexsort((found, columns["variant"][found]))]
    zeros, parent = np.zeros(len(found), np.int64), columns["parent"][found]
    code = zeros + SOURCES.index("synthetic")
    return PictureSet(code, found, zeros, columns["label"][found], stores.pictures["group"][parent], parent)


def _deal_copies(arm: ArmConfig, copies: int, columns: Columns, rng: np.random.Generator) -> PictureSet:
    """Return the training pictures, and copies of all pictures dealt to training as FLARE's code does.

    There all copies are dealt to the splits at random, so that siblings of test pictures are trained on. Here
    the test pictures stay the raw ones of the test split, so that arms with and without the leak are pairs.
    """
    split = columns["split"]
    train, everyone = np.flatnonzero(split == TRAIN), np.flatnonzero(split != GUARD)
    own = _real_rows(arm.real, train, range(min(1, copies)), columns)
    others = _real_rows(arm.real, everyone, range(1, copies), columns)
    count = take(len(train) / len(everyone), len(others))
    return PictureSet.join([own, others.pick(np.sort(rng.permutation(len(others))[:count]))])


def _fill(extra: PictureSet, real: PictureSet, classes: int) -> PictureSet:
    """Return the first synthetic rows of each class that bring it up to the size of the largest one."""
    counts = np.bincount(real.label, minlength=classes)
    kept = [np.flatnonzero(extra.label == kind)[: counts.max() - counts[kind]] for kind in range(classes)]
    return extra.pick(np.sort(np.concatenate(kept)))


def check_parents(rows: PictureSet, columns: Columns) -> None:
    """Refuse a set in which a parent, or a near-duplicate of one, is of the validation or test split.

    Raises
    ------
    IntegrityError
        The stores contradict each other.
    """
    split, group = columns["split"], columns["group"]
    parents = np.unique(rows.parents)
    held_out = np.unique(group[(split != TRAIN) & (split != GUARD)])
    if (split[parents] != TRAIN).any() or np.isin(group[parents], held_out).any():
        raise IntegrityError("a picture of the validation or test split is a parent of a training picture")


def _describe(rows: PictureSet, stores: Stores, leak: bool) -> dict[str, Any]:
    real = int((rows.source != SOURCES.index("synthetic")).sum())
    counts = np.bincount(rows.label, minlength=len(stores.labels))
    return {
        "rows": len(rows),
        "real": real,
        "synthetic": len(rows) - real,
        "parents": len(np.unique(rows.parents)),
        "leak": leak,
        "classes": dict(zip(stores.labels, counts.tolist(), strict=True)),
    }


def finish(run: Run, results: Results) -> dict[str, Any]:
    """Return the figures of every set; a `Stage.finish`."""
    names = list(run.section(CombineConfig).arms)
    sets = {name: {k: v for k, v in results[name].items() if k != "sha256"} for name in names}
    leaks = [name for name in names if sets[name]["leak"]]
    note = f"{', '.join(leaks)}: copies of test pictures are trained on, as in FLARE's code"
    return {"sets": sets, **({"notes": [note]} if leaks else {})}
