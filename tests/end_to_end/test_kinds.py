"""Maps of every kind through the commands: `annotate` and `cutouts`, and a field on a map of each frame.

One sky, known to the test, is written in the way of each kind; what the commands publish must be that sky.
"""

import contextlib
import gzip
import io
import json
import math
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from astropy.wcs.utils import pixel_to_skycoord

from astro_dist import cli
from astro_dist.engine.files import tree_digests
from astro_dist.field.columns import read_columns_file
from astro_dist.sky.beams import Beam, Pixel
from astro_dist.sky.config import AnnotateConfig, MapsConfig
from astro_dist.sky.finder import find_islands
from astro_dist.sky.maps import SkyMap
from astro_dist.sky.noise import beam_noise
from astro_dist.sky.windows import Window
from astro_dist.store.reader import StoreReader
from astro_dist.store.schema import Flag
from tests.end_to_end.conftest import TRAIN_TINY, shrunk
from tests.sky.small_maps import angles_on_sky, apart, header_of

SHAPE, RMS, BEAM, PIXEL = (180, 200), 1e-4, Beam(8.0, 8.0), Pixel(2.0, 2.0)
PLACES = np.array([(40, 50), (45, 150), (90, 100), (140, 60), (135, 140)])
# Full widths with the beam in pixels, and angle from +y to -x; fluxes in Jy.
LONG, SHORT, ANGLE, FLUXES = 9.0, 4.0, 35.0, np.array([0.02, 0.03, 0.05, 0.04, 0.025])
OUTSIDE = np.hypot(np.indices(SHAPE)[0] - 90, np.indices(SHAPE)[1] - 100) > 88
AREA_PIX = BEAM.area_pix(PIXEL)


def planted():
    """The sky in Jy/beam: noise, and five elongated sources of known flux."""
    y, x = np.indices(SHAPE)
    image = beam_noise(Window.of_shape(SHAPE), BEAM, PIXEL, 7, ("kinds",)) * RMS
    turn = math.radians(ANGLE)
    for (row, column), flux in zip(PLACES, FLUXES, strict=True):
        along = (y - row) * math.cos(turn) - (x - column) * math.sin(turn)
        across = (y - row) * math.sin(turn) + (x - column) * math.cos(turn)
        peak = flux * AREA_PIX / (np.pi / (4 * math.log(2)) * LONG * SHORT)
        image += peak * np.exp(-4 * math.log(2) * ((along / LONG) ** 2 + (across / SHORT) ** 2))
    return image.astype(np.float32)


SKY = planted()


def header(centre=(150.0, -40.0), kind=("RA---SIN", "DEC--SIN"), drop=(), **cards):
    found = header_of(SHAPE, (2.0, 2.0), centre, kind, **cards)
    for key in drop:
        del found[key]
    return found


def write(folder, *hdus, name="map.fits"):
    # Headers of users need not be right.
    fits.HDUList([*hdus]).writeto(folder / name, output_verify="ignore")
    return {"files": [str(folder / name)]}


def plain(folder, image=SKY, **how):
    return write(folder, fits.PrimaryHDU(image, header(**how)))


def marked(folder, mark, image=SKY, **cards):
    return plain(folder, np.where(OUTSIDE, np.float32(mark), image), **cards)


def hidden_mark(folder):
    """A fill value of 0.3 below a source of 100 Jy."""
    y, x = np.indices(SHAPE)
    bright = SKY + 100 * np.exp(-4 * math.log(2) * ((y - 90) ** 2 + (x - 40) ** 2) / 16).astype(np.float32)
    return marked(folder, 0.3, bright)


def with_blank(folder):
    settings = marked(folder, -9.223372e18)
    path = folder / "map.fits"
    content = path.read_bytes()
    # As text: astropy writes no such card.
    end = f"{'END':80}".encode()
    card = f"{'BLANK   =        -9.223372E+18':80}".encode() + end
    path.write_bytes(content.replace(end + b" " * 80, card, 1))
    return settings


def with_preview(folder):
    return write(folder, fits.PrimaryHDU(np.zeros((60, 60), np.uint8)), fits.ImageHDU(SKY, header()))


def with_table_of_beams(folder):
    columns = [
        fits.Column("BMAJ", "1E", "arcsec", array=[8.0]),
        fits.Column("BMIN", "1E", "arcsec", array=[8.0]),
        fits.Column("BPA", "1E", "deg", array=[30.0]),
        fits.Column("CHAN", "1J", array=[0]),
        fits.Column("POL", "1J", array=[0]),
    ]
    table = fits.BinTableHDU.from_columns(columns, name="BEAMS")
    return write(folder, fits.PrimaryHDU(SKY, header(drop=("BMAJ", "BMIN", "BPA"), CASAMBM=True)), table)


def with_history(folder, line):
    found = header(drop=("BMAJ", "BMIN", "BPA"))
    for part in line.split("\n"):
        found["HISTORY"] = part
    return write(folder, fits.PrimaryHDU(SKY, found))


PUTHEAD = "\n".join(
    f"PUTHEAD {key:8} =  {value:.5E}      / {when}"
    for key, old, new in (("BMAJ", 1e-3, 8 / 3600), ("BMIN", 1e-3, 8 / 3600), ("BPA", 0, 30))
    for when, value in (("old", old), ("new", new))
)


def with_scale(folder):
    """Whole numbers of which none stands for zero, so that zeros become another small number."""
    image = np.where(OUTSIDE, 0, SKY)
    low, high = float(image.min()), float(image.max())
    step, middle = (high - low) / 65000, (high + low) / 2
    settings = plain(folder, np.round((image - middle) / step).astype(np.int16))
    with fits.open(folder / "map.fits", mode="update", do_not_scale_image_data=True) as hdus:
        hdus[0].header["BSCALE"], hdus[0].header["BZERO"] = step, middle
    return settings


def as_text(folder):
    turn = math.radians(50)
    matrix = {"PC01_01": math.cos(turn), "PC01_02": -math.sin(turn)}
    matrix |= {"PC02_01": math.sin(turn), "PC02_02": math.cos(turn)}
    return plain(folder, CRVAL1="150.0", CDELT1=str(-2 / 3600), **matrix)


def inherited(folder):
    first = fits.PrimaryHDU(header=header(drop=("CTYPE1", "CTYPE2")))
    second = header(drop=("BUNIT", "BMAJ", "BMIN", "BPA", "RESTFRQ"), INHERIT=True)
    return write(folder, first, fits.ImageHDU(SKY, second))


def as_cube(folder):
    freq = {"CTYPE3": "FREQ", "CRVAL3": 1.0e9, "CDELT3": 1e7, "CRPIX3": 3.0, "CUNIT3": "Hz"}
    noise = np.random.default_rng(3).normal(0, RMS, (4, *SHAPE)).astype(np.float32)
    noise[2] = SKY
    return write(folder, fits.PrimaryHDU(noise, header(drop=("RESTFRQ",), **freq))) | {"plane": 2}


def in_folders(folder):
    found = []
    for name, ra in (("P10", 150.0), ("P11", 160.0)):
        (folder / name).mkdir()
        found += plain(folder / name, centre=(ra, -40.0))["files"]
    return {"files": found}


def packed(folder):
    plain(folder)
    content = (folder / "map.fits").read_bytes()
    (folder / "map.fits.gz").write_bytes(gzip.compress(content, 1))
    return {"files": [str(folder / "map.fits.gz")]}


def with_noise(folder):
    write(
        folder,
        fits.PrimaryHDU(np.full(SHAPE, RMS * 1e3, np.float32), header(BUNIT="mJy/beam")),
        name="rms.fits",
    )
    return plain(folder) | {"rms_files": [str(folder / "rms.fits")]}


KELVIN = 1.222e24 / (1.4e9 * 8.0) ** 2
"""K per Jy/beam at 1.4 GHz in a beam of 8 arcsec, by the usual rule of thumb (to 0.05 %)."""
SR_PER_BEAM = math.pi / (4 * math.log(2)) * math.radians(8 / 3600) ** 2
KINDS = {
    "plain": plain,
    "zeros round a mosaic": lambda at: marked(at, 0.0),
    "NaN round a mosaic": lambda at: marked(at, np.nan),
    "-999 round a mosaic": lambda at: marked(at, -999),
    "a fill value below a bright source": hidden_mark,
    "BLANK of floating-point numbers": with_blank,
    "galactic": lambda at: plain(at, kind=("GLON-SIN", "GLAT-SIN"), centre=(270.0, 10.0)),
    "at the pole": lambda at: plain(at, centre=(20.0, 89.9)),
    "CRVAL1 below 0": lambda at: plain(at, centre=(-164.2, 30.0)),
    "turned": lambda at: plain(at, CROTA2=50.0),
    "east to the right": lambda at: plain(at, CDELT1=2.0 / 3600),
    "a channel with the cube's reference pixel": lambda at: plain(
        at, drop=("RESTFRQ",), CTYPE3="FREQ", CRVAL3=1.4e9, CDELT3=1e6, CRPIX3=-33.0, CUNIT3="Hz"
    ),
    "a preview before the map": with_preview,
    "STOKES with a step of 0": lambda at: plain(
        at, SKY[None], CTYPE3="STOKES", CRVAL3=1.0, CDELT3=0.0, CRPIX3=1.0
    ),
    "a table of beams": with_table_of_beams,
    "a beam in HISTORY of CASA": lambda at: with_history(at, "> restoration: 8 by 8 (arcsec) at pa 30 (deg)"),
    "a beam in HISTORY of AIPS, split": lambda at: with_history(
        at, "AIPS   CLEAN BMAJ=  2.2222E-03 BMIN=  2.2222E-03\nAIPS   CLEAN BPA= -40.24"
    ),
    "a beam in HISTORY of AIPS, glued": lambda at: with_history(
        at, "AIPS CLEAN BMAJ=2.2222E-03 BMIN=2.2222E-03 BPA=-140.24/"
    ),
    "unit and beam in the first header": inherited,
    "RADESYS J2000": lambda at: plain(at, RADESYS="J2000"),
    "small letters": lambda at: plain(at, kind=("ra---sin", "dec--sin"), BUNIT="jy/beam"),
    "BPA without a number": lambda at: write(at, fits.PrimaryHDU(SKY, header(drop=("BPA",)))),
    "brackets in the name": lambda at: write(at, fits.PrimaryHDU(SKY, header()), name="mosaic[1]+2.fits"),
    "one name in two folders": in_folders,
    "K": lambda at: plain(at, (SKY * KELVIN).astype(np.float32), BUNIT="K"),
    "Jy/pixel": lambda at: plain(at, (SKY / AREA_PIX).astype(np.float32), BUNIT="Jy/pixel"),
    "MJy/sr": lambda at: plain(at, (SKY / SR_PER_BEAM * 1e-6).astype(np.float32), BUNIT="MJy/sr"),
    "Jy/bm": lambda at: plain(at, BUNIT="Jy/bm"),
    "a fill value in the noise round a mosaic": lambda at: marked(at, 3e-5),
    "zeros round a mosaic, moved by a scale": with_scale,
    "numbers as text, and the matrix of AIPS++": as_text,
    "a beam in HISTORY, changed by PUTHEAD": lambda at: with_history(at, PUTHEAD),
    "widths in arcsec by their comments": lambda at: write(
        at, fits.PrimaryHDU(SKY, header(BMAJ=(8.0, "[arcsec]"), BMIN=(8.0, "[arcsec]")))
    ),
    "a cube": as_cube,
    "packed with gzip": packed,
    "compressed in tiles": lambda at: write(
        at, fits.PrimaryHDU(), fits.CompImageHDU(SKY, header(), quantize_level=0, compression_type="GZIP_1")
    ),
    "a map of the noise": with_noise,
}
MORE = (
    *("NaN round a mosaic", "-999 round a mosaic", "turned", "east to the right", "MJy/sr"),
    *("zeros round a mosaic, moved by a scale", "numbers as text, and the matrix of AIPS++"),
    *("a beam in HISTORY, changed by PUTHEAD", "widths in arcsec by their comments"),
    *("a beam in HISTORY of AIPS, glued", "compressed in tiles", "a map of the noise", "plain"),
)
"""Kinds that are left to `pytest -m soak`: other tests have them through the stages."""
BLANKS = ("round a mosaic", "BLANK", "fill value")


def command(name, config, out, *more, on="serial"):
    line = [name, str(config), "--out", str(out), "--on", on, "--quiet", *more]
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = cli.main(line)
    assert code == 0, said.getvalue()


def bring(folder, settings):
    """Annotate the maps and cut them out by the commands; return measured.fits and the store."""
    config = folder / "kind.yaml"
    # JSON is YAML.
    cutouts = {"size_pix": 32, "shard": 16, "mode": "islands"}
    # Five such bright sources so near would be parts of one.
    annotate = {"join": {"enabled": False}}
    config.write_text(
        json.dumps({"name": "kind", "maps": settings, "annotate": annotate, "cutouts": cutouts})
    )
    for stage in ("annotate", "cutouts"):
        command(stage, config, folder / "run")
    out = folder / "run"
    return fits.getdata(out / "annotations" / "measured.fits"), StoreReader(out / "cutouts.zarr")


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=pytest.mark.soak if kind in MORE else ()) for kind in KINDS]
)
def test_each_kind_is_the_same_sky_to_the_commands(tmp_path, kind):
    settings = KINDS[kind](tmp_path)
    found, store = bring(tmp_path, settings)
    names = sorted(set(found["map"]))
    assert len(names) == (2 if "folders" in kind else 1)
    for name, file in zip(names, settings["files"], strict=True):
        own = found[found["map"] == name]
        check_catalogue(own, wcs_of(Path(file), kind))
    inside = store.read("valid", np.arange(len(store))).mean(axis=(1, 2))
    if any(word in kind for word in BLANKS):
        assert inside.min() < 1
        flags = np.asarray(store.columns["flags"])
        assert ((flags & Flag.LITTLE_DATA > 0) == (inside < 0.5)).all() or inside.min() >= 0.5
    else:
        assert inside.min() == 1
    about = store.attrs["maps"][0]
    assert about["frequency_hz"] == pytest.approx(1.434e9 if "reference pixel" in kind else frequency(kind))
    assert about["beam"]["major_arcsec"] == pytest.approx(8, rel=1e-3)
    assert np.median(store.columns["rms_jy_beam"]) == pytest.approx(RMS, rel=0.15)


def frequency(kind):
    return 1.0e9 if kind == "a cube" else 1.4e9


def wcs_of(path, kind):
    """The coordinates of a map by astropy alone, from cards that it understands."""
    found = header()
    # Astropy warns of a BLANK that is no whole number.
    with warnings.catch_warnings(action="ignore"), fits.open(path) as hdus:
        headers = [hdus[i].header for i in reversed(range(len(hdus)))]
        cards = next(one for one in headers if "CTYPE1" in one and one["NAXIS"] >= 2)
        for key in ("CTYPE1", "CTYPE2", "CRVAL1", "CRVAL2", "CDELT1", "CROTA2", "RADESYS"):
            if key in cards:
                found[key] = cards[key]
        for key in ("CRVAL1", "CDELT1"):
            found[key] = float(found[key])
        for key in (key for key in cards if key.startswith("PC0")):
            found[f"PC{key[3]}_{key[6]}"] = cards[key]
    found["CTYPE1"], found["CTYPE2"] = found["CTYPE1"].upper(), found["CTYPE2"].upper()
    if found.get("RADESYS") == "J2000":
        found["RADESYS"], found["EQUINOX"] = "FK5", 2000.0
    for key in ("NAXIS3", "CTYPE3"):
        found.pop(key, None)
    return WCS(found).celestial


def check_catalogue(own, wcs):
    """Five sources at their places, with their fluxes and their angles on the sky, and hardly another."""
    places = pixel_to_skycoord(PLACES[:, 1], PLACES[:, 0], wcs).icrs
    sky = SkyCoord(own["ra_deg"], own["dec_deg"], unit="deg")
    assert ((own["ra_deg"] >= 0) & (own["ra_deg"] < 360)).all()
    nearest, distance, _ = places.match_to_catalog_sky(sky)
    assert distance.arcsec.max() < 1.0
    np.testing.assert_allclose(own["flux_jy"][nearest], FLUXES, rtol=0.08)
    half = np.full(len(PLACES), LONG / 2), np.full(len(PLACES), SHORT / 2)
    _, _, pa = angles_on_sky(wcs, PLACES[:, 0], PLACES[:, 1], *half, np.full(len(PLACES), ANGLE))
    assert apart(own["pa_deg"][nearest], pa).max() < 3
    assert apart(own["image_pa_deg"][nearest], ANGLE).max() < 3
    others = np.delete(np.arange(len(own)), nearest)
    # Noise has an island above 5 sigma in 7,000 beams now and then.
    assert len(others) <= 2


@pytest.fixture(scope="module")
def annotated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")
    settings = plain(folder)
    tree = {"name": "rows", "maps": settings, "annotate": {"join": {"enabled": False}}}
    (folder / "rows.yaml").write_text(json.dumps(tree | {"cutouts": {"size_pix": 32, "shard": 16}}))
    command("annotate", folder / "rows.yaml", folder / "run")
    return folder


def listed(folder, form):
    """The five sources in a form of `docs/catalogues.md`; return the file and settings beside it."""
    sky = pixel_to_skycoord(PLACES[:, 1], PLACES[:, 0], WCS(header()).celestial).icrs
    ra, dec = sky.ra.deg, sky.dec.deg
    table = {"RA": ra, "DEC": dec, "Total_flux": FLUXES}
    path = folder / form
    if form == "sdc1.txt":
        rows = np.zeros((len(ra), 15))
        rows[:, 0], rows[:, 1], rows[:, 2], rows[:, 3], rows[:, 4] = range(5), ra, dec, ra, dec
        rows[:, 5], rows[:, 6], rows[:, 7], rows[:, 8], rows[:, 10], rows[:, 11] = FLUXES, 0.5, 2, 1, 2, 1
        np.savetxt(path, rows, "%.10g")
    elif form == "pybdsf.csv":
        names = {"Source_id": np.arange(5), "RA": ra, "E_RA": ra * 0, "DEC": dec, "Total_flux": FLUXES}
        Table(names).write(path, format="ascii.csv")
    elif form == "sources.vot":
        Table(table).write(path, format="votable")
    elif form == "nvss.dat":
        heads = "   Bytes Format Units Label Explanations"
        columns = "   1- 14 F14.9 deg RAdeg Right ascension\n  16- 29 F14.9 deg DEdeg Declination"
        rule = "-" * 80
        described = f"Byte-by-byte Description of file: *.dat\n{rule}\n{heads}\n{rule}\n{columns}\n{rule}\n"
        (folder / "ReadMe").write_text(f"A survey\n\n{described}")
        path.write_text("".join(f"{a:14.9f} {d:14.9f}\n" for a, d in zip(ra, dec, strict=True)))
    elif form == "model.skymodel":
        words = [f"s{i},POINT,{a}deg,{d}deg,0.1" for i, (a, d) in enumerate(zip(ra, dec, strict=True))]
        path.write_text("\n".join(["Format = Name, Type, Ra, Dec, I", *words, ""]))
    else:
        Table({"lon": ra, "lat": dec}).write(path, format="fits")
        return path, {"cutouts.columns": {"ra_deg": "lon", "dec_deg": "lat"}}
    return path, {}


FORMS = ("sdc1.txt", "pybdsf.csv", "sources.vot", "nvss.dat", "model.skymodel", "own.fits")


@pytest.mark.parametrize("form", FORMS)
def test_catalogues_of_every_form_centre_cutouts_by_the_command(annotated, tmp_path, form):
    shutil.copytree(annotated / "run", tmp_path / "run")
    path, more = listed(tmp_path, form)
    settings = {"cutouts.mode": "catalogue", "cutouts.catalogue": str(path), **more}
    sets = [part for key, value in settings.items() for part in ("--set", f"{key}={json.dumps(value)}")]
    command("cutouts", annotated / "rows.yaml", tmp_path / "run", *sets)
    columns = StoreReader(tmp_path / "run" / "cutouts.zarr").columns
    order = np.argsort(columns["row"])
    assert columns["row"][order].tolist() == list(range(5))
    corners = np.stack([columns["y0"], columns["x0"]], 1)[order]
    assert (np.abs(corners + 15.5 - PLACES) < 0.501).all()


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """A map with emission of 3.5 times the noise, wider than a cell, and what one process makes of it."""
    folder = tmp_path_factory.mktemp("wide")
    y, x = np.indices((560, 560)) - 280
    emission = 3.5 * np.exp(-4 * math.log(2) * (y**2 + x**2) / 120**2)
    sky = beam_noise(Window.of_shape(y.shape), BEAM, PIXEL, 7, ("wide",)) + emission
    for row, column in ((-170, 30), (10, 40), (150, -160)):
        sky += 60 * np.exp(-4 * math.log(2) * ((y - row) ** 2 + (x - column) ** 2) / 16)
    cards = header_of(y.shape, (2.0, 2.0), (150.0, -40.0))
    settings = write(folder, fits.PrimaryHDU((RMS * sky).astype(np.float32), cards))
    tree = {"name": "wide", "maps": settings, "annotate": {"task_mpix": 0.1}}
    tree["cutouts"] = {"size_pix": 32, "shard": 4, "mode": "tiles"}
    (folder / "wide.yaml").write_text(json.dumps(tree))
    for stage in ("annotate", "cutouts"):
        command(stage, folder / "wide.yaml", folder / "run")
    return folder


def test_cutouts_have_wide_emission_in_their_background(wide):
    columns = StoreReader(wide / "run" / "cutouts.zarr").columns
    y, x = (np.asarray(columns[axis], np.int64) + 16 for axis in ("y0", "x0"))
    at, background = np.hypot(y - 280, x - 280), columns["background_jy_beam"] / RMS
    sky_map = SkyMap.open(wide / "map.fits", MapsConfig())
    mesh = find_islands(sky_map, AnnotateConfig()).mesh
    # The part that counts as background where islands are looked for; the rest is listed in wide.fits.
    np.testing.assert_array_equal(columns["background_jy_beam"], mesh.evaluate_at(y, x)[0])
    assert (at < 30).any()
    assert background[at < 30].min() > 1
    assert np.abs(background[at > 200]).max() < 0.5
    np.testing.assert_allclose(columns["rms_jy_beam"], RMS, rtol=0.15)


@pytest.mark.parametrize(
    ("where", "workers"),
    [
        ("processes", 2),
        pytest.param("processes", 1, marks=pytest.mark.soak),
        pytest.param("processes", 4, marks=pytest.mark.soak),
        pytest.param("ray", 2, marks=pytest.mark.soak),
    ],
)
def test_wide_emission_is_the_same_on_every_executor(wide, tmp_path, where, workers):
    for stage in ("annotate", "cutouts"):
        command(stage, wide / "wide.yaml", tmp_path / "run", "--workers", str(workers), on=where)
    for product in ("annotations", "cutouts.zarr"):
        found = tree_digests(tmp_path / "run" / product)
        assert found == tree_digests(wide / "run" / product)
    assert (tmp_path / "run" / "annotations" / "levels.parquet").exists()


FRAMES = {
    "galactic, zeros outside, beam in HISTORY": {"kind": ("GLON-SIN", "GLAT-SIN"), "centre": (270.0, 10.0)},
    "turned, CRVAL1 below 0, K": {"centre": (-164.2, 30.0), "CROTA2": 50.0},
}


@pytest.mark.parametrize("name", FRAMES)
def test_a_field_is_made_on_such_maps_to_the_end(toy_run, tmp_path, name):
    """The field, its truth on the sky, and that truth as the catalogue of a second field."""
    out = tmp_path / "run"
    shutil.copytree(toy_run[0], out)
    headers = map(fits.getheader, sorted((out / "maps").glob("*.fits")))
    toy = next(one for one in headers if "BMAJ" in one)
    shape, beam = (260, 300), Beam(toy["BMAJ"] * 3600, toy["BMIN"] * 3600, toy.get("BPA", 0.0))
    pixel = Pixel(abs(toy["CDELT2"]) * 3600, abs(toy["CDELT1"]) * 3600)
    image = beam_noise(Window.of_shape(shape), beam, pixel, 5, ("field",)) * 2e-5
    cards = header_of(shape, (pixel.dy_arcsec, pixel.dx_arcsec), **FRAMES[name])
    cards.update({"BMAJ": toy["BMAJ"], "BMIN": toy["BMIN"], "BPA": toy.get("BPA", 0.0)})
    if "HISTORY" in name:
        image[np.hypot(np.indices(shape)[0] - 130, np.indices(shape)[1] - 150) > 145] = 0
        cards["HISTORY"] = (
            f"AIPS   CLEAN BMAJ= {toy['BMAJ']:.6E} BMIN= {toy['BMIN']:.6E} BPA= {toy['BPA']:.2f}"
        )
        for key in ("BMAJ", "BMIN", "BPA"):
            del cards[key]
    else:
        image *= 1.222e24 / (1.4e9**2 * beam.major_arcsec * beam.minor_arcsec)
        cards["BUNIT"] = "K"
    fits.writeto(tmp_path / "real[1].fits", image.astype(np.float32), cards)
    extra = {"assemble.background": {"kind": "map", "path": str(tmp_path / "real[1].fits")}}
    make_field(out, extra)
    truth = read_columns_file(out / "field" / "truth.parquet")
    there = pixel_to_skycoord(truth["x_pix"], truth["y_pix"], WCS(cards).celestial).icrs
    assert there.separation(SkyCoord(truth["ra_deg"], truth["dec_deg"], unit="deg")).arcsec.max() < 0.01
    pixels = fits.getdata(out / "field" / "map.fits")
    if "HISTORY" in name:
        assert np.isnan(pixels[image == 0]).all()
    assert np.nanstd(pixels) > 1e-5
    # Under the names of PyBDSF, as text of astropy.
    rows = {"RA": truth["ra_deg"] * u.deg, "DEC": truth["dec_deg"] * u.deg}
    rows["Total_flux"] = truth["flux_jy"] * 1e3 * u.mJy
    Table(rows).write(tmp_path / "truth.ecsv", format="ascii.ecsv")
    flux = {"mode": "catalogue", "catalogue": str(tmp_path / "truth.ecsv")}
    make_field(out, extra | {"assemble.flux": flux, "assemble.objects": None})
    second = read_columns_file(out / "field" / "truth.parquet")
    assert sorted(second["flux_jy"]) == pytest.approx(sorted(truth["flux_jy"]), rel=1e-4)
    again = SkyCoord(second["ra_deg"], second["dec_deg"], unit="deg")
    assert again.match_to_catalog_sky(there)[1].arcsec.max() < 0.8 * pixel.dy_arcsec


def make_field(out, extra):
    said = io.StringIO()
    line = ["assemble", str(TRAIN_TINY), "--out", str(out), "--on", "serial", "--redo", "assemble", "--quiet"]
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = cli.main([*line, *shrunk(extra)])
    assert code == 0, said.getvalue()
