"""Headers as programs wrote them: the cards that decide how a map is read, unchanged, with pixels of ours."""

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import FK4, FK5, SkyCoord
from astropy.io import fits

from astro_dist.sky.maps import MapsConfig, SkyMap
from astro_dist.sky.windows import Window
from tests.sky.small_maps import apart

M82 = """\
SIMPLE  =                    T
BITPIX  =                   16
NAXIS   =                    4
NAXIS1  =                  558
NAXIS2  =                  262
NAXIS3  =                    1
NAXIS4  =                    1
EXTEND  =                    T / Tables following main image
BLOCKED =                    T / Tape may be blocked
OBJECT  = 'U05322  '
TELESCOP= 'VLA     '
DATE-OBS= '06/02/89'
DATE-MAP= '13/09/94'
BSCALE  =     1.95069823037e-6 / REAL = TAPE * BSCALE + BZERO
BZERO   =      0.0548100471497
BUNIT   = 'JY/BEAM '
EPOCH   =               1950.0 / EPOCH OF RA DEC
BLANK   =               -32768 / Blanked pixel tape value
VELREF  =                    3 / >256 RADIO, 1 LSR 2 HEL 3 OBS
ALTRVAL =             100000.0 / ALTENATE FREQ/VEL REF VALUE
ALTRPIX =                  1.0 / ALTENATE FREQ/VEL REF PIXEL
CTYPE1  = 'RA---ARC'
CRVAL1  =        147.927100003
CDELT1  =     -0.0002247777738
CRPIX1  =                301.5
CROTA1  =                  0.0
CTYPE2  = 'DEC--ARC'
CRVAL2  =        69.9079999924
CDELT2  =      0.0002273333375
CRPIX2  =                 95.5
CROTA2  =          24.26000023
CTYPE3  = 'FREQ    '
CRVAL3  =               1.49e9
CDELT3  =                5.0e7
CRPIX3  =                  1.0
CROTA3  =                  0.0
CTYPE4  = 'STOKES  '
CRVAL4  =                  1.0
CDELT4  =                  1.0
CRPIX4  =                  1.0
CROTA4  =                  0.0
HISTORY --------------------------------------------------------------------
HISTORY /Begin "HISTORY" information found in fits tape header by IMLOD
HISTORY BLOCKED =                    T /Tape may be blocked
HISTORY AIPS   IMNAME='NGC3034     ' IMCLASS='SUBIM ' IMSEQ=   1     /
HISTORY AIPS   USERNO=  135            /
HISTORY AIPS   CLEAN BMAJ=  5.0000E-04 BMIN=  5.0000E-04 BPA=   0.00
HISTORY AIPS   CLEAN NITER=     2000 PRODUCT=1   / NORMAL
HISTORY /END FITS tape header "HISTORY" information
HISTORY IMLOD RELEASE = '15JUL94'
HISTORY SUBIM RELEASE ='15JUL94 '  /********* Start 25-MAR-1994   09:37:01
HISTORY SUBIM OPCODE = 'AVE '
HISTORY HGEOM IMSIZE =  558,  263          / Output image size
HISTORY HGEOM  / Interpolation order used was BiCubic
HISTORY AIPS   IMNAME='M82 in radio' IMCLASS='HGEOM ' IMSEQ=   1     /
HISTORY AIPS   CLEAN BMAJ=  5.0000E-04 BMIN=  5.0000E-04 BPA=   0.00
HISTORY AIPS   CLEAN NITER=     2000 PRODUCT=1   / NORMAL
ORIGIN  = 'AIPSGorilla (NRAOCV IPX) 15JAN95'
HISTORY AIPS   IMNAME='M82         ' IMCLASS='Radio ' IMSEQ=   3     /
HISTORY AIPS   USERNO=  103            /
HISTORY AIPS   CLEAN BMAJ=  5.0000E-04 BMIN=  5.0000E-04 BPA=   0.00
HISTORY AIPS   CLEAN NITER=     2000 PRODUCT=1   / NORMAL
"""
M31 = """\
SIMPLE  =                    T / file conforms to standard FITS format
BITPIX  =                   32 / 4 byte signed INTEGER numbers
NAXIS   =                    3 / number of array dimensions
NAXIS1  =                  521 / pixel number for image dimension 1
NAXIS2  =                  241 / pixel number for image dimension 2
NAXIS3  =                    1 / pixel number for image dimension 3
OBJECT  = 'M31     '           / source name
TELESCOP= 'EFFBG   '
BSCALE  =     2.4718599434E-06 / scaling factor
BZERO   =          4482.385254 / original data = ( BSCALE * tape data ) + BZERO
BUNIT   = 'MYJY/BEAM'          /
OBSRA   =          10.00750000 / Center of the map
CTYPE1  = 'RA---ARC'           / ARC : angular distance preserved in projection
CRVAL1  =          10.00749969 / longitude of referenz pixel
CDELT1  =    -4.1666668840E-03 / increment abszissa (degree)
CRPIX1  =          261.0000000 / x-value of referenz-pixel
CROTA1  =         0.9250245094 / rotation of coordinates rel. to RA, DEC (-K0)
CTYPE2  = 'DEC--ARC'           / ARC : angular distance preserved in projection
CRVAL2  =          40.99611282 / latitude of referenz-pixel (degree)
CDELT2  =     4.1666668840E-03 / increment ordinate (degree)
CRPIX2  =          121.0000000 / y-value of referez-pixel
CROTA2  =          0.000000000 / rotation of coordinates
CTYPE3  = 'FREQ'               /
CRVAL3  =          2702000128. / frequency (Hz)
CDELT3  =          80000000.00 / bandwidth of observation (Hz)
CRPIX3  =          1.000000000 /
BLANK   =          -2147483647 / dummy value in empty cells
"""


def write(path, text, stored):
    """Write stored whole numbers under a header, and return the file's path."""
    cards = "".join(f"{line:80}" for line in [*text.splitlines(), "END"]).encode()
    pixels = stored.astype(stored.dtype.newbyteorder(">")).tobytes()
    path.write_bytes(cards + b" " * (-len(cards) % 2880) + pixels + bytes(-len(pixels) % 2880))
    return path


def test_a_map_of_aips_has_the_beam_of_its_last_history(tmp_path):
    """A map of M82 as FITTP of AIPS 15JAN95 wrote it: its own beam behind those of two earlier lives."""
    stored = np.random.default_rng(1).integers(-30000, -27000, (1, 1, 262, 558)).astype(np.int16)
    stored[..., :100] = -32768
    sky_map = SkyMap.open(write(tmp_path / "m82.fits", M82, stored), MapsConfig())
    assert (sky_map.beam.major_arcsec, sky_map.beam.minor_arcsec) == pytest.approx((1.8, 1.8))
    assert (sky_map.frequency_hz, sky_map.shape) == (1.49e9, (262, 558))
    assert sky_map.pixel.dx_arcsec == pytest.approx(0.8092, rel=1e-4)
    pixels = sky_map.read(Window.of_shape(sky_map.shape))
    assert np.isnan(pixels).sum() == 262 * 100
    assert pixels[0, 200] == pytest.approx(stored[0, 0, 0, 200] * 1.95069823037e-6 + 0.0548100471497)
    # The reference pixel, counted from 0; B1950 to ICRS by astropy, at the equinox of the card.
    there = SkyCoord(147.927100003, 69.9079999924, unit="deg", frame=FK4(equinox="B1950")).icrs
    found = SkyCoord(*sky_map.sky_of([94.5], [300.5]), unit="deg")
    assert found.separation(there).arcsec.max() < 0.3
    # CROTA2 turns the sky's north from +y towards the east, so that +y is as far west of north, in 1950.
    old = FK4(equinox="B1950")
    above = SkyCoord(*sky_map.sky_of([95.5], [300.5]), unit="deg").transform_to(old)
    assert found.transform_to(old)[0].position_angle(above[0]).deg == pytest.approx(360 - 24.26, abs=0.05)


def test_a_map_of_effelsberg_is_in_microjansky(tmp_path):
    """A map of M31 at 11 cm as the Effelsberg programs of 1994 wrote it, without a beam in its header."""
    stored = np.random.default_rng(2).integers(-1900000000, -1700000000, (1, 241, 521)).astype(np.int32)
    path = write(tmp_path / "m31.fits", M31, stored)
    sky_map = SkyMap.open(path, MapsConfig(beam_major_arcsec=264))
    assert sky_map.frequency_hz == 2702000128.0
    value = (stored[0, 7, 9] * 2.4718599434e-6 + 4482.385254) * 1e-6
    assert sky_map.read(Window(7, 8, 9, 10))[0, 0] == pytest.approx(value, rel=1e-5)
    there = SkyCoord(10.00749969, 40.99611282, unit="deg", frame=FK5(equinox="J2000"))
    assert SkyCoord(*sky_map.sky_of([120], [260]), unit="deg").separation(there).arcsec.max() < 0.1


LINES = {
    # FITTP of AIPS: FIRST of 1997, NVSS, an image of THINGS, a VLA image of 2009.
    "AIPS   CLEAN BMAJ=  1.7778E-03 BMIN=  1.5000E-03 BPA=   0.00": (6.4, 5.4, 0.0),
    "AIPS   CLEAN BMAJ=  1.2500E-02 BMIN=  1.2500E-02 BPA=   0.00": (45.0, 45.0, 0.0),
    "AIPS   CLEAN BMAJ=  3.8158E-03 BMIN=  3.4928E-03 BPA= -40.24 = ": (13.737, 12.574, -40.24),
    "AIPS   CLEAN BMAJ=  1.7599E-03 BMIN=  1.5740E-03 BPA=   2.61": (6.33564, 5.6664, 2.61),
    # The continuum pipeline of MeerKAT's SDP, which keeps the form of AIPS.
    "AIPS   CLEAN BMAJ=  5e-03 BMIN=  1e-03 BPA=  42.11": (18.0, 3.6, 42.11),
    # CONVL of AIPS, in arcsec.
    "CONVL BMAJ=  5.0000 BMIN=  5.0000 BPA=   0.0/Output beam": (5.0, 5.0, 0.0),
    # RESTOR of MIRIAD (ATNF and CARMA: format 'RESTOR: Beam = ',1pe10.3,' x ', ...), and without the colon.
    "RESTOR: Beam =  5.303E+01 x  3.266E+01 arcsec, pa =  6.485E+00 degrees": (53.03, 32.66, 6.485),
    "RESTOR Beam =  2.000E+00 x  1.800E+00 arcsec, pa =  8.000E+01 degrees": (2.0, 1.8, 80.0),
    # clean of CASA, also longer than a card.
    "> restoration: 37.5693 by 19.9686 (arcsec) at pa -54.7538 (deg)": (37.5693, 19.9686, -54.7538),
    "Beam used in restoration: 0.291649 by 0.249021 (arcsec) at pa 22.9926 (deg) ": (
        0.291649,
        0.249021,
        22.9926,
    ),
    "Fitted beam used in restoration: 86.4579 by 48.7073 (arcsec) at pa 178.107 (deg)": (
        86.4579,
        48.7073,
        178.107,
    ),
}
OTHERS = """\
PBCOR Beamcut=  0.02300   /Clip outside this beam value
PBCOR DOINVERS =-1.0   / > 0 multiply by beam
PBCOR / Beam =  1.000000E+00 +     / Beam  model
PBCOR /        -1.449000E-03 * X +
PBCOR / Where X = [Angle(arcmin) * f(GHz)]**2
AIPS   CLEAN NITER=     1000 PRODUCT=1   / NORMAL"""


@pytest.mark.parametrize("line", LINES)
def test_lines_of_history_that_programs_wrote(tmp_path, line):
    """Each alone and before what PBCOR of AIPS 31DEC17 says of the beam of an antenna."""
    major, minor, pa = LINES[line]
    size = minor / 3600
    for lines in ([line], [line, *OTHERS.splitlines()]):
        header = fits.Header()
        for axis, (kind, value, step) in enumerate(
            (("RA---SIN", 200.0, -size), ("DEC--SIN", -40.0, size)), 1
        ):
            header[f"CTYPE{axis}"], header[f"CRVAL{axis}"], header[f"CDELT{axis}"] = kind, value, step / 3
            header[f"CRPIX{axis}"] = 32.0
        header["BUNIT"], header["RESTFREQ"] = "JY/BEAM", 1.4e9
        for one in lines:
            header["HISTORY"] = one
        fits.writeto(tmp_path / "m.fits", np.zeros((64, 64), np.float32), header, overwrite=True)
        beam = SkyMap.open(tmp_path / "m.fits", MapsConfig()).beam
        assert (beam.major_arcsec, beam.minor_arcsec) == pytest.approx((major, minor), rel=1e-4)
        assert major == minor or apart(beam.pa_deg, pa) < 1e-6


def test_cards_of_gipsy_are_in_arcsec(tmp_path):
    """As FIXHED of GIPSY lists them: BMMAJ, BMMIN in arcsec, BMPA north through east."""
    header = fits.Header()
    for axis, (kind, value, step) in enumerate((("RA---NCP", 200.0, -60.0), ("DEC--NCP", 60.0, 60.0)), 1):
        header[f"CTYPE{axis}"], header[f"CRVAL{axis}"] = kind, value
        header[f"CDELT{axis}"], header[f"CRPIX{axis}"] = step / 3600, 32.0
    header["BUNIT"] = "JY/BEAM"
    header["BMMAJ"] = (0.35966360473633e3, "major axis (FWHM) of beam (arcsec)")
    header["BMMIN"], header["BMPA"] = 0.3e3, 12.0
    fits.writeto(tmp_path / "g.fits", np.zeros((64, 64), np.float32), header)
    beam = SkyMap.open(tmp_path / "g.fits", MapsConfig()).beam
    assert (beam.major_arcsec, beam.minor_arcsec) == pytest.approx((359.66360473633, 300))
    assert beam.pa_deg == pytest.approx(12.0)
    assert u.Quantity(beam.major_arcsec, "arcsec") < 6 * u.arcmin
