"""A training of super-resolution outside of a pipeline, on real pictures, and its figures."""

import numpy as np
import torch
from PIL import Image

from astro_dist.engine.work import Run, Task, for_stage
from astro_dist.enhance.pipeline import ENHANCE
from astro_dist.enhance.superres_stage import SUPERRES
from astro_dist.models.super_net import enlarge_bicubic
from astro_dist.pictures.degradations import halve
from astro_dist.store.schema import SPLIT_NAMES
from tests.flare.upscaling import DATA, held_out, list_folder, make_store, read_folder

HELD_OUT = 40
OCTAVES = ((1 / 16, 1 / 8), (1 / 8, 1 / 4), (1 / 4, 1 / 2))
"""Spatial frequencies in cycles per enlarged pixel; the input has nothing in the last octave."""


def hubble():
    """Return the Hubble pictures (N, 3, 256, 256) and the rows that no training sees."""
    pictures = read_folder(DATA / "hubble")
    return pictures, held_out(len(pictures), HELD_OUT)


def held_names():
    """Return the names of the Hubble pictures that no training sees."""
    names = list_folder(DATA / "hubble")
    return [names[row] for row in held_out(len(names), HELD_OUT)]


def held_middles(side=128, every=1):
    """Return the middles (n, 3, side, side) of every n-th of the Hubble pictures that no training sees."""
    first = 128 - side // 2
    pictures = read_folder(DATA / "hubble", held_names()[::every])
    return pictures[..., first : first + side, first : first + side]


def galaxies(count=58):
    """Return some of `all_galaxies`."""
    found = all_galaxies()
    return found[held_galaxies(len(found), count)]


def held_galaxies(number, count=58):
    """Return the rows of those that `galaxies` gives, of so many."""
    return np.arange(number)[:: max(1, number // count)][:count]


def all_galaxies():
    """Return the middles (N, 3, 128, 128) of halved galaxies, one of those that are nearly equal."""
    found, seen = [], []
    for name in list_folder(DATA / "galaxies"):
        with Image.open(DATA / "galaxies" / name) as image:
            pixels = np.asarray(image.convert("RGB"), np.float64).transpose(2, 0, 1)
        half = pixels.reshape(3, 212, 2, 212, 2).mean((2, 4))[:, 42:170, 42:170]
        small = half.mean(0).reshape(16, 8, 16, 8).mean((1, 3)).ravel()
        small = (small - small.mean()) / small.std() / 16
        if all(small @ other < 0.998 for other in seen):
            found, seen = [*found, np.rint(half).astype(np.uint8)], [*seen, small]
    return np.stack(found)


def train(root, pictures, held, **settings):
    """Train super-resolution on all pictures but the rows ``held``; return the folder of its weights."""
    split = np.zeros(len(pictures), int)
    split[held] = SPLIT_NAMES.index("test")
    if not (root / "pictures.zarr").exists():
        make_store(root / "pictures.zarr", pictures, split)
    size = {"size_pix": pictures.shape[-1], "planes": pictures.shape[1]}
    config = ENHANCE.resolve({"name": "doubling", "pictures": size, "superres": settings})
    run = for_stage(Run.of(root, config), SUPERRES, "0" * 16)
    SUPERRES.prepare(run)
    SUPERRES.run(run, Task("train"))
    return run.output


def power(images_NPHW):
    """Return the power (N, 3) of images in `OCTAVES`, under a window, summed over planes."""
    side = images_NPHW.shape[-1]
    window = np.hanning(side)[:, None] * np.hanning(side)
    centred = images_NPHW - images_NPHW.mean((2, 3), keepdims=True)
    spectrum = np.abs(np.fft.fft2(centred * window)) ** 2
    radius = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side))
    inside = [(radius >= low) & (radius < high) for low, high in OCTAVES]
    return np.stack([spectrum[..., ring].sum((1, 2)) for ring in inside], -1)


def decibels(images, pictures):
    """Return the PSNR (N,) of images from 0 to 1 against pictures, in dB."""
    error = np.clip(images, 0, 1) - pictures / 255
    return -10 * np.log10(np.maximum((error**2).mean((1, 2, 3)), 1e-10))


def measure(model, pictures, samples=1):
    """Return figures of halved pictures that a model doubles.

    Returns
    -------
    dict
        ``bicubic``, ``single``, ``mean`` and ``expected``: PSNR (N,) in dB of the bicubic enlargement, of one
        sample, of the mean of all, and of what the network expects of these; ``powers`` (2, N, 3): power of
        the single sample and of the truth in each octave; ``power`` (3,): the ratio of their sums.
    """
    small = np.stack([halve(picture, "bicubic") for picture in pictures])
    large = torch.from_numpy(small.astype(np.float32) / 255)
    drawn = np.zeros((samples, *pictures.shape), np.float32)
    expected = np.zeros(pictures.shape)
    for i, image in enumerate(large.numpy()):
        for k in range(samples):
            drawn[k, i] = model.draw(image, k, (1000 * i, 0))
            expected[i] += model.expect(image, k, (1000 * i, 0)) / samples
    powers = np.stack([power(np.clip(drawn[0], 0, 1)), power(pictures / 255)])
    return {
        "bicubic": decibels(enlarge_bicubic(large).numpy(), pictures),
        "single": decibels(drawn[0], pictures),
        "mean": decibels(drawn.mean(0), pictures),
        "expected": decibels(expected, pictures),
        "powers": powers,
        "power": find_ratio(powers),
    }


def find_ratio(powers_2NO):
    """Return the power of samples over that of the truth (3,), summed over pictures."""
    return powers_2NO[0].sum(0) / powers_2NO[1].sum(0)


def find_farther(figures, others, rounds=2000):
    """Return by how much farther from the true power samples are than others of the same pictures.

    Returns
    -------
    NDArray
        (3, 3): the difference of the distances of the ratios from 1, and the ends of its 95 % interval by a
        bootstrap over pictures, in each octave.
    """
    chance = np.random.default_rng(1)
    pair = [figures["powers"], others["powers"]]
    count = pair[0].shape[1]
    chosen = [np.arange(count), *(chance.integers(0, count, count) for _ in range(rounds))]
    away = [[np.abs(find_ratio(one[:, rows]) - 1) for one in pair] for rows in chosen]
    found = np.array([few - many for few, many in away])
    return np.stack([found[0], *np.percentile(found[1:], (2.5, 97.5), axis=0)])
