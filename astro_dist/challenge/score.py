"""The score of what is handed in, against the hidden part of a package: one JSON document for each file."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_dist import __version__
from astro_dist.challenge.about import About, check_files
from astro_dist.challenge.detection import measure_detection
from astro_dist.challenge.handed_in import score_name, unpacked
from astro_dist.challenge.labels import LabelledPixels, is_labels
from astro_dist.challenge.matching import match
from astro_dist.challenge.names import (
    ABOUT,
    HIDDEN,
    INSTANCES,
    MANIFEST,
    MAP,
    MASK,
    PUBLIC,
    RMS,
    SCORE_MASK,
    find_part,
)
from astro_dist.challenge.sdc1 import Sdc1Rules, Sdc1Score, score_sdc1
from astro_dist.challenge.segmentation import measure_segmentation
from astro_dist.challenge.submission import Submission, read_submission
from astro_dist.challenge.truth import sdc1_table
from astro_dist.engine.arrays import Columns, Floats
from astro_dist.engine.errors import ConfigError
from astro_dist.engine.files import sha256_file
from astro_dist.field.columns import read_columns_file
from astro_dist.field.truth_text import LEAST_BEAM_SHARE
from astro_dist.sky.config import MapsConfig
from astro_dist.sky.labels import Plane
from astro_dist.sky.maps import SkyMap
from astro_dist.sky.windows import Window, bands

BAND_ROWS = 512
FORMAT = "astro_dist score 1"
CATALOGUE, LABELS = "catalogue", "labels"


@dataclass(frozen=True)
class Options:
    """How files are scored.

    Attributes
    ----------
    instances
        Numbers of objects beside an image of classes.
    beam_arcsec
        Beam of the rules of SDC1, by default that of the field.
    columns
        The names of a table by ours, as `astro_dist.sky.column_names.choose_columns` takes them.
    """

    instances: Path | None = None
    beam_arcsec: float | None = None
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Judge:
    """An opened package with its hidden part.

    Attributes
    ----------
    folder
        The folder of the package.
    about
        What it says of itself.
    """

    folder: Path
    about: About

    @classmethod
    def open(cls, folder: Path) -> "Judge":
        """Open a package, after a look at the bytes of all that scores are made from.

        Raises
        ------
        ConfigError
            It is none, or its hidden part is not there.
        IntegrityError
            A file is not the one of its manifest.
        """
        about = About.read(folder)
        if not (folder / HIDDEN / "truth.parquet").is_file():
            raise ConfigError(
                f"{folder} has no hidden part, which scores need; name the folder of the whole package"
            )
        check_files(folder / HIDDEN, ("truth.parquet", MASK, INSTANCES))
        check_files(find_part(folder, PUBLIC), (ABOUT, MAP, RMS, SCORE_MASK))
        return cls(folder, about)

    @property
    def identity(self) -> dict[str, str]:
        """Name of the challenge, and the digest of its public files: scores of one package compare."""
        manifest = find_part(self.folder, PUBLIC) / MANIFEST
        return {"challenge": self.about.name, "package": sha256_file(manifest)}

    @cached_property
    def truth(self) -> Columns:
        """All sources, by number."""
        return read_columns_file(self.folder / HIDDEN / "truth.parquet")

    @cached_property
    def field(self) -> SkyMap:
        """The map, for its coordinates."""
        return SkyMap.open(find_part(self.folder, PUBLIC) / MAP, MapsConfig(), verify=False)

    @cached_property
    def scored(self) -> NDArray[np.bool_]:
        """Which pixels are scored."""
        plane = Plane.open(find_part(self.folder, PUBLIC) / SCORE_MASK, 1)
        scored = np.empty(self.about.shape, bool)
        for window in bands(self.about.shape, BAND_ROWS):
            scored[window.slices] = plane.read_labels(window) == 0
        return scored

    def counts(self, ra_deg: Floats, dec_deg: Floats) -> NDArray[np.bool_]:
        """Return which positions lie on scored pixels; those off the map do not."""
        y, x, inside = self._pixels(ra_deg, dec_deg)
        found = np.zeros(len(y), bool)
        found[inside] = self.scored[y[inside], x[inside]]
        return found

    def rms_at(self, ra_deg: Floats, dec_deg: Floats) -> Floats:
        """Return the local noise at positions, Jy/beam, NaN off the map."""
        y, x, inside = self._pixels(ra_deg, dec_deg)
        plane, found = Plane.open(find_part(self.folder, PUBLIC) / RMS, 1), np.full(len(y), np.nan)
        for window in bands(self.about.shape, BAND_ROWS):
            here = np.flatnonzero(inside & (y >= window.y0) & (y < window.y1))
            if len(here):
                found[here] = plane.read(window)[y[here] - window.y0, x[here]]
        return found

    def _pixels(
        self, ra_deg: Floats, dec_deg: Floats
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
        places = np.stack(self.field.pixel_of(ra_deg, dec_deg))
        known = np.isfinite(places).all(axis=0)
        y, x = np.rint(np.where(known, places, -1)).astype(np.int64)
        return y, x, known & (y >= 0) & (y < self.about.shape[0]) & (x >= 0) & (x < self.about.shape[1])

    def score(self, path: Path, options: "Options | None" = None) -> dict[str, Any]:
        """Return the document of a catalogue, of an image of labels, or of COCO's JSON.

        Raises
        ------
        ConfigError
            The file cannot be used; the message names it.
        """
        given = options or Options()
        head = {"format": FORMAT, "name": score_name(path), "astro_dist": __version__, **self.identity}
        with unpacked(path) as plain:
            if is_labels(plain):
                with unpacked(given.instances) as numbers:
                    return {**head, "kind": LABELS, "segmentation": self.score_labels(plain, numbers)}
            if given.instances is not None:
                raise ConfigError(
                    f"{path}: --instances belongs to an image of classes, and this is a catalogue"
                )
            found = read_submission(plain, given.columns)
        return {**head, "kind": CATALOGUE, **self.score_catalogue(found, given.beam_arcsec)}

    def score_catalogue(self, found: Submission, beam_arcsec: float | None = None) -> dict[str, Any]:
        """Return the figures of a catalogue."""
        beam = self.about.beam
        table = found.as_sdc1(LEAST_BEAM_SHARE * beam.minor_arcsec)
        true = sdc1_table(self.truth, beam)
        width = beam.major_arcsec if beam_arcsec is None else beam_arcsec
        scores = {
            "core": score_sdc1(table, true, Sdc1Rules(width, "core"), self.counts),
            "centroid": score_sdc1(table, true, Sdc1Rules(width, "cent"), self.counts),
        }
        columns = found.columns
        counts = self.counts(columns["ra_deg"], columns["dec_deg"])
        figures = measure_detection(
            columns,
            self.truth,
            match(columns, self.truth, beam.major_arcsec),
            counts,
            self.counts(self.truth["ra_deg"], self.truth["dec_deg"]),
            self.rms_at(columns["ra_deg"], columns["dec_deg"]),
        )
        sdc1 = {"beam_arcsec": width, **{name: _document(score) for name, score in scores.items()}}
        return {"notes": list(found.notes), "sdc1": sdc1, "detection": figures}

    def score_labels(self, path: Path, instances: Path | None) -> dict[str, Any]:
        """Return the figures of a mask."""
        if path.suffix.lower() == ".json":
            found = LabelledPixels.of_coco(path, self.about)
        else:
            found = LabelledPixels.of_images(path, instances, self.about)
        hidden = self.folder / HIDDEN
        truth = LabelledPixels.of_images(hidden / MASK, hidden / INSTANCES, self.about)
        scored = self.scored.reshape(-1)
        return measure_segmentation(*(one.within(scored[one.flat]) for one in (found, truth)))

    def cut(self, y: float, x: float, half_pix: int) -> tuple[Window, NDArray[np.float32]]:
        """Return a square window of the map round a place, and its pixels, NaN beyond the map."""
        row, column = round(y), round(x)
        window = Window(row - half_pix, row + half_pix + 1, column - half_pix, column + half_pix + 1)
        image = np.full(window.shape, np.nan, np.float32)
        if (part := window & Window.of_shape(self.about.shape)) is not None:
            image[part.within(window)] = self.field.read(part)
        return window, image


def _document(score: Sdc1Score) -> dict[str, Any]:
    return {
        "score": score.value,
        **{name: getattr(score, name) for name in ("n_det", "n_match", "n_bad", "n_false")},
        "accuracy": score.accuracy,
        "parts": {n: float(np.nansum(part)) / max(1, len(part)) for n, part in score.parts.items()},
    }
