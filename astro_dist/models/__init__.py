"""Torch networks on a single device, and the NumPy code of their conditions."""
