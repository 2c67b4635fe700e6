"""The page of a score, and the page that compares several: one offline HTML file each, beside the JSON."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from astro_dist.challenge.handed_in import refuse_same_names, score_name
from astro_dist.challenge.names import refuse_inside_file
from astro_dist.challenge.score import CATALOGUE, FORMAT, Judge, Options
from astro_dist.engine.errors import ConfigError
from astro_dist.engine.files import publish_bytes, publish_json
from astro_dist.engine.foreign import read_mapping
from astro_dist.report.page import Block, Chapter, Note, Page, Picture, Pictures, Table, render
from astro_dist.report.score_figures import paint_cut, plot_errors, plot_shares
from astro_dist.report.style import to_svg

LEADERBOARD = "leaderboard.html"
SCORE_BYTES = 1 << 24
HALF_PIX = 24
INTERVALS = "Bars are intervals of 95 %."
ERRORS = {
    "flux_ratio": ("flux over true flux", 1.0),
    "apart_arcsec": ("distance from the true place (arcsec)", 0.0),
    "major_error_arcsec": ("error of the major width (arcsec)", 0.0),
    "minor_error_arcsec": ("error of the minor width (arcsec)", 0.0),
    "angle_deg": ("error of the angle (deg)", 0.0),
}
OFFSETS = {"east_arcsec": "offset to the east (arcsec)", "north_arcsec": "offset to the north (arcsec)"}
"""Errors that have no picture."""
PART_NAMES = {
    "position": "place",
    "b_maj": "major width",
    "b_min": "minor width",
    "pa": "angle",
    "core_frac": "share of the core",
}


def score_files(
    paths: Sequence[Path],
    package: Path,
    out: Path,
    options: Options | None = None,
) -> list[str]:
    """Score files; write ``NAME.json`` and ``NAME.html`` of each, and the leaderboard of all in the folder.

    Returns
    -------
    list of str
        A line for each file.

    Raises
    ------
    ConfigError
        A file cannot be scored, or the folder holds another file of such a name. Nothing has been written.
    """
    refuse_same_names(paths)
    judge = Judge.open(package)
    earlier = _read_scores(out, {score_name(path) for path in paths}, judge.identity)
    scores = [judge.score(path, options) for path in paths]
    pages = [render(build_page(score, judge)) for score in scores]
    for score, page in zip(scores, pages, strict=True):
        publish_json(out / f"{score['name']}.json", score)
        publish_bytes(out / f"{score['name']}.html", page.encode())
    board = sorted([*earlier, *scores], key=_rank)
    publish_bytes(out / LEADERBOARD, render(build_leaderboard(judge.about.name, board)).encode())
    return [_line(score, out) for score in scores]


def _read_scores(out: Path, made: set[str], identity: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the scores of a package that a folder holds, without those that are made again."""
    found = []
    refuse_inside_file(out)
    for path in sorted(out.glob("*.json")) if out.is_dir() else []:
        try:
            score = read_mapping(path, SCORE_BYTES)
        except ConfigError:
            score = {}
        if score.get("format") == FORMAT:
            same = all(score.get(key) == value for key, value in identity.items())
            found += [score] if same and path.stem not in made else []
        elif path.stem in made:
            raise ConfigError(f"{path} is there and no score of ours; name another folder with --out")
    return found


def _rank(score: Mapping[str, Any]) -> tuple[float, float, str]:
    """Return what orders the leaderboard: the score of SDC1, then panoptic quality, the best first."""
    quality = score.get("segmentation", {}).get("mean", {}).get("pq") or 0.0
    best = score["sdc1"]["core"]["score"] if "sdc1" in score else float("-inf")
    return -best, -quality, str(score["name"])


def _line(score: Mapping[str, Any], out: Path) -> str:
    place = out / f"{score['name']}.html"
    if score["kind"] != CATALOGUE:
        mean = score["segmentation"]["mean"]
        return f"{score['name']}: panoptic quality {_number(mean['pq'])}, AP {_number(mean['ap'])}; {place}"
    core, shares = score["sdc1"]["core"], score["detection"]
    return (
        f"{score['name']}: sdc1 score {core['score']:.2f} of at most {shares['counts']['true_scored']} "
        f"({core['n_match']} matches, {core['n_false']} false), "
        f"completeness of detectable sources {_share(shares['completeness']['detectable'])}, "
        f"reliability {_share(shares['reliability']['all'])}; {place}"
    )


def build_page(score: Mapping[str, Any], judge: Judge) -> Page:
    """Return the page of one score."""
    title, of = str(score["name"]), f"Handed in for {score['challenge']}, scored against the hidden truth."
    if score["kind"] != CATALOGUE:
        return Page(title, of, _label_headline(score), [_segmentation(score["segmentation"])])
    core, figures = score["sdc1"]["core"], score["detection"]
    headline = [
        ("SDC1 score", f"{core['score']:.2f} of {figures['counts']['true_scored']}"),
        ("matches / false", f"{core['n_match']} / {core['n_false']}"),
        ("completeness, detectable", _share(figures["completeness"]["detectable"])),
        ("reliability", _share(figures["reliability"]["all"])),
    ]
    chapters = [
        _sdc1(score["sdc1"]),
        _found(figures),
        _errors(figures),
        _kinds(figures),
        _misses(figures, judge),
    ]
    notes: list[Block] = [Note(text) for text in score["notes"]]
    chapters[0] = Chapter(chapters[0].key, chapters[0].title, chapters[0].lead, [*chapters[0].blocks, *notes])
    return Page(title, of, headline, chapters)


def _sdc1(sdc1: Mapping[str, Any]) -> Chapter:
    names = ("core", "centroid")
    rows = [
        ["score", *(f"{sdc1[name]['score']:.3f}" for name in names)],
        *(
            [label, *(str(sdc1[name][key]) for name in names)]
            for label, key in (
                ("submitted", "n_det"),
                ("matched", "n_match"),
                ("too unlike their source", "n_bad"),
                ("false", "n_false"),
            )
        ),
        *(
            [f"mean of {PART_NAMES.get(part, part)}", *(f"{sdc1[name]['parts'][part]:.4f}" for name in names)]
            for part in sdc1["core"]["parts"]
        ),
    ]
    lead = (
        f"The rules of SKA Science Data Challenge 1 with a beam of {sdc1['beam_arcsec']:g} arcsec: up to 1 "
        "for each match in seven equal parts, -1 for each false detection; at most the number of sources in "
        "the scored area, faint ones that no finder can see among them."
    )
    return Chapter("sdc1", "Score", lead, [Table(["", "by cores", "by centroids"], rows, numbers=(1, 2))])


def _found(figures: Mapping[str, Any]) -> Chapter:
    complete, reliable = figures["completeness"], figures["reliability"]
    blocks: list[Block] = []
    for key, label in (("by_snr", "signal-to-noise ratio"), ("by_flux_jy", "flux (Jy)")):
        curves = {"completeness": complete[key], "reliability": reliable[key]}
        uri = to_svg(plot_shares(curves, label))
        blocks.append(
            Picture(uri, f"Completeness and reliability by {label}. {INTERVALS}", f"shares by {label}")
        )
    rows = [
        ["all in the truth", _share(complete["all"]), ""],
        ["detectable / all submitted", _share(complete["detectable"]), _share(reliable["all"])],
        *(
            [name, _share(one), _share(reliable["by_class"].get(name))]
            for name, one in complete["by_class"].items()
        ),
        *([f"blends: {name}", _share(one), ""] for name, one in complete["by_blend"].items()),
    ]
    blocks.append(Table(["", "completeness", "reliability"], rows, numbers=(1, 2)))
    return Chapter("found", "Completeness and reliability", "Found over true, and true over found.", blocks)


def _errors(figures: Mapping[str, Any]) -> Chapter:
    residuals, blocks = figures["residuals"], []
    rows, labels = [], {name: label for name, (label, _) in ERRORS.items()} | OFFSETS
    for name, one in residuals.items():
        ends = "" if one["median"] is None else f"{one['low']:.4g} to {one['high']:.4g}"
        rows.append([labels[name], _number(one["median"]), ends, _number(one["scatter"]), str(one["n"])])
    blocks.append(Table(["", "median", "95 % interval", "scatter", "pairs"], rows, numbers=(1, 2, 3, 4)))
    pictures: list[Block] = [
        Picture(
            to_svg(plot_errors(residuals[name]["by_snr"], label, right)),
            f"{label.capitalize()}. {INTERVALS}",
            label,
        )
        for name, (label, right) in ERRORS.items()
        if residuals.get(name, {}).get("by_snr")
    ]
    lead = (
        "Of matched sources. Scatter is 1.4826 times the median absolute deviation, the band of the figures."
    )
    return Chapter("errors", "Errors of measurement", lead, [*blocks, *pictures])


def _kinds(figures: Mapping[str, Any]) -> Chapter:
    blocks: list[Block] = []
    for name in ("class", "population"):
        if name in figures["classes"]:
            table = figures["classes"][name]
            rows = [[kind, *(str(n) for n in row.values())] for kind, row in table.items()]
            right = _share(figures["classes"][f"{name}_right"])
            numbers = tuple(range(1, len(table) + 1))
            caption = f"True {name} (rows) and submitted {name} (columns); right: {right}"
            blocks.append(Table(["", *table], rows, caption=caption, numbers=numbers))
    empty: list[Block] = [Note("The catalogue has neither classes nor populations.")]
    lead = "Class is 2 compact, 3 extended; population 1 SS-AGN, 2 FS-AGN, 3 SFG."
    return Chapter("kinds", "Classes", lead, blocks or empty)


def _misses(figures: Mapping[str, Any], judge: Judge) -> Chapter:
    missed = figures["misses"]
    lead = "Detectable sources that were not found, the most significant first, fifty at most."
    if not missed:
        return Chapter("misses", "Worst misses", lead, [Note("Every detectable source was found.")])
    images = [judge.cut(one["y_pix"], one["x_pix"], HALF_PIX)[1] for one in missed]
    labels = [f"{_best(one):.0f} sigma, {one['class_name']}" for one in missed]
    side = 2 * HALF_PIX + 1
    shown = [(paint_cut(image), label) for image, label in zip(images, labels, strict=True)]
    caption = f"{side} x {side} pixels of the map; a ring marks the place of the source."
    rows = [
        [str(one["id"]), f"{one['ra_deg']:.6f}", f"{one['dec_deg']:.6f}", f"{_best(one):.1f}",
         f"{1e3 * one['flux_jy']:.4g}", one["class_name"], str(one["blend_size"])]
        for one in missed
    ]  # fmt: skip
    head = ["source", "RA (deg)", "Dec (deg)", "sigma", "flux (mJy)", "class", "sources in its blend"]
    table = Table(head, rows, caption="The same as a table", folded=True, numbers=(0, 1, 2, 3, 4, 6))
    return Chapter("misses", "Worst misses", lead, [Pictures(shown, caption, ringed=True), table])


def _best(one: Mapping[str, Any]) -> float:
    return max(float(one["snr"]), float(one["integrated_snr"]))


def _label_headline(score: Mapping[str, Any]) -> list[tuple[str, str]]:
    mean, pixels = score["segmentation"]["mean"], score["segmentation"]["pixels"]
    return [
        ("panoptic quality", _number(mean["pq"])),
        ("average precision", _number(mean["ap"])),
        ("IoU of all sources", _number(pixels["any_source"]["iou"])),
    ]


def _segmentation(figures: Mapping[str, Any]) -> Chapter:
    pixels = [
        [name, _number(one["iou"]), _number(one["dice"]), str(one["found_pix"]), str(one["true_pix"])]
        for name, one in figures["pixels"].items()
    ]
    keys = ("pq", "sq", "rq", "ap", "ap50", "ap75")
    objects = [
        [name, *(_number(one[key]) for key in keys), *(str(one[key]) for key in ("matched", "found", "true"))]
        for name, one in figures["objects"].items()
    ]
    blocks: list[Block] = [
        Table(["pixels", "IoU", "Dice", "found", "true"], pixels, numbers=(1, 2, 3, 4)),
        Table(
            ["objects", "PQ", "SQ", "RQ", "AP", "AP50", "AP75", "matched", "found", "true"],
            objects,
            numbers=tuple(range(1, 10)),
        ),
    ]
    lead = "Overlap of pixels by class, panoptic quality, and average precision at IoU from 0.50 to 0.95."
    return Chapter("segmentation", "Segmentation", lead, blocks)


def build_leaderboard(challenge: str, scores: Sequence[Mapping[str, Any]]) -> Page:
    """Return the page that compares scores, which come in their order."""
    rows = []
    for place, score in enumerate(scores, 1):
        row = [str(place), str(score["name"])]
        if score["kind"] == CATALOGUE:
            core, figures = score["sdc1"]["core"], score["detection"]
            row += [f"{core['score']:.2f}", str(core["n_match"]), str(core["n_false"])]
            row += [_share(figures["completeness"]["detectable"]), _share(figures["reliability"]["all"])]
            row += [_number(figures["residuals"]["flux_ratio"]["median"]), "", ""]
        else:
            mean = score["segmentation"]["mean"]
            row += [*6 * [""], _number(mean["pq"]), _number(mean["ap"])]
        rows.append(row)
    head = [
        "",
        "name",
        "SDC1 score",
        "matches",
        "false",
        "completeness",
        "reliability",
        "flux ratio",
        "PQ",
        "AP",
    ]
    table = Table(head, rows, numbers=(0, *range(2, 10)))
    lead = "By the score of SDC1, then by panoptic quality. Intervals are of 95 %."
    chapter = Chapter("board", "Leaderboard", lead, [table])
    best = [
        (f"best {what}", text)
        for what, column in (("SDC1 score", 2), ("PQ", 8))
        if (text := _best_of(rows, column))
    ]
    count = f"{len(scores)} submission{'s' * (len(scores) != 1)}"
    return Page(challenge, count, best, [chapter])


def _best_of(rows: Sequence[Sequence[str]], column: int) -> str:
    """Return the highest number of a column as it stands there, with the name of its row."""
    known = [row for row in rows if row[column]]
    first = max(known, key=lambda row: float(row[column]), default=None)
    return "" if first is None else f"{first[column]}, {first[1]}"


def _share(one: Mapping[str, Any] | None) -> str:
    if one is None or one["value"] is None:
        return ""
    return f"{one['value']:.4f} ({one['low']:.4f} to {one['high']:.4f})"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
