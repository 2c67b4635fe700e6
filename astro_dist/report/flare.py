"""The page of the pipeline `flare`: whether synthetic data helped, the paper's tables and its figures."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.errors import QUARANTINED
from astro_dist.engine.work import Run
from astro_dist.report import gain_figures, gain_tables
from astro_dist.report.book import RUN_CHAPTER, ChapterBuilder, build_chapters, is_published
from astro_dist.report.config import PictureReportConfig
from astro_dist.report.gain_tables import LEAK_NOTE, OWN, Metrics, leak_notes, mark
from astro_dist.report.page import Block, Listing, Note, Page, Picture
from astro_dist.report.style import to_svg, to_webp
from astro_dist.sky.tables import read_table_file
from astro_dist.store.reader import StoreReader

FOOTER = "Every gain is a mean of paired differences: same test pictures, same seeds."
MOST_NETWORKS = 4
UNKNOWN = "The training sets were not compared yet."


def build_page(run: Run) -> Page:
    """Return the report of a run; any of its stages may be unpublished."""
    return Page(run.name, _summarise(run), _headline(run), build_chapters(run, CHAPTERS), FOOTER)


def read_metrics(run: Run) -> Metrics:
    """Return what `compare` has found."""
    found: Metrics = json.loads((run.product("flare") / "metrics.json").read_text())
    return found


def _summarise(run: Run) -> str:
    if not is_published(run, "compare"):
        return UNKNOWN
    metrics = read_metrics(run)
    leaks = [name for name, one in metrics["sets"].items() if one["leak"]]
    return " ".join([metrics["answers"][0], *([f"{LEAK_NOTE}"] if leaks else [])])


def _headline(run: Run) -> list[tuple[str, str]]:
    entries = []
    if pictures := run.facts("pictures"):
        entries += [
            ("Real pictures", f"{pictures['pictures'] - len(pictures.get(QUARANTINED, ())):,}"),
            ("Classes", str(len(pictures["classes"]))),
        ]
        entries.append(("Groups of near-duplicates", f"{pictures['groups']:,}"))
    if synthetic := run.facts("synthesise"):
        entries.append(("Synthetic pictures", f"{synthetic['pictures']:,}"))
    if is_published(run, "compare"):
        own = next(row for row in read_metrics(run)["scores"] if row["test"] == OWN)
        entries.append(("Test pictures (groups)", f"{own['pictures']:,} ({own['groups']:,})"))
        entries.append(("Trainings of each set", str(own["seeds"])))
    return entries


def _answer_blocks(run: Run) -> list[Block]:
    metrics = read_metrics(run)
    blocks: list[Block] = [Note(text) for text in metrics["answers"]]
    gains = [g for g in metrics["gains"] if (g["test"], g["figure"]) == (OWN, "accuracy")]
    if not gains:
        return [*blocks, Note("No set has a reference, so that there is no gain; add one with beta 0.")]
    rows, names = [], []
    for gain in gains:
        same = {key: gain[key] for key in ("network", "level", "test", "figure", "reference")}
        room = gain_tables.find(metrics["headroom"], **same)
        rows.append({**gain, "headroom": room["mean"] if room else None})
        names.append(f"{mark(metrics, gain['arm'])} over {mark(metrics, gain['reference'])}, "
                     f"{gain_tables.NETWORKS[gain['network']]}, {gain['level']}")  # fmt: skip
    caption = "Gains with 95 % intervals; a blue line is the gain of doubling the real pictures (headroom)."
    figure = gain_figures.plot_gains(rows, names)
    blocks.append(Picture(to_svg(figure), caption, "Gains of the training sets", wide=True))
    blocks += [gain_tables.tabulate_gains(metrics), Note(metrics["interval"])]
    return [*blocks, *_copy_blocks(metrics), *leak_notes(metrics)]


def _copy_blocks(metrics: Metrics) -> list[Block]:
    copies = metrics["copies"]
    if not copies:
        return []
    return [
        Note(
            f"Copies: {copies['copies']:,} of {copies['pictures']:,} synthetic pictures "
            f"({100 * copies['share']:.1f} %) are nearer to a training picture than all but 1 % of the test "
            f"pictures are, in the features of the classifier of {mark(metrics, copies['judge'])}. Pictures "
            "as new as the test pictures have 1 %."
        )
    ]


def _table_blocks(run: Run) -> list[Block]:
    metrics = read_metrics(run)
    levels = list(metrics["classes"])
    blocks: list[Block] = [gain_tables.tabulate_mixtures(metrics, level) for level in levels]
    blocks += gain_tables.paper_notes(metrics, "all", "table4")
    blocks += [gain_tables.tabulate_networks(metrics, level, "accuracy", 2) for level in levels]
    blocks += gain_tables.paper_notes(metrics, "table2")
    blocks += gain_tables.tabulate_outside(metrics, levels[0])
    blocks += gain_tables.paper_notes(metrics, "table3")
    blocks += [gain_tables.tabulate_networks(metrics, level, "f1_macro", 5) for level in levels]
    return blocks + gain_tables.paper_notes(metrics, "table5") + leak_notes(metrics)


def _restoration_blocks(run: Run) -> list[Block]:
    metrics = read_metrics(run)
    blocks = gain_tables.tabulate_restoration(metrics) + gain_tables.paper_notes(metrics, "table1")
    if not is_published(run, "upscale"):
        return blocks
    small, large = (StoreReader(run.product(name)) for name in ("pictures.zarr", "upscaled.zarr"))
    index = _first_of_each(small, small.select("test"), run.section(PictureReportConfig).examples)
    rows = {"as it is": small.read("picture", index), "upscaled": large.read("picture", index)}
    names = [small.attrs["labels"][label] for label in small.columns["label"][index]]
    caption = "Figure 5: test pictures and their upscaled versions."
    return [*blocks, _draw_pictures(rows, names, caption, "Pictures and their upscaled versions")]


def _first_of_each(reader: StoreReader, members: NDArray[Any], most: int) -> NDArray[np.int64]:
    """Return the first picture of each class, of the first ``most`` classes."""
    labels = reader.columns["label"][members]
    first = [members[np.flatnonzero(labels == kind)[0]] for kind in np.unique(labels)[:most]]
    return np.array(first, np.int64)


def _draw_pictures(rows: dict[str, NDArray[Any]], names: list[str], caption: str, alt: str) -> Picture:
    return Picture(to_webp(gain_figures.plot_pictures(rows, names)), caption, alt, wide=True)


def _picture_blocks(run: Run) -> list[Block]:
    metrics, sets = read_metrics(run), run.facts("combine")["sets"]
    classes = list(next(iter(sets.values()))["classes"])
    counts = {mark(metrics, name): list(sets[name]["classes"].values()) for name in metrics["sets"]}
    caption = "Figure 3: pictures of each class in the training sets."
    figure = gain_figures.plot_counts(counts, classes)
    blocks: list[Block] = [Picture(to_svg(figure), caption, "Pictures of each class", wide=True)]
    blocks += _example_blocks(run)
    table = read_table_file(run.product("flare") / "spread.parquet").to_pydict()
    spreads: dict[str, list[float]] = {}
    moments: dict[str, tuple[float, float]] = {}
    for arm, label, mean, spread in zip(*(table[k] for k in ("arm", "label", "mean", "spread")), strict=True):
        if label < 0:
            moments[mark(metrics, arm)] = mean, spread
        else:
            spreads.setdefault(mark(metrics, arm), []).append(spread)
    caption = "Figure 7: standard deviation of the pixels of each class."
    figure = gain_figures.plot_spread(spreads, classes)
    blocks.append(Picture(to_svg(figure), caption, "Spread of each class", wide=True))
    caption = (
        "Figure 10: normal curves with the mean and the standard deviation of each set's pixels; grey is the "
        "range that pixels have."
    )
    blocks.append(Picture(to_svg(gain_figures.plot_normals(moments)), caption, "Mean and spread of each set"))
    return blocks + leak_notes(metrics)


def _example_blocks(run: Run) -> list[Block]:
    if not is_published(run, "synthesise"):
        return []
    real, painted = (StoreReader(run.product(name)) for name in ("pictures.zarr", "synthetic.zarr"))
    most = run.section(PictureReportConfig).examples
    columns = painted.columns
    first = _first_of_each(painted, np.flatnonzero(columns["variant"] == 0), most)
    rows = {
        "real": real.read("picture", columns["parent"][first]),
        "synthetic": painted.read("picture", first),
    }
    for variant in range(1, int(columns["variant"].max()) + 1):
        same = [
            int(np.flatnonzero((columns["parent"] == p) & (columns["variant"] == variant))[0])
            for p in columns["parent"][first]
        ]
        rows[f"variant {variant}"] = painted.read("picture", same)
    names = [real.attrs["labels"][label] for label in columns["label"][first]]
    caption = (
        "Synthetic pictures: one painted from the prompt of its class, its variants, and the real parent."
    )
    return [_draw_pictures(rows, names, caption, "Real and synthetic pictures")]


def _sight_blocks(run: Run) -> list[Block]:
    metrics, folder = read_metrics(run), run.product("flare")
    blocks = _cluster_blocks(metrics, folder)
    blocks += _gradient_blocks(run, metrics, folder / "gradients.npz")
    name = metrics["shown"]["mixed"]
    for level, classes in metrics["classes"].items():
        matrices = {}
        for network in metrics["shown"]["networks"][:MOST_NETWORKS]:
            row = gain_tables.find(metrics["scores"], arm=name, network=network, level=level, test=OWN)
            if row is not None:
                matrices[f"{gain_tables.NETWORKS[network]}, {mark(metrics, name)}"] = row["confusion"]
        figure = gain_figures.plot_confusions(matrices, classes)
        caption = f"Figure 9, {level} classes: confusion on the test pictures, summed over seeds."
        wide = len(matrices) > 1
        blocks.append(Picture(to_svg(figure), caption, f"Confusion of {level} classes", wide=wide))
    return blocks + leak_notes(metrics)


def _cluster_blocks(metrics: Metrics, folder: Path) -> list[Block]:
    path = folder / "clusters.parquet"
    if not path.exists():
        return [
            Note("Figures 1, 6 and 8: no clusters; compare.clusters and classify.keep: weights make them.")
        ]
    table = read_table_file(path)
    columns = {name: np.array(table[name].to_pylist()) for name in table.column_names}
    blocks: list[Block] = []
    network = gain_tables.NETWORKS[metrics["shown"]["network"]]
    for level, classes in metrics["classes"].items():
        panels = {}
        for arm in dict.fromkeys(columns["arm"].tolist()):
            own = (columns["arm"] == arm) & (columns["level"] == level)
            panels[mark(metrics, arm)] = {name: columns[name][own] for name in ("x", "y", "label")}
        number = "Figure 8" if level == "macro" else "Figures 1 and 6"
        caption = (
            f"{number}: features of the test pictures ({network}, t-SNE), as the classifiers of each set see "
            f"them; {level} classes. Distances between clusters have no meaning."
        )
        figure = gain_figures.plot_clusters(panels, classes)
        blocks.append(Picture(to_svg(figure), caption, f"Clusters of {level} classes", wide=True))
    return blocks


def _gradient_blocks(run: Run, metrics: Metrics, path: Path) -> list[Block]:
    if not path.exists():
        return [Note("Figure 4: no gradients; compare.gradients and classify.keep: weights make them.")]
    with np.load(path) as stored:
        found = dict(stored)
    if "raw" not in found:
        return []
    most, level = run.section(PictureReportConfig).examples, next(iter(metrics["classes"]))
    rows: dict[str, NDArray[Any]] = {"picture": found["raw"], "gradients": found["raw_shares"]}
    if "upscaled" in found:
        rows |= {"upscaled": found["upscaled"], "its gradients": found["upscaled_shares"]}
        rows["difference"] = found["upscaled_shares"] - found["raw_shares"]
    names = [metrics["classes"][level][label] for label in found["label"]][:most]
    worst = max(float(found[key].max()) for key in found if key.endswith("_missing"))
    caption = (
        f"Figure 4: integrated gradients from black, {mark(metrics, metrics['shown']['mixed'])}: red pixels "
        f"speak for the true class, blue ones against it. They add up to the output to {100 * worst:.2g} %."
    )
    return [_draw_pictures({k: v[:most] for k, v in rows.items()}, names, caption, "Integrated gradients")]


def _next_blocks(run: Run) -> list[Block]:
    here = os.path.relpath(run.root)
    # A run outside this directory is named by its absolute path, which is valid anywhere.
    root = str(run.root) if here.startswith(os.pardir) else here
    cells = list(run.facts("classify").get("cells", ()))
    steps = {
        "Check that every file still has the bytes it was published with.": f"astro-dist verify {root}",
        "Train further seeds, for narrower intervals; the cells that are there are kept.": (
            f"astro-dist run {root}/config.yaml --out {root} --set classify.seeds=5"
        ),
        "Take the training sets elsewhere, as a folder with a table of labels.": (
            f"astro-dist flare export {root} exported"
        ),
    }
    if cells:
        steps["Try a classifier on a folder of pictures with a folder for each class."] = (
            f"astro-dist flare test {root}/classifiers/{cells[-1]} FOLDER"
        )
    return [Listing(commands, why) for why, commands in steps.items()]


CHAPTERS = (
    ChapterBuilder(
        "answer",
        "Does synthetic data help?",
        "Each gain beside what doubling the real pictures gives. An interval that holds 0 is no proof of no "
        "gain: the answer also says which gain would have been found.",
        ("compare",),
        _answer_blocks,
    ),
    ChapterBuilder(
        "tables",
        "The paper's tables",
        "Tables 2 to 5 of FLARE with our figures and the printed ones, which are of other pictures and "
        "mostly of other networks.",
        ("compare",),
        _table_blocks,
    ),
    ChapterBuilder(
        "upscaling",
        "Upscaling",
        "Table 1 and Figure 5 of FLARE.",
        ("compare",),
        _restoration_blocks,
    ),
    ChapterBuilder(
        "pictures",
        "The training sets",
        "How many pictures they hold, how these look, how bright and how varied they are.",
        ("combine", "compare"),
        _picture_blocks,
    ),
    ChapterBuilder(
        "sight",
        "What the classifiers see",
        "Clusters of features, the pixels that speak for a class, and classes that are taken for each other.",
        ("compare",),
        _sight_blocks,
    ),
    RUN_CHAPTER,
    ChapterBuilder(
        "next",
        "What to do next",
        "Commands for a terminal in the directory that the run was started from.",
        (),
        _next_blocks,
    ),
)
