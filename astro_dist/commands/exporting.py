"""`export`: products of a run in the forms of other programs."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from astro_dist import pipelines

if TYPE_CHECKING:
    from astro_dist.exports.pieces import Piece, Pieces

FORMS = {
    "cutouts": ("fits", "png", "grid", "coco", "radiff", "webdataset", "parquet"),
    "stamps": ("fits", "png", "grid", "coco", "radiff", "webdataset", "parquet"),
    "field": ("fits",),
    "annotations": ("fits", "coco", "ds9", "crtf", "radiff"),
    "truth": ("csv", "ecsv"),
    "pictures": ("png",),
    "sets": ("csv",),
    "enhanced": ("png",),
    "cleaned": ("png",),
}


def export(arguments: argparse.Namespace) -> int:
    """Write what was asked for into a folder, in every form that was asked for."""
    from astro_dist.engine.errors import ConfigError

    what = arguments.what
    forms = [form for form in dict.fromkeys(sum(FORMS.values(), ())) if getattr(arguments, form)]
    forms = forms or [FORMS[what][0]]
    if wrong := [form for form in forms if form not in FORMS[what]]:
        raise ConfigError(f"--{wrong[0]}: {what} can be --{', --'.join(FORMS[what])}")
    if arguments.index is not None and what not in ("cutouts", "stamps"):
        raise ConfigError(f"--index: {what} are exported whole; leave it out")
    if (arguments.window is None) == (what == "field"):
        raise ConfigError(
            "--window: of a field, and of nothing else, a window is exported: give one with field"
        )
    folder = arguments.out or Path(f"{arguments.run.resolve().name}-{what}")
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is no folder; name another one with --out")
    if what == "annotations":
        _export_annotations(arguments.run, folder, forms)
    elif what == "field":
        from astro_dist.exports.fields import export_window

        export_window(arguments.run, folder, arguments.window)
    elif what in ("enhanced", "cleaned"):
        from astro_dist.exports.pictures import export_pictures

        export_pictures(arguments.run, what, folder)
    elif what == "truth":
        _export_truth(arguments.run, folder, forms)
    elif what == "pictures":
        from astro_dist.flare.export import export_run

        export_run(arguments.run, folder)
        return 0
    elif what == "sets":
        from astro_dist.flare.export import export_sets

        export_sets(arguments.run, folder)
    else:
        _export_pieces(arguments, folder, forms)
    files = sum(path.is_file() for path in folder.rglob("*"))
    print(f"{folder}: {what} of {arguments.run} as {', '.join(forms)}; {files} files are there now")
    return 0


def _export_pieces(arguments: argparse.Namespace, folder: Path, forms: list[str]) -> None:
    from astro_dist.exports.images import write_fits, write_radiff
    from astro_dist.exports.labels import write_coco
    from astro_dist.exports.observed import read_observed
    from astro_dist.exports.pieces import Pieces, parse_indices
    from astro_dist.exports.samples import write_card, write_parquet, write_tars
    from astro_dist.exports.sheets import PER_SHEET, write_picture, write_sheet

    pieces = Pieces(arguments.run, arguments.what)
    indices = parse_indices(arguments.index, len(pieces))
    if not pieces.simulated and {"fits", "radiff"} & set(forms):
        pieces.observed = read_observed(pipelines.reopen(arguments.run).run, pieces.maps_of(indices))
    # Only where a form has a file for each: reading all twice takes time.
    single = {"fits", "png", "radiff"} & set(forms)
    for piece in _shown(pieces, indices if single else [], arguments.quiet):
        if "fits" in forms:
            write_fits(folder, pieces, piece)
        if "png" in forms:
            write_picture(folder, piece)
        if "radiff" in forms:
            write_radiff(folder / "radiff", pieces, piece)
    if "webdataset" in forms:
        write_tars(folder, pieces, indices)
        write_card(folder, pieces)
    if "parquet" in forms:
        write_parquet(folder, pieces, indices)
    if "coco" in forms:
        write_coco(
            folder / f"{arguments.what}.json",
            pieces.read(indices),
            f"{arguments.what} of {arguments.run.name}",
            pieces.origins,
        )
    if "grid" in forms:
        for number, start in enumerate(range(0, len(indices), PER_SHEET)):
            some = list(pieces.read(indices[start : start + PER_SHEET]))
            write_sheet(folder / f"grid-{number:03d}.png", some)


def _shown(pieces: "Pieces", indices: list[int], quiet: bool) -> Iterator["Piece"]:
    """Yield pieces, and say from time to time how many are done."""
    import time

    from astro_dist.engine.errors import show

    last = time.monotonic()
    for number, piece in enumerate(pieces.read(indices)):
        yield piece
        if not quiet and time.monotonic() - last > 10:
            last = time.monotonic()
            show(f"{number + 1} of {len(indices)} {pieces.what}")


def _export_annotations(root: Path, folder: Path, forms: list[str]) -> None:
    from astro_dist.engine.errors import ConfigError
    from astro_dist.exports.labels import export_annotations

    run = pipelines.reopen(root).run
    if run.ledger.published("annotate") is None:
        raise ConfigError(f"{root} has no annotations yet; run `astro-dist run` to the stage annotate first")
    export_annotations(folder, run, forms)


def _export_truth(root: Path, folder: Path, forms: list[str]) -> None:
    from astro_dist.engine.errors import ConfigError
    from astro_dist.engine.ledger import Ledger
    from astro_dist.sky.fits_arrays import read_table, write_text_table

    if (published := Ledger(root).published("assemble")) is None:
        raise ConfigError(f"{root} has no field yet; run `astro-dist run` to the stage assemble first")
    table = read_table(root / published.product / "truth.fits")
    for form in forms:
        write_text_table(folder / f"truth.{form}", table, form)
