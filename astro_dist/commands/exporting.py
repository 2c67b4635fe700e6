"""`export`: products of a run in the forms of other programs."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from astro_dist import pipelines

if TYPE_CHECKING:
    from astro_dist.exports.target import Target

FORMS = {
    "cutouts": ("fits", "png", "grid", "coco", "radiff", "webdataset", "parquet"),
    "stamps": ("fits", "png", "grid", "coco", "radiff", "webdataset", "parquet"),
    "field": ("fits", "png"),
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
    if what == "pictures":
        from astro_dist.flare.export import export_run

        export_run(arguments.run, folder)
        return 0
    with _open_target(arguments, folder, forms) as target:
        _write(arguments, target, forms)
    files = sum(path.is_file() for path in folder.rglob("*"))
    print(f"{folder}: {what} of {arguments.run} as {', '.join(forms)}; {files} files are there now")
    return 0


def _open_target(arguments: argparse.Namespace, folder: Path, forms: list[str]) -> "Target":
    from astro_dist import __version__
    from astro_dist.engine.ledger import Ledger
    from astro_dist.exports.target import Target

    made = {
        stage: published.fingerprint for stage, published in Ledger(arguments.run).all_published().items()
    }
    asked = {name: getattr(arguments, name) for name in ("what", "index", "window")}
    return Target(folder, {"of": made, "forms": forms, "by": __version__, **asked}, quiet=arguments.quiet)


def _write(arguments: argparse.Namespace, target: "Target", forms: list[str]) -> None:
    what = arguments.what
    if what == "annotations":
        _export_annotations(arguments.run, target, forms)
    elif what == "field":
        from astro_dist.exports.fields import export_window

        export_window(arguments.run, target, arguments.window, forms)
    elif what in ("enhanced", "cleaned"):
        from astro_dist.exports.pictures import export_pictures

        export_pictures(arguments.run, what, target)
    elif what == "truth":
        _export_truth(arguments.run, target.folder, forms)
    elif what == "sets":
        from astro_dist.flare.export import export_sets

        export_sets(arguments.run, target.folder)
    else:
        _export_pieces(arguments, target, forms)


def _export_pieces(arguments: argparse.Namespace, target: "Target", forms: list[str]) -> None:
    from astro_dist.exports.images import fits_paths, write_fits, write_radiff
    from astro_dist.exports.labels import write_coco
    from astro_dist.exports.observed import read_observed
    from astro_dist.exports.pieces import Pieces, parse_indices
    from astro_dist.exports.samples import batched, write_card, write_parquet, write_tars
    from astro_dist.exports.sheets import PER_SHEET, write_picture, write_sheet

    folder, pieces = target.folder, Pieces(arguments.run, arguments.what)
    indices = parse_indices(arguments.index, len(pieces))
    if not pieces.simulated and {"fits", "radiff"} & set(forms):
        pieces.observed = read_observed(pipelines.reopen(arguments.run).run, pieces.maps_of(indices))
    # Each of the others reads the pieces once more, and these three together once.
    single = {"fits", "png", "radiff"} & set(forms)
    target.total = len(indices) * (len(set(forms) - single) + bool(single))

    def paths(index: int) -> Iterator[Path]:
        name = pieces.name(index)
        yield from fits_paths(folder, name) if "fits" in forms else ()
        yield from (folder / f"{name}.png",) if "png" in forms else ()
        # The last file of a piece.
        yield from (folder / "radiff" / f"{name}.json",) if "radiff" in forms else ()

    left = [index for index in indices if single and not target.skips(paths(index))]
    for piece in target.watch(pieces.read(left)):
        if "fits" in forms:
            write_fits(folder, pieces, piece)
        if "png" in forms:
            write_picture(folder, piece)
        if "radiff" in forms:
            write_radiff(folder / "radiff", pieces, piece)
    if "webdataset" in forms:
        write_tars(target, pieces, indices)
        write_card(folder, pieces)
    if "parquet" in forms:
        write_parquet(target, pieces, indices)
    if "coco" in forms:
        about = f"{arguments.what} of {arguments.run.name}"
        some = target.watch(pieces.read(indices))
        write_coco(folder / f"{arguments.what}.json", some, about, pieces.origins)
    if "grid" in forms:
        for number, those in enumerate(batched(indices, PER_SHEET)):
            if not target.skips([path := folder / f"grid-{number:03d}.png"], len(those)):
                write_sheet(path, list(target.watch(pieces.read(those))))


def _export_annotations(root: Path, target: "Target", forms: list[str]) -> None:
    from astro_dist.engine.errors import ConfigError
    from astro_dist.exports.labels import export_annotations

    run = pipelines.reopen(root).run
    if run.ledger.published("annotate") is None:
        raise ConfigError(f"{root} has no annotations yet; run `astro-dist run` to the stage annotate first")
    export_annotations(target, run, forms)


def _export_truth(root: Path, folder: Path, forms: list[str]) -> None:
    from astro_dist.engine.errors import ConfigError
    from astro_dist.engine.ledger import Ledger
    from astro_dist.sky.fits_arrays import read_table, write_text_table

    if (published := Ledger(root).published("assemble")) is None:
        raise ConfigError(f"{root} has no field yet; run `astro-dist run` to the stage assemble first")
    table = read_table(root / published.product / "truth.fits")
    for form in forms:
        write_text_table(folder / f"truth.{form}", table, form)
