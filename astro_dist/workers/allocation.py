"""The Slurm allocation this process runs in, and how to start something on each of its nodes.

Work over several nodes is always started the same way: the process that has the work, on whichever node,
starts one `srun` and speaks to all tasks of it through its standard input. The end of that pipe, however
it comes, is their end.
"""

import os
import shutil
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

import psutil

from astro_dist.engine.errors import ConfigError

NODES = "ASTRO_DIST_NODES"
"""Names the nodes to what `srun` started, where Slurm's own variables name those of the step."""
KEPT = ("SLURM_CONF", "SLURM_JOB_ID", "SLURM_CLUSTER_NAME")
"""Of Slurm's variables, those that `srun` needs; the others are wishes of the job, not of our steps."""


@dataclass(frozen=True)
class Allocation:
    """Several nodes that belong to one job, and which of them this process is on."""

    nodes: tuple[str, ...]
    here: int

    @property
    def others(self) -> tuple[str, ...]:
        """The nodes without this one."""
        return self.nodes[: self.here] + self.nodes[self.here + 1 :]

    def address(self) -> str:
        """Return the address at which the other nodes reach this one."""
        return address_towards(self.others[0])

    def srun(self, nodes: tuple[str, ...], tasks_per_node: int = 1) -> list[str]:
        """Return the call that starts a command, to be appended, on some of the nodes."""
        count = len(nodes)
        return [
            "srun",
            # All that the job has on a node, beside whatever else it runs there.
            "--overlap",
            f"--nodes={count}",
            f"--ntasks={count * tasks_per_node}",
            f"--ntasks-per-node={tasks_per_node}",
            f"--nodelist={','.join(nodes)}",
            "--distribution=block",
            "--cpu-bind=none",
            "--mpi=none",
            "--quiet",
        ]

    def environment(self) -> dict[str, str]:
        """Return the environment in which `srun` is to be called."""
        # Slurm names the GPUs of a step itself; the ones named here may be one worker's.
        foreign = ("SLURM", "SRUN", "SBATCH", "CUDA_VISIBLE_DEVICES")
        ours = {k: v for k, v in os.environ.items() if not k.startswith(foreign)}
        ours |= {name: os.environ[name] for name in KEPT if name in os.environ}
        return {**ours, NODES: ",".join(self.nodes)}


def find_allocation(environment: Mapping[str, str] = os.environ) -> Allocation | None:
    """Return the allocation of several nodes that this process is in, None on one machine.

    Raises
    ------
    ConfigError
        When the nodes are allocated, and this process is not on one of them.
    """
    nodes = environment.get(NODES, "").split(",")
    if nodes == [""]:
        if "SLURM_JOB_ID" not in environment or int(environment.get("SLURM_JOB_NUM_NODES", 1)) == 1:
            return None
        nodes = _expand(environment["SLURM_JOB_NODELIST"])
    here = environment.get("SLURMD_NODENAME")
    if here not in nodes:
        raise ConfigError(
            f"job {environment.get('SLURM_JOB_ID')} has {len(nodes)} nodes and this is none of them; "
            "start the command with sbatch, or on a node: srun --nodes=1 --ntasks=1 --pty astro-dist run ..."
        )
    return Allocation(tuple(nodes), nodes.index(here))


def _expand(nodes: str) -> list[str]:
    tool = shutil.which("scontrol")
    if tool is None:
        raise ConfigError(f"the job has the nodes {nodes} and there is no scontrol on PATH to reach them")
    call = [tool, "show", "hostnames", nodes]
    return subprocess.run(call, capture_output=True, text=True, check=True, timeout=60).stdout.split()


def address_towards(host: str) -> str:
    """Return this machine's address on the network through which it reaches ``host``."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            # Sends nothing: it asks the routing table.
            probe.connect((host, 9))
            return str(probe.getsockname()[0])
    except OSError as error:
        raise ConfigError(
            f"the node {host} cannot be reached from {socket.gethostname()} ({error.strerror}); "
            "work over several nodes needs node names that resolve"
        ) from None


def interface_of(address: str) -> str | None:
    """Return the name of the network interface that has an address."""
    for name, entries in psutil.net_if_addrs().items():
        if any(entry.address == address for entry in entries):
            return str(name)
    return None
