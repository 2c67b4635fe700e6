"""Fails every skip that ``tests/skips.txt`` does not allow, at collection and in tests.

A line of that file is ``glob of test ids: glob of reasons``; lines that begin with ``#`` are comments. The
skip becomes a failure where it happens, so that it counts with several processes too.
"""

from fnmatch import fnmatchcase
from functools import cache

import pytest


@cache
def read_allowed(path):
    """Return the pairs of globs in a file of allowed skips, none where there is no file."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [line.partition(": ")[::2] for line in lines if line and not line.startswith("#")]


def refuse(report, config):
    """Turn the report of a skip that is not allowed into a failure that names the test and the reason."""
    if not report.skipped or hasattr(report, "wasxfail"):
        return report
    reason = str(report.longrepr[2]).removeprefix("Skipped: ")
    allowed = read_allowed(config.rootpath / "tests" / "skips.txt")
    if not any(fnmatchcase(report.nodeid, test) and fnmatchcase(reason, why) for test, why in allowed):
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid} was skipped ({reason}), which tests/skips.txt does not allow"
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item):
    """Check the report of one phase of a test."""
    return refuse((yield), item.config)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report(collector):
    """Check the report of the collection of one file."""
    return refuse((yield), collector.config)
