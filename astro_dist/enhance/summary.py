"""The closing lines of a run of the pipeline `enhance`: what was enhanced, by what, and how to see it."""

import os

from astro_dist.engine.work import Run
from astro_dist.enhance.chain_config import ChainConfig


def summarise(run: Run) -> list[str]:
    """Return a sentence on the pictures or maps that were enhanced, and the command that writes PNG files."""
    lines, here = [], os.path.relpath(run.root)
    if run.facts("cleaning"):
        lines.append(f"cleaned pictures as PNG files: astro-dist export {here} cleaned")
    facts = run.facts("enhance")
    if not facts:
        return lines
    if "maps" in facts:
        network = "superres" in run.section(ChainConfig).chain
        way = "the network of superres" if network else "bicubic enlargement, without a network"
        return [*lines, f"{len(facts['maps'])} FITS images doubled by {way}"]
    lines.append(f"{facts['pictures']} pictures went through {', '.join(facts['chain'])}")
    return [*lines, f"these pictures as PNG files: astro-dist export {here} enhanced"]
