"""Findings about the installed packages; `astro_dist.workers.machine` describes the machine itself."""

import importlib.metadata
import importlib.util
import re
from pathlib import Path

from astro_dist.workers.machine import list_gpus

PACKAGES = (
    "torch",
    "diffusers",
    "accelerate",
    "deepspeed",
    "ray",
    "submitit",
    "astropy",
    "zarr",
    "tensorstore",
    "dask",
    "numpy",
)
EXTRAS = {
    "arrays": ("xarray",),
    "docs": ("sphinx", "myst-parser", "furo"),
    "enhance": ("opencv-python-headless",),
    "flare": ("h5py", "scikit-learn", "transformers"),
    "hips": ("mocpy", "reproject"),
    "interop": ("AegeanTools", "bdsf", "pycocotools", "python-casacore", "regions", "sep"),
    "reproject": ("reproject",),
}
"""Packages of the extras of ``pyproject.toml`` that users may want; a test compares both."""
MISSING = "missing: install astro_dist again with pip"


def describe_packages() -> list[tuple[str, str, bool]]:
    """Return rows ``(what, finding, good)`` about the packages, with the known traps."""
    rows = []
    for name in PACKAGES:
        if _is_installed(name):
            rows.append((name, importlib.metadata.version(name), True))
            rows += [_describe_build()] if name == "torch" else []
        else:
            rows.append((name, MISSING, False))
    # The others have a row where they are missing only.
    others = (name for name in _required() if name not in PACKAGES)
    rows += [(name, MISSING, False) for name in others if not _is_installed(name)]
    rows += [_describe_extra(extra, names) for extra, names in EXTRAS.items()]
    # `find_spec` looks for the package without importing it.
    if importlib.util.find_spec("torchvision") is not None:
        text = "installed: its wheels break diffusers on a CPU-only torch; pip uninstall torchvision"
        rows.append(("torchvision", text, False))
    rows.append(("Ray, own cluster", "its ports are on loopback only and require the run's token", True))
    text = (
        "Ray listens on all addresses of a node; every port requires the token but nothing is encrypted: "
        "keep the nodes on a network of their own (a private VLAN, a firewall, `unshare --net`)"
    )
    rows.append(("Ray, joined", text, True))
    text = (
        "on one machine the ranks of a training meet through a private file and connect through loopback; "
        "over nodes each opens ports on the network of the job, to all who reach it, unencrypted and without "
        "a token: use a private network, or a firewall that admits the nodes alone"
    )
    rows.append(("ranks", text, True))
    return rows


def _required() -> list[str]:
    """Return the names of the packages that every installation of this one has."""
    lines = importlib.metadata.requires("astro_dist") or []
    return [re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in lines if "extra ==" not in line]


def _describe_extra(extra: str, names: tuple[str, ...]) -> tuple[str, str, bool]:
    """Return the row about the packages of an extra, which nobody needs to have."""
    missing = [name for name in names if not _is_installed(name)]
    text = f"without {', '.join(missing)}: pip install 'astro_dist[{extra}]'" if missing else "installed"
    return f"[{extra}]", text, not missing


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _describe_build() -> tuple[str, str, bool]:
    """Return the row about the device that torch was built for."""
    cuda = _torch_cuda()
    if cuda is not None:
        return "torch build", f"CUDA {cuda}", True
    if list_gpus():
        text = "no CUDA, but nvidia-smi lists GPUs: install a CUDA build from its wheel index (https://pytorch.org)"
        return "torch build", text, False
    return "torch build", "no CUDA", True


def _torch_cuda() -> str | None:
    """Return the version of CUDA in torch's own ``version.py``; an import of torch would take seconds."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    # torch writes this file when it is built.
    path = Path(spec.origin).with_name("version.py")
    found = (
        re.search(r"^cuda\b.*=\s*['\"](.+)['\"]", path.read_text(), re.MULTILINE) if path.exists() else None
    )
    return found and found[1]
