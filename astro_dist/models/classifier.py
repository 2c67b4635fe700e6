"""The base of all networks that classify pictures, and their folders.

A `Classifier` takes pictures ``x_BPSS`` in [-1, 1] of 1 or 3 planes, and has ``extract(x)`` -> ``f_BF`` and
``forward(x)`` -> ``logits_BK``. Its parameters have torchvision's names, so that torchvision's weights fit. A
folder holds ``model.safetensors`` and ``config.json`` with the names of the classes.

API: ``save_classifier(network, folder, facts)``; ``load_classifier(folder)`` -> `Classifier` on the CPU in
evaluation mode, with its ``facts``.

Shape letters: B batch, P planes, S side in pixels, C channels, H W feature map, F features, K classes.
"""

import json
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from astro_dist.engine.errors import ConfigError
from astro_dist.engine.foreign import read_mapping
from astro_dist.models.classifier_presets import NETWORKS

CONFIG, WEIGHTS = "config.json", "model.safetensors"
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and deviation of the red, green and blue values of ImageNet, in units of the full range."""


class Classifier(nn.Module):
    """A network with a linear last layer over the features that ``extract`` returns.

    Attributes
    ----------
    head_name
        Name of the last layer.
    whitened
        Whether the published weights of this architecture want ImageNet's mean and deviation taken out;
        else they take [-1, 1].
    facts
        What ``config.json`` says: ``network``, ``classes``, ``size_pix``, ``planes``, ``level``.
    """

    head_name: ClassVar[str] = "fc"
    whitened: ClassVar[bool] = True
    facts: dict[str, Any]

    @property
    def head(self) -> nn.Module:
        """The last layer."""
        return self.get_submodule(self.head_name)

    def extract(self, x_BPSS: Tensor) -> Tensor:
        """Return the features (B, F) before the last layer; a grey picture counts as three equal planes."""
        x_B3SS = x_BPSS.expand(-1, 3, -1, -1)
        if self.whitened:
            mean, std = (x_B3SS.new_tensor(v)[:, None, None] for v in (IMAGENET_MEAN, IMAGENET_STD))
            x_B3SS = (x_B3SS * 0.5 + 0.5 - mean) / std
        return self.body(x_B3SS)

    def forward(self, x_BPSS: Tensor) -> Tensor:
        """Return the logits (B, K)."""
        logits_BK: Tensor = self.head(self.extract(x_BPSS))
        return logits_BK

    def body(self, x_B3SS: Tensor) -> Tensor:
        """Return the features of normalised pictures."""
        raise NotImplementedError


def build_classifier(name: str, classes: int, size_pix: int) -> Classifier:
    """Return an untrained network with weights drawn from torch's generator."""
    network: Classifier = NETWORKS[name].make(classes, size_pix)
    network.facts = {"network": name, "size_pix": size_pix}
    return network


def save_classifier(network: Classifier, folder: Path, facts: dict[str, Any]) -> None:
    """Write ``model.safetensors`` and ``config.json`` into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    save_file(tensors, folder / WEIGHTS)
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
        network.load_state_dict(load_file(folder / WEIGHTS))
    except (ConfigError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{path}: no classifier that this package published ({error})") from None
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"{folder / WEIGHTS}: these weights cannot be read ({reason})") from None
    network.facts = facts
    return network.eval()


def count(network: nn.Module) -> int:
    """Return the number of parameters."""
    return sum(parameter.numel() for parameter in network.parameters())


def conv_norm(inside: int, outside: int, size: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """Return a convolution for use in front of a batch norm: without a bias, which the norm would remove."""
    return nn.Conv2d(inside, outside, size, stride, size // 2, groups=groups, bias=False)


@torch.no_grad()
def begin_convolutions(network: nn.Module) -> None:
    """Draw all convolutions as in He et al. 2015, with the variance of the gradient kept."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
