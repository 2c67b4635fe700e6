"""The masks and skies that the stamps of an evaluation are drawn for.

There are three sets with one stamp each for every i. ``blind`` has held-out masks before the sky of another
held-out cutout. ``own`` has the same masks before their own sky, as in RADiff's tables; it is not blind,
because that sky is part of the answer. ``train`` has masks that the model was trained on and measures what it
memorised. No set is turned, so that every stamp has one real cutout to be compared with.
"""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.errors import ConfigError
from astro_dist.engine.work import Run
from astro_dist.evaluate.config import EvaluateConfig
from astro_dist.generate.conditions import Choice, sky_of
from astro_dist.store.reader import StoreReader

SETS = ("blind", "own", "train")
SAME_BEAM = 0.1
"""Largest relative difference of major axes between the beam of a mask and that of its sky."""
Indices = NDArray[np.int64]


class HeldOutMasks:
    """The held-out and training cutouts of an evaluation; a function of settings, seed and store.

    Attributes
    ----------
    reader
        The store of cutouts.
    pool, train
        Positions of all good held-out cutouts, and of all good training cutouts.
    n
        How many images each set has.

    Raises
    ------
    ConfigError
        When either side has fewer than two cutouts.
    """

    def __init__(self, run: Run) -> None:
        settings = run.section(EvaluateConfig)
        self.run, self.reader = run, StoreReader(run.product("cutouts.zarr"))
        # Sorted, so that the order of the splits in the settings does not change the draws.
        self.pool = np.sort(np.concatenate([self.reader.select(split) for split in settings.splits]))
        self.train = self.reader.select("train")
        # All sets have one size, because the bias of a Frechet distance depends on the size.
        self.n = min(settings.stamps, len(self.pool), len(self.train))
        if self.n < 2:
            # Another split adds held-out cutouts only.
            fewer = "lower cutouts.validation_fraction and cutouts.test_fraction"
            remedy = "add a split to evaluate.splits" if len(self.pool) < 2 else fewer
            raise ConfigError(
                f"there are {len(self.pool)} cutouts of the {' and '.join(settings.splits)} split and "
                f"{len(self.train)} of train, and an evaluation compares at least two; give maps with more "
                f"sky, or {remedy}"
            )

    @cached_property
    def held_out(self) -> Indices:
        """Positions of the n held-out cutouts that give masks."""
        return self._draw("held out", self.pool)

    @cached_property
    def reference(self) -> Indices:
        """Positions of the n training cutouts that sets of images are compared with."""
        return self._draw("reference", self.train)

    @cached_property
    def trained(self) -> Indices:
        """Positions of the n training cutouts whose masks are drawn again to look for copies."""
        return self._draw("trained", self.train)

    def donors(self, name: str) -> Indices:
        """Return the positions of the cutouts that give the masks of a set."""
        return self.trained if name == "train" else self.held_out

    def skies(self, name: str) -> Indices:
        """Return the positions of the cutouts whose skies a set has; all of them are held out."""
        return self.held_out if name == "own" else self._other_skies[name]

    def choose(self, name: str, i: int) -> Choice:
        """Return the mask donor and the background donor of stamp i of a set, without a turn."""
        return Choice(int(self.donors(name)[i]), int(self.skies(name)[i]), 0)

    @cached_property
    def _other_skies(self) -> dict[str, Indices]:
        return {
            name: np.array([self._choose_sky(name, i, int(d)) for i, d in enumerate(self.donors(name))])
            for name in ("blind", "train")
        }

    def _draw(self, name: str, indices: Indices) -> Indices:
        # The beginning of one permutation: with a larger n the same images come first.
        return np.asarray(self.run.stream("evaluate", name).permutation(indices)[: self.n])

    def _choose_sky(self, name: str, i: int, donor: int) -> int:
        """Draw a held-out cutout of a similar beam, from another part of the sky when there is one."""
        others = self.pool[self.pool != donor]
        columns = self.reader.columns
        beam, pixel = sky_of(self.reader, donor)
        width = columns["beam_major_arcsec"][others].astype(float)
        alike = np.abs(width - beam.major_arcsec) <= SAME_BEAM * beam.major_arcsec
        # Two cutouts whose centres are more than a diagonal apart share no pixel, however they are turned.
        diagonal_arcsec = np.hypot(pixel.dy_arcsec, pixel.dx_arcsec) * self.reader.attrs["size_pix"]
        apart = self._separation_arcsec(donor, others) > diagonal_arcsec
        for usable in (alike & apart, alike):
            if usable.any():
                others = others[usable]
                break
        return int(self.run.stream("evaluate", "sky", name, i).choice(others))

    def _separation_arcsec(self, donor: int, others: Indices) -> NDArray[np.float64]:
        ra, dec = (np.radians(self.reader.columns[name]) for name in ("ra_deg", "dec_deg"))
        points = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)
        # Chords between unit vectors, because arccos of a dot product loses small angles to rounding.
        chords = np.linalg.norm(points[others] - points[donor], axis=-1)
        return np.asarray(np.degrees(2 * np.arcsin(np.minimum(chords / 2, 1))) * 3600)
