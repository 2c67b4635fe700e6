"""The files that the settings of `annotate` name."""

from pathlib import Path

from astro_dist.engine.foreign import expand_home, require_file
from astro_dist.engine.work import Run
from astro_dist.sky.config import AnnotateConfig
from astro_dist.sky.files import map_sources, with_readme


def annotation_sources(run: Run) -> list[Path]:
    """Return the user's maps, the files that say which islands belong together, and an expert's."""
    join = run.section(AnnotateConfig).join
    named = {"catalogue": join.catalogue, **{f"labels.{name}": path for name, path in join.labels.items()}}
    paths = {key: Path(path) for key, path in named.items() if path is not None}
    for key, path in paths.items():
        require_file(path, f"annotate.join.{key}")
    expert = run.section(AnnotateConfig).expert
    tables = [file for path in paths.values() for file in with_readme(path)]
    return [*map_sources(run), *tables, *(() if expert is None else _expert_files(expert))]


def _expert_files(setting: str) -> list[Path]:
    # Here, because label images need astropy, which those who have no expert do without.
    from astro_dist.sky.expert_files import edited_files

    return edited_files(expand_home(setting))
