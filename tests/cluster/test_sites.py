"""Cluster files: examples load, settings of stages replace the common ones, mistakes are one clear line."""

import os
import subprocess
from pathlib import Path

import pytest

from astro_dist.cluster.sites import Resources, Site, check_limits, check_shared, load_site, without_trainings
from astro_dist.cluster.slurm import Job, _command, call_slurm, sbatch_text
from astro_dist.engine.config import validate
from astro_dist.engine.errors import ConfigError
from astro_dist.engine.work import Run
from astro_dist.pipelines import PIPELINES, load
from astro_dist.radio.pipeline import RADIO
from astro_dist.workers.machine import describe_machine
from tests.slurm.conftest import load_script

EXAMPLES = sorted((Path(__file__).parents[2] / "configs" / "clusters").glob("*.yaml"))
NAMES = {stage.name for name in PIPELINES for stage in load(name).stages}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_loads_says_what_it_is_and_stays_within_its_limits(path):
    assert path.read_text().startswith("# ")
    check_limits(load_site(path, NAMES), sorted(NAMES))


def test_one_file_serves_every_pipeline(tmp_path, command):
    done = command("plan", "flare/paper", "--cluster", "generic", "--out", tmp_path / "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "FLARE 12,928" in done.stdout
    assert "1616 pictures" in done.stdout
    rows = [line.split() for line in done.stdout.splitlines() if "the estimate on cores" in line]
    hours = {row[0]: float(row[3].removeprefix("<=")) for row in rows}
    assert hours["classify"] > hours["unidiffuser"] > 0


def test_a_generic_and_three_well_known_sites_are_there():
    assert {"generic", "leonardo_booster", "juwels_booster", "lumi_g"} <= {path.stem for path in EXAMPLES}


def write(tmp_path, text):
    path = tmp_path / "site.yaml"
    path.write_text(text)
    return path


def test_a_stage_replaces_only_what_it_names(tmp_path):
    text = "resources: {partition: p, cpus: 3}\nstages: {generate: {workers: 4, cpus: 5}}\n"
    site = load_site(write(tmp_path, text), NAMES)
    assert (site.of("generate").partition, site.of("generate").cpus, site.of("generate").workers) == (
        "p",
        5,
        4,
    )
    assert site.of("annotate") == site.resources


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "resources: {partitoin: p}",
            "site.yaml: unknown key 'resources.partitoin': did you mean 'partition'",
        ),
        ("stages: {generat: {}}", "no stage is called 'generat': did you mean 'generate'"),
        ("stages: {generate: {gpu: 1}}", "unknown key 'stages.generate.gpu': did you mean 'gpus'"),
        ("resources: {minutes: 0}", "resources.minutes"),
        ("resources: {memory_gb: 0.0001}", "resources.memory_gb"),
        ("stages: {generate: 5}", "stages.generate"),
        ("stages: 5", "stages"),
        ("resources: 5", "resources"),
        ("resources: {sbatch: [--dependency=singleton]}", "a run sets dependency itself"),
        ("resources: {sbatch: [--dep=singleton]}", "a run sets dependency itself"),
        ("resources: {sbatch: [--time=99:00:00]}", "a run sets time itself"),
        ("resources: {sbatch: [--array 0-3]}", "give a long option"),
        ("resources: {sbatch: [-d singleton]}", "give a long option"),
    ],
)
def test_mistakes_in_a_file_are_named(tmp_path, text, said):
    with pytest.raises(ConfigError, match=r"site\.yaml") as caught:
        load_site(write(tmp_path, text), NAMES)
    assert said in str(caught.value)


def test_a_file_that_is_not_there_is_no_run_configuration(tmp_path):
    with pytest.raises(ConfigError, match=r"no cluster file .*generic.yaml is one to copy"):
        load_site(tmp_path / "absent.yaml", NAMES)


@pytest.mark.parametrize(
    ("limits", "asked", "said"),
    [
        (
            {"minutes": 60},
            {"minutes": 61},
            "generate: minutes: 61 is more than the site allows, 60; lower it",
        ),
        ({"gpus": 4}, {"gpus": 5}, "gpus: 5"),
        ({"array": 8}, {"workers": 9}, "workers: 9"),
        ({"jobs": 5}, {"workers": 5}, "the run is 6 jobs and the site allows 5"),
        ({}, {"workers": 2, "nodes": 2}, "set one of the two to 1"),
    ],
)
def test_more_than_the_site_allows_is_refused_with_both_numbers(limits, asked, said):
    site = validate(Site, {"limits": limits, "stages": {"generate": asked}})
    with pytest.raises(ConfigError, match=said):
        check_limits(site, ["generate"])


def test_a_run_directory_that_nodes_cannot_see_is_refused(tmp_path):
    check_shared(tmp_path / "run", Site())
    (tmp_path / "work").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "work")
    for root in ("link/run", "work/run"):
        check_shared(tmp_path / root, validate(Site, {"shared": [str(tmp_path / "link")]}))
    with pytest.raises(ConfigError, match="not below /nowhere, which all nodes see"):
        check_shared(tmp_path / "run", validate(Site, {"shared": ["/nowhere"]}))
    for folder in ("$ABSENT/work", "work"):
        with pytest.raises(ConfigError, match="is a variable in it not set here"):
            check_shared(tmp_path / "run", validate(Site, {"shared": [folder]}))
    with pytest.raises(ConfigError, match="in the memory of this machine"):
        check_shared(Path("/dev/shm/run"), Site())


@pytest.mark.skipif(
    os.geteuid() != 0 and load_script().missing() is not None,
    reason="only root is sure to have Slurm; submitit looks for srun on PATH",
)
def test_the_sbatch_file_asks_for_what_the_site_says(tmp_path):
    asked = {"partition": "p", "account": "a", "gpus": 2, "gpu_type": "a100", "memory_gb": 1.5, "minutes": 90}
    asked |= {
        "reservation": "r",
        "constraint": "c",
        "qos": "q",
        "sbatch": ["--mail-type=FAIL", "--hint=nomultithread"],
    }
    site = validate(
        Site, {"resources": asked, "setup": ["module load x"], "container": "sing exec i.sif", "python": "py"}
    )
    job = Job("n", "generate", ("job", "RUN x", "--share"), site.resources, 8, after="1")
    text = sbatch_text(site, job, tmp_path)
    for line in (
        "partition=p",
        "account=a",
        "gres=gpu:a100:2",
        "mem=1536MB",
        "time=90",
        "reservation=r",
        "constraint=c",
        "qos=q",
        "mail-type=FAIL",
        "hint=nomultithread",
        "array=0-7%8",
        "dependency=afterok:1",
        "requeue",
    ):
        assert f"#SBATCH --{line}\n" in text
    assert "module load x\n" in text
    assert "sing exec i.sif py -P -m astro_dist job 'RUN x' --share &\n" in text
    assert "wckey" not in text


@pytest.mark.parametrize("field", ["partition", "account", "qos", "constraint", "reservation", "gpu_type"])
@pytest.mark.parametrize("text", ["a\n#SBATCH --wrap=id", "a\rb", "a\x00b", "a\x1bb", ""])
def test_text_that_leaves_its_line_is_refused(field, text):
    with pytest.raises(ConfigError, match=field):
        validate(Site, {"resources": {field: text}})


@pytest.mark.parametrize(
    ("changes", "asked"),
    [
        ({"steps": 0}, (0, 30)),
        ({"steps": 5}, (1, 240)),
        ({"steps": 0, "ranks": 2}, (1, 30)),
    ],
)
def test_a_training_of_no_steps_asks_for_no_gpu(changes, asked):
    config = RADIO.resolve({"autoencoder": {"start_from": "small", "preset": "small", **changes}})
    site = load_site(next(path for path in EXAMPLES if path.stem == "generic"), NAMES)
    fitted = without_trainings(site, Run.of(Path("absent"), config), RADIO.choose(config))
    found = fitted.of("autoencoder")
    assert (found.gpus, found.minutes) == asked
    assert fitted.of("generate") == site.of("generate")


def test_a_near_name_of_a_cluster_file_is_named():
    with pytest.raises(ConfigError, match="did you mean 'generic'"):
        load_site(Path("generik"), NAMES)


def test_a_machine_without_a_controller_is_one_short_line(tmp_path, monkeypatch):
    for name in ("sinfo", "sbatch"):
        tool = tmp_path / name
        said = "sinfo: fatal: Could not establish a configuration source"
        tool.write_text(f"#!/bin/sh\necho '{said}' >&2\nexit 1\n")
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(ConfigError, match=r"^no controller of Slurm answers here \(sinfo\): run without"):
        call_slurm("sinfo")
    (row,) = [row for row in describe_machine() if row[0] == "Slurm"]
    assert row[1:] == (f"{tmp_path}/sbatch, and no controller answers: jobs run on this machine", False)


def test_a_command_of_slurm_whose_peer_hangs_up_is_not_ended(tmp_path, monkeypatch):
    for name in ("squeue", "sinfo", "scontrol"):
        (tmp_path / name).write_text("#!/bin/sh\nkill -PIPE $$\necho answer\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert call_slurm("squeue") == "answer\n"
    assert find_slurm_here(tmp_path)[1:] == (f"{tmp_path}/sbatch, partitions answer", True)
    # The shell of a job begins with SIGPIPE as it is, unlike Python.
    (tmp_path / "ends").write_text("#!/bin/sh\nexit 99\n")
    (tmp_path / "ends").chmod(0o755)
    site = Site(python=str(tmp_path / "ends"))
    script = tmp_path / "job"
    script.write_text(_command(site, Job("n", "s", (), Resources())).replace("sleep 30", "exit 0"))
    done = subprocess.run(["bash", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "answer\n")


def find_slurm_here(folder):
    (folder / "sbatch").touch(mode=0o755)
    (row,) = [row for row in describe_machine() if row[0] == "Slurm"]
    return row
