"""Masks in COCO's and RADiff's JSON, as regions of DS9 and CASA, and as images of any numbers."""

import json

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs.utils import pixel_to_skycoord
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.path import Path as Outline

from astro_dist.engine.errors import ConfigError
from astro_dist.sky import fill
from astro_dist.sky.class_words import ClassWords
from astro_dist.sky.classes import SourceClass
from astro_dist.sky.fill import fill_ellipse, fill_polygon
from astro_dist.sky.label_files import label_files, read_labels
from astro_dist.sky.region_lines import crtf_lines, region_lines
from astro_dist.sky.windows import Window
from tests.sky.small_maps import header_of
from tests.sky.test_column_names import mutated

COMPACT, EXTENDED, SPURIOUS = SourceClass.COMPACT, SourceClass.EXTENDED, SourceClass.SPURIOUS


def painted(labels):
    """The classes and the object numbers of the whole image."""
    return labels.paint(Window.of_shape(labels.shape))[:2]


def read(path, classes=(), least=8, **more):
    return read_labels(path, least, ClassWords(dict(classes)), **more)


def refused(path, match, classes=(), **more):
    with pytest.raises(ConfigError, match=match) as caught:
        read(path, classes, **more)
    assert str(caught.value).startswith(str(path.parent))
    assert "\n" not in str(caught.value)


def inside(spots, shape):
    plane = np.zeros(shape, bool)
    plane[spots.y, spots.x] = True
    assert np.array_equal(np.argwhere(plane), np.stack([spots.y, spots.x], axis=1))
    return plane


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(3, 12))
def test_polygons_are_filled_where_pixels_have_their_centres(seed, corners):
    rng = np.random.default_rng(seed)
    angle = np.sort(rng.uniform(0, 2 * np.pi, corners))
    y, x = 15 + rng.uniform(4, 20, corners) * np.array([np.sin(angle), np.cos(angle)])
    found = inside(fill_polygon(y, x, (30, 30)), (30, 30))
    places = np.stack(np.mgrid[:30, :30], axis=-1).reshape(-1, 2)
    expected = Outline(np.stack([y, x], axis=1)).contains_points(places).reshape(30, 30)
    assert np.array_equal(found, expected) or found.sum() == 1 >= expected.sum()


def test_a_shape_between_the_pixels_has_the_nearest_one(monkeypatch):
    assert inside(fill_polygon(*np.array([[2.3, 2.4, 2.4], [5.3, 5.3, 5.4]]), (9, 9)), (9, 9))[2, 5]
    assert inside(fill_ellipse((3.4, 4.4), np.eye(2) * 0.1, (9, 9)), (9, 9))[3, 4]
    assert not inside(fill_ellipse((-30.0, 4.4), np.eye(2), (9, 9)), (9, 9)).any()
    monkeypatch.setattr(fill, "MOST_CROSSINGS", 3)
    with pytest.raises(ConfigError, match="too large to fill"):
        fill_polygon(np.array([0.0, 8, 8, 0]), np.array([0.0, 0, 8, 8]), (9, 9))


def coco(path, annotations, images=((1, 300, 300),), names=("spurious", "compact", "extended")):
    about = {
        "images": [{"id": key, "height": h, "width": w, "file_name": "m.fits"} for key, h, w in images],
        "categories": [{"id": number, "name": name} for number, name in enumerate(names, 1)],
        "annotations": [{"image_id": 1, "category_id": 3} | item for item in annotations],
    }
    path.write_text(json.dumps(about))
    return path


def test_a_polygon_of_coco_has_the_pixels_that_coco_means(tmp_path):
    corners = [100, 100, 130, 100, 130, 110, 100, 110]
    mask, numbers = painted(read(coco(tmp_path / "m.json", [{"segmentation": [corners], "area": 300}])))
    expected = np.zeros((300, 300), np.uint8)
    expected[100:110, 100:130] = EXTENDED
    assert np.array_equal(mask, expected)
    assert set(numbers[mask > 0]) == {1}


def packed(lengths):
    """COCO's text of some runs."""
    text = ""
    for i, length in enumerate(lengths):
        value = length - (lengths[i - 2] if i > 2 else 0)
        more = True
        while more:
            bits, value = value & 0x1F, value >> 5
            more = value != (-1 if bits & 0x10 else 0)
            text += chr((bits | (0x20 if more else 0)) + 48)
    return text


@pytest.mark.parametrize("as_text", [False, True])
@settings(max_examples=15)
@given(seed=st.integers(0, 1000))
def test_runs_of_coco_go_down_the_columns(tmp_path_factory, as_text, seed):
    plane = np.random.default_rng(seed).random((40, 30)) < 0.3
    flat = plane.T.ravel()
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flat, [False]])))
    lengths = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    runs = {"size": [40, 30], "counts": packed(lengths) if as_text else lengths}
    path = coco(tmp_path_factory.mktemp("coco") / "m.json", [{"segmentation": runs}], [(1, 40, 30)])
    assert np.array_equal(painted(read(path))[0] > 0, plane)


def test_images_of_one_file_keep_apart(tmp_path):
    """Windows of objects never reach into the image above or below."""
    box = [2, 1, 6, 1, 6, 4, 2, 4]
    images = [(1, 20, 30), (7, 5, 6), ("c", 40, 25)]
    items = [{"segmentation": [box], "image_id": key, "category_id": 2} for key, _, _ in images]
    labels = read(
        coco(tmp_path / "m.json", [*items, {"segmentation": [[9, 1, 12, 1, 12, 4]]}], images), least=16
    )
    assert labels.frames.tolist() == [[0, 20, 0, 30], [20, 36, 0, 16], [36, 76, 0, 25]]
    assert labels.corners(16).tolist() == [[0, 0], [0, 2], [20, 0], [36, 0]]
    assert labels.classes.tolist() == [COMPACT, EXTENDED, COMPACT, COMPACT]
    assert labels.boxes[2].tolist() == [21, 24, 2, 6]
    mask, _, items = labels.paint(Window(20, 36, 0, 16))
    assert mask.sum() == 12 * COMPACT
    assert items.tolist() == [2]


def test_of_objects_that_overlap_the_smaller_one_is_in_front(tmp_path):
    large, small = [0, 0, 20, 0, 20, 20, 0, 20], [5, 5, 9, 5, 9, 9, 5, 9]
    for order in ((large, small), (small, large)):
        items = [{"segmentation": [one], "category_id": 3 if one is large else 2} for one in order]
        mask, numbers = painted(read(coco(tmp_path / "m.json", items, [(1, 30, 30)])))
        assert mask[7, 7] == COMPACT
        assert (mask == EXTENDED).sum() == 400 - 16
        assert len(np.unique(numbers)) == 3


def test_two_polygons_are_one_object(tmp_path):
    lobes = [[1, 1, 5, 1, 5, 5, 1, 5], [20, 20, 25, 20, 25, 25, 20, 25]]
    labels = read(coco(tmp_path / "m.json", [{"segmentation": lobes}], [(1, 30, 30)]))
    assert labels.sizes.tolist() == [16 + 25]


@pytest.mark.parametrize(
    ("item", "match"),
    [
        ({"segmentation": []}, "annotation 1: it has no segmentation; a box alone"),
        ({"segmentation": [[1, 2, 3]]}, "neither polygons nor runs"),
        ({"segmentation": [["a"] * 6]}, "neither polygons nor runs"),
        ({"segmentation": [[1, 2, 1e400, 4, 5, 6]]}, "no place"),
        ({"segmentation": {"size": [300, 300], "counts": [1, 2]}}, "do not add up"),
        ({"segmentation": {"size": [300, 300], "counts": [-5, 90005]}}, "do not add up"),
        ({"segmentation": {"size": [3, 3], "counts": [9]}}, r"of an image of \[3, 3\]"),
        ({"segmentation": {"size": [300, 300], "counts": "o" * 90}}, "neither polygons nor runs"),
        ({"segmentation": [[0, 0, 9, 0, 9, 9]], "image_id": 5}, "belongs to the image 5"),
        ({"segmentation": [[0, 0, 9, 0, 9, 9]], "category_id": 9}, r"has '9', which is no class.*classes"),
    ],
)
def test_annotations_that_are_none_are_refused_by_their_number(tmp_path, item, match):
    refused(coco(tmp_path / "m.json", [item]), match)


def test_words_are_classes_as_the_user_says(tmp_path):
    square = {"segmentation": [[0, 0, 9, 0, 9, 9, 0, 9]]}
    path = coco(tmp_path / "m.json", [square], names=("FRI", "FRII", "FR-X"))
    refused(path, r"annotation 1 has 'FR-X'.*generate\.masks\.classes: \{\"FR-X\": extended\}")
    assert read(path, {"fr-x": "compact"}).classes.tolist() == [COMPACT]
    assert read(path, {"FRII": "compact", "*": "spurious"}).classes.tolist() == [SPURIOUS]
    assert read(path, {"FR-X": "background"}).classes.tolist() == []
    path = coco(tmp_path / "m.json", [square], names=("a", "b", "Extended-multisland"))
    assert read(path).classes.tolist() == [EXTENDED]


@pytest.mark.parametrize(
    ("about", "match"),
    [
        ("[]", "a JSON mapping is needed"),
        ("{", "not readable as JSON"),
        ("{}", "neither COCO's JSON"),
        ('{"images": 3, "annotations": []}', "images are no list"),
        ('{"images": [{"id": 1, "height": 1e9, "width": 3}], "annotations": []}', "the height 1000000000.0"),
        ('{"images": [{"id": [], "height": 9, "width": 3}], "annotations": []}', "neither numbers nor words"),
        ('{"objs": 3}', "objs|objects are no list"),
        ('{"objs": [{"mask": "/etc/a.fits", "class": "compact"}]}', "outside its folder"),
        ('{"objs": [{"mask": "../a.fits", "class": "compact"}]}', "outside its folder"),
        ('{"objs": [{"class": "compact"}]}', "object 1 has no mask"),
        ('{"objs": [{"mask": "a.fits", "class": "compact"}]}', "there is no image .*a.fits"),
    ],
)
def test_json_that_describes_no_masks_is_refused(tmp_path, about, match):
    (tmp_path / "m.json").write_text(about)
    refused(tmp_path / "m.json", match)


@pytest.fixture
def radiff(tmp_path):
    """Two cutouts, each with a JSON file, and a FITS image for each object."""
    for cutout, shape in (("galaxy0001", (24, 20)), ("galaxy0002", (18, 30))):
        objects = []
        for number, kind in enumerate(("extended", "compact", "extended-multisland"), 1):
            plane = np.zeros(shape, np.float32)
            plane[2 * number : 2 * number + 2, 3:9] = 1
            plane[15, 15 + number] = 1
            name = f"mask_{cutout}_obj{number}.fits"
            fits.writeto(tmp_path / name, plane)
            objects.append({"name": f"S{number}", "mask": name, "class": kind, "bbox_x": 3})
        about = {"img": f"{cutout}.fits", "nx": shape[1], "ny": shape[0], "objs": objects}
        (tmp_path / f"mask_{cutout}.json").write_text(json.dumps(about))
    (tmp_path / "settings.json").write_text("{}")
    return tmp_path


def test_a_folder_of_radiff_is_one_label_image(radiff):
    labels = read(radiff, least=16)
    assert labels.frames.tolist() == [[0, 24, 0, 20], [24, 42, 0, 30]]
    assert labels.classes.tolist() == [EXTENDED, COMPACT, EXTENDED] * 2
    assert labels.sizes.tolist() == [13] * 6
    assert len(label_files(radiff)) == 8
    one = read(radiff / "mask_galaxy0002.json", least=16)
    assert one.sizes.tolist() == [13] * 3
    assert len(label_files(radiff / "mask_galaxy0002.json")) == 4


def test_masks_of_another_size_and_strange_folders_are_refused(radiff, tmp_path):
    fits.writeto(radiff / "mask_galaxy0001_obj1.fits", np.ones((3, 3)), overwrite=True)
    refused(radiff / "mask_galaxy0001.json", r"\(3, 3\) pixels, its image \(24, 20\)")
    (radiff / "empty").mkdir()
    refused(radiff / "empty", "no JSON file in it has objs")
    refused(radiff / "mask_galaxy0002.json", "leave them out", instances=radiff / "mask_galaxy0002_obj1.fits")


@pytest.mark.parametrize(
    ("values", "classes", "expected"),
    [
        ((0, 1), {"1": "compact"}, COMPACT),
        ((0, 255), {"255": "extended"}, EXTENDED),
        ((0, 7.5), {"*": "spurious"}, SPURIOUS),
        ((-1, 0), {"0": "compact", "-1": "background"}, COMPACT),
        ((0, 2), {}, COMPACT),
    ],
)
def test_numbers_of_label_images_are_what_the_user_says(tmp_path, values, classes, expected):
    plane = np.full((20, 20), values[0], np.float32)
    plane[5:8, 6:10] = values[1]
    plane[15, 15] = np.nan
    fits.writeto(tmp_path / "m.fits", plane)
    if classes.get("0"):
        plane[15, 15] = values[1]
    mask, _ = painted(read(tmp_path / "m.fits", classes))
    assert np.array_equal(mask, np.where(plane == values[1], expected, 0))


@pytest.mark.parametrize(
    ("first", "dtype"), [(999_999, np.int32), (1_000_000, np.int32), (1_000_000, np.float32)]
)
def test_large_labels_are_named_with_all_their_digits(tmp_path, first, dtype):
    plane = np.zeros((20, 20), dtype)
    plane[3:5, 3:5], plane[9:12, 3:5] = first, first + 1
    fits.writeto(tmp_path / "m.fits", plane)
    mask, _ = painted(read(tmp_path / "m.fits", {f"{first}": "compact", f"{first + 1}": "extended"}))
    assert np.array_equal(mask, np.select([plane == first, plane > first], [COMPACT, EXTENDED]))
    refused(tmp_path / "m.fits", rf"label {first + 1}; .*\{{{first + 1}: compact", {f"{first}": "compact"})


def test_numbers_without_a_class_are_refused_with_the_remedy(tmp_path):
    plane = np.zeros((20, 20), np.uint8)
    plane[3:5, 3:5] = 255
    fits.writeto(tmp_path / "m.fits", plane)
    refused(tmp_path / "m.fits", r"label 255; known are 0 background.*classes: \{255: compact\}")
    refused(tmp_path / "m.fits", r"label 255; generate.masks.classes names 1", {"1": "compact"})


@pytest.fixture(params=["plain", "galactic", "turned"])
def canvas(request, tmp_path):
    kind = ("GLON-SIN", "GLAT-SIN") if request.param == "galactic" else ("RA---SIN", "DEC--SIN")
    cards = {"CROTA2": 35.0} if request.param == "turned" else {}
    header = header_of((90, 110), (2.0, 1.5), (150.0, 60.0), kind, **cards)
    for key in ("BUNIT", "BMAJ", "BMIN"):
        del header[key]
    fits.writeto(tmp_path / "map.fits", np.zeros((90, 110), np.float32), header)
    return tmp_path / "map.fits"


def sky_of(canvas, frame="icrs"):
    """The sky at the centres of all pixels."""
    from astro_dist.sky.label_files import MapCanvas

    y, x = np.indices((90, 110))
    return pixel_to_skycoord(x, y, MapCanvas.open(canvas).wcs).transform_to(frame)


@pytest.mark.parametrize("frame", ["icrs", "fk5", "fk4", "galactic"])
@pytest.mark.parametrize("crtf", [False, True])
def test_regions_on_the_sky_hold_the_pixels_that_astropy_says(canvas, crtf, frame):
    sky = sky_of(canvas, frame)
    middle = sky[40, 50]
    lon, lat = (float(angle.deg) for angle in (middle.spherical.lon, middle.spherical.lat))
    name = {"fk5": "J2000", "fk4": "B1950"}.get(frame, frame.upper())
    if crtf:
        text = f"#CRTFv0\nglobal coord={name}\n"
        text += f"ellipse[[{lon:.9f}deg, {lat:.9f}deg], [30arcsec, 0.25arcmin], 70deg], label='extended'\n"
        text += (
            f"circle[[{lon:.9f}deg,{lat:.9f}deg],0.0015deg] label=compact\nann text[[{lon}deg, 1deg], 'a']\n"
        )
    else:
        text = f"# Region file format: DS9\nglobal color=red\n{frame}\n"
        text += f"ellipse({lon:.9f},{lat:.9f},30\",0.25',160) # text={{extended}}\n"
        text += f'circle({lon:.9f}d,{lat:.9f},5.4") # color=red tag={{compact}}; point({lon},{lat})\n'
    path = canvas.with_name("r.crtf" if crtf else "r.reg")
    path.write_text(text)
    mask, _ = painted(read(path, drawn_on=canvas))
    distance, angle = middle.separation(sky).arcsec, middle.position_angle(sky).rad - np.radians(70)
    ellipse = np.hypot(distance * np.cos(angle) / 30, distance * np.sin(angle) / 15) <= 1
    expected = np.where(distance <= 5.4, COMPACT, np.where(ellipse, EXTENDED, 0))
    assert (mask != expected).sum() <= 2
    assert (mask == EXTENDED).sum() > 300


def test_polygons_boxes_and_sexagesimal_places(canvas):
    sky = sky_of(canvas)
    corners = [sky[20, 30], sky[25, 80], sky[70, 60]]
    words = [c.to_string("hmsdms", precision=6).split() for c in corners]
    ds9 = ",".join(
        f"{w[0]},{w[1]}".replace("h", ":").replace("d", ":").replace("m", ":").replace("s", "") for w in words
    )
    crtf = ", ".join(f"[{w[0]}, {w[1].replace('d', '.').replace('m', '.').replace('s', '')}]" for w in words)
    box = f"{sky[75, 20].ra.deg},{sky[75, 20].dec.deg}"
    ds9 = f'icrs;polygon({ds9}) # text={{compact; bright}}\nbox({box},20",12",0) # tag={{extended}}\n'
    canvas.with_name("a.reg").write_text(ds9)
    first = f"[{sky[75, 20].ra.deg}deg, {sky[75, 20].dec.deg}deg]"
    crtf = f"#CRTFv0\npoly[{crtf}], coord=ICRS, label='compact'\n"
    crtf += f'rotbox[{first}, [20arcsec, 12arcsec], 0deg] coord=ICRS, label="extended"\n'
    canvas.with_name("b.crtf").write_text(crtf)
    one, other = (painted(read(canvas.with_name(name), drawn_on=canvas))[0] for name in ("a.reg", "b.crtf"))
    assert np.array_equal(one, other)
    expected = inside(fill_polygon(np.array([20.0, 25, 70]), np.array([30.0, 80, 60]), (90, 110)), (90, 110))
    # Corners are centres of pixels, so that some lie on the edges themselves.
    assert ((one == COMPACT) != expected).sum() <= 16
    offset = sky[75, 20].spherical_offsets_to(sky)
    in_box = (abs(offset[0].arcsec) <= 10) & (abs(offset[1].arcsec) <= 6)
    assert ((one == EXTENDED) != in_box).sum() <= 2


def test_places_in_the_image_count_from_one_in_ds9_and_from_zero_in_casa(canvas):
    ds9 = "image\ncircle(21,31,4) # text={compact}\nellipse(61,51,12,6,30d) # text={extended}\n"
    canvas.with_name("a.reg").write_text(ds9 + "box 81 71 10 6 0 # text={spurious}\n")
    crtf = "#CRTF\ncircle[[20pix, 30pix], 4pix], label='compact'\n"
    crtf += "ellipse[[60pix, 50pix], [12pix, 6pix], -60deg], label='extended'\n"
    crtf += "centerbox[[80pix, 70pix], [10pix, 6pix]], label='spurious'\n"
    canvas.with_name("b.crtf").write_text(crtf)
    one, other = (painted(read(canvas.with_name(name), drawn_on=canvas))[0] for name in ("a.reg", "b.crtf"))
    assert np.array_equal(one, other)
    y, x = np.indices((90, 110))
    assert np.array_equal(one == COMPACT, np.hypot(y - 30, x - 20) <= 4)
    turn = np.radians(30)
    along, across = (
        (x - 60) * np.cos(turn) + (y - 50) * np.sin(turn),
        (y - 50) * np.cos(turn) - (x - 60) * np.sin(turn),
    )
    assert np.array_equal(one == EXTENDED, np.hypot(along / 12, across / 6) <= 1)
    assert (one == SPURIOUS).sum() in (60, 77, 70)


def test_lines_as_carta_and_casa_write_them(canvas):
    path = canvas.with_name("carta.txt")
    path.write_text(
        "#CRTFv0 CASA Region Text Format version 0\n"
        "rotbox [[20pix, 30pix], [10pix, 6pix], 0deg], coord=ICRS, corr=[I, V], label='compact'\n"
        "poly [[60pix, 50pix], [70pix, 50pix], [70pix, 60pix]] range=[1GHz, 2GHz], label=extended\n"
        "symbol [[4pix, 5pix], .], coord=ICRS\n"
    )
    mask, _ = painted(read(path, drawn_on=canvas))
    assert (mask[28:33, 16:25] == COMPACT).all()
    assert (mask == EXTENDED).sum() in range(45, 67)
    canvas.with_name("ds9.txt").write_text(
        "# Region file format: DS9 version 4.1\nimage\nbox(21,31,10,6,0) # text={compact (a)} dash=1\n"
        "polygon(61,51,71,51,71,61) # text={extended}\n"
    )
    assert np.array_equal(mask, painted(read(canvas.with_name("ds9.txt"), drawn_on=canvas))[0])


def test_the_regions_of_a_truth_are_masks(canvas):
    sky = sky_of(canvas)
    places = [(20, 30), (60, 70), (45, 15)]
    truth = {
        "id": np.array([1, 2, 3]),
        "class": np.array([2, 3, 2]),
        "ra_deg": np.array([sky[p].ra.deg for p in places]),
        "dec_deg": np.array([sky[p].dec.deg for p in places]),
        **{
            name: np.full(3, v)
            for name, v in (("major_arcsec", 30.0), ("minor_arcsec", 14.0), ("pa_deg", 40.0))
        },
    }
    found = []
    for name, lines in (("truth.reg", region_lines), ("truth.crtf", crtf_lines)):
        canvas.with_name(name).write_text("".join(lines(truth)))
        labels = read(canvas.with_name(name), drawn_on=canvas)
        assert sorted(labels.classes.tolist()) == [2, 2, 3]
        found.append(painted(labels)[0])
    assert np.array_equal(*found)
    assert found[0].any()


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("icrs\nannulus(1,2,3,4) # text={compact}\n", "line 2: 'annulus.*is not read"),
        ("icrs\nellipse(1,2,3,4,5,6,7) # text={compact}\n", "rings and sectors"),
        ("icrs\n-circle(1,2,3) # text={compact}\n", "excluded"),
        ("icrs\ncircle(1,2,x) # text={compact}\n", "number that is none"),
        ("icrs\ncircle(1,2) # text={compact}\n", "a circle with 2 numbers"),
        ("icrs\npolygon(1,2,3,4) # text={compact}\n", "2 corners"),
        ("image\ncircle(30,30,5)\n", r"line 2 has no label, which is no class.*\{\"\*\": extended\}"),
        ("image\ncircle(30,30,5) # text={7}\n", "line 2 has '7'"),
        ("image\ncircle(3000,30,5) # text={compact}\n", "no circle, ellipse, box or polygon that lies on"),
        ("image\npoint(3,3)\n", "no circle"),
        ("ecliptic\ncircle(3,3,3)\n", "line 1: 'ecliptic' is not read"),
        ("icrs\ncircle(330,-60,5) # text={compact}\n", "has no place on the map"),
        ("#CRTF\ncircle[[1deg, 2deg], 3], coord=TEME, label=compact\n", "the frame 'TEME' is none of"),
        ("#CRTF\ncircle[[1deg, 2deg], 3furlong], label=compact\n", "number or unit that is none"),
        ("#CRTF\nannulus[[1deg, 2deg], [3deg, 4deg]]\n", "line 2: 'annulus"),
        ("#CRTF\n-circle[[1deg, 2deg], 3deg]\n", "excluded"),
        ("circle\0", "number that is none"),
    ],
)
def test_regions_that_are_not_read_are_refused_by_their_line(tmp_path, text, match):
    header = header_of((90, 110), (2.0, 1.5), (150.0, 60.0))
    fits.writeto(tmp_path / "map.fits", np.zeros((90, 110), np.float32), header)
    (tmp_path / "r.reg").write_text(text)
    refused(tmp_path / "r.reg", match, drawn_on=tmp_path / "map.fits")


def test_regions_need_a_map_with_a_sky(tmp_path):
    (tmp_path / "r.reg").write_text("image\ncircle(30,30,5) # text={compact}\n")
    refused(tmp_path / "r.reg", r"name its FITS file as generate\.masks\.map")
    fits.writeto(tmp_path / "bare.fits", np.zeros((90, 110), np.float32))
    refused(tmp_path / "r.reg", "not those of the sky|not those of a map", drawn_on=tmp_path / "bare.fits")


def test_regions_are_drawn_on_the_image_that_is_read_as_the_map(tmp_path):
    (tmp_path / "r.reg").write_text('fk5\ncircle(150,-30,30") # text={compact}\n')
    sky = header_of((128, 120), (2, 2), (150.0, -30.0), RADESYS="J2000", CTYPE3="STOKES", CDELT3=0.0)
    weight = header_of((64, 64), (2, 2), (150.0, -30.0))
    del weight["BUNIT"]
    hdus = [
        fits.PrimaryHDU(np.zeros((50, 50), np.uint8)),
        fits.ImageHDU(np.zeros((64, 64), np.float32), weight),
        fits.ImageHDU(np.zeros((128, 120), np.float32), sky),
    ]
    fits.HDUList(hdus).writeto(tmp_path / "map.fits", output_verify="silentfix")
    mask, _ = painted(read(tmp_path / "r.reg", drawn_on=tmp_path / "map.fits"))
    assert mask.shape == (128, 120)
    assert mask.astype(bool).sum() == pytest.approx(np.pi * 15**2, rel=0.02)


def test_of_several_maps_that_of_maps_hdu_is_drawn_on(tmp_path):
    """Of a cube too, whatever its planes; a number that the file does not have leaves its one map."""
    (tmp_path / "r.reg").write_text('fk5\ncircle(150,-30,30") # text={compact}\n')
    maps = [
        fits.ImageHDU(np.zeros((*planes, *shape), np.float32), header_of(shape, (2, 2), (150.0, -30.0)), name)
        for name, shape, planes in (("LOW", (100, 90), ()), ("HIGH", (128, 120), (3,)))
    ]
    path, alone = tmp_path / "two.fits", tmp_path / "one.fits"
    fits.HDUList([fits.PrimaryHDU(), *maps]).writeto(path)
    fits.PrimaryHDU(maps[1].data, maps[1].header).writeto(alone)
    refused(
        tmp_path / "r.reg", r"several maps: HDU 1 LOW .*choose one with generate\.read\.hdu", drawn_on=path
    )
    for file, hdu, shape in ((path, 1, (100, 90)), (path, "high", (128, 120)), (alone, 1, (128, 120))):
        assert painted(read(tmp_path / "r.reg", drawn_on=file, hdu=hdu))[0].shape == shape


def test_a_radius_of_half_a_degree_of_the_sky_is_one(tmp_path):
    """Near the pole as well, where a degree of right ascension is nearly nothing."""
    header = header_of((90, 110), (60.0, 60.0), (150.0, 89.5))
    fits.writeto(tmp_path / "map.fits", np.zeros((90, 110), np.float32), header)
    (tmp_path / "r.reg").write_text("icrs\ncircle(20.0,89.7,0.3) # text={compact}\n")
    mask, _ = painted(read(tmp_path / "r.reg", drawn_on=tmp_path / "map.fits"))
    distance = SkyCoord(20 * u.deg, 89.7 * u.deg).separation(sky_of(tmp_path / "map.fits")).deg
    assert ((mask > 0) != (distance <= 0.3)).sum() <= 6


REGIONS = {
    "r.reg": "icrs;ellipse(150.0,60.0,30\",12',160) # text={compact}\n"
    "polygon(150,60,150.01,60,150,60.01) # tag={extended}\n",
    "r.crtf": "#CRTFv0\n"
    "ellipse[[10:00:00, 60.00.00], [30arcsec, 12arcmin], 7deg] coord=J2000, label='compact'\n",
}


@pytest.mark.parametrize("count", [60, pytest.param(5000, marks=pytest.mark.soak)])
@pytest.mark.parametrize("kind", ["m.json", *REGIONS])
def test_lying_masks_are_refused_in_one_line_or_read(tmp_path, kind, count):
    real, header = tmp_path / "map.fits", header_of((90, 110), (2, 2), (150, 60))
    fits.writeto(real, np.zeros((90, 110), np.float32), header)
    runs = {"size": [90, 110], "counts": packed([100, 50, 9750])}
    items = [{"segmentation": [[1, 2, 30, 4, 20, 40]]}, {"segmentation": runs, "category_id": 2}]
    path = coco(tmp_path / "m.json", items, [(1, 90, 110)])
    if kind != "m.json":
        path = tmp_path / kind
        path.write_text(REGIONS[kind])
    content = path.read_bytes()
    assert len(read(path, drawn_on=real).sizes)
    for seed in range(count):
        path.write_bytes(mutated(content, seed))
        line, labels = str(path), None
        try:
            labels = read(path, drawn_on=real)
        except ConfigError as error:
            line = str(error)
        assert str(path) in line
        assert "\n" not in line
        assert labels is None or (np.diff(labels.y) >= 0).all()
