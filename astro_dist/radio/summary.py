"""The closing lines of a run of the radio pipeline: what it has made, from the facts of its stages."""

from astro_dist.engine.origins import merge, name_all, of_facts
from astro_dist.engine.work import Run


def summarise(run: Run) -> list[str]:
    """Return up to three sentences: the field, its objects, and the data behind the networks."""
    field, drawn = run.facts("assemble"), run.facts("generate")
    lines = []
    if field:
        ny, nx = field["shape"]
        seen = f"{field['detectable']:,} of them detectable"
        lines.append(f"{field['objects']:,} sources on {ny:,} x {nx:,} pixels, {seen}")
    if drawn:
        refused = sum(drawn["rejected"].values())
        lines.append(
            f"{drawn['accepted']:,} objects drawn in {drawn['stamps']:,} stamps, {refused:,} refused"
        )
    stages = ("autoencoder", "diffusion", "masks")
    if learnt := merge(*(of_facts(run.facts(stage)) for stage in stages)):
        terms = "; their terms are in the report" if any(origin.terms for origin in learnt) else ""
        lines.append(f"the networks learnt from {name_all(learnt)}{terms}")
    return lines
