"""Settings of a challenge's package."""

from typing import ClassVar

from pydantic import Field

from astro_dist.engine.config import Section

EASY_SEED = 1 << 40
"""There are few enough seeds below it to try them all; seed and settings make the hidden truth again."""


def seed_notes(seed: int) -> list[str]:
    """Return a sentence on the seed of a field where it can be found by trying, else nothing."""
    if seed >= EASY_SEED:
        return []
    return [
        f"the seed {seed} can be found by trying: whoever guesses the settings too can make the field again; "
        f"set assemble.seed to a number above {EASY_SEED} for a challenge (of a run that is there with "
        "`astro-dist fork`, which draws nothing again)"
    ]


class ChallengeConfig(Section):
    """How a field becomes a data challenge: the open area, what is not scored, the tiles of annotations."""

    later: ClassVar[frozenset[str]] = frozenset({"hips"})
    enabled: bool = False
    """Whether to package the field as a data challenge."""
    training_share: float = Field(default=0.05, gt=0, le=0.5)
    """Share of the field that is open for training, in one rectangle."""
    edge_beams: float = Field(default=2.0, ge=0)
    """Beam widths from the edge of the map and from pixels without data in which nothing is scored."""
    orphan_snr: float = Field(default=30.0, gt=0)
    """Signal-to-noise of sources taken out of a real map whose artefacts may still be there."""
    orphan_beams: float = Field(default=10.0, ge=0)
    """Beam widths round those in which nothing is scored."""
    tile_pix: int = Field(default=512, ge=16)
    """Side of the tiles of the COCO annotations."""
    hips: bool = False
    """Whether to add the map as HiPS tiles with its MOC, as large as the map; needs the extra `hips`."""
