"""The table of placements: the object, position, turn and brightness of each.

The table is drawn once, from the seed and the library of shapes. The pixels of the field, its mask and
instances, and the truth are all computed from it.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.arrays import Columns
from astro_dist.engine.errors import ConfigError
from astro_dist.engine.stopping import check_stop
from astro_dist.field import layout
from astro_dist.field.background import Background
from astro_dist.field.config import AssembleConfig
from astro_dist.field.flux import FluxCatalogue, draw_k, nearest_pixels
from astro_dist.field.library import Library
from astro_dist.field.truth import COLUMNS, IMAGE, SIZES, size_columns, turn_moments
from astro_dist.sky.classes import SourceClass
from astro_dist.sky.fits_tables import Column
from astro_dist.sky.maps import SkyMap
from astro_dist.sky.symmetries import symmetries
from astro_dist.sky.user_files import read_plane

SIZE_COLUMNS = {
    IMAGE + name: replace(COLUMNS[name], meaning=f"{name} in the frame of the image (axes +y, -x)")
    for name in (prefix + size for prefix in ("", "intrinsic_") for size in SIZES)
}
PLACEMENT_COLUMNS = {
    **COLUMNS,
    **SIZE_COLUMNS,
    "class": Column("", "src.class", "1 spurious, 2 compact, 3 extended"),
    "amplitude_jy_beam": Column("Jy/beam", "phot.flux.density", "factor of the shape, whose peak is 1"),
    "level_jy_beam": Column(
        "Jy/beam", "phot.flux.density;stat.min", "least added pixel of mask and instances"
    ),
}
"""Every column of ``placements.parquet``."""
Stream = Callable[..., np.random.Generator]
Integers = NDArray[np.int64]


def draw_placements(
    field: SkyMap, background: Background, library: Library, config: AssembleConfig, stream: Stream
) -> Columns:
    """Draw all placements of a field.

    Parameters
    ----------
    field
        The map of the field, for its shape, WCS, beam and pixel.
    stream
        The run's ``(*key) -> Generator``.

    Returns
    -------
    dict
        One row per placement in the order of placing, sources first and spurious ones after them, each
        group from the largest footprint down: the columns of the truth but ``class_name``, with sizes and
        angles in the frame of the image (``image_`` in front of their names), and ``amplitude_jy_beam`` and
        ``level_jy_beam`` (from which brightness on an added pixel belongs to mask and instances). ``id``
        counts from 1, in no order.

    Raises
    ------
    ConfigError
        When the library holds too few objects, the catalogue too few rows, or the field too little room.
    """
    drawn = _Draw(field, background, library, config, stream)
    n = config.objects
    places = drawn.place(n)
    if places is None:
        _refuse(drawn, n)
    return _measure(drawn, n, places)


class _Draw:
    """The random draws of a field, as functions of its number of sources.

    Every method draws from streams of its own, so that it returns the same values whenever it is called.
    """

    def __init__(
        self, field: SkyMap, background: Background, library: Library, config: AssembleConfig, stream: Stream
    ) -> None:
        self.field, self.background, self.library = field, background, library
        self.config, self.stream = config, stream
        spurious = library.table["class"] == SourceClass.SPURIOUS
        self.sources, self.spurious = np.flatnonzero(~spurious), np.flatnonzero(spurious)
        self.turns = np.array(symmetries(field.beam, field.pixel) if config.turns else (0,))
        self._check_supply()
        self.density = read_plane(Path(config.density)) if config.density else None
        path = config.flux.catalogue
        self.catalogue = FluxCatalogue.read(Path(path), config.flux.columns) if path else None
        self.rows = self._choose_rows() if self.catalogue else np.zeros(0, np.int64)

    def slots(self, n: int) -> tuple[Integers, Integers]:
        """Return object and slot number of every placement, in the order of placing.

        Draws belong to slots, not to the order of placing: slots 0 to n - 1 are sources, from n on spurious.
        """
        groups, first = [], 0
        for name, pool, count in (
            ("sources", self.sources, n),
            ("spurious", self.spurious, self.n_spurious(n)),
        ):
            if count:
                # A stream per group: with or without spurious objects, the sources are the same.
                order = self.stream("assemble", "objects", name).permutation(pool)
                # Beyond the pool's size the order repeats, so that every object is used before any is reused.
                chosen = order[np.arange(count) % len(pool)]
                # A stable sort, so that objects of one size keep their drawn order.
                by_size = np.argsort(-self.library.table["n_pix"][chosen], kind="stable")
                groups.append((chosen[by_size], by_size + first))
            first += count
        return np.concatenate([g[0] for g in groups]), np.concatenate([g[1] for g in groups])

    def numbers(self, n: int) -> NDArray[np.int32]:
        """Return the ids, 1 to n for sources in random order: an id says nothing about its source."""
        sources = self.stream("assemble", "ids").permutation(n)
        return np.concatenate([sources, np.arange(n, n + self.n_spurious(n))]).astype(np.int32) + np.int32(1)

    def n_spurious(self, n: int) -> int:
        """Return the number of spurious objects beside n sources: as many per source as were accepted."""
        supply = len(self.spurious) * self.config.reuse
        return min(supply, round(n * len(self.spurious) / len(self.sources)))

    def turn(self, slots: Integers) -> Integers:
        """Return the turn of each slot."""
        # One uniform number per slot: `integers` may reject draws, which would shift those of later slots.
        share = self.stream("assemble", "turns").random(int(slots.max()) + 1)[slots]
        return np.asarray(self.turns[(share * len(self.turns)).astype(np.int64)])

    def moments(self, objects: Integers, slots: Integers) -> Columns:
        """Return the moments, heights and widths of the turned shapes."""
        return turn_moments({n: v[objects] for n, v in self.library.table.items()}, self.turn(slots))

    def footprints(self, n: int) -> Iterator[layout.Footprint]:
        """Yield the turned footprint of every placement."""
        objects, slots = self.slots(n)
        unit = self.moments(objects, slots)
        columns = (objects, self.turn(slots), unit["peak_y"], unit["peak_x"])
        for number, turn, *peak in zip(*(column.tolist() for column in columns), strict=True):
            inside = self.library.shape(number, turn) != 0
            yield layout.Footprint(inside.view(np.uint8), tuple(peak))

    def place(self, n: int) -> layout.Places | None:
        """Return the first pixel of every box, or None when one has no place; `placed` is their number."""
        check_stop()
        # New for every call, because `most_that_fit` places other numbers of objects on the same field.
        ground = np.zeros(self.field.shape, np.uint8)
        self.background.close(ground)
        # `footprints` is a generator: shapes are read one at a time, not all at once.
        places = layout.place(self.footprints(n), ground, self._candidates(n), self.config.max_overlap)
        self.placed = len(places)
        return places if len(places) == n + self.n_spurious(n) else None

    def _candidates(self, n: int) -> layout.Candidates:
        rng, shape = self.stream("assemble", "places"), self.field.shape
        if self.density is not None:
            anywhere = layout.by_density(shape, self.density, rng)
        else:
            anywhere = layout.uniform(shape, rng)
        if self.catalogue is None or self.catalogue.sky_deg is None:
            return anywhere
        spots = nearest_pixels(self.field.pixel_of, self.catalogue.sky_deg)
        given = layout.fixed(shape, spots[self.rows[self.slots(n)[1][:n]]])
        # Sources come first in the order of placing; the catalogue has no positions for spurious objects.
        return lambda number, footprint: (given if number < n else anywhere)(number, footprint)

    def _check_supply(self) -> None:
        wanted, supply = self.config.objects, len(self.sources) * self.config.reuse
        if wanted > supply:
            raise ConfigError(
                f"assemble.objects: {wanted} are promised, but {len(self.sources)} accepted objects at "
                f"assemble.reuse {self.config.reuse} are {supply}; raise generate.objects or assemble.reuse, "
                f"or lower assemble.objects to {supply}"
            )

    def _choose_rows(self) -> Integers:
        """Return the catalogue row of each source slot: in order, or shuffled when there are no positions."""
        assert self.catalogue is not None
        rows = self.catalogue.rows_in(self.field.shape, self.field.pixel_of, self.config.objects)
        if self.catalogue.sky_deg is None:
            # Shuffled before the cut: of a catalogue sorted by flux, the first rows are the extremes.
            rows = self.stream("assemble", "catalogue").permutation(rows)
        return rows[: self.config.objects]


def _refuse(drawn: _Draw, n: int) -> NoReturn:
    """Raise `ConfigError` with the catalogue row that has no room, or the number of objects that fit."""
    config = drawn.config
    if drawn.catalogue is not None and drawn.catalogue.sky_deg is not None and drawn.placed < n:
        row = drawn.rows[drawn.slots(n)[1][drawn.placed]]
        raise ConfigError(
            f"{config.flux.catalogue}: the object of row {row + 1} overlaps one placed before it, or reaches "
            "beyond the field or onto blank pixels; raise assemble.max_overlap or leave the row out"
        )
    # `m > 0`: for no object at all `slots` has nothing to concatenate.
    fit = layout.most_that_fit(lambda m: m > 0 and drawn.place(m) is not None, n)
    ny, nx = drawn.field.shape
    raise ConfigError(
        f"assemble.objects: {n} do not fit in the {ny} x {nx} field without more overlap than "
        f"assemble.max_overlap {config.max_overlap:g}; {fit} do: lower assemble.objects to {fit}, "
        "or enlarge assemble.shape"
    )


def _measure(drawn: _Draw, n: int, places: layout.Places) -> Columns:
    """Return the table: the brightness of every placement, and the measures of the pixels that it adds."""
    field, library = drawn.field, drawn.library
    objects, slots = drawn.slots(n)
    unit = drawn.moments(objects, slots)
    y_peak, x_peak = places[:, 0] + unit["peak_y"], places[:, 1] + unit["peak_x"]
    sigma = drawn.background.rms_at(y_peak, x_peak)
    k = draw_k(len(slots), drawn.config.flux, drawn.stream("assemble", "flux"))[slots]
    y, x = places[:, 0] + unit["y"], places[:, 1] + unit["x"]
    area = field.beam_area_pix(y, x)
    if drawn.catalogue is not None:
        flux = drawn.catalogue.flux_jy[drawn.rows[slots[:n]]]
        # The sum of the added pixels over the beam area is the flux: solved for the amplitude over sigma.
        # Sources only: spurious objects keep the k of the law, because a catalogue has no artefacts.
        k[:n] = flux * area[:n] / unit["sum"][:n] / sigma[:n]
    # float32 like the map, so that the truth is computed from the very numbers that are added.
    amplitude = (sigma * k).astype(np.float32)
    # Rounding is monotonic, so that the brightest product is that of the brightest pixel.
    peak = unit["peak"] * amplitude
    added = zip(objects.tolist(), amplitude, strict=True)
    # Without the turn, which moves pixels and changes none.
    sums = [float((library.shape(number) * a).sum(dtype=np.float64)) for number, a in added]
    ra, dec = field.sky_of(y, x)
    ra_peak, dec_peak = field.sky_of(y_peak, x_peak)
    moments = np.stack([unit["yy"], unit["yx"], unit["yx"], unit["xx"]], axis=1).reshape(-1, 2, 2)
    source = {name: unit[name] for name in ("class", "stamp", "instance", "donor_snr")}
    return {
        "id": drawn.numbers(n),
        **source,
        "ra_deg": ra,
        "dec_deg": dec,
        "ra_peak_deg": ra_peak,
        "dec_peak_deg": dec_peak,
        "x_pix": x,
        "y_pix": y,
        "x_peak_pix": x_peak.astype(np.int32),
        "y_peak_pix": y_peak.astype(np.int32),
        "k": k,
        "snr": peak / sigma,
        "sigma_jy_beam": sigma,
        "peak_jy_beam": peak,
        "flux_jy": np.array(sums) / area,
        "beam_area_pix": area,
        **size_columns(moments, field.beam, field.pixel),
        "n_pix": unit["n_pix"],
        "object": objects.astype(np.int32),
        "turn": drawn.turn(slots).astype(np.uint8),
        "y0": places[:, 0].astype(np.int32),
        "x0": places[:, 1].astype(np.int32),
        "height": unit["height"],
        "width": unit["width"],
        "amplitude_jy_beam": amplitude,
        # Half the peak at most, so that sources below mask_snr have pixels in the mask as well.
        "level_jy_beam": np.minimum(drawn.config.mask_snr * sigma, 0.5 * peak).astype(np.float32),
    }
