"""Small FITS images of the sky for tests of their enhancement."""

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

RMS = 1e-4


def sky(shape=(64, 80), sources=6, seed=1, fwhm_pix=3.0):
    """Return noise with round sources, in Jy/beam."""
    rng = np.random.default_rng(seed)
    image = rng.normal(0, RMS, shape)
    y, x = np.mgrid[: shape[0], : shape[1]]
    for flux in RMS * np.geomspace(4, 300, sources):
        cy, cx = (rng.uniform(6, n - 6) for n in shape)
        image += flux * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) * 4 * np.log(2) / fwhm_pix**2)
    return image.astype(np.float32)


def header(unit="Jy/beam", beam=True, axes=2, **cards):
    """Return the header of an image with a TAN projection."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], [150, 2], [30.25, 20.5]
    wcs.wcs.cdelt = [-1.8 / 3600, 1.8 / 3600]
    found = wcs.to_header()
    found["BUNIT"] = unit
    if beam:
        found["BMAJ"], found["BMIN"], found["BPA"] = 5.4 / 3600, 5.4 / 3600, 0
    for i in range(3, axes + 1):
        found[f"CTYPE{i}"], found[f"CRVAL{i}"], found[f"CDELT{i}"] = "STOKES", 1.0, 1.0
        found[f"CRPIX{i}"] = 1.0
    found.update(cards)
    return found


def write(path, image=None, **options):
    """Write an image and return its path."""
    image = sky() if image is None else image
    fits.PrimaryHDU(image, header(axes=image.ndim, **options)).writeto(path)
    return path
