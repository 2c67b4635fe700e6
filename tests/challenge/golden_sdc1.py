"""The recipe of ``golden_sdc1.json``: 24 catalogues and what SKAO's program says of them.

    V/bin/python tests/challenge/golden_sdc1.py tests/challenge/golden_sdc1.json

with the environment that `tests/end_to_end/test_sdc1_score.py` describes (ska-sdc 2.0.0, pandas below 3).
Nothing here is imported by tests. Each case is a small truth and a submission that reaches one edge of the
rules; numbers are stored so that they read back as the same bits.
"""

import json
import math
import random
import sys

import pandas as pd
from ska_sdc.sdc1.dc_defns import CAT_COLUMNS
from ska_sdc.sdc1.sdc1_scorer import Sdc1Scorer

N = 24
LAS_TO_GAUSS = 2.355 / 5
SIZE_COLUMNS = ("b_maj", "b_min")


def make_truth(seed, n=N):
    """Sources 10 arcsec or more apart, outside the training areas, of every kind of size and class."""
    rng, rows = random.Random(seed), []
    for i in range(n):
        ra, dec = (
            0.2 + 0.01 * (i % 6) + rng.uniform(0, 0.003),
            -30.2 + 0.01 * (i // 6) + rng.uniform(0, 0.003),
        )
        major = 10 ** rng.uniform(-1, 0.6)
        rows.append(
            {
                "id": 1000 + 7 * i,
                "ra_core": ra,
                "dec_core": dec,
                "ra_cent": ra + rng.uniform(-1, 1) * major / 3600 / 8,
                "dec_cent": dec + rng.uniform(-1, 1) * major / 3600 / 8,
                "flux": 10 ** rng.uniform(-7, -3),
                "core_frac": rng.uniform(0.05, 1),
                "b_maj": major,
                "b_min": major * rng.uniform(0.3, 1),
                "pa": rng.uniform(0, 360),
                "size": 1 + i % 3,
                "class": 1 + (i // 3) % 3,
            }
        )
    return rows


def spoil(rows, seed, **spreads):
    """Numbers from 1 and a Gaussian error of each column, relative where the name ends in ``_rel``."""
    rng, made = random.Random(seed), []
    for i, row in enumerate(rows):
        new = {**row, "id": i + 1}
        for name, sigma in spreads.items():
            column = name.removesuffix("_rel")
            error = rng.gauss(0, sigma)
            new[column] = row[column] * abs(1 + error) if name.endswith("_rel") else row[column] + error
        made.append(new)
    return made


def everything(rows, seed):
    """Errors as a good finder makes them, in all columns."""
    places = dict.fromkeys(("ra_core", "dec_core", "ra_cent", "dec_cent"), 0.1 / 3600)
    others = {"flux_rel": 0.1, "b_maj_rel": 0.3, "b_min_rel": 0.3, "pa": 15, "core_frac_rel": 0.2}
    return spoil(rows, seed, **places, **others)


def moved(row, number, arcsec, **changes):
    """Return a row with another number, moved along declination."""
    step = arcsec / 3600
    return {
        **row,
        "id": number,
        "dec_core": row["dec_core"] + step,
        "dec_cent": row["dec_cent"] + step,
        **changes,
    }


def conv_size(row, beam=0.25):
    """Return the size of a source as the program widens it by the beam, arcsec."""
    factor = {1: LAS_TO_GAUSS, 3: 2**0.5}.get(row["size"], 1)
    return math.hypot(max(row["b_maj"], row["b_min"]) * factor, beam)


def cases():
    """Yield name, submission, truth, MHz and mode (0 cores, 1 centroids)."""
    truth = make_truth(1)
    yield "perfect", truth, truth, 1400, 0
    yield "all_columns", everything(truth, 2), truth, 1400, 0
    places = ("ra_core", "dec_core", "ra_cent", "dec_cent")
    yield "positions", spoil(truth, 3, **dict.fromkeys(places, 0.4 / 3600)), truth, 1400, 0
    yield "fluxes", spoil(truth, 4, flux_rel=0.8), truth, 1400, 0
    yield "sizes", spoil(truth, 5, b_maj_rel=1.0, b_min_rel=1.0), truth, 1400, 0
    other_kind = [{**row, "size": 1 + (row["size"] + i // 3) % 3} for i, row in enumerate(spoil(truth, 6))]
    yield "kinds_of_size", other_kind, truth, 1400, 0
    other_class = [{**row, "class": 1 + (row["class"] + i) % 3} for i, row in enumerate(spoil(truth, 7))]
    yield "classes", other_class, truth, 1400, 0
    turns = (0, 5, 10, 11, 45, 90, 135, 180, 200, -30, -90, -180)
    angles = [{**row, "pa": row["pa"] + turns[i % 12]} for i, row in enumerate(spoil(truth, 8))]
    yield "angles", angles, truth, 1400, 0
    yield "core_fractions", spoil(truth, 9, core_frac_rel=0.5), truth, 1400, 0
    yield "only_false", [moved(row, i, 100) for i, row in enumerate(truth)], truth, 1400, 0
    doubled = everything(truth, 10)
    doubled += [moved(row, 500 + i, 0.05, flux=row["flux"] * 1.1) for i, row in enumerate(doubled)]
    yield "doubled_rows", doubled, truth, 1400, 0
    yield (
        "doubled_numbers",
        [{**row, "id": 1 + i % 20} for i, row in enumerate(everything(truth, 11))],
        truth,
        1400,
        0,
    )
    # Two sources close together: one row between them, and two rows that both are nearest to one source.
    pairs = [row for i, row in enumerate(truth) for row in (row, moved(row, 5000 + i, 0.2))]
    yield "between_two", [moved(row, i, 0.08) for i, row in enumerate(truth)], pairs, 1400, 0
    rivals = [row for i, row in enumerate(truth) for row in (moved(row, i, 0.01), moved(row, 100 + i, 0.02))]
    yield "rivals_are_not_matched_again", rivals, pairs, 1400, 0
    # At the search radius, by a billionth of it inside and outside.
    edge = [moved(row, i, conv_size(row) * (1 + (-1) ** i * 1e-9)) for i, row in enumerate(truth)]
    yield "radius", edge, truth, 1400, 0
    five = 5 * 0.36
    sigmas = [
        {**row, "id": i, "flux": row["flux"] * (1 + five * (1 + (-1) ** i * 1e-9))}
        for i, row in enumerate(truth)
    ]
    yield "five_sigmas", sigmas, truth, 1400, 0
    below = [{**row, "flux": (-1, 0, row["flux"])[i % 3]} for i, row in enumerate(spoil(truth, 12))]
    yield "negative_and_zero_fluxes", below, truth, 1400, 0
    zero = [{**row, "b_maj": 0.0 if i % 2 else row["b_maj"], "b_min": 0.0} for i, row in enumerate(truth)]
    yield "sizes_of_zero", zero, zero, 1400, 0
    whole_circle = [{**row, "ra_core": row["ra_core"] - 0.215} for row in truth]
    turned = [{**row, "id": i, "ra_core": row["ra_core"] % 360} for i, row in enumerate(whole_circle)]
    yield "across_zero_hours", turned, whole_circle, 1400, 0
    shift = [
        {**row, "ra_core": row["ra_core"] - 0.34, "dec_core": row["dec_core"] + 0.45}
        for row in make_truth(13, 36)
    ]
    shift[0] |= {"ra_core": -0.2688, "dec_core": -29.8}
    shift[1] |= {"ra_core": -0.1, "dec_core": -29.94}
    yield "training_area", [{**row, "id": i} for i, row in enumerate(shift)], shift, 1400, 0
    yield "centroids", everything(truth, 14), truth, 1400, 1
    yield "560_mhz", everything(truth, 15), truth, 560, 0
    yield "9200_mhz", everything(truth, 16), truth, 9200, 0
    strange = [
        {**row, "size": (1, 2, 3, 4)[i % 4], "flux": 0.0 if i == 5 else row["flux"]}
        for i, row in enumerate(truth)
    ]
    submitted = [
        {**row, "id": 900 - i, "core_frac": -0.1 if i == 3 else row["core_frac"]}
        for i, row in enumerate(truth)
    ]
    yield "unknown_kind_and_zero_flux", submitted, strange, 1400, 0


def main(path):
    made = []
    for name, submitted, truth, mhz, mode in cases():
        tables = [pd.DataFrame(rows, columns=CAT_COLUMNS) for rows in (submitted, truth)]
        score = Sdc1Scorer(*(table.copy() for table in tables), mhz).run(mode=mode, detail=True)
        said = {
            key: getattr(score, key) for key in ("value", "n_det", "n_match", "n_bad", "n_false", "score_det")
        }
        parts = None if score.scores_df is None else score.scores_df.drop(columns="id").sum().to_dict()
        rows = {
            key: t.to_numpy(float).tolist() for key, t in zip(("submitted", "truth"), tables, strict=True)
        }
        made.append({"name": name, "mhz": mhz, "mode": mode, **said, "parts": parts, **rows})
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in made)
    with open(path, "w") as handle:
        handle.write(f"[\n{lines}\n]\n")
    print(
        len(made), [(case["name"], round(case["value"], 3), case["n_match"], case["n_bad"]) for case in made]
    )


if __name__ == "__main__":
    main(sys.argv[1])
