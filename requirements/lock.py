"""Write lock.txt, core.txt and torch.txt beside this file: the newest versions for this interpreter.

    python requirements/lock.py

pip resolves `.[test,interop,flare,enhance,docs,hips]` without installing it and reports every file with its
sha256. lock.txt has them all but torch and the packages that torch alone needs, which differ between its
builds for CPUs and for each version of CUDA; torch.txt has torch by its version. core.txt has the part of
lock.txt that reading, verifying, exporting and cutting needs. The hashes are those of one platform, which the
first line names.
"""

import json
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from packaging.requirements import Requirement

HERE = Path(__file__).parent
EXTRAS = "test,interop,flare,enhance,docs,hips"
CORE = (
    *(
        "astropy",
        "dask[array]",
        "google-crc32c",
        "numcodecs",
        "numpy",
        "pillow",
        "psutil",
        "pyarrow",
        "pydantic",
    ),
    *("pyyaml", "rich", "scipy", "tensorstore", "zarr"),
)
"""What stages up to cutouts, `verify`, `export` and `open_run` import: no training, drawing, report or queue,
and no xarray, which brings pandas."""


def resolve():
    """Return ``{normalised name: entry of pip's report}``."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        call = [sys.executable, "-m", "pip", "install", "-q", "--dry-run", "--ignore-installed"]
        subprocess.run([*call, "--report", report, "-e", f"{HERE.parent}[{EXTRAS}]"], check=True)
        return {
            normalise(entry["metadata"]["name"]): entry for entry in json.loads(report.read_text())["install"]
        }


def normalise(name):
    """Return the name of a package as indexes write it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def reach(found, name, extras, seen):
    """Add to ``seen`` all packages that ``name`` with some extras needs here, but not through torch."""
    if name == "torch" or (name, extras) in seen:
        return
    seen.add((name, extras))
    for line in found[name]["metadata"].get("requires_dist", []):
        wanted = Requirement(line)
        if wanted.marker is None or any(wanted.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            reach(found, normalise(wanted.name), tuple(sorted(wanted.extras)), seen)


def core_names(requires):
    """Return the packages of `CORE` and all they need here; ``requires(name)`` gives lines of a package."""
    seen, waiting = set(), [Requirement(line) for line in CORE]
    while waiting:
        wanted = waiting.pop()
        key = normalise(wanted.name), tuple(sorted(wanted.extras))
        if key in seen:
            continue
        seen.add(key)
        for line in requires(key[0]):
            more = Requirement(line)
            extras = ("", *key[1])
            if more.marker is None or any(more.marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append(more)
    return {name for name, _ in seen}


def write_core(lines, requires):
    """Write core.txt from the lines of lock.txt."""
    names = core_names(requires)
    call = "pip install --no-compile --no-deps --require-hashes -r requirements/core.txt"
    head = f"{lines[0].partition(':')[0]}: {call}"
    kept = [line for line in lines[1:] if line.partition("==")[0] in names]
    (HERE / "core.txt").write_text("\n".join([head, *kept]) + "\n")


def main():
    """Write all files."""
    found = resolve()
    needed = set()
    reach(found, "astro-dist", tuple(EXTRAS.split(",")), needed)
    system = (
        f"CPython {platform.python_version().rpartition('.')[0]}, {platform.system()} {platform.machine()}"
    )
    lines = [f"# {system}: pip install --no-deps --require-hashes -r requirements/lock.txt"]
    for name in sorted({name for name, _ in needed} - {"astro-dist"}):
        entry = found[name]
        digest = entry["download_info"]["archive_info"]["hashes"]["sha256"]
        lines.append(f"{name}=={entry['metadata']['version']} --hash=sha256:{digest}")
    (HERE / "lock.txt").write_text("\n".join(lines) + "\n")
    write_core(lines, lambda name: found[name]["metadata"].get("requires_dist", []))
    # Without the label of a build, as +cpu, so that every build of this version is allowed.
    (HERE / "torch.txt").write_text(f"torch=={found['torch']['metadata']['version'].partition('+')[0]}\n")


if __name__ == "__main__":
    main()
