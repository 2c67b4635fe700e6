"""Fluxes: the truncated exponential law, the paper's stretched pixels, a user's catalogue."""

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from astropy.table import Table
from hypothesis import given
from hypothesis import strategies as st

from astro_dist.engine.errors import ConfigError
from astro_dist.field.catalogue import SourceCatalogue
from astro_dist.field.config import FluxConfig
from astro_dist.field.flux import draw_k, stretch_shape


@given(
    scale=st.floats(0.3, 10),
    cap=st.floats(2, 20),
    minimum=st.floats(0, 1.9),
    above=st.sampled_from(["redraw", "clip"]),
)
def test_k_stays_in_its_interval(scale, cap, minimum, above):
    flux = FluxConfig(scale=scale, cap=cap, minimum=minimum, above=above)
    k = draw_k(500, flux, np.random.default_rng(0))
    assert (k > 0).all()
    assert (k >= minimum * (1 - 1e-12)).all()
    assert (k <= cap * (1 + 1e-12)).all()


def test_redrawn_k_follow_the_distribution_of_rejection():
    flux = FluxConfig()
    k = draw_k(40_000, flux, np.random.default_rng(1))
    rejected = np.random.default_rng(2).exponential(3.0, 60_000)
    rejected = rejected[rejected <= 10][:40_000]
    levels = np.linspace(0.05, 0.95, 19)
    assert np.quantile(k, levels) == pytest.approx(np.quantile(rejected, levels), rel=0.05)
    assert k.max() < 10


def test_clipped_k_pile_up_at_the_cap():
    k = draw_k(40_000, FluxConfig(above="clip"), np.random.default_rng(1))
    assert (k == 10).mean() == pytest.approx(np.exp(-10 / 3), rel=0.1)


def test_a_k_belongs_to_its_number():
    few, many = (draw_k(n, FluxConfig(), np.random.default_rng(4)) for n in (10, 99))
    assert np.array_equal(few, many[:10])


def test_stretched_pixels_have_the_papers_pedestal_and_saturation():
    image = np.array([[0.0, 13.5, 1000.0, -50.0]], np.float32)
    inside = np.array([[True, True, True, True]])
    pixels = stretch_shape(image, inside, 1.0)
    assert pixels.dtype == np.float32
    expected = [np.tanh(3.3 / 13.5), np.tanh(16.8 / 13.5), 1.0, 0.0]
    assert pixels[0] == pytest.approx(expected, rel=1e-6)
    assert (stretch_shape(image, ~inside, 1.0) == 0).all()


@pytest.mark.parametrize("kind", ["csv", "parquet", "fits"])
def test_catalogues_of_every_kind_are_read(tmp_path, kind):
    path = tmp_path / f"fluxes.{kind}"
    table = pa.table({"name": ["a", "b"], "flux_jy": [0.5, 0.25], "ra_deg": [10.0, 11.0], "dec_deg": [1, 2]})
    if kind == "csv":
        pa.csv.write_csv(table, path)
    elif kind == "parquet":
        pa.parquet.write_table(table, path)
    else:
        Table({name: table[name].to_pylist() for name in table.column_names}).write(path)
    catalogue = SourceCatalogue.read(path)
    assert catalogue.flux_jy.tolist() == [0.5, 0.25]
    assert catalogue.sky_deg.tolist() == [[10.0, 11.0], [1.0, 2.0]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fluxes\n1\n", "no column flux_jy"),
        ("flux_jy\nabc\n", "in the column flux_jy, which is no number"),
        ("flux_jy\n-1\n", "positive"),
        ("flux_jy\n1\n1e300\n", "a flux_jy above 1e[+]09 Jy: row 2 [(]1e[+]300[)]"),
        ("flux_jy,ra_deg\n1,2\n", "both columns or neither"),
        ("flux_jy,ra_deg,dec_deg\n1,2,nan\n", "finite"),
    ],
)
def test_bad_catalogues_are_refused_in_one_line(tmp_path, text, message):
    path = tmp_path / "fluxes.csv"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        SourceCatalogue.read(path)
    assert "\n" not in str(caught.value)


def test_a_missing_catalogue_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no table"):
        SourceCatalogue.read(tmp_path / "absent.fits")


def test_a_minimum_far_above_the_scale_is_exact():
    flux = FluxConfig(scale=0.02, minimum=1.0)
    k = draw_k(20_000, flux, np.random.default_rng(3))
    assert k.min() > 1
    assert np.mean(k - 1) == pytest.approx(0.02, rel=0.05)


def test_names_of_columns_are_settings(tmp_path):
    path = tmp_path / "fluxes.csv"
    path.write_text("lon,lat,S\n-10,-30,5\n")
    names = {"flux_jy": "S [mJy]", "ra_deg": "lon", "dec_deg": "lat"}
    config = FluxConfig(mode="catalogue", catalogue=str(path), columns=names)
    catalogue = SourceCatalogue.read(path, config.columns)
    assert catalogue.flux_jy == pytest.approx([5e-3])
    assert catalogue.sky_deg.tolist() == [[350.0], [-30.0]]
    with pytest.raises(ValueError, match="unknown key 'flux': did you mean 'flux_jy'"):
        FluxConfig(mode="catalogue", catalogue=str(path), columns={"flux": "S"})
    with pytest.raises(ValueError, match="belong to a catalogue; give one"):
        FluxConfig(columns=names)
    assert "columns" not in FluxConfig().marks()
    assert config.marks()["columns"] == names


def test_the_truth_of_a_field_is_a_catalogue(tmp_path):
    table = {"ra_deg": np.array([-164.0 % 360]), "dec_deg": np.array([-30.0]), "flux_jy": np.array([0.5])}
    Table(table).write(tmp_path / "truth.fits")
    assert SourceCatalogue.read(tmp_path / "truth.fits").sky_deg.tolist() == [[196.0], [-30.0]]
