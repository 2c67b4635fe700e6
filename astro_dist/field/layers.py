"""The three images of a field (map, mask and instances): their pixel types and their headers.

A header states how the field was made: seed, model, HISTORY of every stage, of the weights and of the user's
files. A header holds no time, host or path, so that a field that is made again has the same header.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from astro_dist.engine.config import fingerprint
from astro_dist.engine.ledger import Published
from astro_dist.engine.manifest import digest_source
from astro_dist.engine.origins import history_lines, merge, of_facts
from astro_dist.engine.work import Run
from astro_dist.field.config import AssembleConfig
from astro_dist.field.instrument import Instrument
from astro_dist.sky.classes import SourceClass
from astro_dist.sky.fits_file import radio_header

MAP, MASK, INSTANCES = "map.fits", "mask.fits", "instances.fits"


@dataclass(frozen=True)
class Layer:
    """One of the three images of a field: type, unit and meaning of its pixels, a COMMENT for its header."""

    dtype: str
    unit: str
    meaning: str
    comment: str = ""


CONTOUR = "A source's pixels are those where what it adds reaches its level_jy_beam in placements.parquet."
# FITS has unsigned pixels of 8 bits only: ids, which need more, are signed.
LAYERS = {
    MAP: Layer("f4", "Jy/beam", "brightness"),
    MASK: Layer("u1", "", "class of each pixel", CONTOUR),
    INSTANCES: Layer("i4", "", "id of the source of each pixel, 0 where none", CONTOUR),
}


def make_header(run: Run, instrument: Instrument, layer: Layer) -> Any:
    """Return the header of one image of the field; it depends on config, seed and products only."""
    header = radio_header(
        instrument.shape,
        instrument.wcs,
        instrument.beam,
        instrument.frequency_hz,
        unit=layer.unit,
        object_name=run.name,
        dtype=layer.dtype,
        cards=provenance(run) | _class_cards(layer),
        history=history(run),
    )
    if layer.comment:
        header.add_comment(layer.comment)
    return header


def provenance(run: Run) -> dict[str, Any]:
    """Return the header cards with the seed and the model of a field."""
    cards: dict[str, Any] = {"SEED": (run.seed, "of all randomness")}
    if (model := run.ledger.published("diffusion")) is not None:
        # A FITS keyword has at most eight characters.
        cards["GENERATR"] = ("latent diffusion", "what the objects were drawn from")
        cards["MODELSHA"] = fingerprint(model.files)
    return cards


def history(run: Run) -> list[str]:
    """Return the HISTORY lines: earlier products, weights, settings of `assemble`, files of the user."""
    lines = []
    made_from = _made_from(run, run.inputs)
    for name, published in made_from.items():
        # 72 characters fit a card: 16 of the 64 digits beside the name, and the ledger has all of them.
        lines.append(f"{name}: {published.product} sha256 {fingerprint(published.files)[:16]}")
        lines += _weights(name, published)
    lines += history_lines(merge(*(of_facts(published.facts) for published in made_from.values())))
    config = run.section(AssembleConfig)
    flux = config.flux
    law = f"scale {flux.scale:g} cap {flux.cap:g} {flux.above}"
    if flux.mode == "counts":
        law = f"from {flux.counts.limit:g} to {flux.counts.highest_jy:g} Jy"
    elif flux.catalogue is not None:
        law = "fluxes"
    number = f"{config.objects} objects, " if config.objects else ""
    lines.append(f"assemble: {number}{flux.mode} {law}")
    if config.seen.frequency_hz is not None:
        lines.append(f"assemble: seen at {config.seen.frequency_hz:.10g} Hz by spectral indices")
    texture = " with the survey's texture" if config.background.texture == "survey" else ""
    lines.append(f"assemble: background {config.background.kind}{texture}, seed {run.seed}")
    if config.artefacts:
        level = "of the survey" if config.stacks else f"level {config.artefacts_level:g}"
        lines.append(f"assemble: artefacts above {config.artefacts_snr:g}, {level}")
    for key, path in config.files.items():
        lines += [f"assemble.{key}: {path.name}", f"sha256 {digest_source(path)}"]
    return lines


def _made_from(run: Run, names: Iterable[str]) -> dict[str, Published]:
    """Return the publications of some stages and of all that they were made from, the earliest first."""
    found: dict[str, Published] = {}
    for name in names:
        if (published := run.ledger.published(name)) is not None:
            # A name that comes again keeps its first place.
            found |= _made_from(run, published.basis.get("inputs", ())) | {name: published}
    return found


def _weights(stage: str, published: Published) -> list[str]:
    """Return lines that name a model's files of weights, and the weights that its training began with."""
    began = published.basis.get("settings", {}).get(stage, {}).get("start_from")
    lines = [] if began is None else [f"{stage}: began with the weights {Path(began).name}"]
    for name, digest in sorted(published.files.items()):
        if name.endswith(".safetensors"):
            lines += [f"weights {published.product}/{name}", f"sha256 {digest}"]
    return lines


def _class_cards(layer: Layer) -> dict[str, Any]:
    cards: dict[str, Any] = {"CONTENT": layer.meaning}
    if layer is LAYERS[MASK]:
        cards |= {f"CLASS{c.value}": c.name.lower() for c in SourceClass}
    return cards
