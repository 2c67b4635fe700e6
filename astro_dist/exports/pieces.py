"""The images of a store, one after the other, with all that an exported file says of them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.errors import ConfigError
from astro_dist.engine.ledger import Ledger
from astro_dist.engine.origins import SIMULATED, Origin, merge, of_facts
from astro_dist.sky.beams import Beam, Pixel
from astro_dist.store.reader import StoreReader

STAGES = {"cutouts": "cutouts", "stamps": "generate"}
AT_ONCE = 64
UNSPLIT = "all"


@dataclass(frozen=True, eq=False)
class Piece:
    """One cutout or stamp.

    Attributes
    ----------
    name
        Name of its files, such as ``cutout-000017``.
    index
        Its number in the store.
    image_jy_beam, mask, instances
        Shape (s, s).
    rms_jy_beam, background_jy_beam
        Noise, and mean of the sky (0 for stamps).
    beam, pixel
        In the frame of the image.
    about
        What the store says of its map: name, WCS cards, survey; the corner in that map. None for stamps,
        which have no place on the sky.
    """

    name: str
    index: int
    image_jy_beam: NDArray[np.float32]
    mask: NDArray[np.uint8]
    instances: NDArray[np.uint16]
    rms_jy_beam: float
    background_jy_beam: float
    beam: Beam
    pixel: Pixel
    frequency_hz: float | None
    about: dict[str, Any] | None


class Pieces:
    """The cutouts or the stamps of a run.

    Parameters
    ----------
    root
        The run directory.
    what
        ``cutouts`` or ``stamps``.

    Attributes
    ----------
    origins
        The data that they follow from, with their terms.
    simulated
        Whether no pixel is of a real sky.
    observed
        What the headers of the maps say of the observation, by the map's name; empty until it is set, see
        `astro_dist.exports.observed.read_observed`.

    Raises
    ------
    ConfigError
        The run has none yet.
    """

    def __init__(self, root: Path, what: str) -> None:
        ledger = Ledger(root)
        published = ledger.published(STAGES[what])
        if published is None:
            raise ConfigError(
                f"{root} has no {what} yet; run `astro-dist run` to the stage {STAGES[what]} first"
            )
        self.what, self.reader = what, StoreReader(root / published.product)
        self.observed: Mapping[str, Mapping[str, Any]] = {}
        # A stamp has the beam and the pixels of the cutout that its mask is from.
        donors = ledger.published("cutouts")
        cutouts = StoreReader(root / donors.product) if donors is not None else self.reader
        own = np.arange(len(self.reader))
        rows = self.reader.columns["donor"] if what == "stamps" else own
        self._map_of = cutouts.columns["source_map"][rows]
        stages = ledger.all_published()
        # Cutouts follow from maps alone, stamps from the networks and what these learnt from as well.
        behind = stages if what == "stamps" else {"cutouts"} & stages.keys()
        self.origins: tuple[Origin, ...] = merge(*(of_facts(stages[name].facts) for name in behind))
        first = of_facts(stages["cutouts"].facts) if "cutouts" in stages else ()
        self.simulated = what == "stamps" or SIMULATED in {origin.name for origin in first}

    def maps_of(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Return what the store says of the maps that some pieces are from, each once."""
        inside = [index for index in indices if 0 <= index < len(self)]
        return [self.reader.attrs["maps"][i] for i in sorted({int(self._map_of[index]) for index in inside})]

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.reader)

    def name(self, index: int) -> str:
        """Return the name of the files of a piece."""
        return f"{self.what.removesuffix('s')}-{index:06d}"

    def split(self, index: int) -> str:
        """Return the name of the split of a cutout, ``all`` for a stamp, which is in none."""
        if "split" not in self.reader.columns:
            return UNSPLIT
        return str(self.reader.attrs["splits"][int(self.reader.columns["split"][index])])

    def read(self, indices: Sequence[int]) -> Iterator[Piece]:
        """Yield the pieces of some indices, in their order; `ConfigError` for one that there is none of."""
        if beyond := [index for index in indices if not 0 <= index < len(self)]:
            raise ConfigError(f"--index {beyond[0]}: the {self.what} are numbered from 0 to {len(self) - 1}")
        for start in range(0, len(indices), AT_ONCE):
            some = list(indices[start : start + AT_ONCE])
            arrays = [self.reader.read(name, some) for name in ("image", "mask", "instances")]
            for place, index in enumerate(some):
                yield self._piece(index, *(array[place] for array in arrays))

    def _piece(self, index: int, image: Any, mask: Any, instances: Any) -> Piece:
        columns, about = self.reader.columns, self.reader.attrs["maps"][int(self._map_of[index])]
        beam = Beam(
            *(float(columns[f"beam_{part}"][index]) for part in ("major_arcsec", "minor_arcsec", "pa_deg"))
        )
        is_cutout = self.what == "cutouts"
        corner = {name: int(columns[name][index]) for name in ("y0", "x0")} if is_cutout else {}
        return Piece(
            name=self.name(index),
            index=index,
            image_jy_beam=image,
            mask=mask,
            instances=instances,
            rms_jy_beam=float(columns["rms_jy_beam"][index]),
            background_jy_beam=float(columns["background_jy_beam"][index]) if is_cutout else 0.0,
            beam=beam,
            pixel=Pixel(*about["pixel_arcsec"]),
            frequency_hz=about.get("frequency_hz"),
            about={**about, **corner} if is_cutout else None,
        )


def parse_indices(text: str | None, count: int) -> list[int]:
    """Return the numbers that a text names, such as ``17`` or ``3,5,10-20``; all without a text.

    Raises
    ------
    ConfigError
        The text is none of this form.
    """
    if text is None:
        return list(range(count))
    indices: list[int] = []
    for word in text.split(","):
        first, dash, last = word.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise ConfigError(f"--index {text}: write numbers from 0, as 17 or 3,5,10-20")
        # Bounded before it is built: 0-999999999999 would fill the memory.
        end = int(last) if dash else int(first)
        if end >= count:
            raise ConfigError(f"--index {text}: there are {count}, numbered from 0 to {count - 1}")
        indices += range(int(first), end + 1)
    return list(dict.fromkeys(indices))
