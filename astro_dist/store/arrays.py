"""What an array of a store is: `ArraySpec`, and the arrays that stores of pictures have."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ArraySpec:
    """One array of a store.

    Attributes
    ----------
    name, dtype, long_name, units
        Its name, little-endian type, meaning in words and unit.
    fill
        Value where nothing is.
    values, bits
        Names of its values 0, 1, 2 and so on; or of its bits 1, 2, 4 and so on.
    planes
        Planes of each image; 0 for images that have no axis of planes.
    """

    name: str
    dtype: str
    long_name: str
    units: str = ""
    fill: float | int | bool = 0
    values: tuple[str, ...] = ()
    bits: tuple[str, ...] = ()
    planes: int = 0

    def shape(self, size_pix: int) -> tuple[int, ...]:
        """Return the shape of one image of a side of ``size_pix``."""
        square = (size_pix, size_pix)
        return (self.planes, *square) if self.planes else square

    @property
    def attributes(self) -> dict[str, Any]:
        """Attributes of the array, as CF names them."""
        found: dict[str, Any] = {"long_name": self.long_name}
        if self.units:
            found["units"] = self.units
        if self.values:
            found["flag_values"] = list(range(len(self.values)))
        if self.bits:
            found["flag_masks"] = [1 << place for place in range(len(self.bits))]
        if names := self.values or self.bits:
            found["flag_meanings"] = " ".join(names)
        return found


FURTHER = "further"
"""Attribute of a store of pictures that names the columns of `PICTURE_COLUMNS` it has as well."""
PICTURE_COLUMNS = {
    spec.name: spec
    for spec in (
        ArraySpec("parent", "<i4", "picture of the training split that it was made from or for", fill=-1),
        ArraySpec("variant", "<i4", "0 for the picture of the prompt, then the variants of that picture"),
        ArraySpec("seed", "<i8", "number of the random stream that it was drawn with"),
        ArraySpec("ra_deg", "<f8", "right ascension of the centre (ICRS)", "deg", float("nan")),
        ArraySpec("dec_deg", "<f8", "declination of the centre (ICRS)", "deg", float("nan")),
    )
}
"""Columns that some stores of pictures have, such as those of synthetic ones."""


def picture_spec(planes: int, dtype: str) -> ArraySpec:
    """Return the array of pictures with 1 or 3 planes of uint8 or float32."""
    colours = "red, green and blue" if planes == 3 else "one plane"
    scale = "from 0 to 255" if dtype == "uint8" else "from -1 to 1"
    return ArraySpec(
        "picture", {"uint8": "|u1", "float32": "<f4"}[dtype], f"{colours}, {scale}", planes=planes
    )
