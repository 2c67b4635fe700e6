"""Two members of a group take turns on one run directory; another's private directory is one line."""

import json
import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from astro_dist.engine.files import tree_digests
from tests import waiting
from tests.end_to_end.conftest import ROOT
from tests.toys import execute
from tests.waiting import records_of, wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may become other users")
GROUP = 61300


def free_uids():
    taken = {entry.pw_uid for entry in pwd.getpwall()}
    return [uid for uid in range(61301, 61400) if uid not in taken][:2]


def opening():
    """Return lines of shell that let others read Python and this checkout where they lie in a closed home.

    In a mount namespace of its own, a process sees an empty folder in place of the home, and in it the few
    folders that are needed.
    """
    needed = [Path(path).resolve() for path in (sys.base_prefix, sys.prefix, ROOT)]
    homes = {home for path in needed for home in path.parents if not home.stat().st_mode & stat.S_IXOTH}
    if not homes:
        return []
    lines = ["mount -t tmpfs -o mode=755 none /mnt"]
    hidden = [(f"/mnt/{i}", path) for i, path in enumerate(needed) if homes & set(path.parents)]
    lines += [f"mkdir {aside} && mount --bind {path} {aside}" for aside, path in hidden]
    lines += [f"mount -t tmpfs -o mode=755 none {min(homes)}"]
    return lines + [f"mkdir -p {path} && mount --bind {aside} {path}" for aside, path in hidden]


class Member:
    """A user of the group, whose new files the group may write."""

    def __init__(self, uid):
        self.uid = uid
        become = f"exec setpriv --reuid={uid} --regid={GROUP} --groups={GROUP} -- "
        script = " && ".join([*opening(), "umask 002", f'{become} "$@"'])
        self.prefix = ["unshare", "--mount", "sh", "-c", script, "sh", sys.executable]
        home = {"HOME": "/", "USER": f"member{uid}", "PYTHONDONTWRITEBYTECODE": "1"}
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        self.options = {"cwd": ROOT, "env": {**kept, **home}, "text": True}

    def call(self, *line):
        line = [*self.prefix, *map(str, line)]
        return subprocess.run(line, capture_output=True, check=False, **self.options)

    def start(self, *line):
        return waiting.start([*self.prefix, *line], stderr=subprocess.DEVNULL, **self.options)


@pytest.fixture(scope="module")
def members():
    both = [Member(uid) for uid in free_uids()]
    tried = both[0].call("-c", "import tests.toys, astro_dist")
    if tried.returncode:
        pytest.skip(f"another user cannot read this checkout, and root cannot mount: {tried.stderr}")
    return both


@pytest.fixture
def shared():
    """A folder of the group; what is made in it belongs to the group too."""
    # Not pytest's own folder, which only its user may enter.
    folder = Path(tempfile.mkdtemp(prefix="adpeople-", dir="/tmp"))
    os.chown(folder, 0, GROUP)
    folder.chmod(0o2775)
    yield folder
    shutil.rmtree(folder)


def begin_and_stop(member, root):
    """Let a member begin the toy run and stop it by SIGTERM once a task is done."""
    settings = json.dumps({"shards": {"stoppable_s": 600}})
    driver = member.start("-m", "tests.toys", str(root), "processes", "2", settings)
    wait_until(lambda: records_of(root), driver)
    driver.terminate()
    assert driver.wait() == 75


def check_modes(root, owners):
    """Everything below a run directory belongs to the group, which may write it."""
    found = {root: root.lstat(), **{path: path.lstat() for path in root.rglob("*")}}
    for path, facts in found.items():
        wanted = 0o2775 if stat.S_ISDIR(facts.st_mode) else 0o664
        assert stat.S_IMODE(facts.st_mode) == wanted, path
        assert facts.st_gid == GROUP, path
    assert {facts.st_uid for facts in found.values()} == owners


REDO = "import sys; from tests.toys import execute; execute(sys.argv[1], {}, redo=['shards'])"


def take_turns(members, root, executor, tmp_path):
    one, other = members
    begin_and_stop(one, root)
    done = other.call("-m", "tests.toys", root, executor, "2")
    assert done.returncode == 0, done.stderr
    check_modes(root, {one.uid, other.uid})
    verified = one.call("-m", "astro_dist", "verify", root)
    assert verified.returncode == 0, verified.stderr
    # The other's product is replaced, and the other's files are removed.
    again = one.call("-c", REDO, root)
    assert again.returncode == 0, again.stderr
    assert not list(root.rglob("*.part"))
    check_modes(root, {one.uid, other.uid})
    execute(tmp_path / "alone", {"machine": {"executor": "serial"}})
    assert tree_digests(root / "shards") == tree_digests(tmp_path / "alone/shards")


def test_members_of_a_group_take_turns_on_one_run(members, shared, tmp_path):
    take_turns(members, shared / "run", "processes", tmp_path)


@pytest.mark.soak
def test_members_of_a_group_take_turns_on_ray(members, shared, tmp_path):
    take_turns(members, shared / "run", "ray", tmp_path)


# One process for all commands, because most of the time of each is its imports.
COMMANDS = """
import contextlib, io, json, sys
from astro_dist.cli import main
config, closed, readable, found = *sys.argv[1:], []
calls = [[name, config, "--out", closed] for name in ("run", "plan", "cutouts")]
calls += [[name, closed] for name in ("status", "verify", "repair", "logs", "cancel")]
calls += [["regenerate", closed, "--stamp", "0"], ["run", config, "--out", readable]]
for words in calls:
    with contextlib.redirect_stderr(io.StringIO()) as err, contextlib.redirect_stdout(io.StringIO()):
        code = main(words)
    found.append((words, code, err.getvalue()))
print(json.dumps(found))
"""


def test_a_folder_of_another_is_one_line(members, shared):
    one, other = members
    (shared / "closed" / "ledger").mkdir(parents=True)
    (shared / "readable").mkdir()
    for name, mode in (("closed", 0o700), ("readable", 0o755)):
        os.chown(shared / name, one.uid, GROUP)
        (shared / name).chmod(mode)
    done = other.call(
        "-c", COMMANDS, ROOT / "configs/quickstart.yaml", shared / "closed", shared / "readable"
    )
    assert done.returncode == 0, done.stderr
    for words, code, said in json.loads(done.stdout):
        print(words[0], code, said)
        lines = [line for line in said.splitlines() if not line.startswith("{")]
        assert (code, len(lines)) == (2, 1), (words, said)
        assert "closed" in lines[0] or "cannot write to the run directory" in lines[0]
