"""What somebody tries first: one picture, a folder of loose ones, a map beside a network of pictures."""

import json

import numpy as np
import pytest
import yaml
from PIL import Image

from astro_dist.cli import main
from astro_dist.engine.config import describe, parse_yaml, validate
from astro_dist.engine.errors import ConfigError
from astro_dist.enhance.config import EnhanceConfig
from astro_dist.enhance.pipeline import ENHANCE
from astro_dist.models.super_files import SHIPPED, check_fit
from astro_dist.models.super_net import SuperNet
from astro_dist.models.super_presets import settings_of
from astro_dist.models.super_res import SuperRes


def save_picture(path, seed=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (24, 24, 3), np.uint8)
    Image.fromarray(pixels).resize((48, 48)).save(path)


def double(tmp_path, path, *options):
    """Double pictures without a network and write PNG files; return the folder of these."""
    config, run, out = tmp_path / "mine.yaml", tmp_path / "run", tmp_path / "png"
    config.write_text(
        f"pipeline: enhance\npictures: {{path: {path}, size_pix: 32, threads: 1}}\nenhance: {{}}\n"
    )
    assert main(["run", str(config), "--out", str(run), "--on", "serial", *options]) == 0
    assert main(["export", str(run), "enhanced", "--out", str(out)]) == 0
    return out


def test_one_picture_is_doubled_and_ends_as_png(tmp_path, capsys):
    save_picture(tmp_path / "m51.jpg")
    out = double(tmp_path, tmp_path / "m51.jpg")
    assert [path.name for path in out.iterdir()] == ["m51.png"]
    with Image.open(out / "m51.png") as picture:
        assert picture.size == (64, 64)
    said = capsys.readouterr()
    assert "1 pictures went through bicubic" in said.err
    assert "as PNG files: astro-dist export" in said.err
    assert main(["export", str(tmp_path / "run"), "cleaned"]) == 2
    assert "has no cleaned pictures yet" in capsys.readouterr().err


def test_loose_pictures_and_one_class_need_no_other(tmp_path):
    for number, name in enumerate(("a.png", "a.jpg", "spirals/b.png")):
        save_picture(tmp_path / "in" / name, number)
    out = double(tmp_path, tmp_path / "in", "-q")
    found = sorted(path.relative_to(out).as_posix() for path in out.rglob("*.png"))
    assert found == ["a-000000.png", "a-000001.png", "spirals/b.png"]


@pytest.mark.parametrize(
    ("name", "said"), [("m.fits", "is no picture by its name"), ("n", "no picture or folder")]
)
def test_what_is_no_picture_is_refused(tmp_path, capsys, name, said):
    (tmp_path / "m.fits").write_bytes(b"")
    config = tmp_path / "mine.yaml"
    config.write_text(f"pipeline: enhance\npictures: {{path: {tmp_path / name}}}\nenhance: {{}}\n")
    assert main(["plan", str(config)]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("tree", "said"),
    [
        ({"superres": {"start_from": "enhance", "steps": 0}}, "superres.start_from radio"),
        ({"cleaning": {}}, "cleaning is for pictures"),
    ],
)
def test_a_network_beside_fits_files_is_not_dropped(tree, said):
    tree = {**tree, "enhance": {"files": ["a.fits"]}}
    with pytest.raises(ConfigError, match=said):
        ENHANCE.resolve(tree)
    tree["enhance"]["chain"] = ["bicubic"]
    assert ENHANCE.resolve(tree).enhance.chain == ("bicubic",)


def test_plan_and_record_say_which_network_is_left_out(tmp_path, capsys):
    save_picture(tmp_path / "a.png")
    config = tmp_path / "mine.yaml"
    config.write_text(
        f"pipeline: enhance\npictures: {{path: {tmp_path / 'a.png'}}}\nsuperres: {{}}\n"
        "enhance: {chain: [bicubic]}\n"
    )
    assert main(["plan", str(config), "--json", "--on", "ray"]) == 0
    stages = {one["stage"]: one for one in json.loads(capsys.readouterr().out)["stages"]}
    assert any("superres is not in enhance.chain" in note for note in stages["enhance"]["notes"])


def test_weights_of_the_package_are_opened_by_name_and_say_what_they_are(tmp_path):
    assert (SuperRes.from_pretrained("enhance").planes, SuperRes.from_pretrained("radio").planes) == (3, 1)
    folder = SHIPPED / "enhance" / "superres"
    with pytest.raises(ConfigError, match=r"set superres.preset to local"):
        check_fit(folder, settings_of("tiny"), "superres")
    with pytest.raises(ConfigError, match=r"has the planes 3, the settings say 1: .* `radio` for maps"):
        check_fit(folder, settings_of("local", planes=1), "superres")


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"superres": {"start_from": "radio"}}, "has the planes 1, the settings say 3"),
        ({"superres": {"start_from": "enhance"}, "maps": {}}, "has the planes 3, the settings say 1"),
        (
            {"superres": {"start_from": "radio"}, "pictures": {"planes": 1}},
            "learnt from maps, and here are pictures; give weights of pictures, or set superres.steps",
        ),
        ({"superres": {"start_from": "GREY"}, "maps": {}}, "learnt from pictures, and here are maps"),
        (
            {"cleaner": {"start_from": "enhance"}, "pictures": {"planes": 1}},
            "planes is 3, that of the preset 1; set pictures.planes to theirs",
        ),
    ],
)
def test_weights_of_other_planes_or_another_brightness_are_refused(tmp_path, capsys, sections, said):
    SuperNet(**settings_of("local", planes=1)).save_pretrained(tmp_path / "grey", safe_serialization=True)
    name = "superres" if "superres" in sections else "cleaner"
    start_from = sections[name]["start_from"].replace("GREY", str(tmp_path / "grey"))
    training = {"steps": 0, "start_from": start_from} | ({"preset": "local"} if name == "superres" else {})
    config = tmp_path / "mine.yaml"
    config.write_text(yaml.safe_dump({"pipeline": "enhance", **sections, name: training}))
    assert main(["plan", str(config)]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_the_written_file_has_all_keys_of_optional_sections():
    text = describe(EnhanceConfig())
    begin = text.index("# superres:\n")
    lines = text[begin:].splitlines()
    section = []
    for line in lines:
        if not line.startswith("# "):
            break
        section.append(line.removeprefix("# "))
    config = validate(EnhanceConfig, parse_yaml("\n".join(section), "mine.yaml"))
    assert config.superres.model_fields_set >= {"preset", "width", "crop_pix", "start_from"}
