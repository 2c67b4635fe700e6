"""Records that protect themselves: one canonical line of JSON with its own sha256 and a format number.

Format 2 is ``{..., "format": 2, "sha256": H}`` with sorted keys and no spaces, where H is the digest of the
same line without the sha256. Any changed bit is noticed, because the line must be the only one that its
content allows. Format 1, of version 0.1.0, is indented JSON with neither of the two keys, and nothing
protects it.
"""

import json
import stat
from pathlib import Path
from typing import Any

from astro_dist.engine.errors import IntegrityError
from astro_dist.engine.files import digest_text, publish_bytes

FORMAT = 2
SEAL = "sha256"


def write_record(path: Path, body: dict[str, Any]) -> None:
    """Write a record whole or not at all."""
    publish_bytes(path, _line(body).encode())


def read_record(path: Path) -> dict[str, Any]:
    """Return the content of a record of either format.

    Raises
    ------
    IntegrityError
        The record is no file, or is not what was written.
    OSError
        There is none, it may not be read, or the disk fails: that is no damage of the record.
    """
    # A pipe of that name would never answer.
    if not stat.S_ISREG(path.stat().st_mode):
        raise _damaged(path, "it is no file")
    try:
        text = path.read_text(encoding="utf-8")
        value = json.loads(text)
        if not isinstance(value, dict):
            raise ValueError("it is no mapping")
    except (ValueError, RecursionError) as error:
        raise _damaged(path, str(error)) from None
    # Either key makes it format 2: a record with one key damaged must not pass for an unprotected one.
    if not {"format", SEAL} & value.keys():
        return value
    body = {name: part for name, part in value.items() if name not in ("format", SEAL)}
    # The text is compared, not the digest alone: a space added outside the content is noticed too.
    if text != _line(body):
        raise _damaged(path, "its content and its sha256 differ")
    return body


def is_protected(path: Path) -> bool:
    """Return whether a readable record carries its own sha256."""
    return SEAL in json.loads(path.read_text(encoding="utf-8"))


def _line(body: dict[str, Any]) -> str:
    value = {**body, "format": FORMAT}
    digest = digest_text(json.dumps(value, sort_keys=True, separators=(",", ":")))
    return json.dumps({**value, SEAL: digest}, sort_keys=True, separators=(",", ":")) + "\n"


def _damaged(path: Path, reason: str) -> IntegrityError:
    # The run directory, which `astro-dist repair` takes; records lie at different depths below it.
    where = next((folder.parent for folder in path.parents if folder.name == "ledger"), path.parent)
    return IntegrityError(
        f"the record {path} is damaged ({reason}); `astro-dist repair {where}` sets it aside, and the next "
        "run does again what it stood for"
    )
