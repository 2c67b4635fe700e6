"""The files that the settings of maps name."""

import glob
from fnmatch import fnmatch
from itertools import islice, pairwise
from pathlib import Path

from astro_dist.engine.errors import ConfigError
from astro_dist.engine.foreign import expand_home
from astro_dist.engine.work import Run
from astro_dist.sky.config import FilesConfig, MapsConfig, SurveyConfig
from astro_dist.sky.fits_headers import IMAGE_FOLDER

READMES, README_BYTES = ("ReadMe", "README", "readme", "ReadMe.txt"), 1 << 20
MOST_FILES, MOST_LETTERS = 32_000, 4096
"""Most files that a pattern may match, and most letters of one."""


def map_sources(run: Run) -> list[Path]:
    """Return the files that ``maps`` names, survey by survey, sorted, each once, and those of the noise."""
    config = run.section(MapsConfig)
    noise = [path for survey in config.surveys for path in find_noise(survey)] if config.files else []
    return [*(path for path, _ in find_maps(config)), *noise]


def find_noise(survey: SurveyConfig) -> list[Path]:
    """Return the maps of the noise, or of the weights, of a survey, sorted, each once."""
    setting = noise_setting(survey)
    patterns = survey.rms_files or survey.weight_files
    return sorted({path for pattern in patterns for path in _expand(pattern, setting)})


def noise_setting(survey: SurveyConfig) -> str:
    """Return the name of the setting that names the maps of the noise of a survey."""
    return "maps.weight_files" if survey.weight_files else "maps.rms_files"


def find_files(config: FilesConfig, setting: str) -> list[Path]:
    """Return the files that ``setting`` names, sorted, each once; see `find_maps`."""
    return sorted({path for pattern in config.files for path in _expand(pattern, setting)})


def with_readme(path: Path) -> list[Path]:
    """Return a user's table, with the description of CDS beside it where there is one."""
    readme = find_readme(path)
    return [path] if readme is None else [path, readme]


def find_readme(path: Path) -> Path | None:
    """Return the file ``ReadMe`` in a table's folder that describes the bytes of its rows, as CDS has it."""
    for name in READMES:
        readme = path.with_name(name)
        if readme.is_file() and described_part(readme, path):
            return readme
    return None


def described_part(readme: Path, path: Path) -> list[str]:
    """Return the lines of the ``Byte-by-byte Description`` of a table, empty where there is none.

    A table packed with gzip is described under its name without ``.gz``.
    """
    name = path.name.removesuffix(".gz")
    with readme.open("rb") as handle:
        lines = handle.read(README_BYTES).decode("utf-8", "replace").splitlines()
    starts = [i for i, line in enumerate(lines) if line.lstrip().startswith("Byte-by-byte Description")]
    for start, end in pairwise([*starts, len(lines)]):
        named = lines[start].partition(":")[2].replace(",", " ").split()
        if any(fnmatch(name, pattern) for pattern in named):
            return lines[start:end]
    return []


def find_maps(config: MapsConfig) -> list[tuple[Path, SurveyConfig]]:
    """Return the user's files with the survey of each, without those that are named as noise of a survey.

    Raises
    ------
    ConfigError
        For a pattern without a file, or whose files are all maps of the noise.
    """
    found: dict[Path, SurveyConfig] = {}
    noise = {path.resolve(): survey for survey in config.surveys for path in find_noise(survey)}
    for survey in config.surveys:
        paths = sorted({path for pattern in survey.files for path in _expand(pattern)})
        maps = [path for path in paths if not (noise and path.resolve() in noise)]
        if paths and not maps:
            setting = noise_setting(noise[paths[0].resolve()])
            raise ConfigError(
                f"maps.files: {setting} names {paths[0]} and all others too; take them out there"
            )
        by_target: dict[Path, Path] = {}
        for path in maps:
            if path.is_dir():
                raise ConfigError(f"{path}: it is a folder, not a file; {IMAGE_FOLDER}")
            # Through a link a map would count twice, and each of its sources.
            if (other := by_target.setdefault(path.resolve(), path)) != path:
                raise ConfigError(
                    f"maps.files: {path} and {other} are one file, through a link; name it once"
                )
            if path in found:
                raise ConfigError(
                    f"{path} belongs to {found[path].survey} and to {survey.survey}; name it once"
                )
            found[path] = survey
    return list(found.items())


def find_survey(config: MapsConfig, path: Path) -> SurveyConfig | None:
    """Return the survey that a map is of, None where no setting of maps names it."""
    entries = find_maps(config) if config.files else ()
    return next((survey for one, survey in entries if one.resolve() == path.resolve()), None)


def _expand(pattern: str, setting: str = "maps.files") -> list[Path]:
    if len(pattern) > MOST_LETTERS:
        raise ConfigError(f"{setting}: a pattern has {len(pattern)} letters, and no path has so many")
    expanded = str(expand_home(pattern))
    # Bounded: `**` follows links, and below /proc these lead round in circles.
    matches = list(islice(glob.iglob(_literal_parts(Path(expanded)), recursive=True), MOST_FILES + 1))
    if len(matches) > MOST_FILES:
        raise ConfigError(f"{setting}: {pattern!r} matches more than {MOST_FILES} files; mend the pattern")
    if not matches and not glob.has_magic(expanded):
        matches = [expanded]
    if not matches:
        raise ConfigError(f"{setting}: no file matches {pattern!r}; mend the pattern")
    return [Path(match) for match in matches]


def _literal_parts(pattern: Path) -> str:
    """Return a pattern in which a part is no pattern where a file or folder of exactly that name exists."""
    done, exact = Path(), Path()
    for part in pattern.parts:
        done /= glob.escape(part) if (exact / part).exists() else part
        exact /= part
    return str(done)
