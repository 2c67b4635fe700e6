"""Write lock.txt and torch.txt beside this file: the newest versions that this interpreter can have.

    python requirements/lock.py

pip resolves `.[test,interop,flare,enhance,docs,hips]` without installing it and reports every file with its
sha256. lock.txt has them all but torch and the packages that torch alone needs, which differ between its
builds for CPUs and for each version of CUDA; torch.txt has torch by its version. The hashes are those of one
platform, which the first line names.
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


def main():
    """Write both files."""
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
    # Without the label of a build, as +cpu, so that every build of this version is allowed.
    (HERE / "torch.txt").write_text(f"torch=={found['torch']['metadata']['version'].partition('+')[0]}\n")


if __name__ == "__main__":
    main()
