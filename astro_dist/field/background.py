"""The backgrounds of a field: simulated noise, or a real map with its sources replaced or kept.

A background is read by windows, and the value of a pixel never depends on the window. The analysis of a real
map (noise mesh and islands) is one task that writes small files into the folder of the field.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.arrays import Image
from astro_dist.engine.files import publish_file
from astro_dist.field.layout import CLOSED, TAKEN, Ground
from astro_dist.sky.beams import Beam, Pixel
from astro_dist.sky.catalogue import COLUMNS
from astro_dist.sky.config import AnnotateConfig
from astro_dist.sky.finder import find_islands
from astro_dist.sky.fits_tables import write_table
from astro_dist.sky.maps import SkyMap
from astro_dist.sky.mesh import Mesh, Wide
from astro_dist.sky.noise import beam_noise
from astro_dist.sky.noise_maps import NoiseMap, NoisyMesh
from astro_dist.sky.texture import Texture
from astro_dist.sky.windows import Window, bands

READ_ROWS = 512  # rows of a real map in memory at once: 31 MB of float32 at 15,000 columns
# One key serves both kinds of background, because a field has only one of them.
NOISE_KEY = ("assemble", "noise")
MESH_FILE, PIXELS_FILE, ISLANDS_FILE = "background_mesh.npy", "background_islands.npy", "existing.fits"
TEXTURE_FILE = "background_texture.npy"
BACKGROUND_FILES = (MESH_FILE, PIXELS_FILE, ISLANDS_FILE)


class Background(Protocol):
    """A background that objects are added to."""

    def read(self, window: Window) -> Image:
        """Return the pixels of a window before objects are added, Jy/beam; NaN means no data."""
        ...

    def rms_at(self, y: NDArray[np.int64], x: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the local rms at pixels, Jy/beam."""
        ...

    def close(self, ground: Ground) -> None:
        """Mark the pixels where nothing may be placed as CLOSED, and those of real sources as TAKEN."""
        ...


@dataclass(frozen=True)
class NoiseBackground:
    """Beam-correlated Gaussian noise of one rms, mean zero."""

    beam: Beam
    pixel: Pixel
    seed: int
    rms_jy_beam: float

    def read(self, window: Window) -> Image:
        """See `Background`."""
        noise = beam_noise(window, self.beam, self.pixel, self.seed, NOISE_KEY)
        return noise * np.float32(self.rms_jy_beam)

    def rms_at(self, y: NDArray[np.int64], x: NDArray[np.int64]) -> NDArray[np.float64]:
        """See `Background`."""
        return np.full(len(y), self.rms_jy_beam)

    def close(self, ground: Ground) -> None:
        """See `Background`: every pixel stays free."""


@dataclass(frozen=True, eq=False)
class TexturedBackground:
    """Gaussian noise of one rms with the texture of the survey's own, mean zero."""

    texture: Texture
    rms_jy_beam: float

    @classmethod
    def load(cls, folder: Path, seed: int, rms_jy_beam: float) -> "TexturedBackground":
        """Return the background from the file that `astro_dist.field.texture` wrote into ``folder``."""
        return cls(Texture(np.load(folder / TEXTURE_FILE), seed, NOISE_KEY), rms_jy_beam)

    def read(self, window: Window) -> Image:
        """See `Background`."""
        return self.texture.read(window) * np.float32(self.rms_jy_beam)

    def rms_at(self, y: NDArray[np.int64], x: NDArray[np.int64]) -> NDArray[np.float64]:
        """See `Background`."""
        return np.full(len(y), self.rms_jy_beam)

    def close(self, ground: Ground) -> None:
        """See `Background`: every pixel stays free."""


@dataclass(frozen=True, eq=False)
class MapBackground:
    """A real map.

    Attributes
    ----------
    sky_map, mesh
        The map, and its local background and noise.
    islands_yx
        Rows and columns of all pixels of its islands, shape (2, n), sorted by row.
    keep
        Whether its sources stay. Otherwise each island, and half a beam width round it, becomes the local
        background plus beam-correlated noise of the local rms. Over one more beam width the noise and the map
        are blended with the weights cos(a) and sin(a), which keeps the variance and leaves no seam.
    seed
        Seed of that noise.
    """

    sky_map: SkyMap
    mesh: Mesh
    islands_yx: NDArray[np.int32]
    keep: bool
    seed: int

    @classmethod
    def load(
        cls, sky_map: SkyMap, folder: Path, keep: bool, seed: int, noise: NoiseMap | None = None
    ) -> "MapBackground":
        """Return the background from a map and the files that `analyse_map` wrote into ``folder``.

        ``noise`` is the map of the noise that the analysis had.
        """
        wide, size = None, None
        with (folder / MESH_FILE).open("rb") as handle:
            cell_pix = int(np.load(handle))
            background, rms = np.load(handle)
            while handle.peek(1):
                values = np.load(handle)
                if values.ndim:
                    wide = Wide.of_planes(values)
                else:
                    size = float(values)
        mesh = Mesh(sky_map.shape, cell_pix, background, rms, wide=wide)
        if noise is not None and size is not None:
            mesh = NoisyMesh.of(mesh, noise, size)
        return cls(sky_map, mesh, np.load(folder / PIXELS_FILE), keep, seed)

    def read(self, window: Window) -> Image:
        """See `Background`."""
        image = self.sky_map.read(window)
        if self.keep:
            return image
        distance = self.distance_pix(window)
        # NaN stays NaN: beyond the map's coverage there is no sky that noise could stand for.
        gone = np.isfinite(distance) & np.isfinite(image)
        if gone.any():
            level, rms = (values[gone] for values in self.mesh.evaluate(window))
            # For the whole window and not for single pixels: the noise is filtered in blocks of a fixed grid.
            noise = beam_noise(window, self.sky_map.beam, self.sky_map.pixel, self.seed, NOISE_KEY)[gone]
            # cos^2 + sin^2 = 1: the sum of the map's noise and independent noise keeps the local variance.
            angle = np.pi / 2 * np.clip(distance[gone] / self.fwhm_pix - 0.5, 0, 1)
            image[gone] = level + np.sin(angle) * (image[gone] - level) + np.cos(angle) * rms * noise
        return image

    def rms_at(self, y: NDArray[np.int64], x: NDArray[np.int64]) -> NDArray[np.float64]:
        """See `Background`."""
        return self.mesh.evaluate_at(y, x)[1].astype(np.float64)

    def close(self, ground: Ground) -> None:
        """See `Background`: blank pixels are CLOSED, and the pixels of kept sources TAKEN."""
        for window in bands(self.sky_map.shape, READ_ROWS):
            part = ground[window.slices]
            part[~np.isfinite(self.sky_map.read(window))] = CLOSED
            if self.keep:
                # TAKEN and not CLOSED: `max_overlap` holds for real sources too. `|=` keeps CLOSED pixels.
                part[self.distance_pix(window) <= self.fwhm_pix] |= TAKEN

    @property
    def fwhm_pix(self) -> float:
        """Full width at half maximum of the map's beam, in pixels."""
        return self.sky_map.beam.fwhm_pix(self.sky_map.pixel)

    def distance_pix(self, window: Window) -> Image:
        """Return each pixel's distance to the nearest island, in pixels; infinity beyond 1.5 beam widths."""
        steps = _disc(1.5 * self.fwhm_pix)
        reach = max(dy for _, dy, _ in steps)
        frame = window.grown(reach)
        rows, columns = self.islands_yx
        # Rows are sorted, so that only the island pixels of the frame's rows are looked at.
        first, last = np.searchsorted(rows, [frame.y0, frame.y1])
        y, x = rows[first:last] - frame.y0, columns[first:last] - frame.x0
        seen = (x >= 0) & (x < frame.width)
        y, x = y[seen] + reach, x[seen] + reach
        # Island pixels lie up to `reach` outside the window and their discs reach as far again. With room for
        # both, no step has to be clipped.
        distance = np.full(frame.grown(reach).shape, np.inf, np.float32)
        # Steps go from far to near, so that the shortest distance of a pixel is written last and stays.
        for d, dy, dx in steps:
            distance[y + dy, x + dx] = d
        return distance[window.within(frame.grown(reach))]


def analyse_map(
    sky_map: SkyMap, folder: Path, config: AnnotateConfig, noise: NoiseMap | None = None
) -> dict[str, Any]:
    """Measure the noise of a map, find its islands, and write mesh, pixels and list of sources to ``folder``.

    Parameters
    ----------
    noise
        The user's map of the noise or of weights, which takes the place of what is measured.

    Returns
    -------
    dict
        ``islands``, ``island_pix`` and ``median_rms_jy_beam``.
    """
    found = find_islands(sky_map, config, noise=noise)
    mesh, pixels = found.mesh, found.islands.pixels
    # Sorted by row for `MapBackground.distance_pix`.
    order = np.lexsort((pixels.x, pixels.y))
    # An open handle, because given a path np.save would append .npy to the hidden name.
    with publish_file(folder / MESH_FILE) as hidden, hidden.open("wb") as handle:
        # Both arrays in one file: cell size and mesh can never come from different analyses.
        np.save(handle, np.int64(mesh.cell_pix))
        np.save(handle, np.stack([mesh.background, mesh.rms]))
        # Read back by the number of axes, since both are there for some maps only.
        if mesh.wide is not None:
            np.save(handle, mesh.wide.planes())
        if isinstance(mesh, NoisyMesh):
            np.save(handle, np.float64(mesh.size))
    with publish_file(folder / PIXELS_FILE) as hidden, hidden.open("wb") as handle:
        np.save(handle, np.stack([pixels.y[order], pixels.x[order]]))
    write_table(folder / ISLANDS_FILE, found.sources, COLUMNS, name="EXISTING")
    return {"islands": len(found.islands), "island_pix": len(pixels), "median_rms_jy_beam": mesh.median_rms}


def _disc(radius: float) -> list[tuple[float, int, int]]:
    """Return ``(distance, dy, dx)`` of all pixels within a radius, the farthest first."""
    n = math.floor(radius)
    steps = [(math.hypot(dy, dx), dy, dx) for dy in range(-n, n + 1) for dx in range(-n, n + 1)]
    return sorted((step for step in steps if step[0] <= radius), reverse=True)
