"""Catalogues as finders, surveys and archives write them: texts of angles, several tables, units left out."""

import gzip
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Table

from astro_dist.engine.errors import ConfigError
from astro_dist.engine.seeds import stream
from astro_dist.field.catalogue import SourceCatalogue
from astro_dist.sky import ascii_tables
from astro_dist.sky.files import with_readme
from astro_dist.sky.sexagesimal import parse_angles
from astro_dist.sky.user_files import read_columns, read_table
from tests.sky.test_column_names import mutated, text

OURS = ("flux_jy",), ("ra_deg", "dec_deg")
SHAPES = ("major_arcsec", "minor_arcsec", "pa_deg", "class", "spectral_index")
RA, DEC, FLUX = [188.73625, 0.01875], [-0.20944444, 89.01722222], [1.5e-3, 0.25e-3]
WORDS = ["12:34:56.7", "00:00:04.5"], ["-00:12:34", "+89:01:02"]

SELAVY = """\
# island_id component_id ra_hms_cont dec_dms_cont ra_deg_cont dec_deg_cont flux_peak flux_int maj_axis \
min_axis pos_ang                   comment
#        --           --                                [deg]        [deg] [mJy/beam] [mJy] [arcsec] \
[arcsec]   [deg]
   SB7_i_1     SB7_i_1a  12:34:56.7    -00:12:34   188.736250    -0.209444       1.4    1.50    12.50 \
   10.00   33.25
   SB7_i_1     SB7_i_1b  00:00:04.5    +89:01:02     0.018750    89.017222       0.2    0.25    11.50 \
    9.00  140.50       fitted twice by hand
"""
ISLANDS = """\
# island_id island_name n_components ra_hms_cont dec_dms_cont ra_deg_cont dec_deg_cont flux_int flux_peak
#        --                                                         [deg]       [deg]    [mJy] [mJy/beam]
   SB7_i_1  J123456-001234  1  12:34:56.7 -00:12:34 188.736250 -0.209444 1.50 1.4
   SB7_i_2  J000004+890102  2  00:00:04.5 +89:01:02   0.018750 89.017222 0.25 0.2
"""
SOFIA = """\
# SoFiA source catalogue
# Creator: SoFiA 2.5.1
#
# Header rows:
#   1 = column number
#   2 = parameter name
#   3 = parameter unit
#
#                    1   2        3           4           5
#                 name  id    f_sum          ra         dec
#                    -   -    {unit:>5}         deg         deg

 "SoFiA J123456-001234"   1   {a:g}  188.736250   -0.209444
 "SoFiA J000004+890102"   2   {b:g}    0.018750   89.017222
"""
MRT = """\
Title: A survey
Authors: Somebody
Table: Sources
================================================================================
Byte-by-byte Description of file: table.dat
--------------------------------------------------------------------------------
   Bytes Format Units    Label  Explanations
--------------------------------------------------------------------------------
   1-  2 I2     h        RAh    Hour of right ascension (J2000)
   4-  5 I2     min      RAm    Minute of right ascension (J2000)
   7- 10 F4.1   s        RAs    Second of right ascension (J2000)
      12 A1     ---      DE-    Sign of declination (J2000)
  13- 14 I2     deg      DEd    Degree of declination (J2000)
  16- 17 I2     arcmin   DEm    Arcminute of declination (J2000)
  19- 20 I2     arcsec   DEs    Arcsecond of declination (J2000)
  22- 25 F4.2   {unit:8} flux   ?=- Flux density at
                                 1.4 GHz (1)
--------------------------------------------------------------------------------
Note (1): 12 34 of them are new.
--------------------------------------------------------------------------------
12 34 56.7 -00 12 34 1.50
00 00 04.5 +89 01 02 0.25
"""
IPAC = """\
\\survey = 'one'
| name |     ra      |     dec    | flux |
| char |   double    |   double   |double|
|      |    deg      |    deg     | {unit:4} |
|      |   null      |   null     | null |
  a       188.736250    -0.209444   1.50
  b         0.018750    89.017222   0.25
"""
VIZIER = """\
#RESOURCE=yCat_8065
#Name: VIII/65/nvss

NVSS{m}RAJ2000{m}DEJ2000{m}S1.4{m}e_S1.4
{m}"h:m:s"{m}"d:m:s"{m}mJy{m}mJy
------{m}-----------{m}-----------{m}--------{m}-------
a{m}12 34 56.7{m}-00 12 34{m}     1.5{m}    0.5
b{m}00 00 04.5{m}+89 01 02{m}    0.25{m}    0.5
"""


README = """\
VIII/65             1.4GHz NRAO VLA Sky Survey (NVSS)      (Condon+ 1998)
================================================================================
Description:
    The survey covers the sky north of -40° declination.

File Summary:
--------------------------------------------------------------------------------
 FileName    Lrecl    Records    Explanations
--------------------------------------------------------------------------------
ReadMe          80          .    This file
nvss.dat       158    1773484    The NVSS Catalog
--------------------------------------------------------------------------------

Byte-by-byte Description of file: nvss.dat
--------------------------------------------------------------------------------
   Bytes Format  Units   Label    Explanations
--------------------------------------------------------------------------------
   1-  8  A8     ---     Field    Name of the original survey image field
                                    from which the component was derived.
  10- 11  I2     h       RAh      Right Ascension J2000 (hours) (2)
  13- 14  I2     min     RAm      Right Ascension J2000 (minutes) (2)
  16- 20  F5.2   s       RAs      [0,60] Right Ascension J2000 (seconds) (2)
      22  A1     ---     DE-      Declination J2000 (sign) (2)
  23- 24  I2     deg     DEd      Declination J2000 (degrees) (2)
  26- 27  I2     arcmin  DEm      Declination J2000 (minutes) (2)
  29- 32  F4.1   arcsec  DEs      [0,60] Declination J2000 (seconds) (2)
  34- 41  F8.1   mJy     S1.4     ?=-9.9 Integrated 1.4GHz flux density of radio
                                    source
  43- 49  F7.1   mJy   e_S1.4     Mean error on S1.4
  51- 64  A14    ---     NVSS     Source name (1)
--------------------------------------------------------------------------------
Note (2): The positions are those of the fit.
--------------------------------------------------------------------------------

Byte-by-byte Description of file: 6c6 6c?.dat
--------------------------------------------------------------------------------
   Bytes Format  Units   Label    Explanations
--------------------------------------------------------------------------------
   1-  2  I2     h       RAh      Right Ascension B1950 (hours)
   4-  5  I2     min     RAm      Right Ascension B1950 (minutes)
   7- 10  F4.1   s       RAs      Right Ascension B1950 (seconds)
      12  A1     ---     DE-      Declination B1950 (sign)
  13- 14  I2     deg     DEd      Declination B1950 (degrees)
  16- 17  I2     arcmin  DEm      Declination B1950 (minutes)
  19- 20  I2     arcsec  DEs      Declination B1950 (seconds)
  23- 27  F5.2   Jy      F151p    Flux density (peak)
--------------------------------------------------------------------------------

Byte-by-byte Description of file: north.dat, *th.dat
--------------------------------------------------------------------------------
   Bytes Format  Units   Label    Explanations
--------------------------------------------------------------------------------
   1- 10  F10.6  deg     RAdeg    Right Ascension in decimal degrees (J2000)
  12- 21  F10.6  deg     DEdeg    Declination in decimal degrees (J2000)
  23- 30  F8.2   mJy     Fint     Integrated flux density at 1.4 GHz
  32- 39  F8.2   mJy     Fpeak    Peak flux density at 1.4 GHz
--------------------------------------------------------------------------------
"""
DESCRIBED = {
    "nvss.dat": "C1234M00 12 34 56.70 -00 12 34.0      1.5     0.5 123456-001234\n"
    "C0000P88 00 00 04.50 +89 01 02.0     -9.9     0.5 000004+890102\n",
    "south.dat": "188.736250  -0.209444     1.50     1.40\n  0.018750  89.017222     0.25     0.20\n",
    "6c6": "12 34 56.7 -00 12 34   1.50\n00 00 04.5 +89 01 02   0.25\n",
}


@pytest.mark.parametrize("name", ["nvss.dat", "south.dat", "nvss.dat.gz"])
def test_a_table_of_cds_is_read_by_the_readme_beside_it(tmp_path, name):
    """Columns as in the ReadMe of VIII/65 (NVSS) and of VIII/48 (FIRST, ``*.dat``) of VizieR, shortened."""
    (tmp_path / "ReadMe").write_text(README)
    path, content = tmp_path / name, DESCRIBED[name.removesuffix(".gz")].encode()
    path.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    table = read_table(path, *OURS)
    assert table.columns["ra_deg"] == pytest.approx(RA, abs=1e-6)
    assert table.columns["dec_deg"] == pytest.approx(DEC, abs=1e-5)
    # -9.9 is a gap.
    flux = [FLUX[0], np.nan] if name.startswith("nvss") else FLUX
    assert table.columns["flux_jy"] == pytest.approx(flux, nan_ok=True)
    assert with_readme(path) == [path, tmp_path / "ReadMe"]
    (tmp_path / "ReadMe").unlink()
    assert with_readme(path) == [path]
    with pytest.raises(ConfigError, match=re.escape(name)):
        read_table(path, *OURS)


def test_a_readme_says_what_its_table_cannot_be_used_for(tmp_path):
    """Columns as in the ReadMe of VIII/25 (6C) of VizieR, whose file has no suffix; astropy is not asked."""
    (tmp_path / "ReadMe").write_text(README)
    (tmp_path / "6c6").write_text(DESCRIBED["6c6"])
    with pytest.raises(ConfigError, match=r"RAh is of the equinox 1950 .*_RAJ2000"):
        read_columns(tmp_path / "6c6", ("ra_deg", "dec_deg"))
    flux = read_columns(tmp_path / "6c6", ("flux_jy",), names={"flux_jy": "F151p"})["flux_jy"]
    assert flux.tolist() == [1.5, 0.25]
    cut = README.replace("   Bytes Format", "   Octets").replace("-" * 80, "...")
    (tmp_path / "ReadMe").write_text(cut)
    with pytest.raises(ConfigError, match="does not describe its columns byte by byte"):
        read_columns(tmp_path / "6c6", ("flux_jy",), names={"flux_jy": "F151p"})


def sexagesimal(names=("ra", "dec")):
    return Table({names[0]: WORDS[0], names[1]: WORDS[1], "flux": np.multiply(FLUX, 1e3) * u.mJy})


def written(folder, kind):
    """A catalogue of the two sources in one of the forms."""
    mjy = np.multiply(FLUX, 1e3)
    contents = {
        "selavy.txt": SELAVY,
        "selavy.islands.txt": ISLANDS,
        "ipac.tbl": IPAC.format(unit="mJy"),
        "mrt.txt": MRT.format(unit="mJy"),
        "cds.dat": MRT.partition("Table: Sources\n")[2].format(unit="mJy"),
        "vizier.tsv": VIZIER.format(m="\t"),
        "vizier.csv": VIZIER.partition("\n\n")[2].format(m=";"),
        "quoted.txt": 'ra dec flux_jy\n"12 34 56.7" "-0 12 34" 1.5e-3\n"0 0 4.5" "89 1 2" 2.5e-4\n',
        "letters.csv": "ra;dec;flux_jy\n12h34m56.7s;-0d12m34s;1.5e-3\n0h0m4.5s;+89\u00b01'2\";2.5e-4\n",
        "parts.csv": "RAh,RAm,RAs,DE-,DEd,DEm,DEs,S\n12,34,56.7,-,0,12,34,1.5\n0,0,4.5,+,89,1,2,.25\n",
        "parts.txt": "RAh RAm RAs DEd DEm DEs flux_jy\n12 34 56.7 -00 12 34 1.5e-3\n0 0 4.5 89 1 2 2.5e-4\n",
        "rdb.tsv": "ra\tdec\tflux_jy\n10S\t10S\t8N\n12:34:56.7\t-0:12:34\t1.5e-3\n0:0:4.5\t89:1:2\t2.5e-4\n",
    }
    path = folder / kind
    if kind in contents:
        return text(path, contents[kind])
    if kind in ("text.fits", "text.vot", "text.ecsv"):
        sexagesimal().write(path, format={"vot": "votable", "ecsv": "ascii.ecsv"}.get(kind[5:]))
    elif kind == "selavy.xml":
        table = sexagesimal(("ra_hms_cont", "dec_dms_cont"))
        table.rename_column("flux", "flux_int")
        table["ra_deg_cont"], table["dec_deg_cont"], table["flux_peak"] = RA, DEC, 1.0
        table.write(path, format="votable")
    elif kind == "skycoord.fits":
        Table({"coord.ra": RA * u.deg, "coord.dec": DEC * u.deg, "flux": FLUX * u.Jy}).write(path)
    else:
        hdus = [fits.PrimaryHDU(), fits.BinTableHDU(Table({"time": [1.0]}), name="HISTORY")]
        columns = Table({"RAJ2000": RA * u.deg, "DEJ2000": DEC * u.deg, "Total_flux": mjy * u.mJy})
        fits.HDUList([*hdus, fits.BinTableHDU(columns, name="SOURCES")]).writeto(path)
    return path


KINDS = (
    *("selavy.txt", "selavy.islands.txt", "selavy.xml", "ipac.tbl", "mrt.txt", "cds.dat", "vizier.tsv"),
    *("vizier.csv", "quoted.txt", "letters.csv", "parts.csv", "parts.txt", "rdb.tsv", "text.fits"),
    *("text.vot", "text.ecsv", "skycoord.fits", "second.fits"),
)


@pytest.mark.parametrize("kind", KINDS)
def test_catalogues_of_finders_and_archives_are_read_as_they_are(tmp_path, kind):
    columns = read_columns(
        written(tmp_path, kind), *OURS, {"flux_jy": "S [mJy]"} if kind == "parts.csv" else {}
    )
    assert columns["flux_jy"] == pytest.approx(FLUX, rel=1e-9)
    assert columns["ra_deg"] == pytest.approx(RA, abs=1e-7)
    assert columns["dec_deg"] == pytest.approx(DEC, abs=1e-6)


def test_angles_in_text_are_those_of_astropy():
    rng = stream(1, "angles")
    sky = SkyCoord(rng.uniform(0, 360, 300) * u.deg, rng.uniform(-90, 90, 300) * u.deg)
    for mark in (":", " ", "hms"):
        ra = sky.ra.to_string("hourangle", sep=mark, precision=7)
        dec = sky.dec.to_string(sep="dms" if mark == "hms" else mark, precision=7)
        found = [parse_angles(*one, None) for one in (("ra_deg", np.array(ra)), ("dec_deg", np.array(dec)))]
        assert np.max(np.abs(found[0] - sky.ra.deg)) < 1e-9
        assert np.max(np.abs(found[1] - sky.dec.deg)) < 1e-9
    words = np.array(["10.5", "", "n/a", "12h", "12 30", "187d30m", "-00 00 30", "\u22121:30", "1e1"], object)
    degrees = [10.5, np.nan, np.nan, 180, 187.5, 187.5, -7.5 / 60, -22.5, 10]
    np.testing.assert_allclose(parse_angles("ra_deg", words, None), degrees, rtol=1e-12)
    assert parse_angles("ra_deg", words[4:5], "deg") == [12.5]
    for wrong in ("187:39:27", "12:61:00", "12:30:61", "a", "12:34:56:78", "1" * 400 + ":0"):
        with pytest.raises(ConfigError, match="no angle"):
            parse_angles("ra_deg", np.array([wrong], object), None)


def test_sizes_classes_and_sources_of_finders(tmp_path):
    table = read_table(text(tmp_path / "s.txt", SELAVY), ("source",), SHAPES)
    columns = {name: values.tolist() for name, values in table.columns.items()}
    assert columns == {
        **{"source": [0, 0], "major_arcsec": [12.5, 11.5], "minor_arcsec": [10, 9], "pa_deg": [33.25, 140.5]}
    }
    names = text(tmp_path / "t.csv", "ra,dec,Source_Name\n1,2,ILT b\n3,4,ILT a\n5,6,ILT b\n7,8,\n")
    numbers = read_columns(names, ("source",))["source"]
    assert numbers[0] == numbers[2] != numbers[1]
    assert np.isnan(numbers[3])
    Table({"ra": [1.0, 2.0], "dec": [1.0, 2.0], "Source_id": ["b", "a"]}).write(tmp_path / "t.fits")
    assert read_columns(tmp_path / "t.fits", ("source",))["source"].tolist() == [1, 0]
    for kind in (pa.string(), pa.large_string()):
        texts = {"ra": pa.array(["0:0:4", "1:0:0"], kind), "Source_id": pa.array(["b", "a"], kind)}
        pq.write_table(pa.table(texts), tmp_path / "t.parquet")
        columns = read_columns(tmp_path / "t.parquet", ("source", "ra_deg"))
        assert columns["source"].tolist() == [1, 0]
        assert columns["ra_deg"].tolist() == pytest.approx([1 / 60, 15])


def test_t_recs_and_the_challenges_have_columns_of_their_own(tmp_path):
    names = "Lum1400 I560 I1400 x_coord y_coord latitude longitude redshift size bmaj bmin PA Rs RadioClass"
    row = [-100, 3, 1.5, 0.1, 0.2, -30, 10, 1, 9, 8, 4, 30, 1, 5]
    path = tmp_path / "trecs.fits"
    columns = {
        name: fits.Column(name, "E", array=[value]) for name, value in zip(names.split(), row, strict=True)
    }
    for name in ("latitude", "longitude"):
        columns[name].unit = "degs"
    fits.BinTableHDU.from_columns([*columns.values()]).writeto(path)
    found = {name: values.item() for name, values in read_columns(path, *OURS).items()}
    assert found == pytest.approx({"flux_jy": 1.5e-3, "ra_deg": 10, "dec_deg": -30})
    other = read_table(path, ("flux_jy",), SHAPES, {"flux_jy": "I560"})
    assert other.columns["flux_jy"] == pytest.approx([3e-3])
    assert {name: other.columns[name].item() for name in SHAPES[:4]} == {
        **{"major_arcsec": 8, "minor_arcsec": 4, "pa_deg": 30, "class": 5}
    }
    assert other.notes == (
        "trecs.fits: nothing states the unit of I560, which is taken as mJy, as T-RECS has it",
    )
    sdc1 = "1 0.1 -30 0.2 -30.5 1e-6 0.5 3 2 20 2 3\n"
    table = read_table(text(tmp_path / "sdc1.txt", sdc1), ("flux_jy",), SHAPES[:4])
    assert [table.columns[name].item() for name in ("flux_jy", *SHAPES[:4])] == [1e-6, 3, 2, 20, 3]
    sdc2 = "id ra dec hi_size line_flux_integral central_freq pa i w20\n1 180 -30 5 20 1.3e9 20 40 200\n"
    path = text(tmp_path / "sdc2.txt", sdc2)
    assert read_columns(path, OURS[1])["ra_deg"] == [180]
    with pytest.raises(ConfigError, match="no column flux_jy; it has central_freq"):
        read_columns(path, *OURS)


SURVEYS = {
    "LoTSS": "Source_Name,RA,DEC,E_RA_tot,E_DEC_tot,Total_flux=,Isl_rms,Mosaic_ID",
    "TGSS": "Source_name,RA,DEC,Total_flux=,RMS_noise,Source_code,Mosaic_name",
    "VLASS": "Component_name,Isl_id,RA,DEC,Total_flux=,Isl_Total_flux,Peak_to_ring",
    "RACS": "Source_Name,Tile_ID,N_Gaus,RA,Dec,Total_flux_Gaussian,Total_flux_Source=",
    "FIRST": "RA,DEC,SIDEPROB,FPEAK,FINT=,RMS",
    "NVSS": "_RAJ2000,_DEJ2000,NVSS,RAJ2000,DEJ2000,S1.4=,e_S1.4",
    "SUMSS": "RAJ2000,DEJ2000,Sp,e_Sp,St=,e_St",
    "Selavy": "component_id,ra_deg_cont,dec_deg_cont,flux_peak,flux_int=",
}


@pytest.mark.parametrize(("survey", "names"), SURVEYS.items())
@pytest.mark.parametrize("value", [3.0, 300.0])
def test_a_survey_that_leaves_out_its_unit_is_known_by_its_columns(tmp_path, survey, names, value):
    row = ",".join(str(value) if name.endswith("=") else "12" for name in names.split(","))
    path = text(tmp_path / "t.csv", f"{names.replace('=', '')}\n{row}\n")
    table = read_table(path, *OURS)
    assert table.columns["flux_jy"] == pytest.approx([value / 1000])
    column = next(name for name in names.split(",") if name.endswith("="))[:-1]
    assert table.notes == (
        f"t.csv: nothing states the unit of {column}, which is taken as mJy, as {survey} has it",
    )
    # Converted to Jy by somebody, under the same names.
    path.write_text(path.read_text().replace(f"{value}", f"{value / 1e6}"))
    with pytest.raises(ConfigError, match=f"in mJy, as {survey} has it, half of the fluxes would be below"):
        read_columns(path, *OURS)
    assert read_columns(path, *OURS, {"flux_jy": f"{column} [Jy]"})["flux_jy"] == pytest.approx([value / 1e6])


@pytest.mark.parametrize("names", ["int_flux_wide,peak_flux_wide", "Fintwide,Fpwide"])
def test_gleam_is_in_jy(tmp_path, names):
    table = read_table(text(tmp_path / "t.csv", f"RAJ2000,DEJ2000,{names}\n1,2,0.5,0.4\n"), *OURS)
    assert (table.columns["flux_jy"].item(), table.notes) == (0.5, ())


@pytest.mark.parametrize("name", ["flux (mJy)", "flux[mJy]", "Total_flux_mJy", "int_flux_mjy"])
def test_a_name_may_end_with_the_unit(tmp_path, name):
    table = read_table(text(tmp_path / "t.csv", f"RA (deg);DEC [deg];{name}\n1;2;250\n"), *OURS)
    assert {ours: values.item() for ours, values in table.columns.items()} == {
        **{"flux_jy": 0.25, "ra_deg": 1, "dec_deg": 2}
    }
    assert table.notes == ()
    path = text(tmp_path / "t.csv", "RA,DEC,S [mJy]\n1,2,250\n")
    assert read_columns(path, *OURS, {"flux_jy": "S [mJy]"})["flux_jy"] == [0.25]


def test_a_flux_without_a_unit_is_asked_about_or_said(tmp_path):
    path = text(tmp_path / "t.csv", "ra,dec,flux\n1,2,3.5\n1,2,0.5\n1,2,1.5\n")
    with pytest.raises(
        ConfigError, match=r"half of its fluxes are above 1\.5, too bright for Jy; state it as"
    ):
        read_columns(path, *OURS)
    assert read_table(path, *OURS, {"flux_jy": "flux [mJy]"}).notes == ()
    stated = read_table(path, *OURS, {"flux_jy": "flux [Jy]"})
    assert stated.notes == ("t.csv: half of the fluxes in flux are above 1.5 Jy; is its unit Jy?",)
    path.write_text("ra,dec,flux\n1,2,3.5e-3\n")
    (note,) = read_table(path, *OURS).notes
    assert note.startswith(
        "t.csv: nothing states the unit of flux, which is taken as Jy (half of the fluxes above"
    )
    # The name says it.
    path.write_text("ra,dec,flux_jy\n1,2,3.5e-3\n")
    assert read_table(path, *OURS).notes == ()


def test_numbers_without_names_are_sdc1_only_where_they_fit(tmp_path):
    path = text(tmp_path / "t.txt", "1 0.1 -30 0.2 -30.5 1e-6 0.5 3 2 20 2 3\n")
    assert read_table(path, *OURS).notes == (
        "t.txt: its columns have no names and are taken as those of SDC1, flux in Jy",
    )
    path.write_text(" ".join(map(str, range(12))) + "\n")
    with pytest.raises(
        ConfigError, match="12 columns have no names and its first row does not fit those of SDC1"
    ):
        read_columns(path, *OURS)
    header = (
        "ID RA (core) DEC (core) RA (centroid) DEC (centroid) FLUX Core frac BMAJ BMIN PA SIZE CLASS SEL x y"
    )
    path.write_text(f"{header}\n1 0.1 -30 0.2 -30.5 1e-6 0.5 3 2 20 2 3 1 100 200\n")
    columns = read_columns(path, *OURS)
    assert [values.item() for values in columns.values()] == [1e-6, 0.2, -30.5]
    path.write_text("ra dec flux\n12 34 56 -1 2 3 1e-3\n")
    with pytest.raises(ConfigError, match="first line names 3 columns and the first row has 7"):
        read_columns(path, *OURS)
    path.write_text("ra;dec;flux_jy\nrow 1;1;2;1e-3\n")
    with pytest.raises(ConfigError, match="first line names 3 columns and the first row has 4"):
        read_columns(path, *OURS)
    path.write_text("ra dec flux_jy notes\n1 2 1e-3 seen by eye\n")
    assert read_columns(path, *OURS)["flux_jy"] == [1e-3]


def test_a_flux_of_sofia_is_used_where_its_unit_is_one_of_flux(tmp_path):
    path = text(tmp_path / "t.txt", SOFIA.format(unit="mJy", a=1.5, b=0.25))
    assert read_columns(path, OURS[1])["ra_deg"] == pytest.approx(RA)
    assert read_columns(path, *OURS)["flux_jy"] == pytest.approx(FLUX)
    path.write_text(SOFIA.format(unit="Jy*Hz", a=1.5, b=0.25))
    with pytest.raises(ConfigError, match=r"f_sum has the unit Jy\*Hz instead of Jy"):
        read_columns(path, *OURS)


def test_masked_fluxes_are_rows_that_are_never_placed(tmp_path):
    flux = np.ma.array([0.5, 0.25, 0.125], mask=[False, True, False])
    table = Table({"flux_jy": flux, "ra_deg": [1.0, 1.0, 2.0], "dec_deg": [0.0, 0.0, 0.0]})
    for kind in ("null_value", "data_mask"):
        table.write(tmp_path / "t.ecsv", serialize_method=kind, overwrite=True)
        catalogue = SourceCatalogue.read(tmp_path / "t.ecsv")
        assert catalogue.notes == ("t.ecsv: 1 rows have no flux, the first is row 2; none is placed",)
        assert catalogue.rows_in((5, 5), lambda ra, dec: (ra, dec)).tolist() == [0, 2]
    table["flux_jy"].mask = True
    table.write(tmp_path / "t.ecsv", overwrite=True)
    with pytest.raises(ConfigError, match="every flux_jy must be a positive number"):
        SourceCatalogue.read(tmp_path / "t.ecsv")


def test_of_several_tables_the_one_with_the_columns_is_read(tmp_path):
    path = written(tmp_path, "second.fits")
    with fits.open(path) as hdus:
        hdus.append(hdus[2].copy())
        hdus[3].name = "GAUSSIANS"
        hdus.writeto(tmp_path / "three.fits")
    with pytest.raises(
        ConfigError, match=r"2 of its tables could be meant \(HDU 2 SOURCES; HDU 3 GAUSSIANS\)"
    ):
        read_columns(tmp_path / "three.fits", *OURS)
    for table in ("3", "gaussians"):
        chosen = read_columns(tmp_path / "three.fits", *OURS, names={"table": table})
        assert chosen["flux_jy"] == pytest.approx(read_columns(path, *OURS)["flux_jy"])
    with pytest.raises(ConfigError, match="columns: table: 7 is none of its tables"):
        read_columns(tmp_path / "three.fits", *OURS, names={"table": "7"})
    with pytest.raises(ConfigError, match="leave it out"):
        read_columns(written(tmp_path, "vizier.csv"), *OURS, names={"table": "1"})
    assert read_columns(tmp_path / "three.fits", ("time",))["time"].tolist() == [1]
    with pytest.raises(ConfigError, match="no column source"):
        read_columns(tmp_path / "three.fits", ("source",))


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("t.txt", MRT.format(unit="10+9999m"), "'10[+]9999m' is no unit"),
        ("t.txt", MRT.replace("22- 25", "22-99999999").format(unit="mJy"), "ends at byte 99999999"),
        ("t.txt", MRT.replace("22- 25", "22-999999").format(unit="mJy"), "ends at byte 999999"),
        ("t.txt", MRT.partition("   Bytes")[0], "byte by byte"),
        ("t.txt", MRT.format(unit="mJy").replace("1.4 GHz", " " * 999), "byte by byte"),
        ("t.tbl", IPAC.format(unit="10**9999"), "is no unit"),
        ("t.tbl", IPAC.format(unit="mJy") + "|a|\n" * 9, "not that of an IPAC table"),
        ("t.csv", "ra,dec,flux_jy\n12:34:56,95:00:00,1\n", "dec_deg is 95 in a row"),
        ("t.csv", "RAh,RAm,RAs,DEd,flux_jy\n1,61,0,2,1\n", "ra_deg has 61 minutes or seconds"),
        ("t.csv", "ra,dec,flux_jy\n12:34:56,-1,x\n", "row 1 has 'x' in the column flux_jy"),
    ],
)
def test_impossible_tables_are_refused_in_one_line(tmp_path, name, content, match):
    with pytest.raises(ConfigError, match=match) as caught:
        read_columns(text(tmp_path / name, content), *OURS)
    assert "\n" not in str(caught.value)


def test_tables_that_are_cut_in_python_are_bounded(tmp_path, monkeypatch):
    path = written(tmp_path, "ipac.tbl")
    monkeypatch.setattr(ascii_tables, "MOST_CELLS", 10)
    with pytest.raises(ConfigError, match="7 rows of 4 columns are more than is read"):
        read_columns(path, *OURS)
    monkeypatch.setattr(ascii_tables, "MOST_BYTES", 10)
    with pytest.raises(ConfigError, match="of this kind, at most 0 MB are read"):
        read_columns(path, *OURS)


@pytest.mark.parametrize("count", [15, pytest.param(3000, marks=pytest.mark.soak)])
@pytest.mark.parametrize(
    "kind", ["selavy.txt", "ipac.tbl", "mrt.txt", "vizier.tsv", "letters.csv", "text.fits"]
)
def test_lying_tables_are_refused_in_one_line_or_read(tmp_path, kind, count):
    path = written(tmp_path, kind)
    content, refused = path.read_bytes(), 0
    for seed in range(count):
        path.write_bytes(mutated(content, seed))
        line = f"{path}: "
        try:
            columns = read_columns(path, *OURS)
        except ConfigError as error:
            columns, line = {}, str(error)
            refused += 1
        assert line.startswith(f"{path}: ")
        assert "\n" not in line
        assert all(values.dtype == np.float64 and values.ndim == 1 for values in columns.values())
    assert refused


WSCLEAN = """\
Format = Name, Type, Ra, Dec, I, SpectralIndex, LogarithmicSI, ReferenceFrequency='1.5e8', MajorAxis, \
MinorAxis, Orientation
s0c0,POINT,12:34:56.7,-00.12.34.0,0.0015,[-0.1,0.02],false,148500000,,,
s0c1,GAUSSIAN,00:00:04.5,+89.01.02,0.00025,[-0.1,0.02],false,,12.5,10,33.25
"""
BBS = """\
# (Name, Type, Patch, Ra, Dec, I='0.00025', Q, MajorAxis, MinorAxis, Orientation) = format

 , , north, 00:00:00, +89.00.00
a, POINT, south, 12:34:56.7, -00.12.34, 0.0015
b, GAUSSIAN, north, 00:00:04.5, 89.01.02, , 0.0, 12.5, 10, 33.25
"""


def test_names_with_accents_older_programs_and_packed_files(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("name ra dec flux_jy\nB\u00e9 188.73625 -0.20944444 1.5e-3\n".encode("cp1252"))
    assert read_columns(path, *OURS)["flux_jy"] == pytest.approx([1.5e-3])
    # The head of a list of PyBDSM 1.8.6.
    path.write_text(
        "# Source list for map.fits\n# Generated by PyBDSM version 1.8.6\n# Equinox : 2000.0 \n\n"
        "# Source_id Isl_id RA E_RA DEC E_DEC Total_flux E_Total_flux\n  0 0 188.7 0 -0.2 0 0.012 0.001\n"
    )
    assert read_table(path, *OURS).notes == ()
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"ra,dec,flux_jy\n1,2,3\n"))
    with pytest.raises(ConfigError, match=r"a\.csv\.gz: .*unpack it \(gunzip\)"):
        read_columns(tmp_path / "a.csv.gz", *OURS)


@pytest.mark.parametrize(("suffix", "words"), [("txt", WSCLEAN), ("skymodel", BBS)])
def test_lists_of_components_of_wsclean_and_bbs(tmp_path, suffix, words):
    path = tmp_path / f"list.{suffix}"
    path.write_text(words)
    table = read_table(path, *OURS)
    assert table.columns["ra_deg"] == pytest.approx(RA, abs=1e-8)
    assert table.columns["dec_deg"] == pytest.approx(DEC, abs=1e-8)
    assert table.columns["flux_jy"] == pytest.approx(FLUX)
    assert any("each of which is taken for a source" in note for note in table.notes)
    assert not any("unit" in note for note in table.notes)
    catalogue = SourceCatalogue.read(path)
    assert catalogue.flux_jy == pytest.approx(FLUX)
    assert catalogue.major_arcsec == pytest.approx([0, 12.5])
    assert catalogue.minor_arcsec[1] == pytest.approx(10)
    assert catalogue.pa_deg[1] == pytest.approx(33.25)


LISTS = {
    # WSClean 2.4, as its manual shows the file of -save-source-list, and LOFAR's pipeline of 2018 with
    # WSClean 2.5, whose right ascensions may be negative.
    "wsclean": (
        """\
Format = Name, Type, Ra, Dec, I, SpectralIndex, LogarithmicSI, ReferenceFrequency='125584411.621094', \
MajorAxis, MinorAxis, Orientation
s0c0,POINT,08:28:05.152,39.35.08.511,0.000748810650400475,[-0.00695379313004673,-0.0849693907803257],false,\
125584411.621094,,,
s0c1,POINT,-06:43:21.08,53.35.14.76,0.024961,[0.1590465,-8.084777],false,143489951.1033762,,,
""",
        ("08h28m05.152s +39d35m08.511s", "17h16m38.92s +53d35m14.76s"),
        (0.000748810650400475, 0.024961),
    ),
    # LSMTool 1.7, with its own comments and a patch.
    "lsmtool": (
        """\
FORMAT = Name, Type, Patch, Ra, Dec, I, Q, U, V, ReferenceFrequency='60000000.0', SpectralIndex='[0.0]', \
MajorAxis, MinorAxis, Orientation

# LSMTool history:
# 2026-09-07 17:40:05: GROUP (algorithm = 'single')

 , , Patch, 13:19:56.2896, 44.30.55.4040
1319.9+4430, POINT, Patch, 13:19:56.2896, 44.30.55.404, 0.7598, 0.0, 0.0, 0.0,  , [-1.2282, 0.2434], 0.0, \
0.0, 0.0
""",
        ("13h19m56.2896s +44d30m55.404s",),
        (0.7598,),
    ),
    # gsm.py of the LOFAR software, whose names have colons.
    "gsm": (
        """\
format = Name, Type, Ra, Dec, I, Q, U, V, MajorAxis, MinorAxis, Orientation, ReferenceFrequency='60e6', \
SpectralIndexDegree='0', SpectralIndex:0='0.0', SpectralIndex:1='0.0'
1, POINT, 08:28:05.152, +39.35.08.511, 1.5, , , , , , , , , -0.7,
""",
        ("08h28m05.152s +39d35m08.511s",),
        (1.5,),
    ),
    # DP3 6: carriage returns, and numbers without a unit, which are radians.
    "dp3": (
        "FORMAT = Name, Type, Ra, Dec, I, Q, U, V, MajorAxis, MinorAxis, Orientation\r\n"
        "point-0, POINT, 0.4362457236387493, 0.5287469737178224, 1.0, 0, 0, 0, , , \r\n",
        ("24.995038795d 30.294970024d",),
        (1.0,),
    ),
    # OSKAR 2.12: units behind numbers, or degrees by the name; brackets round the names.
    "oskar": (
        "Format= (Name, Type, Ra, Dec, I)\na,POINT,20.5deg,-30.25deg,0.5\nb,POINT,0.1rad,-0.2rad,0.25\n",
        ("20.5d -30.25d", "5.729577951d -11.459155903d"),
        (0.5, 0.25),
    ),
    "oskar in degrees": (
        "# (RaD,DecD,Name,Type,I) = format\n20.5,-30.25,a,POINT,0.5\n",
        ("20.5d -30.25d",),
        (0.5,),
    ),
}


@pytest.mark.parametrize("kind", LISTS)
def test_lists_of_components_as_programs_wrote_them(tmp_path, kind):
    words, places, fluxes = LISTS[kind]
    path = tmp_path / "model.skymodel"
    path.write_bytes(words.encode())
    columns = read_columns(path, *OURS)
    found = SkyCoord(columns["ra_deg"], columns["dec_deg"], unit="deg")
    assert found.separation(SkyCoord([*places])).arcsec.max() < 1e-3
    assert columns["flux_jy"].tolist() == [*fluxes]


def test_negative_components_centre_cutouts_and_are_no_fluxes(tmp_path):
    words, places, _ = LISTS["wsclean"]
    path = tmp_path / "model-sources.txt"
    path.write_text(words.replace("0.024961", "-0.024961"))
    columns = read_columns(path, ["ra_deg", "dec_deg"])
    found = SkyCoord(columns["ra_deg"], columns["dec_deg"], unit="deg")
    assert found.separation(SkyCoord([*places])).arcsec.max() < 1e-3
    with pytest.raises(ConfigError, match=r"1 of 2 rows .*catalogue of sources\): row 2 \(-0.02496\)"):
        SourceCatalogue.read(path)


@pytest.mark.parametrize("names", [("GLON", "GLAT"), ("l", "b"), ("RAB1950", "DEB1950"), ("_Glon", "_Glat")])
def test_columns_of_another_frame_are_no_positions(tmp_path, names):
    path = tmp_path / "t.csv"
    path.write_text(f"{names[0]},{names[1]},lon,lat\n150,-40,150,-40\n")
    with pytest.raises(ConfigError, match=rf"columns.ra_deg: {names[0]} is galactic.*SkyCoord"):
        read_table(path, ["ra_deg", "dec_deg"], (), {"ra_deg": names[0], "dec_deg": names[1]})
    assert read_table(path, ["ra_deg", "dec_deg"], (), {"ra_deg": "lon", "dec_deg": "lat"}).columns[
        "ra_deg"
    ] == [150]


@pytest.mark.parametrize(
    ("words", "match"),
    [
        ("Format = Name, Type\na, POINT, 1\n", "no column flux_jy; it has Name, Type"),
        ("Format = Name, Type, Ra, Dec, I\na,POINT,0,1,1,2\n", "names 5 values and a row has 6"),
        ("Format = Name Type Ra Dec I\na POINT 0 1 1\n", "divide its names by commas"),
        ("Format = Name, Type, Ra, Dec, I\na,POINT,0,1,bright\n", "row 1 has 'bright' in the column I"),
    ],
)
def test_lists_of_components_that_are_wrong(tmp_path, words, match):
    path = tmp_path / "list.txt"
    path.write_text(words)
    with pytest.raises(ConfigError, match=match):
        read_columns(path, *OURS)
