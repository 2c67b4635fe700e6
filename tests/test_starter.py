"""`init --from MAP` proposes settings from the header and the pixels of a map."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from scipy.ndimage import gaussian_filter

from astro_dist.commands import starting
from astro_dist.engine.config import load_yaml
from astro_dist.engine.errors import ConfigError
from astro_dist.radio.pipeline import RADIO
from astro_dist.sky.proposal import measure_rms, propose_settings

PIXEL_ARCSEC, BEAM_PIX, RMS = 1.5, 4.0, 2e-4


def write_map(path, shape=(512, 640), **cards):
    """A map of beam noise and a few bright points; ``None`` leaves a card out."""
    rng = np.random.default_rng(4)
    sigma = BEAM_PIX / np.sqrt(8 * np.log(2))
    noise = gaussian_filter(rng.standard_normal(shape), sigma)
    image = RMS * noise / noise.std()
    points = np.zeros(shape)
    points[tuple(rng.integers(20, min(shape) - 20, (2, 12)))] = 40 * RMS * 2 * np.pi * sigma**2
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---SIN", "DEC--SIN"], [150, -30], [300, 250]
    wcs.wcs.cdelt = [-PIXEL_ARCSEC / 3600, PIXEL_ARCSEC / 3600]
    header = wcs.to_header()
    width = BEAM_PIX * PIXEL_ARCSEC / 3600
    whole = {"BUNIT": "Jy/beam", "BMAJ": width, "BMIN": width, "BPA": 0.0, "RESTFRQ": 1.4e9}
    header.update({key: value for key, value in (whole | cards).items() if value is not None})
    fits.writeto(path, (image + gaussian_filter(points, sigma)).astype(np.float32), header)
    return path


def test_a_whole_header_needs_no_setting(command, tmp_path):
    write_map(tmp_path / "my map.fits")
    done = command("init", "--from", "my map.fits", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    path = tmp_path / "my_map.yaml"
    assert f"astro-dist run {path.name}" in done.stdout
    text = path.read_text()
    assert len(text.splitlines()) <= 22
    tree = load_yaml(path)
    assert set(tree["maps"]) == {"files", "survey"}
    assert tree["maps"]["files"] == [str(tmp_path / "my map.fits")]
    assert tree["assemble"]["background"]["rms_jy_beam"] == pytest.approx(RMS, rel=0.05)
    assert tree["assemble"]["flux"]["mode"] == "counts"
    assert RADIO.resolve(tree).assemble.shape == (512, 640)
    # From any folder.
    (tmp_path / "elsewhere").mkdir()
    planned = command("plan", path, cwd=tmp_path / "elsewhere")
    assert planned.returncode == 0, planned.stderr
    again = command("init", "--from", "my map.fits", cwd=tmp_path)
    assert (again.returncode, again.stderr.count("\n")) == (2, 1)


def test_a_survey_that_the_header_names_gives_its_name_and_frequency(command, tmp_path):
    write_map(tmp_path / "J0336M32.fits", RESTFRQ=None, TELESCOP="MOST")
    assert command("init", "--from", "J0336M32.fits", cwd=tmp_path).returncode == 0
    maps = load_yaml(tmp_path / "J0336M32.yaml")["maps"]
    assert (maps["survey"], maps["frequency_hz"]) == ("SUMSS", 843e6)


def test_the_reading_of_a_large_map_is_said(command, tmp_path, monkeypatch):
    write_map(tmp_path / "large.fits")
    monkeypatch.setattr(starting, "LARGE_BYTES", 1000)
    done = command("init", "--from", "large.fits", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "reading large.fits (0.0 GB)\n")


def test_a_misspelt_pipeline_is_no_name_of_a_file(command, tmp_path):
    done = command("init", "flar", cwd=tmp_path)
    assert done.returncode == 2
    assert "did you mean 'flare'?" in done.stderr
    (tmp_path / "page.html").write_text("no map")
    done = command("init", "--from", "page.html", cwd=tmp_path)
    assert done.stderr == "astro-dist: --from page.html: not a FITS file; give a map\n"
    assert not list(tmp_path.glob("*.yaml"))


def test_what_the_header_leaves_out_is_proposed_and_said(command, tmp_path):
    write_map(tmp_path / "bare.fits", BUNIT=None, BMAJ=None, BMIN=None, RESTFRQ=None)
    assert command("init", "mine.yaml", "--from", "bare.fits", cwd=tmp_path).returncode == 0
    text = (tmp_path / "mine.yaml").read_text()
    tree = load_yaml(tmp_path / "mine.yaml")
    # From the correlation of the noise.
    assert tree["maps"]["beam_major_arcsec"] == pytest.approx(BEAM_PIX * PIXEL_ARCSEC, rel=0.1)
    assert tree["maps"]["unit"] == "Jy/beam"
    for said in ("a guess: the header states no unit", "the header has no beam", "# frequency_hz: HERTZ"):
        assert said in text
    planned = command("plan", "mine.yaml", cwd=tmp_path)
    assert planned.returncode == 0, planned.stderr


@pytest.mark.parametrize("beam_pix", [0.0, 1.3])
def test_noise_that_tells_no_beam_that_a_field_can_have_gives_a_guess(command, tmp_path, beam_pix):
    path = write_map(tmp_path / "m.fits", BMAJ=None, BMIN=None)
    noise = np.random.default_rng(1).standard_normal((200, 200))
    noise = gaussian_filter(noise, beam_pix / np.sqrt(8 * np.log(2))) if beam_pix else noise
    with fits.open(path, mode="update") as file:
        file[0].data = (noise / noise.std()).astype(np.float32)
    proposal = propose_settings(path)
    assert proposal.given["beam_major_arcsec"] == 4.5
    assert "a guess" in proposal.why["beam_major_arcsec"]
    assert proposal.rms_jy_beam == pytest.approx(1, rel=0.05)
    assert command("init", "--from", path, cwd=tmp_path).returncode == 0
    planned = command("plan", "m.yaml", cwd=tmp_path)
    assert planned.returncode == 0, planned.stderr


def test_a_field_like_a_map_of_coarse_pixels_has_finer_ones(command, tmp_path):
    narrow = 2 * PIXEL_ARCSEC / 3600
    write_map(tmp_path / "coarse.fits", BMAJ=narrow, BMIN=narrow)
    assert command("init", "--from", "coarse.fits", cwd=tmp_path).returncode == 0
    assert load_yaml(tmp_path / "coarse.yaml")["assemble"]["pixel_arcsec"] == 1
    planned = command("plan", "coarse.yaml", cwd=tmp_path)
    assert planned.returncode == 0, planned.stderr


def test_what_is_no_map_is_refused_in_one_line(command, tmp_path):
    (tmp_path / "a.fits").write_text("no FITS")
    for name in ("a.fits", "absent.fits"):
        done = command("init", "--from", name, cwd=tmp_path)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    fits.writeto(
        tmp_path / "blank.fits", np.full((99, 99), np.nan), fits.getheader(write_map(tmp_path / "m.fits"))
    )
    with pytest.raises(ConfigError, match="blank or constant"):
        propose_settings(tmp_path / "blank.fits")
    assert np.isnan(measure_rms(np.full((3, 3), np.nan)))
