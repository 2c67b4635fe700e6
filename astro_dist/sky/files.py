"""The files that the settings of maps name."""

import glob
from pathlib import Path

from astro_dist.engine.errors import ConfigError
from astro_dist.engine.work import Run
from astro_dist.sky.config import MapsConfig, SurveyConfig


def map_sources(run: Run) -> list[Path]:
    """Return the user's files that ``maps`` names, survey by survey, sorted, each once."""
    return [path for path, _ in find_maps(run.section(MapsConfig))]


def find_maps(config: MapsConfig) -> list[tuple[Path, SurveyConfig]]:
    """Return the user's files with the survey of each; raise `ConfigError` for a pattern without a file."""
    found: dict[Path, SurveyConfig] = {}
    for survey in config.surveys:
        for path in sorted({path for pattern in survey.files for path in _expand(pattern)}):
            if path in found:
                raise ConfigError(
                    f"{path} belongs to {found[path].survey} and to {survey.survey}; name it once"
                )
            found[path] = survey
    return list(found.items())


def _expand(pattern: str) -> list[Path]:
    expanded = str(Path(pattern).expanduser())
    matches = glob.glob(expanded, recursive=True)
    if not matches and not glob.has_magic(expanded):
        matches = [expanded]
    if not matches:
        raise ConfigError(f"maps.files: no file matches {pattern!r}; mend the pattern")
    return [Path(match) for match in matches]
