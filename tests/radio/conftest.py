"""The toy cutouts and toy trainings of the tests of `train`."""

from tests.train.conftest import reader, toy_cell

__all__ = ["reader", "toy_cell"]
