"""The lock fits pyproject.toml: every dependency but torch, within its bounds, with a hash."""

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
LINE = re.compile(r"([a-z0-9-]+)==(\S+) --hash=sha256:[0-9a-f]{64}")


def declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    tested = ("test", "interop", "flare", "enhance", "docs", "hips")
    added = [line for name in tested for line in extras[name]]
    return [Requirement(line) for line in (*project["dependencies"], *added)]


def test_every_dependency_is_locked_within_its_bounds():
    head, *lines = (ROOT / "requirements" / "lock.txt").read_text().splitlines()
    assert head.startswith("# CPython 3.11, Linux x86_64")
    locked = dict(LINE.fullmatch(line).groups() for line in lines)
    assert len(locked) == len(lines)
    torch = Requirement((ROOT / "requirements" / "torch.txt").read_text().strip())
    for wanted in declared():
        name = re.sub(r"[-_.]+", "-", wanted.name).lower()
        version = locked[name] if name != "torch" else str(torch.specifier).removeprefix("==")
        assert wanted.specifier.contains(version), name
    assert not {"torch", "triton"} & set(locked)
    assert not [name for name in locked if name.startswith("nvidia-")]


def test_ci_installs_from_the_lock():
    script = (ROOT / ".ci" / "run").read_text()
    assert script.index("--require-hashes -r requirements/lock.txt") < script.index("install -q -e ")
    assert "-c requirements/torch.txt" in script


@pytest.mark.soak
def test_the_wheel_holds_what_the_package_reads_at_run_time(tmp_path):
    """Configurations lie beside the package and are a link in it; a wheel has the files themselves."""
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    for name in tracked.decode().split("\0")[:-1]:
        (tmp_path / "clone" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / "clone" / name, follow_symlinks=False)
    call = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", tmp_path]
    subprocess.run([*call, tmp_path / "clone"], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    for name in ("quickstart", "radiff/paper", "clusters/generic"):
        assert f"astro_dist/configs/{name}.yaml" in held
    weights = "astro_dist/weights/small"
    assert {"astro_dist/py.typed", f"{weights}/origins.json", "astro_dist/report/page.html.j2"} <= held
    assert not [name for name in held if name.startswith(("tests/", "configs/"))]
