"""Files of weights from others, read without running anything in them: safetensors, and torch's own files.

API: ``read_tensors(path, most_bytes)`` -> ``{name: tensor}`` on the CPU; ``FILE_KINDS`` are the endings.
"""

import zipfile
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from astro_dist.engine.errors import ConfigError
from astro_dist.engine.foreign import check_regular

FILE_KINDS = (".safetensors", ".pth", ".pt", ".bin")
"""Endings of files that are read; all but the first are files of ``torch.save``."""
WRAPPERS = ("state_dict", "model", "params_ema", "params")
"""Names under which training scripts put the weights beside other things."""


def read_tensors(path: Path, most_bytes: int) -> dict[str, Tensor]:
    """Return the named tensors of a file.

    Parameters
    ----------
    most_bytes
        Largest size that is read; a compressed file may not unfold to more.

    Raises
    ------
    ConfigError
        Naming the file: it is missing, too large, of no known kind, or holds anything but tensors.
    """
    try:
        check_regular(path)
        if path.stat().st_size > most_bytes:
            raise ConfigError(f"more than {most_bytes >> 20} MB, too large for this network")
        found = load_file(path) if path.suffix == ".safetensors" else _read_torch(path, most_bytes)
        if not all(isinstance(name, str) and isinstance(t, Tensor) for name, t in found.items()):
            raise ConfigError("it holds other things than named tensors")
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    # Damaged files end in errors of many kinds: of pickle, zipfile, torch and safetensors.
    except Exception as error:
        # The first sentence: torch goes on with its own history.
        reason = (str(error).splitlines() or [type(error).__name__])[0].split(". ")[0]
        raise ConfigError(
            f"{path}: no file of weights that can be read ({reason[:200]}); fetch it again"
        ) from None
    return found


def _read_torch(path: Path, most_bytes: int) -> dict[str, Tensor]:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > most_bytes:
                raise ConfigError("it unfolds to more than this network needs")
    # With `weights_only` nothing but tensors and plain containers is made of the pickle.
    found = torch.load(path, map_location="cpu", weights_only=True)
    for name in WRAPPERS:
        if isinstance(found, dict) and isinstance(found.get(name), dict):
            found = found[name]
            break
    if not isinstance(found, dict):
        raise ConfigError("it holds no table of named tensors")
    return found
