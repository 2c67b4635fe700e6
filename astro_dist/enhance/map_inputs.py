"""The FITS images that are enhanced, what is measured of each before, and the files that are made of it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from astro_dist import __version__
from astro_dist.engine.arrays import AnyImage, Image
from astro_dist.engine.errors import ConfigError
from astro_dist.engine.work import Results, Run
from astro_dist.enhance.chain_config import ChainConfig
from astro_dist.enhance.inventions import NO_BEAM_PIX
from astro_dist.enhance.tiles import BICUBIC, MORE_SAMPLES, NO_DATA, OTHER_BEAM, REPEATED, UNLIKE, Source
from astro_dist.sky.background import build_mesh, cell_size, measure_cells
from astro_dist.sky.config import FilesConfig, MapsConfig, SurveyConfig
from astro_dist.sky.doubled import double_header, drop_axes
from astro_dist.sky.files import find_files, find_maps
from astro_dist.sky.fits_file import BandedImage
from astro_dist.sky.map_files import UNPACKED, own_names
from astro_dist.sky.mesh import Mesh
from astro_dist.sky.sky_image import SkyImage
from astro_dist.sky.windows import Window, bands

MESH_FWHM, LEAST_CELL_PIX = 20.0, 64
"""Side of the cells in which background and noise are measured: beam widths, and pixels at least."""
LOOK_PIX = 4_000_000
"""Pixels that are looked at in one task."""
LARGEST = 1e17
"""Largest brightness: float32 still holds sums of squares of it."""
LOOKS = "looks"
"""Folder of scratch files."""
WAYS = {
    "mean": "mean of {} samples of a network",
    "expected": "what a network expects, the mean of {} first calls",
}
"""What HISTORY says of each ``enhance.estimate``."""
FLAG_TEXT = (
    f"bits: {NO_DATA} no data, {MORE_SAMPLES} mean of more samples, {BICUBIC} projected bicubic, "
    f"{REPEATED} pixels of the input repeated, {UNLIKE} unlike the training, {OTHER_BEAM} beam unlike it"
)


@dataclass(frozen=True)
class Inputs:
    """The images that can be read, and those that cannot with the reason."""

    images: tuple[SkyImage, ...]
    refused: dict[str, str]


def find_paths(run: Run) -> dict[Path, FilesConfig]:
    """Return the FITS files of the user that are to be enhanced, each with what is said of it.

    There are none where the run's own maps are enhanced.
    """
    config = run.section(ChainConfig)
    if config.files:
        said = FilesConfig(files=config.files, hdu=config.hdu)
        return dict.fromkeys(find_files(said, "enhance.files"), said)
    if "maps" not in run.settings.sections or not (maps := run.section(MapsConfig)).files:
        return {}
    own = {} if config.hdu is None else {"hdu": config.hdu}
    return {path: survey.model_copy(update=own) for path, survey in find_maps(maps)}


def refuse_alike(run: Run, with_network: bool) -> None:
    """Refuse images of which one has the name of a file that is made beside another."""
    named = {name: path for path, name in own_names(list(find_paths(run))).items()}
    for name, path in named.items():
        for ending in endings_of(run.section(ChainConfig), with_network):
            if (other := named.get(f"{name}{ending}")) is not None and other != path:
                raise ConfigError(
                    f"{name}{ending}.fits would be made twice, of {other} and beside what is made of {path}; "
                    "leave one out (of results of an earlier run name the images alone), or rename it"
                )


def of_files(run: Run) -> bool:
    """Return whether FITS files are enhanced, not the pictures of a store."""
    return bool(run.section(ChainConfig).files) or "maps" in run.settings.sections


def open_inputs(run: Run) -> Inputs:
    """Open the images; one of several that cannot be opened is left out, with its reason.

    Raises
    ------
    ConfigError
        None can be opened.
    """
    paths = find_paths(run)
    if not paths:
        folder = run.product("maps")
        paths = {folder / name: FilesConfig() for name in run.facts("simulate").get("maps", [])}
    ages = tuple(
        (path, said, path.stat().st_mtime_ns if path.exists() else 0) for path, said in paths.items()
    )
    inputs = _open_once(ages, run.root / UNPACKED)
    if paths and not inputs.images:
        reasons = list(inputs.refused.values())
        more = f" (and {len(reasons) - 1} more files)" if len(reasons) > 1 else ""
        raise ConfigError(reasons[0] + more)
    return inputs


@lru_cache(maxsize=16)
def _open_once(ages: tuple[tuple[Path, FilesConfig, int], ...], unpacked_in: Path) -> Inputs:
    images, refused = [], {}
    names = own_names([path for path, *_ in ages])
    for path, said, _ in ages:
        try:
            images.append(replace(SkyImage.open(path, said, unpacked_in), name=names[path]))
        except ConfigError as error:
            own = isinstance(said, SurveyConfig)
            refused[names[path]] = str(error) if own else str(error).replace("maps.hdu", "enhance.hdu")
    return Inputs(tuple(images), refused)


def cell_pix(image: SkyImage, config: ChainConfig) -> int:
    """Return the side of the cells in which background and noise are measured."""
    fwhm_pix = config.fwhm_pix or image.fwhm_pix or NO_BEAM_PIX
    return cell_size(image.shape, fwhm_pix, MESH_FWHM, LEAST_CELL_PIX)


def look_windows(image: SkyImage, config: ChainConfig) -> list[Window]:
    """Return bands of whole cells, one for each task that looks at an image."""
    cell = cell_pix(image, config)
    return bands(image.shape, cell * max(1, LOOK_PIX // (cell * image.shape[1] * image.planes)))


def measure_nodes(pixels_Phw: AnyImage, cell: int) -> Image:
    """Return background and rms of rows of cells, (planes, 2, rows, columns), NaN = not measured.

    Models of the sky are zero nearly everywhere: where no cell has noise the spread stands for it.
    """
    planes = np.asarray(pixels_Phw, np.float32)
    nodes = [[measure_cells(p[y : y + cell], cell) for y in range(0, len(p), cell)] for p in planes]
    stack = np.array(nodes, np.float32).transpose(0, 2, 1, 3)
    if np.isnan(stack[:, 1]).all() and np.isfinite(planes).any():
        stack[:, 0], stack[:, 1] = (
            np.nanmedian(pixels_Phw),
            np.nanstd(pixels_Phw.astype(np.float64)) or np.nan,
        )
    return stack


def look_file(number: int, index: int) -> str:
    """Return the name of the scratch file with what a task measured, from the output on."""
    return f"{LOOKS}/{number:05}-{index:05}.npy"


def load_meshes(run: Run, number: int, image: SkyImage) -> list[Mesh]:
    """Return background and noise of each plane of an image, as the tasks measured them."""
    config = run.section(ChainConfig)
    count = len(look_windows(image, config))
    parts = [np.load(run.output / look_file(number, i), allow_pickle=False) for i in range(count)]
    return build_meshes(np.concatenate(parts, 2), image.shape, cell_pix(image, config), image.name)


def build_meshes(nodes: Image, shape: tuple[int, int], cell: int, name: str) -> list[Mesh]:
    """Return background and noise of each plane, from what `measure_nodes` found in all its rows."""
    names = [name if len(nodes) == 1 else f"{name}, plane {i + 1}" for i in range(len(nodes))]
    return [build_mesh(shape, cell, plane[0], plane[1], one) for plane, one in zip(nodes, names, strict=True)]


def read_source(read: Callable[[Window], AnyImage], meshes: list[Mesh], around: Window) -> Source:
    """Return the pixels of a window with background and noise."""
    background, rms = (
        np.stack(part) for part in zip(*(mesh.evaluate(around) for mesh in meshes), strict=True)
    )
    return Source(read(around), background, rms, around)


def why_useless(image: SkyImage, config: ChainConfig, number: int, results: Results) -> str | None:
    """Return why an image that was looked at cannot be enhanced, None where it can."""
    looks = [results[f"look-{number:05}-{i:05}"] for i in range(len(look_windows(image, config)))]
    return fault_of(image, looks)


def range_of(pixels: AnyImage) -> dict[str, Any]:
    """Return how many pixels hold data, and their range."""
    known = pixels[np.isfinite(pixels)]
    if not len(known):
        return {"pixels": 0, "low": 0.0, "high": 0.0}
    return {"pixels": len(known), "low": float(known.min()), "high": float(known.max())}


def fault_of(image: SkyImage, looks: Sequence[Mapping[str, Any]]) -> str | None:
    """Return why an image cannot be enhanced by what `range_of` found in its parts; None where it can."""
    if broken := [look["fault"] for look in looks if look.get("fault")]:
        return str(broken[0])
    known = [look for look in looks if look["pixels"]]
    if not known:
        return f"{image.path}: no pixel holds data, all are NaN; leave it out or give another"
    if min(look["low"] for look in known) == max(look["high"] for look in known):
        return f"{image.path}: all its pixels are {known[0]['low'] + 0.0:g}; leave it out or give another"
    return None


def too_large(image: SkyImage) -> str:
    """Return what is said of an image with values beyond `LARGEST`."""
    return f"{image.path}: it holds values beyond {LARGEST:g}; divide it, and change BUNIT with it"


def kept_of(image: SkyImage, config: ChainConfig) -> Literal["mean", "sum"]:
    """Return what of 2 x 2 new pixels is the old one."""
    return image.kept if config.flux == "auto" else config.flux


def endings_of(config: ChainConfig, with_network: bool) -> list[str]:
    """Return what follows the name of an image, before ``.fits``, in the name of every file made of it."""
    samples = [f"-sample-{i:02}" for i in range(config.keep_samples)]
    return ["", "-flags", *(["-uncertainty", *samples] if with_network else [])]


def layers_of(config: ChainConfig, image: SkyImage, with_network: bool) -> Iterator[tuple[str, BandedImage]]:
    """Yield name and layout of every file that is made of an image."""
    ny, nx = image.shape
    axes = (*image.axes[:-2], 2 * ny, 2 * nx)
    unit = image.unit or "not stated"
    kept = {
        "mean": f"each 2 x 2 block of pixels has the pixel of the input as its mean (unit {unit})",
        "sum": f"each 2 x 2 block of pixels has the pixel of the input as its sum (unit {unit})",
    }[kept_of(image, config)]
    way = WAYS[config.estimate].format(config.samples) if with_network else "bicubic enlargement"
    history = [
        f"astro_dist {__version__}: pixels halved, {way}; {kept}",
        "The coordinates follow; beam or PSF and unit are those of the input: nothing is sharper than it was",
    ]
    header = double_header(image.header, history)
    yield f"{image.name}.fits", BandedImage(header, axes, image.dtype)
    plain = header.copy() if len(axes) == 2 else drop_axes(header)
    for key in ("BUNIT", "BTYPE"):
        plain.remove(key, ignore_missing=True)
    plain.add_history(FLAG_TEXT)
    yield f"{image.name}-flags.fits", BandedImage(plain, (2 * ny, 2 * nx), "u1")
    if with_network:
        error = header.copy()
        error.add_history("One standard deviation, so scaled that it holds 68 % of held-out pixels")
        yield f"{image.name}-uncertainty.fits", BandedImage(error, axes, "f4")
        for i in range(config.keep_samples):
            sample = header.copy()
            sample.add_history(f"Here sample {i} of the network alone")
            yield f"{image.name}-sample-{i:02}.fits", BandedImage(sample, axes, "f4")


def describe(image: SkyImage, config: ChainConfig) -> dict[str, Any]:
    """Return what the facts say of an image."""
    return {"file": image.path.name, "shape": list(image.shape), "kept": kept_of(image, config)}
