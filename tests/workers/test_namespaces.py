"""Ray over two nodes in separate network namespaces; its ports refuse requests without a token."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from astro_dist.engine.files import tree_digests
from astro_dist.workers.ray_leftovers import find_processes, remove_cluster
from tests import waiting
from tests.toys import execute
from tests.waiting import records_of, wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may make network namespaces")
REFUSALS = {"UNAUTHENTICATED", "401"}
HEAD, OTHER = "10.77.19.1", "10.77.19.2"


def ip(*words):
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture(scope="module")
def spaces():
    """Two namespaces, joined by a cable; nothing else is reachable from them."""
    names = [f"ad{os.getpid()}{side}" for side in "ab"]
    cables = [f"ad{os.getpid() % 100000}{side}" for side in "ab"]
    try:
        for name in names:
            ip("netns", "add", name)
        ip("link", "add", cables[0], "type", "veth", "peer", "name", cables[1])
        for name, cable, address in zip(names, cables, (HEAD, OTHER), strict=True):
            ip("link", "set", cable, "netns", name)
            ip("-n", name, "addr", "add", f"{address}/24", "dev", cable)
            for device in ("lo", cable):
                ip("-n", name, "link", "set", device, "up")
        yield names
    finally:
        for name in names:
            with contextlib.suppress(subprocess.CalledProcessError):
                ip("netns", "del", name)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """Digests of the undisturbed serial run."""
    root = tmp_path_factory.mktemp("serial")
    execute(root, {"machine": {"executor": "serial"}})
    return tree_digests(root / "shards")


class TwoNodes:
    """A cluster that somebody started: a head in one namespace, another node in the other."""

    def __init__(self, spaces):
        self.spaces, self.folder = spaces, Path(tempfile.mkdtemp(prefix="ad-", dir="/tmp"))
        self.nodes = []
        token = self.folder / "token"
        token.touch(0o600)
        token.write_text("7" * 64)
        self.environment = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
        self.environment |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_enable_metrics_collection": "0"}

    def start(self):
        head = ("--head", "--port=6399", "--include-dashboard=false")
        self.nodes.append(self.launch(0, HEAD, *head))
        self.nodes.append(self.launch(1, OTHER, f"--address={HEAD}:6399"))
        return self

    def launch(self, side, address, *options):
        ray = Path(sys.executable).with_name("ray")
        common = ("--num-cpus=2", "--num-gpus=2", "--object-store-memory=80000000", "--block")
        folder = self.folder / "ab"[side]
        call = [ray, "start", f"--node-ip-address={address}", f"--temp-dir={folder}", *common, *options]
        output = self.folder / f"{len(self.nodes)}.out"
        with output.open("w") as file:
            node = self.spawn(side, call, stdout=file, stderr=file)
        # Ray prints this line once the node is registered.
        wait_until(lambda: "Ray runtime started" in output.read_text(), node)
        return node

    def spawn(self, side, call, **options):
        inside = ["ip", "netns", "exec", self.spaces[side], *call]
        return waiting.start(inside, env=self.environment, text=True, **options)

    def processes(self):
        return find_processes(self.folder)

    def run(self, root, **settings):
        machine = {"ray_address": f"{HEAD}:6399"}
        tree = json.dumps({"machine": machine, "shards": {"pause_s": 0.2, **settings}})
        call = [sys.executable, "-m", "tests.toys", root, "ray", "4", tree]
        return self.spawn(0, call, stderr=subprocess.PIPE)

    def kill(self, side):
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                if f"{self.folder}/{'ab'[side]}/" in " ".join(process.cmdline()):
                    process.kill()

    def close(self):
        remove_cluster(self.folder)
        for node in self.nodes:
            node.wait()


@pytest.fixture
def cluster(spaces):
    nodes = TwoNodes(spaces).start()
    yield nodes
    nodes.close()


def listening(space, pids):
    """Return ``{port: (address, process name)}`` of the ports that processes listen on in a namespace."""
    code = (
        "import json, psutil\n"
        "found = [(c.laddr.port, c.laddr.ip, c.pid) for c in psutil.net_connections('inet')\n"
        "         if c.status == 'LISTEN' and c.pid]\n"
        "print(json.dumps([(port, ip, pid, psutil.Process(pid).name()) for port, ip, pid in found]))\n"
    )
    call = ["ip", "netns", "exec", space, sys.executable, "-c", code]
    rows = json.loads(subprocess.run(call, check=True, capture_output=True, text=True).stdout)
    return {port: (address, name) for port, address, pid, name in rows if pid in pids}


def ask(space, host, ports):
    """Return the answers of the ports to a request without a token."""
    call = ["ip", "netns", "exec", space, sys.executable, "-m", "tests.workers.probe", host, *map(str, ports)]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run(call, capture_output=True, text=True, check=True, env=clean)
    return {int(port): set(answers) for port, answers in json.loads(done.stdout).items()}


def test_two_nodes_share_the_work_and_refuse_strangers(cluster, tmp_path, reference):
    driver = cluster.run(tmp_path, pause_s=0.5)
    wait_until(lambda: records_of(tmp_path), driver)
    pids = {process.pid for process in cluster.processes()} | {driver.pid}
    pids |= {child.pid for child in psutil.Process(driver.pid).children(recursive=True)}
    for side, host in enumerate((HEAD, OTHER)):
        ports = listening(cluster.spaces[side], pids)
        assert {name for _, name in ports.values()} >= {"raylet"}
        stranger = ask(cluster.spaces[1 - side], host, ports)
        for port, answers in stranger.items():
            shown = f"{host}:{port} {ports[port]} {answers}"
            print(shown)
            assert answers == {"closed"} or (answers & REFUSALS and "OK" not in answers), shown
    _, errors = driver.communicate()
    assert driver.returncode == 0, errors
    assert tree_digests(tmp_path / "shards") == reference
    logs = [json.loads(p.read_text())["log"] for p in (tmp_path / "ledger/shards").glob("*/[!.]*.json")]
    held = {log["pid"]: (log["node"], *log["gpus"]) for log in logs}
    assert len({node for node, _ in held.values()}) == 2
    assert len(set(held.values())) == len(held) == 4


def test_a_private_cluster_opens_no_port_to_another_namespace(spaces, tmp_path):
    tree = json.dumps({"shards": {"pause_s": 0.5}})
    call = [sys.executable, "-m", "tests.toys", str(tmp_path), "ray", "2", tree]
    driver = waiting.start(["ip", "netns", "exec", spaces[0], *call], stderr=subprocess.DEVNULL)
    wait_until(lambda: records_of(tmp_path), driver)
    pids = {child.pid for child in psutil.Process(driver.pid).children(recursive=True)} | {driver.pid}
    ports = listening(spaces[0], pids)
    assert {name for _, name in ports.values()} >= {"raylet", "gcs_server"}
    assert {address for address, _ in ports.values()} <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}
    assert set().union(*ask(spaces[1], HEAD, ports).values()) == {"closed"}
    at_home = ask(spaces[0], "127.0.0.1", ports)
    driver.terminate()
    assert driver.wait() == 75
    for port, answers in at_home.items():
        assert answers & REFUSALS, f"{port} {ports[port]} {answers}"
        assert "OK" not in answers


@pytest.mark.soak
def test_a_node_that_dies_is_replaced_and_a_head_that_dies_is_a_stop(cluster, tmp_path, reference):
    driver = cluster.run(tmp_path / "node", pause_s=1.0)
    wait_until(lambda: len(records_of(tmp_path / "node")) >= 3, driver)
    cluster.kill(1)
    _, errors = driver.communicate()
    assert driver.returncode == 0, errors
    assert tree_digests(tmp_path / "node/shards") == reference
    driver = cluster.run(tmp_path / "head", pause_s=1.0)
    wait_until(lambda: len(records_of(tmp_path / "head")) >= 2, driver)
    cluster.kill(0)
    _, errors = driver.communicate()
    assert driver.returncode == 75, errors
    assert f"the Ray cluster at {HEAD}:6399 is gone" in errors.splitlines()[-1]
    cluster.start()
    driver = cluster.run(tmp_path / "head", pause_s=1.0)
    _, errors = driver.communicate()
    assert driver.returncode == 0, errors
    assert tree_digests(tmp_path / "head/shards") == reference


@pytest.mark.soak
def test_what_the_cluster_cannot_give_is_refused_in_one_line(cluster, tmp_path):
    driver = cluster.run(tmp_path / "large", threads=64)
    _, errors = driver.communicate()
    assert driver.returncode == 2, errors
    assert (
        "no node of the Ray cluster can hold a worker of shards, which needs 64 CPU"
        in errors.splitlines()[-1]
    )
    cluster.environment["RAY_AUTH_TOKEN"] = "8" * 64
    driver = cluster.run(tmp_path / "stranger")
    _, errors = driver.communicate()
    assert driver.returncode == 2, errors
    assert f"cannot use the Ray cluster at {HEAD}:6399" in errors.splitlines()[-1]
