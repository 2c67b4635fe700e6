"""What cannot be queued is one clear line, before anything is queued or written."""

import pytest

from astro_dist.engine.errors import ConfigError
from tests.slurm.conftest import cluster_of_two
from tests.slurm.small_site import small_site, submit


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"partition": "mian"}, "shards: partition: there is no 'mian' here: did you mean 'main'"),
        ({"gpus": 3}, "shards: gpus: 3 asked for and this cluster has at most 2"),
        (
            {"gpus": 1, "gpu_type": "h100"},
            "shards: gpus: 1 of type h100 asked for and this cluster has at most 0",
        ),
        ({"cpus": 9, "partition": "high"}, "shards: cpus: 9 asked for and partition high has at most 8"),
        ({"memory_gb": 64.0}, "memory_gb: 64 asked for"),
        ({"nodes": 3, "workers": 1}, "shards: nodes: 3 asked for and this cluster has at most 2"),
        ({"reservation": "tomorrow"}, "Slurm refuses"),
        (
            {"minutes": 31, "partition": "short"},
            "shards: minutes: 31 asked for and partition short has at most 30",
        ),
    ],
)
def test_wishes_that_the_cluster_cannot_grant(slurm_cluster, monkeypatch, tmp_path, asked, said):
    monkeypatch.setenv("SLURM_CONF", slurm_cluster.environment["SLURM_CONF"])
    with pytest.raises(ConfigError, match=said):
        submit(tmp_path / "run", small_site(tmp_path, **asked), {})
    assert not (tmp_path / "run").exists()
    assert not slurm_cluster.run("squeue", "-h").stdout.strip()


def test_an_account_that_does_not_exist(monkeypatch, tmp_path):
    """Only where Slurm keeps accounts does it know."""
    with cluster_of_two(accounting=True) as cluster:
        monkeypatch.setenv("SLURM_CONF", cluster.environment["SLURM_CONF"])
        with pytest.raises(ConfigError, match=r"Slurm refuses .sbatch.: .*Invalid account"):
            submit(tmp_path / "run", small_site(tmp_path, account="nobody"), {})
        assert not (tmp_path / "run").exists()
        assert not cluster.run("squeue", "-h").stdout.strip()
        assert len(submit(tmp_path / "run", small_site(tmp_path, account="root"), {})) == 2
        cluster.run("scancel", "--full", "--user=root")


def test_no_slurm_on_this_machine(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ConfigError, match="there is no sinfo on PATH: this machine has no Slurm"):
        submit(tmp_path / "run", small_site(tmp_path), {})
    assert not (tmp_path / "run").exists()
