"""Each of the four named networks trains one cell of the deep-sky pictures, and is killed once on the way."""

import csv
import json
import resource
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from astro_dist.models.classifier_presets import NETWORKS
from tests.flare.grids import facts, trained
from tests.waiting import start, wait_until

DEEPSKY = Path(__file__).parents[2] / "../shared/data/deepsky"
BUDGET_S, BATCH = 120, 16
"""Core-seconds of each training, by the costs of the networks for pictures of 64 pixels."""
NAMED = ("resnet50", "googlenet", "densenet121", "vit_b_16")


def count_steps(network):
    """Steps that the budget pays for, a multiple of the points of a curve."""
    return int(BUDGET_S / (NETWORKS[network].cost * BATCH)) // 10 * 10


def link_deepsky(folder):
    """Make a folder per class with links to the pictures that have one."""
    names = {path.stem: path for path in DEEPSKY.resolve().glob("*.jpg")}
    for row in csv.DictReader((DEEPSKY / "labels.csv").read_text().splitlines()):
        if row["class"] and (path := names.get(Path(row["file"]).stem)) is not None:
            (folder / row["class"]).mkdir(parents=True, exist_ok=True)
            (folder / row["class"] / path.name).symlink_to(path)
    return folder


def write_deepsky(path, network):
    own = {"steps": count_steps(network), "batch_size": BATCH, "crop_pix": 64, "threads": 1}
    own |= {"lr": 0.0001 if network == "vit_b_16" else 0.001, "precision": "no", "checkpoint_every_s": 1}
    pictures = {"path": str(link_deepsky(path.parent / "deepsky")), "size_pix": 64}
    tree = {"pipeline": "flare", "seed": 1, "pictures": pictures, "combine": {"arms": {"Aug": {}}}}
    path.write_text(yaml.safe_dump({**tree, "classify": {**own, "networks": [network], "seeds": 1}}))
    return path


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.skipif(not DEEPSKY.is_dir(), reason="the deep-sky pictures are not in ../shared/data")
@pytest.mark.parametrize("network", NAMED)
def test_a_named_network_learns_on_deep_sky(tmp_path, network):
    config, out = write_deepsky(tmp_path / "deepsky.yaml", network), tmp_path / "run"
    line = [sys.executable, "-m", "astro_dist", "run", config, "--out", out, "--on", "serial"]
    process = start(line)
    wait_until(lambda: list(out.glob("checkpoints/*/step-*")), process)
    process.kill()
    process.wait()
    kept = max(int(path.name.removeprefix("step-")) for path in out.glob("checkpoints/*/step-*"))
    process = start(line)
    assert process.wait() == 0
    cell = f"Aug__{network}__fine__s0"
    assert trained(out) == {cell}
    points = [
        json.loads(text) for text in (out / f"logs/classify-{cell}.curve.jsonl").read_text().splitlines()
    ]
    assert [point["step"] for point in points] == list(range(10, count_steps(network) + 1, 10))
    losses = np.array([point["loss"] for point in points])
    assert losses[-2:].mean() < losses[:2].mean()
    figures = facts(out)["cells"][cell]
    # Above the largest class.
    largest = max(counts[2] for counts in facts(out, "pictures")["classes"].values())
    most = largest / facts(out, "pictures")["splits"]["test"]
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(
        f"\n{network}: killed after step {kept} of {count_steps(network)}; losses "
        f"{losses[0]:.3f} -> {losses[-1]:.3f}; validation "
        f"{[p['validation_accuracy'] for p in points if 'validation_accuracy' in p]}; "
        f"test accuracy {figures['test_accuracy']['test']:.3f} (largest class {most:.3f}); "
        f"{spent.ru_utime + spent.ru_stime:.0f} core-seconds so far"
    )
    assert figures["test_accuracy"]["test"] > 0.3
