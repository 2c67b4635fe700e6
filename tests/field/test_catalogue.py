"""Catalogues of sources: read with sizes, classes and spectra, or refused in one line."""

import numpy as np
import pytest

from astro_dist.engine.errors import ConfigError
from astro_dist.field.catalogue import BY_SIZE, SourceCatalogue
from astro_dist.sky.beams import Pixel
from astro_dist.sky.classes import SourceClass
from astro_dist.sky.fits_file import plane_wcs

COMPACT, EXTENDED = SourceClass.COMPACT, SourceClass.EXTENDED


@pytest.fixture
def read(tmp_path):
    def read(text, **settings):
        path = tmp_path / "sources.csv"
        path.write_text(text)
        return SourceCatalogue.read(path, **settings)

    return read


def pixel_of(shape, ra=180.0, dec=-30.0):
    wcs = plane_wcs(shape, Pixel(2.0, 2.0), ra, dec)
    return lambda *sky: wcs.wcs_world2pix(*sky, 0)[::-1]


def test_columns_of_our_own_names_are_read(read):
    found = read(
        "flux_jy,ra_deg,dec_deg,major_arcsec,minor_arcsec,pa_deg,class,spectral_index\n"
        "1,180,-30,20,5,190,3,-0.8\n0.5,-180,-30,,,,2,\n"
    )
    assert found.sky_deg.tolist() == [[180, 180], [-30, -30]]
    assert found.major_arcsec.tolist() == [20, 0]
    assert found.minor_arcsec[0] == 5
    assert np.isnan([found.minor_arcsec[1], found.pa_deg[1], found.spectral_index[1]]).all()
    assert found.pa_deg[0] == 10
    assert found.source_class.tolist() == [EXTENDED, COMPACT]


def test_fluxes_alone_are_points_of_no_known_place(read):
    found = read("flux_jy\n1\n2\n")
    assert found.sky_deg is None
    assert (found.major_arcsec == 0).all()
    assert (found.source_class == BY_SIZE).all()
    assert not found.is_extended(6.0).any()
    assert found.rows_in((9, 9), pixel_of((9, 9))).tolist() == [0, 1]


@pytest.mark.parametrize("sizes", ["0", "-1", ""])
def test_a_column_of_sizes_says_that_all_are_points(read, sizes):
    found = read(f"flux_jy,major_arcsec\n1,{sizes}\n2,{sizes}\n")
    assert found.has_shapes
    assert not found.is_extended(6.0).any()
    assert not read("flux_jy\n1\n2\n").has_shapes


def test_what_was_not_measured_is_no_size(read):
    found = read("flux_jy,major_arcsec,minor_arcsec,size\n1,-100,-100,30\n1,4,2,9\n1,-1,-1,-1\n1,5,-1,nan\n")
    assert found.major_arcsec.tolist() == [30, 4, 0, 5]
    assert found.minor_arcsec[1] == 2
    assert np.isnan(found.minor_arcsec[[0, 2, 3]]).all()


@pytest.mark.parametrize(
    ("text", "sizes", "smooth"),
    [
        # Star-forming galaxies, and a radio galaxy without widths.
        (
            "latitude,longitude,redshift,x_coord,y_coord,I1400,bmaj,bmin,size,PA,RadioClass\n"
            "-30,180,1,0,0,1,8,4,5,30,1\n-30,180,1,0,0,1,-100,-100,40,-100,6\n",
            [(8, 4, 30), (40, None, None)],
            [True, False],
        ),
        (
            "id,ra_core,dec_core,ra_cent,dec_cent,flux,core_frac,b_maj,b_min,pa,size,class\n"
            "1,0,0,180,-30,1e-6,0,3,2,20,2,3\n2,0,0,180,-30,1e-6,0,30,2,20,1,1\n",
            [(3, 2, 20), (30, 2, 20)],
            [True, False],
        ),
        (
            "Isl_id,RA,DEC,Total_flux,Maj,DC_Maj,DC_Min,DC_PA\n1,180,-30,1e-3,0.003,0.002,0.001,45\n",
            [(7.2, 3.6, 45)],
            [False],
        ),
        (
            "flux_jy,major_arcsec,minor_arcsec,pa_deg,intrinsic_major_arcsec,intrinsic_minor_arcsec,"
            "intrinsic_pa_deg,class\n1,9,8,7,6,5,4,2\n",
            [(6, 5, 4)],
            [False],
        ),
        ("island,source,ra,dec,int_flux,a,b,pa\n1,0,180,-30,1e-3,7,6,5\n", [(0, None, None)], [False]),
    ],
)
def test_sizes_without_the_beam_and_kinds_are_read_from_every_program(read, text, sizes, smooth):
    found = read(text)
    columns = found.major_arcsec, found.minor_arcsec, found.pa_deg
    assert [tuple(row) for row in np.stack(columns, 1)] == [
        pytest.approx([np.nan if value is None else value for value in row], nan_ok=True) for row in sizes
    ]
    assert found.is_smooth.tolist() == smooth
    assert not found.is_extended(6.0)[found.is_smooth].any()


def test_rows_without_a_flux_are_left_out_and_told(read):
    found = read("flux_jy,ra_deg,dec_deg\n1,180,-30\nnan,180,-30\n,,\n")
    assert found.notes == ("sources.csv: 2 rows have no flux, the first is row 2; none is placed",)
    assert found.rows_in((9, 9), pixel_of((9, 9))).tolist() == [0]


def test_classes_decide_before_sizes_and_have_the_users_numbers(read):
    text = "flux_jy,major_arcsec,class\n1,20,3\n1,20,1\n1,2,1\n1,20,\n1,2,\n"
    found = read(text, classes={"3": "compact", "1": "extended"})
    assert found.is_extended(6.0).tolist() == [False, True, True, True, False]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("flux_jy\n1\n-2\n0\n", r"2 of 3 rows have a flux_jy that is no positive number: row 2, 3 [(]-2[)]"),
        ("flux_jy\nnan\nnan\n", "every flux_jy must be a positive number"),
        ("flux_jy\n" + "inf\n" * 9, r"9 of 9 rows .* row 1, 2, 3, 4, 5, [.]{3} [(]inf[)]"),
        ("flux_jy\n1\n1e300\n", r"a flux_jy above 1e[+]09 Jy: row 2 [(]1e[+]300[)]"),
        ("flux_jy,ra_deg\n1,2\n", "both columns or neither"),
        ("flux_jy,ra_deg,dec_deg\n1,2,nan\n", "a position that is not finite: row 1"),
        ("flux_jy,class\n1,compact\n1,blob\n", "row 2 has 'blob' in the column class.*compact or extended"),
        ("flux_jy,class\n1,2\n1,7\n", "the class 7, which is neither compact nor extended .* row 2"),
        ("flux_jy,class\n1,1\n", "the class 1, which is neither"),
        ("flux_jy,major_arcsec\n1,1e6\n", "a major_arcsec above 36000"),
        ("flux_jy,major_arcsec,minor_arcsec\n1,5,6\n", "a minor_arcsec above its major_arcsec"),
        ("peak\n1\n", "no column flux_jy"),
    ],
)
def test_bad_rows_are_refused_by_number_in_one_line(read, text, message):
    with pytest.raises(ConfigError, match=message) as caught:
        read(text)
    assert "\n" not in str(caught.value)
    assert "sources.csv" in str(caught.value)


def test_rows_of_the_field_are_found_to_half_a_pixel_round_it(read):
    shape = (40, 60)
    wcs = plane_wcs(shape, Pixel(2.0, 2.0), 180.0, -30.0)
    y, x = np.array([-0.4, -0.6, 39.4, 39.6, 20]), np.array([0, 0, 59.4, 0, 30.0])
    ra, dec = wcs.wcs_pix2world(x, y, 0)
    rows = "\n".join(f"1,{a:.12f},{d:.12f}" for a, d in zip(ra, dec, strict=True))
    # On the other side of the sphere a position has no pixel.
    found = read(f"flux_jy,ra_deg,dec_deg\n{rows}\n1,0,30\n")
    assert found.rows_in(shape, pixel_of(shape)).tolist() == [0, 2, 4]


def test_a_catalogue_of_another_sky_is_refused_with_its_place(read):
    found = read("flux_jy,ra_deg,dec_deg\n1,10,5\n1,11,5\n")
    with pytest.raises(ConfigError, match="none of its 2 positions is in the field, the first is at RA 10"):
        found.rows_in((40, 60), pixel_of((40, 60)))
    with pytest.raises(ConfigError, match="every flux_jy must be"):
        read("flux_jy,ra_deg,dec_deg\n")


def test_fluxes_are_carried_to_another_frequency_by_each_rows_spectrum(read):
    found = read("flux_jy,spectral_index\n1,0\n1,-1\n1,\n")
    assert found.flux_at(0.5, -0.7) == pytest.approx([1, 2, 0.5**-0.7])
    assert found.flux_at(None, -0.7).tolist() == [1, 1, 1]
