"""Annotations go out to an expert and come back: the same bytes, and of edited ones only what was changed."""

import json

import numpy as np
import pytest
from astropy.io import fits

from astro_dist.engine.errors import ConfigError
from astro_dist.engine.files import tree_digests
from astro_dist.exports.labels import export_annotations
from astro_dist.exports.target import Target
from astro_dist.sky.annotate import AnnotateConfig
from astro_dist.sky.annotations import Annotations
from astro_dist.sky.classes import CLASS_NAMES, SourceClass
from astro_dist.sky.config import MapsConfig
from astro_dist.sky.expert_files import edited_files, find_edits
from astro_dist.sky.outlines import trace_outline
from astro_dist.sky.simulate import SimulateConfig
from astro_dist.sky.stages import ANNOTATE, SIMULATE
from astro_dist.sky.windows import Window
from tests.settings import make_run
from tests.sky.test_annotate import bring

SKY = SimulateConfig(shape=(420, 380), maps=2, extended_per_1000_beams=1.0)
FORMS = ("fits", "coco", "ds9", "crtf", "radiff")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """A run over two map files, with sources of several islands."""
    root = tmp_path_factory.mktemp("found")
    bring(SIMULATE, make_run(root / "sky", seed=5, maps=MapsConfig(), simulate=SKY))
    files = [str(root / "sky" / "maps" / f"{name}.fits") for name in SKY.names]
    run = make_run(root / "run", **settings(files))
    facts = bring(ANNOTATE, run)
    assert facts["of_several_islands"] > 0
    return run, files


def settings(files, **annotate):
    maps = MapsConfig(files=files)
    return {"seed": 1, "maps": maps, "annotate": AnnotateConfig(**annotate), "simulate": SKY}


def read_back(found, root, expert):
    """Annotate the maps again with what an expert left; return the product and its facts."""
    run = make_run(root / "again", **settings(found[1], expert=str(expert)))
    return run.root / "annotations", bring(ANNOTATE, run)


@pytest.fixture(params=FORMS)
def exported(request, found, tmp_path):
    export_annotations(Target(tmp_path / "out", {}), found[0], [request.param])
    return tmp_path / "out"


def test_what_nobody_changed_comes_back_with_the_same_bytes(found, exported, tmp_path):
    product, facts = read_back(found, tmp_path, exported)
    assert tree_digests(product) == tree_digests(found[0].root / "annotations")
    counted = len(Annotations.load(product).sources["source"])
    assert facts["expert"] == {"unchanged": counted, "changed": 0, "added": 0, "removed": 0}


class Desk:
    """What an expert does to the first map in each form: a class, a removal, an enlargement, a new object."""

    def __init__(self, folder, annotations):
        self.folder, self.form = folder, find_edits(folder)[0]
        self.shape = annotations._shapes[0][0]
        self.objects = {number: (kind, y, x) for number, kind, y, x in annotations.objects(0)}
        alone = [n for n, (kind, y, _) in self.objects.items() if kind is SourceClass.COMPACT and len(y) > 9]
        self.turned, self.gone, self.grown = alone[:3]
        self.place = 3, 5

    def edit(self):
        getattr(self, f"_{self.form}")()

    def _fits(self):
        (kinds, numbers), names = self._planes(), ("classes", "sources")
        kinds[numbers == self.turned] = SourceClass.EXTENDED
        kinds[numbers == self.gone] = 0
        y, x = self._rim()
        kinds[y, x], numbers[y, x] = SourceClass.COMPACT, self.grown
        kinds[self._patch()] = SourceClass.SPURIOUS
        for plane, name in zip((kinds, numbers), names, strict=True):
            path = next(iter(sorted(self.folder.glob(f"*-{name}.fits"))))
            fits.writeto(path, plane, fits.getheader(path), overwrite=True)

    def _planes(self):
        paths = (sorted(self.folder.glob(f"*-{name}.fits"))[0] for name in ("classes", "sources"))
        return [fits.getdata(path) for path in paths]

    def _rim(self):
        _, y, x = self.objects[self.grown]
        return y[-1:] + 1, x[-1:]

    def _patch(self):
        y, x = self.place
        return slice(y, y + 4), slice(x, x + 4)

    def _coco(self):
        path = self.folder / "annotations.json"
        about = json.loads(path.read_text())
        entries = [one for one in about["annotations"] if one["image_id"] == 0]
        others = [one for one in about["annotations"] if one["image_id"] != 0]
        by_number = {one["object"]: one for one in entries}
        by_number.pop(self.gone)
        by_number[self.turned]["category_id"] = int(SourceClass.EXTENDED)
        _, y, x = self.objects[self.grown]
        # An editor of masks writes polygons; COCO's pixel i reaches from i to i + 1.
        by_number[self.grown]["segmentation"] = [
            self._square(int(a), int(b), 1)
            for a, b in zip([*y, *self._rim()[0]], [*x, *self._rim()[1]], strict=True)
        ]
        new = {"id": 0, "image_id": 0, "category_id": 1, "segmentation": [self._square(*self.place, 4)]}
        path.write_text(json.dumps(about | {"annotations": [*by_number.values(), *others, new]}))

    def _square(self, y, x, side):
        return [x, y, x + side, y, x + side, y + side, x, y + side]

    def _lines(self, suffix, dot, point):
        path = sorted(self.folder.glob(f"*{suffix}"))[0]
        lines = path.read_text().splitlines()
        place = {n: next(i for i, line in enumerate(lines) if dot(n) in line) for n in self.objects}
        row = place[self.turned]
        lines[row] = lines[row].replace("compact", "extended")
        _, y, x = self.objects[self.grown]
        rim = trace_outline(*(np.append(a, b) for a, b in zip((y, x), self._rim(), strict=True)))
        lines[place[self.grown]] = point(rim, "compact")
        y, x = self.place
        square = np.array([[y, x], [y, x + 4], [y + 4, x + 4], [y + 4, x]]) - 0.5
        del lines[place[self.gone]]
        path.write_text("\n".join([*lines, point(square, "spurious")]) + "\n")

    def _ds9(self):
        # As DS9 saves what was drawn: numbers of seven digits.
        self._lines(
            ".reg",
            lambda n: f"text={{{n}}}",
            lambda c, kind: (
                f"polygon({','.join(f'{b + 1:.7g},{a + 1:.7g}' for a, b in c)}) # text={{{kind}}}"
            ),
        )

    def _crtf(self):
        def drawn(corners, kind):
            places = ", ".join(f"[{x:.4f}pix, {y:.4f}pix]" for y, x in corners)
            return f"poly[{places}] label='{kind}'"

        self._lines(".crtf", lambda n: f" {n}'", drawn)

    def _radiff(self):
        folder = self.folder / "radiff"
        files = {n: sorted(folder.glob(f"*-source-{n:06d}.json"))[0] for n in self.objects}
        files[self.gone].unlink()
        about = json.loads(files[self.turned].read_text())
        about["objs"][0]["class"] = "extended"
        files[self.turned].write_text(json.dumps(about))
        about = json.loads(files[self.grown].read_text())
        mask = folder / about["objs"][0]["mask"]
        plane = fits.getdata(mask)
        y, x = self._rim()
        plane[y - about["y0"], x - about["x0"]] = 1
        fits.writeto(mask, plane, overwrite=True)
        fits.writeto(folder / "new.fits", np.ones((4, 4), np.uint8))
        y, x = self.place
        new = {"nx": 4, "ny": 4, "objs": [{"mask": "new.fits", "class": "sidelobe"}]}
        (folder / "new.json").write_text(json.dumps(new | {"map": about["map"], "y0": y, "x0": x}))


def test_only_what_an_expert_changed_changes(found, exported, tmp_path):
    before = Annotations.load(found[0].root / "annotations")
    desk = Desk(exported, before)
    desk.edit()
    product, facts = read_back(found, tmp_path, exported)
    after = Annotations.load(product)
    expert = {desk.turned, desk.grown, max(before.islands["island"][before.here(before.islands, 0)]) + 1}
    assert facts["expert"] == {
        "unchanged": len(before.sources["source"]) - 3,
        "changed": 2,
        "added": 1,
        "removed": 1,
    }
    for table in ("islands", "sources"):
        number = "island" if table == "islands" else "source"
        ours, theirs = getattr(before, table), getattr(after, table)
        kept = [~np.isin(t[number], [*expert, desk.gone]) | (t["map"] == 1) for t in (ours, theirs)]
        for name, values in ours.items():
            np.testing.assert_array_equal(theirs[name][kept[1]], values[kept[0]], err_msg=name)
        drawn = ~kept[1]
        assert set(theirs[number][drawn].tolist()) == expert
        assert set(theirs["rule"][drawn].tolist()) == {"expert"}
        assert "expert" not in theirs["rule"][kept[1]]
    _check_pixels(desk, before, after, max(expert))
    # It goes out and comes in once more without any change.
    run = make_run(tmp_path / "again", **settings(found[1]))
    export_annotations(Target(tmp_path / "more", {}), run, [desk.form])
    again, _ = read_back(found, tmp_path / "twice", tmp_path / "more")
    assert tree_digests(again) == tree_digests(product)


def _check_pixels(desk, before, after, new):
    kinds, numbers = before.paint(0, Window.of_shape(desk.shape))
    kinds[numbers == desk.turned] = SourceClass.EXTENDED
    kinds[numbers == desk.gone] = numbers[numbers == desk.gone] = 0
    y, x = desk._rim()
    kinds[y, x], numbers[y, x] = SourceClass.COMPACT, desk.grown
    kinds[desk._patch()], numbers[desk._patch()] = SourceClass.SPURIOUS, new
    np.testing.assert_array_equal(after.paint(0, Window.of_shape(desk.shape)), (kinds, numbers))
    old, new = (row_of(one, desk.turned) for one in (before, after))
    assert CLASS_NAMES[new["class"]] == "extended"
    # The same pixels; compact sources alone are corrected for the flux below the threshold.
    assert new["peak_jy_beam"] == old["peak_jy_beam"]
    assert new["flux_jy"] < old["flux_jy"]


def row_of(annotations, number):
    here = annotations.here(annotations.sources, 0)
    (row,) = np.flatnonzero(annotations.sources["source"][here] == number)
    return {name: values[here][row] for name, values in annotations.sources.items()}


def lose(folder):
    for path in folder.glob("*-classes.fits"):
        path.rename(folder / "other-classes.fits")


def shrink(folder):
    for path in folder.glob("*.fits"):
        fits.writeto(path, fits.getdata(path)[1:], overwrite=True)


def unknown(folder):
    path = sorted(folder.glob("*.reg"))[0]
    path.write_text(path.read_text().replace("tag={compact}", "tag={pulsar}"))


def empty(folder):
    path = sorted(folder.glob("*.reg"))[0]
    path.write_text("image\npolygon(1,1,2,1,2,2) # text={extended}\n-circle(9,9,3)\n")


@pytest.mark.parametrize(
    ("forms", "spoil", "said"),
    [
        ((), lambda folder: folder.mkdir(), "holds no annotations"),
        (("coco", "ds9"), lambda _: None, "holds annotations in 2 forms (ds9, coco)"),
        (("fits",), lose, "belongs to no map of the run; 'other'"),
        (("fits",), shrink, "differ in shape (419 x 380 and 420 x 380 pixels)"),
        (
            ("ds9",),
            unknown,
            "'pulsar', which is no class; known are spurious, compact, extended: write one",
        ),
        (("ds9",), empty, "line 3: regions that are excluded"),
    ],
)
def test_what_cannot_be_read_back_is_refused_before_anything_runs(found, tmp_path, forms, spoil, said):
    if forms:
        export_annotations(Target(tmp_path / "out", {}), found[0], forms)
    spoil(tmp_path / "out")
    run = make_run(tmp_path / "run", **settings(found[1], expert=str(tmp_path / "out")))
    with pytest.raises(ConfigError) as error:
        refuse(run)
    assert said in str(error.value)
    assert str(error.value).startswith("annotate.expert: ")
    assert "\n" not in str(error.value)


def refuse(run):
    ANNOTATE.sources(run)
    ANNOTATE.refuse(run)


def test_the_files_of_an_expert_are_part_of_what_a_stage_depends_on(found, exported):
    files = edited_files(exported)
    assert len(files) == len(set(files))
    # The images that RADiff's files show are not read.
    unread = {path for path in exported.glob("radiff/*.fits") if "_object-" not in path.name}
    assert {path for path in exported.rglob("*") if path.is_file()} == {*files, *unread}
