"""The tables of the page of `enhance`, from ``metrics.json`` of its stage `evaluate`."""

from collections.abc import Mapping
from typing import Any

from astro_dist.report.page import Block, Note, Table

Metrics = Mapping[str, Any]
PAPER = (
    "The README of 'Enhancing astronomy images' states SSIM 0.857 in the mean of 100 images and 0.943 "
    "at best, without window, reference or baseline."
)
OCTAVES = ("1/16 to 1/8", "1/8 to 1/4", "1/4 to 1/2")


def show(figure: Mapping[str, Any] | None, digits: int = 3) -> str:
    """Return a figure with its interval."""
    if figure is None or figure["value"] is None:
        return "-"
    if 0 < abs(figure["value"]) < 10 ** -(digits + 1):
        return f"{figure['value']:.1e}"
    value = f"{figure['value']:.{digits}f}"
    if figure["low"] is None:
        return value
    return f"{value} [{figure['low']:.{digits}f}, {figure['high']:.{digits}f}]"


def extremes(figure: Mapping[str, Any] | None) -> str:
    """Return the median and the best of a figure."""
    return "-" if figure is None else f"{figure['median']:.3f}, {figure['best']:.3f}"


def tabulate_similarity(metrics: Metrics) -> list[Block]:
    """Return the table of PSNR and SSIM, against the original and where it was made the filtered one."""
    columns = [("psnr", "PSNR, dB", 2), ("ssim", "SSIM", 3), ("ssim_grey", "SSIM, grey", 3)]
    names = {"ssim_filtered": "SSIM, filtered", "ssim_grey_filtered": "grey, filtered"}
    columns += [(key, name, 3) for key, name in names.items() if key in metrics["figures"]["chain"]]
    rows = []
    for row, found in metrics["figures"].items():
        cells = [show(found.get(key), digits) for key, _, digits in columns]
        cells.insert(2, extremes(found.get("ssim")))
        rows.append((row, *cells))
    head = ["", *(name for _, name, _ in columns)]
    head.insert(3, "median, best")
    caption = (
        f"Means of {metrics['images']} pictures of the {metrics['split']} split with {metrics['interval']}. "
        f"SSIM: {metrics['meanings']['ssim']}."
    )
    if numbers := metrics["filter"]:
        caption += (
            " Filtered: against the original after a bilateral filter "
            f"({numbers['diameter_pix']} pixels, {numbers['brightness']:g}, {numbers['radius_pix']:g})."
        )
    return [Table(head, rows, caption, numbers=tuple(range(1, len(head)))), Note(PAPER)]


def tabulate_rest(metrics: Metrics) -> Table:
    """Return the table of colour, detail and peaks."""
    columns = [("colour", "colour, a and b", 2), ("chroma", "chroma", 2), ("lost", "peaks lost", 3)]
    columns = [column for column in columns if column[0] in metrics["figures"]["chain"]]
    head = ["", *(name for _, name, _ in columns), *(f"power {octave}" for octave in OCTAVES)]
    rows = [
        (
            row,
            *(show(found.get(key), digits) for key, _, digits in columns),
            *(show(one, 2) for one in found["power"]),
        )
        for row, found in metrics["figures"].items()
    ]
    peaks = metrics["figures"]["chain"]["lost"]["of"]
    texts = {"colour": "Colour", "chroma": "Chroma", "lost": f"Peaks lost, of {peaks:,.0f}", "power": "Power"}
    said = [
        f"{name}: {metrics['meanings'][key]}."
        for key, name in texts.items()
        if key in metrics["figures"]["chain"]
    ]
    return Table(head, rows, " ".join(said), numbers=tuple(range(1, len(head))))


def tabulate_gains(metrics: Metrics) -> Table:
    """Return the paired differences of the chain over what needs no network."""
    names = {key: None for gains in metrics["gains"].values() for key in gains}
    rows = [
        (f"chain over {row}", *(show(gains.get(key), 3) for key in names))
        for row, gains in metrics["gains"].items()
    ]
    caption = f"Paired differences with {metrics['interval']}; an interval that holds 0 shows no difference."
    return Table(("", *names), rows, caption, numbers=tuple(range(1, len(names) + 1)))


def tabulate_meanings(metrics: Metrics) -> Table:
    """Return what the rows and the figures mean."""
    shown = [(row, metrics["rows"].get(row, "")) for row in metrics["figures"]]
    return Table(
        ("", "meaning"), [*shown, *metrics["meanings"].items()], "What rows and figures mean", folded=True
    )


def tabulate_map_figures(metrics: Metrics) -> Table:
    """Return the table of maps: each figure of each row."""
    names = list(
        dict.fromkeys(key for found in metrics["figures"].values() for key in found if key != "power")
    )
    rows = [
        (row, *(show(found.get(key), 3) for key in names), *(show(one, 2) for one in found["power"]))
        for row, found in metrics["figures"].items()
    ]
    head = ["", *(name.replace("_", " ") for name in names), *(f"power {octave}" for octave in OCTAVES)]
    caption = (
        f"Means of {metrics['images']} cutouts of the {metrics['split']} split with {metrics['interval']}."
    )
    return Table(head, rows, caption, numbers=tuple(range(1, len(head))))


def tabulate_probe(probe: Mapping[str, Any]) -> Table:
    """Return what the network adds to images of each kind."""
    head = ("images", "number", "strength", "common", "points", "nearer than 99 %", "distance")
    rows = [
        (
            "true detail" if kind == "truth" else kind,
            str(one["images"]),
            f"{one['strength']:.2f}",
            "-" if one["common"] is None else f"{one['common']:.2f}",
            f"{one['points']:.1f}",
            show(one["near"]),
            "-" if one["distance_ratio"] is None else f"{one['distance_ratio']:.2f}",
        )
        for kind, one in probe["kinds"].items()
    ]
    side = probe["patch_pix"]
    caption = (
        "Strength: rms of what one sample adds to the bicubic enlargement, over that of the true detail of "
        "held-out images. Common: correlation of the additions of two samples, 1 where they are the same and "
        "0 where they are noise. Points: peaks above 5 sigma in 10,000 pixels of the addition. Nearer than "
        f"99 %: share of the patches of {side} x {side} pixels of the detail that are nearer to one of "
        f"{probe['patches']:,} training patches, in any turn or flip, than 99 % of those of held-out "
        "originals are; 0.01 is wanted. Distance: median distance to the nearest over that of held-out "
        "originals."
    )
    return Table(head, rows, caption, numbers=tuple(range(1, len(head))))
