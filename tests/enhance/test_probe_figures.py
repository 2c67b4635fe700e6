"""Whether the weights of the package copy their training pictures: `pytest -m soak -n 0 -s` of this file.

The faces are those inside scikit-image.
"""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from astro_dist.engine.work import Run
from astro_dist.enhance.picture_figures import PictureMeasurer
from astro_dist.enhance.pipeline import ENHANCE
from astro_dist.enhance.probe import answer_probe, judge
from astro_dist.enhance.superres_stage import RECIPE
from astro_dist.store.reader import StoreReader
from astro_dist.store.schema import SPLIT_NAMES
from astro_dist.train.start import find_start
from tests.enhance import doubling
from tests.flare import upscaling
from tests.flare.upscaling import make_store

pytestmark = [
    pytest.mark.soak,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(not upscaling.DATA.is_dir(), reason="the real pictures are not in ../shared"),
]


def write_faces(folder, count=7):
    """Write faces as pictures of 128 x 128 pixels: the astronaut's, and some of the small ones enlarged."""
    data = Path(pytest.importorskip("skimage").__file__).parent / "data"
    with Image.open(data / "astronaut.png") as image:
        faces = [image.convert("RGB").crop((150, 0, 310, 160))]
    small = np.load(data / "lfw_subset.npy")[:count]
    faces += [Image.fromarray(np.rint(255 * face).astype(np.uint8)).convert("RGB") for face in small]
    paths = [folder / f"face{i}.png" for i in range(len(faces))]
    for path, face in zip(paths, faces, strict=True):
        face.resize((128, 128), Image.Resampling.BICUBIC).save(path)
    return [str(path) for path in paths]


def test_the_network_adds_no_copies_to_held_out_pictures_faces_and_noise(tmp_path):
    torch.set_num_threads(1)
    pictures, held = doubling.hubble()
    split = np.zeros(len(pictures), int)
    split[held] = SPLIT_NAMES.index("test")
    make_store(tmp_path / "pictures.zarr", pictures[..., 64:192, 64:192], split)
    (tmp_path / "models").mkdir()
    shutil.copytree(find_start(RECIPE, "enhance"), tmp_path / "models" / "superres")
    tree = {
        "pictures": {"size_pix": 128},
        "superres": {"preset": "local", "start_from": "enhance", "steps": 0},
        "enhance": {"chain": ["superres"]},
        "evaluate": {"others": write_faces(tmp_path), "learnt": 64},
    }
    run = Run.of(tmp_path, ENHANCE.resolve(tree))
    found, panels = PictureMeasurer(run, StoreReader(tmp_path / "pictures.zarr")).probe()
    for kind, figures in found["kinds"].items():
        print(kind, judge(figures), figures)
    print(found["patches"], answer_probe(found))
    assert panels["others_drawn"].shape == (6, 3, 128, 128)
    for kind in ("held out", "others", "noise"):
        assert judge(found["kinds"][kind]) != "copies"
