"""What the pages of all pipelines share: chapters that name missing stages, the chapter about the run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from astro_dist.engine.files import publish_bytes
from astro_dist.engine.ledger import Result
from astro_dist.engine.work import Run, Task
from astro_dist.report import tables
from astro_dist.report.page import Block, Chapter, Listing, Note, Page, render


@dataclass(frozen=True)
class ChapterBuilder:
    """The definition of a chapter: its texts, the stages it needs, the function that builds its blocks.

    An ``optional`` chapter is left out where its stages did not run; others say so.
    """

    key: str
    title: str
    lead: str
    needs: tuple[str, ...]
    build: Callable[[Run], list[Block]]
    optional: bool = False


def write_page(state: Run, task: Task, page: Callable[[Run], Page]) -> Result:
    """Write the page that the pipeline's own function ``page`` builds, the only task of the stage."""
    content = render(page(state)).encode()
    return {"sha256": {".": publish_bytes(state.output, content)}, "bytes": len(content)}


def build_chapters(run: Run, chapters: Sequence[ChapterBuilder]) -> list[Chapter]:
    """Return the chapters of a run; any of its stages may be unpublished."""
    shown = [c for c in chapters if not (c.optional and _missing(run, c))]
    return [Chapter(c.key, c.title, c.lead, _build_blocks(run, c)) for c in shown]


def _missing(run: Run, chapter: ChapterBuilder) -> list[str]:
    return [stage for stage in chapter.needs if not is_published(run, stage)]


def _build_blocks(run: Run, chapter: ChapterBuilder) -> list[Block]:
    if missing := _missing(run, chapter):
        return [Note(f"Nothing to show: {' and '.join(missing)} did not run in this directory.")]
    return chapter.build(run)


def is_published(run: Run, stage: str) -> bool:
    """Return whether a stage is published in the run directory."""
    return run.ledger.published(stage) is not None


def _run_blocks(run: Run) -> list[Block]:
    blocks: list[Block] = [tables.tabulate_stages(run.ledger, run.root, run.inputs)]
    blocks += tables.tabulate_files(run.ledger, run.root, run.inputs)
    for stage in run.inputs:
        if facts := run.facts(stage):
            blocks.append(tables.tabulate_facts(facts, stage))
    blocks.append(tables.tabulate_versions(run.seed))
    if (path := run.root / "config.yaml").exists():
        blocks.append(Listing(path.read_text(), "Configuration, every default included", folded=True))
    return blocks


RUN_CHAPTER = ChapterBuilder(
    "run",
    "The run",
    "The tasks, figures, files and settings of each stage.",
    (),
    _run_blocks,
)
