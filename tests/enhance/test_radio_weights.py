"""The weights of the package for maps: a run of the shipped configuration, and what they gain on FIRST."""

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from astro_dist.cli import main
from astro_dist.enhance.projection import enlarge_bicubic, halve_mean, project
from astro_dist.models.super_levels import Sampler
from astro_dist.models.super_res import SuperRes
from astro_dist.sky.stretch import stretch, unstretch
from tests.flare import upscaling

FIRST = upscaling.DATA / "first"
SMALL = ("simulate.shape=[192,192]", "enhance.samples=2", "enhance.most_samples=2", "enhance.calls=1")


def test_a_map_is_doubled_by_the_shipped_configuration(tmp_path, capsys):
    changes = [word for one in SMALL for word in ("--set", one)]
    words = ["run", "enhance/map", "--out", str(tmp_path / "run"), "--on", "serial", *changes]
    assert main(words) == 0
    assert "1 FITS images doubled by the network of superres" in capsys.readouterr().err
    found = tmp_path / "run" / "enhanced"
    given = fits.getdata(tmp_path / "run" / "maps" / "simulated-00.fits")
    doubled, width = (fits.getdata(found / f"simulated-00{end}.fits") for end in ("", "-uncertainty"))
    assert doubled.shape == (384, 384)
    assert np.abs(halve_mean(doubled[None])[0] - given).max() <= 1e-6 * given.max()
    assert (width > 0).all()


@pytest.mark.soak
@pytest.mark.skipif(not FIRST.is_dir(), reason="the FIRST images are not in ../shared")
def test_the_weights_gain_on_first_images_that_they_never_saw():
    """The mean of four samples, and what is expected, beside bicubic enlargement, with the input's fluxes."""
    gains = {}
    for calls in (8, 1):
        model = SuperRes.from_pretrained("radio", sampler=Sampler(calls=calls))
        errors = np.array([_errors(model, path) for path in sorted(FIRST.glob("*.fz"))[::100]])
        gain_db = 20 * np.log10(errors[:, 0] / errors[:, 1])
        half = 1.96 * gain_db.std(0) / np.sqrt(len(gain_db))
        print(
            f"\nN={len(errors)} RMS {errors.mean(0).round(3).tolist()}, gain {gain_db.mean(0)} +- {half} dB"
        )
        gains[calls] = gain_db.mean(0)
    assert (gains[8] > 0.3).all()
    assert (gains[1] > gains[8] + 1).all()


def _errors(model: SuperRes, path: Path) -> list[list[float]]:
    """Return the RMS errors of bicubic and of the network, of all pixels and of those above 5 sigma."""
    with fits.open(path) as hdus:
        whole = next(hdu.data for hdu in hdus if hdu.data is not None).astype(np.float32)
    side = [slice(length // 2 - 64, length // 2 + 64) for length in whole.shape]
    image = whole[tuple(side)]
    image = (image - np.median(image)) / _noise(image)
    small = halve_mean(image[None])
    rms = _noise(small)
    tile = stretch((small / rms).astype(np.float32), 0.0, 1.0)
    drawn = np.mean([unstretch(model.draw(tile, k), 0.0, 1.0) * rms for k in range(4)], 0)
    made = [project(large, small)[0] for large in (enlarge_bicubic(small), drawn)]
    return [
        [np.sqrt(np.mean((one - image)[use] ** 2)) for use in (image > -np.inf, image > 5)] for one in made
    ]


def _noise(image):
    return 1.4826 * np.median(np.abs(image - np.median(image)))
