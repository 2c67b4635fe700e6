"""A small run with a field, as the engine leaves it, and its package."""

from astro_dist.challenge.config import ChallengeConfig
from astro_dist.challenge.package import pack
from astro_dist.challenge.packing import Packing
from astro_dist.engine.files import tree_digests
from astro_dist.engine.ledger import Published
from astro_dist.engine.manifest import write_config
from astro_dist.radio.pipeline import RADIO
from tests.field import small_sky

SEED = 987_654_321_098_765
SHAPE = (400, 460)
FLUX = {"scale": 12.0, "minimum": 1.0, "cap": 120.0}


def make_run(root, seed=SEED, **assemble):
    """Return a run with a finished field, recorded in its ledger, that commands can open."""
    settings = {"shape": SHAPE, "objects": 120, "reuse": 6, "flux": FLUX, **assemble}
    run = small_sky.make_run(root, seed=seed, name="small-challenge", **settings)
    small_sky.assemble(run)
    sections = {name: section.model_dump(mode="json") for name, section in run.settings.sections.items()}
    config = RADIO.resolve({"name": run.name, "seed": run.seed, **sections})
    write_config(root, config, print)
    basis = {"settings": sections, "inputs": {}}
    run.ledger.publish("assemble", Published(64 * "f", basis, "field", tree_digests(root / "field")))
    return run


def package(run, out, **settings):
    """Write a package of the run's field."""
    pack(Packing.open(run, run.root / "field", ChallengeConfig(**settings)), out)
    return out
