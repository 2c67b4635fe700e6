"""The README agrees with the package: its commands parse and its stages exist."""

import re
import shlex
from pathlib import Path

import pytest

from astro_dist.cli import build_parser
from astro_dist.pipelines import find_config

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PLACEHOLDERS = {"CONFIG": "configs/quickstart.yaml", "MAP.yaml": "quickstart"}


def commands():
    found = re.findall(r"`(astro-dist [^`]+)`", README) + re.findall(r"^    (astro-dist .+)$", README, re.M)
    found += re.findall(r"&& (astro-dist .+)$", README, re.M)
    return sorted({" ".join(text.split("  ")[0].split()) for text in found})


def test_the_two_commands_are_there_and_ci_runs_the_second():
    assert "pip install -e . && astro-dist run configs/quickstart.yaml" in README
    assert "pip install -e '.[test,flare,enhance]' && pytest" in README
    script = (ROOT / ".ci/run").read_text()
    assert "pip install -q -e '.[test,interop,flare,enhance,docs,hips]'" in script
    assert "sphinx-build -q -W --keep-going docs" in script
    # Nothing but the verdict on the types comes after it.
    assert script.rstrip().endswith('\npytest\nwait "$types_job"')


@pytest.mark.parametrize("line", commands())
def test_every_command_of_the_readme_parses(line):
    words = [PLACEHOLDERS.get(word, word) for word in shlex.split(line)[1:]]
    options = build_parser().parse_args(words)
    config = getattr(options, "config", None)
    # Pictures and maps of the reader's, which need not be there.
    files = isinstance(config, list)
    assert config is None or files or (ROOT / find_config(config)).exists()


def test_it_is_short_and_shows_a_picture_and_several_commands():
    assert len(commands()) >= 6
    assert len(README.split()) < 1000
    assert "](docs/images/" in README
