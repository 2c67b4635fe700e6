"""The ranks of a training over two nodes: which ports they open, to whom, and what a stranger can do."""

import contextlib
import json
import os
import subprocess
import sys

import pytest

from astro_dist.train import ranks
from tests.train import game
from tests.waiting import end, wait_until
from tests.workers.test_namespaces import HEAD, OTHER, ip, listening, spaces  # noqa: F401

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may make network namespaces")
# The first node's address on a second network, which is not that of the job.
OUTSIDE, STRANGER = "10.77.20.1", "10.77.20.2"


@pytest.fixture
def stranger(spaces):  # noqa: F811
    """A namespace beside the two nodes, with a cable to the first node alone."""
    name, cables = f"ad{os.getpid()}c", [f"ad{os.getpid() % 100000}{side}" for side in "cd"]
    try:
        ip("netns", "add", name)
        ip("link", "add", cables[0], "type", "veth", "peer", "name", cables[1])
        for space, cable, address in zip((spaces[0], name), cables, (OUTSIDE, STRANGER), strict=True):
            ip("link", "set", cable, "netns", space)
            ip("-n", space, "addr", "add", f"{address}/24", "dev", cable)
            ip("-n", space, "link", "set", cable, "up")
        yield name
    finally:
        with contextlib.suppress(subprocess.CalledProcessError):
            ip("netns", "del", name)


CONNECT = """
import json, socket, sys
def knock(host, port):
    try:
        socket.create_connection((host, port), timeout=5).close()
    except OSError as error:
        return error.strerror
    return "open"
host, *ports = sys.argv[1:]
print(json.dumps({port: knock(host, int(port)) for port in ports}))
"""


def knock(space, host, found):
    """Return what the ports of a host answer to a connection from a namespace."""
    call = ["ip", "netns", "exec", space, sys.executable, "-c", CONNECT, host, *map(str, found)]
    return set(json.loads(subprocess.run(call, capture_output=True, text=True, check=True).stdout).values())


def test_ranks_over_nodes_listen_on_the_network_of_the_job_only(spaces, stranger, tmp_path):  # noqa: F811
    cell = game.make_cell(tmp_path, ranks=2, steps=10**6, checkpoint_every_s=3600)
    port, children = ranks.free_port(), []
    try:
        for rank, space in enumerate(spaces):
            # What `srun` gives to its tasks.
            task = {"SLURM_PROCID": str(rank), "SLURM_LOCALID": "0", ranks.FIRST_TASK: "0"}
            environment = {**os.environ, **ranks._meeting(cell, HEAD, port, 2, 1), **task}
            call = ["ip", "netns", "exec", space]
            children.append(ranks._launch(call, environment, tmp_path, cell))
        curve = tmp_path / "logs" / "game.curve.jsonl"
        # The training goes on: from inside the job everything is reached.
        wait_until(lambda: curve.exists() and curve.read_text().count("\n") > 1, *children)
        for side, host in enumerate((HEAD, OTHER)):
            found = listening(spaces[side], {child.pid for child in children})
            print(host, found)
            assert {address for address, _ in found.values()} == {host}
            assert (port in found) == (side == 0)
            # The other node of the job reaches every port; nothing asks for a token.
            assert knock(spaces[1 - side], host, found) == {"open"}
            # By the name of the node on another network, and by an address without a route to it.
            assert knock(stranger, OUTSIDE, found) == {"Connection refused"}
            assert knock(stranger, host, found) == {"Network is unreachable"}
        # What stays open: a host with a route to that address. Only a firewall refuses it.
        ip("-n", stranger, "route", "add", f"{HEAD}/32", "via", OUTSIDE)
        assert knock(stranger, HEAD, [port]) == {"open"}
        for child in children:
            ranks._ask_to_stop(child)
        wait_until(lambda: all(child.poll() is not None for child in children))
    finally:
        for child in children:
            end(child)
    outcomes = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    assert {outcome["error"] for outcome in outcomes} == {"StoppedError"}
