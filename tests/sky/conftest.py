import numpy as np
import pytest

from astro_dist.sky.beams import Beam, Pixel
from astro_dist.sky.fits_file import (
    BandedImage,
    create_banded,
    plane_wcs,
    radio_header,
    seal_banded,
    write_rows,
)
from astro_dist.sky.maps import MapsConfig, SkyMap

BEAM, PIXEL = Beam(8.0, 8.0), Pixel(2.0, 2.0)


@pytest.fixture
def make_map(tmp_path):
    """Write an image (Jy/beam) as a map and open it."""

    def make(image, beam=BEAM, pixel=PIXEL, name="small"):
        path = tmp_path / f"{name}.fits"
        path.unlink(missing_ok=True)
        header = radio_header(image.shape, plane_wcs(image.shape, pixel, 40.0, -35.0), beam, 1.4e9)
        banded = BandedImage(header, image.shape, np.float32)
        create_banded(path, banded)
        seal_banded(path, banded, {"all": write_rows(path, 0, image.astype(np.float32))})
        return SkyMap.open(path, MapsConfig())

    return make
