"""The uncertainty of doubled pictures: the spread of samples, scaled on validation pictures made small.

As `astro_dist.enhance.calibration` does it for maps, in one class, since pictures have no noise that bright
and faint pixels could be told by. What other steps of the chain change is not part of it.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from astro_dist.engine.arrays import Floats, Image
from astro_dist.engine.files import publish_bytes, sha256_file
from astro_dist.engine.ledger import Result
from astro_dist.engine.stopping import check_stop
from astro_dist.engine.work import Run
from astro_dist.enhance.calibration import FLOOR, Calibration
from astro_dist.enhance.chain_config import ChainConfig
from astro_dist.pictures.degradations import halve
from astro_dist.store.reader import StoreReader

CALIBRATE, CALIBRATION = "calibrate", "calibration.json"
MOST_PICTURES = 64
UNIT = 1 / (255 * FLOOR)
"""Unit of spreads, of the range from black 0 to white 1: the floor is then a step of 8 bits."""


def draws_spread(config: ChainConfig) -> bool:
    """Return whether the chain has samples that differ."""
    return "superres" in config.chain and config.samples > 1


def sample_number(number: int, sample: int, samples: int) -> int:
    """Return the number of the noise of a sample of a picture."""
    return number * samples + sample


@dataclass
class Enhanced:
    """A picture, from 0 to 1, and the samples of it."""

    image_PHW: Image
    samples: list[Image] = field(default_factory=list)


def draw_picture(network: Any, picture: Image, number: int, config: ChainConfig) -> Enhanced:
    """Return a doubled picture; pictures are no parts of one map, so each has noise of its own."""
    numbers = [sample_number(number, sample, config.samples) for sample in range(config.samples)]
    samples = [_draw(network.draw, picture, sample) for sample in numbers]
    expected = config.estimate == "expected"
    parts = [_draw(network.expect, picture, sample) for sample in numbers] if expected else samples
    return Enhanced(np.asarray(np.mean(parts, 0, np.float64), np.float32), samples)


def _draw(draw: Callable[[Image, int], Image], picture: Image, sample: int) -> Image:
    check_stop()
    return draw(picture, sample)


@dataclass(frozen=True)
class Spread:
    """How spreads become standard deviations."""

    calibration: Calibration

    @classmethod
    def load(cls, run: Run) -> "Spread":
        """Return what the task `CALIBRATE` found."""
        return cls.read(run.output / CALIBRATION)

    @classmethod
    def read(cls, path: Path) -> "Spread":
        """Return what a file that `calibrate_pictures` wrote holds."""
        found = json.loads(path.read_text())
        return cls(Calibration.from_json(found["calibration"]))

    def scale(self, spread_PHW: Floats) -> Image:
        """Return one standard deviation as held-out pictures have it, float32, where white is 1."""
        in_units = spread_PHW / UNIT
        return np.asarray(UNIT * self.calibration.widths(in_units, np.zeros(in_units.shape))[0], np.float32)


def calibrate_pictures(run: Run, reader: StoreReader, network: Any) -> Result:
    """Scale the spread on validation pictures that are halved and doubled again."""
    from astro_dist.enhance.colourise import to_unit

    held_out = reader.select("validation")
    errors, spreads = [np.zeros(0)], [np.zeros(0)]
    for row in held_out[:: max(1, -(-len(held_out) // MOST_PICTURES))]:
        picture = reader.read("picture", [int(row)])[0]
        small = to_unit(halve(picture, network.half))
        drawn = draw_picture(network, small, int(row), run.section(ChainConfig))
        error: Floats = np.subtract(to_unit(picture), drawn.image_PHW, dtype=np.float64)
        errors.append(error.ravel() / UNIT)
        spreads.append(np.std(drawn.samples, 0, np.float64, ddof=1).ravel() / UNIT)
    joined = np.concatenate(errors)
    found = Calibration.fit(joined, np.concatenate(spreads), np.zeros(len(joined)))
    path = run.output / CALIBRATION
    publish_bytes(path, (json.dumps({"calibration": found.to_json()}, indent=1) + "\n").encode())
    return {"sha256": {CALIBRATION: sha256_file(path)}, "held_out": len(held_out)}
