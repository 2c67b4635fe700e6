"""What the installed packages can do here; the machine itself is described by `cluster.resources`."""

import importlib.metadata
import importlib.util

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
    "photutils",
)


def describe_packages() -> list[tuple[str, str, bool]]:
    """List ``(what, finding, good)`` of the packages, with the traps that are known."""
    rows = []
    for name in PACKAGES:
        try:
            rows.append((name, importlib.metadata.version(name), True))
        except importlib.metadata.PackageNotFoundError:
            rows.append((name, "missing: install astro_dist again with pip", False))
    if importlib.util.find_spec("torchvision") is not None:
        text = "installed: its wheels break diffusers on a CPU-only torch; pip uninstall torchvision"
        rows.append(("torchvision", text, False))
    rows.append(("Ray, own cluster", "its ports are on loopback only and ask for the run's token", True))
    text = (
        "Ray listens on all addresses of a node; every port asks for the token but nothing is encrypted: "
        "keep the nodes on a network of their own (a private VLAN, a firewall, `unshare --net`)"
    )
    rows.append(("Ray, joined", text, True))
    return rows
