"""The tables of a comparison of training sets, with the figures of FLARE's paper beside ours, in per cent.

They are made from ``metrics.json`` of the stage `compare`. A set that was trained on copies of test pictures
is marked wherever it is named.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from astro_dist.report.page import Block, Note, Table

Metrics = Mapping[str, Any]
Row = Mapping[str, Any]
LEAK_MARK = "\u2020"
LEAK_NOTE = (
    f"{LEAK_MARK} Trained on copies of test pictures, as the public code of FLARE does; no fair figure."
)
OWN = "test"
MEANS = ("mean outside", "mean everywhere")
WHERE = dict(zip((OWN, *MEANS), ("", ", mean over other pictures", ", mean with our own"), strict=True))
NETWORKS = {
    "resnet50": "ResNet-50",
    "googlenet": "GoogLeNet",
    "densenet121": "DenseNet-121",
    "vit_b_16": "ViT-B/16",
    "tiny": "tiny",
    "probe": "probe",
}
PAPER_MEAN = "paper, mean of 4"


def mark(metrics: Metrics, name: str) -> str:
    """Return the name of a set, marked where the set holds copies of test pictures."""
    return f"{name} {LEAK_MARK}" if metrics["sets"][name]["leak"] else name


def leak_notes(metrics: Metrics) -> list[Block]:
    """Return the meaning of the mark, where a set has it."""
    return [Note(LEAK_NOTE)] if any(one["leak"] for one in metrics["sets"].values()) else []


def percent(value: float | None) -> str:
    """Return a share in per cent."""
    return "-" if value is None else f"{100 * value:.1f}"


def points(row: Row) -> str:
    """Return a gain in percentage points with its interval."""
    if row["low"] is None:
        return f"{100 * row['mean']:+.1f}"
    return f"{100 * row['mean']:+.1f} [{100 * row['low']:+.1f}, {100 * row['high']:+.1f}]"


def with_interval(row: Row, figure: str) -> str:
    """Return a figure of a row of scores in per cent, with its interval."""
    low, high = row["intervals"][figure]
    if low is None:
        return percent(row[figure])
    # The t interval of a share may reach over its ends.
    return f"{percent(row[figure])} [{percent(max(low, 0.0))}, {percent(min(high, 1.0))}]"


def find(rows: Iterable[Row], **wanted: Any) -> Row | None:
    """Return the first row with given values, None without one."""
    return next((row for row in rows if all(row[key] == value for key, value in wanted.items())), None)


def tabulate_gains(
    metrics: Metrics, test: str = OWN, figure: str = "accuracy", folded: bool = False
) -> Table:
    """Return every comparison with its interval, beside headroom and exchange rate."""
    rows = []
    for gain in metrics["gains"]:
        if (gain["test"], gain["figure"]) != (test, figure):
            continue
        same = {key: gain[key] for key in ("network", "level", "test", "figure", "reference")}
        room = find(metrics["headroom"], **same)
        rate = find(metrics["exchange"], arm=gain["arm"], **same)
        names = [mark(metrics, gain[key]) for key in ("arm", "reference")]
        rows.append([
            *names,
            f"{NETWORKS[gain['network']]}, {gain['level']}",
            points(gain),
            "-" if gain["p_family"] is None else f"{gain['p_family']:.2g}",
            gain["verdict"],
            points(room) if room else "not measured",
            rate["says"] if rate else "not measured",
            f"{gain['groups']} of {gain['pictures']}",
            str(gain["seeds"]),
        ])  # fmt: skip
    head = ["set", "compared with", "network", "gain, points", "p (Holm)", "verdict", "headroom, points"]
    head += ["worth in real pictures", "groups of pictures", "seeds"]
    caption = (
        f"Gain in accuracy{WHERE.get(test, f' on {test}')}. The headroom is the gain from half of the real "
        "pictures to all of them, and the "
        "exchange rate the number of further real pictures that would give the same gain, if each doubling "
        "gave that headroom."
    )
    return Table(head, rows, caption, folded=folded, numbers=(3, 4, 6, 8, 9))


def tabulate_networks(metrics: Metrics, level: str, figure: str, number: int) -> Table:
    """Return Table 2 (accuracy) or 5 (F1) of the paper at one level: sets in rows, networks in columns."""
    paper = metrics["paper"][f"table{number}"][level]
    networks = metrics["shown"]["networks"]
    head = ["set"]
    for network in networks:
        known = network in next(iter(paper.values()))
        head += [NETWORKS[network], *([f"paper, {NETWORKS[network]}"] if known else [])]
    rows = []
    for name in metrics["sets"]:
        printed = paper.get(name, {})
        line = [mark(metrics, name)]
        for network in networks:
            ours = find(metrics["scores"], arm=name, network=network, level=level, test=OWN)
            line.append(_show_figure(ours, figure))
            if f"paper, {NETWORKS[network]}" in head:
                line.append(_print(printed.get(network)))
        mean = sum(printed.values()) / len(printed) if printed else None
        rows.append([*line, _print(mean)])
    title = {"accuracy": "accuracy", "f1_macro": "macro F1 (weighted F1)"}[figure]
    caption = f"Table {number}, {level} classes: {title} on the test pictures, per cent."
    return Table([*head, PAPER_MEAN], rows, caption, numbers=tuple(range(1, len(head) + 1)))


def _show_figure(row: Row | None, figure: str) -> str:
    if row is None:
        return "-"
    more = f" ({percent(row['f1_weighted'])})" if figure == "f1_macro" else ""
    return with_interval(row, figure) + more


def _print(value: float | None) -> str:
    """Return a figure of the paper, which prints per cent."""
    return "-" if value is None else f"{value:.2f}"


def tabulate_mixtures(metrics: Metrics, level: str) -> Table:
    """Return Table 4 of the paper: a row for every pair of alpha and beta."""
    network = metrics["shown"]["network"]
    rows = []
    for name, one in metrics["sets"].items():
        ours = find(metrics["scores"], arm=name, network=network, level=level, test=OWN)
        if ours is None:
            continue
        alpha, beta = shares(one)
        known = level == "fine" and is_plain(one)
        printed = find(metrics["paper"]["table4"], alpha=alpha, beta=beta) if known else None
        gains = [
            gain
            for gain in metrics["gains"]
            if (gain["arm"], gain["network"], gain["level"]) == (name, network, level)
            and (gain["test"], gain["figure"]) == (OWN, "accuracy")
        ]
        best = find(gains, why="real") or (gains[0] if gains else None)
        others = [percent(ours[f"{key}_weighted"]) for key in ("f1", "precision", "recall")]
        line = [f"{alpha:g}, {beta:g}", mark(metrics, name), f"{one['rows']:,} ({one['parents']:,})"]
        line += [with_interval(ours, "accuracy"), *others]
        line.append(f"{points(best)} over {best['reference']}" if best else "-")
        line += [_print(printed[key] if printed else None) for key in PRINTED]
        rows.append(line)
    head = [
        "alpha, beta",
        "set",
        "rows (real pictures)",
        "accuracy",
        "F1",
        "precision",
        "recall",
        "gain, points",
    ]
    head += [f"paper, {text}" for text in ("accuracy", "F1", "precision", "recall")]
    caption = (
        f"Table 4, {NETWORKS[network]}, {level} classes: shares of augmented (alpha) and synthetic (beta) "
        "pictures, per cent. F1, precision and recall weight each class by its size, as in the paper, whose "
        "network is ResNet-50 with fine classes and whose (0, 0) are the real pictures as they are."
    )
    return Table(head, rows, caption, numbers=tuple(range(2, len(head))))


PRINTED = ("accuracy", "f1_weighted", "precision_weighted", "recall_weighted")


def shares(one: Row) -> tuple[float, float]:
    """Return alpha and beta of a set as the paper counts them: real pictures as they are have alpha 0."""
    return (0.0 if one["k"] == 1 and one["beta"] == 0 else one["alpha"]), one["beta"]


def is_plain(one: Row) -> bool:
    """Return whether a set is one of the paper's: of all real pictures, and not of rare classes alone."""
    narrowed = one["fraction"] != 1 or one["per_class"] is not None or one["fill"]
    return not narrowed and not one["leak"] and (one["painted"] or one["beta"] == 0)


def tabulate_outside(metrics: Metrics, level: str) -> list[Block]:
    """Return Table 3 of the paper: test sets from elsewhere in columns, and both of their means."""
    tests = list(dict.fromkeys(row["test"] for row in metrics["scores"]))
    blocks: list[Block] = []
    if tests == [OWN]:
        blocks.append(Note("Table 3: there is no test set from elsewhere; classify.test names some."))
    else:
        blocks.append(_tabulate_tests(metrics, level, tests))
        blocks += [tabulate_gains(metrics, test) for test in MEANS]
        single = [test for test in tests if test not in WHERE]
        blocks += [tabulate_gains(metrics, test, folded=True) for test in single]
    columns = ("galaxyzoo", "space", "spiral", OWN)
    rows = []
    for network, sets in metrics["paper"]["table3"].items():
        for name, figures in sets.items():
            outside = [figures[test] for test in columns if test != OWN]
            means = (sum(outside) / len(outside), sum(figures.values()) / len(figures))
            rows.append([NETWORKS[network], name, *(_print(v) for v in (*figures.values(), *means))])
    head = ("network", "set", "GalaxyZoo", "Space", "Spiral", "SpaceNet", "mean outside", "mean of all")
    caption = "Table 3 of the paper, fine classes; its mean is the last column, with the in-domain one in it"
    blocks.append(Table(head, rows, caption, folded=True, numbers=tuple(range(2, 8))))
    return blocks


def _tabulate_tests(metrics: Metrics, level: str, tests: Sequence[str]) -> Table:
    rows = []
    for network in metrics["shown"]["networks"]:
        for name in metrics["sets"]:
            found = [
                find(metrics["scores"], arm=name, network=network, level=level, test=test) for test in tests
            ]
            figures = {test: row["accuracy"] for test, row in zip(tests, found, strict=True) if row}
            outside = [value for test, value in figures.items() if test != OWN]
            means = [sum(values) / len(values) if values else None for values in (outside, figures.values())]
            line = [with_interval(row, "accuracy") if row else "-" for row in found]
            rows.append([NETWORKS[network], mark(metrics, name), *line, *map(percent, means)])
    shown = ["own test pictures" if test == OWN else test for test in tests]
    head = ("network", "set", *shown, "mean outside", "mean of all")
    caption = f"Table 3, {level} classes: accuracy on other pictures, per cent, with and without our own."
    return Table(head, rows, caption, numbers=tuple(range(2, len(head))))


def tabulate_restoration(metrics: Metrics) -> list[Block]:
    """Return Table 1 of the paper twice: against a true reference, and as likeness to the input."""
    facts, paper = metrics["upscale"], metrics["paper"]["table1"]
    if not facts:
        return [Note("Table 1: nothing was upscaled in this run; a section upscaler does it.")]
    methods = [m for m in ("upscaler", "bicubic", "lanczos") if m in facts["reference"]["all"]]
    rows = []
    for name, one in facts["reference"].items():
        cells = [_show_pair(one[method]) for method in methods]
        better = f"{one['better']} of {one['pictures']}" if "better" in one else "-"
        rows.append([name, *cells, better])
    head = ("class", *methods, "better than bicubic")
    caption = (
        "Table 1 against a true reference: test pictures made small and enlarged again, compared with "
        "themselves; PSNR in dB / MS-SSIM."
    )
    true = Table(head, rows, caption, numbers=tuple(range(1, len(head))))
    rows = []
    for name, one in facts["likeness"].items():
        printed = paper.get(name)
        rows.append([name, _show_pair(one["upscaled"]), f"{printed[0]} / {printed[1]}" if printed else "-"])
    caption = (
        "Table 1 the paper's way: likeness of the upscaled picture to its input, for which there is no true "
        "reference; PSNR in dB / MS-SSIM."
    )
    return [true, Table(("class", "ours", "paper"), rows, caption, numbers=(1, 2))]


def _show_pair(one: Row) -> str:
    similar = "-" if one["ms_ssim"] is None else f"{one['ms_ssim']:.3f}"
    return f"{one['psnr']:.2f} / {similar}"


def paper_notes(metrics: Metrics, *names: str) -> list[Block]:
    """Return where the paper contradicts itself."""
    texts = [text for name in names for text in metrics["paper"]["notes"].get(name, [])]
    return [Note(f"On the paper's figures ({metrics['paper']['source']}): {text}") for text in texts]
