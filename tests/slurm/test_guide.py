"""The commands of the guide to Slurm, on a real queue: its first stage here, whole with ``-m soak``."""

import re
import shlex

import pytest
import yaml

from astro_dist.cluster.queue import queue_of
from tests.end_to_end.test_guides import QUICK
from tests.slurm.conftest import ROOT
from tests.waiting import wait_until

CONFIG = ROOT / "configs" / "quickstart.yaml"
SITE = {"cpus": 2, "memory_gb": 3, "minutes": 20}


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("stage", ["simulate", pytest.param("report", marks=pytest.mark.soak)])
def test_the_commands_of_the_guide_make_a_run(nodes_on, monkeypatch, tmp_path, command, stage):
    monkeypatch.setenv("SLURM_CONF", nodes_on.environment["SLURM_CONF"])
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    site, run = tmp_path / "site.yaml", tmp_path / "runs" / "quickstart"
    site.write_text(yaml.safe_dump({"resources": SITE, "stages": {"generate": {"workers": 2}}}))
    small = [part for key, value in QUICK.items() for part in ("--set", f"{key}={value}")]
    page = (ROOT / "docs" / "howto" / "slurm.md").read_text()
    lines = re.findall(r"^    astro-dist (.+?)(?:  .*)?$", page, re.M)
    assert [line.split()[0] for line in lines] == ["run", "run", "status", "logs", "cancel"]
    said = []
    for line in lines:
        words = shlex.split(line.replace("configs/clusters/generic.yaml", str(site)), comments=True)
        words = [str(CONFIG) if word == "CONFIG" else word for word in words]
        made = words[0] == "run"
        done = command(*words, *(["--to", stage, "--out", run, *small] if made else []), cwd=tmp_path)
        assert done.returncode == 0, (words, done.stderr)
        said.append(done.stdout)
        if words[0] == "status":
            wait_until(lambda: not queue_of(run))
    assert "#SBATCH" in said[0]
    assert stage in said[2]
    assert command("verify", run).returncode == 0
    shown = [line.split() for line in command("status", run).stdout.splitlines()]
    assert [words[1] for words in shown if words[:1] == [stage]] == ["done,"]
