"""The files of annotations that experts have edited.

A folder is read as `astro-dist export RUN annotations` wrote it: label images ``MAP-classes.fits`` with
``MAP-sources.fits``, regions ``MAP.reg`` or ``MAP.crtf``, ``annotations.json`` of COCO, or ``radiff/`` with a
JSON file for each object. Of several forms none is read. A map that no file is of stays as it was found.
"""

from pathlib import Path

from astro_dist.engine.errors import ConfigError
from astro_dist.sky.label_files import label_files, radiff_files

SETTING = "annotate.expert"
CLASSES, SOURCES = "-classes.fits", "-sources.fits"
BEGUN = ".export.json"
"""Note in a folder while an export writes it."""
COCO_FILE, RADIFF_FOLDER = "annotations.json", "radiff"
SUFFIXES = {"fits": CLASSES, "ds9": ".reg", "crtf": ".crtf"}
"""Ends of the names of files that belong to one map each; what stands before is the name of the map."""


def find_edits(path: Path) -> tuple[str, list[Path]]:
    """Return the form of the annotations below a path, and their files without those that go with them.

    Raises
    ------
    ConfigError
        There are none, they are there in several forms, or not all are written yet.
    """
    if path.is_file():
        return _form_of(path), [path]
    if (path / BEGUN).exists():
        # Sources without a file would be taken for sources that the expert has removed.
        raise ConfigError(f"{SETTING}: the export to {path} did not end; run the same command again first")
    found = {form: sorted(path.glob(f"*{suffix}")) for form, suffix in SUFFIXES.items()}
    found["coco"] = [one for one in (path / COCO_FILE,) if one.is_file()]
    found["radiff"] = radiff_files(path / RADIFF_FOLDER) if (path / RADIFF_FOLDER).is_dir() else []
    forms = {form: files for form, files in found.items() if files}
    if not forms:
        raise ConfigError(
            f"{SETTING}: {path} holds no annotations (*{CLASSES}, *.reg, *.crtf, {COCO_FILE} or "
            f"{RADIFF_FOLDER}/); `astro-dist export RUN annotations` writes them"
        )
    if len(forms) > 1:
        raise ConfigError(
            f"{SETTING}: {path} holds annotations in {len(forms)} forms ({', '.join(forms)}); leave the one "
            "that was edited"
        )
    return next(iter(forms.items()))


def _form_of(path: Path) -> str:
    for form, suffix in (("ds9", ".reg"), ("crtf", ".crtf"), ("coco", ".json")):
        if path.name.lower().endswith(suffix):
            return form
    return "fits"


def edited_files(path: Path) -> list[Path]:
    """Return all files that the annotations below a path consist of."""
    form, files = find_edits(path)
    if form == "fits":
        files = [*files, *(one for one in map(numbers_beside, files) if one is not None)]
    return [one for file in files for one in label_files(file)] if form == "radiff" else files


def numbers_beside(path: Path) -> Path | None:
    """Return the image of source numbers that goes with an image of classes, None where there is none."""
    other = path.with_name(path.name.removesuffix(CLASSES) + SOURCES)
    return other if path.name.endswith(CLASSES) and other.is_file() else None
