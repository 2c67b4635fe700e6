"""`astro-dist flare export RUN DIR`: the pictures of a run as folders of classes that other libraries read.

``DIR/STORE/PART`` holds a folder per class and a ``metadata.csv``: torchvision's and timm's image folders and
Hugging Face's ``imagefolder`` open it as it is.
"""

import csv
import io
import os
import re
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from astro_dist.engine.custody import remove, sweep
from astro_dist.engine.errors import ConfigError
from astro_dist.engine.files import PART, publish_bytes, publish_folder
from astro_dist.engine.ledger import Ledger
from astro_dist.engine.origins import merge, of_facts, terms_table
from astro_dist.engine.pixels import from_network, to_network
from astro_dist.flare.sets import SOURCES, read_pictures_set
from astro_dist.pictures.images import png_bytes, to_image
from astro_dist.store.pictures import UNREADABLE
from astro_dist.store.reader import StoreReader
from astro_dist.store.schema import SPLIT_NAMES

STORES = ("pictures", "upscaled", "synthetic", "cleaned/pictures", "enhanced/pictures")
PARTS = {"train": "learn", "validation": "check", "test": "judge", "guard": "apart"}
"""Folders of the splits: Hugging Face's `datasets` takes words such as "train" in any name for splits."""
SPLIT_WORDS = re.compile(r"(tr|te|va|d|ev)(?=ain|st|lid|l\b|ev\b|al)", re.IGNORECASE)
AT_ONCE = 256
TERMS = (
    "Enlarged and painted pictures were made with weights that learnt from these data, and are used as their "
    "terms allow. Your own pictures keep the terms that they came with."
)


def export_run(run: Path, folder: Path) -> None:
    """Write every store of pictures of a run below a new folder, whole or not at all.

    Raises
    ------
    ConfigError
        The folder exists or cannot be made, or the run has no pictures.
    """
    stores = [name for name in STORES if (run / f"{name}.zarr").is_dir()]
    if not stores:
        raise ConfigError(f"{run} has no pictures yet; `astro-dist pictures CONFIG` reads them")
    if os.path.lexists(folder):
        raise ConfigError(f"{folder} exists already; name another folder")
    if not folder.parent.is_dir():
        raise ConfigError(f"there is no folder {folder.parent}; make it first, or name another")
    # What a killed export left; its folder has no other name than the hidden one.
    sweep(folder.parent, (folder.name,))
    hidden = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:12]}{PART}")
    try:
        for name in stores:
            _write_store(StoreReader(run / f"{name}.zarr"), hidden / name)
        _write_terms(run, hidden / "README.md")
        publish_folder(hidden, folder)
    finally:
        if hidden.exists():
            remove(hidden)
    print(f"{folder}: {', '.join(stores)}")


def export_sets(run: Path, folder: Path) -> None:
    """Write every training set of a run as ``NAME.csv``: a row for each picture, see `PictureSet`.

    Raises
    ------
    ConfigError
        The run has no sets.
    """
    published = Ledger(run).published("combine")
    if published is None:
        raise ConfigError(f"{run} has no sets yet; run `astro-dist run` to the stage combine first")
    labels = StoreReader(run / "pictures.zarr").attrs["labels"]
    for path in sorted((run / published.product).glob("*.parquet")):
        rows, _ = read_pictures_set(path)
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(["store", "index", "copy", "class", "group", "parent"])
        columns = (rows.source, rows.index, rows.copy, rows.label, rows.group, rows.parents)
        for source, index, copy, label, group, parent in zip(*(c.tolist() for c in columns), strict=True):
            table.writerow([SOURCES[source], index, copy, labels[label], group, parent])
        publish_bytes(folder / f"{path.stem}.csv", text.getvalue().encode())


def safe_name(text: str) -> str:
    """Return the name of a class as that of a folder, without a word that `datasets` takes for a split."""
    plain = re.sub(r"[^\w .+-]", "_", text).strip(" .") or "_"
    return SPLIT_WORDS.sub(r"\1_", plain)


def _write_store(store: StoreReader, folder: Path) -> None:
    split = store.columns["split"]
    is_read = ~np.isin(np.arange(len(store)), store.attrs.get(UNREADABLE, []))
    for place in np.unique(split[is_read]):
        part = folder / PARTS[SPLIT_NAMES[place]]
        _write_part(store, np.flatnonzero(is_read & (split == place)), part)


def _write_terms(run: Path, path: Path) -> None:
    """Write the terms of the weights that any picture of a run was made with, if there are any."""
    origins = merge(*(of_facts(one.facts) for one in Ledger(run).all_published().values()))
    if origins:
        lines = [f"# Pictures of the run {run.resolve().name}", "", TERMS, "", *terms_table(origins)]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _write_part(store: StoreReader, rows: Sequence[int] | Any, folder: Path) -> None:
    """Write the pictures of some rows and the table that names them."""
    folders = [safe_name(name) for name in store.attrs["labels"]]
    for name in set(folders):
        (folder / name).mkdir(parents=True, exist_ok=True)
    keys = sorted(set(store.columns) - {"label", "split", "file"})
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["file_name", "label", "name", *keys])
    for start in range(0, len(rows), AT_ONCE):
        some = rows[start : start + AT_ONCE]
        for row, picture in zip(some, store.read("picture", some), strict=True):
            label, file = int(store.columns["label"][row]), int(store.columns["file"][row])
            place = f"{folders[label]}/{row:06d}.png"
            pixels = np.asarray(from_network(to_network(picture), "uint8"))
            (folder / place).write_bytes(png_bytes(to_image(pixels)))
            name = store.attrs["names"][file] if file >= 0 else ""
            facts = (store.columns[key][row].item() for key in keys)
            table.writerow([place, store.attrs["labels"][label], name, *facts])
    (folder / "metadata.csv").write_text(text.getvalue(), encoding="utf-8")
