"""The settings of the stage ``pictures``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from astro_dist.engine.config import Section
from astro_dist.engine.foreign import expand_home

CLASSES = (
    "planets",
    "galaxies",
    "asteroids",
    "nebulae",
    "comets",
    "black holes",
    "stars",
    "constellations",
)
"""Classes of FLARE, which source toy draws."""
TABLE = "metadata.csv"
"""Table of a folder that is read without being named, as Hugging Face's datasets do."""
SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".mpo", ".png", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm"}
)
FITS_SUFFIXES = frozenset({".fits", ".fit", ".fts", ".fz", ".gz"})
"""Names that pictures end with, and those of FITS files."""
COLUMNS = {"file_name": "file_name", "label": "label"}
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Share = Annotated[float, Field(ge=0, lt=1)]


class PicturesConfig(Section):
    """Which pictures there are, of which classes, and how they are divided and stored."""

    later = frozenset({"dtype"})

    source: Literal["toy", "folder", "file", "fits"] = "toy"
    """Where the pictures come from: drawn, a folder, one HDF5 or npz file, or a folder of FITS cutouts; by
    default path or file, where one is given."""
    path: str | None = None
    """Folder with a folder per class, or with a table of names and classes; with or without split folders."""
    table: str | None = None
    """Table in the folder with names and classes, metadata.csv where there is one: CSV."""
    columns: Mapping[str, str] = {}
    """Names of the table's columns where they are others, such as {file_name: file, label: class}."""
    file: str | None = None
    """HDF5 or npz file with images (N, side, side, planes) and ans (N), such as Galaxy10_DECals.h5."""
    classes: tuple[str, ...] = ()
    """The classes in order; by default all there are, by name. Pictures of others are left out. For a file
    they are the names of its answers 0, 1, 2 and so on."""
    by_name: Mapping[str, tuple[str, ...]] = {}
    """Patterns of the file names of each class, such as {FRI: 1*, FRII: 2*}; others are left out. With them
    neither folders nor tables are looked at."""
    apart: tuple[str, ...] = ()
    """Patterns of the names of pictures that are stored and are in no split, such as uncertain ones."""
    macro: Mapping[str, tuple[str, ...]] = {}
    """Macro classes and the classes of each, such as {Stellar Objects: [stars, black holes]}."""
    exclude: tuple[str, ...] = ()
    """Names of pictures that are left out, relative to the folder; with * and ?."""
    per_class: Count | Mapping[str, Count] = 40
    """Pictures of each class, or of each class by its name, that source toy draws."""
    size_pix: int = Field(default=64, ge=16, le=1024, multiple_of=4)
    """Side of a stored picture."""
    planes: Literal[1, 3] = 3
    """3 for colour, 1 for grey; FITS cutouts of three planes are colours."""
    dtype: Literal["uint8", "float32"] = "uint8"
    """Numbers of stored pictures: uint8, or float32, which keeps all bits of PNG and TIFF of 16 bits and of
    grey floats; FITS cutouts are always float32."""
    fit: Literal["crop", "pad", "stretch"] = "crop"
    """What makes a picture square: its middle, black bars, or another ratio of its sides."""
    crop_pix: Annotated[int, Field(ge=8)] | None = None
    """Side of the middle square of a FITS cutout that is taken, by default all of its shorter side."""
    separation_arcmin: float = Field(default=9.0, ge=0)
    """FITS cutouts nearer than this on the sky form a group."""
    largest_pix: int = Field(default=10_000, ge=16, le=60_000)
    """Longest side of a picture that is read; a longer one is quarantined."""
    duplicates: bool = True
    """Whether near-duplicates are looked for, whose groups no split parts."""
    split: Literal["grouped", "as_published"] = "grouped"
    """Splits that part no group; or those of FLARE's code, which deals augmented copies, a leak."""
    validation_fraction: Share = 0.15
    """Share of the pictures to validate on, where no split folder says so."""
    test_fraction: Share = 0.15
    """Share of the pictures to test on, where no split folder says so."""
    shard: int = Field(default=256, ge=1, le=1 << 20)
    """Pictures per shard file and task."""
    threads: int = Field(default=1, ge=1)
    """Threads that compress in each worker."""
    classed: ClassVar[bool] = True
    """Whether the pictures are for classifiers, which need two classes and a few pictures of each."""

    @model_validator(mode="before")
    @classmethod
    def _find_source(cls, tree: Any) -> Any:
        if not isinstance(tree, dict):
            return tree
        given = next((kind for kind, key in (("file", "file"), ("folder", "path")) if tree.get(key)), "toy")
        return {"source": given, **tree}

    @model_validator(mode="after")
    def _check(self) -> Self:
        needed = {"toy": None, "folder": "path", "fits": "path", "file": "file"}[self.source]
        if needed is not None and getattr(self, needed) is None:
            raise ValueError(f"source {self.source} needs {needed}; give it, or source toy")
        for key in ("path", "file"):
            if key != needed and getattr(self, key) is not None:
                raise ValueError(f"source {self.source} does not read {key}; leave one of them out")
        if self.table is not None and self.path is None:
            raise ValueError("table lies in the folder of path; give path too")
        if self.table is not None and self.by_name:
            raise ValueError("classes come from the table or by_name; leave one of them out")
        if self.validation_fraction + self.test_fraction >= 1:
            raise ValueError("validation_fraction and test_fraction leave nothing to train on; lower them")
        return self

    @property
    def stored(self) -> Literal["uint8", "float32"]:
        """Numbers of the store."""
        return "float32" if self.source == "fits" else self.dtype

    @property
    def folder(self) -> Path:
        """Folder of the pictures."""
        return expand_home(self.path or "")


class PlainPicturesConfig(PicturesConfig):
    """Which pictures there are, and how they are divided and stored; they need no classes."""

    path: str | None = None
    """A picture, or a folder of pictures; classes in it, as folders or in a table, are kept."""
    classed: ClassVar[bool] = False
