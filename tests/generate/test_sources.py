import json

import numpy as np
import pytest
from astropy.io import fits

from astro_dist.engine.errors import ConfigError
from astro_dist.engine.files import tree_digests
from astro_dist.engine.seeds import stream
from astro_dist.generate.conditions import Choice, sky_of
from astro_dist.sky.stretch import stretch
from astro_dist.store.reader import StoreReader
from tests.generate import small_run
from tests.sky.small_maps import header_of

SIDE = small_run.SIZE


@pytest.fixture(scope="module")
def reader(inputs):
    return StoreReader(inputs / "cutouts.zarr")


@pytest.fixture(scope="module")
def labels(tmp_path_factory):
    """A label image with objects of all classes, one of them at the edge, and the numbers of all."""
    folder = tmp_path_factory.mktemp("labels")
    mask, numbers = np.zeros((2, 150, 200), np.int32)
    boxes = [(20, 30, 2), (60, 100, 2), (100, 60, 3), (120, 170, 1), (0, 90, 3)]
    for number, (y, x, label) in enumerate(boxes, start=1):
        mask[y : y + 6, x : x + 4 + label] = label
        numbers[y : y + 6, x : x + 4 + label] = 7 * number
    fits.writeto(folder / "mask.fits", mask.astype(np.uint8))
    fits.writeto(folder / "numbers.fits", numbers)
    rng = stream(9, "map")
    image = rng.standard_normal((140, 300)).astype(np.float32) + 5
    image[50:90, 150:155] = 500
    image[:, 280:] = np.nan
    fits.writeto(folder / "map.fits", image)
    return folder


def test_conditions_are_the_donors_turned_and_another_sky_without_its_objects(reader):
    source = small_run.open_source(reader)
    conditions = source.read([0, 1], [Choice(0, 1, 0), Choice(0, 1, 5)])
    mask = reader.read("mask", [0])[0]
    assert np.array_equal(conditions.mask_BSS[0], mask)
    assert np.array_equal(conditions.mask_BSS[1], np.rot90(mask)[:, ::-1])
    image = (reader.read("image", [0])[0] - reader.columns["background_jy_beam"][0]) / np.float32(
        small_run.RMS
    )
    brightest = image[reader.read("instances", [0])[0] == 1].max()
    assert conditions.peak_BSS[0].max() == pytest.approx(np.arcsinh(brightest / 2) / 2, rel=1e-4)
    assert conditions.peak_BSS[0][mask == 0].max() == 0
    usable = conditions.background_B2SS[0, 1] > 0
    sky_mask, sky = reader.read("mask", [1])[0], reader.read("image", [1])[0]
    assert np.array_equal(usable, (sky_mask == 0) & np.isfinite(sky))
    assert not conditions.background_B2SS[0, 0][~usable].any()
    assert np.isfinite(conditions.background_B2SS).all()
    assert sky_of(reader, 0) == (small_run.BEAM, small_run.PIXEL)


def read_all(source, stamps):
    return source.read(stamps, [source.choose(i) for i in stamps])


@pytest.mark.parametrize("numbers", [None, "numbers.fits"])
def test_labelled_objects_take_their_turns_with_brightness_of_the_survey(reader, labels, numbers):
    masks = {"labels": str(labels / "mask.fits"), "compact": 1, "extended": 1, "spurious": 1}
    masks |= {"instances": str(labels / numbers)} if numbers else {}
    source = small_run.open_source(reader, masks=masks)
    given = read_all(source, range(12))
    assert sorted(given.mask_BSS.max(axis=(1, 2))) == [1] * 4 + [2] * 4 + [3] * 4
    assert {len(np.unique(numbers)) for numbers in given.instances_BSS} == {2}
    peaks = stretch(source.donors.objects[:, 2], 0.0, 1.0, "asinh")
    drawn = given.peak_BSS.max(axis=(1, 2))
    assert np.isin(drawn, peaks).all()
    assert len(set(drawn)) > 3
    assert np.array_equal(given.peak_BSS > 0, given.mask_BSS > 0)
    assert (given.rms_jy_beam_B == np.float32(small_run.RMS)).all()


def test_a_background_map_is_read_in_units_of_its_noise_without_its_sources(reader, labels):
    source = small_run.open_source(reader, background=str(labels / "map.fits"))
    planes = read_all(source, range(6)).background_B2SS
    usable = planes[:, 1] > 0
    assert 0.8 < usable.mean() < 1
    assert not planes[:, 0][~usable].any()
    assert planes[:, 0][usable].std() == pytest.approx(0.24, abs=0.03)
    assert planes[:, 0].max() < 1


def test_zeros_of_a_background_map_are_no_sky(reader, labels, tmp_path):
    with fits.open(labels / "map.fits") as hdus:
        header, image = hdus[0].header, hdus[0].data.copy()
    planes = []
    for mark in (np.nan, 0.0):
        image[: len(image) // 2] = mark
        fits.writeto(tmp_path / "half.fits", image, header, overwrite=True)
        source = small_run.open_source(reader, background=str(tmp_path / "half.fits"))
        planes.append(read_all(source, range(6)).background_B2SS)
    np.testing.assert_array_equal(*planes)


def test_a_background_is_the_chosen_plane_and_hdu_without_its_fill_values(reader, labels, tmp_path):
    """Of the file of a map as `maps` reads it: regions of -999 and the value of ``blank`` are no sky."""
    with fits.open(labels / "map.fits") as hdus:
        image = hdus[0].data.copy()
    image[:, :100] = np.nan
    fits.writeto(tmp_path / "plain.fits", image)
    expected = read_all(small_run.open_source(reader, background=str(tmp_path / "plain.fits")), range(4))
    marked, damaged = np.where(np.isnan(image), np.float32(-999), image), np.full_like(image, 5)
    cards = header_of(image.shape, (2, 2), (10.0, 20.0))
    preview = fits.PrimaryHDU(np.zeros((150, 310), np.uint8))
    for name, read, hdus in (
        ("fill.fits", {}, [preview, fits.ImageHDU(marked, cards)]),
        ("hdu.fits", {"hdu": 2}, [preview, fits.ImageHDU(damaged, cards), fits.ImageHDU(marked, cards)]),
        ("plane.fits", {"plane": 1}, [fits.PrimaryHDU(np.stack([damaged, marked]), cards)]),
        ("blank.fits", {"blank": 7}, [fits.PrimaryHDU(np.where(np.isnan(image), 7, image), cards)]),
    ):
        fits.HDUList(hdus).writeto(tmp_path / name)
        source = small_run.open_source(reader, background=str(tmp_path / name), read=read)
        given = read_all(source, range(4)).background_B2SS
        np.testing.assert_array_equal(given, expected.background_B2SS, err_msg=name)
        if read.keys() & {"hdu", "plane"}:
            with pytest.raises(ConfigError, match=r"choose one.* with generate\.read\."):
                small_run.open_source(reader, background=str(tmp_path / name))


def test_conditions_are_functions_of_the_index(reader, labels):
    masks = {"labels": str(labels / "mask.fits")}
    source = small_run.open_source(reader, masks=masks, background=str(labels / "map.fits"))
    whole, part = read_all(source, range(8)), read_all(source, [5, 2])
    for name in ("mask_BSS", "instances_BSS", "peak_BSS", "background_B2SS"):
        assert getattr(part, name).tobytes() == getattr(whole, name)[[5, 2]].tobytes()


def test_stamps_of_labels_are_drawn_and_their_files_are_in_the_fingerprint(root, labels, tmp_path):
    copy = tmp_path / "mask.fits"
    copy.write_bytes((labels / "mask.fits").read_bytes())
    more = {"masks": {"labels": str(copy)}, "background": str(labels / "map.fits"), "objects": 4}
    small_run.execute(root, **more)
    mask = StoreReader(root / "stamps.zarr").read("mask", range(4))
    assert {int((plane > 0).sum()) for plane in mask} <= {36, 42}
    digests = tree_digests(root / "stamps.zarr")
    small_run.execute(root, **more)
    assert tree_digests(root / "stamps.zarr") == digests
    plane = fits.getdata(copy)
    plane[20, 30] = 0
    fits.writeto(copy, plane, overwrite=True)
    with pytest.raises(ConfigError, match=r"made anew, because sources.*mask.fits"):
        small_run.execute(root, **more)


def damage(folder, labels, case):
    """Return settings that name a file with something wrong."""
    mask = fits.getdata(labels / "mask.fits").astype(np.float32)
    if case == "label":
        mask[3, 3] = 4
    elif case == "broken":
        mask[3, 3] = 1.5
    elif case == "small":
        mask = mask[:40]
    elif case in ("empty", "large"):
        mask[:] = 0 if case == "empty" else 2
    elif case == "cube":
        mask = np.stack([mask, mask])
    fits.writeto(folder / "bad.fits", mask)
    if case == "shape":
        fits.writeto(folder / "numbers.fits", np.zeros((150, 150), np.int32))
        return {"masks": {"labels": str(folder / "bad.fits"), "instances": str(folder / "numbers.fits")}}
    if case == "blank":
        fits.writeto(folder / "blank.fits", np.full((140, 140), np.nan, np.float32))
        return {"background": str(folder / "blank.fits")}
    if case == "text":
        (folder / "bad.fits").write_text("labels")
    return {"masks": {"labels": str(folder / ("none.fits" if case == "missing" else "bad.fits"))}}


CASES = {
    "missing": "there is no image",
    "text": "not a FITS",
    "label": r"holds the label 4; known are 0 background, 1 spurious",
    "broken": r"holds the label 1\.5",
    "small": "40 x 200 pixels, but a stamp has",
    "cube": "two axes",
    "shape": r"differ in shape \(150 x 200 and 150 x 150",
    "empty": "none of its 0 objects is ",
    "large": "none of its 1 objects is .* and fits with its rim into a stamp",
    "blank": "are blank or constant",
}


@pytest.mark.parametrize("case", CASES)
def test_bad_files_are_refused_in_one_line(reader, labels, tmp_path, case):
    settings = damage(tmp_path, labels, case)
    with pytest.raises(ConfigError, match=CASES[case]) as caught:
        read_all(small_run.open_source(reader, **settings), [0])
    assert "\n" not in str(caught.value)
    # And before anything runs.
    run = small_run.make_runner(tmp_path / "run", **settings)
    with pytest.raises(ConfigError, match=CASES[case]):
        run.stages[0].refuse(run.run)


def other_forms(folder):
    """The objects of `labels` that are not at the edge, in other forms: their settings by name."""
    boxes = [(20, 30, 2), (60, 100, 2), (100, 60, 3), (120, 170, 1)]
    corners = [(x, y, x + 4 + c, y + 6, c) for y, x, c in boxes]
    annotations = [
        {"image_id": 1, "category_id": c, "segmentation": [[x0, y0, x1, y0, x1, y1, x0, y1]]}
        for x0, y0, x1, y1, c in corners
    ]
    names = [{"id": c, "name": f"kind {c}"} for c in (1, 2, 3)]
    about = {
        "images": [{"id": 1, "height": 150, "width": 200}],
        "categories": names,
        "annotations": annotations,
    }
    (folder / "coco.json").write_text(json.dumps(about))
    objects = []
    for number, (x0, y0, x1, y1, c) in enumerate(corners):
        plane = np.zeros((150, 200), np.uint8)
        plane[y0:y1, x0:x1] = 1
        fits.writeto(folder / f"mask{number}.fits", plane)
        objects.append({"mask": f"mask{number}.fits", "class": f"kind {c}"})
    (folder / "radiff").mkdir()
    (folder / "mask_a.json").write_text(json.dumps({"nx": 200, "ny": 150, "objs": objects}))
    lines = [
        f"box({(x0 + x1 + 1) / 2},{(y0 + y1 + 1) / 2},{x1 - x0},{y1 - y0},0) # text={{kind {c}}}"
        for x0, y0, x1, y1, c in corners
    ]
    (folder / "regions.reg").write_text("image\n" + "\n".join(lines))
    fits.writeto(
        folder / "map.fits", np.zeros((150, 200), np.float32), header_of((150, 200), (2, 2), (10, 10))
    )
    classes = {"kind 1": "spurious", "kind 2": "compact", "kind 3": "extended"}
    return {
        "coco": {"labels": str(folder / "coco.json"), "classes": classes},
        "radiff": {"labels": str(folder / "mask_a.json"), "classes": classes},
        "regions": {
            "labels": str(folder / "regions.reg"),
            "classes": classes,
            "map": str(folder / "map.fits"),
        },
    }


@pytest.mark.parametrize("form", ["coco", "radiff", "regions"])
def test_masks_in_other_forms_give_the_same_stamps_and_are_checked_by_the_plan(
    reader, labels, tmp_path, form
):
    masks = other_forms(tmp_path)[form]
    shares = {"compact": 1, "extended": 1, "spurious": 1}
    plain = tmp_path / "plain.fits"
    image = fits.getdata(labels / "mask.fits")
    image[:6] = 0
    fits.writeto(plain, image)
    expected = read_all(small_run.open_source(reader, masks={"labels": str(plain), **shares}), range(6))
    given = read_all(small_run.open_source(reader, masks=masks | shares), range(6))
    for name in ("mask_BSS", "instances_BSS", "peak_BSS"):
        assert np.array_equal(getattr(given, name), getattr(expected, name))
    runner = small_run.make_runner(tmp_path / "run", masks=masks)
    stage = runner.stages[0]
    stage.refuse(runner.run)
    used = {path.name for path in stage.sources(runner.run)}
    assert {"radiff": "mask3.fits", "regions": "map.fits"}.get(form, "coco.json") in used
    wrong = small_run.make_runner(tmp_path / "wrong", masks=masks | {"classes": {"kind 1": "spurious"}})
    with pytest.raises(ConfigError, match=r"which is no class.*generate\.masks\.classes"):
        wrong.stages[0].refuse(wrong.run)


def test_a_mask_of_zeros_and_ones_is_compact_where_the_user_says_so(reader, labels, tmp_path):
    image = (fits.getdata(labels / "mask.fits") > 0).astype(np.uint8)
    fits.writeto(tmp_path / "m.fits", image)
    masks = {"labels": str(tmp_path / "m.fits")}
    run = small_run.make_runner(tmp_path / "run", masks=masks)
    with pytest.raises(ConfigError, match=r"classes: \{1: compact\} for a mask of 0 and 1"):
        run.stages[0].refuse(run.run)
    given = read_all(small_run.open_source(reader, masks=masks | {"classes": {1: "compact"}}), range(3))
    assert set(np.unique(given.mask_BSS)) == {0, 2}
    assert small_run.make_config(masks=masks).generate.marks()["masks"].keys().isdisjoint({"classes", "map"})


def test_shares_are_not_all_zero_and_instances_need_labels():
    with pytest.raises(ConfigError, match="all 0"):
        small_run.make_config(masks={"compact": 0, "extended": 0})
    for settings in ({"instances": "numbers.fits"}, {"map": "m.fits"}, {"classes": {1: "compact"}}):
        with pytest.raises(ConfigError, match="give labels too"):
            small_run.make_config(masks=settings)
