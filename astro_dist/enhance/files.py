"""The command ``astro-dist enhance`` for pictures and FITS files of a user, without a configuration."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from astro_dist.engine.errors import ConfigError, DataError, QuarantinedError, print_error, show
from astro_dist.engine.files import check_writable, publish_bytes
from astro_dist.engine.foreign import expand_home
from astro_dist.engine.stopping import check_stop
from astro_dist.pictures.config import FITS_SUFFIXES, SUFFIXES

MOST_PLACES = 5
"""Most sources that were taken back whose places are said."""


def is_image(path: Path) -> bool:
    """Return whether a path is a picture or a FITS file by its name, and so no configuration."""
    return path.suffix.lower() in SUFFIXES | FITS_SUFFIXES


def enhance_files(
    paths: Sequence[Path],
    out: Path,
    model: str | None = None,
    samples: int | None = None,
    calls: int | None = None,
    hdu: str | None = None,
    say: Callable[[str], None] = show,
) -> None:
    """Write doubled pictures as PNG, and doubled FITS images as FITS, into a folder.

    Files that are there already are left as they are, so that after a stop the same command goes on.

    Parameters
    ----------
    model, samples, calls
        For pictures alone: the network, the samples whose mean a picture is (4), and the calls of each (1).
    hdu
        For FITS files alone: number from 0 or EXTNAME of the image in each.
    say
        Takes a line on how long a picture will take, where that is more than some seconds.

    Raises
    ------
    ConfigError
        A file is no image by its name, two would be written under one name, an option is for files of the
        other kind, or ``out`` is no folder that can be written into.
    QuarantinedError
        Some of several files cannot be used; the others are written. Why is said of each as it happens. One
        alone raises what is wrong with it, all of several a `ConfigError`.
    """
    from astro_dist.enhance.chain_config import MOST_CALLS, MOST_SAMPLES

    targets = _targets(paths, expand_home(str(out)))
    for option, value, most in (("--samples", samples, MOST_SAMPLES), ("--calls", calls, MOST_CALLS)):
        if value is not None and not 1 <= value <= most:
            raise ConfigError(f"{option} is {value}; give a number from 1 to {most}")
    _check_options(paths, {"--model": model, "--samples": samples, "--calls": calls}, {"--hdu": hdu})
    check_writable(next(iter(targets)), "another --out")
    pictures = [path for target, path in targets.items() if not is_fits(path) and not os.path.lexists(target)]
    doubler = _open(model, samples or 4, calls or 1) if pictures else None
    faults = 0
    for target, path in targets.items():
        check_stop()
        if os.path.lexists(target):
            print(f"{target}: there already, left as it is; to make it anew name another --out")
            continue
        try:
            if is_fits(path):
                said = _double_map(path, target, hdu)
            else:
                said = _double_picture(path, target, doubler, say)
        except (ConfigError, DataError) as error:
            if len(targets) == 1:
                raise
            print_error(error)
            faults += 1
            continue
        print(f"{target}: {said}")
    if faults == len(targets):
        raise ConfigError(f"none of the {faults} files could be doubled; mend what is said above of each")
    if faults:
        raise QuarantinedError(f"{faults} of {len(targets)} files are left out, as said above of each")


def is_fits(path: Path) -> bool:
    """Return whether a path is a FITS file by its name."""
    return path.suffix.lower() in FITS_SUFFIXES


def _targets(paths: Sequence[Path], out: Path) -> dict[Path, Path]:
    """Return the file that is made of each, with the file that it is made of."""
    # Only here: a command with a configuration asks for names alone.
    from astro_dist.sky.map_files import plain_name

    targets: dict[Path, Path] = {}
    # Unlike `Path.resolve` it takes a circle of links, which is refused where the file is read.
    given = [os.path.realpath(expand_home(str(path))) for path in paths]
    for path, real in zip(paths, given, strict=True):
        if not is_image(path):
            raise ConfigError(
                f"{path} is neither a picture nor a FITS file by its name; read are "
                + ", ".join(sorted(SUFFIXES | FITS_SUFFIXES))
            )
        target = out / (f"{plain_name(path)}.fits" if is_fits(path) else f"{path.stem}.png")
        if target in targets and real == os.path.realpath(expand_home(str(targets[target]))):
            raise ConfigError(f"{path} is named twice; name it once")
        if target in targets:
            raise ConfigError(
                f"{target} would be written twice, of {targets[target]} and of {path}; rename one, or take "
                "one out"
            )
        if os.path.realpath(target) in given:
            raise ConfigError(f"{target} is one of the files to double; name another --out")
        targets[target] = path
    return targets


def _check_options(paths: Sequence[Path], of_pictures: dict[str, Any], of_maps: dict[str, Any]) -> None:
    maps, pictures = [path for path in paths if is_fits(path)], [path for path in paths if not is_fits(path)]
    for option in (option for option, value in of_pictures.items() if maps and value is not None):
        raise ConfigError(
            f"{maps[0]}: {option} is for pictures; maps go through a network in a run, which measures its "
            "errors on held-out pixels: astro-dist run enhance/map --set 'maps.files=[MAP.fits]'"
        )
    for option in (option for option, value in of_maps.items() if pictures and value is not None):
        raise ConfigError(f"{pictures[0]}: {option} is for FITS files; give pictures a command of their own")


def _double_map(path: Path, target: Path, hdu: str | None) -> str:
    from astro_dist.enhance.inventions import say_invented
    from astro_dist.enhance.one_map import double_file

    found = double_file(path, target, hdu, "--hdu")
    height, width = found.image.shape[-2:]
    if not found.invented:
        return f"{width} x {height}"
    places = ", ".join(f"({one['x']}, {one['y']})" for one in found.invented[:MOST_PLACES])
    more = ", ..." if len(found.invented) > MOST_PLACES else ""
    return f"{width} x {height}; {say_invented(len(found.invented))}, at (x, y) from 0: {places}{more}"


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
        show(f"{path}: of its numbers 8 bits are written; a run with pictures.dtype float32 keeps all")
    large = doubler.double(image, str(path), say)
    publish_bytes(target, png_bytes(large))
    return f"{large.width} x {large.height}"
