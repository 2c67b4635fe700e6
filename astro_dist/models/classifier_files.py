"""The folder of a classifier: ``model.safetensors``, and ``config.json`` with the names of the classes.

Of a network with frozen features the folder holds the last layer alone.

API: ``save_classifier(network, folder, facts)``; ``load_classifier(folder)`` -> `Classifier` on the CPU in
evaluation mode, with its ``facts``.
"""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from astro_dist.engine.errors import ConfigError
from astro_dist.engine.foreign import read_mapping
from astro_dist.models.classifier import Classifier
from astro_dist.models.classifier_weights import WEIGHTS, adopt_features
from astro_dist.models.classifiers import build_classifier

CONFIG = "config.json"


def save_classifier(network: Classifier, folder: Path, facts: dict[str, Any], weights: bool = True) -> None:
    """Write ``config.json`` and, unless ``weights`` is false, ``model.safetensors`` into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    if weights:
        own = {name: tensor for name, tensor in network.state_dict().items() if network.is_own(name)}
        save_file({name: t.detach().cpu().contiguous() for name, t in own.items()}, folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps({**network.facts, **facts}, indent=1, sort_keys=True) + "\n")


def load_classifier(folder: Path) -> Classifier:
    """Load a network from its folder.

    Raises
    ------
    ConfigError
        The folder holds no such network, or its weights are damaged.
    """
    path = folder / CONFIG
    try:
        facts = read_mapping(path)
        network = build_classifier(str(facts["network"]), len(facts["classes"]), int(facts["size_pix"]))
    except (ConfigError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{path}: no classifier that this package published ({error})") from None
    if network.frozen:
        adopt_features(network)
    try:
        own = load_file(folder / WEIGHTS)
        network.load_state_dict({**network.state_dict(), **own} if network.frozen else own)
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"{folder / WEIGHTS}: these weights cannot be read ({reason})") from None
    network.facts = facts
    return network.eval()
