"""Weights of others for classifiers: torchvision's state dicts, and folders that this package published.

API: ``adopt_weights(network, path, setting)`` -> sentences about what was not taken over;
``check_weights(name, classes, size_pix, path, setting)`` refuses the same files without building the network.
"""

import re
from pathlib import Path

import torch
from torch import Tensor

from astro_dist.engine.errors import ConfigError
from astro_dist.models.classifier import Classifier, count
from astro_dist.models.classifiers import build_classifier
from astro_dist.models.efficientnet import find_feature_weights
from astro_dist.models.tensor_files import read_tensors
from astro_dist.models.vit import resize_positions

WEIGHTS = "model.safetensors"
"""File of a published folder."""
LEFT_OUT = re.compile(r"aux[12]\.")
"""GoogLeNet's auxiliary classifiers, which published weights carry and nobody uses."""
OLD_NAMES = (
    # Names in torchvision's files of DenseNet, and in those of its first vision transformers.
    (re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12])\."), r"\1\2."),
    (re.compile(r"\.mlp\.linear_1\."), ".mlp.0."),
    (re.compile(r"\.mlp\.linear_2\."), ".mlp.3."),
)
POSITIONS = "encoder.pos_embedding"
COUNTER = "num_batches_tracked"
"""Counters of batch norms, which files from before 2018 do not have."""


def adopt_weights(network: Classifier, path: Path, setting: str) -> tuple[str, ...]:
    """Put the weights of a file, or of a published folder, into a network.

    Returns
    -------
    tuple of str
        Sentences for the user: that the last layer is for other classes and begins anew.

    Raises
    ------
    ConfigError
        Naming the tensor: the weights are not of this network.
    """
    fitting, notes = _fit(network, path, setting)
    for name, tensor in fitting.items():
        if not bool(tensor.isfinite().all()):
            raise ConfigError(f"{setting}: {path}: the tensor {name} holds NaN or infinite numbers")
    network.load_state_dict({name: tensor.float() for name, tensor in fitting.items()}, strict=False)
    return notes


def check_weights(name: str, classes: int, size_pix: int, path: Path, setting: str) -> None:
    """Refuse weights that `adopt_weights` would refuse for their names or shapes."""
    # A network without memory: its tensors have shapes only.
    with torch.device("meta"):
        network = build_classifier(name, classes, size_pix)
    _fit(network, path, setting)


def adopt_features(network: Classifier) -> None:
    """Put the weights of the package with frozen features into all but the last layer, and freeze these."""
    adopt_weights(network, find_feature_weights(), "probe")
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(network.is_own(name))


def _fit(network: Classifier, path: Path, setting: str) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Return the tensors of a file under the network's names, and what is said about them."""
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    # Auxiliary classifiers and double precision may come along, and nothing larger.
    most_bytes = 16 * count(network) + (64 << 20)
    found = read_tensors(path / WEIGHTS if path.is_dir() else path, most_bytes)
    found = {new_name(name): tensor for name, tensor in found.items() if not LEFT_OUT.match(name)}
    notes = []
    if POSITIONS in found and POSITIONS in wanted:
        found[POSITIONS] = _resized(found[POSITIONS], wanted[POSITIONS], path, setting)
    head = f"{network.head_name}.weight", f"{network.head_name}.bias"
    if head[0] in found and _other_classes(found[head[0]], wanted[head[0]]):
        theirs, ours = len(found[head[0]]), wanted[head[0]][0]
        notes.append(f"the last layer of {path} is for {theirs} classes, not {ours}, and begins anew")
        for name in head:
            found.pop(name, None)
            wanted.pop(name, None)
    missing = {name for name in wanted.keys() - found.keys() if not name.endswith(COUNTER)}
    if strange := sorted(missing | (found.keys() - wanted.keys())):
        where = "missing" if strange[0] in wanted else "not of this network"
        raise ConfigError(
            f"{setting}: {path}: the tensor {strange[0][:80]!r} is {where}; give weights of the network "
            f"{network.facts['network']}, or leave start_from out"
        )
    for name, tensor in found.items():
        if tuple(tensor.shape) != wanted[name]:
            raise ConfigError(
                f"{setting}: {path}: the tensor {name} has the shape {list(tensor.shape)}, not "
                f"{list(wanted[name])}; give weights of the network {network.facts['network']}"
            )
    return found, tuple(notes)


def new_name(name: str) -> str:
    """Return the present name of a tensor of an older file."""
    for old, new in OLD_NAMES:
        name = old.sub(new, name)
    return name


def _other_classes(theirs: Tensor, ours: tuple[int, ...]) -> bool:
    return theirs.ndim == 2 and theirs.shape[1] == ours[1] and theirs.shape[0] != ours[0]


def _resized(positions: Tensor, shape: tuple[int, ...], path: Path, setting: str) -> Tensor:
    fits = positions.ndim == 3 and (positions.shape[0], positions.shape[2]) == (1, shape[2])
    # A square of patches and the class token; 10,000 patches are a picture of 1,600 pixels.
    patches = positions.shape[1] - 1 if fits else 0
    if not fits or patches > 10_000 or round(patches**0.5) ** 2 != patches or patches < 1:
        raise ConfigError(f"{setting}: {path}: {POSITIONS} has the shape {list(positions.shape)}")
    return resize_positions(positions.float(), shape[1])
