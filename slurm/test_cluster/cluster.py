#!/usr/bin/env python3
"""A real Slurm of several nodes with fake GPUs on one machine: start it, stop it, power nodes off and on.

    cluster.py up BASE [--nodes 2] [--gpus 2] [--cpus 8] [--share FOLDER ...] [--accounting]
    cluster.py run BASE sbatch job.sh        a command on the login node, which is this machine
    cluster.py off BASE n2                   cuts the power of a node; `on` boots the node again
    cluster.py down BASE                     ends every daemon and node, removes BASE

As root each node has network, host name, mounts, processes, /tmp and /dev/shm of its own; nodes share BASE
and the folders of --share below /tmp. Without root the nodes are daemons with this machine's address: enough
for queues, arrays and requeues, not for work over several nodes. Several clusters may run at once. The script
needs slurmctld, slurmd, slurm-client and munge, as root also iproute2 and util-linux; of Python only the
standard library. All files lie below BASE; outside there is only a network bridge, which `down` removes.
"""

import argparse
import contextlib
import getpass
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

CLUSTERS = 200
PATIENCE_S: float | None = 60.0
"""Seconds to wait for a daemon or an answer; None for no limit, as the tests have one of their own."""
PROGRAMS = ("slurmctld", "slurmd", "sbatch", "munged")
ROOT_PROGRAMS = ("ip", "unshare", "mount")
DBD_PROGRAMS = ("slurmdbd", "mariadbd", "mariadb", "mariadb-install-db")
HERE = Path(__file__).resolve().parent
os.environ["PATH"] += ":/usr/sbin:/sbin"


def missing(accounting: bool = False) -> str | None:
    """Return why no cluster can be started on this machine, None when one can."""
    wanted = PROGRAMS + (ROOT_PROGRAMS if os.geteuid() == 0 else ()) + (DBD_PROGRAMS if accounting else ())
    absent = [name for name in wanted if shutil.which(name) is None]
    return f"not installed: {', '.join(absent)}" if absent else None


class NoNetworkError(RuntimeError):
    """Error when a network cannot be made on this machine, or too many clusters are up."""


def ip(*words: str) -> None:
    """Run ``ip`` and raise `NoNetworkError` when it fails."""
    done = subprocess.run(["ip", *words], check=False, capture_output=True, text=True)
    if done.returncode:
        raise NoNetworkError(f"ip {' '.join(words)}: {done.stderr.strip()}")


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition; raise TimeoutError naming ``what`` when the condition stays false."""
    begin = time.monotonic()
    while not condition():
        if PATIENCE_S is not None and time.monotonic() > begin + PATIENCE_S:
            raise TimeoutError(f"{what}: not within {PATIENCE_S:.0f} s")
        time.sleep(0.1)


class Cluster:
    """A Slurm cluster whose files all lie below ``base``."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.facts = json.loads((base / "cluster.json").read_text())
        self.number: int = self.facts["number"]
        self.nodes = [f"n{i}" for i in range(1, self.facts["nodes"] + 1)]
        self.root: bool = self.facts["root"]
        self.net, self.bridge = f"10.77.{self.number}", f"adslurm{self.number}"
        self.environment = {**os.environ, "SLURM_CONF": str(base / "slurm.conf")}
        self.children: dict[str, subprocess.Popen[bytes]] = {}

    @classmethod
    def up(
        cls,
        base: Path,
        nodes: int = 2,
        gpus: int = 2,
        cpus: int = 8,
        share: tuple[Path, ...] = (),
        accounting: bool = False,
    ) -> "Cluster":
        """Start a cluster and return it when every node is idle."""
        for path in share:
            if not path.is_dir():
                raise FileNotFoundError(f"there is no folder {path} for the nodes to share")
        root = os.geteuid() == 0
        base = base.resolve()
        base.mkdir(parents=True, exist_ok=True)
        if (base / "cluster.json").exists():
            raise FileExistsError(f"{base} holds a cluster already; take it down first")
        facts = {"number": take_number(root), "nodes": nodes, "gpus": gpus, "cpus": cpus, "root": root}
        facts |= {"share": [str(path.resolve()) for path in (base, *share)], "accounting": accounting}
        (base / "cluster.json").write_text(json.dumps(facts))
        cluster = cls(base)
        try:
            cluster.configure()
            cluster.start_daemons()
            for node in cluster.nodes:
                cluster.on(node)
            wait_until(lambda: cluster.states() == ["idle"] * nodes, "the nodes to be idle")
        except BaseException:
            cluster.down()
            raise
        return cluster

    def configure(self) -> None:
        """Write every configuration file, the munge key and the fake GPUs."""
        for name in ("state", "run", "log", "spool", "dev", "munge"):
            (self.base / name).mkdir()
        (self.base / "munge").chmod(0o700)
        key = self.base / "munge" / "key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        for gpu in range(self.facts["gpus"]):
            # Slurm wants character devices; a plain count registers none.
            (self.base / "dev" / f"gpu{gpu}").symlink_to("/dev/null")
        hosts = ["127.0.0.1 localhost", f"{self.net}.254 login"]
        hosts += [f"{self.net}.{i} {node}" for i, node in enumerate(self.nodes, 1)]
        self.write("hosts", "\n".join(hosts))
        # No name server can be reached from the nodes, and each failed query would cost seconds.
        self.write("nsswitch.conf", "passwd: files\ngroup: files\nhosts: files")
        # Without this line slurmd looks for /sys/fs/cgroup/systemd, which a namespace may lack.
        self.write("cgroup.conf", "CgroupPlugin=cgroup/v1")
        gpus = self.facts["gpus"]
        self.write("gres.conf", f"Name=gpu File={self.base}/dev/gpu[0-{gpus - 1}]" if gpus else "")
        self.write("slurm.conf", self.fill("slurm.conf.in"))
        if self.facts["accounting"]:
            self.write("slurmdbd.conf", self.fill("slurmdbd.conf.in"))
            (self.base / "slurmdbd.conf").chmod(0o600)

    def fill(self, template: str) -> str:
        """Return a template beside this file with this cluster's names, ports and paths."""
        kept = "slurmdbd\nAccountingStorageEnforce=associations" if self.facts["accounting"] else "none"
        values = {
            "base": self.base,
            "user": getpass.getuser(),
            "host": socket.gethostname().partition(".")[0],
            "address": f"{self.net}.254" if self.root else "127.0.0.1",
            "storage": f"accounting_storage/{kept}",
            "gather": "jobacct_gather/linux" if self.facts["accounting"] else "jobacct_gather/none",
            **{name: self.port(i) for i, name in enumerate(("ctld_port", "dbd_port", "sql_port"))},
        }
        text = (HERE / template).read_text().format(**values)
        return (
            text + "\n".join(map(self.node_line, range(len(self.nodes))))
            if "slurm.conf" in template
            else text
        )

    def node_line(self, i: int) -> str:
        """Return the line of one node in slurm.conf."""
        where = (
            f"{self.net}.{i + 1} Port={self.port(3)}" if self.root else f"127.0.0.1 Port={self.port(3 + i)}"
        )
        gpus = f" Gres=gpu:{self.facts['gpus']}" if self.facts["gpus"] else ""
        return f"NodeName={self.nodes[i]} NodeAddr={where} CPUs={self.facts['cpus']} RealMemory=8000{gpus}"

    def port(self, i: int) -> int:
        """Return the i-th of this cluster's own ports."""
        return first_port(self.number) + i

    def write(self, name: str, text: str) -> None:
        """Write one file of the cluster."""
        (self.base / name).write_text(text + "\n")

    def start_daemons(self) -> None:
        """Start the network, munge, accounting where asked for, and the controller."""
        if self.root:
            ip("addr", "add", f"{self.net}.254/24", "dev", self.bridge)
            ip("link", "set", self.bridge, "up")
        run, munge = self.base / "run", self.base / "munge"
        files = {"socket": run / "munge.sock", "pid-file": run / "munged.pid", "key-file": munge / "key"}
        files |= {"log-file": munge / "log", "seed-file": munge / "seed"}
        self.daemon("munged", "--force", "--num-threads=2", *(f"--{k}={v}" for k, v in files.items()))
        if self.facts["accounting"]:
            self.start_accounting()
        self.daemon("slurmctld", "-c")

    def start_accounting(self) -> None:
        """Start a database on loopback and slurmdbd, and register the cluster and its user."""
        data, sock = self.base / "database", self.base / "run" / "sql.sock"
        user = getpass.getuser()
        common = ["--no-defaults", f"--user={user}", f"--datadir={data}"]
        self.daemon(
            "mariadb-install-db", *common, "--auth-root-authentication-method=normal", "--skip-test-db"
        )
        server = [*common, f"--socket={sock}", "--bind-address=127.0.0.1", f"--port={self.port(2)}"]
        server += ["--innodb-buffer-pool-size=64M", "--innodb-lock-wait-timeout=900"]
        server += ["--innodb-flush-log-at-trx-commit=0", f"--pid-file={self.base}/run/mariadb.pid"]
        with open(self.base / "log" / "mariadb.log", "w") as log:
            given = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
            self.children["mariadb"] = subprocess.Popen(["mariadbd", *server], **given)
        names = [f"slurm@{host}" for host in ("127.0.0.1", "localhost")]
        words = [f"create user {name} identified by 'slurm'; grant all on *.* to {name};" for name in names]
        call = ["mariadb", "--no-defaults", "-u", "root", "-S", str(sock), "-e"]
        wait_until(lambda: succeeds([*call, "select 1"]), "the database")
        subprocess.run([*call, "create database slurm; " + " ".join(words)], check=True)
        self.daemon("slurmdbd")
        wait_until(lambda: succeeds(["sacctmgr", "-n", "list", "cluster"], self.environment), "slurmdbd")

    def daemon(self, *call: str) -> None:
        """Run a program that puts itself into the background."""
        with open(self.base / "log" / f"{call[0]}.out", "w") as log:
            subprocess.run(
                call, check=True, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def on(self, node: str) -> None:
        """Start a node; the controller accepts it again without a command."""
        folder = self.base / "spool" / node
        (folder / "tmp").mkdir(parents=True, exist_ok=True)
        call = ["slurmd", "-D", "-N", node]
        if self.root:
            script = boot_script(
                self.base, node, self.facts["share"], f"{self.net}.{self.nodes.index(node) + 1}"
            )
            spaces = "--uts --mount --pid --net --fork --kill-child --mount-proc --propagation private"
            call = ["unshare", *spaces.split(), "bash", "-euc", script]
        with open(self.base / "log" / f"{node}.out", "w") as log:
            given = {"env": self.environment, "stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
            process = subprocess.Popen(call, cwd="/", start_new_session=True, **given)
        self.children[f"node.{node}"] = process
        (self.base / "run" / f"node.{node}.pid").write_text(str(process.pid))
        if self.root:
            pid, cable = str(process.pid), f"{self.bridge}{node}"
            wait_until(lambda: space_of(pid) not in (None, space_of("self")), f"the namespaces of {node}")
            ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", pid)
            ip("link", "set", cable, "master", self.bridge, "up")

    def off(self, node: str) -> None:
        """Cut a node's power: first the network, then all processes, so that none can send a last message."""
        cable = f"{self.bridge}{node}"
        with contextlib.suppress(NoNetworkError, FileNotFoundError):
            ip("link", "set", cable, "down")
        self.end(f"node.{node}", signal.SIGKILL)
        with contextlib.suppress(NoNetworkError, FileNotFoundError):
            ip("link", "del", cable)

    def end(self, name: str, number: int) -> None:
        """End one process that this cluster started, with its children, and wait for the end."""
        path = self.base / "run" / f"{name}.pid"
        with contextlib.suppress(FileNotFoundError, ValueError):
            pid = int(path.read_text())
            path.unlink()
            if str(self.base) not in command_line(pid):
                return
            if name.startswith("node.") and not self.root:
                os.killpg(pid, number)
            else:
                os.kill(pid, number)
            if name in self.children:
                self.children.pop(name).wait()
            wait_until(lambda: not command_line(pid), f"the end of {name}")

    def states(self) -> list[str]:
        """Return the state of every node."""
        return self.run("sinfo", "-h", "-N", "-p", "main", "-o", "%T", check=False).stdout.split()

    def run(self, *call: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command on the login node and return its output."""
        options = {"env": self.environment, "capture_output": True, "text": True, "timeout": PATIENCE_S}
        # A write after munged has hung up raises SIGPIPE and ends the command; a child inherits "ignored".
        return subprocess.run(call, check=check, restore_signals=False, **options)

    def down(self) -> None:
        """End everything and remove the folder."""
        # The controller first: a running controller would wait for nodes that no longer answer.
        self.end("slurmctld", signal.SIGTERM)
        for node in self.nodes:
            self.off(node)
        for name in ("slurmdbd", "mariadb", "munged"):
            self.end(name, signal.SIGTERM)
        if self.root:
            with contextlib.suppress(NoNetworkError):
                ip("link", "del", self.bridge)
        shutil.rmtree(self.base)


def boot_script(base: Path, node: str, share: list[str], address: str) -> str:
    """Return the script of a node in its namespaces; bash stays as init of the node and reaps orphans."""
    tmp = base / "spool" / node / "tmp"
    lines = [f"hostname {node}", f"mount --bind {base}/hosts /etc/hosts"]
    lines += [f"mount --bind {base}/nsswitch.conf /etc/nsswitch.conf"]
    for path in map(Path, share):
        if path.is_relative_to("/tmp"):
            inside = shlex.quote(str(tmp / path.relative_to("/tmp")))
            lines += [f"mkdir -p {inside}", f"mount --bind {shlex.quote(str(path))} {inside}"]
    lines += [f"mount --rbind {tmp} /tmp", "mount -t tmpfs -o mode=1777 tmpfs /dev/shm"]
    lines += ["until ip link show eth0; do sleep 0.05; done", "ip link set lo up"]
    lines += [f"ip addr add {address}/24 dev eth0", "ip link set eth0 up"]
    lines += [f"ip route add default via {address.rpartition('.')[0]}.254"]
    return "\n".join([*lines, f"slurmd -D -N {node} & wait"])


def first_port(number: int) -> int:
    """Return the first of the sixteen ports of a cluster."""
    return 27000 + 16 * number


def take_number(root: bool) -> int:
    """Return a number that no other cluster here has; network, names and ports follow from the number."""
    for number in range(CLUSTERS):
        with contextlib.suppress(OSError, NoNetworkError):
            with socket.socket() as listener:
                listener.bind(("", first_port(number)))
            if root:
                ip("link", "add", f"adslurm{number}", "type", "bridge")
            return number
    raise NoNetworkError(f"{CLUSTERS} clusters are up already, or no network bridge can be made here")


def succeeds(call: list[str], environment: dict[str, str] | None = None) -> bool:
    """Return whether a command succeeds."""
    done = subprocess.run(call, env=environment, capture_output=True, check=False, restore_signals=False)
    return done.returncode == 0


def space_of(pid: str) -> str | None:
    """Return the network namespace of a process, None when the process is gone."""
    try:
        return os.readlink(f"/proc/{pid}/ns/net")
    except OSError:
        return None


def command_line(pid: int) -> str:
    """Return command line and environment of a process, empty when the process has ended."""
    try:
        entry = Path("/proc", str(pid))
        return ((entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()).decode(errors="replace")
    except OSError:
        return ""


def main() -> int:
    """Do one command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("up", "run", "off", "on", "down"):
        commands.add_parser(name).add_argument("base", type=Path)
    up = commands.choices["up"]
    up.add_argument("--nodes", type=int, default=2)
    up.add_argument("--gpus", type=int, default=2, help="fake GPUs per node")
    up.add_argument("--cpus", type=int, default=8, help="cores per node, as Slurm counts them")
    up.add_argument(
        "--share",
        type=Path,
        nargs="*",
        action="extend",
        default=[],
        help="folders below /tmp that nodes share",
    )
    up.add_argument("--accounting", action="store_true", help="with slurmdbd (needs mariadb-server)")
    commands.choices["run"].add_argument("call", nargs=argparse.REMAINDER)
    for name in ("off", "on"):
        commands.choices[name].add_argument("node")
    given = parser.parse_args()
    if given.command == "up":
        if reason := missing(given.accounting):
            sys.exit(f"cluster.py: {reason}")
        settings = {k: v for k, v in vars(given).items() if k in ("nodes", "gpus", "cpus", "accounting")}
        cluster = Cluster.up(given.base, share=(Path.cwd(), *given.share), **settings)
        print(f"export SLURM_CONF={cluster.environment['SLURM_CONF']}")
        return 0
    cluster = Cluster(given.base.resolve())
    if given.command == "run":
        os.execvpe(given.call[0], given.call, cluster.environment)
    getattr(cluster, given.command)(*([given.node] if given.command in ("on", "off") else []))
    return 0


if __name__ == "__main__":
    sys.exit(main())
