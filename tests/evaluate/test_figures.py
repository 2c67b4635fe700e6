"""Figures of rows made by hand, where the answer is known."""

import numpy as np
import pytest

from astro_dist.evaluate.figures import MEANINGS, FigureTable, to_json
from astro_dist.evaluate.masks import HeldOutMasks
from astro_dist.evaluate.rows import SKY_EDGES, U_EDGES
from astro_dist.metrics.similarity import RINGS


def row(seed, n, flux=0.0, iou=1.0):
    rng = np.random.default_rng(seed)
    hit = int(100 * iou)
    return {
        "features": rng.standard_normal((n, 8)),
        "coarse": rng.standard_normal((n, 16, 16)).astype(np.float32),
        "classes": np.tile([[0, 0], [hit, 100], [0, 0]], (n, 1, 1)),
        "islands": np.tile([[hit, 100]] * 4, (n, 1, 1)),
        "island_image": np.arange(n),
        "island_flux": 10 ** (1 + flux) * np.ones(n),
        "island_size": np.full(n, 20),
        "ssim": np.full(n, 0.5),
        "power": np.full((n, RINGS), 10.0 ** (2 * flux)),
        "pixels": np.ones((n, len(U_EDGES) - 1), int),
        "noise": np.tile([100.0, 0, 100, 0, 300, 0, 0, 0, 1, 0, 0], (n, 1)),
        "sky_power": np.full((n, RINGS), 10.0**flux),
        "sky_values": np.ones((n, len(SKY_EDGES) - 1), int),
        "stripes": np.full(n, 1.5 - flux),
        "stray": np.arange(n) % 2,
        "flux_image": np.arange(n),
        "flux_class": np.where(np.arange(n) % 2, 2, 3),
        "flux_dex": np.full(n, flux),
    }


@pytest.fixture
def measured(stage_run):
    masks = HeldOutMasks(stage_run)
    n = masks.n
    train = {k: row(9, len(masks.train))[k] for k in ("features", "coarse")}
    copies = row(4, n)
    own = np.searchsorted(masks.train, masks.trained)
    copies |= {"features": train["features"][own], "coarse": np.rot90(train["coarse"][own], 1, (1, 2))}
    rows = {"real": row(1, n), "generated": row(2, n, 0.3, 0.5), "trained": copies, "train": train}
    figures = FigureTable(stage_run, masks, rows)
    return {(f.row, f.name): f for f in figures.measure()}, figures


def test_figures_are_those_of_the_rows(measured):
    value = {key: figure.value for key, figure in measured[0].items()}
    assert value["generated", "segmentation_score"] == value["generated", "segmentation_ratio"] == 0.5
    assert value["generated", "island_ratio"] == 0.5
    assert value["generated", "flux_bias_dex"] == value["generated", "flux_bias_compact_dex"] == 0.3
    assert value["generated", "flux_scatter_dex"] == value["generated", "flux_lost"] == 0
    assert value["generated", "island_flux_dex"] == pytest.approx(0.3)
    assert value["generated", "island_size_dex"] == 0
    assert value["generated", "spectrum_dex"] == pytest.approx(0.6)
    assert value["generated", "pixels_distance"] == 0


def test_overlaps_of_every_class_are_given(stage_run):
    masks = HeldOutMasks(stage_run)
    n = masks.n
    train = {k: row(9, len(masks.train))[k] for k in ("features", "coarse")}
    ours = row(2, n)
    # Spurious, compact, extended; the island's list begins with all classes together.
    ours["classes"] = np.tile([[10, 40], [30, 40], [0, 0]], (n, 1, 1))
    ours["islands"] = np.tile([[9, 10], [0, 50], [20, 25], [5, 10]], (n, 1, 1))
    ours["islands"][0, 1] = [0, 0]
    rows = {"real": row(1, n), "generated": ours, "trained": row(4, n), "train": train}
    found = {(f.row, f.name): f for f in FigureTable(stage_run, masks, rows).measure()}
    value = {name: found["generated", name].value for name in MEANINGS if "_iou_" in name}
    assert np.isnan(value.pop("segmentation_iou_extended"))
    assert value == {
        "segmentation_iou_spurious": 0.25,
        "segmentation_iou_compact": 0.75,
        "island_iou_spurious": 0,
        "island_iou_compact": 0.8,
        "island_iou_extended": 0.5,
    }
    # As many images as have a pixel of the class.
    assert found["generated", "island_iou_spurious"].n == n - 1
    assert found["real", "segmentation_iou_compact"].value == 1


def test_the_sky_is_measured_beside_the_real_one(measured):
    value = {key: figure.value for key, figure in measured[0].items()}
    for row in ("real", "generated"):
        assert value[row, "noise_rms"] == 1
        assert value[row, "noise_kurtosis"] == 3
        assert value[row, "noise_above_3"] == 0.01
        assert value[row, "noise_below_5"] == 0
        assert value[row, "noise_islands"] == 0.5
    assert value["generated", "noise_power_fine"] == pytest.approx(2, rel=0.01)
    assert ("real", "noise_power_fine") not in value
    assert (value["real", "stripes"], value["generated", "stripes"]) == (1.5, pytest.approx(1.2))
    assert sum(measured[1].sky()["real"]) == pytest.approx(1)


def test_copies_are_found_out_even_when_they_are_turned(measured):
    value = {key: figure.value for key, figure in measured[0].items()}
    for kind in ("features", "pixels"):
        assert value["trained", f"copy_{kind}_ratio"] == 0
        assert value["trained", f"copy_{kind}_share"] == 1
        assert value["generated", f"copy_{kind}_ratio"] > 0.5
    assert value["trained", "copy_donor_ratio"] == 0


def test_the_length_of_the_features_does_not_matter(stage_run, measured):
    masks, rows = HeldOutMasks(stage_run), measured[1].rows
    rng = np.random.default_rng(1)
    louder = {
        name: {**r, "features": rng.uniform(1, 100, (len(r["features"]), 1)) * r["features"]}
        for name, r in rows.items()
    }
    again = {(f.row, f.name): f.value for f in FigureTable(stage_run, masks, louder).measure()}
    assert again["generated", "kid"] == pytest.approx(measured[0]["generated", "kid"].value)


def test_what_is_not_a_number_becomes_null(measured):
    plain = to_json(list(measured[0].values()))
    share = next(f for f in plain if f["name"] == "copy_pixels_share")
    assert isinstance(share["value"], float)
    assert share["low"] is share["high"] is None
    assert set(measured[1].curves()) == {"frequency_per_pix", "real", "generated", "trained"}
