"""How strong are the artefacts round bright compact sources of real maps, and those of a field?

    python -m tests.benchmarks.artefacts ours 0.008 --beam-pix 4
    python -m tests.benchmarks.artefacts maps --beam-pix 3 ../shared/data/first/*.fz

For sources of several ranges of signal-to-noise it prints, in rings of 2 to 3.5, 3.5 to 6 and 6 to 10 beam
widths round the source: the rms beyond the noise, and the deepest pixel of the median source and of one in
ten, in percent of the peak. Only the negative half of the pixels is used, because neighbours are positive.
"""

import argparse

import numpy as np
from astropy.io import fits
from scipy import ndimage

from astro_dist.engine.seeds import stream
from astro_dist.field.artefacts import LOWEST_SNR
from astro_dist.sky.artefacts import draw_artefact
from astro_dist.sky.beams import Beam, Pixel
from astro_dist.sky.noise import beam_noise
from astro_dist.sky.windows import Window

RINGS = ((2, 3.5), (3.5, 6), (6, 10))
RANGES = ((30, 60), (60, 120), (120, 300), (300, 700), (700, 1500), (1500, np.inf))
SIDE, PER_RANGE = 401, 30


def spread(values):
    """Robust standard deviation."""
    values = values[np.isfinite(values)]
    return 1.4826 * np.median(abs(values - np.median(values)))


def measure(image, y, x, beam_pix, noise):
    """Return signal-to-noise, and excess variance and depth of each ring over the peak."""
    rows, columns = np.indices(image.shape, sparse=True)
    r, peak = np.hypot(rows - y, columns - x) / beam_pix, image[y, x]
    sky = image[(r > 20) & (r < 35)]
    noise = spread(sky) if np.isfinite(sky).sum() > 500 else noise
    found = [peak / noise]
    for low, high in RINGS:
        values = image[(r >= low) & (r < high)]
        values = values[np.isfinite(values)]
        if len(values) < 50:
            return None
        half = np.diff(np.quantile(values, [0.16, 0.5]))[0]
        found += [(half**2 - noise**2) / peak**2, -values.min() / peak]
    return found


def sources_of(path, beam_pix):
    """Measure the compact sources above 30 sigma that are the brightest within three beams."""
    with fits.open(path) as hdus:
        image = np.squeeze(next(h.data for h in hdus if h.data is not None)).astype(np.float32)
    image -= np.nanmedian(image)
    noise, filled = spread(image), np.nan_to_num(image)
    highest = ndimage.maximum_filter(filled, int(6 * beam_pix))
    for y, x in np.argwhere((filled == highest) & (filled > 30 * noise)).tolist():
        top, left = max(0, y - 40), max(0, x - 40)
        half, _ = ndimage.label(filled[top : y + 41, left : x + 41] > 0.5 * filled[y, x])
        # A point has the area of a circle of the beam's width above half its peak.
        if (half == half[y - top, x - left]).sum() <= 1.5 * np.pi / 4 * beam_pix**2 + 3:
            yield measure(image, y, x, beam_pix, noise)


def ours(level, beam_pix):
    """Measure points with artefacts in noise."""
    beam, window = Beam(2.0 * beam_pix, 2.0 * beam_pix), Window(0, SIDE, 0, SIDE)
    middle = SIDE // 2
    rows, columns = np.indices(window.shape)
    point = beam.profile(rows - float(middle), columns - float(middle), Pixel(2.0, 2.0))
    for low, high in RANGES:
        snr = (low * min(high, 4000)) ** 0.5
        for number in range(PER_RANGE):
            key = ("benchmark", int(snr), number)
            image = beam_noise(window, beam, Pixel(2.0, 2.0), 1, key).astype(np.float32)
            image += snr * point
            pattern = draw_artefact(
                stream(1, *key), middle, middle, snr, 0.0, 1.0, beam_pix, 0.2, level, LOWEST_SNR
            )
            if pattern is not None:
                pattern.add_to(image, window)
            yield measure(image, middle, middle, beam_pix, 1.0)


def show(found):
    """Print a line per range."""
    table = np.array([one for one in found if one is not None])
    for low, high in RANGES:
        some = table[(table[:, 0] >= low) & (table[:, 0] < high)]
        if len(some) < 2:
            continue
        excess = np.median(some[:, 1::2], axis=0)
        rms = 100 * np.sign(excess) * np.sqrt(abs(excess))
        depth = 100 * np.quantile(some[:, 2::2], [0.5, 0.9], axis=0)
        rms, median, tenth = (" ".join(f"{value:6.2f}" for value in values) for values in (rms, *-depth))
        head = f"{np.median(some[:, 0]):6.0f} sigma, {len(some):3d} sources:"
        print(f"{head} rms {rms}  deepest {median}  one in ten {tenth}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=("ours", "maps"))
    parser.add_argument("items", nargs="+", help="the level of ours, or FITS files")
    parser.add_argument("--beam-pix", type=float, default=4.0)
    asked = parser.parse_args()
    if asked.what == "ours":
        show(ours(float(asked.items[0]), asked.beam_pix))
    else:
        show(one for path in asked.items for one in sources_of(path, asked.beam_pix))


if __name__ == "__main__":
    main()
