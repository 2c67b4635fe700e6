"""How far intervals and refusals of a network that doubles maps hold on real maps."""

import json
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter, zoom

from astro_dist.enhance.calibration import LEVELS, calibrate, is_bright, read_pairs
from astro_dist.enhance.inventions import Judge
from astro_dist.enhance.map_checks import MOST_PAIRS, find_bright, fit_likeness, spread_rows
from astro_dist.enhance.projection import halve_mean
from astro_dist.enhance.tiles import TileMaker
from astro_dist.models.super_levels import Sampler
from astro_dist.models.super_res import SuperRes
from astro_dist.store.reader import StoreReader
from tests.flare.upscaling import DATA

BRIGHT_SIGMA = 5.0


def open_maker(root, samples=8, calls=15, estimate="mean"):
    """Return what doubles cutouts with the network of a run."""
    network = SuperRes.from_pretrained(root, sampler=Sampler("dpm++", calls))
    numbers = samples, samples, 0
    return TileMaker(Judge(5, 4, None), network, network.network.config.stretch, *numbers, estimate)


def cover(root, most=150, most_bright=500, scaled_on=MOST_PAIRS, maker=None):
    """Return how many test pixels lie in intervals scaled on validation cutouts.

    Returns
    -------
    dict
        For all pixels, and for those above 5 sigma in what is published and in the truth: their number and
        the share within the intervals of each of `LEVELS`; ``cutouts`` and ``factors``.
    """
    reader, maker = StoreReader(root / "cutouts.zarr"), maker or open_maker(root)
    held = reader.select("validation")
    spread = spread_rows(held, scaled_on)
    scaled = calibrate(maker, read_pairs(reader, spread), find_bright(reader, held, spread))
    found = {"all": [], "bright": [], "truly bright": []}
    tests = reader.select("test")
    plain = spread_rows(tests, most)
    pairs = [(pair, True) for pair in read_pairs(reader, plain)]
    # Those with sources besides, for the pixels above 5 sigma alone.
    rest = filter(is_bright, read_pairs(reader, np.setdiff1d(tests, plain)))
    pairs += [(pair, False) for pair in islice(rest, most_bright)]
    for pair, counts in pairs:
        tile = maker.make(pair.source, pair.source.window)
        error = np.abs(pair.large_PHW - tile.image_PHW)
        inside = np.stack([error <= w for w in scaled.widths(tile.spread_PHW, tile.image_PHW)])
        if counts:
            found["all"].append(inside.reshape(len(LEVELS), -1))
        found["bright"].append(inside[:, tile.image_PHW > BRIGHT_SIGMA])
        found["truly bright"].append(inside[:, pair.large_PHW > BRIGHT_SIGMA])
    joined = {name: np.concatenate(some, 1) for name, some in found.items()}
    shares = {
        name: {"n": some.shape[1], "inside": some.mean(1).round(4).tolist()} for name, some in joined.items()
    }
    return {"cutouts": len(pairs), "pixels": scaled.pixels, "factors": scaled.factors, **shares}


def refuse(root, most=1000):
    """Return the share of held-out tiles, and of tiles of others, that count as unlike the training."""
    reader = StoreReader(root / "cutouts.zarr")
    like, side = fit_likeness(reader, reader.select("train")), int(reader.attrs["size_pix"]) // 2
    held = np.concatenate([reader.select("test"), reader.select("validation")])
    own = [pair.small_Phw[0] for pair in read_pairs(reader, spread_rows(np.sort(held), most))]
    rng = np.random.default_rng(1)
    beams = [pair.large_PHW[0] for pair in read_pairs(reader, spread_rows(np.sort(held), 200))]
    kinds = {
        "held out": own,
        "a beam twice as wide in pixels": [one[:side, :side] for one in beams],
        "a beam 1.5 times as wide": [zoom(one, 0.75)[:side, :side] for one in beams],
        "smoothed": [halve_mean(gaussian_filter(one, 2.0)[None])[0] for one in beams],
        "planets": cut_pictures(sorted((DATA / "planets").rglob("*.jpg")), side, rng),
        **{name: cut_pictures(files, side, rng, per) for name, files, per in others()},
        "faces, 25 x 25 pixels enlarged": small_faces(side),
    }
    found = {}
    for name, pieces in kinds.items():
        distances = like.distances(np.stack(pieces))
        # A piece that nothing can be said of, such as one value, is none that is like the training.
        found[name] = {"n": len(pieces), "unlike": float(np.mean(~(distances <= like.limit)))}
    return found


def others():
    """Return pictures of faces, text and things inside scikit-image: name, files and tiles of each."""
    data = Path(pytest.importorskip("skimage").__file__).parent / "data"
    return [("face", [data / "astronaut.png"], 60), ("text", [data / "text.png", data / "page.png"], 60)]


def small_faces(side):
    """Return the hundred faces of scikit-image at a side."""
    faces = np.load(Path(pytest.importorskip("skimage").__file__).parent / "data" / "lfw_subset.npy")[:100]
    return [np.asarray(Image.fromarray(face.astype(np.float32)).resize((side, side))) for face in faces]


def cut_pictures(files, side, rng, per=1):
    """Return tiles of the brightness of pictures: the middle ones, or ``per`` at random places."""
    tiles = []
    for file in files:
        with Image.open(file) as image:
            grey = np.asarray(image.convert("F"), np.float32)
        if per == 1:
            tiles.append(np.asarray(Image.fromarray(grey).resize((side, side)), np.float32))
            continue
        for _ in range(per):
            y, x = (int(rng.integers(0, length - side + 1)) for length in grey.shape)
            tiles.append(grey[y : y + side, x : x + side])
    return tiles


if __name__ == "__main__":
    import sys

    what, root, *rest = sys.argv[1:]
    print(json.dumps({"refuse": refuse, "cover": cover}[what](Path(root), *map(int, rest)), indent=1))
