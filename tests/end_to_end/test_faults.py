"""What happens around a run: storage that fills or goes away, and a network that is cut."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from astro_dist.engine.files import tree_digests
from tests.toys import execute
from tests.waiting import records_of, start, wait_until

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount and unshare")


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """Digests of the undisturbed toy stages."""
    root = tmp_path_factory.mktemp("serial")
    execute(root, {"machine": {"executor": "serial"}})
    return tree_digests(root / "shards")


def toys(root, executor, pause_s):
    settings = json.dumps({"shards": {"pause_s": pause_s}})
    return [sys.executable, "-m", "tests.toys", str(root), executor, "2", settings]


@pytest.mark.parametrize("executor", ["processes", "serial"])
def test_a_run_directory_that_disappears_is_a_stop_and_the_same_command_finishes(
    tmp_path, reference, executor
):
    root = tmp_path / "run"
    line = toys(root, executor, 0.3)
    driver = start(line, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: len(records_of(root)) >= 3, driver)
    root.rename(tmp_path / "away")
    _, errors = driver.communicate()
    assert driver.returncode == 75, errors
    assert errors.splitlines()[-1].startswith(f"the run directory {root} cannot be reached any more")
    # A remount hides what writers left where the mount was.
    shutil.rmtree(root, ignore_errors=True)
    (tmp_path / "away").rename(root)
    done = subprocess.run(line, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert tree_digests(root / "shards") == reference


@root_only
def test_a_full_disk_is_a_stop_and_the_same_command_finishes(tmp_path, reference):
    root = tmp_path / "run"
    root.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=120k", "tmpfs", str(root)], check=True)
    try:
        line = toys(root, "processes", 0.0)
        full = subprocess.run(line, stderr=subprocess.PIPE, text=True, check=False)
        assert full.returncode == 75, full.stderr
        assert full.stderr.splitlines()[-1].startswith("the disk is full")
        subprocess.run(["mount", "-o", "remount,size=8m", str(root)], check=True)
        done = subprocess.run(line, stderr=subprocess.PIPE, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert tree_digests(root / "shards") == reference
    finally:
        subprocess.run(["umount", "-l", str(root)], check=True)
