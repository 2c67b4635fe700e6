"""The links of a chain: what each takes and gives, and how they are opened from the products of a run."""

from typing import Protocol

from astro_dist.engine.arrays import Image
from astro_dist.engine.outputs import check_product
from astro_dist.engine.work import Run
from astro_dist.enhance.chain_config import ChainConfig
from astro_dist.models.device import resolve_precision
from astro_dist.models.enlargers import Enlarger, Options, open_enlarger
from astro_dist.models.super_levels import Sampler


class Link(Protocol):
    """A step of the chain over pictures from 0 to 1.

    Attributes
    ----------
    scale
        Factor of the sides, 1 or 2.
    planes_in, planes_out
        Planes of what it takes and gives.
    reach_pix
        Pixels round a pixel that one call depends on; None for the whole tile.
    calls
        Calls of the network one after the other.
    """

    scale: int
    planes_in: int
    planes_out: int
    reach_pix: int | None
    calls: int

    def apply(self, image_PHW: Image, key: tuple[int | str, ...], origin_yx: tuple[int, int]) -> Image:
        """Return the image after this step; ``key`` is that of its random numbers."""
        ...


def open_superres(run: Run, device: str) -> Enlarger:
    """Return the network of the run, with the sampler of the chain."""
    config = run.section(ChainConfig)
    check_product(run.root, "superres")
    options = Options(
        device,
        resolve_precision(config.precision, device),
        sampler=Sampler(config.solver, config.calls),
        samples=config.samples,
        seed=run.seed,
    )
    return open_enlarger(run.product("models/superres"), "superres", options)
