"""The columns of programs and surveys whose catalogues leave units or meanings to their documentation.

Most of their tables say neither that a flux is in mJy nor that a longitude is a right ascension. A catalogue
is known by columns that no other one has together, in any case of letters.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

Names = tuple[str, ...]
NO_NAMES: Mapping[str, Names] = MappingProxyType({})


@dataclass(frozen=True)
class Form:
    """A kind of catalogue.

    Attributes
    ----------
    name
        The program or survey.
    needs
        Columns that tell it from others, in small letters.
    flux
        Pattern of all its columns of fluxes in ``unit``.
    least_jy
        Half of its fluxes are above it, by far.
    columns
        Its columns by our names, the first one first; they come before those of `column_names.KNOWN`.
    """

    name: str
    needs: frozenset[str]
    flux: str
    unit: str
    least_jy: float
    columns: Mapping[str, Names] = field(default_factory=lambda: NO_NAMES)

    def is_flux(self, column: str) -> bool:
        """Return whether a column is a flux in ``unit``."""
        return re.fullmatch(self.flux, column.lower()) is not None


def _form(name: str, needs: str, unit: str, flux: str, **columns: str) -> Form:
    own = {ours: tuple(theirs.split()) for ours, theirs in columns.items()}
    return Form(name, frozenset(needs.split()), flux, unit, LEAST_JY.get(name, 2e-5), own)


LEAST_JY = {"T-RECS": 0.0, "SDC1": 0.0, "Aegean": 0.0, "WSClean and BBS": 0.0}
"""Of programs that also read or make maps deeper than any survey."""
FORMS = (
    # Those derived from PyBDSF before it: its names with other units.
    _form("LoTSS", "total_flux e_ra_tot mosaic_id", "mJy", "(total|peak)_flux", source="parent_source"),
    _form("TGSS", "total_flux rms_noise mosaic_name", "mJy", "(total|peak)_flux"),
    _form("TGSS", "tgssadr stotal", "mJy", "stotal|speak", flux_jy="stotal"),
    _form("VLASS", "total_flux component_name peak_to_ring", "mJy", "(total|peak)_flux"),
    _form("VLASS", "total_flux ql_image_ra ql_image_dec", "mJy", "(total|peak)_flux"),
    _form("RACS", "total_flux e_total_flux_pybdsf", "mJy", "(total|peak)_flux"),
    _form(
        "RACS",
        "total_flux_source n_gaus",
        "mJy",
        "total_flux_(source|gaussian)|peak_flux",
        flux_jy="total_flux_source",
    ),
    _form("RACS", "total_flux_source noise", "mJy", "(total|peak)_flux.*", flux_jy="total_flux_source"),
    _form("FIRST", "fint fpeak", "mJy", "fint|fpeak", flux_jy="fint"),
    _form("NVSS", "s1.4 e_s1.4 nvss", "mJy", r"s1\.4", flux_jy="s1.4"),
    _form("NVSS", "s1.4 ra(2000)", "mJy", r"s1\.4", flux_jy="s1.4"),
    _form("NVSS", "flux_20_cm flux_20_cm_error", "mJy", "flux_20_cm", flux_jy="flux_20_cm"),
    _form("SUMSS", "st e_st sp e_sp", "mJy", "st|sp", flux_jy="st"),
    _form("GLEAM", "int_flux_wide peak_flux_wide", "Jy", "(int|peak)_flux_.*", flux_jy="int_flux_wide"),
    _form("GLEAM", "fintwide fpwide", "Jy", "fintwide|fpwide", flux_jy="fintwide"),
    # Components: the island holds what belongs together. The table of islands has no component_id.
    _form(
        "Selavy",
        "flux_int flux_peak ra_deg_cont",
        "mJy",
        "flux_(int|peak)",
        flux_jy="flux_int",
        source="island_id",
        major_arcsec="maj_axis",
        minor_arcsec="min_axis",
        pa_deg="pos_ang",
    ),
    _form(
        "Aegean",
        "island source int_flux",
        "Jy",
        "(int|peak)_flux",
        source="island",
        major_arcsec="a",
        minor_arcsec="b",
        pa_deg="pa",
    ),
    _form(
        "WSClean and BBS",
        "name type ra dec i",
        "Jy",
        "[iquv]",
        flux_jy="i",
        source="patch",
        major_arcsec="majoraxis",
        minor_arcsec="minoraxis",
        pa_deg="orientation",
    ),
    _form(
        "T-RECS",
        "latitude longitude redshift x_coord y_coord",
        "mJy",
        r"[ip]\d+",
        flux_jy="i1400",
        ra_deg="longitude",
        dec_deg="latitude",
        major_arcsec="bmaj size",
        minor_arcsec="bmin",
        pa_deg="pa angle",
        **{"class": "radioclass popflag"},
    ),
    _form(
        "SDC1",
        "ra_core dec_core core_frac b_maj",
        "Jy",
        "flux",
        ra_deg="ra_cent",
        dec_deg="dec_cent",
        major_arcsec="b_maj",
        minor_arcsec="b_min",
        pa_deg="pa",
        **{"class": "class"},
    ),
)


def find_form(names: Collection[str]) -> Form | None:
    """Return the kind of a catalogue with these columns, in any case of letters; None for no known one."""
    lower = {name.lower() for name in names}
    return next((form for form in FORMS if form.needs <= lower), None)
