"""Write copies of maps at a larger beam, so that a model can be trained on several beams.

    python jobs/convolve_maps.py --own 5.4 5.4 0 --beam 9 6.5 40 --out wider/ maps/*.fits

Beams are major and minor axis in arcsec and the angle in degrees, north through east; --own is for maps whose
headers lack theirs. Values in Jy/beam are scaled to the new beam, so that the peak of a point source stays.
What touches pixels without data becomes blank, at most to two widths of the kernel. List the copies under
`maps.more`; their headers have the new beam.
"""

import argparse
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs.utils import proj_plane_pixel_scales
from scipy.ndimage import maximum_filter
from scipy.signal import fftconvolve

from astro_dist.engine.errors import ConfigError, errors_in_one_line
from astro_dist.sky.beams import Beam, Pixel
from astro_dist.sky.common_beam import beam_of_moments, moments_of_beam
from astro_dist.sky.maps import celestial_wcs

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--own", nargs=3, type=float)
parser.add_argument("--beam", nargs=3, type=float, required=True)
parser.add_argument("--out", type=Path, required=True)
parser.add_argument("maps", nargs="+", type=Path)
options = parser.parse_args()
with errors_in_one_line():
    if any((options.out / path.name.removesuffix(".fz")).exists() for path in options.maps):
        raise ConfigError(f"{options.out} has such copies already; give another --out")
    options.out.mkdir(parents=True, exist_ok=True)
    wanted = Beam(*options.beam)
    for path in options.maps:
        with fits.open(path) as hdus:
            hdu = next(one for one in hdus if one.header["NAXIS"] >= 2)
            header, image = hdu.header.copy(), np.squeeze(hdu.data).astype(np.float64)
        try:
            own = Beam(*(options.own or (3600 * header["BMAJ"], 3600 * header["BMIN"], header["BPA"])))
        except KeyError:
            raise ConfigError(f"{path}: no beam in its header; give --own") from None
        if image.ndim != 2:
            raise ConfigError(f"{path}: {image.ndim} axes of more than one pixel; give one plane")
        excess = moments_of_beam(wanted) - moments_of_beam(own)
        if np.linalg.eigvalsh(excess)[0] <= 0:
            raise ConfigError(f"{path}: its beam {own} is not inside {wanted}; give a larger --beam")
        dx, dy = 3600 * proj_plane_pixel_scales(celestial_wcs(header))
        kernel_beam, pixel = beam_of_moments(excess), Pixel(dy, dx)
        reach = int(np.ceil(2 * kernel_beam.major_arcsec / min(dx, dy)))
        y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
        kernel = kernel_beam.profile(y, x, pixel)
        blank = np.isnan(image)
        found = fftconvolve(np.where(blank, 0, image), kernel / kernel.sum(), mode="same")
        found *= wanted.area_pix(pixel) / own.area_pix(pixel)
        found[maximum_filter(blank, 2 * reach + 1, mode="constant", cval=1)] = np.nan
        header["BMAJ"], header["BMIN"] = wanted.major_arcsec / 3600, wanted.minor_arcsec / 3600
        header["BPA"] = wanted.pa_deg
        header.add_history(f"convolved from {own} to {wanted}")
        copy = fits.PrimaryHDU(found.astype(np.float32), header)
        copy.writeto(options.out / path.name.removesuffix(".fz"))
