"""Evaluation is asked for after the fact: the judges are trained, and nothing else is done again."""

import json
import shutil

from tests.end_to_end.conftest import run, stable_digests

TINY = {
    f"{stage}.{key}": value
    for stage in ("byol", "segmenter")
    for key, value in {"preset": "tiny", "steps": 3, "batch_size": 4, "crop_pix": 32}.items()
}
EVALUATE = {
    **TINY,
    "evaluate.enabled": True,
    "evaluate.stamps": 4,
    "evaluate.resamples": 4,
    "evaluate.splits": ["validation", "test"],
}


def test_a_finished_run_is_evaluated(toy_run, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(toy_run[0], out)
    before = stable_digests(out)
    done = run(out, "--on", "serial", extra=EVALUATE)
    assert done.returncode == 0, done.stderr
    assert f"figures: {out}/evaluation/metrics.json" in done.stdout
    after = stable_digests(out)
    assert set(after) - set(before) == {"models/byol", "models/segmenter", "evaluation"}
    assert {name: after[name] for name in before} == before
    report = json.loads((out / "evaluation" / "metrics.json").read_text())
    assert report["splits"] == ["validation", "test"]
    assert report["images_per_set"] >= 2
