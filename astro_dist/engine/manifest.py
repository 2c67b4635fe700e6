"""The manifest of a run directory (files, digests, versions), and the identity of source files."""

import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path

from astro_dist import __version__
from astro_dist.engine.errors import ConfigError
from astro_dist.engine.files import publish_json, sha256_file
from astro_dist.engine.ledger import Ledger

LIBRARIES = ("numpy", "scipy", "astropy", "photutils", "zarr", "torch", "diffusers", "accelerate", "pyarrow")
"""Packages whose versions are written to the manifest."""


def write_manifest(root: Path, seed: int) -> None:
    """Write ``manifest.json`` of a run directory, anew after every publication."""
    products = {
        published.product: {"stage": name, "byte_stable": published.stable, "sha256": published.files}
        for name, published in Ledger(root).all_published().items()
    }
    versions = {name: version(name) for name in LIBRARIES}
    facts = {"astro_dist": __version__, "commit": _commit(), "versions": versions, "seed": seed}
    publish_json(root / "manifest.json", {**facts, "products": products})


def source_name(path: Path) -> str:
    """Return the name of a file in a fingerprint; for a file of the package, without the install path."""
    package = Path(__file__).parents[1]
    return str(path.relative_to(package.parent) if path.is_relative_to(package) else path)


def digest_source(path: Path) -> str:
    """Return the sha256 of a source file; a process reads an unchanged file once."""
    try:
        facts = path.stat()
        return _digest_once(path, facts.st_mtime_ns, facts.st_size)
    except OSError as error:
        raise ConfigError(f"cannot read {path} ({error.strerror}); mend the path or leave it out") from None


@cache
def _digest_once(path: Path, mtime_ns: int, size: int) -> str:
    # Time and size are here for the cache alone: a changed file is another key.
    return sha256_file(path)


def _commit() -> str | None:
    """Return the commit of a development checkout, None for an installed package."""
    here = Path(__file__).resolve().parents[2]
    if not (here / ".git").exists():
        return None
    call = ["git", "-C", str(here), "rev-parse", "HEAD"]
    answer = subprocess.run(call, capture_output=True, text=True, check=False)
    return answer.stdout.strip() or None
