import numpy as np
import pytest

from astro_dist.evaluate.networks import Networks


@pytest.fixture
def networks(stage_run):
    return Networks(stage_run)


def test_an_images_answer_does_not_depend_on_its_neighbours(networks):
    u = np.random.default_rng(1).standard_normal((6, 64, 64)).astype(np.float32)
    for answer in (networks.features, networks.classes, networks.reconstructions):
        assert np.array_equal(answer(u)[5:], answer(u[5:]))


def test_shapes_of_the_answers(networks):
    u = np.zeros((3, 64, 64), np.float32)
    assert networks.features(u).shape == (3, 32)
    assert networks.classes(u).shape == networks.reconstructions(u).shape == (3, 64, 64)
    assert networks.classes(u).dtype == np.uint8
