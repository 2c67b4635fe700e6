"""A deterministic radio survey to start from: noise, compact and extended sources, and artefacts.

Maps are drawn by row bands. The random stream of a source belongs to its number and that of a noise value to
its pixel, so that the bytes depend on neither the bands nor the worker. Extended sources are several times
more frequent than in nature, so that a small map is enough to train on; all else follows the 1.4 GHz sky.
"""

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.arrays import Columns, Image
from astro_dist.engine.ledger import Result
from astro_dist.engine.seeds import stream
from astro_dist.engine.work import Results, Run, Task
from astro_dist.sky.artefacts import Artefact, draw_artefact
from astro_dist.sky.classes import CLASS_NAMES, SourceClass
from astro_dist.sky.coordinates import wrap_ra
from astro_dist.sky.fits_file import (
    BandedImage,
    create_banded,
    radio_header,
    seal_all,
    write_rows,
)
from astro_dist.sky.fits_tables import Column, write_table
from astro_dist.sky.morphology import Morphology, draw_galaxy
from astro_dist.sky.noise import beam_noise
from astro_dist.sky.sources import Population, draw_population
from astro_dist.sky.survey import BAND_ROWS, instances_file
from astro_dist.sky.survey import SimulateConfig as SimulateConfig
from astro_dist.sky.tangent import local_axes, turn_ellipses
from astro_dist.sky.windows import Window, bands

ARTEFACT_SNR = 50.0
"""Sources with a fainter peak get no artefact."""
MASK_SNR = 3.0
"""A pixel is in the truth mask of a class where the sources of the class, without noise, exceed this snr."""
INSTANCE_SNR = 1.5
"""A pixel belongs to the brightest source in it where that, without noise, exceeds this snr: half of what
islands reach down to, since noise lifts a source beyond it."""
COLUMNS = {
    "id": Column("", "meta.id;meta.main", "number of the source, from 1"),
    "class": Column("", "src.class", "2 compact, 3 extended"),
    "ra_deg": Column("deg", "pos.eq.ra;meta.main", "right ascension of the centroid, ICRS"),
    "dec_deg": Column("deg", "pos.eq.dec;meta.main", "declination of the centroid, ICRS"),
    "x": Column("pix", "pos.cartesian.x;instr.det", "column of the centroid, the first is 0"),
    "y": Column("pix", "pos.cartesian.y;instr.det", "row of the centroid, the first is 0"),
    "flux_jy": Column("Jy", "phot.flux.density;em.radio", "flux of the source"),
    "peak_jy_beam": Column("Jy/beam", "phot.flux.density;em.radio;stat.max", "brightness of its peak"),
    "major_arcsec": Column(
        "arcsec", "phys.angSize.smajAxis", "width without the beam; the length of an extended source"
    ),
    "minor_arcsec": Column(
        "arcsec", "phys.angSize.sminAxis", "width without the beam; 0 for an extended source"
    ),
    "pa_deg": Column("deg", "pos.posAng", "angle of the major axis, east of north in ICRS at the source"),
    "image_pa_deg": Column("deg", "pos.posAng;instr.det", "that angle in the image, from +y to -x, as BPA"),
    "morphology": Column("", "meta.code.class", "the kind of structure that was drawn"),
}
"""Every column of the truth of a simulated map."""


class Band(NamedTuple):
    """A band of a map (Jy/beam), its mask and its instances, and what `SimulatedMap.draw_layers` measures."""

    image: Image
    mask: NDArray[np.uint8]
    instances: NDArray[np.int32] | None
    measured: dict[int, list[float]]


class Instances:
    """The number of the brightest source in each pixel of a window, from 1; 0 for none: `INSTANCE_SNR`."""

    def __init__(self, window: Window, least_jy_beam: float) -> None:
        self.window = window
        self.number = np.zeros(window.shape, np.int32)
        self.level = np.full(window.shape, least_jy_beam, np.float32)

    def add(self, own: Window, stamp: Image, number: int) -> None:
        """Give a source the pixels in which it is brighter than those before it."""
        if part := own & self.window:
            mine, level = stamp[part.within(own)], self.level[part.within(self.window)]
            brighter = mine > level
            level[brighter] = mine[brighter]
            self.number[part.within(self.window)][brighter] = number


@dataclass(frozen=True)
class SimulatedMap:
    """The sources and artefacts of one map, from which any band of the map can be drawn."""

    config: SimulateConfig
    seed: int
    number: int
    population: Population
    moments_pix: NDArray[np.float64]
    artefacts: list[Artefact]

    @classmethod
    def draw(cls, config: SimulateConfig, seed: int, number: int) -> "SimulatedMap":
        """Draw the sources and artefacts of a map, but none of its pixels."""
        population = draw_population(config, seed, ("simulate", number))
        moments = population.moments_pix(config.beam, config.pixel)
        artefacts = _draw_artefacts(config, population, seed, number) if config.spurious else []
        return cls(config, seed, number, population, moments, artefacts)

    def draw_source(self, i: int) -> tuple[Window, Image]:
        """Return the pixels of source ``i``, Jy/beam, and the window they belong to."""
        p, config = self.population, self.config
        y, x, reach = round(p.y[i]), round(p.x[i]), int(p.reach_pix[i])
        dy, dx = p.y[i] - y, p.x[i] - x
        window = Window(y - reach, y + reach + 1, x - reach, x + reach + 1)
        if p.is_extended[i]:
            stamp = draw_galaxy(
                stream(self.seed, "simulate", self.number, "shape", i),
                Morphology(int(p.kind[i])),
                p.major_arcsec[i] / config.pixel_arcsec,
                # `axis_rad` runs from +x to +y, position angles from +y to -x: a quarter turn between them.
                math.radians(p.pa_deg[i] + 90),
                config.beam.covariance_pix(config.pixel),
                complex(dx, dy),
                reach,
            )
            return window, stamp * np.float32(p.peak_jy_beam[i])
        shape = _gaussian(self.moments_pix[i], dy, dx, reach)
        # Scaled by the sum of the pixels and not by the peak: the flux in the truth is exact after sampling.
        scale = p.flux_jy[i] * config.beam.area_pix(config.pixel) / shape.sum()
        return window, (shape * scale).astype(np.float32)

    def draw_layers(
        self, window: Window, instances: Instances | None = None
    ) -> tuple[dict[SourceClass, Image], dict[int, list[float]]]:
        """Return the pixels of each class without noise, Jy/beam, and measurements of extended sources.

        Measurements are ``{number of the source: [flux_jy, y, x]}`` with the centroid of brightness in
        pix. Only sources whose centre row lies in the window are measured, so that every source is
        measured by one band. All sources are added to ``instances``.
        """
        compact, extended, spurious = (np.zeros(window.shape, np.float32) for _ in range(3))
        measured: dict[int, list[float]] = {}
        area = self.config.beam.area_pix(self.config.pixel)
        # Ascending numbers: a float32 sum depends on its order, which no band may change.
        for i in self.population.touching(window.y0, window.y1).tolist():
            own, stamp = self.draw_source(i)
            is_extended = bool(self.population.is_extended[i])
            if part := own & window:
                layer = extended if is_extended else compact
                layer[part.within(window)] += stamp[part.within(own)]
            if instances is not None:
                instances.add(own, stamp, i + 1)
            if is_extended and window.y0 <= round(self.population.y[i]) < window.y1:
                measured[i] = _measure(own, stamp, area)
        for artefact in self.artefacts:
            artefact.add_to(spurious, window)
        layers = {
            SourceClass.SPURIOUS: spurious,
            SourceClass.COMPACT: compact,
            SourceClass.EXTENDED: extended,
        }
        return layers, measured

    def draw_band(self, window: Window) -> Band:
        """Return a full-width band of the map, of its mask and its instances."""
        config = self.config
        instances = Instances(window, INSTANCE_SNR * config.rms_jy_beam) if config.instances else None
        layers, measured = self.draw_layers(window, instances)
        image = beam_noise(window, config.beam, config.pixel, self.seed, ("simulate", self.number, "noise"))
        image *= np.float32(config.rms_jy_beam)
        mask = np.zeros(window.shape, np.uint8)
        # Ascending classes: extended pixels overwrite compact ones, and these overwrite artefacts.
        for kind in sorted(layers):
            image += layers[kind]
            mask[layers[kind] > MASK_SNR * config.rms_jy_beam] = kind
        if instances is not None:
            # What an artefact outshines is no part of a source.
            instances.number[layers[SourceClass.SPURIOUS] > instances.level] = 0
        return Band(image, mask, instances.number if instances else None, measured)


class SimulatedMaps:
    """The maps of a run; the sources of a map are drawn with its first band, and two maps are kept."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.map = functools.lru_cache(maxsize=2)(
            lambda number: SimulatedMap.draw(run.section(SimulateConfig), run.seed, number)
        )


def plan(run: Run, results: Results) -> list[Task]:
    """Return a task for each band of each map."""
    config = run.section(SimulateConfig)
    return [
        Task(f"{name}-band-{i:04d}", {"map": number, "y0": band.y0, "y1": band.y1})
        for number, name in enumerate(config.names)
        for i, band in enumerate(bands(config.shape, BAND_ROWS))
    ]


def prepare(run: Run) -> None:
    """Create the images of all maps, empty but with their headers."""
    for name, image in _images(run):
        create_banded(run.output / name, image)


def _images(run: Run) -> Iterator[tuple[str, BandedImage]]:
    """Yield file name and layout of every image: the map, the mask and the instances of each map."""
    config = run.section(SimulateConfig)
    for number, name in enumerate(config.names):
        wcs = config.wcs(number)
        history = (f"simulate: noise, sources and artefacts of seed {run.seed}, map {number}",)
        cards = {"SEED": run.seed, "RMS": (config.rms_jy_beam, "[Jy/beam] noise")}
        header = radio_header(
            config.shape,
            wcs,
            config.beam,
            config.frequency_hz,
            object_name=name,
            cards=cards,
            history=history,
        )
        yield f"{name}.fits", BandedImage(header, config.shape, np.float32)
        classes = {f"CLASS{kind}": CLASS_NAMES[kind] for kind in SourceClass}
        header = radio_header(
            config.shape, wcs, unit="", object_name=name, dtype=np.uint8, cards=classes, history=history
        )
        yield f"{name}.mask.fits", BandedImage(header, config.shape, np.uint8)
        if config.instances:
            header = radio_header(
                config.shape, wcs, unit="", object_name=name, dtype=np.int32, history=history
            )
            yield instances_file(name), BandedImage(header, config.shape, np.int32)


def run_task(maps: SimulatedMaps, task: Task) -> Result:
    """Draw one band of a map, of its mask and its instances."""
    number, name = task.args["map"], maps.run.section(SimulateConfig).names[task.args["map"]]
    window = Window(task.args["y0"], task.args["y1"], 0, maps.run.section(SimulateConfig).shape[1])
    band = maps.map(number).draw_band(window)
    rows: dict[str, NDArray[Any]] = {f"{name}.fits": band.image, f"{name}.mask.fits": band.mask}
    if band.instances is not None:
        rows[instances_file(name)] = band.instances
    return {
        "ranges": {file: write_rows(maps.run.output / file, window.y0, data) for file, data in rows.items()},
        "measured": {str(i): values for i, values in band.measured.items()},
    }


def seal(run: Run, results: Results) -> Results:
    """Write the headers of all images with the sums of their bands."""
    return seal_all(run.output, _images(run), results)


def finish(run: Run, results: Results) -> Result:
    """Write the truth of every map, and return the number of sources."""
    config = run.section(SimulateConfig)
    sources = extended = 0
    for number in range(config.maps):
        done = {t.name: results[t.name] for t in plan(run, results) if t.args["map"] == number}
        measured = {int(i): v for result in done.values() for i, v in result["measured"].items()}
        # Drawn again and not kept: a record holds only what the pixels of its band showed.
        population = draw_population(config, run.seed, ("simulate", number))
        _write_truth(run, number, population, measured)
        sources, extended = sources + len(population), extended + len(measured)
    return {"maps": [f"{name}.fits" for name in config.names], "sources": sources, "extended": extended}


def _write_truth(run: Run, number: int, population: Population, measured: dict[int, list[float]]) -> None:
    """Publish the catalogue of one map; the flux of an extended source is that of its pixels."""
    config = run.section(SimulateConfig)
    flux, y, x = population.flux_jy.copy(), population.y.copy(), population.x.copy()
    rows = sorted(measured)
    if rows:
        # An extended source is drawn to a peak: its flux and centroid are known from its pixels only.
        flux[rows], y[rows], x[rows] = np.array([measured[i] for i in rows]).T
    wcs = config.wcs(number)

    def sky_of(y: NDArray[Any], x: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        # Origin 0: the first pixel is centred on 0 and not, as in FITS, on 1.
        ra, dec = wcs.all_pix2world(x, y, 0)
        return wrap_ra(ra), dec

    ra, dec = sky_of(y, x)
    drawn = population.major_arcsec, population.minor_arcsec, population.pa_deg
    major, minor, pa = turn_ellipses(local_axes(sky_of, y, x), config.pixel, *drawn)
    columns: Columns = {
        "id": np.arange(1, len(population) + 1, dtype=np.int32),
        "class": np.where(population.is_extended, SourceClass.EXTENDED, SourceClass.COMPACT).astype(np.uint8),
        "ra_deg": ra,
        "dec_deg": dec,
        "x": x,
        "y": y,
        "flux_jy": flux,
        "peak_jy_beam": population.peak_jy_beam,
        "major_arcsec": major,
        "minor_arcsec": minor,
        "pa_deg": pa,
        "image_pa_deg": population.pa_deg,
        "morphology": np.array([kind.name.lower() for kind in Morphology])[population.kind],
    }
    write_table(run.output / f"{config.names[number]}.truth.fits", columns, COLUMNS, name="TRUTH")


def _draw_artefacts(config: SimulateConfig, population: Population, seed: int, number: int) -> list[Artefact]:
    """Return the artefacts of a map, in the order of their sources."""
    fwhm_pix = config.beam.fwhm_pix(config.pixel)
    # The arms of the array have one direction for all sources of a map.
    first = stream(seed, "simulate", number, "artefacts").uniform(0, math.pi)
    snr = population.peak_jy_beam / config.rms_jy_beam
    found = (
        draw_artefact(
            # A stream for each source: a source without an artefact then changes no other artefact.
            stream(seed, "simulate", number, "artefact", i),
            population.y[i],
            population.x[i],
            snr[i],
            population.major_arcsec[i] / (config.pixel_arcsec * fwhm_pix)
            if population.is_extended[i]
            else 0.0,
            config.rms_jy_beam,
            fwhm_pix,
            first,
        )
        for i in np.flatnonzero(snr > ARTEFACT_SNR).tolist()
    )
    return [artefact for artefact in found if artefact is not None]


def _gaussian(moments: NDArray[np.float64], dy: float, dx: float, reach: int) -> NDArray[np.float64]:
    inverse = np.linalg.inv(moments)
    y = np.arange(-reach, reach + 1)[:, None] - dy
    x = np.arange(-reach, reach + 1)[None] - dx
    square = inverse[0, 0] * y**2 + 2 * inverse[0, 1] * y * x + inverse[1, 1] * x**2
    return np.asarray(np.exp(-0.5 * square))


def _measure(window: Window, stamp: Image, beam_area_pix: float) -> list[float]:
    """Return flux_jy and the centroid y, x in the map."""
    # Sums in float64: the truth must not carry the rounding errors of float32.
    rows, columns = stamp.sum(axis=1, dtype=np.float64), stamp.sum(axis=0, dtype=np.float64)
    total = rows.sum()
    y = rows @ np.arange(window.y0, window.y1) / total
    x = columns @ np.arange(window.x0, window.x1) / total
    return [float(total / beam_area_pix), float(y), float(x)]
