"""A field of a run as a data challenge: a part for everybody, and the hidden truth in a folder of its own.

The public part holds nothing that the field could be made again from: no seed, no settings, no numbers of
stamps, no HISTORY, no digests of the run. It is made of parts, which write files of their own and may be
written in any order, and of papers that list those files. The same run and settings give the same bytes.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from astro_dist.challenge import strips, tiles
from astro_dist.challenge.about import write_manifest
from astro_dist.challenge.annotations import Annotations, cut_tiles
from astro_dist.challenge.area import RealSources, score_mask
from astro_dist.challenge.config import ChallengeConfig, seed_notes
from astro_dist.challenge.names import (
    ABOUT,
    COCO,
    HIDDEN,
    HIDDEN_COLUMNS,
    INSTANCES,
    MAP,
    MASK,
    OPEN,
    PSF,
    PUBLIC,
    RMS,
    SCORE_MASK,
    SCORED,
    TILES,
    TRAINING,
    VIEWER,
    refuse_inside_file,
)
from astro_dist.challenge.origins import find_origins
from astro_dist.challenge.packing import Packing, Rows, field_seed
from astro_dist.challenge.papers import write_metadata, write_papers
from astro_dist.challenge.strips import HIPS, HIPS_BYTES_PER_PIXEL, HIPS_FREE_BYTES
from astro_dist.challenge.truth import open_rows, write_catalogues
from astro_dist.challenge.viewer import (
    BRIGHTNESS,
    DATA,
    LABELS,
    PAGE,
    write_hidden_viewer,
    write_public_viewer,
    write_tiles,
)
from astro_dist.engine.errors import ConfigError
from astro_dist.engine.files import publish_bytes, publish_json, publish_new_folder, require_space
from astro_dist.field.config import AssembleConfig
from astro_dist.sky.fits_file import BandedImage, create_banded, seal_banded, write_rows
from astro_dist.sky.fits_packed import write_packed
from astro_dist.sky.hips import write_hips
from astro_dist.sky.windows import Window, bands

FREE_BYTES = 1_000_000


def pack(packing: Packing, out: Path, *, public_only: bool = False) -> None:
    """Write a package.

    Parameters
    ----------
    out
        A folder that does not exist yet; ``public`` and ``hidden`` come into it.
    public_only
        Leave the hidden part out. The public one has the same bytes as with it.

    Raises
    ------
    ConfigError
        The folder exists, or the disk is too small.
    """
    refuse_taken(out)
    require_space(_existing(out), sum(announce(packing).values()))
    with publish_new_folder(out) as folder:
        for part in find_parts(packing.field.shape, packing.config).values():
            if not (public_only and part.is_hidden):
                part.write(packing, folder)
        finish(packing, folder)


def find_notes(packing: Packing) -> list[str]:
    """Return sentences on what of the hidden truth could be guessed."""
    notes = list(seed_notes(field_seed(packing.run)))
    shared = packing.shares_object()[packing.truth["area"] == SCORED]
    if shared.any():
        notes.append(
            f"{shared.sum()} of {len(shared)} scored sources share a drawn object with an open one, turned, "
            "resized and at another flux: whoever recognises it has the ratio of its axes; "
            "set assemble.reuse to 1 against that"
        )
    return notes


def refuse_taken(out: Path) -> None:
    """Raise `ConfigError` where something has the name of the package already."""
    if out.exists() or out.is_symlink():
        raise ConfigError(f"{out} exists already; name another folder with --out, or move it away")
    refuse_inside_file(out)


def _existing(path: Path) -> Path:
    return next(folder for folder in path.absolute().parents if folder.is_dir())


def announce(packing: Packing) -> dict[str, int]:
    """Return ``{file: bytes}`` of what a package will hold, upper bounds where files are compressed."""
    ny, nx = packing.field.shape
    n, box = len(packing.truth["id"]), packing.about.areas.training
    opened = int((packing.truth["area"] == OPEN).sum())
    row = 2200  # bytes of a row in all forms of the truth together
    tiles = HIPS_BYTES_PER_PIXEL * ny * nx + HIPS_FREE_BYTES
    return {
        f"{PUBLIC}/{MAP}": 4 * ny * nx,
        f"{PUBLIC}/{RMS}, {SCORE_MASK}": ny * nx // 40,
        f"{PUBLIC}/{TRAINING}/": 5 * box.height * box.width + (row + 400) * opened,
        f"{PUBLIC}/{VIEWER}/": ny * nx + 250 * opened + FREE_BYTES,
        f"{PUBLIC}, other files": FREE_BYTES,
        **({f"{PUBLIC}/{TILES}/": tiles} if packing.config.hips else {}),
        f"{HIDDEN}/truth.*": row * n,
        f"{HIDDEN}/{MASK}, {INSTANCES}, {COCO}": ny * nx // 20 + 400 * n,
        f"{HIDDEN}/{VIEWER}/": ny * nx // 20 + 300 * n + FREE_BYTES,
    }


def finish(packing: Packing, folder: Path) -> None:
    """Write what follows from the files of all parts: papers, metadata and the manifests."""
    public, hidden = folder / PUBLIC, folder / HIDDEN
    publish_json(public / ABOUT, packing.about.document())
    origins = find_origins(packing.run.root)
    write_papers(public, packing.about, origins, packing.columns)
    kinds = {name: packing.truth[name].dtype.kind for name in packing.columns}
    write_metadata(public, packing.about, origins, packing.columns, kinds)
    write_manifest(public)
    if not hidden.is_dir():
        return
    published = packing.run.ledger.all_published()
    facts: dict[str, Any] = {"run": packing.run.name, "seed": field_seed(packing.run)}
    if (field := published.get("assemble")) is not None:
        facts["assemble"] = field.fingerprint
    publish_json(hidden / "run.json", facts)
    write_manifest(hidden)


def write_public_map(packing: Packing, folder: Path) -> None:
    """Write the map."""
    _write_map(packing, folder / PUBLIC / MAP, Window.of_shape(packing.field.shape))


def write_rms(packing: Packing, folder: Path) -> None:
    """Write the local noise."""
    whole, header = Window.of_shape(packing.field.shape), packing.header("Jy/beam", "f4", "local rms")
    _pack_image(folder / PUBLIC / RMS, header, whole, "f4", packing.rms_rows())


def write_psf(packing: Packing, folder: Path) -> None:
    """Write the beam as an image with a peak of 1, out to three of its widths."""
    field = packing.field
    narrow = min(abs(field.pixel.dy_arcsec), abs(field.pixel.dx_arcsec))
    half = math.ceil(3 * field.beam.major_arcsec / narrow)
    offset = np.arange(-half, half + 1)
    image = field.beam.profile(offset[:, None], offset[None, :], field.pixel).astype(np.float32)
    # In the middle of the map, as far as it is larger.
    y, x = (max(0, (n - side) // 2) for n, side in zip(field.shape, image.shape, strict=True))
    window = Window.of_shape(image.shape).shifted(y, x)
    header = packing.header("", "f4", "beam, 1 at its peak", window)
    _pack_image(folder / PUBLIC / PSF, header, window, "f4", iter([(window, image)]))


def write_tiles_of_sky(packing: Packing, folder: Path) -> None:
    """Write the map as HiPS tiles with its coverage, see `astro_dist.sky.hips`."""
    name = packing.about.name
    properties = {"obs_title": name, "creator_did": f"ivo://astro_dist/{quote(name, safe='')}"}
    write_hips(packing.field, packing.read_map, folder / PUBLIC / TILES, properties)


def write_score_mask(packing: Packing, folder: Path) -> None:
    """Write where sources are scored."""
    field, config = packing.field, packing.config
    whole, header = Window.of_shape(field.shape), packing.header("", "u1", "0 where sources are scored")
    keep = packing.run.section(AssembleConfig).background.islands == "keep"
    real = RealSources.read(packing.folder, field, config, keep)
    # Rounded first: a width of 4 pixels may come out as a little more.
    edge = math.ceil(round(config.edge_beams * field.beam.fwhm_pix(field.pixel), 6))
    mask = score_mask(field, packing.about.areas, edge, real)
    _pack_image(folder / PUBLIC / SCORE_MASK, header, whole, "u1", mask)


def write_hidden_truth(packing: Packing, folder: Path) -> None:
    """Write the truth of the whole field."""
    columns = {**HIDDEN_COLUMNS, **packing.columns}
    write_catalogues(folder / HIDDEN, packing.truth, columns, packing.field.beam)


def write_hidden_labels(packing: Packing, folder: Path) -> None:
    """Write mask, instances and annotations of the whole field."""
    _write_labels(packing, folder / HIDDEN, Window.of_shape(packing.field.shape))


def write_training(packing: Packing, folder: Path) -> None:
    """Write the open area with its truth."""
    folder, window = folder / PUBLIC / TRAINING, packing.about.areas.training
    _write_map(packing, folder / MAP, window)
    _write_labels(packing, folder, window)
    opened = open_rows(packing.truth, OPEN, packing.columns)
    write_catalogues(folder, opened, packing.columns, packing.field.beam)


def _write_map(packing: Packing, path: Path, window: Window) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = BandedImage(packing.header("Jy/beam", "f4", "brightness", window), window.shape, "f4")
    create_banded(path, image)
    done = {
        f"{band.y0}": write_rows(path, band.y0 - window.y0, rows) for band, rows in packing.map_rows(window)
    }
    seal_banded(path, image, done)


def _pack_image(path: Path, header: Any, window: Window, dtype: str, rows: Rows) -> None:
    write_packed(path, header, window.shape, dtype, (some for _, some in rows))


def _write_labels(packing: Packing, folder: Path, window: Window) -> None:
    """Write mask, instances and annotations of a window."""
    header = packing.header("", "u1", "class of each pixel", window)
    _pack_image(folder / MASK, header, window, "u1", packing.mask_rows(window))
    header = packing.header("", "i4", "number of the source of each pixel, 0 where none", window)
    _pack_image(folder / INSTANCES, header, window, "i4", packing.instance_rows(window))
    classes = dict(zip(packing.truth["id"].tolist(), packing.truth["class"].tolist(), strict=True))
    found = Annotations(classes)
    for rows in bands(window.shape, packing.config.tile_pix):
        strip = rows.shifted(window.y0, window.x0)
        mask = np.concatenate([some for _, some in packing.mask_rows(strip)])
        instances = np.concatenate([some for _, some in packing.instance_rows(strip)])
        for tile in cut_tiles(strip, packing.config.tile_pix):
            found.add(tile, mask[tile.within(strip)], instances[tile.within(strip)])
    publish_json(folder / COCO, found.document(packing.about.name))


TEMPLATE = (
    *("id", "ra_deg", "dec_deg", "ra_peak_deg", "dec_peak_deg", "flux_jy", "core_fraction"),
    *("intrinsic_major_arcsec", "intrinsic_minor_arcsec", "intrinsic_pa_deg", "population", "class"),
)
"""Columns of a catalogue that is handed in."""


def write_submission(packing: Packing, folder: Path) -> None:
    """Write a catalogue with three sources of the open area, and the tiles without annotations."""
    folder = folder / PUBLIC / "submission"
    opened = open_rows(packing.truth, OPEN)
    brightest = np.argsort(-opened["flux_jy"], kind="stable")[:3]
    rows = [",".join(str(opened[name][row].item()) for name in TEMPLATE) for row in brightest]
    publish_bytes(folder / "template.csv", "\n".join([",".join(TEMPLATE), *rows, ""]).encode())
    tiles = cut_tiles(Window.of_shape(packing.field.shape), packing.config.tile_pix)
    empty = Annotations({})
    for tile in tiles:
        empty.image(tile)
    publish_json(folder / "tiles.json", empty.document(packing.about.name))


@dataclass(frozen=True)
class Part:
    """A part of a package: ``write(packing, folder)``, and patterns of the files that it writes."""

    write: Callable[[Packing, Path], None]
    files: tuple[str, ...]

    def written(self, folder: Path) -> list[Path]:
        """Return its files below the folder of the package."""
        found = (path for pattern in self.files for path in folder.glob(pattern))
        return sorted(path for path in found if path.is_file())

    @property
    def is_hidden(self) -> bool:
        """Return whether the part is for the organisers alone."""
        return self.files[0].startswith(HIDDEN)


_PARTS: Mapping[str, Part] = {
    "map": Part(write_public_map, (f"{PUBLIC}/{MAP}",)),
    "rms": Part(write_rms, (f"{PUBLIC}/{RMS}",)),
    "psf": Part(write_psf, (f"{PUBLIC}/{PSF}",)),
    "score_mask": Part(write_score_mask, (f"{PUBLIC}/{SCORE_MASK}",)),
    "training": Part(write_training, (f"{PUBLIC}/{TRAINING}/*",)),
    "submission": Part(write_submission, (f"{PUBLIC}/submission/*",)),
    "viewer": Part(
        write_public_viewer,
        (
            *(f"{PUBLIC}/{VIEWER}/{name}" for name in (*PAGE, *DATA, f"{LABELS}/*/*.js")),
            f"{PUBLIC}/{VIEWER}/{BRIGHTNESS}/[{strips.FINE + 1}-9]/*.js",
        ),
    ),
    "hidden_truth": Part(write_hidden_truth, (f"{HIDDEN}/truth*",)),
    "hidden_labels": Part(write_hidden_labels, tuple(f"{HIDDEN}/{name}" for name in (MASK, INSTANCES, COCO))),
    "hidden_viewer": Part(
        write_hidden_viewer, tuple(f"{HIDDEN}/{VIEWER}/{name}" for name in ("*", f"{LABELS}/*/*.js"))
    ),
}


def find_parts(shape: tuple[int, int], config: ChallengeConfig) -> Mapping[str, Part]:
    """Return what the package of a field of some shape is made of."""
    hips = {HIPS: Part(write_tiles_of_sky, (f"{PUBLIC}/{TILES}/**/*",))} if config.hips else {}
    return {**_PARTS, **hips, **{name: _tiles_of(strip) for name, strip in strips.divide(shape).items()}}


def _tiles_of(strip: Window) -> Part:
    folder = f"{PUBLIC}/{VIEWER}/{BRIGHTNESS}"
    return Part(
        partial(write_tiles, strip=strip), tuple(f"{folder}/{name}" for name in tiles.strip_files(strip))
    )
