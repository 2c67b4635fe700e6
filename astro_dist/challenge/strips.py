"""How a map is divided into strips, whose tiles are a task each; without the libraries that make tiles."""

from astro_dist.sky.windows import Window

TILE_PIX = 1024
FINE = 2
"""The coarsest level that a strip makes by itself."""
HIPS = "hips"
"""The part of a package that is its map as HiPS tiles."""
# Pixels of tiles may be finer than those of the map by the root of 2, and coarser orders add a third; tiles
# at the edge of the map are whole, of every order at least one.
HIPS_BYTES_PER_PIXEL, HIPS_FREE_BYTES, HIPS_TILE_BYTES, HIPS_S_PER_PIXEL = 12, 60_000_000, 1 << 20, 8e-7


def divide(shape: tuple[int, int]) -> dict[str, Window]:
    """Return the parts of a map, by name, whose tiles up to level `FINE` need no other part."""
    (ny, nx), rows = shape, TILE_PIX << FINE
    return {f"tiles_{i:02d}": Window(y, min(y + rows, ny), 0, nx) for i, y in enumerate(range(0, ny, rows))}
