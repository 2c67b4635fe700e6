"""A grid of small classifiers of toy pictures: its configuration, runs of it, and what they published."""

import json
from pathlib import Path

import yaml

from astro_dist.cli import main
from astro_dist.engine.files import tree_digests

MACRO = {
    "patterns": ["constellations", "galaxies"],
    "bodies": ["planets", "asteroids"],
    "phenomena": ["nebulae", "comets"],
    "stellar": ["stars", "black holes"],
}
LABELS = [name for members in MACRO.values() for name in members]
PICTURES = {"per_class": 10, "size_pix": 32, "shard": 32, "macro": MACRO}
ARMS = {"Raw": {"k": 1}, "Aug": {"alpha": 0.5}}
CLASSIFY = {"steps": 20, "batch_size": 8, "crop_pix": 32, "threads": 1, "precision": "no", "seeds": 1}
CLASSIFY |= {"levels": ["fine", "macro"]}


def write_config(path, sets=None, **classify):
    """Write the configuration of a grid and return its path."""
    tree = {"pipeline": "flare", "seed": 4, "pictures": PICTURES, "combine": {"arms": sets or ARMS}}
    path.write_text(yaml.safe_dump({**tree, "classify": {**CLASSIFY, **classify}}))
    return path


def run_grid(config, out, *words, to="classify"):
    """Run a configuration in this process as far as a stage; raises where the exit code is not 0."""
    code = main(["run", str(config), "--out", str(out), "--to", to, *words])
    if code:
        raise SystemExit(code)


def published(out):
    """Digests of all that the grid and the stages before it published."""
    return {name: tree_digests(Path(out) / name) for name in ("pictures.zarr", "sets", "classifiers")}


def facts(out, stage="classify"):
    """The figures that a stage published."""
    return json.loads((Path(out) / "ledger" / f"{stage}.json").read_text())["facts"]


def trained(out):
    """Names of the cells whose training has written a curve."""
    curves = Path(out).glob("logs/classify-*.curve.jsonl")
    return {path.name.split(".")[0].removeprefix("classify-") for path in curves}


def steps_done(out, steps):
    """Steps of all cells that a killed run would not repeat."""
    done = {path.stem for path in Path(out).glob("ledger/classify/*/[!.]*.json")}
    newest = {}
    for path in Path(out).glob("checkpoints/classify-*/step-*"):
        cell = path.parent.name.removeprefix("classify-").rpartition("-")[0]
        newest[cell] = max(newest.get(cell, 0), int(path.name.removeprefix("step-")))
    return len(done) * steps + sum(step for cell, step in newest.items() if cell not in done)
