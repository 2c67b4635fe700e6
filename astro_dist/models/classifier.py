"""The base of all networks that classify pictures, and their folders.

A `Classifier` takes pictures ``x_BPSS`` in [-1, 1] of 1 or 3 planes, and has ``extract(x)`` -> ``f_BF`` and
``forward(x)`` -> ``logits_BK``. Its parameters have torchvision's names, so that torchvision's weights fit.

`astro_dist.models.classifiers` builds them, and `astro_dist.models.classifier_files` saves and loads them.

Shape letters: B batch, P planes, S side in pixels, C channels, H W feature map, F features, K classes.
"""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from astro_dist.models.classifier_presets import NETWORKS

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

    @property
    def frozen(self) -> bool:
        """Whether only the last layer is trained."""
        return NETWORKS[self.facts["network"]].frozen

    def is_own(self, name: str) -> bool:
        """Return whether a tensor is trained, and published; frozen ones come from their package."""
        return not self.frozen or name.startswith(f"{self.head_name}.")

    def body(self, x_B3SS: Tensor) -> Tensor:
        """Return the features of normalised pictures."""
        raise NotImplementedError


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
