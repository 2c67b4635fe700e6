"""The run's numbers as tables of text: stages, figures, versions, files, refusals and the truth."""

import platform
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_dist import __version__
from astro_dist.engine.arrays import Columns
from astro_dist.engine.ledger import Ledger, Published
from astro_dist.report.page import Block, Table

LIBRARIES = (
    *("numpy", "scipy", "astropy", "zarr", "tensorstore", "pyarrow", "dask"),
    *("torch", "diffusers", "accelerate", "ray", "matplotlib"),
)
# One sentence for each reason of `astro_dist.field.objects` and `astro_dist.field.models`.
REASONS = {
    "edge": "its footprint reaches the edge of the stamp",
    "not_finite": "it holds pixels that are not numbers",
    "faint": "its peak is too faint to be a donor",
    "peak_outside": "its brightest pixel lies outside its mask",
    "ignored_mask": "it fills too little of its mask",
    "spill": "it spreads too far beyond its mask",
    "narrower_than_beam": "it is narrower than the beam",
    "no_fit": "no model could be fitted to it",
    "not_like_beam": "it differs too much from its model seen through the beam",
}
LONG_LIST = 8
FILES_SHOWN, FILES_LISTED = 20, 400
HEX_SHOWN = 12
VISIBLE_SNR = 5.0
QUANTILES = (0.05, 0.5, 0.95)


def show(value: Any) -> str:
    """Return a value as text: thousands separated, floats of four digits, lists cut after `LONG_LIST`."""
    if value is None:
        return "-"
    # Before int, of which bool is a subclass.
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if 1e4 <= abs(value) < 1e12 else f"{value:.4g}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        more = f", ... ({len(value)} in all)" if len(value) > LONG_LIST else ""
        return ", ".join(show(v) for v in value[:LONG_LIST]) + more
    return str(value)


def show_bytes(n: int) -> str:
    """Return a size in decimal units."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n >= factor:
            return f"{n / factor:.3g} {unit}"
    return f"{n} B"


def show_seconds(seconds: float) -> str:
    """Return a duration in seconds, minutes or hours."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min {rest:02d} s"


def tabulate_stages(ledger: Ledger, root: Path, stages: Sequence[str]) -> Table:
    """Return one row per published stage: tasks, time, files, size, fingerprint."""
    rows = []
    for name in stages:
        published = ledger.published(name)
        if published is None:
            continue
        logs = ledger.records(name, published.fingerprint).logs()
        busy = sum(float(log["seconds"]) for log in logs)
        size = sum(_size(path) for _, path, _ in _files(published, root))
        row = [name, published.product, show(len(logs)), show_seconds(_elapsed(logs)), show_seconds(busy)]
        rows.append([*row, show(len(published.files)), show_bytes(size), published.fingerprint[:HEX_SHOWN]])
    head = ("stage", "product", "tasks", "elapsed", "work", "files", "size", "fingerprint")
    caption = (
        "Elapsed time runs from the start of the first task to the end of the last one; work is the sum over "
        "tasks. A stage runs again only when its fingerprint (settings, inputs, code version) changes."
    )
    return Table(head, rows, caption, numbers=(2, 3, 4, 5, 6), code=(1, 7))


def tabulate_facts(facts: Mapping[str, Any], stage: str) -> Table:
    """Return the figures that a stage published, nested names joined by dots."""
    return Table(("figure", "value"), list(_flatten(facts)), f"Figures of {stage}", folded=True)


def tabulate_versions(seed: int) -> Table:
    """Return the seed, and the versions of the libraries that the bytes depend on."""
    rows = [("seed", str(seed)), ("astro_dist", __version__), ("python", platform.python_version())]
    for name in LIBRARIES:
        try:
            rows.append((name, version(name)))
        # Libraries of an extra may be absent.
        except PackageNotFoundError:
            continue
    return Table(("part", "version"), rows, "Seed and versions", folded=True)


def tabulate_files(ledger: Ledger, root: Path, stages: Sequence[str]) -> list[Block]:
    """Return the published files with size and sha256.

    Products of up to `FILES_SHOWN` files share one table; every larger product has a folded one.
    """
    few: list[list[str]] = []
    folded: list[Block] = []
    head = ("file", "size", f"sha256 (first {HEX_SHOWN} digits)")
    for name in stages:
        published = ledger.published(name)
        if published is None:
            continue
        rows = [
            [shown, show_bytes(_size(path)), digest[:HEX_SHOWN]]
            for shown, path, digest in _files(published, root)
        ]
        if len(rows) <= FILES_SHOWN:
            few += rows
            continue
        more = f", the first {FILES_LISTED} of them" if len(rows) > FILES_LISTED else ""
        caption = f"{published.product}: {len(rows):,} files{more}"
        folded.append(Table(head, rows[:FILES_LISTED], caption, folded=True, numbers=(1,), code=(0, 2)))
    first: list[Block] = [Table(head, few, "Published files", numbers=(1,), code=(0, 2))] if few else []
    return first + folded


def tabulate_reasons(rejected: Mapping[str, int], accepted: int | None) -> Table:
    """Return the number of refused objects by reason, the commonest first, and its share of all examined."""
    total = sum(rejected.values()) + (accepted or 0)
    # Equal counts by name, so that the table does not depend on the order in which reasons were met.
    ordered = sorted(rejected.items(), key=lambda item: (-item[1], item[0]))
    outcomes = [(reason.replace("_", " "), REASONS.get(reason, ""), n) for reason, n in ordered]
    if accepted is not None:
        outcomes.append(("accepted", "it passed every check", accepted))
    rows = [[name, meaning, show(n), f"{100 * n / total:.1f} %"] for name, meaning, n in outcomes]
    return Table(("outcome", "meaning", "objects", "share"), rows, numbers=(2, 3))


def tabulate_truth(truth: Columns, donor: NDArray[np.integer[Any]] | None) -> Table:
    """Return the numbers of the truth by class: how many sources, how visible, how different, how compact.

    Parameters
    ----------
    truth
        The columns of the truth, with at least one row.
    donor
        The donor of each stamp: the cutout whose mask it was drawn for. None without published stamps.
    """
    groups = {name: truth["class_name"] == name for name in sorted(set(truth["class_name"].tolist()))}
    # A class that holds all sources would repeat the column "all".
    groups = {name: inside for name, inside in groups.items() if not inside.all()}
    groups["all"] = np.ones(len(truth["id"]), bool)
    columns = [_describe_sources({key: v[i] for key, v in truth.items()}, donor) for i in groups.values()]
    rows = [[name, *(column[name] for column in columns)] for name in columns[0]]
    caption = (
        "Peaks are compared with the local rms. Flux over peak is the number of beam areas that an object of "
        "unit peak fills: 1 for a point source. Objects of one mask have different pixels."
    )
    return Table(("figure", *groups), rows, caption, numbers=tuple(range(1, len(groups) + 1)))


def _describe_sources(truth: Columns, donor: NDArray[np.integer[Any]] | None) -> dict[str, str]:
    visible, n = count_visible(truth), len(truth["id"])
    drawn = truth["object"] >= 0
    figures = {
        "sources": show(n),
        f"peak above {VISIBLE_SNR:g} rms": f"{show(visible)} ({100 * visible / n:.0f} %)",
        "distinct objects": show(count_objects(truth)),
    }
    if donor is not None:
        cutouts = donor[truth["stamp"][drawn]]
        # A mask is one instance of one cutout.
        masks = np.unique(np.stack([cutouts, truth["instance"][drawn]]), axis=1)
        figures["distinct masks they were drawn for"] = show(masks.shape[1])
        figures["cutouts these are from"] = show(len(np.unique(cutouts)))
    extent = np.quantile(truth["flux_jy"] / truth["peak_jy_beam"], QUANTILES)
    for share, value in zip(QUANTILES, extent.tolist(), strict=True):
        figures[f"flux over peak, {100 * share:g} % quantile"] = f"{value:.3g}"
    return figures


def count_objects(truth: Columns) -> int:
    """Return how many objects of stamps were placed; points and Gaussians of their own are none."""
    return len(np.unique(truth["object"][truth["object"] >= 0]))


def count_visible(truth: Columns) -> int:
    """Return the number of sources of the truth whose peak is above `VISIBLE_SNR` times the local rms."""
    return int((truth["snr"] > VISIBLE_SNR).sum())


def _flatten(facts: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in facts.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", show(value)


def _files(published: Published, root: Path) -> list[tuple[str, Path, str]]:
    """Return (name to show, path, sha256) of every file of a product."""
    found = []
    for name, digest in published.files.items():
        shown = published.product if name == "." else f"{published.product}/{name}"
        found.append((shown, root / shown, digest))
    return found


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _elapsed(logs: Sequence[Mapping[str, Any]]) -> float:
    starts = [float(log["start"]) for log in logs]
    ends = [float(log["start"]) + float(log["seconds"]) for log in logs]
    return max(ends) - min(starts) if logs else 0.0
