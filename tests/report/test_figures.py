import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astro_dist.engine.seeds import stream
from astro_dist.field.config import FluxConfig
from astro_dist.field.flux import draw_k
from astro_dist.report import figures
from astro_dist.report.style import STYLE, to_svg
from astro_dist.sky.counts import draw_fluxes, number_between
from astro_dist.sky.counts import euclidean_counts as published_curve

N = 500
CLASSES = np.array(["compact", "extended"] * (N // 2))
K = draw_k(N, FluxConfig(), stream(1, "k"))


@settings(max_examples=25, deadline=None)
@given(
    st.floats(0.5, 20),
    st.floats(1, 50),
    st.floats(0, 0.9),
    st.sampled_from(["redraw", "clip"]),
)
def test_the_density_asked_for_holds_all_that_is_drawn(scale, cap, share, above):
    flux = FluxConfig(scale=scale, cap=cap, minimum=share * cap, above=above)
    k = np.linspace(flux.minimum, cap, 20_001)
    inside = np.trapezoid(figures.exponential_density(k, flux), k)
    spike = np.exp(-(cap - flux.minimum) / scale) if above == "clip" else 0.0
    assert inside + spike == pytest.approx(1, abs=1e-3)
    assert figures.exponential_density(np.array([cap * 1.01, flux.minimum - 0.01]), flux).tolist() == [0, 0]


def test_the_density_is_that_of_the_drawn_k():
    flux = FluxConfig(minimum=1.0)
    k = draw_k(200_000, flux, stream(2, "k"))
    found, edges = np.histogram(k, np.linspace(1, 10, 10), density=True)
    middle = figures.exponential_density((edges[1:] + edges[:-1]) / 2, flux)
    np.testing.assert_allclose(found, middle, rtol=0.05)


def test_euclidean_counts_of_a_euclidean_universe_are_flat():
    flux_jy = 1e-3 * (1 - stream(3, "u").random(200_000)) ** (-1 / 1.5)
    edges = 1e-3 * np.array([1, 1.5, 2, 3, 5])
    centre, counts, error = figures.euclidean_counts(flux_jy, 0.01, edges)
    expected = 1.5 * 200_000 * 1e-3**1.5 / 0.01
    np.testing.assert_allclose(counts, expected, rtol=0.06)
    # Of many sources the Poisson errors are the root of their number.
    np.testing.assert_allclose(error / counts, [1 / np.sqrt(np.histogram(flux_jy, edges)[0])] * 2, rtol=0.02)
    assert (centre > edges[:-1]).all()
    assert (centre < edges[1:]).all()


def test_empty_bins_of_the_counts_are_left_out():
    centre, counts, error = figures.euclidean_counts(np.array([1.5e-3]), 0.01, 1e-3 * np.array([1, 2, 3]))
    assert len(centre) == len(counts) == 1
    # One event: 1 (+2.30, -0.83), Gehrels 1986, tables 1 and 2.
    np.testing.assert_allclose(error[:, 0] / counts, [0.83, 2.30], rtol=0.02)


@pytest.mark.parametrize("ratio", [1.0, 0.5])
def test_fields_by_the_published_counts_lie_on_their_curve(ratio):
    area_sr, low, high = 0.02, 1e-3, 1.0
    n = stream(4, "n").poisson(area_sr * number_between(low, high))
    flux = ratio * draw_fluxes(stream(5, "flux").random(n), low, high)
    edges = ratio * np.geomspace(low, 0.1, 9)
    centre, counts, error = figures.euclidean_counts(flux, area_sr, edges)
    at_1400, scaled = centre / ratio, figures.Reference(ratio).scaled
    wanted = scaled(at_1400, published_curve(at_1400))[1]
    assert (abs(counts - wanted) < 4 * error.mean(axis=0) + 0.03 * wanted).all()


def test_the_counts_are_drawn_with_those_that_are_published():
    flux = np.geomspace(3e-4, 0.3, 200)
    figure = figures.plot_counts(flux, np.full(200, "compact"), 0.01, figures.Reference(1.0, 2e-4))
    axes = figure.axes[0]
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert set(names) == {"curve through them", "published", "all", "compact"}
    curve = next(line for line in axes.lines if line.get_label() == "curve through them")
    # Bins begin at the limit of the field.
    assert curve.get_xdata()[0] == pytest.approx(0.2)
    assert curve.get_ydata()[0] == pytest.approx(published_curve(np.array([2e-4]))[0])


def test_the_histogram_of_k_counts_every_object():
    figure = figures.plot_peaks(K, CLASSES, FluxConfig())
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert {"compact (250)", "extended (250)", f"all ({N})", "asked for: scale 3, cap 10"} == set(labels)
    outline = next(p for p in figure.axes[0].patches if p.get_label() == f"all ({N})")
    assert outline.get_data().values.sum() == N


def test_without_an_exponential_none_is_drawn_and_the_axis_is_logarithmic():
    (axes,) = figures.plot_peaks(K, CLASSES, None).axes
    assert not axes.lines
    assert axes.get_xscale() == "log"
    outline = next(p for p in axes.patches if p.get_label() == f"all ({N})")
    assert outline.get_data().values.sum() == N


def test_fluxes_below_the_first_bin_are_counted_in_it():
    flux_jy = np.append(1e-9, np.geomspace(1e-4, 1e-2, N - 1))
    figure = figures.plot_fluxes(flux_jy, flux_jy, CLASSES)
    counted = [
        p.get_data().values.sum() for p in figure.axes[0].patches if p.get_label().startswith("compact")
    ]
    assert counted == [N / 2]
    assert figure.axes[0].get_xlabel() == "integrated flux (mJy)"


def test_every_graph_draws_with_one_object_and_leaves_matplotlib_as_it_was():
    before = {key: matplotlib.rcParams[key] for key in STYLE}
    one, name = np.array([2e-3]), np.array(["compact"])
    drawn = [
        figures.plot_peaks(one, name, FluxConfig()),
        figures.plot_fluxes(one, one, name),
        figures.plot_sizes(one, name, 6.0),
        figures.plot_counts(one, name, 0.01),
        figures.plot_curve({"loss": [(0, 1.0)]}),
        figures.plot_curve({"loss": [(0, -1.0), (5, 2.0)], "validation_loss": [(5, 1.0)]}),
    ]
    assert all(to_svg(figure).startswith("data:image/svg+xml;base64,") for figure in drawn)
    assert {key: matplotlib.rcParams[key] for key in STYLE} == before != STYLE


def test_a_graph_is_drawn_the_same_twice():
    first, second = (to_svg(figures.plot_sizes(K + 5, CLASSES, 6.0)) for _ in range(2))
    assert first == second
