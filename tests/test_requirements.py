"""The lock fits pyproject.toml: every dependency but torch, within its bounds, with a hash."""

import importlib
import importlib.metadata
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from astro_dist.cli import build_parser

ROOT = Path(__file__).parent.parent
TORCH = (Path(__file__).parent.parent / "requirements" / "torch.txt").read_text().strip().partition("==")[2]
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


def test_core_is_the_part_of_the_lock_that_its_packages_need(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "requirements")
    lock = importlib.import_module("lock")
    lines = (ROOT / "requirements" / "lock.txt").read_text().splitlines()
    head, *core = (ROOT / "requirements" / "core.txt").read_text().splitlines()
    assert head.startswith(
        "# CPython 3.11, Linux x86_64: pip install --no-compile --no-deps --require-hashes"
    )
    # By the versions of the lock: a core.txt that lags behind it must fail.
    locked = dict(LINE.fullmatch(line).groups() for line in lines[1:])
    names = [line.partition("==")[0] for line in core]
    # The first of a name is the one that is imported; setuptools appends folders with others to the path.
    found = reversed(list(importlib.metadata.distributions()))
    here = {re.sub(r"[-_.]+", "-", one.name).lower(): one.version for one in found}
    if others := [name for name in names if here.get(name) != locked[name]]:
        pytest.skip(f"the packages here are not those of the lock: {', '.join(others)}")
    # Written from the installed packages, as `lock.py` writes it from those of an index.
    monkeypatch.setattr(lock, "HERE", ROOT / "requirements")
    needed = lock.core_names(lambda name: importlib.metadata.requires(name) or [])
    assert core == [line for line in lines[1:] if line.partition("==")[0] in needed]
    assert not {"torch", "ray", "diffusers", "deepspeed", "xarray"} & needed


def test_the_page_about_the_installation_names_every_extra():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    page = (ROOT / "docs" / "start" / "install.md").read_text()
    for extra in project["optional-dependencies"]:
        assert f"| `{extra}` |" in page, extra
        assert f"| `[{extra}]`" in page, extra


@pytest.mark.parametrize("program", ["bounds", "try_core"])
def test_programs_run_by_hand_are_whole(program):
    path = ROOT / "requirements" / program
    assert path.stat().st_mode & 0o111
    subprocess.run(["bash", "-n", path], check=True)


def test_the_container_is_made_by_the_commands_of_the_documentation():
    text = (ROOT / "requirements" / "astro_dist.def").read_text()
    head, *parts = re.split(r"^%(\w+)\n", text, flags=re.M)
    assert re.fullmatch(r"Bootstrap: docker\nFrom: python:3\.11-\S+", re.sub(r"\n\n?#.*", "", head.strip()))
    sections = dict(zip(parts[::2], parts[1::2], strict=True))
    # The sections that Apptainer knows and this file needs.
    assert set(sections) == {"arguments", "files", "post", "environment", "runscript", "test", "help"}
    given = dict(line.strip().split("=", 1) for line in sections["arguments"].split("\n") if line.strip())
    assert set(re.findall(r"\{\{ *(\w+) *\}\}", text)) == set(given)
    for line in sections["files"].strip().splitlines():
        source, target = line.split()
        assert (ROOT / source).exists()
        assert target == f"/src/{source}"
    shells = [sections[name] for name in ("post", "environment", "runscript", "test")]
    for shell in shells:
        subprocess.run(["sh", "-n"], input=shell.replace("{{ index }}", "x"), text=True, check=True)
    page = (ROOT / "docs" / "start" / "install.md").read_text()
    assert f"torch=={TORCH} --index-url {given['index']}" in page
    (locked,) = re.findall(r"pip install --no-deps --require-hashes -r /src/(\S+)", sections["post"])
    assert f"pip install --no-deps --require-hashes -r {locked}" in page
    assert "apptainer build astro_dist.sif requirements/astro_dist.def" in page
    for command in re.findall(r"astro-dist .+", sections["test"]):
        words = command.partition(">")[0].split()[1:]
        assert words == ["--version"] or build_parser().parse_args(words)


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
    assert {
        "astro_dist/py.typed",
        "astro_dist/__init__.pyi",
        f"{weights}/origins.json",
        "astro_dist/report/page.html.j2",
    } <= held
    assert not [name for name in held if name.startswith(("tests/", "configs/"))]
