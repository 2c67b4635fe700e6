"""The list of pipelines, and a pipeline of another package that every command runs like a built-in one."""

import inspect
import json
import os
import pickle
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from astro_dist import pipelines
from astro_dist.cli import describe_commands
from astro_dist.engine.errors import ConfigError, StageError
from astro_dist.engine.files import tree_digests
from astro_dist.engine.later import Later
from astro_dist.engine.pipeline import RESERVED, Pipeline
from astro_dist.engine.work import Run, for_stage
from astro_dist.radio.pipeline import RADIO
from tests.toys import SHARDS, TOTAL, ToyConfig

OUTSIDE = Path(__file__).parent / "outside"
SUMS = OUTSIDE / "sums.yaml"


def process(*words, cwd=None, outside=True):
    paths = [str(OUTSIDE)] if outside else []
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*paths, os.environ.get("PYTHONPATH", "")])}
    line = [sys.executable, "-m", "astro_dist", *map(str, words)]
    return subprocess.run(line, env=environment, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.fixture
def outside(monkeypatch):
    """Put the package with the outside pipeline on this process's path."""
    monkeypatch.syspath_prepend(str(OUTSIDE))


@pytest.mark.parametrize("name", pipelines.PIPELINES)
def test_the_plain_data_is_what_is_declared(name):
    listing, declared = pipelines.PIPELINES[name], pipelines.load(name)
    assert declared.help == listing.help
    assert [stage.words for stage in declared.stages] == list(listing.stages)
    assert all(listing.stages.values())
    assert declared.config().pipeline == declared.name == name


def test_the_commands_are_the_reserved_names():
    assert set(describe_commands({})) <= RESERVED


def test_the_commands_of_a_pipeline_beside_its_stages_can_be_called():
    for listing in pipelines.PIPELINES.values():
        for tool in listing.tools.values():
            wanted = {name.strip("-").replace("-", "_") for name in tool.arguments}
            assert set(inspect.signature(Later(tool.where).load()).parameters) == wanted


def test_a_pipeline_with_commands_of_its_own_shares_its_name_with_no_stage():
    grouped = {name for name, listing in pipelines.PIPELINES.items() if listing.tools}
    assert not grouped & pipelines.commands().keys()


def test_names_of_further_commands_are_reserved():
    assert {"clean", "export", "challenge", "init", "logs"} <= RESERVED


@pytest.mark.parametrize("name", [*pipelines.PIPELINES, "sums"])
def test_every_declared_stage_pickles_and_so_does_what_it_sees(name, outside, tmp_path):
    pipeline = pipelines.load(name)
    config = pipeline.config()
    run = Run.of(tmp_path, config)
    for stage in pipeline.stages:
        again = pickle.loads(pickle.dumps(stage))
        assert (again.name, again.sections, again.inputs) == (stage.name, stage.sections, stage.inputs)
        seen = pickle.loads(pickle.dumps(for_stage(run, stage, "f" * 64)))
        # A section that a configuration may lack is None until it is given.
        there = {key for key in (*stage.sections, *stage.reads) if getattr(config, key) is not None}
        assert set(seen.settings.sections) == there


def test_a_stage_that_reads_what_it_did_not_declare_is_a_fault(tmp_path):
    run = for_stage(Run.of(tmp_path, ToyConfig()), TOTAL, "f" * 64)
    section = type(ToyConfig().shards)
    with pytest.raises(StageError, match=r"ShardsConfig was asked for and total is all that is declared"):
        run.section(section)
    assert for_stage(run, replace(TOTAL, reads=("shards",)), "f" * 64).settings.sections.keys() == {"total"}
    whole = Run.of(tmp_path, ToyConfig())
    assert for_stage(whole, replace(TOTAL, reads=("shards",)), "").section(section).count == 12


def test_a_stage_of_one_name_is_of_one_kind():
    report = RADIO.stage("report")
    same = replace(report, sections=(), reads=(), own="", inputs=("shards",))
    pipelines.check_names(Pipeline("toy", "", ToyConfig, (SHARDS, same)))
    other = replace(TOTAL, name="report", product="total.json")
    with pytest.raises(ValueError, match="report is another kind of stage in the pipeline radio; rename it"):
        pipelines.check_names(Pipeline("toy", "", ToyConfig, (SHARDS, other)))
    with pytest.raises(ValueError, match="radio is both a pipeline and a stage"):
        pipelines.check_names(Pipeline("toy", "", ToyConfig, (replace(SHARDS, name="radio"),)))


@pytest.mark.parametrize("name", pipelines.PIPELINES)
def test_a_word_that_pipelines_of_the_package_share_is_one_kind_of_stage(name):
    pipelines.check_names(pipelines.load(name))


def test_an_unknown_pipeline_is_one_line_with_the_nearest(tmp_path, outside):
    (tmp_path / "c.yaml").write_text("pipeline: radia\n")
    with pytest.raises(ConfigError, match=r"no pipeline 'radia': did you mean 'radio'.*sums"):
        pipelines.configure(tmp_path / "c.yaml")


def test_a_package_that_cannot_be_imported_is_one_line(tmp_path, monkeypatch):
    folder = tmp_path / "broken-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[astro_dist.pipelines]\nbroken = absent_module:X\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match="pipeline broken of absent_module:X cannot be used: No module"):
        pipelines.load("broken")


@pytest.fixture(scope="module")
def serial(tmp_path_factory):
    """The pipeline from outside, one task after the other."""
    root = tmp_path_factory.mktemp("sums") / "run"
    done = process("run", SUMS, "--out", root, "--on", "serial")
    assert done.returncode == 0, done.stderr
    return root, done


def products(root):
    return {name: tree_digests(root / name) for name in ("numbers", "learnt", "verdict.json")}


def test_a_pipeline_from_outside_shows_its_results_and_is_sound(serial, command, outside):
    root, done = serial
    assert done.stdout == f"verdict: {root}/verdict.json\n"
    losses = json.loads((root / "verdict.json").read_text())["losses"]
    assert losses["slow"] > losses["all"]
    status = command("status", root)
    assert status.stdout.count("  done, ") == 3
    assert command("verify", root).returncode == 0
    assert "learn" in command("plan", SUMS, "--out", root).stdout
    cells = json.loads((root / "ledger/learn.json").read_text())["facts"]["cells"]
    assert set(cells) == {"all", "few", "slow"}
    # Cells of one key begin alike: with the same weights, and the same noise at every step.
    assert [path.name for path in sorted((root / "logs").glob("learn-*.curve.jsonl"))] == [
        f"learn-{name}.curve.jsonl" for name in ("all", "few", "slow")
    ]


@pytest.mark.parametrize("arguments", [("--workers", "2"), ("--on", "ray", "--workers", "2")])
def test_its_bytes_are_the_same_on_every_executor(serial, tmp_path, arguments):
    done = process("run", SUMS, "--out", tmp_path / "run", *arguments)
    assert done.returncode == 0, done.stderr
    assert products(tmp_path / "run") == products(serial[0])


def test_one_of_its_stages_is_a_command(serial, command, outside, tmp_path):
    root = tmp_path / "run"
    assert "sums" in process("learn", "--help").stdout
    refused = command("learn", SUMS, "--out", root)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "learn needs what numbers publishes" in refused.stderr
    for stage in ("numbers", "learn", "verdict"):
        assert command(stage, SUMS, "--out", root, "--on", "serial").returncode == 0
    assert products(root) == products(serial[0])
    changed = ("run", SUMS, "--out", root, "--set", "learn.lr=0.02", "--on", "serial")
    refused = command(*changed)
    assert refused.returncode == 2
    assert "learn and, after it, verdict would be made anew" in refused.stderr
    redone = command(*changed, "--redo", "learn")
    assert redone.returncode == 0, redone.stderr


def test_it_is_repaired_like_any_other(serial, command, outside, tmp_path):
    root = tmp_path / "run"
    shutil.copytree(serial[0], root)
    weights = root / "learnt" / "few" / "weights.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert command("verify", root).returncode == 3
    assert command("repair", root).returncode == 0
    assert command("run", SUMS, "--out", root, "--on", "serial").returncode == 0
    assert products(root) == products(serial[0])


def test_init_writes_its_settings(command, outside, tmp_path):
    done = command("init", "sums", "own.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "pipeline: sums" in (tmp_path / "own.yaml").read_text()
    assert command("plan", "own.yaml", cwd=tmp_path).returncode == 0
    twice = command("init", "sums", "a.yaml", "b.yaml", cwd=tmp_path)
    assert (twice.returncode, twice.stderr.count("\n")) == (2, 1)


def test_without_its_package_it_is_refused(command, outside, tmp_path):
    refused = process("run", SUMS, "--out", tmp_path / "run", outside=False)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "there is no pipeline 'sums'" in refused.stderr
    wrong = command("run", SUMS, "--out", tmp_path / "run", "--to", "annotate")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
    assert "the pipeline sums has no stage 'annotate'" in wrong.stderr
    assert not (tmp_path / "run").exists()
