"""What trained classifiers say of test pictures: probabilities, features, and their parquet file.

Shape letters: B batch, N pictures, P planes, S side in pixels, F features, K classes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from astro_dist.flare.rows import RowSamples
from astro_dist.models.classifier import Classifier
from astro_dist.models.device import flushed_denormals
from astro_dist.models.linear_head import fit_head
from astro_dist.sky.tables import write_table_file

Found = NDArray[np.float32]
"""Probabilities (N, K)."""


def whole_batches(rows: RowSamples, size: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield all rows in batches of one shape, and how many of each are no padding; bits depend on shapes."""
    for first in range(0, len(rows), size):
        places = np.arange(first, first + size)
        yield min(size, len(rows) - first), rows.read(np.minimum(places, len(rows) - 1))


@torch.no_grad()
def predict(network: Classifier, rows: RowSamples, size: int, device: str) -> NDArray[np.float32]:
    """Return the probabilities (N, K) of all rows, in batches of ``size``."""
    found = []
    with flushed_denormals():
        for count, x_BPSS in whole_batches(rows, size):
            logits_BK = network(torch.from_numpy(x_BPSS).to(device)).float()
            found.append(logits_BK.softmax(1)[:count].cpu().numpy())
    return np.concatenate(found)


@torch.no_grad()
def extract(network: Classifier, rows: RowSamples, size: int, device: str) -> NDArray[np.float32]:
    """Return the features (N, F) of all rows, in batches of ``size``."""
    network.to(device).eval()
    found = []
    with flushed_denormals():
        for count, x_BPSS in whole_batches(rows, size):
            f_BF = network.extract(torch.from_numpy(x_BPSS).to(device)).float()
            found.append(f_BF[:count].cpu().numpy())
    return np.concatenate(found)


@dataclass(frozen=True)
class Test:
    """Pictures that a trained network classifies.

    Attributes
    ----------
    rows
        The pictures.
    fitted
        Pictures of the same kind, to which a linear layer on the frozen features is fitted first; None where
        the network's own last layer decides.
    """

    # pytest would take the class for a test.
    __test__ = False
    rows: RowSamples
    fitted: RowSamples | None = None

    def predict(self, network: Classifier, size: int, device: str) -> NDArray[np.float32]:
        """Return the probabilities (N, K) of the classes."""
        if self.fitted is None:
            return predict(network, self.rows, size, device)
        classes = int(max(self.fitted.labels.max(), self.rows.labels.max())) + 1
        head = fit_head(extract(network, self.fitted, size, device), self.fitted.labels, classes)
        return head.probabilities(extract(network, self.rows, size, device))


def write_predictions(
    path: Path, tests: Mapping[str, Test], found: Mapping[str, NDArray[np.float32]]
) -> None:
    """Publish a row for every test picture: test, index, group, label, probabilities."""
    rows = [test.rows for test in tests.values()]
    lengths = np.concatenate([np.full(len(p), p.shape[1]) for p in found.values()])
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    values = np.concatenate([p.ravel() for p in found.values()])
    names = [name for name, test in tests.items() for _ in range(len(test.rows))]
    columns = {
        "test": pa.array(names).dictionary_encode(),
        "index": pa.array(np.concatenate([each.rows.index for each in rows]).astype(np.int32)),
        "group": pa.array(np.concatenate([each.rows.group for each in rows])),
        "label": pa.array(np.concatenate([each.labels for each in rows]).astype(np.int32)),
        "probabilities": pa.ListArray.from_arrays(pa.array(offsets), pa.array(values)),
    }
    write_table_file(path, pa.table(columns), compression="zstd")


def accuracy(rows: RowSamples, found_NK: Found) -> float:
    """Return the share of rows whose most probable class is theirs."""
    return round(float((found_NK.argmax(1) == rows.labels).mean()), 6)
