"""The origins of a run in the words of the report: what its networks learnt from, and on which terms."""

from pathlib import Path

from astro_dist.engine.origins import SIMULATED, merge, name_all, of_facts
from astro_dist.engine.work import Run
from astro_dist.report.page import Block, Note, Table


def is_simulated(run: Run) -> bool:
    """Return whether the cutouts of a run are those of a simulated survey."""
    return SIMULATED in {origin.name for origin in of_facts(run.facts("cutouts"))}


def describe_model(run: Run) -> str:
    """Return the model that drew the objects, with the data that it learnt from, as a part of a sentence."""
    learnt, drawn_for = of_facts(run.facts("diffusion")), of_facts(run.facts("cutouts"))
    # Records of earlier versions state no origins.
    if not learnt:
        return "a diffusion model"
    model = f"a diffusion model that learnt from {name_all(learnt)}"
    others = [origin for origin in drawn_for if origin not in learnt]
    return f"{model}, for masks of {name_all(others)}" if others else model


def describe_start(run: Run, stage: str) -> str | None:
    """Return a sentence about a training without steps, None for one that took place or is not published."""
    published = run.ledger.published(stage)
    settings = published.basis.get("settings", {}).get(stage, {}) if published else {}
    if settings.get("start_from") is None or settings.get("steps") != 0:
        return None
    name = Path(settings["start_from"]).name
    learnt = name_all(of_facts(run.facts(stage)))
    return f"the weights {name} as they are, which learnt from {learnt}; nothing was trained in this run."


def build_blocks(run: Run) -> list[Block]:
    """Return the terms of all data that the run has used, or was given in the form of weights."""
    by_stage = {stage: of_facts(run.facts(stage)) for stage in run.inputs}
    rows = []
    for origin in merge(*by_stage.values()):
        stages = ", ".join(stage for stage, found in by_stage.items() if origin in found)
        rows.append((origin.name, stages, origin.terms or "none", origin.cite or "-"))
    if not rows:
        return [Note("The records of this run state no origins of its data.")]
    caption = (
        "These terms hold for the products of the stages in the second column and what is made from them. "
        "The headers of the field, the model cards and manifest.json repeat them."
    )
    return [Table(("data", "stages", "terms of use", "cite"), rows, caption)]
