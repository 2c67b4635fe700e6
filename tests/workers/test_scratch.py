"""Private folders of a call: gone at its end, swept after a kill, and never anybody else's."""

import os
import stat
import subprocess
import sys
import tempfile

import pytest

from astro_dist.workers.scratch import CACHES, caches_in_scratch, private_folder, sweep_folders
from tests import waiting

HOLD = """
import sys, time
from pathlib import Path
from astro_dist.workers.scratch import private_folder
with private_folder("test", Path(sys.argv[1])) as folder:
    print(folder, flush=True)
    time.sleep(600)
"""


def hold(parent):
    """Start a process that holds a private folder; return both."""
    process = waiting.start([sys.executable, "-c", HOLD, parent], stdout=subprocess.PIPE, text=True)
    return process, parent / process.stdout.readline().strip().rpartition("/")[2]


def test_a_folder_is_private_and_gone_at_the_end(tmp_path):
    with private_folder("test", tmp_path) as folder:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        (folder / "a").mkdir()
        sweep_folders(tmp_path)
        assert (folder / "a").is_dir()
    assert list(tmp_path.iterdir()) == []


def test_folders_of_killed_processes_are_swept_and_no_others(tmp_path):
    names = (".astro_dist-test", ".astro_dist-test-12345678x", ".astro_dist-12345678", ".ranks-12345678")
    for name in names:
        (tmp_path / name).mkdir()
    (tmp_path / "theirs").mkdir()
    (tmp_path / ".astro_dist-test-a2345678").symlink_to(tmp_path / "theirs")
    (tmp_path / ".astro_dist-test-b2345678").write_text("a file")
    kept = {path.name for path in tmp_path.iterdir()}
    living, its = hold(tmp_path)
    killed, lost = hold(tmp_path)
    (lost / "0.json").write_text("{}")
    killed.kill()
    killed.wait()
    assert lost.is_dir()
    with private_folder("test", tmp_path) as folder:
        assert {path.name for path in tmp_path.iterdir()} == kept | {its.name, folder.name}
    assert living.poll() is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become other users")
def test_folders_of_another_user_are_left_alone(tmp_path):
    (tmp_path / ".astro_dist-test-12345678").mkdir()
    os.chown(tmp_path / ".astro_dist-test-12345678", 61301, 61301)
    sweep_folders(tmp_path)
    assert len(list(tmp_path.iterdir())) == 1


def test_caches_of_libraries_have_a_private_folder_unless_one_is_chosen(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name in CACHES:
        monkeypatch.delenv(name, raising=False)
    with caches_in_scratch():
        assert all(os.environ[name].startswith(f"{tmp_path}/.astro_dist-caches-") for name in CACHES)
    assert list(tmp_path.iterdir()) == []
    assert not set(CACHES) & os.environ.keys()
    monkeypatch.setenv(CACHES[0], "/chosen")
    with caches_in_scratch():
        assert os.environ[CACHES[0]] == "/chosen"
