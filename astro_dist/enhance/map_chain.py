"""The stage `enhance` for FITS images: looks for noise and range first, then a task for each band of rows."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.errors import QUARANTINED, ConfigError, DataError, IntegrityError
from astro_dist.engine.files import publish_bytes, sha256_file
from astro_dist.engine.ledger import Result
from astro_dist.engine.stopping import check_stop
from astro_dist.engine.work import Results, Run, Task
from astro_dist.enhance.calibration import Calibration
from astro_dist.enhance.chain_config import ChainConfig
from astro_dist.enhance.inventions import Judge, say_invented
from astro_dist.enhance.likeness import Likeness
from astro_dist.enhance.map_checks import (
    CALIBRATE,
    CALIBRATION,
    MOST_LOOKED,
    calibrate_network,
    mark_unlike,
    measure_windows,
    scale_spread,
    why_other_beam,
    why_unlike,
)
from astro_dist.enhance.map_inputs import (
    LARGEST,
    Inputs,
    cell_pix,
    describe,
    kept_of,
    layers_of,
    load_meshes,
    look_file,
    look_windows,
    measure_nodes,
    open_inputs,
    range_of,
    read_source,
    too_large,
    why_useless,
)
from astro_dist.enhance.projection import halve_mean
from astro_dist.enhance.tiles import OTHER_BEAM, Tile, TileMaker
from astro_dist.models.device import choose_device, pin
from astro_dist.sky.fits_file import BandedImage, create_banded, seal_all, write_rows
from astro_dist.sky.mesh import Mesh
from astro_dist.sky.sky_image import SkyImage
from astro_dist.sky.windows import Window, bands

MEAN_ERROR = 1e-6
"""Largest difference of a 2 x 2 mean from the input, of the input's peak."""


@dataclass
class MapState:
    """What a worker keeps: the settings, the images, and the network where there is one."""

    run: Run
    config: ChainConfig
    inputs: Inputs
    network: Any = None
    meshes: dict[int, list[Mesh]] = field(default_factory=dict)

    @classmethod
    def open(cls, run: Run) -> "MapState":
        """Open the images, and the network where the chain has one."""
        config = run.section(ChainConfig)
        if not with_network(run):
            return cls(run, config, open_inputs(run))
        # Torch, which only networks need.
        from astro_dist.enhance.links import open_superres

        pin(config.threads)
        network = open_superres(run, choose_device(run))
        return cls(run, config, open_inputs(run), network)

    def maker(self, image: SkyImage) -> TileMaker:
        """Return what makes the tiles of an image."""
        return self.plain_maker(self.config.fwhm_pix or image.fwhm_pix)

    def plain_maker(self, fwhm_pix: float | None) -> TileMaker:
        """Return what makes the tiles of an image with such a beam."""
        config = self.config
        judge = Judge(config.source_sigma, config.input_sigma, fwhm_pix)
        if self.network is None:
            return TileMaker(judge)
        numbers = config.samples, config.most_samples, config.keep_samples
        stretch = self.network.network.config.stretch
        return TileMaker(judge, self.network, stretch, *numbers, config.estimate)

    def check(self) -> "tuple[Calibration, Likeness | None]":
        """Return how uncertainties are scaled and what is unlike the training, as task `CALIBRATE` found."""
        found = json.loads((self.run.output / CALIBRATION).read_text())
        like = found["likeness"]
        return Calibration.from_json(found["calibration"]), Likeness.from_json(like) if like else None


def plan(run: Run, results: Results) -> list[Task]:
    """Return the tasks that look at the images, and once these are done one for each band of rows."""
    config, images = run.section(ChainConfig), open_inputs(run).images
    first = [Task(CALIBRATE)] if with_network(run) else []
    if first and CALIBRATE not in results:
        return first
    looks = first + [
        Task(f"look-{n:05}-{i:05}", {"image": n, "index": i, "y0": w.y0, "y1": w.y1})
        for n, image in enumerate(images)
        for i, w in enumerate(look_windows(image, config))
    ]
    if any(task.name not in results for task in looks):
        return looks
    reasons = _why_refused(run, images, results)
    if images and all(reasons):
        raise ConfigError(str(reasons[0]))
    return looks + [
        Task(f"band-{n:05}-{i:05}", {"image": n, "y0": w.y0, "y1": w.y1})
        for n, image in enumerate(images)
        if not reasons[n]
        for i, w in enumerate(bands(image.shape, config.band_rows))
    ]


def _why_refused(run: Run, images: tuple[SkyImage, ...], results: Results) -> list[str | None]:
    """Return for each image why it is not enhanced, by what was measured of it; None where it is."""
    config = run.section(ChainConfig)
    reasons = [why_useless(image, config, n, results) for n, image in enumerate(images)]
    if config.unlike == "refuse" and with_network(run):
        reasons = [reasons[n] or why_other_beam(run, image, config) for n, image in enumerate(images)]
        reasons = [reasons[n] or why_unlike(image, n, results) for n, image in enumerate(images)]
    return reasons


def with_network(run: Run) -> bool:
    """Return whether a network doubles the maps."""
    return "superres" in run.section(ChainConfig).chain


def prepare(run: Run) -> None:
    """Create the files of all images, empty but with their headers."""
    (run.output / "looks").mkdir(parents=True, exist_ok=True)
    for name, image in _all_layers(run, open_inputs(run).images):
        create_banded(run.output / name, image)


def _all_layers(run: Run, images: tuple[SkyImage, ...]) -> Iterator[tuple[str, BandedImage]]:
    for image in images:
        yield from layers_of(run.section(ChainConfig), image, with_network(run))


def run_task(state: MapState, task: Task) -> Result:
    """Do one task of `plan`."""
    if task.name == CALIBRATE:
        return calibrate_network(state.run, state.plain_maker(None))
    image = state.inputs.images[task.args["image"]]
    window = Window(task.args["y0"], task.args["y1"], 0, image.shape[1])
    if task.name.startswith("look-"):
        return look(state, image, window, look_file(task.args["image"], task.args["index"]))
    return make_band(state, task.args["image"], window, task.name)


def look(state: MapState, image: SkyImage, window: Window, name: str) -> Result:
    """Measure background and noise of rows, and their range; an unreadable band is a fault of its image."""
    fault = ""
    try:
        pixels = image.read(window)
    except DataError as error:
        fault, pixels = str(error), np.full((image.planes, *window.shape), np.nan, np.float32)
    if np.nanmax(np.abs(pixels), initial=0) > LARGEST:
        fault = too_large(image)
        pixels = np.full_like(pixels, np.nan)
    stack = measure_nodes(pixels, cell_pix(image, state.config))
    path = state.run.output / name
    publish_bytes(path, _npy(stack))
    facts = {**range_of(pixels), "fault": fault, "sha256": {name: sha256_file(path)}}
    if state.network is not None and (like := state.check()[1]) is not None:
        facts["distances"] = [d for d, _ in measure_windows(like, pixels, MOST_LOOKED) if np.isfinite(d)]
        facts["limit"] = like.limit
    return facts


def _npy(array: NDArray[Any]) -> bytes:
    import io

    handle = io.BytesIO()
    np.save(handle, array, allow_pickle=False)
    return handle.getvalue()


def make_band(state: MapState, number: int, window: Window, name: str) -> Result:
    """Make the tiles of a band of one image and write its rows of every file."""
    image, config = state.inputs.images[number], state.config
    if number not in state.meshes:
        state.meshes[number] = load_meshes(state.run, number, image)
    maker = state.maker(image)
    layers = _empty_layers(state, image, window)
    scaled, like = (None, None) if state.network is None else state.check()
    invented, check = list[dict[str, Any]](), _Check()
    factor = {"mean": 1.0, "sum": 0.25}[kept_of(image, config)]
    other_beam = state.network is not None and why_other_beam(state.run, image, config) is not None
    for x0 in range(0, image.shape[1], config.tile_pix):
        check_stop()
        core = Window(window.y0, window.y1, x0, min(x0 + config.tile_pix, image.shape[1]))
        around = core.grown(maker.halo_pix) & Window.of_shape(image.shape)
        assert around is not None
        source = read_source(image.read, state.meshes[number], around)
        tile = maker.make(source, core)
        if scaled is not None:
            scale_spread(tile, source, core, scaled)
        invented += [{"file": image.name, **one} for one in tile.invented]
        state.run.progress(name, core.x1, image.shape[1])
        given = source.image_Phw[(slice(None), *core.within(source.window))]
        if like is not None:
            mark_unlike(tile, like, given)
        if other_beam:
            tile.flags_HW |= OTHER_BEAM
        _put(layers, image.name, tile, core, factor)
        check.add(layers[f"{image.name}.fits"][(slice(None), *_columns(core))], given, factor)
    ranges = {file: _write(state.run.output / file, window, image, rows) for file, rows in layers.items()}
    return {"image": number, "ranges": ranges, "invented": invented, **check.facts()}


def _empty_layers(state: MapState, image: SkyImage, window: Window) -> dict[str, NDArray[Any]]:
    layers = {}
    for name, layer in layers_of(state.config, image, state.network is not None):
        planes = layer.rows // (2 * image.shape[0])
        layers[name] = np.zeros((planes, 2 * window.height, 2 * window.width), layer.dtype)
    return layers


def _columns(core: Window) -> tuple[slice, slice]:
    return slice(None), slice(2 * core.x0, 2 * core.x1)


def _put(layers: dict[str, NDArray[Any]], name: str, tile: Tile, core: Window, factor: float) -> None:
    """Put a tile into the rows of its band; only here values become those of smaller pixels."""
    place = (slice(None), *_columns(core))
    layers[f"{name}.fits"][place] = factor * tile.image_PHW
    layers[f"{name}-flags.fits"][place] = tile.flags_HW
    if tile.spread_PHW is not None:
        layers[f"{name}-uncertainty.fits"][place] = factor * tile.spread_PHW
    for i, sample in enumerate(tile.samples_NPHW):
        layers[f"{name}-sample-{i:02}.fits"][place] = factor * sample


def _write(path: Path, window: Window, image: SkyImage, layer: NDArray[Any]) -> list[dict[str, int]]:
    ny = 2 * image.shape[0]
    return [write_rows(path, p * ny + 2 * window.y0, rows) for p, rows in enumerate(layer)]


class _Check:
    """How far what is written is from keeping the fluxes."""

    def __init__(self) -> None:
        self.difference, self.peak, self.given, self.written, self.size = 0.0, 0.0, 0.0, 0.0, 0.0

    def add(self, written: NDArray[Any], given: NDArray[Any], factor: float) -> None:
        means = halve_mean(written) / factor
        known = np.isfinite(given)
        if not known.any():
            return
        values = given[known].astype(np.float64)
        self.difference = max(self.difference, float(np.abs(means[known] - values).max()))
        self.peak = max(self.peak, float(np.abs(values).max()))
        self.given, self.written = self.given + float(values.sum()), self.written + float(means[known].sum())
        self.size += float(np.abs(values).sum())

    def facts(self) -> dict[str, float]:
        return {
            "difference": self.difference,
            "peak": self.peak,
            "given": self.given,
            "written": self.written,
            "size": self.size,
        }


def seal(run: Run, results: Results) -> Results:
    """Write the headers of all files with the sums of their bands."""
    used = {result["image"] for result in results.values() if "ranges" in result}
    images = tuple(image for n, image in enumerate(open_inputs(run).images) if n in used)
    return seal_all(run.output, _all_layers(run, images), results)


def finish(run: Run, results: Results) -> dict[str, Any]:
    """List what was invented and left out, and check the fluxes of every image.

    Raises
    ------
    IntegrityError
        A 2 x 2 mean differs from the input by more than `MEAN_ERROR` of the peak.
    """
    config, inputs = run.section(ChainConfig), open_inputs(run)
    refused, facts = list(inputs.refused.values()), dict[str, Any]()
    reasons = _why_refused(run, inputs.images, results)
    for n, (image, reason) in enumerate(zip(inputs.images, reasons, strict=True)):
        if reason is not None:
            refused.append(reason)
            continue
        own = [results[name] for name in sorted(results) if results[name].get("image") == n]
        facts[image.name] = describe(image, config) | _sum_up(image, own)
    invented = [one for name in sorted(results) for one in results[name].get("invented", [])]
    publish_bytes(run.output / "invented.csv", _table(invented).encode())
    notes = []
    if invented:
        notes.append(f"{say_invented(len(invented))}, see invented.csv; flags mark where")
    left_out = {QUARANTINED: refused} if refused else {}
    return {"maps": facts, "invented": len(invented), "notes": notes, **left_out}


def _sum_up(image: SkyImage, own: list[Result]) -> dict[str, Any]:
    peak = max(float(one["peak"]) for one in own)
    error = max(float(one["difference"]) for one in own) / max(peak, 1e-300)
    if error > MEAN_ERROR:
        raise IntegrityError(f"{image.name}: 2 x 2 means differ from the input by {error:.1e} of the peak")
    given, written, size = (sum(float(one[key]) for one in own) for key in ("given", "written", "size"))
    total = abs(written - given) / max(size, 1e-300)
    return {"mean_error": error, "total_error": total, "invented": sum(len(one["invented"]) for one in own)}


def _table(invented: list[dict[str, Any]]) -> str:
    names = ("file", "plane", "y", "x", "snr", "replaced_by")
    rows = sorted(tuple(one[name] for name in names) for one in invented)
    return "\n".join([",".join(names), *(",".join(map(str, row)) for row in rows)]) + "\n"
