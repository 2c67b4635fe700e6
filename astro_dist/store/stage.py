"""The stage `cutouts`; its functions are imported when they are used."""

from pathlib import Path
from typing import TYPE_CHECKING

from astro_dist.engine.foreign import require_file
from astro_dist.engine.later import Later
from astro_dist.engine.work import Estimate, Run, Stage
from astro_dist.sky.config import MapsConfig
from astro_dist.sky.files import find_files, map_sources, with_readme
from astro_dist.sky.survey import SimulateConfig
from astro_dist.sky.windows import count_tiles
from astro_dist.store.config import BUFFER_BYTES, CutoutsConfig

if TYPE_CHECKING:
    from astro_dist.store.planes import Planes

STACKS, COLUMN_FILES = 4, 32
"""Arrays of images, and files of columns and attributes, in a store of cutouts."""


def sources(run: Run) -> list[Path]:
    """Return the user's maps, the catalogue that cutouts are centred on, and the maps of their planes."""
    planes = [
        path
        for one in run.section(CutoutsConfig).planes
        for path in find_files(one, f"cutouts.planes {one.name}")
    ]
    path = run.section(CutoutsConfig).catalogue_path
    if path is not None:
        require_file(path, "cutouts.catalogue")
    return [*map_sources(run), *([] if path is None else with_readme(path)), *planes]


def refuse(run: Run) -> None:
    """Refuse maps that are too small for a window or its beam, and a catalogue without a row on them."""
    config = run.section(CutoutsConfig)
    if not run.section(MapsConfig).files:
        count_tiles(run.section(SimulateConfig).shape, config.size_pix, config.size_pix)
        if config.catalogue is not None:
            from astro_dist.store.rows import read_positions

            read_positions(config)
        _lay_planes(run)
        return
    from astro_dist.sky.maps import open_maps
    from astro_dist.store.choice import check_maps

    maps = open_maps(run)
    check_maps(maps, config.size_pix)
    if config.catalogue is not None:
        from astro_dist.store.rows import place_catalogue

        place_catalogue(config, maps)
    _lay_planes(run)


def _lay_planes(run: Run) -> "Planes | None":
    """Refuse planes that cannot be used; return them laid under the rows, None without planes or maps yet."""
    config = run.section(CutoutsConfig)
    if not config.planes:
        return None
    from astro_dist.store.planes import lay_planes, open_planes

    if not run.section(MapsConfig).files:
        # Where the simulated maps lie is found out when they are there.
        open_planes(run)
        return None
    from astro_dist.sky.maps import open_maps
    from astro_dist.store.rows import place_catalogue

    maps = open_maps(run)
    rows = place_catalogue(config, maps)
    return lay_planes(run, maps, rows.map_index, rows.y0, rows.x0)


def most_windows(run: Run) -> int:
    """Return the number of rows or of tiles; round islands crowded maps have six on the area of one."""
    config = run.section(CutoutsConfig)
    size_pix, backgrounds = config.size_pix, list[tuple[int, int]]()
    if run.section(MapsConfig).files:
        from astro_dist.sky.maps import open_maps

        maps = open_maps(run)
        shapes = [sky_map.shape for sky_map in maps if not sky_map.background_only]
        backgrounds = [sky_map.shape for sky_map in maps if sky_map.background_only]
    else:
        shapes = [run.section(SimulateConfig).shape] * run.section(SimulateConfig).maps
    tiles = config.mode == "tiles"
    # Round islands a crowded map has about six windows on the area of one: those of a stride of 2/5.
    stride = (config.stride_pix or size_pix) if tiles else 2 * size_pix // 5
    further = sum(count_tiles(shape, size_pix, size_pix) for shape in backgrounds)
    if config.catalogue is not None:
        from astro_dist.store.rows import read_positions

        return len(read_positions(config)[0]) + further
    return sum(count_tiles(shape, size_pix, stride) for shape in shapes) + further


def _notes(run: Run, planes: "Planes | None") -> tuple[str, ...]:
    config = run.section(CutoutsConfig)
    if config.catalogue is None or not run.section(MapsConfig).files:
        return ()
    from astro_dist.sky.maps import open_maps
    from astro_dist.store.rows import note_catalogue, place_catalogue

    notes = (*note_catalogue(config), *place_catalogue(config, open_maps(run)).notes())
    return (*notes, *(planes.notes() if planes is not None else ()))


def estimate(run: Run) -> Estimate:
    """Return the cost of the store, exact once the islands are known."""
    config, own = run.section(CutoutsConfig), run.ledger.published("cutouts")
    # After a repair the annotations may be there and the maps not.
    needed = ("annotate",) if run.section(MapsConfig).files else ("annotate", "simulate")
    known = all(run.ledger.published(name) is not None for name in needed)
    if own is not None and own.fingerprint == run.fingerprint:
        n = int(own.facts["cutouts"])
    else:
        n = len(Later("astro_dist.store.cutouts:open_state")(run).choice) if known else most_windows(run)
    tasks, pixels = -(-n // config.shard), config.size_pix**2
    # Each with an image and its valid pixels; at a common beam the map itself is one more.
    planes, laid = len(config.planes) + (config.common_beam is not False), _lay_planes(run)
    window_bytes = 0 if laid is None else laid.window_bytes
    return Estimate(
        tasks=tasks,
        bytes=int(4.3 * (1 + planes) * pixels * n) + 100_000,
        files=(STACKS + 2 * planes) * (tasks + 1) + COLUMN_FILES + 2 * planes,
        memory_bytes=290_000_000
        + 2 * BUFFER_BYTES
        + (16 + 10 * planes) * pixels * config.shard
        + window_bytes,
        cpu_s=(4.5e-8 + 3e-6 * planes) * pixels * n,
        exact=known,
        notes=_notes(run, laid),
    )


CUTOUTS = Stage(
    name="cutouts",
    product="cutouts.zarr",
    plan=Later("astro_dist.store.cutouts:plan"),
    run=Later("astro_dist.store.cutouts:cut_shard"),
    open=Later("astro_dist.store.cutouts:open_state"),
    finish=Later("astro_dist.store.cutouts:finish"),
    check=Later("astro_dist.store.verify:verify_store"),
    sources=sources,
    refuse=refuse,
    estimate=estimate,
    sections=("cutouts", "maps"),
    reads=("simulate",),
    own="cutouts",
    inputs=("simulate", "annotate"),
)
