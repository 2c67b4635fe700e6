"""Objects injected, found and painted over; the stage with both methods; what is refused."""

import importlib.util

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from astro_dist.cli import main
from astro_dist.engine.errors import ConfigError, DataError
from astro_dist.engine.seeds import stream
from astro_dist.engine.work import Run, for_stage
from astro_dist.enhance.byol_stage import RECIPE as BYOL
from astro_dist.enhance.clean import Cleaner
from astro_dist.enhance.cleaner import InjectedData, PairData, read_pairs
from astro_dist.enhance.cleaner_config import CleanerConfig
from astro_dist.enhance.cleaner_stage import RECIPE
from astro_dist.enhance.cleaning_config import CleaningConfig, TemplatesConfig
from astro_dist.enhance.opencv import inpaint
from astro_dist.enhance.pipeline import ENHANCE
from astro_dist.models.device import pin
from astro_dist.models.encoder import load_picture_encoder
from astro_dist.pictures.objects import KINDS, Style, Thing, add_galaxies, draw_things, inject
from astro_dist.pictures.toy import draw_toy
from astro_dist.pictures.transforms import LUMA
from astro_dist.store.reader import StoreReader
from astro_dist.train.recipe import Cell
from astro_dist.train.stage import do_cell
from tests.enhance.cleaning_measured import disturb, iou, light_lost
from tests.flare.upscaling import make_store

CLASSES = ("galaxies", "nebulae")


@pytest.fixture(scope="module")
def toys():
    pin(1)
    return np.stack([draw_toy(name, 1, i, 64) for i in range(4) for name in CLASSES])


def draw_edge_on(side, rng):
    """Return a noisy picture (3, side, side), uint8, of an exponential disc seen edge-on and its bulge."""
    length, thickness = side * rng.uniform(0.06, 0.12), side * rng.uniform(0.015, 0.03)
    turn = rng.uniform(0, np.pi)
    y, x = np.indices((side, side)) - side / 2
    u, v = np.cos(turn) * x + np.sin(turn) * y, np.cos(turn) * y - np.sin(turn) * x
    disc = np.exp(-np.abs(u) / length) / np.cosh(v / thickness) ** 2
    light = rng.uniform(0.4, 0.8) * (disc + 0.5 * np.exp(-((u / thickness) ** 2 + (v / thickness) ** 2) / 4))
    pale = np.array([1, 0.93, 0.85])[:, None, None]
    noisy = 0.05 + pale * light + 0.01 * rng.standard_normal((3, side, side))
    return np.rint(255 * noisy.clip(0, 1)).astype(np.uint8)


def test_objects_are_a_function_of_the_stream_and_lie_in_their_mask(toys):
    style = Style(number=(1, 5))
    picture = toys[0] / np.float32(255)
    first, again, other = (
        inject(picture, draw_things(style, 64, stream(1, "objects", 0, i))) for i in (0, 0, 1)
    )
    np.testing.assert_array_equal(first[0], again[0])
    assert (first[0] != other[0]).any()
    for kind in KINDS:
        thing = Thing(kind, 30.0, 33.0, 4.0, 0.7, 1.0, (0.9, 0.1, 0.2))
        changed, mask = inject(picture, [thing])
        # Outside of the mask an object hides less than a tenth, and colours differ by one at most.
        assert np.abs(changed - picture)[:, ~mask].max() < 0.1
        assert mask[30, 33]
        assert 8 < mask.sum() < 64 * 64 / 4
        grey, same = inject(picture[:1], [thing])
        assert grey.shape == (1, 64, 64)
        np.testing.assert_array_equal(same, mask)


def test_coloured_templates_find_what_grey_ones_do_not(toys):
    style = Style(kinds=("spheres", "dots"), number=(2, 3), radius_pix=(2.5, 5.0), opacity=(0.85, 1.0))
    changed, masks = disturb(toys[::2], style, "test")
    found = {}
    for name, templates in (("colour", TemplatesConfig()), ("grey", TemplatesConfig(colour=None))):
        cleaner = Cleaner(CleaningConfig(templates=templates))
        found[name] = iou(np.stack([cleaner.find(one) for one in changed]), masks).mean()
    assert found["colour"] > 0.5
    assert found["grey"] < found["colour"] - 0.2
    with pytest.raises(DataError, match=r"cleaning\.templates\.colour: grey pictures have no colours"):
        Cleaner(CleaningConfig()).clean(toys[0][:1])
    with pytest.raises(ConfigError, match=r"cleaning\.templates\.colour: grey pictures have no colours"):
        ENHANCE.resolve({"pictures": {"planes": 1}, "cleaning": {}})
    stars = {"templates": {"kinds": ["stars"]}}
    ENHANCE.resolve({"pictures": {"planes": 1}, "cleaning": stars})
    assert Cleaner(CleaningConfig(**stars)).clean(toys[0][:1])[0].shape == (1, 64, 64)


def test_a_picture_that_is_masked_whole_is_not_said_to_be_changed(toys):
    """There is nothing left to paint with."""
    everywhere = TemplatesConfig(correlation=0.0, colour=None)
    made, mask = Cleaner(CleaningConfig(templates=everywhere, grow_pix=32)).clean(toys[0])
    np.testing.assert_array_equal(made, toys[0])
    assert not mask.any()


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("method", ["telea", "ns"])
def test_every_bit_outside_the_mask_stays(toys, dtype, method):
    """And inside the picture goes on: a plane of constant slope is continued."""
    picture = toys[0] if dtype == "uint8" else toys[0] / np.float32(255)
    mask = np.zeros((64, 64), bool)
    mask[20:30, 40:48] = mask[0, 0] = True
    made = inpaint(picture, mask, 3, method)
    assert made.dtype == picture.dtype
    np.testing.assert_array_equal(made[:, ~mask], picture[:, ~mask])
    slope = np.tile(np.linspace(0, 1, 64, dtype=np.float32), (3, 64, 1))
    slope = np.rint(255 * slope).astype(np.uint8) if dtype == "uint8" else slope
    error = np.abs(inpaint(slope, mask, 3, method).astype(float) - slope) / (255 if dtype == "uint8" else 1)
    assert error.max() < 0.08
    for all_or_none in (np.zeros_like(mask), np.ones_like(mask)):
        np.testing.assert_array_equal(inpaint(picture, all_or_none, 3, method), picture)


def test_a_class_has_templates_of_its_own_and_inherits_the_others(toys):
    tree = {"templates": {"colour": 0.2, "kinds": ["dots"]}, "per_class": {"nebulae": {"kinds": ["spheres"]}}}
    config = CleaningConfig(**tree)
    assert config.per_class["nebulae"].colour == 0.2
    picture = toys[0] / np.float32(255)
    dot = inject(picture, [Thing("dots", 12.0, 50.0, 4.0, 0.0, 1.0, (1.0, 0.05, 0.05))])[0]
    cleaner = Cleaner(config)
    assert cleaner.find(dot, "galaxies")[12, 50]
    assert not cleaner.find(dot, "nebulae")[12, 50]


def test_a_template_of_the_user_is_found(toys, tmp_path):
    square = np.zeros((11, 11, 3), np.uint8)
    square[2:9, 2:9] = (20, 220, 40)
    Image.fromarray(square).save(tmp_path / "square.png")
    templates = TemplatesConfig(kinds=(), files=(str(tmp_path / "square.png"),), radii_pix=(5.0,))
    picture = toys[0].copy()
    picture[:, 40:51, 10:21] = np.where(square.any(-1), square.transpose(2, 0, 1), picture[:, 40:51, 10:21])
    mask = Cleaner(CleaningConfig(templates=templates)).find(picture)
    true = np.zeros((1, 64, 64), bool)
    true[0, 42:49, 12:19] = True
    assert iou(mask[None], true)[0] > 0.5


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run that trains the cleaner and cleans with it, and its copy with templates."""
    folder = tmp_path_factory.mktemp("cleaned")
    tree = {
        "pipeline": "enhance",
        "name": "cleaned",
        "pictures": {"per_class": 4, "size_pix": 64, "classes": list(CLASSES), "shard": 4},
        "cleaner": {"steps": 10, "batch_size": 4, "crop_pix": 32},
        "cleaning": {"method": "network", "shard": 4},
    }
    (folder / "c.yaml").write_text(yaml.safe_dump(tree))
    code = main(["run", str(folder / "c.yaml"), "--out", str(folder / "run"), "--on", "serial"])
    assert code == 0
    again = ["--set", "cleaning.method=templates", "--redo", "cleaning"]
    return folder, lambda: main(
        ["run", str(folder / "c.yaml"), "--out", str(folder / "run"), "--on", "serial", *again]
    )


def test_the_stage_publishes_pictures_and_masks(finished):
    folder, clean_again = finished
    run = folder / "run"
    masked = []
    for method in ("network", "templates"):
        assert method == "network" or clean_again() == 0
        stores = [
            StoreReader(run / p) for p in ("pictures.zarr", "cleaned/pictures.zarr", "cleaned/masks.zarr")
        ]
        before, after, mask = (store.read("picture", np.arange(8)) for store in stores)
        assert np.isin(mask, (0, 255)).all()
        outside = np.broadcast_to(mask == 0, before.shape)
        np.testing.assert_array_equal(after[outside], before[outside])
        np.testing.assert_array_equal(stores[1].columns["label"], stores[0].columns["label"])
        # A shard's task and a call on the picture alone agree.
        if method == "templates":
            alone = Cleaner(CleaningConfig()).clean(before[3])
            np.testing.assert_array_equal(alone[0], after[3])
        masked.append(mask.mean())
    assert masked[0] != masked[1]


def test_weights_of_the_package_find_objects_of_another_recipe(toys):
    cleaner = Cleaner.from_pretrained("enhance", "cpu")
    style = Style(kinds=("spheres", "dots"), number=(3, 4), radius_pix=(2.5, 5.0), opacity=(0.75, 0.95))
    changed, masks = disturb(toys[::2], style, "test")
    assert iou(np.stack([cleaner.find(one) for one in changed]), masks).mean() > 0.5
    # Images of all kinds come back as they were given.
    made = cleaner.enhance(Image.fromarray(changed[0].transpose(1, 2, 0)))
    assert (made.mode, made.size) == ("RGB", (64, 64))
    np.testing.assert_array_equal(cleaner.enhance(changed[0].transpose(1, 2, 0)), np.asarray(made))
    with pytest.raises(DataError, match="for 3 planes, the picture has 1"):
        cleaner.enhance(changed[0, 0])


@pytest.fixture
def cell(toys, tmp_path):
    def make(name="one", **settings):
        common = {"steps": 10, "batch_size": 4, "crop_pix": 32, "precision": "no"}
        config = ENHANCE.resolve({"pictures": {"size_pix": 64}, "cleaner": {**common, **settings}})
        root = tmp_path / name
        make_store(root / "pictures.zarr", toys, np.array([0] * 6 + [1, 2]))
        run = for_stage(Run.of(root, config), ENHANCE.stage("cleaner"), "f" * 16)
        run.output.mkdir(parents=True)
        return Cell(RECIPE, run, config.cleaner, key=("cleaner",))

    return make


def test_a_sample_of_injected_objects_is_a_function_of_its_number(cell):
    made = cell()
    data = RECIPE.build(made, "cpu")[1]
    assert isinstance(data, InjectedData)
    whole, part = data.batch(0, 6), data.batch(4, 2)
    np.testing.assert_array_equal(whole.crop_BPSS[4:], part.crop_BPSS)
    np.testing.assert_array_equal(whole.mask_BSS[4:], part.mask_BSS)
    assert 0 < whole.mask_BSS.mean() < 0.7


def test_galaxies_under_objects_are_not_objects(cell):
    """Nor are crops without objects the old ones: they have galaxies, with grey ones in grey pictures."""
    with_galaxies, without = (
        RECIPE.build(cell(name, objects={"number": (0, 0), "galaxies": number}), "cpu")[1].batch(0, 8)
        for name, number in (("galaxies", (2, 3)), ("none", (0, 0)))
    )
    assert not with_galaxies.mask_BSS.any()
    added = with_galaxies.crop_BPSS - without.crop_BPSS
    assert (added >= -1e-6).all()
    assert (added.max((1, 2, 3)) > 0.02).all()
    assert with_galaxies.crop_BPSS.max() <= 1
    colour, grey = (
        add_galaxies(np.zeros((planes, 32, 32), np.float32), (2, 2), stream(3, "planes")) for planes in (3, 1)
    )
    np.testing.assert_allclose(np.tensordot(LUMA, colour, 1), grey[0], atol=0.05)


def test_weights_of_the_package_leave_galaxies_alone():
    """Those that are seen edge-on and cross half of a small picture look like trails."""
    pictures = np.stack([draw_edge_on(64, stream(5, "edge-on", i)) for i in range(60)])
    cleaner = Cleaner.from_pretrained("enhance", "cpu")
    lost = light_lost(cleaner, pictures)
    assert (lost > 0.1).sum() <= 1
    # What crosses the whole picture is a trail.
    trails = [Thing("trails", 32, 32, 6, 0.1 * i, 0.9, (0.9, 0.9, 0.8)) for i in range(20)]
    crossed, masks = zip(
        *(inject(np.full((3, 64, 64), 0.05, np.float32), [one]) for one in trails), strict=True
    )
    assert iou(np.stack([cleaner.find(one) for one in crossed]), np.stack(masks)).mean() > 0.6


def test_the_network_is_trained_on_pairs_of_the_user(cell, toys, tmp_path):
    for folder in ("pictures", "masks"):
        (tmp_path / folder).mkdir()
    style = Style(number=(2, 3))
    changed, masks = disturb(toys[:3], style, "pairs")
    for i, (picture, mask) in enumerate(zip(changed, masks, strict=True)):
        Image.fromarray(picture.transpose(1, 2, 0)).save(tmp_path / "pictures" / f"{i}.png")
        Image.fromarray(np.where(mask, np.uint8(255), np.uint8(0))).save(tmp_path / "masks" / f"{i}.png")
    made = cell(pairs=str(tmp_path))
    data = RECIPE.build(made, "cpu")[1]
    assert isinstance(data, PairData)
    assert data.batch(0, 5).crop_BPSS.shape == (5, 3, 32, 32)
    do_cell(made)
    assert "pairs of the user" in (made.output / "README.md").read_text()
    with pytest.raises(ConfigError, match=r"crop_pix \(128\) a side"):
        read_pairs(CleanerConfig(pairs=str(tmp_path), crop_pix=128), 3)
    (tmp_path / "masks" / "2.png").rename(tmp_path / "masks" / "3.png")
    with pytest.raises(ConfigError, match=r"there is no mask .*2\.png"):
        read_pairs(CleanerConfig(pairs=str(tmp_path), crop_pix=32), 3)


@pytest.mark.parametrize(
    ("sections", "text"),
    [
        ({"cleaning": {"per_class": {"nebulea": {}}}}, "there is no class 'nebulea' among planets"),
        ({"cleaning": {"templates": {"radii_pix": [30]}}}, "radius 30 needs 91 pixels a side"),
        ({"cleaning": {"method": "network"}}, "a section cleaner, which is missing"),
        ({"maps": {}, "cleaning": {}}, "takes pictures, not survey maps"),
        ({"maps": {}, "cleaner": {}}, "learns from pictures, not from survey maps"),
        ({"byol": {}}, "there is no section cleaner"),
        ({"byol": {}, "cleaner": {"start_from": "enhance"}}, "cleaner.start_from takes its place"),
        ({"byol": {"preset": "resnet34"}, "cleaner": {}}, "no encoder for cleaner.preset tiny"),
        ({"cleaning": {"templates": {"kinds": []}}}, "looks for nothing; name kinds or files"),
        ({"cleaner": {"objects": {"radius_pix": [5, 2]}}}, "5 is above 2; give the smaller one first"),
        (
            {"cleaner": {}, "cleaning": {"method": "network", "per_class": {"stars": {}}}},
            "method network has none",
        ),
    ],
)
def test_settings_that_cannot_work_are_refused(sections, text):
    with pytest.raises(ConfigError, match=text):
        ENHANCE.resolve(sections)


def test_without_opencv_one_line_names_the_extra(monkeypatch, command, tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("{pipeline: enhance, cleaning: {}}")
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "cv2" else find(name, *rest)
    )
    done = command("plan", path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "pip install 'astro_dist[enhance]'" in done.stderr


@pytest.fixture(scope="module")
def painted(toys):
    """A cleaner, and a coloured picture (64, 64, 3) with an object that it finds."""
    style = Style(kinds=("spheres",), number=(3, 4), radius_pix=(2.5, 5.0), opacity=(0.9, 0.95))
    changed, _ = disturb(toys[:1], style, "test")
    return Cleaner.from_pretrained("enhance", "cpu"), changed[0].transpose(1, 2, 0)


def test_arrays_of_all_kinds_are_cleaned_alike(painted):
    cleaner, picture = painted
    wanted = cleaner.enhance(picture)
    assert (wanted != picture).any()
    for kind, white in (("u2", 65535), ("f2", 1), ("f4", 1), ("f8", 1)):
        made = cleaner.enhance((picture / 255 * white).astype(kind))
        assert (made.dtype, made.shape) == (kind, picture.shape)
        assert np.abs(made / white * 255 - wanted).mean() < 0.5
    first = cleaner.enhance(np.moveaxis(picture, 2, 0))
    np.testing.assert_array_equal(first, np.moveaxis(wanted, 2, 0))
    by_brightness = Cleaner(CleaningConfig(templates=TemplatesConfig(colour=None)))
    assert by_brightness.enhance(picture[..., :1]).shape == (64, 64, 1)


@pytest.mark.parametrize("kind", ["I;16", "F", "L"])
def test_grey_images_are_cleaned_in_their_range_and_stay_grey(painted, kind):
    cleaner, picture = painted
    grey = np.asarray(Image.fromarray(picture).convert("L"))
    deep = {"I;16": 257 * grey.astype(np.uint16), "F": grey.astype(np.float32) / 255}
    made = cleaner.enhance(Image.fromarray(deep.get(kind, grey)))
    wanted = cleaner.enhance(np.repeat(grey[..., None], 3, 2))[..., 0]
    assert made.mode == "L"
    np.testing.assert_array_equal(np.asarray(made), wanted)


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((64, 64), np.int64), "type int64"),
        (np.zeros((64, 64), bool), "type bool"),
        (np.full((64, 64), 2.0), "numbers from 2 to 2"),
        (np.full((64, 64), -0.1), "numbers from -0.1"),
        (np.full((64, 64), np.nan), "NaN"),
        (np.zeros((1, 64, 64, 3), np.uint8), r"shape \(1, 64, 64, 3\)"),
        (np.zeros((64, 64, 4), np.uint8), r"shape \(64, 64, 4\)"),
        (np.zeros((0, 64), np.uint8), r"shape \(0, 64\)"),
        ("a.png", r"shape \(\)"),
    ],
)
def test_arrays_of_no_known_range_are_refused(array, said):
    with pytest.raises(DataError, match=rf"^an array .*{said}.* is no picture"):
        Cleaner(CleaningConfig()).enhance(array)


def test_pictures_smaller_than_a_template_are_refused():
    with pytest.raises(DataError, match="a template is 21 pixels wide and a picture 16"):
        Cleaner(CleaningConfig()).find(np.zeros((3, 16, 16), np.uint8))


def test_the_cleaner_begins_with_an_encoder_that_was_trained_without_labels(tmp_path):
    tree = {
        "pipeline": "enhance",
        "pictures": {"per_class": 4, "size_pix": 48, "classes": list(CLASSES)},
        "byol": {"steps": 6, "batch_size": 4, "crop_pix": 48, "shift_pix": 16},
        "cleaner": {"steps": 1, "batch_size": 2, "crop_pix": 32},
    }
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(tree))
    words = ["run", str(tmp_path / "c.yaml"), "--out", str(tmp_path / "run"), "--on", "serial", "-q"]
    assert main(words) == 0
    run = for_stage(Run.of(tmp_path / "run", ENHANCE.resolve(tree)), ENHANCE.stage("cleaner"), "f" * 16)
    objective = RECIPE.build(Cell(RECIPE, run, run.section(CleanerConfig), key=("cleaner",)), "cpu")[0]
    learnt = load_picture_encoder(tmp_path / "run" / "models" / "byol").state_dict()
    begun = objective.network.encoder.state_dict()
    assert all(torch.equal(begun[name], learnt[name]) for name in learnt)
    # Two views of a crop are of the same place, and the loss of a step moves the encoder.
    data = BYOL.build(Cell(BYOL, run, ENHANCE.resolve(tree).byol, key=("byol",)), "cpu")
    views, part = data[1].batch(0, 4), data[1].batch(2, 2)
    assert views.first_BPSS.shape == (4, 3, 32, 32)
    np.testing.assert_array_equal(views.second_BPSS[2:], part.second_BPSS)
    assert (views.first_BPSS != views.second_BPSS).any()
    before = data[0].network.encoder.state_dict()
    assert any(not torch.equal(before[name], learnt[name]) for name in learnt)
