"""All networks that classify pictures, by name.

API: ``build_classifier(name, classes, size_pix)`` -> `Classifier` with weights drawn from torch's generator.
"""

from collections.abc import Callable

from astro_dist.models.classifier import Classifier
from astro_dist.models.densenet import DenseNet121
from astro_dist.models.efficientnet import EfficientNetLite0
from astro_dist.models.googlenet import GoogLeNet
from astro_dist.models.resnet import ResNet50
from astro_dist.models.small_classifier import TinyClassifier
from astro_dist.models.vit import VitB16

KINDS: dict[str, Callable[[int, int], Classifier]] = {
    "tiny": TinyClassifier,
    "probe": EfficientNetLite0,
    "resnet50": ResNet50,
    "googlenet": GoogLeNet,
    "densenet121": DenseNet121,
    "vit_b_16": VitB16,
}
"""The networks of `astro_dist.models.classifier_presets.NETWORKS`: ``(classes, size_pix) -> network``."""


def build_classifier(name: str, classes: int, size_pix: int) -> Classifier:
    """Return an untrained network for a number of classes and pictures of ``size_pix`` pixels."""
    network = KINDS[name](classes, size_pix)
    network.facts = {"network": name, "size_pix": size_pix}
    return network
