"""The stage that cuts windows out of maps into a sharded store: image, mask and instances together.

All windows follow from the configuration and the annotations (see `choice`). Windows are sorted by map and
row. A task writes one shard and reads each row of a map once.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.arrays import Integers
from astro_dist.engine.errors import ConfigError
from astro_dist.engine.ledger import Result
from astro_dist.engine.origins import FACT, SIMULATED, Origin, as_facts
from astro_dist.engine.work import Results, Run, Task
from astro_dist.sky.annotations import Annotations
from astro_dist.sky.classes import SourceClass
from astro_dist.sky.config import MapsConfig, SurveyConfig
from astro_dist.sky.known_surveys import origin_of
from astro_dist.sky.maps import SkyMap, open_maps
from astro_dist.sky.windows import Window
from astro_dist.store.choice import ChosenWindows, choose_windows
from astro_dist.store.config import BACKGROUND_ONLY, BUFFER_BYTES
from astro_dist.store.config import CutoutsConfig as CutoutsConfig
from astro_dist.store.planes import Planes, describe_map, describe_missing, lay_planes
from astro_dist.store.rows import ON_BLANKS, RowWindows
from astro_dist.store.schema import (
    CATALOGUE,
    IMAGE,
    SOURCE_COLUMNS,
    SOURCES,
    SPLIT_NAMES,
    Flag,
    publish_store,
    stacks_of,
)
from astro_dist.store.shards import count_shards, shard_path, write_shard
from astro_dist.store.splits import Footprints, assign_splits, follow_splits


@dataclass(frozen=True)
class _State:
    """The maps, annotations and windows that a worker keeps open."""

    run: Run
    maps: list[SkyMap]
    annotations: Annotations
    choice: ChosenWindows
    planes: Planes | None = None


def read_windows(sky_map: SkyMap, y0: Integers, x0: Integers, size_pix: int) -> Iterator[NDArray[np.float32]]:
    """Yield the pixels (s, s) of windows whose first rows ascend; every row of the map is read at most once.

    Each image is a view of a buffer that the next step overwrites.
    """
    nx = sky_map.shape[1]
    height = max(size_pix, min(BUFFER_BYTES // (4 * nx), sky_map.shape[0]))
    buffer = np.empty((height, nx), np.float32)
    # For each window, the end of the run of windows without a gap in their rows: rows in a gap are not read.
    gaps = np.append(np.diff(y0) > size_pix, True)
    ends = y0[gaps][np.searchsorted(np.flatnonzero(gaps), np.arange(len(y0)))] + size_pix
    top = bottom = 0
    for y, x, end in zip(y0.tolist(), x0.tolist(), ends.tolist(), strict=True):
        if y + size_pix > bottom:
            kept = max(0, bottom - y)
            # Rows shared with the last window move to the top of the buffer; numpy allows for the overlap.
            buffer[:kept] = buffer[y - top : y - top + kept]
            top, start, bottom = y, y + kept, min(end, y + height)
            buffer[kept : bottom - top] = sky_map.read(Window(start, bottom, 0, nx))
        yield buffer[y - top : y - top + size_pix, x : x + size_pix]


def number_locally(instances: NDArray[np.int32], mask: NDArray[np.uint8]) -> tuple[NDArray[np.uint16], int]:
    """Renumber the sources of a cutout 1..n in the order of their numbers; count those that are real.

    One is real when any of its pixels in the cutout is compact or extended.
    """
    inside = np.flatnonzero(instances != 0)
    local = np.zeros(instances.shape, np.uint16)
    numbers, place = np.unique(instances.ravel()[inside], return_inverse=True)
    local.ravel()[inside] = place + 1
    is_source = np.zeros(len(numbers), np.bool_)
    is_source[place[mask.ravel()[inside] >= SourceClass.COMPACT]] = True
    return local, int(is_source.sum())


def plan(run: Run, results: Results) -> list[Task]:
    """Return a task for each shard of the chosen windows."""
    shards = count_shards(len(open_state(run).choice), run.section(CutoutsConfig).shard)
    return [Task(f"shard-{i:05d}", {"shard": i}) for i in range(shards)]


# Plan, tasks and finish of one process would otherwise choose all windows again each time.
_opened: dict[tuple[Path, str], _State] = {}


def open_state(run: Run) -> _State:
    """Open maps and annotations and choose the windows, once per process and version of the stage."""
    key = run.root, run.fingerprint
    # A run without a stage at hand has no fingerprint, and nothing shows whether its settings changed.
    if key not in _opened or not run.fingerprint:
        maps, annotations = open_maps(run), Annotations.load(run.product("annotations"))
        # One version at a time, since the annotations of a large run take much memory.
        _opened.clear()
        choice = choose_windows(run, maps, annotations)
        # Windows of backgrounds, which belong to no row, have no planes.
        used = np.where(choice.row >= 0, choice.map_index, -1)
        planes = lay_planes(run, maps, used, choice.y0, choice.x0)
        _opened[key] = _State(run, maps, annotations, choice, planes)
    return _opened[key]


def cut_shard(state: _State, task: Task) -> Result:
    """Write one shard of every array; return digests and the facts of each cutout."""
    config, choice, shard = state.run.section(CutoutsConfig), state.choice, task.args["shard"]
    members = np.arange(shard * config.shard, min((shard + 1) * config.shard, len(choice)))
    shape = (len(members), config.size_pix, config.size_pix)
    specs = stacks_of("cutouts", {} if state.planes is None else state.planes.attributes)
    stacks = {spec.name: np.empty(shape, spec.dtype) for spec in specs}
    n_objects, notes = [], []
    # Windows are sorted by map, so that images come in the order of `members`.
    for place, image in enumerate(_read_members(state, members)):
        map_index, window = choice.window(members[place])
        mask, sources = state.annotations.paint(map_index, window)
        stacks["image"][place], stacks["mask"][place] = image, mask
        stacks["instances"][place], n = number_locally(sources, mask)
        n_objects.append(n)
        notes.append(_describe(state.annotations, map_index, sources))
    np.isfinite(stacks["image"], out=stacks["valid"])
    of_planes = {} if state.planes is None else state.planes.cut(members, stacks)
    digests = {}
    for spec in specs:
        # Masks compress so fast that threads cost more than they save.
        threads = config.threads if spec.dtype == IMAGE.dtype else 1
        # Relative to the store, whose folder is renamed once the stage is complete.
        name = shard_path(Path(), spec, shard).as_posix()
        images = stacks[spec.name]
        digests[name] = write_shard(state.run.output, spec, shard, images, config.shard, threads)
    little = stacks["valid"].mean(axis=(1, 2)) < config.min_valid_fraction
    n_joined, n_cut, cut_extended = np.array(notes).T
    flags = Flag.CUTS_EXTENDED * choice.cuts_extended[members] + Flag.LITTLE_DATA * little
    flags += Flag.CUT_EXTENDED * cut_extended
    facts = {"flags": flags.tolist(), "n_objects": n_objects, **_local_sky(state, members), **of_planes}
    if state.annotations.has_sources:
        facts |= {"n_joined": n_joined.tolist(), "n_cut": n_cut.tolist()}
    return {"sha256": digests, **facts}


def _describe(annotations: Annotations, map_index: int, sources: NDArray[np.int32]) -> tuple[int, int, bool]:
    """Return how many sources of a window are of several islands and are cut, and if an extended one is."""
    if not annotations.has_sources:
        return 0, 0, False
    table = annotations.sources
    first = annotations.here(table, map_index)
    rows = first.start + np.searchsorted(table["source"][first], np.unique(sources[sources > 0]))
    kind, cut = table["class"][rows], table["flags"][rows] > 0
    n_cut = np.count_nonzero(cut & (kind >= SourceClass.COMPACT))
    n_joined = np.count_nonzero(table["n_components"][rows] > 1)
    return int(n_joined), int(n_cut), bool((cut & (kind == SourceClass.EXTENDED)).any())


def _read_members(state: _State, members: Integers) -> Iterator[NDArray[np.float32]]:
    choice = state.choice
    for i in np.unique(choice.map_index[members]):
        here = members[choice.map_index[members] == i]
        yield from read_windows(state.maps[i], choice.y0[here], choice.x0[here], choice.size_pix)


def _local_sky(state: _State, members: Integers) -> dict[str, list[float]]:
    """Return background and rms at the central pixel of windows: the mesh varies little across a window."""
    meshes = {i: state.annotations.mesh(i) for i in np.unique(state.choice.map_index[members]).tolist()}
    sky: dict[str, list[float]] = {"background_jy_beam": [], "rms_jy_beam": []}
    for member in members:
        map_index, window = state.choice.window(member)
        y, x = (window.y0 + window.y1) // 2, (window.x0 + window.x1) // 2
        background, rms = meshes[map_index].evaluate(Window(y, y + 1, x, x + 1))
        sky["background_jy_beam"].append(background.item())
        sky["rms_jy_beam"].append(rms.item())
    return sky


def finish(run: Run, results: Results) -> dict[str, Any]:
    """Write the columns and the attributes of the store, and return its figures."""
    state, config = open_state(run), run.section(CutoutsConfig)
    # By number: as text `shard-100000` comes before `shard-99999`.
    order = sorted(results, key=lambda name: int(name.split("-")[1]))
    names = ["flags", "n_objects", "background_jy_beam", "rms_jy_beam"]
    if state.annotations.has_sources:
        names += [spec.name for spec in SOURCE_COLUMNS]
    if state.planes is not None:
        names += state.planes.columns
    columns = {name: np.concatenate([np.asarray(results[task][name]) for task in order]) for name in names}
    columns |= _columns(state)
    is_background = _of_backgrounds(state)
    good = (columns["flags"] == 0) & ~is_background
    if not good.any():
        raise ConfigError(
            _none_usable(
                _count_flags(state, columns["flags"]), int((~is_background).sum()), config, state.maps
            )
        )
    rows = _rows_with_data(state, columns["flags"])
    notes = [*(rows.notes() if rows is not None else []), *_missing_planes(state, columns)]
    attributes = _attributes(state) | ({CATALOGUE: rows.summary(config)} if rows is not None else {})
    publish_store(run.output, "cutouts", config.size_pix, config.shard, columns, attributes)
    splits = np.bincount(columns["split"][good], minlength=len(SPLIT_NAMES)).tolist()
    return {
        "cutouts": len(good),
        FACT: as_facts(find_origins(run)),
        **({"backgrounds": int(is_background.sum())} if is_background.any() else {}),
        "splits": dict(zip(SPLIT_NAMES, splits, strict=True)),
        "flagged": _count_flags(state, columns["flags"]),
        "without_source": int(((columns["n_objects"] == 0) & ~is_background).sum()),
        **{name: int((columns[name] > 0).sum()) for name in names if name in ("n_joined", "n_cut")},
        "oversized_islands": len(state.choice.oversized),
        **({CATALOGUE: rows.summary(config), "notes": notes} if rows is not None else {}),
    }


def find_origins(run: Run) -> list[Origin]:
    """Return the surveys of the maps, with the terms of those that the package knows by name."""
    config = run.section(MapsConfig)
    if not config.files:
        return [Origin(SIMULATED, terms="")]
    unnamed = SurveyConfig.model_fields["survey"].default
    names = [one.survey for one in config.surveys if not one.background_only]
    return [origin_of("maps without the name of a survey" if name == unnamed else name) for name in names]


def _missing_planes(state: _State, columns: Mapping[str, NDArray[Any]]) -> list[str]:
    """Return a sentence for each plane that some cutouts have no pixel of."""
    has_row = state.choice.row >= 0
    names = [] if state.planes is None else state.planes.columns
    missing = {name: int(((columns[name] < 0) & has_row).sum()) for name in names}
    return [describe_missing(name, n, int(has_row.sum())) for name, n in missing.items() if n]


def _of_backgrounds(state: _State) -> NDArray[np.bool_]:
    """Return which windows are of maps that give backgrounds alone."""
    return np.array([one.background_only for one in state.maps], np.bool_)[state.choice.map_index]


def _rows_with_data(state: _State, flags: NDArray[Any]) -> RowWindows | None:
    """Return the rows of the catalogue, those whose cutouts have little data among the refused ones."""
    choice = state.choice
    if choice.rows is None:
        return None
    little = choice.row[(flags.astype(int) & Flag.LITTLE_DATA > 0) & (choice.row >= 0)]
    return replace(choice.rows, refused={**choice.rows.refused, ON_BLANKS: np.sort(little)})


def _none_usable(counts: Mapping[str, int], total: int, config: CutoutsConfig, maps: Sequence[SkyMap]) -> str:
    """Return the line for the user when every cutout is flagged; only settings that had a part are named."""
    remedies = ["or give other maps"]
    if counts["cuts_extended"]:
        # Windows hold islands where there is room for larger ones, and lie between them where there is none.
        roomy = max(min(one.shape) for one in maps) >= 2 * config.size_pix
        remedies.insert(0, f"{'raise' if roomy else 'lower'} cutouts.size_pix, now {config.size_pix}")
    if counts["little_data"]:
        remedies.insert(0, f"lower cutouts.min_valid_fraction, now {config.min_valid_fraction:g}")
    why = [
        f"{counts['little_data']} have too few valid pixels",
        f"{counts['cuts_extended']} cut an extended island",
    ]
    if counts.get("cut_extended"):
        why.append(f"{counts['cut_extended']} hold one that an edge or blank pixels cut")
    return f"none of the {total} cutouts is usable ({', '.join(why)}); {', '.join(remedies)}"


def _count_flags(state: _State, flags: NDArray[Any]) -> dict[str, int]:
    return {name: int((flags.astype(int) & bit > 0).sum()) for name, bit in _flag_bits(state).items()}


def _flag_bits(state: _State) -> dict[str, int]:
    # Version 0.1.0 did not look for what edges and blanks cut, and its stores stay as they are.
    known = [flag for flag in Flag if state.annotations.has_sources or flag is not Flag.CUT_EXTENDED]
    return {flag.name.lower(): int(flag) for flag in known if flag.name}


def _columns(state: _State) -> dict[str, NDArray[Any]]:
    """Return the columns that follow from where the windows are."""
    config, choice, maps = state.run.section(CutoutsConfig), state.choice, state.maps
    centres, footprints = _outline(state)
    train = 1 - config.validation_fraction - config.test_fraction
    # The windows of backgrounds come after: they move none of the others out of its split.
    is_background = _of_backgrounds(state)
    own = np.flatnonzero(~is_background)
    split = np.empty(len(choice), np.uint8)
    split[own] = assign_splits(
        choice.map_index[own],
        np.column_stack([choice.y0, choice.x0])[own] + config.size_pix // 2,
        footprints[own],
        (train, config.validation_fraction, config.test_fraction),
        config.split_block_pix,
        # Blocks of two windows a side at least: in smaller ones nearly every window touches another block.
        2 * config.size_pix,
        state.run.stream("cutouts", "splits"),
    )
    split[is_background] = follow_splits(
        footprints[np.flatnonzero(is_background)], footprints[own], split[own]
    )
    beams = np.array([(m.beam.major_arcsec, m.beam.minor_arcsec, m.beam.pa_deg) for m in maps])
    major, minor, pa = beams[choice.map_index].T
    return {
        **{"source_map": choice.map_index, "y0": choice.y0, "x0": choice.x0},
        **({"row": choice.row} if choice.rows is not None else {}),
        **{"ra_deg": centres[0], "dec_deg": centres[1], "split": split},
        **{"beam_major_arcsec": major, "beam_minor_arcsec": minor, "beam_pa_deg": pa},
    }


def _outline(state: _State) -> tuple[NDArray[np.float64], Footprints]:
    """Return centres (2, n) in degrees and outlines of all windows on the sky."""
    choice, size_pix = state.choice, state.run.section(CutoutsConfig).size_pix
    # The centre and the four outer corners, going round.
    # Pixels are centred on whole numbers, so that corners are half a pixel outside.
    dy = np.array([0.5, 0, 0, 1, 1]) * size_pix - 0.5
    dx = np.array([0.5, 0, 1, 1, 0]) * size_pix - 0.5
    sky = np.empty((2, len(choice), 5))
    for i, sky_map in enumerate(state.maps):
        here = choice.map_index == i
        sky[:, here] = sky_map.sky_of(choice.y0[here, None] + dy, choice.x0[here, None] + dx)
    return sky[:, :, 0], Footprints.of_corners(sky[0, :, 1:], sky[1, :, 1:])


def _attributes(state: _State) -> dict[str, Any]:
    run = state.run
    maps = [
        {
            **describe_map(sky_map, sky_map.beam),
            "survey": sky_map.survey,
            **({BACKGROUND_ONLY: True} if sky_map.background_only else {}),
        }
        for sky_map in state.maps
    ]
    return {
        "survey": run.section(MapsConfig).name,
        "stretch": run.section(CutoutsConfig).stretch,
        "splits": list(SPLIT_NAMES),
        "flags": _flag_bits(state),
        "maps": maps,
        "oversized_islands": [{"map": i, "island": number} for i, number in state.choice.oversized],
        **({SOURCES: True} if state.annotations.has_sources else {}),
        **(state.planes.attributes if state.planes is not None else {}),
    }
