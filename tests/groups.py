"""Which tests run in one process of pytest-xdist, and in which order the groups begin.

The tests of a file share its fixtures and so stay together. So do all tests on Slurm, which share a cluster,
all tests whose subject is Ray, and all tests that kill processes at random.
"""

import os

import pytest

GROUPS = {
    "slurm": ("tests/slurm/",),
    "kills": (
        "tests/end_to_end/test_kill",
        "tests/enhance/test_map_network.py",
        "tests/test_runner.py",
        "tests/train/test_kills.py",
    ),
    "ray": ("tests/workers/test_ray.py", "tests/workers/test_namespaces.py", "tests/engine/test_stopping.py"),
}
LONG = (
    "slurm",
    "kills",
    "ray",
    "tests/end_to_end/",
    "tests/test_pipelines.py",
    "tests/train/",
    "tests/workers/",
)
"""What begins first, so that no process is left with a long group at the end."""


def group_of(test):
    """Return the group of a test: its own file unless `GROUPS` says otherwise."""
    path = test.partition("::")[0]
    return next((name for name, paths in GROUPS.items() if path.startswith(paths)), path)


def place_of(test):
    """Return the place of a test's group in the order of beginnings."""
    group = group_of(test)
    return next((i for i, start in enumerate(LONG) if group.startswith(start)), len(LONG))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Let long groups come first where pytest runs in several processes."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: place_of(item.nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Give every group to one process."""
    from xdist.scheduler import LoadScopeScheduling

    scheduler = LoadScopeScheduling(config, log)
    scheduler._split_scope = group_of
    return scheduler
