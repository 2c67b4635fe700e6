"""The configuration that `astro-dist init --from MAP` writes: a map, the weights of the package, a field."""

import math
import os
import re
from pathlib import Path

from astro_dist.engine.config import parse_yaml, validate
from astro_dist.engine.errors import ConfigError
from astro_dist.field.checks import expect_counts
from astro_dist.field.config import AssembleConfig
from astro_dist.field.instrument import Survey, check_sampling, design_instrument
from astro_dist.sky.maps import SkyMap
from astro_dist.sky.proposal import GUESSED_PIX, Proposal, propose_settings

REUSE, LARGEST_PIX, LEAST_SNR = 5, 4000, 4.0
"""Places of one object, the largest side of the field, the flux in noises from which sources are drawn."""
PIXELS_PER_SOURCE, LEAST_OBJECTS = 6000, 10
"""The density of RADiff's challenge map, for a field without a frequency, which no counts can fill."""


def write_starter(path: Path) -> tuple[str, str]:
    """Return the name of a run for a map, and its configuration as YAML with a reason beside each value.

    Raises
    ------
    ConfigError
        The file is no map that can be read, or a field like it cannot be made.
    """
    proposal = propose_settings(path)
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", proposal.sky_map.name).strip("._-") or "my_map"
    lines = [*_map_lines(path, name, proposal), *_model_lines()]
    shape = [min(side, LARGEST_PIX) for side in proposal.sky_map.shape]
    lines += ["assemble:", f"  shape: [{shape[0]}, {shape[1]}]  # rows, columns"]
    lines += _pixel_lines(proposal.sky_map)
    lines += [f"  reuse: {REUSE}  # sources that one drawn object may stand for"]
    lines += ["  background:", f"    rms_jy_beam: {proposal.rms_jy_beam:.2e}  # measured in the map"]
    lines += _flux_lines(proposal)
    field = validate(AssembleConfig, parse_yaml("\n".join(lines), "the proposal")["assemble"])
    if field.flux.mode == "counts":
        lines += ["generate:", f"  objects: {_count_objects(field, proposal)}  # as many as the field needs"]
    return name, "\n".join(lines) + "\n"


def _map_lines(path: Path, name: str, proposal: Proposal) -> list[str]:
    sky_map, why = proposal.sky_map, proposal.why
    beam, pixel = sky_map.beam, sky_map.pixel
    rows, columns = sky_map.shape
    survey = "told by its header" if proposal.survey else "the name that stores and the report show"
    size = f"{rows} x {columns} pixels of {pixel.dy_arcsec:.3g} x {pixel.dx_arcsec:.3g} arcsec"
    lines = [
        f"# A field like {path.name}: {size},",
        f"# beam {beam.major_arcsec:.3g} x {beam.minor_arcsec:.3g} arcsec, noise "
        f"{1e3 * proposal.rms_jy_beam:.3g} mJy/beam. `astro-dist init` writes every other setting there is.",
        f"name: {name}",
        "maps:",
        # The whole path: a configuration is read from any folder, and names are looked up from there.
        f"  files: [{_quote(os.path.abspath(path))}]",
        f"  survey: {_quote(proposal.survey or name)}  # {survey}",
    ]
    if "frequency_hz" in why.keys() - proposal.given.keys():
        lines.append(f"  # frequency_hz: HERTZ  # {why['frequency_hz']}")
    for key, value in proposal.given.items():
        # YAML takes 8.43e+08 for text without a point: numbers are written with one.
        text = f"{value:g}" if isinstance(value, float) else value
        text = f"{value:.4e}" if key == "frequency_hz" else text
        lines.append(f"  {key}: {text}  # {why[key]}")
    return lines


def _model_lines() -> list[str]:
    return [
        "# The networks of the package as they are; more steps of diffusion adapt them to the map.",
        "autoencoder: {preset: small, start_from: told, steps: 0}",
        "diffusion: {preset: told, start_from: told, steps: 0}",
    ]


def _pixel_lines(sky_map: SkyMap) -> list[str]:
    """Return the pixels of the field where those of the map are too coarse for a field, else nothing."""
    try:
        check_sampling(sky_map.beam, sky_map.pixel)
    except ConfigError:
        finer = sky_map.beam.minor_arcsec / GUESSED_PIX
        return [f"  pixel_arcsec: {finer:.3g}  # a third of the beam: those of the map do not sample it"]
    return []


def _flux_lines(proposal: Proposal) -> list[str]:
    if proposal.sky_map.frequency_hz is None:
        pixels = math.prod(min(side, LARGEST_PIX) for side in proposal.sky_map.shape)
        return [f"  objects: {max(LEAST_OBJECTS, pixels // PIXELS_PER_SOURCE)}  # sources"]
    # YAML takes 1e-4 for text: its numbers have a point.
    limit = LEAST_SNR * proposal.rms_jy_beam
    counts = f"{{limit_jy: {limit:.2e}}}  # Jy; as many sources of every flux as the sky has"
    return ["  flux:", "    mode: counts", f"    counts: {counts}"]


def _count_objects(field: AssembleConfig, proposal: Proposal) -> int:
    """Return how many distinct objects a field needs."""
    sky_map = proposal.sky_map
    survey = Survey(sky_map.name, sky_map.beam, sky_map.pixel, sky_map.frequency_hz)
    expected = expect_counts(field, design_instrument(field, [survey], None))
    return max(1, math.ceil(expected.most_objects / field.reuse))


def _quote(text: str) -> str:
    """Return a text as YAML has it in quotes."""
    return "'" + text.replace("'", "''") + "'"
