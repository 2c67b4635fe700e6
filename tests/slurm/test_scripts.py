"""The sbatch scripts that users copy, with a command that stops when it is asked to."""

import pytest

from tests.slurm.conftest import batch, job_facts, submit, wait_for_state
from tests.waiting import wait_until

CODE = "import signal; signal.signal(15, lambda *_: exit(75)); print(1, flush=True); signal.pause()"


@pytest.mark.parametrize(("call", "restarts"), [((), "0"), (("--batch", "--signal=TERM"), "1")])
def test_a_job_that_is_asked_to_stop_comes_back_unless_it_is_cancelled(
    slurm_cluster, tmp_path, call, restarts
):
    script = batch(tmp_path / "job.sh", "source slurm/env.sh", f'until_done python -c "{CODE}"')
    log = tmp_path / "log"
    job = submit(slurm_cluster, "--requeue", f"--output={log}", script=script)
    wait_until(lambda: log.exists() and "1" in log.read_text().split())
    slurm_cluster.run("scancel", *call, str(job))
    facts = wait_for_state(slurm_cluster, job, *(("PENDING",) if call else ("CANCELLED",)))
    assert facts["Restarts"] == restarts
    slurm_cluster.run("scancel", "--full", str(job))
    wait_until(lambda: not slurm_cluster.run("squeue", "-h").stdout.strip())
    assert job_facts(slurm_cluster, job)["JobState"] == "CANCELLED"
