"""Close views beside the survey: which sources are shown, and which real ones stand beside them."""

import numpy as np
import pytest
from astropy.io import fits
from PIL import Image

from astro_dist.field.zooms import OUTLINES, View, choose, draw_zooms, find_twins, liken, window_at
from astro_dist.sky.beams import Beam
from astro_dist.sky.fits_file import plane_wcs, radio_header
from astro_dist.sky.maps import MapsConfig, SkyMap
from astro_dist.store.reader import StoreReader
from astro_dist.store.schema import STACKS, publish_store
from astro_dist.store.shards import write_shard
from tests.field.small_sky import BEAM, PIXEL, RMS

SIDE = 64


def draw(peaks, side=SIDE):
    """Return noise with Gaussians ``(y, x, peak over noise, class)``, in units of the noise, and the mask."""
    y, x = np.mgrid[:side, :side]
    image = np.random.default_rng(len(peaks)).normal(0, 1, (side, side))
    mask = np.zeros((side, side), np.uint8)
    for y0, x0, peak, kind in peaks:
        source = peak * BEAM.profile(y - y0, x - x0, PIXEL)
        image += source
        mask[source > 5] = kind
    return image.astype(np.float32), mask


SCENES = {
    "faint": [(32, 32, 8, 2)],
    "bright": [(30, 33, 300, 2)],
    "double": [(28, 32, 40, 3), (37, 32, 30, 3)],
    "empty": [],
}


@pytest.fixture(scope="module")
def cutouts(tmp_path_factory):
    path = tmp_path_factory.mktemp("zooms") / "cutouts.zarr"
    images, masks = (np.stack(part) for part in zip(*(draw(p) for p in SCENES.values()), strict=True))
    n = len(images)
    arrays = {"image": RMS * images, "mask": masks, "instances": masks, "valid": np.isfinite(images)}
    for spec in STACKS["cutouts"]:
        write_shard(path, spec, 0, arrays[spec.name].astype(spec.dtype), n)
    names = ("source_map", "y0", "x0", "flags", "split", "ra_deg", "dec_deg", "background_jy_beam")
    columns = {name: np.zeros(n) for name in names}
    columns |= {"rms_jy_beam": np.full(n, RMS), "n_objects": [1, 1, 1, 0]}
    columns |= {f"beam_{name}": np.zeros(n) for name in ("major_arcsec", "minor_arcsec", "pa_deg")}
    beam = {"major_arcsec": BEAM.major_arcsec, "minor_arcsec": BEAM.minor_arcsec, "pa_deg": 0.0}
    entry = {"name": "real", "shape": [500, 500], "header": {}, "beam": beam, "frequency_hz": 1.4e9}
    entry["pixel_arcsec"] = [PIXEL.dy_arcsec, PIXEL.dx_arcsec]
    publish_store(path, "cutouts", SIDE, n, columns, {"maps": [entry], "survey": "s", "stretch": "asinh"})
    return StoreReader(path)


def make_truth(**columns):
    n = len(columns["flux_jy"])
    plain = {
        "detectable": 1,
        "class": 2,
        "blend_size": 1,
        "n_components": 1,
        "snr": 20.0,
        "major_arcsec": 9.0,
    }
    truth = {name: np.full(n, value) for name, value in plain.items()}
    truth |= {"sigma_jy_beam": np.full(n, RMS), "y_peak_pix": np.arange(n), "x_peak_pix": np.arange(n)}
    return truth | {name: np.array(values) for name, values in columns.items()}


def test_every_kind_of_source_is_shown_once():
    truth = make_truth(
        flux_jy=[1, 9, 2, 3, 4, 5, 8, 7],
        **{"class": [2, 2, 3, 3, 3, 3, 3, 3]},
        blend_size=[1, 1, 1, 1, 1, 1, 3, 2],
        n_components=[1, 1, 1, 1, 1, 2, 1, 1],
    )
    assert choose(truth) == {"bright": 1, "blend": 6, "double": 5, "extended": 3}
    # What is not detectable is not shown, and a field of one source shows it once.
    assert choose(make_truth(flux_jy=[1.0, 2.0], detectable=[0, 0])) == {}
    assert choose(make_truth(flux_jy=[3.0], **{"class": [3]})) == {"bright": 0}
    assert choose(make_truth(flux_jy=np.zeros(0))) == {}


def test_windows_stay_inside():
    windows = [window_at(y, x, 128, (1000, 2000)) for y, x in ((0, 0), (999, 1999), (500, 700))]
    assert [(w.y0, w.x0) for w in windows] == [(0, 0), (872, 1872), (436, 636)]
    assert window_at(50, 390, 320, (100, 400)).shape == (100, 320)


def test_a_twin_has_the_same_peak_area_and_number_of_peaks(cutouts):
    scenes = [View(*draw(SCENES[name]), RMS, BEAM, PIXEL) for name in ("double", "faint", "bright")]
    twins = find_twins(cutouts, scenes)
    assert [number for _, number in twins] == [2, 0, 1]
    assert np.allclose(twins[0][0].snr, draw(SCENES["double"])[0], atol=1e-4)
    assert find_twins(cutouts, [View(*draw([]), RMS, BEAM, PIXEL)]) == [None]


def test_likeness_is_that_of_the_source_in_the_middle():
    view = View(*draw([(30, 30, 50, 3), (4, 60, 500, 2)]), RMS, BEAM, PIXEL)
    log_peak, _, peaks, kind = liken(view)
    assert 10**log_peak == pytest.approx(50, rel=0.1)
    assert (peaks, kind) == (0.5, 0.5)
    assert liken(View(*draw([]), RMS, BEAM, PIXEL)) is None
    blank = view.snr.copy()
    blank[:] = np.nan
    assert liken(View(blank, view.mask, RMS, BEAM, PIXEL)) is None


def test_pictures_show_field_survey_and_mask_and_have_the_same_bytes(tmp_path, cutouts):
    image, mask = draw([(50, 60, 60, 3), (59, 60, 40, 3), (20, 20, 200, 2)], 90)
    truth = make_truth(
        flux_jy=[2.0, 1.0],
        **{"class": [2, 3], "n_components": [1, 2]},
        y_peak_pix=[20, 50],
        x_peak_pix=[20, 60],
    )
    header = radio_header(image.shape, plane_wcs(image.shape, PIXEL, 10.0, 10.0), Beam(8.0, 8.0))
    fits.writeto(tmp_path / "map.fits", RMS * image, header)
    field = SkyMap.open(tmp_path / "map.fits", MapsConfig())
    layers = {"map.fits": RMS * image, "mask.fits": mask}
    pictures = []
    for name in ("a", "b"):
        (folder := tmp_path / name).mkdir()
        found = draw_zooms(
            folder, lambda w: {k: v[w.slices] for k, v in layers.items()}, truth, field, cutouts
        )
        assert found == ["zoom-bright.png", "zoom-double.png"]
        pictures.append([(folder / name).read_bytes() for name in found])
    assert pictures[0] == pictures[1]
    with Image.open(tmp_path / "a" / "zoom-double.png") as picture:
        assert "magnified 8 times" in picture.text["Description"]
        pixels = np.asarray(picture)
    orange = np.nonzero((pixels == OUTLINES[3]).all(axis=2))[1]
    # Ticks at the source in the first two panels, outlines in the third.
    assert orange.min() < 16 + 512 < np.median(orange)
    assert orange.max() > 16 + 2 * (512 + 14)
