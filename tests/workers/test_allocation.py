import os

import pytest

from astro_dist.engine.errors import ConfigError
from astro_dist.workers import allocation
from astro_dist.workers.allocation import NODES, Allocation, find_allocation, interface_of

JOB = {"SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "3", "SLURM_JOB_NODELIST": "n[1-3]"}


@pytest.fixture(autouse=True)
def expanded(monkeypatch):
    monkeypatch.setattr(allocation, "_expand", lambda nodes: {"n[1-3]": ["n1", "n2", "n3"]}[nodes])


@pytest.mark.parametrize("environment", [{}, {**JOB, "SLURM_JOB_NUM_NODES": "1"}])
def test_one_machine_is_no_allocation(environment):
    assert find_allocation(environment) is None


def test_a_job_names_its_nodes_and_steps_are_told_them():
    found = find_allocation({**JOB, "SLURMD_NODENAME": "n2"})
    assert found == Allocation(("n1", "n2", "n3"), 1)
    assert found.others == ("n1", "n3")
    assert find_allocation({NODES: "n1,n2,n3", "SLURMD_NODENAME": "n2"}) == found


def test_a_login_node_that_holds_nodes_is_refused():
    with pytest.raises(ConfigError, match="job 7 has 3 nodes and this is none of them; start the command"):
        find_allocation({**JOB, "SLURMD_NODENAME": "login"})


def test_steps_take_all_of_their_nodes_and_none_of_the_wishes_of_the_job(monkeypatch):
    call = Allocation(("n1", "n2"), 0).srun(("n1", "n2"), 4)
    assert {"--overlap", "--nodes=2", "--ntasks=8", "--ntasks-per-node=4", "--nodelist=n1,n2"} <= set(call)
    monkeypatch.setattr(
        os, "environ", {"SLURM_JOB_ID": "7", "SLURM_MEM_PER_CPU": "5", "CUDA_VISIBLE_DEVICES": "0", "A": "b"}
    )
    assert Allocation(("n1", "n2"), 0).environment() == {"SLURM_JOB_ID": "7", NODES: "n1,n2", "A": "b"}


def test_a_node_whose_name_means_nothing_is_refused():
    with pytest.raises(ConfigError, match=r"no-such-node\.invalid cannot be reached"):
        Allocation(("n1", "no-such-node.invalid"), 0).address()


def test_addresses_belong_to_interfaces():
    assert interface_of("127.0.0.1") == "lo"
    assert interface_of("192.0.2.77") is None
