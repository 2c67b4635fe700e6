"""The manifest of a run directory (files, digests, versions), and the identity of source files."""

import json
import os
import subprocess
from collections.abc import Callable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

from astro_dist import __version__
from astro_dist.engine.config import fingerprint
from astro_dist.engine.custody import set_aside
from astro_dist.engine.errors import ConfigError
from astro_dist.engine.files import digest_text, publish_bytes, publish_json, sha256_file
from astro_dist.engine.foreign import check_regular
from astro_dist.engine.ledger import Ledger
from astro_dist.engine.origins import as_facts, merge, of_facts
from astro_dist.engine.record import SEAL

CONFIG, MANIFEST = "config.yaml", "manifest.json"
_CONFIG_SEAL = "# sha256 of the lines above: "
LIBRARIES = ("numpy", "scipy", "astropy", "zarr", "torch", "diffusers", "accelerate", "pyarrow")
"""Packages whose versions are written to the manifest."""


def write_manifest(root: Path, seed: int, show: Callable[[str], None]) -> None:
    """Write ``manifest.json`` of a run directory, anew after every publication.

    A file of that name that no run wrote, or that was changed since, is set aside, and ``show`` is called
    with the sentence that says so.
    """
    path = root / MANIFEST
    if os.path.lexists(path) and manifest_fault(root) is not None:
        show(f"{path} is not as a run wrote it; it is now {set_aside(path, 'yours').name}")
    published = Ledger(root).all_published()
    products = {
        one.product: {"stage": name, "byte_stable": one.stable, "sha256": one.files}
        for name, one in published.items()
    }
    origins = as_facts(merge(*(of_facts(one.facts) for one in published.values())))
    versions = {name: _version(name) for name in LIBRARIES}
    facts = {"astro_dist": __version__, "commit": _commit(), "versions": versions, "seed": seed}
    body = {**facts, "products": products, "origins": origins, "format": 2}
    publish_json(path, {**body, SEAL: fingerprint(body)})


def _version(name: str) -> str | None:
    """Return the version of a library, None where it is not installed, as cutting needs no network."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def write_config(root: Path, config: Any, show: Callable[[str], None]) -> None:
    """Write ``config.yaml``, the resolved configuration, with its sha256 in the last line.

    A file of that name that no run wrote, or that was changed since, is set aside, and ``show`` is called
    with the sentence that says so.
    """
    path = root / CONFIG
    # Unsorted: the file shows the sections in the order of the configuration class.
    text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
    data = f"{text}{_CONFIG_SEAL}{digest_text(text)}\n".encode()
    if path.is_file() and path.read_bytes() == data:
        return
    if os.path.lexists(path) and config_fault(root) is not None:
        show(f"{path} is not as a run wrote it; it is now {set_aside(path, 'yours').name}")
    publish_bytes(path, data)


def refuse_other_pipeline(root: Path, pipeline: str) -> None:
    """Raise `ConfigError` where a run of another pipeline has a folder for its run directory."""
    path = root / CONFIG
    # A changed or damaged file says nothing for sure; `write_config` sets it aside.
    if not path.is_file() or config_fault(root) is not None:
        return
    tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    if (other := tree.get("pipeline", pipeline)) != pipeline:
        raise ConfigError(
            f"{root} is the run directory of a run of the pipeline {other}, and this one is of {pipeline}; "
            "choose another with --out, or set another name"
        )


def config_fault(root: Path) -> str | None:
    """Return what is wrong with ``config.yaml``, None for nothing; one of version 0.1.0 has no digest."""
    path = root / CONFIG
    # A pipe of that name would never answer.
    if path.exists() and not path.is_file():
        return f"{CONFIG}: it is no file"
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except ValueError as error:
        return f"{CONFIG}: cannot be read ({error})"
    body, found, seal = text.rpartition(_CONFIG_SEAL)
    if not found:
        # Version 0.1.0 begins with the name of the run, and so does nothing that people write by hand.
        return None if text.startswith("name: ") and "\nmachine:\n" in text else f"{CONFIG}: no run wrote it"
    return (
        None if seal == f"{digest_text(body)}\n" else f"{CONFIG}: its bytes have changed since it was written"
    )


def manifest_fault(root: Path) -> str | None:
    """Return what is wrong with ``manifest.json``, None for nothing; one of version 0.1.0 has no digest."""
    path = root / MANIFEST
    if path.exists() and not path.is_file():
        return f"{MANIFEST}: it is no file"
    try:
        value = json.loads(path.read_bytes())
        if {"format", SEAL} & value.keys():
            body = {name: part for name, part in value.items() if name != SEAL}
            # The same form as `publish_json`: equal content in other bytes counts as changed.
            whole = (json.dumps({**body, SEAL: fingerprint(body)}, indent=1, sort_keys=True) + "\n").encode()
            if whole != path.read_bytes():
                return f"{MANIFEST}: its bytes have changed since it was written"
        elif not {"products", "versions"} <= value.keys():
            return f"{MANIFEST}: no run wrote it"
    except FileNotFoundError:
        return f"{MANIFEST}: missing"
    except (ValueError, AttributeError, RecursionError) as error:
        return f"{MANIFEST}: cannot be read ({error})"
    return None


def source_name(path: Path) -> str:
    """Return the name of a file in a fingerprint; for a file of the package, without the install path."""
    package = Path(__file__).parents[1]
    # The same package installed elsewhere must have the same fingerprints.
    return str(path.relative_to(package.parent) if path.is_relative_to(package) else path)


def check_source(path: Path) -> None:
    """Refuse a source file that is missing, is no regular file, or may not be read; raises `ConfigError`."""
    try:
        check_regular(path)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def digest_source(path: Path) -> str:
    """Return the sha256 of a source file; a process reads an unchanged file once."""
    check_source(path)
    try:
        check_regular(path)
        facts = path.stat()
        return _digest_once(path, facts.st_mtime_ns, facts.st_size)
    except ConfigError as error:
        raise ConfigError(f"cannot read {path}: {error}") from None
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
    # No error where git fails: the commit is for people, and no fingerprint depends on it.
    call = ["git", "-C", str(here), "rev-parse", "HEAD"]
    answer = subprocess.run(call, capture_output=True, text=True, check=False)
    return answer.stdout.strip() or None
