"""The chapter on the results of `evaluate`: figures, power spectra, and images to look at."""

import json
from typing import Any

import numpy as np

from astro_dist.engine.work import Run
from astro_dist.report import figures, images, samples
from astro_dist.report.page import Block, Note, Picture, Table
from astro_dist.report.style import to_svg, to_webp
from astro_dist.sky.classes import SourceClass

GRID_ROWS = ("real", "reconstructed", "reassembled", "generated")


def build_blocks(run: Run) -> list[Block]:
    """Return the table of figures, a grid of images per class, the power spectra and the tails of the sky."""
    folder = run.product("evaluation")
    measured = json.loads((folder / "metrics.json").read_text())
    power = dict(measured["power"])
    spectra = figures.plot_spectra(np.array(power.pop("frequency_per_pix")), power)
    caption = "Mean power spectrum of each set of images, over that of the real cutouts."
    return [
        _say_how(measured),
        _tabulate(measured),
        *_draw_grids(folder / "judged"),
        Picture(to_svg(spectra), caption, "Power spectra"),
        *_draw_tails(measured.get("sky")),
    ]


def _draw_tails(sky: dict[str, list[float]] | None) -> list[Block]:
    """Draw the distribution of sky pixels; None, which old evaluations have, gives no block."""
    if sky is None:
        return []
    shares = {name: np.array(values) for name, values in sky.items() if name != "snr"}
    caption = "Brightness of the sky between the objects, beside a Gaussian: the noise and its tails."
    return [Picture(to_svg(figures.plot_tails(np.array(sky["snr"]), shares)), caption, "Tails of the sky")]


def _say_how(measured: dict[str, Any]) -> Note:
    """Return a note with the sizes of the sets, the meaning of the rows and the headline distance."""
    rows = measured["rows"]
    meanings = "; ".join(f"{name.replace('_', ' ')}: {row['meaning']}" for name, row in rows.items())
    splits = " and ".join(measured["splits"])
    return Note(
        f"{measured['images_per_set']:,} images per set, of the {splits} split, against as many of "
        f"{measured['training_images']:,} training images. {meanings}. In brackets: {measured['interval']}. "
        f"The headline distance is {measured['headline']}."
    )


def _tabulate(measured: dict[str, Any]) -> Table:
    found = {(f["name"], f["row"]): f for f in measured["figures"]}
    # A row or a figure without a single value gets no column or line.
    rows = [name for name in measured["rows"] if any(row == name for _, row in found)]
    names = [name for name in measured["meanings"] if any(found.get((name, row)) for row in rows)]
    lines = [
        [name, *(_show(found.get((name, row))) for row in rows), measured["meanings"][name]] for name in names
    ]
    head = ["figure", *(row.replace("_", " ") for row in rows), "meaning"]
    return Table(head, lines, numbers=tuple(range(1, len(rows) + 1)), code=(0,))


def _show(figure: dict[str, Any] | None) -> str:
    if figure is None or figure["value"] is None:
        return "-"
    if figure["low"] is None or figure["high"] is None:
        return f"{figure['value']:.3g}"
    return f"{figure['value']:.3g} [{figure['low']:.3g}, {figure['high']:.3g}]"


def _draw_grids(folder: Any) -> list[Block]:
    judged = {
        name: np.load(folder / f"{name}.npz") for name in GRID_ROWS if (folder / f"{name}.npz").exists()
    }
    real = judged["real"]
    blocks: list[Block] = []
    for source_class in (SourceClass.COMPACT, SourceClass.EXTENDED):
        chosen = real["shown_class"] == source_class
        if not chosen.any():
            continue
        rows = {name: row["shown"][chosen] for name, row in judged.items()}
        masks, name = real["shown_mask"][chosen], source_class.name.lower()
        # The scale of the real cutouts for all rows, so that a model that draws too bright looks too bright.
        top_snr = samples.top_of_scale(rows["real"], masks)
        picture = to_webp(images.draw_grid(masks, rows, top_snr=top_snr))
        caption = f"Held-out masks with {name} sources, in units of the noise."
        blocks.append(Picture(picture, caption, f"Grid of {name} held-out examples", wide=True))
    return blocks
