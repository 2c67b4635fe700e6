"""The answer to "does synthetic data help?", as sentences, also where it is no."""

from collections.abc import Mapping, Sequence
from typing import Any

from astro_dist.flare.classifiers import OWN_TEST

Row = Mapping[str, Any]
NO_SYNTHETIC = "No set of this run holds painted pictures, so that nothing is said about synthetic data."
LEAK = "trained on copies of test pictures"


def answer(
    gains: Sequence[Row], headroom: Sequence[Row], exchange: Sequence[Row], sets: Mapping[str, Row]
) -> list[str]:
    """Return a sentence for every set with painted pictures, network and level; those without real ones last.

    Parameters
    ----------
    gains, headroom, exchange
        The rows of the tables, see `astro_dist.flare.gains_table`.
    sets
        By name of a set: ``painted``, ``leak`` and ``alpha``.
    """
    asked = [
        row
        for row in gains
        if sets[row["arm"]]["painted"] and row["test"] == OWN_TEST and row["figure"] == "accuracy"
    ]
    # Synthetic pictures are to beat what the same real ones give with augmentation alone.
    best = {(row["arm"], row["network"], row["level"]): row for row in reversed(asked)}
    best |= {(r["arm"], r["network"], r["level"]): r for r in asked if r["why"] == "real"}
    chosen = [row for row in asked if best[row["arm"], row["network"], row["level"]] is row]
    # Painted pictures alone answer another question than painted ones beside real ones.
    chosen.sort(key=lambda row: sets[row["arm"]].get("alpha") == 0)
    return [_say(row, headroom, exchange, sets) for row in chosen] or [NO_SYNTHETIC]


def _say(row: Row, headroom: Sequence[Row], exchange: Sequence[Row], sets: Mapping[str, Row]) -> str:
    opening = {"helps": "Yes", "harms": "No, it harms", "undecided": "Not shown"}[row["verdict"]]
    text = (
        f"{opening}: {row['arm']}, {row['network']}, {row['level']} classes: "
        f"{points(row['mean'])} points {interval(row)} over {row['reference']}"
    )
    if row["verdict"] == "undecided":
        found = points(row["detectable"], sign="")
        text += f"; a gain of {found} points would have been found in four of five cases"
    room = _matching(headroom, row, ("reference",))
    if room is None:
        text += ". No set has half of the real pictures, so that the headroom is not known"
    else:
        text += f". Doubling the real pictures, from half of them to all, gave {points(room['mean'])} "
        text += interval(room)
    rate = _matching(exchange, row, ("arm", "reference"))
    if rate is not None:
        text += f"; real pictures that give the same gain: {rate['says']}"
    if sets[row["arm"]]["leak"]:
        text += f". {row['arm']} was {LEAK}"
    return f"{text}."


def _matching(rows: Sequence[Row], row: Row, keys: tuple[str, ...]) -> Row | None:
    keys = (*keys, "network", "level", "test", "figure")
    return next((other for other in rows if all(other[key] == row[key] for key in keys)), None)


def points(value: float | None, sign: str = "+") -> str:
    """Return a share in percentage points, with a sign."""
    return "unknown" if value is None else f"{100 * value:{sign}.1f}"


def interval(row: Row) -> str:
    """Return the interval of a row in percentage points."""
    if row["low"] is None or row["low"] != row["low"]:
        return "[no interval]"
    return f"[{points(row['low'])}, {points(row['high'])}]"
