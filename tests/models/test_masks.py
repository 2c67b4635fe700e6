import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from astro_dist.models.masks import (
    CONDITION_SIZE,
    build_mask_denoiser,
    count_objects,
    encode_mask_condition,
    fold,
    from_planes,
    load_mask_denoiser,
    mask_noise_shape,
    to_planes,
    unfold,
)
from astro_dist.models.presets import PRESETS

SIDE = 32


def scatter(seed):
    """Blobs of all classes that may lie at the border but do not touch."""
    rng = np.random.default_rng(seed)
    blobs = ndimage.gaussian_filter(rng.standard_normal((SIDE, SIDE)), 2) > 0.1
    labels, count = ndimage.label(blobs, structure=np.ones((3, 3)))
    classes = np.concatenate([[0], rng.integers(1, 4, count)])
    return classes[labels].astype(np.uint8), labels.astype(np.uint16)


@given(seed=st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_masks_come_back_from_their_planes(seed):
    mask, instances = scatter(seed)
    planes = to_planes(mask, instances)
    assert planes.dtype == np.float32
    assert np.abs(planes).max() <= 1
    again, numbers = from_planes(planes, least_pix=1)
    assert np.array_equal(again, mask)
    assert np.array_equal(numbers, instances)


def test_objects_that_touch_stay_two():
    mask, instances = np.zeros((16, 16), np.uint8), np.zeros((16, 16), np.uint16)
    mask[2:10, 2:12], instances[2:10, 2:7], instances[2:10, 7:12] = 2, 1, 2
    again, numbers = from_planes(to_planes(mask, instances))
    assert numbers.max() == 2
    assert (again[2:10, 6:8] == 0).all()
    assert (again[2:10, 2:6] == 2).all()


def test_objects_are_counted_by_class():
    mask, instances = np.zeros((8, 8), np.uint8), np.zeros((8, 8), np.uint16)
    assert np.array_equal(count_objects(mask, instances), [0, 0, 0])
    mask[0], mask[2, :4], mask[2, 5:] = 3, 2, 2
    instances[0], instances[2, :4], instances[2, 5:] = 1, 2, 3
    assert np.array_equal(count_objects(mask, instances), [0, 2, 1])


def test_a_component_has_the_class_of_most_of_its_pixels():
    planes = np.full((3, 16, 16), -1.0, np.float32)
    planes[1, 4:8, 4:8], planes[2, 4:8, 8:10], planes[0, 12, 12] = 0.5, 0.5, 0.5
    mask, instances = from_planes(planes)
    assert set(np.unique(mask[4:8, 4:10])) == {2}
    assert instances.max() == 1
    assert mask[12, 12] == 0


def test_an_empty_mask_is_empty_sky_for_the_network():
    empty = np.zeros((16, 16), np.uint8)
    planes = torch.from_numpy(to_planes(empty, empty))[None]
    assert not fold(planes).any()
    assert torch.equal(unfold(fold(planes)), planes)


@torch.no_grad()
def test_the_condition_matters_and_the_network_comes_back_from_its_folder(tmp_path):
    torch.manual_seed(0)
    network = build_mask_denoiser("tiny").eval()
    condition = torch.from_numpy(
        encode_mask_condition(np.array([[0, 3, 0], [1, 3, 0]]), np.zeros((2, 6), np.float32))
    )
    assert condition.shape == (2, CONDITION_SIZE)
    noisy, times = torch.randn(2, *mask_noise_shape(SIDE)), torch.tensor([3, 700])
    output = network(noisy, times, condition)
    assert output.shape == noisy.shape
    assert not torch.equal(output, network(noisy, times, condition.flip(0)))
    network.save_pretrained(tmp_path)
    assert torch.equal(load_mask_denoiser(tmp_path)(noisy, times, condition), output)


@pytest.mark.parametrize("name", PRESETS)
def test_the_cost_names_the_parameters_that_are_there(name):
    with torch.device("meta"):
        count = sum(p.numel() for p in build_mask_denoiser(name).parameters())
    assert PRESETS[name].costs["masks"][0] == pytest.approx(count, rel=0.02)
