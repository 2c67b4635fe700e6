"""Near-duplicates are found whatever was done to them, and pictures that are none stay apart."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from astro_dist.pictures.config import CLASSES, PicturesConfig
from astro_dist.pictures.decode import make_square, read_picture
from astro_dist.pictures.duplicates import find_groups, join_pairs
from astro_dist.pictures.looks import LOOK_BYTES, make_look
from astro_dist.pictures.toy import draw_toy
from tests.pictures.plants import KINDS, image_of, plant

DATA = Path(__file__).parents[3] / "shared" / "data"
CONFIG = PicturesConfig(size_pix=64)
real = pytest.mark.skipif(not DATA.is_dir(), reason="the real pictures are not in ../shared/data")


def toys(per_class):
    return [image_of(draw_toy(name, 3, i, 64)) for name in CLASSES for i in range(per_class)]


def pictures_of(name, limit=None):
    return [Image.open(path).convert("RGB") for path in sorted((DATA / name).glob("*.jpg"))[:limit]]


def look(image):
    return make_look(make_square(image, CONFIG))


def plant_and_find(images, per_kind):
    """The shares of planted copies that are grouped with their pictures, and of wrongly merged pictures."""
    rng, n = np.random.default_rng(11), len(images)
    own = np.concatenate([rng.choice(n, per_kind, replace=False) for _ in KINDS])
    kinds = np.repeat(KINDS, per_kind)
    copies = [plant(images[i], kind, rng) for i, kind in zip(own, kinds, strict=True)]
    looks = np.stack([look(image) for image in [*images, *copies]])
    alone, groups = find_groups(looks[:n]), find_groups(looks)
    found = groups[n:] == groups[own]
    return found.mean(), (n - len(np.unique(groups[:n]))) / n, alone


def test_planted_copies_are_grouped_and_others_are_not():
    found, merged, _ = plant_and_find(toys(5), 8)
    assert found >= 0.95
    assert merged <= 0.01


@pytest.mark.soak
def test_a_hundred_planted_copies_of_each_kind_among_toys():
    found, merged, _ = plant_and_find(toys(60), 100)
    assert found >= 0.95
    assert merged <= 0.01


@real
@pytest.mark.soak
@pytest.mark.parametrize(("name", "merged"), [("galaxies", 0), ("deepsky", 0.01), ("hubble", 0.01)])
def test_a_hundred_planted_copies_of_each_kind_among_real_pictures(name, merged):
    images = pictures_of(name, 400)
    found, both, alone = plant_and_find(images, 100)
    known = 1 - len(np.unique(alone)) / len(images)
    assert found >= 0.95
    # Copies join no more pictures than are near-duplicates already; in hubble many are, of one field.
    assert both <= known + merged + 1e-9


@real
def test_the_known_copies_among_real_galaxies_are_found_and_nothing_else():
    paths = sorted((DATA / "galaxies").glob("*.jpg"))[:90]
    groups = find_groups(np.stack([make_look(read_picture(path, path.name, CONFIG)) for path in paths]))
    content = {path: path.read_bytes() for path in paths}
    equal = {(a, b) for a in range(len(paths)) for b in range(a) if content[paths[a]] == content[paths[b]]}
    found = {(a, b) for a in range(len(paths)) for b in range(a) if groups[a] == groups[b]}
    assert found == equal
    assert equal


@real
@pytest.mark.soak
def test_all_thirteen_copies_among_real_galaxies_are_found():
    groups = find_groups(np.stack([look(image) for image in pictures_of("galaxies")]))
    assert len(groups) - len(np.unique(groups)) == 13


def test_equal_pictures_without_detail_are_one_group():
    blank = np.zeros((3, LOOK_BYTES), np.uint8)
    blank[2] = 9
    assert find_groups(blank).tolist() == [0, 0, 1]
    assert find_groups(blank[:1]).tolist() == [0]


def test_groups_are_numbered_by_their_first_pictures():
    assert join_pairs(np.array([[4, 3], [1, 0]]), 6).tolist() == [0, 1, 2, 0, 1, 3]


MEASURE = """
import resource, sys
import numpy as np
from PIL import Image
from astro_dist.pictures.duplicates import find_groups
from astro_dist.pictures.looks import LOOK_BYTES, make_look
n, copies = int(sys.argv[1]), 300
rng, looks = np.random.default_rng(1), np.empty((n, LOOK_BYTES), np.uint8)
for start in range(0, n, 1000):
    part = looks[start : start + 1000]
    small = rng.random((len(part), 16, 16)) ** 4
    part[:, :4096] = (255 * small.repeat(4, 1).repeat(4, 2)).reshape(len(part), -1)
    part[:, 4096:] = 128
own = rng.choice(n - copies, copies, replace=False)
for row, first in enumerate(own):
    grey = looks[first, :4096].reshape(64, 64)
    crop = Image.fromarray(grey).crop((6, 7, 57, 58)).resize((64, 64), Image.Resampling.BICUBIC)
    changed = (np.rot90(grey), grey[::-1], np.asarray(crop))[row % 3]
    looks[n - copies + row] = make_look(np.ascontiguousarray(changed)[None])
groups = find_groups(looks)
used = resource.getrusage(resource.RUSAGE_SELF)
found = groups[-copies:] == groups[own]
print(*found.reshape(-1, 3).mean(0), found.mean(), used.ru_utime + used.ru_stime)
print(len(np.unique(groups[:-copies])), used.ru_maxrss)
"""


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_a_hundred_thousand_pictures_need_less_than_a_gigabyte():
    """Copies are found among so many pictures too; how long it takes is printed."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", MEASURE, "100000"], capture_output=True, text=True, check=True
    )
    first, second = done.stdout.splitlines()
    *kinds, found, spent_s = map(float, first.split())
    print(f"turned, flipped, cropped: {kinds}; {spent_s:.0f} core-seconds, {second.split()[1]} kB")
    groups, kilobytes = map(int, second.split())
    assert groups == 99_700
    assert found >= 0.95
    assert kilobytes < 1_000_000
