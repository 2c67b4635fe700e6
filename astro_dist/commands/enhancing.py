"""`enhance`: the stage of a configuration, or pictures and FITS files by their names."""

import argparse
from pathlib import Path

from astro_dist.commands import running
from astro_dist.engine.errors import ConfigError
from astro_dist.enhance.files import enhance_files, is_image

RUNS_ALONE = {
    "--set": "assignments",
    "--on": "on",
    "--workers": "workers",
    "--redo": "redo",
    "--cluster": "cluster",
    "--dry-run": "dry_run",
}
FILES_ALONE = {"--model": "model", "--samples": "samples", "--calls": "calls", "--hdu": "hdu"}
"""Options that a configuration, or files, take alone, and the attributes of their values."""


def enhance(arguments: argparse.Namespace) -> int:
    """Run the stage of a configuration, or double pictures and FITS files."""
    paths = arguments.config
    if len(paths) == 1 and not is_image(paths[0]):
        _refuse_strange(paths[0])
        _refuse(arguments, FILES_ALONE, "is a setting of the configuration: use --set (superres, enhance)")
        arguments.config = paths[0]
        return running.run(arguments)
    _refuse(arguments, RUNS_ALONE, "is for a configuration; files take --model, --samples, --calls and --hdu")
    if arguments.out is None:
        raise ConfigError("name the folder that the files are written into: --out DIR")
    from astro_dist.engine.stopping import stop_on_signals

    options = {name: getattr(arguments, name) for name in FILES_ALONE.values()}
    with stop_on_signals():
        enhance_files(paths, arguments.out, **options)
    return 0


def _refuse_strange(path: Path) -> None:
    """Refuse what is no text, and folders: the reader of configurations has no remedy for them."""
    if path.is_dir():
        raise ConfigError(
            f"{path} is a folder; name its files, or give a configuration with pictures.path or enhance.files"
        )
    if path.is_file():
        with path.open("rb") as file:
            text = b"\0" not in file.read(1024)
        if not text:
            raise ConfigError(
                f"{path} is no configuration, and by its name neither a picture nor a FITS file; name files "
                "such as .png, .jpg, .tif, .fits"
            )


def _refuse(arguments: argparse.Namespace, options: dict[str, str], why: str) -> None:
    for option, name in options.items():
        if getattr(arguments, name):
            raise ConfigError(f"{option} {why}")
