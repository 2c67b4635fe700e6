"""Other programs open every product that the README says they do, and what they find is the truth.

The Python packages are the extra ``interop``; STILTS (the library of TOPCAT) and fitsverify are Debian's.
"""

import importlib.util
import io
import json
import shutil
import subprocess
import sys
import warnings

import numpy as np
import pyarrow.parquet as pq
import pytest
from astropy.coordinates import Angle, SkyCoord
from astropy.io import fits
from astropy.io.votable import parse
from astropy.table import Table
from astropy.wcs import WCS

from astro_dist.sky.noise import beam_noise
from astro_dist.sky.windows import Window
from tests.end_to_end.conftest import ROOT
from tests.field.small_sky import BEAM, PIXEL, RMS, assemble, make_run
from tests.sky.small_maps import open_map

SHAPE = (220, 240)
RIGHT = Angle(90, "deg")


def need(*programs):
    """Skip a test whose programs are not installed, saying how they are."""
    for name in programs:
        if name in ("stilts", "fitsverify"):
            if shutil.which(name) is None:
                pytest.skip(f"{name} is not installed; apt-get install {name}")
        elif importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed; pip install -e '.[interop]'")


def ask(name, path):
    """Return what a program of `finders` reads of a map, in a process of its own."""
    line = [sys.executable, "-m", "tests.end_to_end.finders", name, str(path)]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def call(*words, given=None):
    done = subprocess.run(list(map(str, words)), input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def field(tmp_path_factory):
    """The folder of a field of bright sources, each compact one of one peak and each extended one of two."""
    flux = {"scale": 20.0, "minimum": 10.0, "cap": 200.0}
    run = make_run(tmp_path_factory.mktemp("bright"), shape=SHAPE, objects=16, flux=flux)
    assemble(run)
    return run.root / "field"


def images(field, toy_run):
    """Return the maps of brightness: of a bright field, a dim one, and the simulated survey."""
    return [
        field / "map.fits",
        toy_run[0] / "field/map.fits",
        *(toy_run[0] / "maps").glob("simulated-??.fits"),
    ]


@pytest.fixture(scope="module")
def truth(field):
    return Table.read(field / "truth.fits")


@pytest.fixture(scope="module")
def turned(tmp_path_factory):
    """The folder of such a field on a map that is turned by 50 degrees, whose header has CDELT and PC."""
    folder = tmp_path_factory.mktemp("turned")
    noise = beam_noise(Window.of_shape(SHAPE), BEAM, PIXEL, 99, ("turned",)) * RMS
    open_map(folder / "real.fits", noise, (2.0, 2.0), (30.0, -45.0), CROTA2=50.0)
    flux = {"scale": 20.0, "minimum": 10.0, "cap": 200.0}
    background = {"kind": "map", "path": str(folder / "real.fits")}
    run = make_run(folder / "run", shape=[7, 7], objects=16, flux=flux, background=background)
    assemble(run)
    return run.root / "field"


PROGRAMS = pytest.mark.parametrize(("program", "module"), [("pybdsf", "bdsf"), ("aegean", "AegeanTools")])


@PROGRAMS
def test_a_source_finder_finds_the_truth(field, truth, program, module):
    need(module)
    found = ask(program, field / "map.fits")
    assert found["beam_deg"] == pytest.approx([BEAM.major_arcsec / 3600, BEAM.minor_arcsec / 3600, 0])
    if program == "pybdsf":
        assert found["frequency_hz"] == 1.4e9
    check_found(found, truth, field)


@PROGRAMS
def test_a_source_finder_finds_the_truth_of_a_turned_map(request, program, module):
    need(module)
    field = request.getfixturevalue("turned")
    header = fits.getheader(field / "map.fits")
    assert (header["CDELT1"], header["CDELT2"]) == pytest.approx((-2 / 3600, 2 / 3600))
    assert header["PC1_2"] == pytest.approx(-header["PC2_1"])
    assert abs(header["PC1_2"]) == pytest.approx(np.sin(np.radians(50)))
    found = ask(program, field / "map.fits")
    assert found["beam_deg"][:2] == pytest.approx([BEAM.major_arcsec / 3600, BEAM.minor_arcsec / 3600])
    check_found(found, Table.read(field / "truth.fits"), field)


def test_casacore_reads_a_turned_map_as_casa_and_carta_do(request):
    need("casacore")
    path = request.getfixturevalue("turned") / "map.fits"
    corner = WCS(fits.getheader(path)).pixel_to_world(0, 0)
    found = np.degrees(ask("casacore", path)["corner_rad"])
    assert found == pytest.approx([corner.dec.deg, corner.ra.deg], abs=1e-9)


def check_found(found, truth, field):
    """Compare the sources that a program found with the truth of a field."""
    table = Table(found["sources"])
    is_double = np.asarray(truth["class_name"] == "extended")
    assert len(table) == len(truth) + is_double.sum()
    # Every source that was found lies on the pixels of one of the truth, and none of the truth is left out.
    with fits.open(field / "instances.fits") as hdus:
        wcs, instances = WCS(hdus[0].header), hdus[0].data
    x, y = wcs.world_to_pixel_values(table["ra_deg"], table["dec_deg"])
    ids = instances[np.rint(y).astype(int), np.rint(x).astype(int)]
    assert sorted(ids) == sorted([*truth["id"], *truth["id"][is_double]])
    flux = np.bincount(ids, table["flux_jy"])[truth["id"]]
    assert flux.sum() == pytest.approx(truth["flux_jy"].sum(), rel=0.1)
    # At a signal-to-noise of s a Gaussian has an error of width/(2 s) of its place. That of its flux is 2.3/s
    # where widths are fitted and the noise has the beam's width (300 ideal beams in this noise). Four times
    # these are allowed.
    one = ~is_double
    place = [int(np.flatnonzero(ids == number)[0]) for number in truth["id"][one]]
    was = SkyCoord(truth["ra_deg"][one], truth["dec_deg"][one], unit="deg")
    now = SkyCoord(table["ra_deg"][place], table["dec_deg"][place], unit="deg")
    snr = np.asarray(truth["snr"][one])
    assert (was.separation(now).arcsec * snr < 4 * BEAM.major_arcsec / 2).all()
    assert (abs(flux[one] / truth["flux_jy"][one] - 1) * snr < 4 * 2.3).all()


def test_sep_finds_every_source(field, truth):
    need("sep")
    import sep

    with fits.open(field / "map.fits") as hdus:
        image = hdus[0].data.astype("f4")
    found = sep.extract(image, 5.0, err=RMS)
    instances = fits.getdata(field / "instances.fits")
    ids = instances[np.rint(found["y"]).astype(int), np.rint(found["x"]).astype(int)]
    assert set(truth["id"]) <= {int(i) for i in ids} <= {0, *truth["id"]}


@pytest.mark.parametrize("name", ["map.fits", "mask.fits", "instances.fits"])
def test_casacore_reads_an_image_as_casa_and_carta_do(field, name):
    need("casacore")
    found = ask("casacore", field / name)
    with fits.open(field / name) as hdus:
        image, header = hdus[0].data, hdus[0].header
    assert (found["shape"], found["unit"]) == (list(SHAPE), header.get("BUNIT", ""))
    assert found["axes"] == [["Declination", "Right Ascension"]]
    assert found["beam"]["major"] == [pytest.approx(BEAM.major_arcsec), "arcsec"]
    corner = WCS(header).pixel_to_world(0, 0)
    assert np.degrees(found["corner_rad"]) == pytest.approx([corner.dec.deg, corner.ra.deg], abs=1e-9)
    assert found["sum"] == pytest.approx(image.sum(dtype="f8"), rel=1e-6)


def test_spectral_cube_and_radio_beam_read_every_map(field, toy_run):
    with warnings.catch_warnings():
        # At its import alone it uses what astropy is to lose.
        warnings.simplefilter("ignore")
        from radio_beam import Beam as RadioBeam
        from spectral_cube import Projection
    for path in images(field, toy_run):
        with fits.open(path) as hdus:
            plane = Projection.from_hdu(hdus[0])
            assert (plane.shape, str(plane.unit)) == (hdus[0].data.shape, "Jy / beam")
            assert plane.beam == RadioBeam.from_fits_header(hdus[0].header)
            assert plane.wcs.wcs.restfrq == 1.4e9


@pytest.mark.parametrize(
    ("name", "form", "label"), [("truth.reg", "ds9", "text"), ("truth.crtf", "crtf", "label")]
)
def test_the_regions_lie_on_the_sources(field, truth, name, form, label):
    need("regions")
    from regions import PixCoord, Regions

    with fits.open(field / "instances.fits") as hdus:
        wcs, instances = WCS(hdus[0].header), hdus[0].data
    y, x = np.indices(SHAPE)

    def overlap(ellipse, number):
        covered = ellipse.to_pixel(wcs).contains(PixCoord(x, y))
        return (covered & (instances == number)).sum() / (covered | (instances == number)).sum()

    ellipses = Regions.read(field / name, format=form)
    assert len(ellipses) == len(truth)
    overlaps = []
    for row, ellipse in zip(truth, ellipses, strict=True):
        assert str(ellipse.meta[label]).split()[-1] == str(row["id"])
        assert ellipse.center.separation(SkyCoord(row["ra_deg"], row["dec_deg"], unit="deg")).arcsec < 1e-3
        # Full axes, though both files hold halves. The first axis of CRTF is the height and not the width.
        axes = sorted((v.to_value("arcsec") for v in (ellipse.width, ellipse.height)), reverse=True)
        assert axes == pytest.approx([row["major_arcsec"], row["minor_arcsec"]], abs=2e-3)
        turned = [
            ellipse.copy(angle=angle) for angle in (ellipse.angle, -ellipse.angle, ellipse.angle + RIGHT)
        ]
        overlaps.append([overlap(one, row["id"]) for one in turned])
    right, mirrored, across = np.transpose(overlaps)
    assert (right > 0.1).all()
    is_double = np.asarray(truth["class_name"] == "extended")
    assert (right > across)[is_double].all()
    # A double along an axis of the image is its own mirror image.
    assert right[is_double].mean() > 1.3 * mirrored[is_double].mean()


def test_the_regions_of_casa_are_those_of_ds9(field):
    need("regions")
    from regions import Regions

    ds9 = Regions.read(field / "truth.reg", format="ds9")
    crtf = Regions.read(field / "truth.crtf", format="crtf")
    # CASA's ellipses: the first half axis points north, where DS9's points west; `regions` calls it height.
    for ellipse, casa in zip(ds9, crtf, strict=True):
        assert casa.center.separation(ellipse.center).arcsec < 1e-3
        assert (casa.height, casa.width) == (ellipse.width, ellipse.height)
        assert abs((casa.angle - ellipse.angle).to_value("deg") % 180 - 90) < 0.02
        assert casa.meta["label"].split()[1] == str(ellipse.meta["text"])


def test_fitsverify_has_nothing_to_say(field, toy_run):
    need("fitsverify")
    files = [*field.glob("*.fits"), *toy_run[0].rglob("*.fits")]
    said = call("fitsverify", "-q", *files).splitlines()
    assert len(said) == len(files) > 8
    assert all(line.startswith("verification OK:") and "warning" not in line for line in said)


TABLES = ("field/truth.fits", "annotations/measured.fits", "maps/simulated-00.truth.fits")
WITHOUT_UNIT = {"k", "snr", "donor_snr", "integrated_snr", "spectral_index", "core_fraction", "size_factor"}


@pytest.mark.parametrize("name", TABLES)
def test_stilts_and_topcat_show_units_ucds_and_descriptions(toy_run, name):
    need("stilts")
    header = fits.getheader(toy_run[0] / name, 1)
    # Without the parameters of the table: astropy does not read HISTORY as STILTS writes it.
    line = ["tpipe", f"in={toy_run[0] / name}", "cmd=clearparams *", "ofmt=votable", "out=-"]
    votable = call("stilts", *line)
    # `votlint` checks the UCDs and units that STILTS took from the cards of the FITS table.
    assert call("stilts", "votlint", "-", given=votable) == ""
    fields = list(parse(io.BytesIO(votable.encode())).get_first_table().fields)
    assert len(fields) == header["TFIELDS"]
    for number, field in enumerate(fields, 1):
        said = [header[f"{key}{number}"] for key in ("TTYPE", "TUCD", "TCOMM")]
        assert [field.name, field.ucd, field.description] == said
        if header[f"TFORM{number}"] in "DE" and field.name not in WITHOUT_UNIT:
            assert field.unit is not None, field.name


def test_parquet_carries_units_ucds_and_descriptions(toy_run):
    for path in (toy_run[0] / "field").glob("*.parquet"):
        for field in pq.read_schema(path):
            assert field.metadata[b"description"]
            assert field.metadata[b"ucd"]
    header = fits.getheader(toy_run[0] / "field/truth.fits", 1)
    for number, field in enumerate(pq.read_schema(toy_run[0] / "field/truth.parquet"), 1):
        assert field.name == header[f"TTYPE{number}"]
        assert field.metadata.get(b"unit", b"").decode() == header.get(f"TUNIT{number}", "")


def test_votlint_has_nothing_to_say(toy_run):
    need("stilts")
    assert call("stilts", "votlint", toy_run[0] / "field/truth.vot") == ""
