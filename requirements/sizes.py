"""Print the size of each extra, installed alone in a clean environment; by hand, some minutes.

    python requirements/sizes.py [core base arrays docs ...]

One row an environment: MB on the disk, packages, files, the build of torch that the index gave, and what `uv
pip check` says. ``core`` is `requirements/core.txt` and the package without its dependencies, ``base`` the
package without an extra. uv makes each environment anew and unpacks every file once. It reads no pip.conf: an
index of your own is named by UV_INDEX_URL, a folder of wheels by UV_FIND_LINKS.
"""

import json
import os
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent


def uv(*words, check=True):
    """Return what uv prints on one of its two outputs."""
    done = subprocess.run([sys.executable, "-m", "uv", *words], capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise SystemExit(done.stderr)
    return done.stdout or done.stderr


def install(folder, which):
    """Make an environment with one extra."""
    uv("venv", "-q", folder)
    # Compiled, as pip leaves it; core.txt is meant for less.
    compiled = () if which == "core" else ("--compile-bytecode",)
    call = ("pip", "install", "--python", folder, *compiled)
    if which == "core":
        core = ROOT / "requirements" / "core.txt"
        uv(*call, "--no-deps", "--require-hashes", "-r", core)
        uv(*call, "--no-deps", ROOT)
    else:
        uv(*call, ROOT if which == "base" else f"{ROOT}[{which}]")


def measure(folder):
    """Return bytes and number of the files of an environment."""
    sizes = [
        os.lstat(os.path.join(place, name)).st_size for place, _, names in os.walk(folder) for name in names
    ]
    return sum(sizes), len(sizes)


def describe(which):
    """Return the row of one environment."""
    with tempfile.TemporaryDirectory() as root:
        folder = os.path.join(root, "env")
        install(folder, which)
        size, files = measure(folder)
        listed = json.loads(uv("pip", "list", "-q", "--python", folder, "--format", "json"))
        packages = {one["name"].lower(): one["version"] for one in listed}
        said = uv("pip", "check", "--python", folder, check=False).strip().splitlines()
        # The package itself lacks what core leaves out, and nothing else may.
        lacks = [line for line in said if line.startswith("The package") and "`astro-dist`" not in line]
        verdict = "; ".join(lacks) or ("nothing else is missing" if which == "core" else said[-1])
        torch = packages.get("torch", "none")
        return f"| `{which}` | {size / 1e6:,.0f} | {len(packages)} | {files:,} | {torch} | {verdict} |"


def main(names):
    """Print the table."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    print("| extra | MB | packages | files | torch | check |\n|---|---|---|---|---|---|", flush=True)
    for which in names or ["core", "base", *extras]:
        print(describe(which), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
