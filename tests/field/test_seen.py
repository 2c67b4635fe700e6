"""Fields of one sky at several frequencies: sources and places stay; fluxes, noise and beam are of each."""

import numpy as np
import pytest
from astropy.io import fits

from astro_dist.engine.errors import ConfigError
from astro_dist.field.checks import check_field
from astro_dist.field.columns import read_columns_file
from astro_dist.field.config import AssembleConfig
from tests.field.small_sky import RMS, assemble, make_run

COUNTS = {"mode": "counts", "counts": {"limit_jy": 1e-4}, "bands_hz": [1.4e9]}
FIELD = {"shape": [400, 400], "reuse": 40, "flux": COUNTS}
SAME = ("id", "object", "class", "turn_deg", "flip", "y_anchor_pix", "x_anchor_pix", "spectral_index")


@pytest.fixture(scope="module")
def fields(tmp_path_factory):
    """The truth and the map of the field, of one at 350 MHz, and of one at 5 GHz in a wider beam."""
    seen = {
        "own": {},
        "low": {"frequency_hz": 350e6},
        "high": {"frequency_hz": 5e9, "rms_jy_beam": RMS / 4, "beam_major_arcsec": 12},
    }
    found = {}
    for name, band in seen.items():
        run = make_run(tmp_path_factory.mktemp(name) / "run", **FIELD, seen=band)
        assemble(run)
        folder = run.root / "field"
        found[name] = (
            read_columns_file(folder / "truth.parquet"),
            fits.getdata(folder / "map.fits"),
            fits.getheader(folder / "map.fits"),
        )
    return found


@pytest.mark.parametrize(("name", "frequency_hz"), [("low", 350e6), ("high", 5e9)])
def test_sources_are_the_same_and_their_fluxes_follow_their_spectra(fields, name, frequency_hz):
    (own, *_), (truth, _, header) = fields["own"], fields[name]
    assert len(own["id"]) > 50
    inside = (own["flux_jy"] > 0.9995 * own["flux_given_jy"]) & (
        truth["flux_jy"] > 0.9995 * truth["flux_given_jy"]
    )
    assert inside.mean() > 0.6
    for column in SAME:
        assert np.array_equal(truth[column], own[column], equal_nan=True), column
    # A centroid is that of the pixels in the field.
    for column in ("y_pix", "x_pix"):
        assert truth[column][inside] == pytest.approx(own[column][inside], abs=0.1)
    ratio = (frequency_hz / 1.4e9) ** own["spectral_index"].astype(float)
    assert np.ptp(ratio) > 0.5
    assert truth["flux_given_jy"] == pytest.approx(own["flux_given_jy"] * ratio, rel=1e-6)
    assert truth["flux_jy"][inside] == pytest.approx(truth["flux_given_jy"][inside], rel=1e-3)
    assert truth["flux_1400mhz_jy"][inside] == pytest.approx(own["flux_jy"][inside], rel=1e-3)
    assert header["RESTFRQ"] == frequency_hz
    assert f"assemble: seen at {frequency_hz:.10g} Hz by spectral indices" in list(header["HISTORY"])


def test_noise_and_beam_are_those_of_each_frequency(fields):
    noise = {name: image[:120, :120].ravel() for name, (_, image, _) in fields.items()}
    quiet = np.logical_and.reduce([np.abs(v) < 3 * RMS for v in noise.values()])
    assert abs(np.corrcoef([v[quiet] for v in noise.values()])[np.triu_indices(3, 1)]).max() < 0.2
    assert [header["BMAJ"] * 3600 for _, _, header in fields.values()] == pytest.approx([8, 8, 12])
    sigma = [np.median(truth["sigma_jy_beam"]) / RMS for truth, *_ in fields.values()]
    assert sigma == pytest.approx([1, 1, 0.25])
    rms = 1.4826 * np.median(np.abs(fields["high"][1])) / RMS
    assert 0.24 < rms < 0.3


def test_sources_without_a_spectral_index_have_that_of_the_counts(tmp_path):
    table = tmp_path / "sources.csv"
    table.write_text("flux_jy,ra_deg,dec_deg,spectral_index\n0.01,180,-30,-1\n0.01,180.05,-30,\n")
    flux = {"mode": "catalogue", "catalogue": str(table), "catalogue_hz": 1.4e9}
    run = make_run(tmp_path / "run", shape=[300, 300], flux=flux, seen={"frequency_hz": 700e6})
    assemble(run)
    truth = read_columns_file(run.root / "field" / "truth.parquet")
    by_row = truth["flux_jy"][np.argsort(truth["catalogue_row"])]
    assert by_row == pytest.approx([0.02, 0.01 * 2**0.7], rel=1e-4)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"seen": {"frequency_hz": 1e9}}, "sources of mode radiff have no spectral index; leave seen out"),
        ({"flux": COUNTS, "objects": None, "seen": {"rms_jy_beam": 1.0}}, "set frequency_hz too"),
        ({"flux": COUNTS, "objects": None, "seen": {"frequency_hz": 1e9, "beam_pa_deg": 3}}, "give it too"),
    ],
)
def test_contradictions_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        AssembleConfig.model_validate(settings)


def test_a_beam_that_is_sharper_than_the_drawings_is_refused_before_anything_runs(tmp_path):
    table = tmp_path / "sources.csv"
    table.write_text("flux_jy,ra_deg,dec_deg\n0.01,180,-30\n")
    flux = {"mode": "catalogue", "catalogue": str(table)}
    sharp = {"frequency_hz": 5e9, "beam_major_arcsec": 6}
    run = make_run(tmp_path / "run", n_stamps=1, shape=[300, 300], flux=flux, seen=sharp)
    with pytest.raises(ConfigError, match=r"assemble\.seen: the field has .* 0\.75: set"):
        check_field(run)
