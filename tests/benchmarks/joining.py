"""Which islands of a simulated sky are joined to sources, and which should have been?

    python -m tests.benchmarks.joining [--seed 17] [--side PIX] [--maps N] [--set chance=0.02 ...]
    python -m tests.benchmarks.joining --truth configs/quickstart.yaml
    python -m tests.benchmarks.joining --run runs/quickstart
    python -m tests.benchmarks.joining --fits MAP ... --png FILE [--beam ARCSEC]

The truth of two islands: both lie on one simulated source. Rows are by the peak of the source over the noise.
`several` are the sources of several islands, `whole` the part of them that is one source in the end. `recall`
and `precision` count pairs of islands; a false pair counts where the brighter of its two sources is. The
default sky has ten times as many radio galaxies as nature. With maps of your own, islands are drawn in the
colour of their source. `--truth` counts the galaxies that a sky joined by its truth leaves parted, and those
that the rules leave. `--run` follows the galaxies of several islands of a run on a simulated survey to its
field.
"""

import argparse
import tempfile
from collections import Counter
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from astropy.io import fits
from scipy import ndimage

from astro_dist.engine.config import apply_set, load_yaml, validate
from astro_dist.engine.work import for_stage
from astro_dist.field.columns import read_columns_file
from astro_dist.sky.annotate import AnnotateConfig, find_islands
from astro_dist.sky.annotations import read_parquet
from astro_dist.sky.classes import SourceClass
from astro_dist.sky.config import MapsConfig
from astro_dist.sky.labels import Plane
from astro_dist.sky.maps import SkyMap
from astro_dist.sky.morphology import Morphology
from astro_dist.sky.simulate import SimulateConfig
from astro_dist.sky.stages import SIMULATE
from astro_dist.sky.survey import instances_file
from astro_dist.sky.windows import Window
from astro_dist.store.reader import StoreReader
from tests.settings import make_run

SKIES = {
    "default": {},
    "large sources": {"extended_size_beams": (12, 45), "extended_per_1000_beams": 0.12},
    "natural density": {"extended_per_1000_beams": 0.05},
    "compact only": {"extended_per_1000_beams": 0.0},
}
BINS = (0, 30, 60, 150, np.inf)


def simulate(root, sky, seed):
    """Yield the simulated maps of a sky, made below ``root``, with their sources."""
    run = for_stage(make_run(root, SIMULATE, seed=seed, simulate=sky), SIMULATE, "f" * 64)
    SIMULATE.prepare(run)
    state = SIMULATE.open(run)
    results = {task.name: SIMULATE.run(state, task) for task in SIMULATE.plan(run, {})}
    SIMULATE.seal(run, results)
    for number, name in enumerate(sky.names):
        yield SkyMap.open(run.output / f"{name}.fits", MapsConfig(), verify=False), state.map(number)


def open_instances(sky_map):
    """Return the truth beside a simulated map."""
    return Plane.open(sky_map.path.with_name(instances_file(sky_map.name)), 1)


def find_owners(drawn):
    """Return the brightest source of each pixel, from 1; 0 where all are below half the noise."""
    shape = drawn.config.shape
    level, owner = np.full(shape, 0.5 * drawn.config.rms_jy_beam, np.float32), np.zeros(shape, np.int32)
    for i in range(len(drawn.population)):
        window, stamp = drawn.draw_source(i)
        part = window & Window.of_shape(shape)
        inside = stamp[part.within(window)] > level[part.slices]
        level[part.slices][inside] = stamp[part.within(window)][inside]
        owner[part.slices][inside] = i + 1
    return owner


def light_in_islands(found, drawn):
    """Yield the number of each source, the islands that it has light in, and sum and peak of that in each.

    Light is what exceeds half the merge threshold without noise, Jy/beam; spurious islands are left out.
    """
    shape, pixels = drawn.config.shape, found.islands.pixels
    owner = np.full(shape, -1, np.int32)
    real = found.columns["class"][found.islands.owner] != SourceClass.SPURIOUS
    owner[pixels.y[real], pixels.x[real]] = found.islands.owner[real]
    for i in range(len(drawn.population)):
        window, stamp = drawn.draw_source(i)
        part = window & Window.of_shape(shape)
        inside, light = owner[part.slices], stamp[part.within(window)]
        inside, light = (v[(inside >= 0) & (light > 1.5 * drawn.config.rms_jy_beam)] for v in (inside, light))
        islands = np.unique(inside)
        values = [light[inside == island] for island in islands]
        yield i + 1, islands, np.array([v.sum() for v in values]), np.array([v.max() for v in values])


def find_parted(found, drawn):
    """Return what became of the sources of a simulated map whose islands were joined.

    An island is of the source with most light in it, if that is at least a third of what was measured.

    Returns
    -------
    dict
        ``several``, the sources of several islands; ``parted``, those of them whose islands are not one
        source; ``mixed``, joined sources with islands of several sources, by their islands; ``stray``,
        joined islands that are mostly noise; ``shared``, sources that exceed the seed threshold in an
        island of another source.
    """
    n, source = len(found.islands), found.columns["source"]
    most = np.bincount(found.islands.owner, found.islands.pixels.value_jy_beam, n) / 3
    true, reach = np.zeros(n, int), {}
    for number, islands, light, peak in light_in_islands(found, drawn):
        mine = light > most[islands]
        most[islands[mine]], true[islands[mine]] = light[mine], number
        reach[number] = islands[peak > 5 * drawn.config.rms_jy_beam]
    groups = {i: np.flatnonzero(true == i) for i in np.unique(true[true > 0]).tolist()}
    joined = [np.flatnonzero(source == number) for number in np.unique(source)]
    joined = [islands for islands in joined if len(islands) > 1]
    return {
        "several": [i for i, islands in groups.items() if len(islands) > 1],
        "parted": [i for i, islands in groups.items() if len(np.unique(source[islands])) > 1],
        "mixed": [i.tolist() for i in joined if len(np.unique(true[i][true[i] > 0])) > 1],
        "stray": [island for islands in joined for island in islands[true[islands] == 0].tolist()],
        "shared": [i for i in groups if (true[reach[i]] != i).any()],
    }


def report_truth(path):
    """Print what became of the galaxies of a configuration's sky, joined by their truth and by the rules."""
    tree = load_yaml(path)
    sky = validate(SimulateConfig, tree.get("simulate", {}))
    with tempfile.TemporaryDirectory() as folder:
        for sky_map, drawn in simulate(Path(folder), sky, tree.get("seed", 0)):
            for name, truth in (("truth", open_instances(sky_map)), ("rules", None)):
                counts = find_parted(find_islands(sky_map, AnnotateConfig(), truth), drawn)
                print(sky_map.name, name, *(f"{key} {len(value)}" for key, value in counts.items()))
                for number in counts["shared"] if truth else ():
                    kind = Morphology(int(drawn.population.kind[number - 1])).name.lower()
                    print(f"  number {number}, {kind}, lies partly in an island of another source")


def follow_run(run):
    """Return how many galaxies of several pieces each product of a run holds, and how many of them in parts.

    Returns
    -------
    dict
        By product, ``whole`` and ``parted``: galaxies of several islands in ``annotations``, sources of
        several pieces in ``cutouts`` (counted once for each cutout), drawn objects of several pieces in
        ``stamps`` and placed ones of several components in the ``field``. Islands that were taken for
        artefacts are nobody's; ``artefacts`` counts the galaxies that such an island is a piece of.
    """
    islands = read_parquet(run / "annotations/islands.parquet")[0]
    table = pq.read_table(run / "annotations/pixels.parquet")
    pixels = {name: table[name].to_numpy() for name in table.column_names}
    counts = {name: Counter(whole=0, parted=0) for name in ("annotations", "cutouts", "stamps", "field")}
    cutouts, stamps = StoreReader(run / "cutouts.zarr"), StoreReader(run / "stamps.zarr")
    for number, about in enumerate(cutouts.attrs["maps"]):
        mine, here = islands["map"] == number, pixels["map"] == number
        y, x, island = (pixels[name][here] for name in ("y", "x", "island"))
        source = np.zeros(islands["island"][mine].max() + 1, np.int32)
        source[islands["island"][mine]] = islands["source"][mine]
        plane = np.zeros(about["shape"], np.int32)
        plane[y, x] = source[island]
        image, truth = (
            fits.getdata(run / "maps" / name)
            for name in (f"{about['name']}.fits", instances_file(about["name"]))
        )
        owners = _owners_of(island, truth[y, x], image[y, x])
        spurious = islands["island"][mine & (islands["class"] == SourceClass.SPURIOUS)]
        counts["annotations"].update(_galaxies_of(owners, source, np.isin(np.arange(len(owners)), spurious)))
        for i in np.flatnonzero(
            (cutouts.columns["source_map"] == number) & (cutouts.columns["n_joined"] > 0)
        ):
            y0, x0 = (int(cutouts.columns[name][i]) for name in ("y0", "x0"))
            instances = cutouts.read("instances", [i])[0]
            window = Window(y0, y0 + instances.shape[0], x0, x0 + instances.shape[1])
            counts["cutouts"].update(_instances_of(plane[window.slices], instances))
    objects, placed, truth, parts = (
        read_columns_file(run / "field" / f"{name}.parquet")
        for name in ("objects", "placements", "truth", "truth_components")
    )
    drawn = Counter(zip(objects["stamp"].tolist(), objects["instance"].tolist(), strict=True))
    for (stamp, instance), rows in drawn.items():
        instances = stamps.read("instances", [stamp])[0]
        if ndimage.label(instances == instance, np.ones((3, 3)))[1] > 1:
            counts["stamps"]["whole" if rows == 1 else "parted"] += 1
    counts["field"].update(_placed_parts(placed, truth, parts, objects, run / "field"))
    return {name: dict(count) for name, count in counts.items()}


def _owners_of(island, number, light):
    """Return, by the number of an island, the simulated source that has most of its light, 0 for none."""
    light_of = np.zeros((island.max() + 1, number.max() + 1), np.float32)
    np.add.at(light_of, (island, number), light)
    return light_of.argmax(axis=1)


def _galaxies_of(owners, source, spurious):
    """Count the galaxies whose islands have one number of a source, and those whose islands have several."""
    found = Counter()
    for galaxy in np.unique(owners[owners > 0]):
        members = owners == galaxy
        numbers = source[members & ~spurious]
        if len(numbers) > 1:
            found["whole" if len(np.unique(numbers)) == 1 else "parted"] += 1
        if members.sum() > 1 and (members & spurious).any():
            found["artefacts"] += 1
    return found


def _instances_of(sources, instances):
    """Count the sources of several pieces in a cutout that have one instance, and those that have not."""
    found = Counter()
    for number in np.unique(sources[sources > 0]):
        inside = sources == number
        if ndimage.label(inside, np.ones((3, 3)))[1] > 1:
            own = np.unique(instances[inside])
            # One number, and no pixel of another source under it.
            whole = len(own) == 1 and own[0] > 0 and (sources[instances == own[0]] == number).all()
            found["whole" if whole else "parted"] += 1
    return found


def _placed_parts(placed, truth, parts, objects, folder):
    """Count the sources of several components in a field that are one row with all of them in its box."""
    instances = fits.getdata(folder / "instances.fits")
    rows, found = {number: i for i, number in enumerate(placed["id"].tolist())}, Counter()
    for number in truth["id"][truth["n_components"] > 1].tolist():
        i, own = rows[number], np.flatnonzero(parts["id"] == number)
        y, x = (parts[f"{axis}_peak_pix"][own] for axis in "yx")
        y0, x0 = placed["y0"][i], placed["x0"][i]
        inside = (y >= y0) & (y < y0 + placed["height"][i]) & (x >= x0) & (x < x0 + placed["width"][i])
        all_there = len(own) == placed["n_components"][i] == objects["n_components"][placed["object"][i]]
        box = instances[y0 : y0 + placed["height"][i], x0 : x0 + placed["width"][i]]
        # What cannot be detected has no pixels in the mask.
        seen = not placed["detectable"][i] or (box == number).any()
        found["whole" if all_there and inside.all() and seen else "parted"] += 1
    return found


def pairs_of(labels):
    """Return all pairs of members of one group; label 0 is no group."""
    groups = {}
    for i, label in enumerate(labels.tolist()):
        groups.setdefault(label, []).append(i)
    groups.pop(0, None)
    return {pair for members in groups.values() for pair in combinations(members, 2)}


def compare(sky_map, drawn, config):
    """Compare the sources of a map with its truth.

    Returns
    -------
    rows
        For each true source with islands: peak over noise, kind, islands, true pairs, those of them that were
        joined, and whether it is whole.
    false
        Peak over noise of each false pair.
    facts
        Number of joined sources, and of those with islands of several true sources.
    """
    found = find_islands(sky_map, config)
    pixels, where, n = found.islands.pixels, found.islands.owner, len(found.islands)
    votes = np.zeros((n, len(drawn.population) + 1), np.int32)
    np.add.at(votes, (where, find_owners(drawn)[pixels.y, pixels.x]), 1)
    true = np.where(found.columns["class"] == SourceClass.SPURIOUS, 0, votes.argmax(axis=1))
    source = found.columns["source"]
    same, joined = pairs_of(true), pairs_of(source)
    snr = np.append(0, drawn.population.peak_jy_beam / drawn.config.rms_jy_beam)
    rows = []
    for label in np.unique(true[true > 0]).tolist():
        members = np.flatnonzero(true == label)
        own = set(combinations(members.tolist(), 2))
        whole = len(np.unique(source[members])) == 1
        kind = drawn.population.kind[label - 1]
        rows.append((snr[label], kind, len(members), len(own), len(own & joined), whole))
    several = [true[source == number] for number in np.unique(source)]
    mixed = [len(np.unique(members)) > 1 for members in several if len(members) > 1]
    return rows, [max(snr[true[a]], snr[true[b]]) for a, b in joined - same], (len(mixed), sum(mixed))


def report(name, rows, false, joined, mixed):
    """Print the table of one sky."""
    table, wrong = np.array(rows, float), np.array(false)
    print(f"\n{name}: {len(table)} sources with islands, {joined} joined sources, {mixed} of them mixed")
    heads = ("peak snr", "sources", "several", "whole", "recall", "false", "precision")
    print("".join(f"{head:>11}" for head in heads))
    for low, high in [*pairwise(BINS), (0, np.inf)]:
        here = table[(table[:, 0] >= low) & (table[:, 0] < high)]
        several = here[here[:, 2] > 1]
        bad, hit = int(((wrong >= low) & (wrong < high)).sum()), several[:, 4].sum()
        ratios = [several[:, 5].sum() / max(len(several), 1), hit / max(several[:, 3].sum(), 1)]
        shown = [f"{len(here)}", f"{len(several)}", *(f"{r:.2f}" if len(several) else "-" for r in ratios)]
        shown += [f"{bad}", f"{hit / (hit + bad):.2f}" if hit + bad else "-"]
        print(f"{f'{low:g}-{high:g}':>11}" + "".join(f"{text:>11}" for text in shown))
    for kind in Morphology:
        here = table[(table[:, 1] == kind) & (table[:, 2] > 1)]
        if len(here):
            print(f"{kind.name.lower():>14}: {here[:, 5].sum():.0f} of {len(here)} whole")


def draw(paths, png, beam_arcsec, config):
    """Draw maps with the outlines of their islands in the colour of their source."""
    import matplotlib.pyplot as plt

    columns = min(5, len(paths))
    figure, axes = plt.subplots(-(-len(paths) // columns), columns, squeeze=False, figsize=(4 * columns, 18))
    figure.set_figheight(4.2 * len(axes))
    for axis in axes.flat:
        axis.axis("off")
    for path, axis in zip(paths, axes.flat, strict=False):
        sky_map = SkyMap.open(Path(path), MapsConfig(beam_major_arcsec=beam_arcsec))
        found, whole = find_islands(sky_map, config), Window.of_shape(sky_map.shape)
        image = sky_map.read(whole)
        rms = found.mesh.median_rms
        axis.imshow(np.arcsinh(image / rms / 3), origin="lower", cmap="gray_r", vmin=-0.5, vmax=4)
        pixels, numbers = found.islands.pixels, found.columns["source"]
        for number in np.unique(numbers):
            shown = np.zeros(sky_map.shape)
            inside = numbers[found.islands.owner] == number
            shown[pixels.y[inside], pixels.x[inside]] = 1
            axis.contour(shown, [0.5], colors=[plt.cm.tab10(int(number) % 10)], linewidths=1)
        for y, x, rule, number in zip(
            *(found.columns[name] for name in ("y", "x", "joined_by", "source")), strict=True
        ):
            if rule:
                axis.text(x, y, f"{number} {rule}", fontsize=7, color=plt.cm.tab10(int(number) % 10))
        axis.set_title(
            f"{Path(path).name[:22]}: {len(numbers)} islands, {len(np.unique(numbers))} sources", fontsize=8
        )
    figure.tight_layout()
    figure.savefig(png, dpi=75)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=17)
    parser.add_argument("--side", type=int, default=1800)
    parser.add_argument("--maps", type=int, default=4)
    parser.add_argument("--set", nargs="*", default=[])
    parser.add_argument("--fits", nargs="*", default=[])
    parser.add_argument("--png", type=Path)
    parser.add_argument("--beam", type=float)
    parser.add_argument("--truth", type=Path)
    parser.add_argument("--run", type=Path)
    given = parser.parse_args()
    if given.run:
        for product, count in follow_run(given.run).items():
            print(product, *(f"{number} {name}" for name, number in count.items()))
        return
    if given.truth:
        report_truth(given.truth)
        return
    tree = {}
    for assignment in given.set:
        tree = apply_set(tree, f"join.{assignment}")
    config = AnnotateConfig.model_validate(tree)
    if given.fits:
        draw(given.fits, given.png, given.beam, config)
        return
    for name, settings in SKIES.items():
        sky = SimulateConfig(shape=(given.side, given.side), maps=given.maps, **settings)
        rows, false, counts = [], [], np.zeros(2, int)
        with tempfile.TemporaryDirectory() as folder:
            for sky_map, drawn in simulate(Path(folder), sky, given.seed):
                part = compare(sky_map, drawn, config)
                rows, false, counts = rows + part[0], false + part[1], counts + part[2]
        report(name, rows, false, *counts)


if __name__ == "__main__":
    main()
