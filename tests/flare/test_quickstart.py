"""The quick start whole, with ``-m soak``; what it paints is recognised. The guides run it shrunk."""

import json
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from astro_dist.engine.config import load_yaml
from astro_dist.engine.pixels import to_network
from astro_dist.flare.pipeline import FLARE
from astro_dist.pictures.config import CLASSES
from astro_dist.pictures.images import resize
from astro_dist.store.reader import StoreReader
from tests.flare.judges import train_judge

CONFIG = Path(__file__).parents[2] / "configs" / "flare" / "quickstart.yaml"
SHRUNK = ("pictures.per_class=5", "pictures.shard=16", "synthesise.k=2", "synthesise.steps=2")
SHRUNK += ("synthesise.variants.how=noise", "synthesise.micro_batch=8", "combine.k=2", "classify.seeds=1")
SHRUNK += ("classify.steps=2", "classify.batch_size=8", "classify.crop_pix=32", "compare.pictures=4")
CORE_SECONDS = 1200
"""Ten minutes of two cores."""
LEAST_RECOGNISED = 0.9


def check_finished(out):
    """Assert that every stage of the configuration has published, and return the figures."""
    done = {path.stem for path in (out / "ledger").glob("*.json")}
    assert done == {stage.name for stage in FLARE.choose(FLARE.resolve(load_yaml(CONFIG)))}
    metrics = json.loads((out / "flare" / "metrics.json").read_text())
    assert metrics["answers"]
    assert len({row["arm"] for row in metrics["gains"]}) == 4
    assert metrics["headroom"]
    assert metrics["exchange"]
    page = (out / "report.html").read_text()
    assert all(f"Table {number}" in page for number in range(1, 6))
    return metrics


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_the_whole_quick_start_needs_ten_minutes_and_what_it_paints_is_recognised(tmp_path):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    line = [sys.executable, "-m", "astro_dist", "run", str(CONFIG), "--out", str(tmp_path / "run")]
    subprocess.run([*line, "--workers", "2"], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    gains = [row for row in check_finished(tmp_path / "run")["gains"] if row["figure"] == "accuracy"]
    for row in gains:
        print(
            f"{row['arm']} over {row['reference']}: {row['mean']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
        )
    store = StoreReader(tmp_path / "run" / "synthetic.zarr")
    rows = np.flatnonzero(store.columns["variant"] == 0)
    painted = np.stack([resize(picture, 32) for picture in store.read("picture", rows)])
    wanted = [CLASSES.index(store.attrs["labels"][k]) for k in store.columns["label"][rows]]
    judge = train_judge(32)
    with torch.no_grad():
        found = judge(torch.from_numpy(to_network(painted))).argmax(1)
    recognised = float((found.numpy() == wanted).mean())
    print(f"{spent:.0f} core-seconds; recognised: {recognised:.3f} of {len(rows)}")
    assert spent < CORE_SECONDS
    assert recognised >= LEAST_RECOGNISED
