"""Integer rectangles in a map, and the two ways to cover a map with them: tiles and row bands.

A `Window` is half-open like a Python slice. Overlaps, moves and growths are algebra on four integers,
so that no other module does arithmetic with edges.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from astro_dist.engine.errors import ConfigError


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """Pixels ``y0 <= y < y1`` and ``x0 <= x < x1`` of a map; never empty, may reach outside the map."""

    y0: int
    y1: int
    x0: int
    x1: int

    def __post_init__(self) -> None:
        if self.y1 <= self.y0 or self.x1 <= self.x0:
            raise ValueError(f"an empty window: {self}")

    @classmethod
    def of_shape(cls, shape: Sequence[int]) -> "Window":
        """Return the window that holds a whole map of ``shape`` (ny, nx)."""
        ny, nx = shape
        return cls(0, int(ny), 0, int(nx))

    @property
    def height(self) -> int:
        """Number of rows, pix."""
        return self.y1 - self.y0

    @property
    def width(self) -> int:
        """Number of columns, pix."""
        return self.x1 - self.x0

    @property
    def shape(self) -> tuple[int, int]:
        """``(height, width)``, as of the array that the window selects."""
        return self.height, self.width

    @property
    def slices(self) -> tuple[slice, slice]:
        """The index of these pixels in an array of the whole map."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    @property
    def centre(self) -> tuple[float, float]:
        """The middle ``(y, x)`` in pixel coordinates, where pixel (0, 0) is centred on (0, 0)."""
        return (self.y0 + self.y1 - 1) / 2, (self.x0 + self.x1 - 1) / 2

    def __and__(self, other: "Window") -> "Window | None":
        """Return the pixels in both windows, or None when there are none."""
        y0, y1 = max(self.y0, other.y0), min(self.y1, other.y1)
        x0, x1 = max(self.x0, other.x0), min(self.x1, other.x1)
        return Window(y0, y1, x0, x1) if y0 < y1 and x0 < x1 else None

    def within(self, other: "Window") -> tuple[slice, slice]:
        """Return the index of these pixels in an array that holds exactly ``other``.

        Raises
        ------
        ValueError
            When this window is not wholly inside ``other``.
        """
        # Unchecked, a negative start would count from the end of the array.
        if self & other != self:
            raise ValueError(f"{self} is not inside {other}")
        return self.shifted(-other.y0, -other.x0).slices

    def shifted(self, dy: int, dx: int) -> "Window":
        """Return the same shape moved by ``(dy, dx)`` pixels."""
        return Window(self.y0 + dy, self.y1 + dy, self.x0 + dx, self.x1 + dx)

    def grown(self, n: int) -> "Window":
        """Return the window with ``n`` more pixels on every side (fewer when negative)."""
        return Window(self.y0 - n, self.y1 + n, self.x0 - n, self.x1 + n)


def tile_map(shape: Sequence[int], size_pix: int, stride_pix: int) -> list[Window]:
    """Cover a map with square windows, row by row.

    Every pixel lies in at least one window and every window lies inside the map: the last row and the
    last column are moved inward instead of being cut.

    Parameters
    ----------
    shape
        ``(ny, nx)`` of the map.
    size_pix, stride_pix
        Side of a window and the step between neighbours; a step above the side would leave gaps.

    Raises
    ------
    ConfigError
        When the map is smaller than a window, or the step leaves gaps.
    """
    ys, xs = _corners(shape, size_pix, stride_pix)
    return [Window(y, y + size_pix, x, x + size_pix) for y in ys for x in xs]


def count_tiles(shape: Sequence[int], size_pix: int, stride_pix: int) -> int:
    """Return the number of windows of `tile_map`, which raises the same errors."""
    ys, xs = _corners(shape, size_pix, stride_pix)
    return len(ys) * len(xs)


def _corners(shape: Sequence[int], size_pix: int, stride_pix: int) -> tuple[list[int], list[int]]:
    ny, nx = (int(n) for n in shape)
    if min(ny, nx) < size_pix:
        raise ConfigError(
            f"the map has {ny} x {nx} pixels and a window {size_pix} x {size_pix}; "
            "choose smaller windows or a larger map"
        )
    if not 1 <= stride_pix <= size_pix:
        raise ConfigError(f"a stride of {stride_pix} pixels must be between 1 and the window's {size_pix}")
    return _starts(ny, size_pix, stride_pix), _starts(nx, size_pix, stride_pix)


def bands(shape: Sequence[int], height: int) -> list[Window]:
    """Cut a map of ``shape`` (ny, nx) into full-width bands of ``height`` rows, the last one lower."""
    ny, nx = (int(n) for n in shape)
    return [Window(y, min(y + height, ny), 0, nx) for y in range(0, ny, height)]


def _starts(length: int, size: int, stride: int) -> list[int]:
    # The last window ends at the edge; it overlaps its neighbour where the step does not divide the length.
    last = length - size
    # `range` ends before `last`, so that no window comes twice where the step divides the length.
    return [*range(0, last, stride), last]
