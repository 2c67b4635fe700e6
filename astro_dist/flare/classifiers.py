"""What classifiers are trained with: objective, samples, initial weights, predictions.

Shape letters: B batch, N pictures, P planes, S side in pixels, F features, K classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from astro_dist.engine.arrays import Integers
from astro_dist.engine.config import fingerprint
from astro_dist.engine.errors import QUARANTINED
from astro_dist.engine.work import Run
from astro_dist.flare.classify_config import ClassifierConfig, ClassifyConfig, JudgeConfig
from astro_dist.flare.outside import map_classes, mapped_rows, open_outside, probed_rows
from astro_dist.flare.predictions import Test, accuracy, extract, write_predictions
from astro_dist.flare.rows import (
    FeatureRows,
    Gallery,
    Labelled,
    RowSamples,
    SetSamples,
    classes_of,
    open_gallery,
    rows_of,
)
from astro_dist.flare.sets import read_pictures_set
from astro_dist.flare.upscale_config import AugmentConfig
from astro_dist.models.classifier import Classifier
from astro_dist.models.classifier_files import save_classifier
from astro_dist.models.classifier_weights import adopt_features, adopt_weights, check_weights
from astro_dist.models.classifiers import build_classifier
from astro_dist.pictures.config import PicturesConfig
from astro_dist.store.reader import StoreReader
from astro_dist.train.recipe import Built, Cell, Figures

OWN_TEST = "test"
"""Name of the test split of the run's own pictures."""


class ClassifierObjective:
    """Cross-entropy of the class of each picture.

    Parameters
    ----------
    classifier
        The network; where its features are frozen its last layer alone is trained.
    facts
        What ``config.json`` says.
    tests
        Pictures that the trained network classifies, by name.
    weights
        Whether the weights are published, beside the predictions.
    """

    def __init__(
        self,
        classifier: Classifier,
        facts: dict[str, Any],
        tests: Mapping[str, Test],
        weights: bool = True,
    ) -> None:
        self.classifier, self.facts, self.tests, self.weights = classifier, facts, tests, weights
        self.network: Any = classifier.head if classifier.frozen else classifier
        self.notes: tuple[str, ...] = ()
        self.left_out: list[str] = []

    def loss(self, network: nn.Module, batch: Labelled, device: str) -> tuple[Tensor, Figures]:
        label_B = torch.from_numpy(batch.label_B).to(device)
        logits_BK = network(torch.from_numpy(batch.x).to(device))
        right_B = logits_BK.detach().argmax(1) == label_B
        return functional.cross_entropy(logits_BK, label_B), {"accuracy": right_B.float().mean()}

    def publish(self, folder: Path, batches: list[Labelled], device: str) -> dict[str, Any]:
        # The trained layer is a copy of the classifier's own under ZeRO-3.
        trained = self.classifier.head if self.classifier.frozen else self.classifier
        trained.load_state_dict(self.network.state_dict())
        self.classifier.to(device).eval()
        save_classifier(self.classifier, folder, self.facts, self.weights)
        size = len(batches[0].label_B)
        found = {name: test.predict(self.classifier, size, device) for name, test in self.tests.items()}
        write_predictions(folder / "predictions.parquet", self.tests, found)
        scores = {name: accuracy(self.tests[name].rows, found[name]) for name in found}
        said = {"notes": list(self.notes), QUARANTINED: self.left_out}
        return {"test_accuracy": scores, **{name: lines for name, lines in said.items() if lines}}


@dataclass(frozen=True)
class Splits:
    """The run's own pictures at one level: names of the classes, and rows by split."""

    gallery: Gallery
    reader: StoreReader
    names: list[str]
    classes: Integers

    @classmethod
    def open(cls, run: Run, size_pix: int, level: str) -> "Splits":
        """Open the store of pictures of a run."""
        kinds = tuple(run.section(AugmentConfig).kinds)
        gallery = open_gallery(run.root, run.fingerprint, size_pix, run.seed, kinds)
        reader = gallery.store(0)
        macro = reader.attrs.get("macro", {})
        return cls(gallery, reader, *classes_of(reader.attrs["labels"], macro, level))

    def rows(self, split: str, copies: int = 1) -> RowSamples:
        """Return the pictures of a split as they are, or with augmented copies."""
        rows = rows_of(self.reader, self.reader.select(split), copies)
        return RowSamples(self.gallery, rows, self.classes)


def build_judge(cell: Cell, device: str) -> Built:
    """Return objective and samples of the judge of synthetic pictures."""
    config = cell.config
    assert isinstance(config, JudgeConfig)
    splits = Splits.open(cell.run, config.crop_pix, "fine")
    return build(cell, device, splits, splits.rows("train", config.copies), "fine", {})


def build_cell(cell: Cell, device: str) -> Built:
    """Return objective and samples of a cell of the grid."""
    config, level = cell.config, cell.rows["level"]
    splits = Splits.open(cell.run, config.crop_pix, level)
    rows, _ = read_pictures_set(cell.run.product("sets") / f"{cell.rows['set']}.parquet")
    facts: dict[str, Any] = {"set": cell.rows["set"]}
    return build(cell, device, splits, RowSamples(splits.gallery, rows, splits.classes), level, facts)


def open_tests(cell: Cell, splits: Splits) -> tuple[dict[str, Test], dict[str, list[str]], list[str]]:
    """Return the test sets, the classes of those that have their own, and what could not be read."""
    tests, own, left_out = {OWN_TEST: Test(splits.rows("test"))}, {}, list[str]()
    config, run = cell.config, cell.run
    labels = splits.reader.attrs["labels"]
    for name, one in config.test.items() if isinstance(config, ClassifyConfig) else ():
        found = open_outside(one, run.section(PicturesConfig), config.crop_pix, run.seed)
        left_out += [f"{name}: {fault}" for fault in found.faults]
        if one.how == "probe":
            fitted, rows = probed_rows(found)
            tests[name], own[name] = Test(rows, fitted), list(found.classes)
        else:
            to_ours = map_classes(one.map, found.classes, labels, f"classify.test.{name}")
            tests[name] = Test(mapped_rows(found, to_ours, splits.classes))
    return tests, own, left_out


def build(
    cell: Cell, device: str, splits: Splits, rows: RowSamples, level: str, facts: dict[str, Any]
) -> Built:
    """Return the objective of a network with samples of ``rows``, validated and tested on real pictures."""
    config = cell.config
    assert isinstance(config, ClassifierConfig)
    network = build_classifier(config.preset, len(splits.names), config.crop_pix)
    tests, own, left_out = open_tests(cell, splits)
    facts |= {"classes": splits.names, "level": level, "planes": int(splits.reader.attrs["planes"])}
    facts |= {"picture_pix": int(splits.reader.attrs["size_pix"]), **({"probed": own} if own else {})}
    if level == "macro":
        facts["members"] = splits.reader.attrs["macro"]
    weights = getattr(config, "keep", "weights") == "weights"
    objective = ClassifierObjective(network, facts, tests, weights)
    objective.left_out = left_out
    validation = splits.rows("validation")
    if network.frozen:
        adopt_features(network)
        rows, validation = (
            FeatureRows(part, _find_features(network, part, config, device)) for part in (rows, validation)
        )
    samples = SetSamples(rows, (cell.run.seed, *cell.key))
    return objective, samples, validation if len(validation) else None


def _find_features(
    network: Classifier, rows: RowSamples, config: ClassifierConfig, device: str
) -> NDArray[np.float32]:
    """Return the frozen features (N, F) of rows; cells of other seeds have the same."""
    gallery, numbers = rows.gallery, (rows.rows.source, rows.rows.index, rows.rows.copy)
    assert isinstance(gallery, Gallery)
    # The last bits depend on the size of a batch.
    what = fingerprint([config.preset, config.batch_size, device, [one.tolist() for one in numbers]])
    return gallery.keep_features(what, lambda: extract(network, rows, config.batch_size, device))


def load(objective: ClassifierObjective, path: Path) -> None:
    """Put weights into an objective; a `Recipe.load`."""
    objective.notes = adopt_weights(objective.classifier, path, "start_from")


def refuse(run: Run, path: Path) -> None:
    """Refuse weights of another network than the settings name; a `Recipe.refuse`."""
    config = next(s for s in run.settings.sections.values() if isinstance(s, ClassifierConfig))
    # The number of classes is not known before the pictures are read, and a last layer of any number fits.
    check_weights(config.preset, 2, config.crop_pix, path, f"{run.settings.own}.start_from")
