"""The Slurm allocation this process runs in, and how to start something on each of its nodes.

Work over several nodes is always started the same way: the process that holds the work starts one `srun`,
whose tasks read their orders from standard input. Those tasks exit when that input closes, so none of them
outlives the process that started them, even when that process is killed.
"""

import os
import shutil
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from astro_dist.engine.errors import ConfigError

NODES = "ASTRO_DIST_NODES"
"""Variable with the nodes of the whole job, for tasks of `srun`: Slurm's own names only those of the step."""
KEPT = ("SLURM_CONF", "SLURM_JOB_ID", "SLURM_CLUSTER_NAME")
"""Slurm's variables that `srun` needs. The others are requests of the job and would bind our steps too."""


@dataclass(frozen=True)
class Allocation:
    """The nodes of one job; ``here`` is the index of the node that this process runs on."""

    nodes: tuple[str, ...]
    here: int

    @property
    def others(self) -> tuple[str, ...]:
        """The nodes of the job except this one."""
        return self.nodes[: self.here] + self.nodes[self.here + 1 :]

    def address(self) -> str:
        """Return the address at which the other nodes reach this one."""
        # The nodes of a job are taken to share one network, so any other node will do.
        return address_towards(self.others[0])

    def srun(self, nodes: tuple[str, ...], tasks_per_node: int = 1) -> list[str]:
        """Return the `srun` call for some of the nodes; the command to start is to be appended."""
        count = len(nodes)
        return [
            "srun",
            # The step may use all that the job has on a node, although other steps run there already.
            "--overlap",
            f"--nodes={count}",
            f"--ntasks={count * tasks_per_node}",
            f"--ntasks-per-node={tasks_per_node}",
            f"--nodelist={','.join(nodes)}",
            # `block` numbers the tasks node after node. Without `none` below, Slurm may bind all threads
            # of a task to few cores.
            "--distribution=block",
            "--cpu-bind=none",
            # No process here uses MPI, so the site's default plugin is not loaded.
            "--mpi=none",
            "--quiet",
        ]

    def environment(self) -> dict[str, str]:
        """Return the environment in which `srun` is to be called."""
        # Slurm sets CUDA_VISIBLE_DEVICES for a step; the value here may name the GPU of one worker only.
        foreign = ("SLURM", "SRUN", "SBATCH", "CUDA_VISIBLE_DEVICES")
        ours = {k: v for k, v in os.environ.items() if not k.startswith(foreign)}
        ours |= {name: os.environ[name] for name in KEPT if name in os.environ}
        return {**ours, NODES: ",".join(self.nodes)}


def find_allocation(environment: Mapping[str, str] = os.environ) -> Allocation | None:
    """Return the allocation of several nodes that this process runs in, None on one machine.

    Raises
    ------
    ConfigError
        When this process runs on none of the allocated nodes, as on a login node after `salloc`.
    """
    nodes = environment.get(NODES, "").split(",")
    if nodes == [""]:
        if "SLURM_JOB_ID" not in environment or int(environment.get("SLURM_JOB_NUM_NODES", 1)) == 1:
            return None
        nodes = _expand(environment["SLURM_JOB_NODELIST"])
    # Slurm's own name of the node, which may differ from the host name.
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
            # Connecting a UDP socket sends nothing: the kernel only looks the route up. Port 9 is arbitrary.
            probe.connect((host, 9))
            return str(probe.getsockname()[0])
    except OSError as error:
        raise ConfigError(
            f"the node {host} cannot be reached from {socket.gethostname()} ({error.strerror}); "
            "work over several nodes needs node names that resolve"
        ) from None


def interface_of(address: str) -> str | None:
    """Return the name of the network interface that has an address."""
    import psutil

    for name, entries in psutil.net_if_addrs().items():
        if any(entry.address == address for entry in entries):
            return str(name)
    return None
