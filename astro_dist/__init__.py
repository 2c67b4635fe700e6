"""Make synthetic radio-sky maps with an exact truth, on one laptop or a cluster."""

__version__ = "0.1.0"
