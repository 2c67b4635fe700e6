"""The page of the pipeline `enhance`: what the chain reaches beside baselines, every step, what is added."""

import json
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.work import Run
from astro_dist.report import enhance_tables as tables
from astro_dist.report.book import RUN_CHAPTER, ChapterBuilder, build_chapters, is_published
from astro_dist.report.enhance_figures import plot_powers
from astro_dist.report.enhance_maps import show_maps
from astro_dist.report.gain_figures import plot_pictures
from astro_dist.report.page import Block, Listing, Note, Page, Picture
from astro_dist.report.style import to_svg, to_webp

FOOTER = "Figures are of images that no training has seen. What a network adds was drawn, not observed."
UNKNOWN = "The chain was not measured in this run; a section evaluate does that."
SIGNED = ("error", "added")


def build_page(run: Run) -> Page:
    """Return the report of a run; any of its stages may be unpublished."""
    measured = is_published(run, "evaluate")
    summary = " ".join(read_metrics(run)["answers"]) if measured else UNKNOWN
    own = (MAPS,) if run.facts("enhance").get("maps") else ()
    return Page(run.name, summary, _headline(run), build_chapters(run, (*own, *CHAPTERS)), FOOTER)


def read_metrics(run: Run) -> dict[str, Any]:
    """Return what `evaluate` has found."""
    found: dict[str, Any] = json.loads((run.product("evaluation") / "metrics.json").read_text())
    return found


def _headline(run: Run) -> list[tuple[str, str]]:
    entries = []
    if pictures := run.facts("pictures"):
        entries.append(("Pictures", f"{pictures['pictures']:,}"))
    if enhanced := run.facts("enhance"):
        if "maps" in enhanced:
            entries.append(("Maps enhanced", f"{len(enhanced['maps']):,}"))
            entries.append(("Invented sources taken back", f"{enhanced['invented']:,}"))
        else:
            entries.append(("Chain", ", ".join(enhanced["chain"])))
    if is_published(run, "evaluate"):
        metrics = read_metrics(run)
        entries.append(("Held-out images measured", f"{metrics['images']:,}"))
        for name, text in (("psnr", "PSNR, dB"), ("ssim", "SSIM"), ("rms", "Error, sigma")):
            if figure := metrics["figures"]["chain"].get(name):
                entries.append((text, f"{figure['value']:.3g}"))
    return entries


def _result_blocks(run: Run) -> list[Block]:
    metrics = read_metrics(run)
    blocks: list[Block] = [Note(text) for text in metrics["answers"]]
    if metrics["kind"] == "pictures":
        blocks += tables.tabulate_similarity(metrics)
    else:
        blocks.append(tables.tabulate_map_figures(metrics))
    if metrics["gains"]:
        blocks.append(tables.tabulate_gains(metrics))
    if metrics["kind"] == "pictures":
        blocks.append(tables.tabulate_rest(metrics))
    powers = {
        row: [one["value"] for one in found["power"]]
        for row, found in metrics["figures"].items()
        if not row.startswith("after")
    }
    caption = f"Power of the images over that of the originals: {metrics['meanings']['power']}."
    blocks.append(
        Picture(to_svg(plot_powers(powers, tables.OCTAVES)), caption, "Power in three octaves", wide=True)
    )
    return [*blocks, tables.tabulate_meanings(metrics)]


def _panel_blocks(run: Run) -> list[Block]:
    parts = [_read(path) for path in sorted((run.product("evaluation") / "panels").glob("images-*.npz"))]
    if not parts:
        return []
    panels = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    rows = {name: _shown(name, images) for name, images in panels.items()}
    names = [str(i + 1) for i in range(len(next(iter(rows.values()))))]
    caption = (
        "Held-out images: what the chain was given, each step, the original; the error of the brightness "
        "(red is too bright, blue too dark), and one standard deviation of the samples, each to its own "
        "largest value."
    )
    return [_draw(rows, names, caption, "Every step of the chain on held-out images")]


def _probe_blocks(run: Run) -> list[Block]:
    metrics = read_metrics(run)
    if not metrics["probe"]:
        return [Note("The chain has no network of super-resolution.")]
    panels = _read(run.product("evaluation") / "panels" / "probe.npz")
    rows = {name.replace("_", " "): _shown(name, images) for name, images in panels.items()}
    names = [str(i + 1) for i in range(max(map(len, rows.values())))]
    caption = (
        "Images of each kind, one sample of each doubled, and what two samples add to the bicubic "
        "enlargement, each to its own largest value. What both have is learnt, what differs is noise."
    )
    return [
        tables.tabulate_probe(metrics["probe"]),
        _draw(rows, names, caption, "What the network adds to held-out images, others and noise"),
    ]


def _read(path: Any) -> dict[str, NDArray[Any]]:
    with np.load(path) as stored:
        return {name: stored[name].astype(np.float32) for name in stored}


def _shown(name: str, images: NDArray[Any]) -> NDArray[Any]:
    """Return images as `plot_pictures` takes them: from -1 to 1, or (N, S, S) in two colours."""
    return images if images.ndim == 3 else 2 * images - 1


def _draw(rows: dict[str, NDArray[Any]], names: list[str], caption: str, alt: str) -> Picture:
    return Picture(to_webp(plot_pictures(rows, names)), caption, alt, wide=len(names) > 3)


def _next_blocks(run: Run) -> list[Block]:
    here = os.path.relpath(run.root)
    # A run outside this directory is named by its absolute path, which is valid anywhere.
    root = str(run.root) if here.startswith(os.pardir) else here
    steps = {
        "Check that every file still has the bytes it was published with.": f"astro-dist verify {root}",
        "Measure more held-out images, for narrower intervals.": (
            f"astro-dist run {root}/config.yaml --out {root} --set evaluate.most=100 --redo evaluate"
        ),
    }
    return [Listing(command, why) for why, command in steps.items()]


MAPS = ChapterBuilder(
    "maps", "The doubled maps", "A piece of each, before and after.", ("enhance",), show_maps
)
CHAPTERS = (
    ChapterBuilder(
        "results",
        "What the chain reaches",
        "Each figure beside what needs no network. A sample has the detail of the truth and a larger error; "
        "their mean has a small error and less detail.",
        ("evaluate",),
        _result_blocks,
        optional=True,
    ),
    ChapterBuilder(
        "steps",
        "Every step",
        "Held-out images on their way through the chain.",
        ("evaluate",),
        _panel_blocks,
        optional=True,
    ),
    ChapterBuilder(
        "memory",
        "Copies, learnt detail or noise",
        "What the network adds to images that it has not seen, to something else, and to noise.",
        ("evaluate",),
        _probe_blocks,
        optional=True,
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
