"""The files of a package and the columns of its tables: what is given out, and what stays hidden."""

from pathlib import Path

from astro_dist.engine.errors import ConfigError
from astro_dist.field.columns import COLUMNS as FIELD_COLUMNS
from astro_dist.sky.fits_tables import Column

FORMAT = 1
"""Raised when files or columns of a package mean something else than before."""
PUBLIC, HIDDEN = "public", "hidden"
ABOUT, MANIFEST = "challenge.json", "manifest.json"
MAP, RMS, SCORE_MASK, PSF = "map.fits", "rms.fits", "score_mask.fits", "psf.fits"
TRAINING, VIEWER, TILES = "training", "viewer", "hips"
MASK, INSTANCES, COCO = "mask.fits", "instances.fits", "coco.json"
TRUTH = "truth"
SCORED, OPEN, BETWEEN = 0, 1, 2
"""Where a source lies: in the scored part, in the training area, or in neither."""
BITS = {
    "edge": 1,
    "no_data": 2,
    "training": 4,
    "between": 8,
    "real_source": 16,
    "orphaned_artefact": 32,
}
"""Why a pixel of the score mask is not scored; 0 is scored."""
POPULATIONS = {1: "SS-AGN", 2: "FS-AGN", 3: "SFG"}

_KEPT = (
    *("class", "class_name", "ra_deg", "dec_deg", "ra_peak_deg", "dec_peak_deg"),
    *("x_pix", "y_pix", "x_peak_pix", "y_peak_pix", "snr", "integrated_snr", "detectable"),
    *("sigma_jy_beam", "peak_jy_beam", "flux_jy", "spectral_index", "core_fraction", "beam_area_pix"),
    *("major_arcsec", "minor_arcsec", "pa_deg", "image_pa_deg"),
    *("intrinsic_major_arcsec", "intrinsic_minor_arcsec", "intrinsic_pa_deg"),
    *("n_pix", "blend", "blend_size", "n_components", "y0", "x0", "height", "width"),
)
TRUTH_COLUMNS = {
    "id": Column("", "meta.id;meta.main", "number of the source, drawn at random; its value in instances"),
    "population": Column("", "src.class", "1 SS-AGN, 2 FS-AGN, 3 SFG, as in SDC1; see the README"),
    **{name: FIELD_COLUMNS[name] for name in _KEPT},
}
"""Columns of the truth that is given out for the training area: nothing in them tells how it was drawn."""
HIDDEN_COLUMNS = {
    **TRUTH_COLUMNS,
    "area": Column("", "meta.code", "0 scored, 1 in the training area, 2 between the two"),
    "run_id": Column("", "meta.id", "number of the source in the truth of the run"),
}


def find_part(folder: Path, name: str) -> Path:
    """Return the part of a package in ``folder``, which may be that part itself."""
    return folder / name if (folder / name).is_dir() else folder


def refuse_inside_file(out: Path) -> None:
    """Raise `ConfigError` where a folder that is to be made would lie in a file."""
    there = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    if not there.is_dir():
        raise ConfigError(f"{there} is no folder; name one with --out")
