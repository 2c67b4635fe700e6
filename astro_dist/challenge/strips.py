"""How a map is divided into strips, whose tiles are a task each; without the libraries that make tiles."""

from astro_dist.sky.windows import Window

TILE_PIX = 1024
FINE = 2
"""The coarsest level that a strip makes by itself."""


def divide(shape: tuple[int, int]) -> dict[str, Window]:
    """Return the parts of a map, by name, whose tiles up to level `FINE` need no other part."""
    (ny, nx), rows = shape, TILE_PIX << FINE
    return {f"tiles_{i:02d}": Window(y, min(y + rows, ny), 0, nx) for i, y in enumerate(range(0, ny, rows))}
