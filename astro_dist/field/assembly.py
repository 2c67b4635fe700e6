"""The stage that makes the field: background, layout, row bands, and the truth from the same placements.

One task analyses a real background, the next gathers the objects and draws all places, turns and fluxes.
After that each band of rows is a task, which renders the objects that reach into it, adds them in the order
of placing, writes its own bytes of ``map.fits``, ``mask.fits`` and ``instances.fits``, and measures the
objects whose anchor lies in it. Where objects overlap, mask and instances show the object that was placed
later, which is the smaller one.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.arrays import Columns
from astro_dist.engine.errors import ConfigError
from astro_dist.engine.files import sha256_file
from astro_dist.engine.ledger import Result
from astro_dist.engine.work import Results, Run, Task
from astro_dist.field.artefacts import (
    ARTEFACT_COLUMNS,
    ARTEFACT_TYPES,
    DRAWN_COLUMNS,
    Artefacts,
    join_artefacts,
    list_artefacts,
)
from astro_dist.field.background import (
    BACKGROUND_FILES,
    TEXTURE_FILE,
    Background,
    MapBackground,
    NoiseBackground,
    TexturedBackground,
    analyse_map,
)
from astro_dist.field.blends import find_pairs
from astro_dist.field.brush import Brush
from astro_dist.field.columns import LAYOUT_COLUMNS, read_columns_file, write_columns_file
from astro_dist.field.components import count_components, list_components, write_components
from astro_dist.field.config import AssembleConfig
from astro_dist.field.instrument import Instrument, Survey, design_instrument
from astro_dist.field.joining import MEASURES, OVERLAPS, SIDELOBES, band_file, join_bands
from astro_dist.field.layers import LAYERS, MAP, history, make_header, provenance
from astro_dist.field.library import LIBRARY_FILES, Library, build_library
from astro_dist.field.measures import OVERLAP_TYPES, TYPES
from astro_dist.field.measures import write_rows as write_table
from astro_dist.field.overview import draw_overview, summarise
from astro_dist.field.painting import Painted, add_objects
from astro_dist.field.placements import draw_layout
from astro_dist.field.seen import carry, observation
from astro_dist.field.stacking import STACK_FILE, write_stack
from astro_dist.field.texture import measure_texture
from astro_dist.field.truth import (
    OVERLAP_COLUMNS,
    band_columns,
    band_fluxes,
    select_truth,
    write_placements,
    write_truth,
)
from astro_dist.field.zooms import draw_zooms
from astro_dist.sky.classes import CLASS_NAMES
from astro_dist.sky.config import AnnotateConfig, MapsConfig
from astro_dist.sky.files import find_survey
from astro_dist.sky.fits_file import BandedImage, create_banded, seal_all, write_rows
from astro_dist.sky.map_files import UNPACKED
from astro_dist.sky.maps import SkyMap
from astro_dist.sky.noise_maps import NoiseMap, noise_of
from astro_dist.sky.windows import Window
from astro_dist.store.reader import StoreReader
from astro_dist.store.stamps import objects_files

LAYOUT, PLACEMENTS = "layout.parquet", "placements.parquet"
LAYOUT_ARTEFACTS, ARTEFACTS = "layout_artefacts.parquet", "artefacts.parquet"
LAYOUT_FILES = (*LIBRARY_FILES, LAYOUT, LAYOUT_ARTEFACTS)


class Assembly:
    """The open state of a worker that makes a field.

    Only inputs that are published are cached. Each task reads the files of the layout again, because they are
    written again after damage was found, and a worker must not go on with the damaged library.
    """

    def __init__(self, run: Run) -> None:
        self.run, self.folder = run, run.output
        self.config = run.section(AssembleConfig).as_seen
        self.noise_seed, self.stream = observation(run)

    @cached_property
    def cutouts(self) -> StoreReader:
        """The store of real cutouts that the generating model was trained on."""
        return StoreReader(self.run.product("cutouts.zarr"))

    @cached_property
    def field(self) -> SkyMap:
        """The map that is being made, opened for its shape, WCS and beam; its pixels may still be missing."""
        # The defaults and not the section `maps`, which completes headers of other maps; this one is whole.
        return SkyMap.open(self.folder / MAP, MapsConfig(), verify=False)

    @cached_property
    def drawn_on(self) -> SkyMap:
        """The map that the places are drawn for; `assemble.seen` shows them in another."""
        config = self.run.section(AssembleConfig)
        if config.seen.frequency_hz is None:
            return self.field
        own = find_instrument(self.run, config)
        # A beam read from a header differs from one of the settings in its last digit.
        beam = self.field.beam if config.seen.beam_major_arcsec is None else own.beam
        return replace(self.field, beam=beam, frequency_hz=own.frequency_hz)

    @cached_property
    def real(self) -> SkyMap | None:
        """The real map that the field is made on, or None."""
        return open_background(self.run)

    @cached_property
    def noise(self) -> NoiseMap | None:
        """The user's map of the noise of the real map, or None."""
        return find_background_noise(self.run)

    @cached_property
    def survey_rms_jy_beam(self) -> float:
        """Median noise of the cutouts in Jy/beam, by default that of a simulated background."""
        measured = self.cutouts.columns["rms_jy_beam"][~self.cutouts.is_background]
        # `> 0` also leaves out NaN, the fill value of cutouts without a measured noise.
        return float(np.median(measured[measured > 0]))

    def background(self) -> Background:
        """Return the background that the objects are added to."""
        return self._background(self.config, self.field)

    def _background(self, config: AssembleConfig, field: SkyMap) -> Background:
        seed, rms_jy_beam = self.noise_seed, config.background.rms_jy_beam or self.survey_rms_jy_beam
        if self.real is not None:
            keep = config.background.islands == "keep"
            return MapBackground.load(self.real, self.folder, keep, seed, self.noise)
        if config.background.texture == "survey":
            return TexturedBackground.load(self.folder, seed, rms_jy_beam)
        return NoiseBackground(field.beam, field.pixel, seed, rms_jy_beam)

    def lay_out(self, library: Library) -> tuple[Columns, int]:
        """Return the table of all placements, and the number of pixels that they cover."""
        config, ground = self.run.section(AssembleConfig), self.drawn_on
        table, covered = draw_layout(
            ground, self._background(config, ground), library, config, self.run.stream
        )
        if config.seen.frequency_hz is not None:
            table = carry(table, ground, self.field, self.background(), library, config)
        return table, covered

    def make(self, window: Window) -> dict[str, NDArray[Any]]:
        """Return the pixels of a window of all three images, by file name."""
        return self.paint(window, self.brush(window))[0].layers

    def brush(self, window: Window) -> Brush:
        """Return what draws the placements that reach into a window."""
        layout = read_columns_file(self.folder / LAYOUT)
        return Brush(layout, window, Library(self.folder), self.field, self.config)

    def artefacts(self) -> Artefacts:
        """Return what draws the artefacts of bright sources."""
        table = read_columns_file(self.folder / LAYOUT_ARTEFACTS)
        return Artefacts(table, self.field, self.config, self.stream, self.stack())

    def stack(self) -> NDArray[np.float32] | None:
        """Return the artefact of the survey's own bright sources, None where artefacts are drawn."""
        return np.load(self.folder / STACK_FILE) if self.config.stacks else None

    def measure_survey(self) -> list[str]:
        """Measure what the field takes from the survey's own pixels; return the files."""
        files = []
        if self.config.background.texture == "survey":
            measure_texture(self.cutouts, self.folder)
            files.append(TEXTURE_FILE)
        if self.config.stacks:
            write_stack(self.cutouts, self.folder)
            files.append(STACK_FILE)
        return files

    def paint(self, window: Window, brush: Brush) -> tuple[Painted, list[dict[str, Any]]]:
        """Add all placements and artefacts to the background of a window; the second are of the artefacts."""
        image = self.background().read(window)
        n_sky = np.count_nonzero(np.isfinite(image))
        painted = add_objects(image, window, brush.table, brush.draw)
        measures = self.artefacts().add_to(painted.layers, window)
        # A pixel without data keeps its NaN, whatever is added to it.
        if np.count_nonzero(np.isfinite(painted.layers[MAP])) != n_sky:
            raise ConfigError(
                f"objects make the field infinite or NaN in rows {window.y0} to {window.y1 - 1}; lower "
                "the fluxes (assemble.flux) or mend the background"
            )
        return painted, measures


def open_background(run: Run) -> SkyMap | None:
    """Return the real map that the field is made on, or None when the noise is simulated."""
    path = run.section(AssembleConfig).background.path
    # Every worker opens the map, and verifying reads all of it: `analyse_background` verifies once.
    if path is None:
        return None
    config, unpacked_in = run.section(MapsConfig), run.root / UNPACKED
    survey = find_survey(config, Path(path)) or config
    return SkyMap.open(Path(path), survey, verify=False, unpacked_in=unpacked_in)


def find_background_noise(run: Run) -> NoiseMap | None:
    """Return the user's map of the noise of the real map that the field is made on, or None."""
    real = open_background(run)
    return None if real is None else noise_of(run, real)


def prepare(run: Run) -> None:
    """Create the three images, empty but with their headers."""
    instrument = find_instrument(run)
    run.output.mkdir(parents=True, exist_ok=True)
    # A file that is there and fits is kept, so that the bands of an interrupted run need not be made again.
    for name, image in _images(run, instrument):
        create_banded(run.output / name, image)


def _images(run: Run, instrument: Instrument) -> Iterator[tuple[str, BandedImage]]:
    """Yield file name and layout of the three images."""
    for name, layer in LAYERS.items():
        header = make_header(run, instrument, layer)
        yield name, BandedImage(header, instrument.shape, layer.dtype)


def seal(run: Run, results: Results) -> Results:
    """Write the headers of the three images with the sums of their bands."""
    return seal_all(run.output, _images(run, find_instrument(run)), results)


def find_instrument(run: Run, config: AssembleConfig | None = None) -> Instrument:
    """Return the size, WCS and beam of the map, or of a field with other settings than the map's.

    Raises
    ------
    ConfigError
        When the objects do not fit them.
    """
    surveys = Survey.of_store(StoreReader(run.product("cutouts.zarr")).attrs)
    config = config or run.section(AssembleConfig).as_seen
    return design_instrument(config, surveys, open_background(run))


def run_task(state: Assembly, task: Task) -> Result:
    """Do one task of `plan`."""
    if task.name == "background":
        return analyse_background(state)
    if task.name == "layout":
        return lay_out(state)
    window = Window(task.args["y0"], task.args["y1"], 0, state.field.shape[1])
    return make_band(state, window, task.name)


def analyse_background(state: Assembly) -> Result:
    """Measure the noise of the real map and find its islands."""
    assert state.real is not None
    state.real.verify()
    seed = state.config.background.min_snr
    # The annotation's own merge level may lie above this seed level; islands need merge < seed.
    merge = min(state.run.section(AnnotateConfig).merge_sigma, 0.9 * seed)
    config = state.run.section(AnnotateConfig)
    # What the user said of islands is about the maps of `annotate`.
    join = config.join.model_copy(update={"catalogue": None, "labels": {}})
    levels = {"seed_sigma": seed, "merge_sigma": merge}
    rules = config.model_copy(update={**levels, "join": join})
    facts = analyse_map(state.real, state.folder, rules, state.noise)
    # The engine compares the files with these digests before `finish`, and repeats this task and all later
    # ones where they differ.
    return facts | {"sha256": _digests(state, BACKGROUND_FILES)}


def lay_out(state: Assembly) -> Result:
    """Gather the objects of all stamps and draw the placements."""
    config, stamps = state.config, StoreReader(state.run.product("stamps.zarr"))
    stretched = stamps if config.flux.mode == "radiff_stretched" else None
    accepted = build_library(state.folder, objects_files(stamps.path), config, stretched)
    library = Library(state.folder)
    measured = state.measure_survey()
    table, covered = state.lay_out(library)
    write_columns_file(state.folder / LAYOUT, {n: table[n] for n in LAYOUT_COLUMNS}, LAYOUT_COLUMNS)
    artefacts = list_artefacts(table, library, state.field, config, state.stream, state.stack())
    write_columns_file(state.folder / LAYOUT_ARTEFACTS, artefacts, DRAWN_COLUMNS)
    return {
        "shape": list(state.field.shape),
        "accepted": accepted,
        "footprint_pix": covered,
        "sha256": _digests(state, [*LAYOUT_FILES, *measured]),
    }


def make_band(state: Assembly, window: Window, name: str) -> Result:
    """Make one band of rows of all three images, write it to their files, and measure what it owns."""
    # One row of the next band too: sources may touch across the edge.
    with_edge = Window(window.y0, min(window.y1 + 1, state.field.shape[0]), window.x0, window.x1)
    brush = state.brush(with_edge)
    painted, measures = state.paint(with_edge, brush)
    rows = window.y1 - window.y0
    layers = {name: layer[:rows] for name, layer in painted.layers.items()}
    pairs = find_pairs((painted.cores[0], brush.rows[painted.cores[1]]), with_edge.shape, rows)
    files = {
        MEASURES: (brush.measure_owned(window, painted), TYPES),
        OVERLAPS: (pairs, OVERLAP_TYPES),
        SIDELOBES: (state.artefacts().owned(measures, window), ARTEFACT_TYPES),
    }
    paths = {kind: band_file(state.folder, kind, name) for kind in files}
    for kind, (table, types) in files.items():
        write_table(paths[kind], table, types)
    return {
        "ranges": {file: write_rows(state.folder / file, window.y0, r) for file, r in layers.items()},
        "sha256": _digests(state, [str(path.relative_to(state.folder)) for path in paths.values()]),
    }


def _digests(state: Assembly, names: Iterable[str]) -> dict[str, str]:
    return {name: sha256_file(state.folder / name) for name in names}


def finish(run: Run, results: Results) -> dict[str, Any]:
    """Write the truth and the pictures, and return the figures of the field."""
    state = Assembly(run)
    layout = read_columns_file(state.folder / LAYOUT)
    # Zero-padded names: sorted, the bands lie in the order of their rows.
    bands = sorted(name for name in results if name.startswith("band-"))
    placements, parts, overlaps = join_bands(state.folder, bands, layout, state.field, state.config)
    placements["n_components"] = count_components(layout, Library(state.folder))
    placements["anchor"] = np.full(len(placements["id"]), state.config.anchor)
    cards, lines = provenance(run), history(run)
    write_placements(state.folder / PLACEMENTS, placements)
    truth = select_truth(placements, state.field)
    if others := state.config.flux.bands_hz:
        truth |= band_fluxes(truth, others, state.field.frequency_hz)
    further = band_columns(others)
    write_truth(state.folder, truth, cards, lines, state.field.beam, state.config.sdc1_angle, further)
    components = list_components(placements, parts, state.field)
    write_components(state.folder, components, cards, lines)
    write_columns_file(state.folder / "truth_overlaps.parquet", overlaps, OVERLAP_COLUMNS)
    artefacts = join_artefacts(
        [band_file(state.folder, SIDELOBES, band) for band in bands],
        read_columns_file(state.folder / LAYOUT_ARTEFACTS),
        state.field,
    )
    write_columns_file(state.folder / ARTEFACTS, artefacts, ARTEFACT_COLUMNS)
    statistics, blocks = summarise(state.field)
    rms_jy_beam = statistics["rms_jy_beam"]
    draw_overview(state.folder / "overview.png", blocks, state.field, run.name, rms_jy_beam, truth)
    zooms = draw_zooms(state.folder, state.make, truth, state.field, state.cutouts)
    area = state.field.shape[0] * state.field.shape[1]
    return {
        "shape": list(state.field.shape),
        "objects": len(truth["id"]),
        "classes": {CLASS_NAMES[c]: int((truth["class"] == c).sum()) for c in np.unique(truth["class"])},
        "detectable": int(truth["detectable"].sum()),
        "blended": int((truth["blend_size"] > 1).sum()),
        "of_several_components": int((truth["n_components"] > 1).sum()),
        "distinct_objects": len(np.unique(truth["object"][truth["object"] >= 0])),
        "spurious": len(placements["id"]) - len(truth["id"]),
        "artefacts": len(artefacts["id"]),
        "accepted": results["layout"]["accepted"],
        "fill": results["layout"]["footprint_pix"] / area,
        "flux_jy": float(truth["flux_jy"].sum()),
        "snr_quantiles": np.quantile(truth["snr"], [0, 0.25, 0.5, 0.75, 1]).tolist(),
        "brightened": int((truth["snr"] > truth["donor_snr"]).sum()),
        # Without the digests, which belong to the record of the task: facts are figures for the reader.
        "background": {k: v for k, v in results.get("background", {}).items() if k != "sha256"},
        "map": statistics,
        "zooms": zooms,
    }
