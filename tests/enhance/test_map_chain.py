"""FITS images doubled: coordinates, headers, fluxes, and what is refused."""

import shutil
import subprocess

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from astro_dist.enhance.chain_config import ChainConfig
from astro_dist.enhance.map_inputs import endings_of, layers_of
from astro_dist.enhance.projection import halve_mean
from astro_dist.sky.doubled import double_header
from astro_dist.sky.sky_image import SkyImage
from tests.enhance.fits_images import header, sky, write


@pytest.fixture
def enhance(tmp_path, command):
    """Enhance files without a network; return the folder of the product, or what was said where it ends."""

    def call(*files, code=0, **settings):
        config = tmp_path / "maps.yaml"
        lines = [f"  {key}: {value}" for key, value in settings.items()]
        paths = ", ".join(f'"{file}"' for file in files)
        text = ["pipeline: enhance", "enhance:", f"  files: [{paths}]", *lines]
        config.write_text("\n".join(text) + "\n")
        done = command("enhance", config, "--out", tmp_path / "run", "--on", "serial")
        assert done.returncode == code, done.stderr
        return tmp_path / "run" / "enhanced" if code != 2 else done.stderr.strip().splitlines()[-1]

    return call


@pytest.mark.filterwarnings("ignore:Removed redundant SIP:astropy.wcs.FITSFixedWarning")
def test_positions_follow_whatever_the_header_says_of_pixels():
    rng = np.random.default_rng(0)
    x, y = rng.uniform(-10, 90, (2, 1000))
    plain = header()
    cd = header()
    for i in (1, 2):
        del cd[f"CDELT{i}"]
        cd[f"CD{i}_{i}"], cd[f"CD{i}_{3 - i}"] = -5e-4 * (-1) ** i, 1e-4
    sip = cd.copy()
    sip["CTYPE1"], sip["CTYPE2"] = "RA---TAN-SIP", "DEC--TAN-SIP"
    for key, value in {"A_ORDER": 3, "B_ORDER": 3, "A_2_0": 1e-4, "A_0_3": 2e-6, "B_1_1": -3e-4}.items():
        sip[key] = value
    turned = header(CROTA2=30.0)
    # A polynomial of degrees with CD, and of the pixels that PC turns with CDELT.
    terms = {"PV1_1": 1.0, "PV2_1": 1.0, "PV1_5": 0.1, "PV2_4": 0.3}
    names = {"CTYPE1": "RA---TPV", "CTYPE2": "DEC--TPV"}
    bent_cd = cd.copy()
    bent_cd.update(names | terms)
    small = {key: value if key.endswith("_1") else value * 5e-4 for key, value in terms.items()}
    bent = [header(**names, **small), header(**small), header(**names, **small, PC1_2=0.1, PC2_1=-0.1)]
    degrees = header(**names, **terms, PC1_1=-5e-4, PC2_2=5e-4)
    degrees["CDELT1"] = degrees["CDELT2"] = 1.0
    for one in (plain, cd, sip, turned, bent_cd, *bent, degrees):
        before, after = WCS(one), WCS(double_header(one))
        # Pixels counted from 0: x becomes 2x + 1/2.
        ra, dec = before.all_pix2world(x, y, 0)
        again = after.all_pix2world(2 * x + 0.5, 2 * y + 0.5, 0)
        # In pixels of 1.8 arcsec.
        assert np.abs(np.array(again) - [ra, dec]).max() / 5e-4 < 1e-6
    with pytest.raises(Exception, match=r"a distortion \(CPDIS1\) that cannot be scaled"):
        double_header(header(CPDIS1="LOOKUP"))
    with pytest.raises(Exception, match=r"\(TPV\) and CROTA2 cannot be scaled together"):
        double_header(header(**names, **terms, CROTA2=30.0))


def test_fluxes_stay_and_every_reader_takes_the_file(tmp_path, enhance):
    image = sky()
    image[10:14, 20:23] = np.nan
    write(tmp_path / "a.fits", image, OBSERVER="Jansky", HISTORY="made for a test")
    folder = enhance(tmp_path / "a.fits", band_rows=32, tile_pix=32)
    with fits.open(folder / "a.fits", checksum=True) as hdus:
        found, cards = hdus[0].data.astype(np.float64), hdus[0].header.copy()
    means = halve_mean(found[None])[0]
    assert np.array_equal(np.isnan(found), np.isnan(image).repeat(2, 0).repeat(2, 1))
    assert np.nanmax(np.abs(means - image)) <= 1e-6 * np.nanmax(image)
    assert abs(np.nansum(means) - np.nansum(image.astype(float))) <= 1e-7 * np.nansum(np.abs(image))
    assert (cards["OBSERVER"], cards["BMAJ"], cards["BUNIT"]) == ("Jansky", 5.4 / 3600, "Jy/beam")
    assert "made for a test" in str(cards["HISTORY"])
    assert "as its mean" in str(cards["HISTORY"])
    flags = fits.getdata(folder / "a-flags.fits")
    assert np.array_equal(flags & 1, np.isnan(found))
    if program := shutil.which("fitsverify"):
        said = subprocess.run([program, "-q", str(folder / "a.fits")], capture_output=True, text=True)
        assert said.returncode == 0, said.stdout


def test_tiles_do_not_change_a_pixel(tmp_path, enhance):
    write(tmp_path / "a.fits", sky((96, 128)))
    whole = fits.getdata(enhance(tmp_path / "a.fits", band_rows=128, tile_pix=128) / "a.fits").copy()
    shutil.rmtree(tmp_path / "run")
    assert np.array_equal(
        whole, fits.getdata(enhance(tmp_path / "a.fits", band_rows=32, tile_pix=32) / "a.fits")
    )


@pytest.mark.parametrize("dtype", ["int16", "float64", "planes", "degenerate", "extension", "counts"])
def test_kinds_of_images(tmp_path, enhance, dtype):
    image, path = sky(), tmp_path / "a.fits"
    options = {"unit": "adu", "beam": False} if dtype == "counts" else {}
    if dtype == "int16":
        hdu = fits.PrimaryHDU(image, header())
        hdu.scale("int16", bscale=float(np.abs(image).max()) / 30000, bzero=0)
        hdu.writeto(path)
        image = fits.getdata(path)
    elif dtype == "extension":
        first = fits.PrimaryHDU(header=fits.Header({"TELESCOP": "none"}))
        fits.HDUList([first, fits.ImageHDU(image, header(), name="SCI")]).writeto(path)
    else:
        image = image.astype(np.float64) if dtype == "float64" else image
        image = np.stack([image, 2 * image, 3 * image]) if dtype == "planes" else image
        write(path, image[None, None] if dtype == "degenerate" else image, **options)
    found, cards = fits.getdata(enhance(path) / "a.fits", header=True)
    assert found.dtype.name == ("float64" if dtype == "float64" else "float32")
    assert found.ndim == {"planes": 3, "degenerate": 4}.get(dtype, 2)
    scale = 4 if dtype == "counts" else 1
    means = scale * halve_mean(found.reshape(-1, *found.shape[-2:]))
    assert np.abs(means - image.reshape(means.shape)).max() <= 1e-6 * np.abs(image).max()
    assert ("as its sum" in str(cards["HISTORY"])) == (dtype == "counts")
    assert cards.get("TELESCOP") == ("none" if dtype == "extension" else None)


def test_what_cannot_be_enhanced_is_refused_in_a_line(tmp_path, enhance):
    bad = tmp_path / "bad.fits"

    def refused():
        said = enhance(bad, code=2)
        bad.unlink()
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        return said

    write(bad, np.full((32, 32), np.nan, np.float32))
    assert "all are NaN" in refused()
    write(bad, np.full((32, 32), 2, np.float32))
    assert "all its pixels are 2" in refused()
    write(bad, np.ones((1, 1), np.float32))
    assert "1 x 1 pixels" in refused()
    write(bad, np.ones((5, 32, 32), np.float32))
    assert "cube of 5 planes" in refused()
    write(bad, np.stack([sky(), sky(), sky()]), CTYPE3="COMPLEX")
    assert "values are complex" in refused()
    write(bad, np.stack([sky(), np.full_like(sky(), np.nan), sky()]))
    assert ", plane 2' has too few usable pixels" in refused()
    fits.PrimaryHDU(sky()).writeto(bad)
    assert "no celestial WCS" in refused()
    fits.BinTableHDU.from_columns([fits.Column("a", "C", array=np.ones(3, complex))]).writeto(bad)
    assert "no image" in refused()
    write(bad, sky(), CPDIS1="LOOKUP")
    assert "cannot be scaled" in refused()
    write(bad)
    bad.write_bytes(bad.read_bytes()[:6000])
    assert "cut short" in refused()
    write(bad)
    assert "colourise is for pictures" in enhance(bad, code=2, chain="[colourise, bicubic]")


def test_one_bad_file_of_many_is_left_out(tmp_path, enhance):
    write(tmp_path / "a.fits")
    write(tmp_path / "b.fits", np.full((32, 32), np.nan, np.float32))
    (tmp_path / "c.fits").write_text("no FITS")
    folder = enhance(tmp_path / "a.fits", tmp_path / "b.fits", tmp_path / "c.fits", code=4)
    assert {path.name for path in folder.iterdir()} == {"a.fits", "a-flags.fits", "invented.csv"}


@pytest.mark.parametrize("ending", ["flags", "uncertainty", "sample-00"])
def test_an_image_named_as_a_file_made_of_another_is_refused_at_once(tmp_path, command, ending):
    for name in ("a.fits", f"a-{ending}.fits"):
        write(tmp_path / name, sky((128, 128)))
    sets = [f"maps.files={tmp_path}/*.fits", "enhance.keep_samples=1"]
    words = [word for one in sets for word in ("--set", one)]
    done = command("plan", "enhance/map", *words, "--out", tmp_path / "run")
    assert done.returncode == 2, done.stderr
    said = f"a-{ending}.fits would be made twice, of {tmp_path}/a-{ending}.fits and beside what is made of "
    assert f"{said}{tmp_path}/a.fits; leave one out" in done.stderr
    assert done.stderr.count("\n") == 1


def test_names_of_files_are_those_of_their_layers(tmp_path):
    config, image = ChainConfig(keep_samples=2), SkyImage.open(write(tmp_path / "a.fits"))
    for with_network in (False, True):
        names = [name for name, _ in layers_of(config, image, with_network)]
        assert names == [f"a{ending}.fits" for ending in endings_of(config, with_network)]


def test_settings_of_maps_hold_where_they_are_doubled(tmp_path, command):
    """And another one makes the images anew, where that is asked for."""
    first, second = sky(seed=1), sky(seed=2)
    hdus = [
        fits.ImageHDU(image, header(unit=""), name=name)
        for name, image in (("MAP", first), ("RESID", second))
    ]
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(tmp_path / "two.fits")
    config = tmp_path / "maps.yaml"
    for hdu, unit, image, factor in (("RESID", "Jy/pixel", second, 0.25), ("MAP", "Jy/beam", first, 1)):
        maps = f"files: ['{tmp_path / 'two.fits'}'], hdu: {hdu}, unit: {unit}"
        config.write_text(f"pipeline: enhance\nmaps: {{{maps}}}\nenhance: {{}}\n")
        call = ("enhance", config, "--out", tmp_path / "run", "--on", "serial")
        if hdu == "MAP":
            assert "maps.hdu: RESID -> MAP" in command(*call).stderr
        done = command(*call, "--redo", "enhance")
        assert done.returncode == 0, done.stderr
        found, cards = fits.getdata(tmp_path / "run" / "enhanced" / "two.fits", header=True)
        np.testing.assert_allclose(halve_mean(found[None])[0], factor * image, atol=1e-6 * image.max())
        assert (cards["EXTNAME"], cards["BUNIT"]) == (hdu, unit)
