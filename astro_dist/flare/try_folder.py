"""`astro-dist flare test MODEL DIR`: a trained classifier on a folder of pictures with their classes."""

from pathlib import Path

import numpy as np

from astro_dist.engine.config import nearest, validate
from astro_dist.engine.errors import ConfigError, DataError
from astro_dist.flare.outside import Outside
from astro_dist.flare.predictions import predict
from astro_dist.flare.rows import RowSamples
from astro_dist.flare.sets import PictureSet
from astro_dist.metrics.classification import confusion, score
from astro_dist.models.classifier import Classifier
from astro_dist.models.classifier_files import load_classifier
from astro_dist.models.device import pin
from astro_dist.pictures.config import PicturesConfig
from astro_dist.pictures.folder import FolderSource
from astro_dist.pictures.images import resize
from astro_dist.workers.machine import count_cores

BATCH = 32


def try_folder(model: Path, folder: Path) -> int:
    """Print the figures of a classifier on the pictures of a folder; a command of the pipeline.

    Returns
    -------
    int
        Exit code: 4 where pictures could not be read, which are named.

    Raises
    ------
    ConfigError
        ``model`` is no classifier, or the folder has no picture of one of its classes.
    """
    pin(count_cores())
    network = load_classifier(model)
    rows, faults = _read_rows(network, folder)
    names = list(network.facts["classes"])
    found_N = predict(network, rows, BATCH, "cpu").argmax(1)
    counts = confusion(rows.labels, found_N, len(names))
    scores, width = score(counts), max(map(len, names))
    print(f"{'class':{width}}  pictures  right  taken for")
    for name, row in zip(names, counts, strict=True):
        right = int(row[names.index(name)])
        others = [f"{other} {n}" for other, n in zip(names, row, strict=True) if n and other != name]
        print(f"{name:{width}}  {int(row.sum()):8}  {right:5}  {', '.join(others)}")
    print(f"accuracy {scores.accuracy:.4f}, macro F1 {scores.f1_macro:.4f}, {len(rows)} pictures")
    for fault in faults:
        print(f"not read: {fault}")
    return 4 if faults else 0


def _read_rows(network: Classifier, folder: Path) -> tuple[RowSamples, list[str]]:
    """Return the pictures whose classes the network has, and what could not be read."""
    facts = network.facts
    tree = {"path": str(folder), "planes": facts["planes"], "size_pix": facts["picture_pix"]}
    source = FolderSource(validate(PicturesConfig, tree))
    places = _find_places(network)
    known = {label for _, label, _, _ in source.entries}
    if strange := sorted(known - places.keys()):
        near = nearest(strange[0], places)
        raise ConfigError(f"{folder}: the classifier has no class {strange[0]!r}; {near}")
    pictures, labels, faults = [], [], []
    for _, label, _, number in source.entries:
        try:
            pictures.append(resize(source.read(number), int(facts["size_pix"])))
            labels.append(places[label])
        except DataError as error:
            faults.append(str(error))
    if not pictures:
        raise ConfigError(f"{folder}: no picture with a class; give a folder per class")
    numbers, zeros = np.arange(len(labels)), np.zeros(len(labels), np.int64)
    rows = PictureSet(zeros, numbers, zeros, np.array(labels), numbers, numbers)
    found = Outside(np.stack(pictures), rows, tuple(facts["classes"]), zeros.astype(np.uint8), tuple(faults))
    return RowSamples(found, rows, np.arange(len(found.classes))), faults


def _find_places(network: Classifier) -> dict[str, int]:
    """Return the class of the network for each name of a folder: a class, or a member of a macro class."""
    names = list(network.facts["classes"])
    places = {name: place for place, name in enumerate(names)}
    for owner, members in network.facts.get("members", {}).items():
        places |= {member: names.index(owner) for member in members if member not in places}
    return places
