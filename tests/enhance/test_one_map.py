"""One map doubled in memory: what arrays may be, and where results may go."""

import numpy as np
import pytest
from astropy import units
from PIL import Image

import astro_dist
from tests.enhance.fits_images import sky, write


def means(large):
    return large.reshape(*large.shape[:-2], large.shape[-2] // 2, 2, large.shape[-1] // 2, 2).mean((-3, -1))


@pytest.mark.parametrize("kind", ["f4", "i2"])
@pytest.mark.parametrize("planes", [None, 2])
def test_masked_pixels_are_no_data(kind, planes):
    image = (1e6 * sky()).astype(kind)
    image = image if planes is None else np.stack([image, -image])
    mask = image > 1000
    large = astro_dist.enhance(np.ma.array(image, mask=mask))
    assert (type(large), large.dtype) == (np.ndarray, np.float32)
    np.testing.assert_array_equal(np.isnan(large), mask.repeat(2, -2).repeat(2, -1))
    np.testing.assert_allclose(means(large)[~mask], image[~mask], atol=1e-6 * image.max())
    if planes:
        listed = astro_dist.enhance(list(np.ma.array(image, mask=mask)))
        np.testing.assert_array_equal(listed, large)


@pytest.mark.parametrize("kind", ["i4", "u4", "i8"])
def test_large_integers_keep_their_digits(kind):
    image = (1e6 * sky()).astype(int).astype(kind) % 1000 + np.array(10**9, kind)
    large = astro_dist.enhance(image)
    assert large.dtype == np.float64
    np.testing.assert_allclose(means(large), image, rtol=1e-12)


def test_an_array_with_a_unit_is_refused():
    with pytest.raises(astro_dist.AstroDistError, match=r"a unit \(Jy\) is not doubled.* give its \.value"):
        astro_dist.enhance(sky() * units.Jy)


@pytest.mark.parametrize("planes", [3, 4])
def test_a_picture_in_colours_is_no_cube(planes):
    picture = np.arange(20 * 24 * planes, dtype=np.uint8).reshape(20, 24, planes)
    with pytest.raises(astro_dist.AstroDistError, match=r"planes come first.*a picture give PIL\.Image"):
        astro_dist.enhance(picture)
    assert astro_dist.enhance(np.zeros((3, 8, planes))).shape == (3, 16, 2 * planes)


def test_hdu_is_for_fits_files():
    for image in (sky(), "a.png"):
        with pytest.raises(astro_dist.ConfigError, match="hdu chooses an image of a FITS file; leave it out"):
            astro_dist.enhance(image, hdu=1)


def test_a_result_that_cannot_be_written_is_refused(tmp_path):
    path, picture, link = write(tmp_path / "a.fits"), tmp_path / "p.png", tmp_path / "link.fits"
    Image.fromarray(np.arange(400, dtype=np.uint8).reshape(20, 20)).save(picture)
    link.symlink_to(tmp_path / "nowhere")
    for image, out, said in (
        (
            path,
            path / "x.fits",
            r"x\.fits cannot be written \(.*a\.fits: Not a directory\); name another file",
        ),
        (picture, picture / "x.png", r"x\.png cannot be written \(.*p\.png: Not a directory\); name another"),
        (path, "/proc/x/y.fits", r"/proc/x/y\.fits cannot be written \(/proc: .*\); name another file"),
        (path, link, r"link\.fits is there already; name another file"),
    ):
        with pytest.raises(astro_dist.ConfigError, match=said):
            astro_dist.enhance(image, out)
