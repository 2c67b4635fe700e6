"""The queue and the runs that look at it: other names, other filters, jobs that are ending, nodes away."""

import pytest

from astro_dist.cluster.queue import log_folder, queue_of, refuse_while_queued
from astro_dist.cluster.slurm import script_name
from astro_dist.cluster.submit import Chain, cancel_run
from astro_dist.engine.errors import ConfigError
from astro_dist.engine.progress import Display
from astro_dist.runner import Runner
from tests.slurm.conftest import ROOT, wait_for_state
from tests.slurm.conftest import submit as submit_script
from tests.slurm.small_site import MACHINE, digests, expected, last_job, small_site, submit, wait_for_end
from tests.toys import toy_runner
from tests.waiting import wait_until

WAITING = {"sbatch": ["--hold"]}


@pytest.fixture
def nodes(nodes_on, monkeypatch):
    monkeypatch.setenv("SLURM_CONF", nodes_on.environment["SLURM_CONF"])
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return nodes_on


def count_jobs(cluster):
    return len(cluster.run("squeue", "-h").stdout.splitlines())


def test_nobody_works_beside_jobs_that_wait_and_they_are_found_under_any_name(nodes, monkeypatch, tmp_path):
    root, site = tmp_path / "run", small_site(tmp_path, **WAITING)
    submit(root, site, {})
    before = count_jobs(nodes)
    monkeypatch.setenv("LOGNAME", "nobody")
    monkeypatch.setenv("SQUEUE_STATES", "RUNNING")
    monkeypatch.setenv("SQUEUE_PARTITION", "high")
    with pytest.raises(ConfigError, match=r"jobs of .* are in the queue \(\d+, \d+, \d+\); wait for them"):
        refuse_while_queued(root)
    assert all("is queued already" in line for line in submit(root, site, {}))
    assert count_jobs(nodes) == before
    with pytest.raises(ConfigError, match=r"other settings \(machine.workers: null -> 3\)"):
        submit(root, site, {"machine": {"executor": "serial", "workers": 3}})
    whole = toy_runner(root, {"machine": MACHINE})
    alone = Runner(whole.root, whole.config, whole.known, "shards")
    with pytest.raises(ConfigError, match="jobs of this run for total are in the queue"):
        Chain(alone, site).submit(Display(live=False))
    assert len(cancel_run(root)) == 3
    wait_for_end(root)
    refuse_while_queued(root)


def test_a_queue_that_does_not_answer_may_hold_jobs(nodes, monkeypatch, tmp_path):
    refuse_while_queued(tmp_path)
    log_folder(tmp_path).mkdir(parents=True)
    (log_folder(tmp_path) / "shards.sbatch").touch()
    refuse_while_queued(tmp_path)
    (tmp_path / "slurm.conf").touch()
    monkeypatch.setenv("SLURM_CONF", str(tmp_path / "slurm.conf"))
    with pytest.raises(ConfigError, match=r"cannot check whether jobs .* remove .*logs/slurm"):
        refuse_while_queued(tmp_path)


def test_what_a_user_says_for_all_jobs_holds_where_the_file_says_nothing(nodes, monkeypatch, tmp_path):
    root = tmp_path / "run"
    for name, value in {"TIMELIMIT": "5", "ARRAY_INX": "0-2", "NO_REQUEUE": "1", "PARTITION": "high"}.items():
        monkeypatch.setenv(f"SBATCH_{name}", value)
    submit(root, small_site(tmp_path, **WAITING), {})
    rows = nodes.run("squeue", "-h", "--array", "--format=%l %P").stdout.splitlines()
    assert rows == ["10:00 high"] * 4
    cancel_run(root)


def test_a_job_that_is_ending_is_waited_for_and_what_failed_is_queued_again(nodes, tmp_path):
    conf, epilog = nodes.base / "slurm.conf", nodes.base / "slow.sh"
    text = conf.read_text()
    epilog.write_text("#!/bin/bash\nsleep 3\n")
    epilog.chmod(0o755)
    conf.write_text(f"{text}Epilog={epilog}\n")
    nodes.run("scontrol", "reconfigure")
    try:
        root = tmp_path / "run"
        submit(root, small_site(tmp_path).model_copy(update={"setup": ("exit 3",)}), {})
        # All elements of the array: one that had not failed yet would be queued rightly.
        states = lambda: {row.state for row in queue_of(root).get(script_name("shards"), [])}  # noqa: E731
        wait_until(lambda: states() == {"COMPLETING"})
        lines = submit(root, small_site(tmp_path), {})
        assert not any("queued already" in line for line in lines)
        wait_for_end(root)
    finally:
        conf.write_text(text)
        nodes.run("scontrol", "reconfigure")
    assert last_job(nodes, root, "total")["JobState"] == "COMPLETED"


def test_jobs_may_wait_for_nodes_that_are_away(nodes, tmp_path):
    for name in nodes.nodes:
        nodes.run("scontrol", "update", f"nodename={name}", "state=drain", "reason=test")
    root = tmp_path / "run"
    try:
        submit(root, small_site(tmp_path), {})
        with pytest.raises(ConfigError, match="cpus: 64 asked for"):
            submit(tmp_path / "other", small_site(tmp_path, cpus=64), {})
    finally:
        for name in nodes.nodes:
            nodes.run("scontrol", "update", f"nodename={name}", "state=resume")
    wait_for_end(root)
    assert last_job(nodes, root, "total")["JobState"] == "COMPLETED"


def test_a_refusal_leaves_no_half_chain(nodes, tmp_path):
    with pytest.raises(ConfigError, match="Invalid job array"):
        submit(tmp_path / "run", small_site(tmp_path, {"shards": {"workers": 5000}}), {})
    assert not (tmp_path / "run").exists()
    # The place of a later sbatch file is taken.
    (log_folder(tmp_path / "other") / "total-job.sbatch").mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        submit(tmp_path / "other", small_site(tmp_path, **WAITING), {})
    assert count_jobs(nodes) == 0


def test_any_character_may_be_in_the_name_of_a_run(nodes, tmp_path):
    root = tmp_path / "100%jobs of $HOME's"
    submit(root, small_site(tmp_path), {})
    wait_for_end(root)
    assert digests(root) == expected(tmp_path, {})
    assert len(list(log_folder(root).glob("*.out"))) == 4


def test_a_run_submitted_by_an_element_of_an_array_asks_back_for_itself(nodes, tmp_path):
    """Slurm's facts of the job that submits do not reach those that it submits."""
    code = (
        "import sys; from pathlib import Path; from tests.slurm.small_site import small_site, submit; "
        f"submit(Path({str(tmp_path / 'run')!r}), small_site(Path({str(tmp_path)!r}), "
        "{'shards': {'workers': 1}}, sbatch=['--hold']), {})"
    )
    script = tmp_path / "outer.sh"
    script.write_text(f'#!/bin/bash\ncd {ROOT}\nexec python -c "{code}"\n')
    outer = submit_script(nodes, "--array=5", f"--output={tmp_path}/outer.log", script=script)
    wait_for_state(nodes, outer, "COMPLETED")
    (row,) = queue_of(tmp_path / "run")["shards-job.sbatch"]
    assert row.element == "N/A"
    text = (log_folder(tmp_path / "run") / "shards-job.sbatch").read_text()
    assert "scontrol requeue $SLURM_JOB_ID)" in text
    cancel_run(tmp_path / "run")
