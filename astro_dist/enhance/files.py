"""The command ``astro-dist enhance`` for pictures and FITS files of a user, without a configuration."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from astro_dist.engine.errors import AstroDistError, ConfigError, DataError, QuarantinedError, show
from astro_dist.engine.files import publish_bytes
from astro_dist.engine.foreign import expand_home
from astro_dist.pictures.config import FITS_SUFFIXES, SUFFIXES


def is_image(path: Path) -> bool:
    """Return whether a path is a picture or a FITS file by its name, and so no configuration."""
    return path.suffix.lower() in SUFFIXES | FITS_SUFFIXES


def enhance_files(
    paths: Sequence[Path],
    out: Path,
    model: str | None = None,
    samples: int = 4,
    calls: int = 1,
    say: Callable[[str], None] = show,
) -> None:
    """Write doubled pictures as PNG, and doubled FITS images as FITS, into a folder.

    Parameters
    ----------
    say
        Takes a line on how long a picture will take, where that is more than some seconds.

    Raises
    ------
    ConfigError
        A file is no image by its name, or one would be written twice or is there already, or a network is
        named for FITS files.
    QuarantinedError
        Some of several files cannot be used; the others are written. One alone, or all of them, raise what
        the first one raised.
    """
    targets = list(_targets(paths, expand_home(str(out))))
    if model is not None and (maps := [path for path in paths if is_fits(path)]):
        raise ConfigError(
            f"{maps[0]}: --model is for pictures; maps go through a network in a run, which measures its "
            "errors on held-out pixels: astro-dist run enhance/map --set 'maps.files=[MAP.fits]'"
        )
    doubler: Any = None
    faults: list[AstroDistError] = []
    for path, target in zip(paths, targets, strict=True):
        try:
            if is_fits(path):
                said = _double_map(path, target)
            else:
                doubler = doubler or _open(model, samples, calls)
                said = _double_picture(path, target, doubler, say)
        except (ConfigError, DataError) as error:
            faults.append(error)
            continue
        print(f"{target}: {said}")
    if len(faults) == len(paths):
        raise faults[0]
    if faults:
        raise QuarantinedError(f"{len(faults)} of {len(paths)} files are left out: {faults[0]}")


def is_fits(path: Path) -> bool:
    """Return whether a path is a FITS file by its name."""
    return path.suffix.lower() in FITS_SUFFIXES


def _targets(paths: Sequence[Path], out: Path) -> Iterator[Path]:
    """Yield the file that is made of each."""
    # Only here: a command with a configuration asks for names alone.
    from astro_dist.sky.map_files import plain_name

    seen = set[Path]()
    for path in paths:
        if not is_image(path):
            raise ConfigError(
                f"{path} is neither a picture nor a FITS file by its name; read are "
                + ", ".join(sorted(SUFFIXES | FITS_SUFFIXES))
            )
        name = f"{plain_name(path)}.fits" if is_fits(path) else f"{path.stem}.png"
        target = out / name
        if target in seen or target.exists():
            raise ConfigError(f"{target} would be written twice or is there already; name another --out")
        seen.add(target)
        yield target


def _double_map(path: Path, target: Path) -> str:
    from astro_dist.enhance.one_map import double_file

    found = double_file(path, target)
    height, width = found.image.shape[-2:]
    more = f", {found.invented} sources that the input does not show taken back" if found.invented else ""
    return f"{width} x {height}{more}"


def _open(model: str | None, samples: int, calls: int) -> Any:
    # Torch, which maps do not need.
    from astro_dist.enhance.one_picture import Doubler
    from astro_dist.models.device import pin
    from astro_dist.workers.machine import count_cores

    pin(count_cores())
    return Doubler.open(model or "enhance", samples, calls)


def _double_picture(path: Path, target: Path, doubler: Any, say: Callable[[str], None]) -> str:
    from astro_dist.pictures.decode import count_bits, read_image
    from astro_dist.pictures.images import png_bytes

    image = read_image(expand_home(str(path)), str(path))
    if count_bits(path) > 8:
        show(f"{path}: of its 16 bits 8 are written; a run with pictures.dtype float32 keeps them")
    large = doubler.double(image, str(path), say)
    publish_bytes(target, png_bytes(large))
    return f"{large.width} x {large.height}"
