"""Figures of the projected bicubic enlargement on FIRST, SUMSS and noise; `docs/enhance.md` shows them.

Fluxes also of what the weights `radio` expect, which learnt from no survey map.
"""

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from astro_dist.enhance.inventions import Judge
from astro_dist.enhance.projection import enlarge_bicubic, halve_mean, project, repeat_twice
from astro_dist.enhance.tiles import Source, TileMaker
from astro_dist.models.device import pin
from astro_dist.models.super_res import SuperRes
from astro_dist.sky.sky_image import SkyImage
from astro_dist.sky.stretch import stretch, unstretch
from astro_dist.sky.windows import Window
from tests.flare.upscaling import DATA

JUDGE = Judge(5, 4, 1.6)
NEAR_PIX = 3.0
APERTURE_PIX = 6.0
"""Radius of circles in which fluxes are measured: two beams of FIRST, one and a half of SUMSS."""
CUTS = {"first": (slice(None), slice(None)), "sumss": (slice(100, 612), slice(300, 1112))}


def level(image):
    """Return background and noise."""
    middle = np.median(image)
    spread = 1.4826 * np.median(np.abs(image - middle))
    kept = image[np.abs(image - middle) < 3 * spread]
    return np.median(kept), kept.std()


def find(image, level_sigma):
    """Return rows, columns and fluxes of the sources that SEP finds."""
    sep = pytest.importorskip("sep")
    found = sep.extract(np.ascontiguousarray(image, np.float64), level_sigma, minarea=5)
    return np.stack([found["y"], found["x"], found["flux"]], 1)


def aperture(image, places):
    """Return the fluxes of SEP in circles of `APERTURE_PIX` round places (n, 2), row and column."""
    sep = pytest.importorskip("sep")
    return sep.sum_circle(np.ascontiguousarray(image, np.float64), places[:, 1], places[:, 0], APERTURE_PIX)[
        0
    ]


def noise_in_circle(image, noise):
    """Return the standard deviation of the flux of empty circles, by those of the image without sources."""
    rng = np.random.default_rng(1)
    side = [rng.uniform(10, length - 10, 400) for length in image.shape]
    empty = aperture(np.clip(image, -3 * noise, 3 * noise), np.stack(side, 1))
    return 1.4826 * np.median(np.abs(empty - np.median(empty)))


def expect(model, small, background, rms):
    """Return what a network expects of a map, with the fluxes of the input."""
    tile = stretch(((small - background) / rms).astype(np.float32), 0.0, 1.0)
    return project(unstretch(model.expect(tile), 0.0, 1.0) * rms + background, small)


def read(path, cut):
    sky = SkyImage.open(Path(path))
    image = sky.read(Window.of_shape(sky.shape))[0][cut].astype(np.float64)
    return image[: len(image) // 2 * 2, : image.shape[1] // 2 * 2]


@pytest.mark.soak
@pytest.mark.parametrize(("survey", "most"), [("first", 49), ("sumss", 6)])
def test_real_maps_keep_fluxes_and_lose_fewer_sources_than_by_bicubic(survey, most):
    lost = dict.fromkeys(("nearest", "bicubic", "projected", "expected"), 0)
    fluxes, positions, heights, noises, sources = [], [], [], [], 0
    # Of each source the error at the place of the truth, and at the place that is found.
    errors = {"projected": [], "expected": []}
    pin(1)
    model = SuperRes.from_pretrained("radio")
    paths = sorted((DATA / survey).glob("*.fz"))[:most]
    assert paths, "the maps are not in ../shared/data"
    for path in paths:
        image = read(path, CUTS[survey])
        if not np.isfinite(image).all():
            continue
        small = halve_mean(image[None])
        (background, rms), (sky, noise) = level(small), level(image)
        blank = noise_in_circle(image - sky, noise)
        planes = (np.full(small.shape, value, np.float32) for value in (background, rms))
        source = Source(small, *planes, Window.of_shape(small.shape[1:]))
        projected = TileMaker(JUDGE).make(source, source.window).image_PHW.astype(np.float32)
        means = halve_mean(projected)
        assert np.abs(means - small).max() <= 1e-6 * np.abs(small).max()
        assert abs(means.sum() - small.sum()) <= 1e-7 * np.abs(small).sum()
        assert not JUDGE.find((projected - background) / rms, (small - background) / rms).any()
        truth = find(image - sky, 5 * noise)
        sources += len(truth)
        others = {"nearest": repeat_twice(small), "bicubic": enlarge_bicubic(small), "projected": projected}
        others["expected"] = expect(model, small, background, rms)
        for name, other in others.items():
            found = find(other[0] - sky, 5 * noise)
            apart = np.hypot(*(found[:, None, i] - truth[None, :, i] for i in (0, 1)))
            nearest = apart.min(0, initial=np.inf)
            lost[name] += int((nearest > NEAR_PIX).sum())
            for i in np.flatnonzero(nearest <= NEAR_PIX) if name in errors else ():
                y, x = np.rint(truth[i, :2]).astype(int)
                if image[y, x] - sky > 20 * noise:
                    match = found[apart[:, i].argmin()]
                    own = aperture(image - sky, truth[i, None, :2])[0]
                    here, there = aperture(other[0] - sky, np.stack([truth[i, :2], match[:2]]))
                    errors[name].append([abs(here / own - 1), abs(there / own - 1)])
                    if name == "projected":
                        heights.append((image[y, x] - sky) / noise)
                        noises.append(blank / own)
                        fluxes.append(abs(match[2] / truth[i, 2] - 1))
                        positions.append(nearest[i])
    errors, heights = {name: np.array(off) for name, off in errors.items()}, np.array(heights)
    circles = errors["projected"][:, 1]
    within = np.mean(circles < 0.01)
    print(survey, sources, lost, len(fluxes), np.median(fluxes), np.median(positions))
    print("in circles", np.median(circles), np.quantile(circles, 0.95), within)
    for low, high in ((20, 50), (50, 100), (100, np.inf)):
        chosen = (heights > low) & (heights <= high)
        print(f"{low} to {high} sigma: {chosen.sum()}, within 1 %: {np.mean(circles[chosen] < 0.01):.3f}")
    for name, off in errors.items():
        shares, ends = (off < 0.01).mean(0), np.quantile(off, 0.95, axis=0)
        print(name, len(off), "at the place of the truth, at its own: within 1 %", shares, "95 % below", ends)
        assert (shares > 0.85).all()
    print("error over that of the noise in the circle", np.quantile(circles / np.abs(noises), (0.5, 0.95, 1)))
    assert lost["projected"] <= lost["bicubic"]
    assert np.median(fluxes) < 0.02
    assert np.median(circles) < 0.01
    assert within > 0.85
    assert np.median(positions) < 0.1


def check_noise(count, side):
    rng, found = np.random.default_rng(0), 0
    for _ in range(count):
        noise = ndimage.gaussian_filter(rng.standard_normal((1, side, side)), (0, 1.27, 1.27))
        noise /= noise.std()
        found += int(Judge(5, 4, 3.0).find(project(enlarge_bicubic(noise), noise), noise).sum())
    return found


def test_nothing_is_invented_on_noise():
    assert check_noise(1, 300) == 0


@pytest.mark.soak
def test_nothing_is_invented_on_ten_million_pixels_of_noise():
    assert check_noise(10, 1000) == 0
