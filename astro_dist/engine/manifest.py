"""What a run published, file by file, and with which versions; how files of the user are told apart."""

import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path

from astro_dist import __version__
from astro_dist.engine.errors import ConfigError
from astro_dist.engine.files import publish_json, sha256_file
from astro_dist.engine.ledger import Ledger

LIBRARIES = ("numpy", "scipy", "astropy", "photutils", "zarr", "torch", "diffusers", "accelerate", "pyarrow")


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
    """Return what a file is called in a fingerprint; the package's own do not depend on where it lies."""
    package = Path(__file__).parents[1]
    return str(path.relative_to(package.parent) if path.is_relative_to(package) else path)


def digest_source(path: Path) -> str:
    """Return the sha256 of a file that the user gave; one that has not changed is not read again."""
    try:
        facts = path.stat()
        return _digest_once(path, facts.st_mtime_ns, facts.st_size)
    except OSError as error:
        raise ConfigError(f"cannot read {path} ({error.strerror}); mend the path or take it out") from None


@cache
def _digest_once(path: Path, mtime_ns: int, size: int) -> str:
    return sha256_file(path)


def _commit() -> str | None:
    """Return the commit of a development checkout, None for an installed package."""
    here = Path(__file__).resolve().parents[2]
    if not (here / ".git").exists():
        return None
    call = ["git", "-C", str(here), "rev-parse", "HEAD"]
    answer = subprocess.run(call, capture_output=True, text=True, check=False)
    return answer.stdout.strip() or None
