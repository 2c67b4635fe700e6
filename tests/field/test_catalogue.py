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


def test_what_was_not_measured_is_no_size(read):
    found = read("flux_jy,major_arcsec,minor_arcsec,size\n1,-100,-100,30\n1,4,2,9\n1,-1,-1,-1\n1,5,-1,nan\n")
    assert found.major_arcsec.tolist() == [30, 4, 0, 5]
    assert found.minor_arcsec[1] == 2
    assert np.isnan(found.minor_arcsec[[0, 2, 3]]).all()


def test_classes_decide_before_sizes_and_have_the_users_numbers(read):
    text = "flux_jy,major_arcsec,class\n1,20,3\n1,20,1\n1,2,1\n1,20,\n1,2,\n"
    found = read(text, classes={"3": "compact", "1": "extended"})
    assert found.is_extended(6.0).tolist() == [False, True, True, True, False]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("flux_jy\n1\n-2\n0\n", r"2 of 3 rows have a flux_jy that is no positive number: row 2, 3 [(]-2[)]"),
        ("flux_jy\n1\nnan\n", r"1 of 2 rows .* row 2 [(]nan[)]"),
        ("flux_jy\ninf\n" + "nan\n" * 9, r"10 of 10 rows .* row 1, 2, 3, 4, 5, [.]{3} [(]inf[)]"),
        ("flux_jy\n1\n1e300\n", r"a flux_jy above 1e[+]09 Jy: row 2 [(]1e[+]300[)]"),
        ("flux_jy,ra_deg\n1,2\n", "both columns or neither"),
        ("flux_jy,ra_deg,dec_deg\n1,2,nan\n", "a position that is not finite: row 1"),
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
    with pytest.raises(ConfigError, match="no rows"):
        read("flux_jy,ra_deg,dec_deg\n").rows_in((40, 60), pixel_of((40, 60)))


def test_fluxes_are_carried_to_another_frequency_by_each_rows_spectrum(read):
    found = read("flux_jy,spectral_index\n1,0\n1,-1\n1,\n")
    assert found.flux_at(0.5, -0.7) == pytest.approx([1, 2, 0.5**-0.7])
    assert found.flux_at(None, -0.7).tolist() == [1, 1, 1]
