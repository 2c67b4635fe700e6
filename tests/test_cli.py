import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from astro_dist import pipelines
from astro_dist.cluster.sites import Resources, Site
from astro_dist.cluster.slurm import Job, _command
from astro_dist.engine.config import load_yaml
from astro_dist.radio.pipeline import RADIO
from astro_dist.workers.processes import environment

HEAVY = ("torch", "ray", "astropy", "zarr", "pydantic", "numpy")


def process(*arguments, cwd=None):
    call = [sys.executable, "-m", "astro_dist", *map(str, arguments)]
    return subprocess.run(call, capture_output=True, text=True, cwd=cwd, check=False)


def cpu_seconds(call):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(call, stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_help_imports_nothing_heavy():
    code = (
        "import sys, contextlib\nfrom astro_dist.cli import main\n"
        "with contextlib.suppress(SystemExit): main(['--help'])\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.endswith("[]\n")
    for words in ("run", "plan", "status", "verify", "doctor", "init", *pipelines.commands()):
        assert words.split()[-1] in shown


def test_help_is_cheap():
    floor = min(cpu_seconds([sys.executable, "-c", "pass"]) for _ in range(5))
    cost = min(cpu_seconds([sys.executable, "-m", "astro_dist", "--help"]) for _ in range(5))
    assert cost - floor < 0.15


def test_a_run_to_a_stage_holds_what_it_stands_on_and_no_more():
    def names(to, **settings):
        return [stage.name for stage in RADIO.choose(RADIO.resolve(settings), to)]

    assert names("cutouts") == ["simulate", "annotate", "cutouts"]
    wanted = names("evaluate", evaluate={"enabled": True}, maps={"files": ["m.fits"]})
    assert wanted == ["annotate", "cutouts", "autoencoder", "diffusion", "byol", "segmenter", "evaluate"]


def test_version():
    assert process("--version").stdout.startswith("astro-dist 0.")


def test_stages_import_nothing_that_only_some_workers_need():
    code = (
        "import sys\nfrom astro_dist.radio.pipeline import RADIO\nRADIO.resolve({})\n"
        "print([m for m in ('torch', 'ray', 'matplotlib', 'deepspeed', 'scipy') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown == "[]\n"


def test_it_starts_in_the_folder_above_a_clone(above, tmp_path):
    (above / "random.py").write_text("raise SystemExit('the module of the current folder')")
    job = Job("n", "simulate", ("--version",), Resources())
    script = tmp_path / "job"
    script.write_text(_command(Site(), job))
    for line in ([Path(sys.executable).with_name("astro-dist"), "--version"], ["bash", script]):
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout[:13]) == (0, "astro-dist 0."), done.stderr
    with environment({}):
        done = subprocess.run([sys.executable, "-c", "import random"], capture_output=True, check=False)
    assert done.returncode == 0
    # Without -P the current folder comes first; only a clone in it must not matter.
    (above / "random.py").unlink()
    assert process("--version").stdout.startswith("astro-dist 0.")


def test_init_writes_a_config_that_plans(command, tmp_path):
    done = process("init", cwd=tmp_path)
    assert done.returncode == 0
    text = (tmp_path / "astro_dist.yaml").read_text()
    assert RADIO.resolve(load_yaml(tmp_path / "astro_dist.yaml")) == RADIO.resolve({})
    assert text.count("#") > 50
    planned = command("plan", "astro_dist.yaml", cwd=tmp_path)
    assert planned.returncode == 0, planned.stderr
    assert all(stage.name in planned.stdout for stage in RADIO.choose(RADIO.config()))
    assert "<=" in planned.stdout
    assert not (tmp_path / "runs").exists()
    again = command("init", cwd=tmp_path)
    assert (again.returncode, again.stderr.count("\n")) == (2, 1)
    nowhere = command("init", "absent/deep/a.yaml", cwd=tmp_path)
    assert (nowhere.returncode, nowhere.stderr.count("\n")) == (2, 1)
    assert "there is no folder absent/deep" in nowhere.stderr
    assert not (tmp_path / "absent").exists()


def test_doctor_says_what_is_here(command):
    done = command("doctor")
    assert done.returncode == 0
    for word in ("cores", "memory", "GPUs", "Slurm", "torch", "deepspeed"):
        assert word in done.stdout


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--set", "assemble.flux.scal=2"], "unknown key 'assemble.flux.scal': did you mean 'scale'"),
        (["--set", "assembel.objects=2"], "unknown key 'assembel': did you mean 'assemble'"),
        (["--set", "assemble.objects=many"], "assemble.objects: "),
        (["--set", "assemble.objects"], "write it as section.key=value"),
        (["--set", "machine.gpus=64"], "machine.gpus: 64 asked for and"),
        (["--workers", "0"], "machine.workers: must be at least 1, not 0"),
        (["--redo", "nonsense"], "no stage 'nonsense'"),
        (["--redo", "cutouts", "--to", "annotate"], "--redo cutouts: cutouts comes after annotate"),
        (["--redo", "generate", "--to", "evaluate"], "--redo generate: generate is not needed for"),
        (
            [
                *("--set", "assemble.shape=[9000000, 9000000]", "--set", "simulate.pixel_arcsec=1.0e-3"),
                *("--set", "simulate.beam_major_arcsec=4.0e-3", "--set", "simulate.beam_minor_arcsec=4.0e-3"),
            ],
            "too little disk",
        ),
        (["--set", "assemble.shape=[9000000, 9000000]"], "half sphere"),
        (["--set", "maps.files=[absent/*.fits]"], "absent/*.fits"),
        (
            ["--set", "assemble.objects=30", "--set", "generate.objects=3"],
            "raise generate.objects or assemble.reuse",
        ),
    ],
)
def test_bad_input_is_one_line_exit_2_and_nothing_written(command, tmp_path, arguments, line):
    (tmp_path / "c.yaml").write_text("seed: 1\n")
    done = command("run", "c.yaml", "--out", "out", *arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("astro-dist: ")
    assert line in last
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_missing_config_and_wrong_paths(command, tmp_path):
    for call in (
        ["run", "absent.yaml"],
        ["status", "absent"],
        ["verify", "absent"],
        ["repair", "absent"],
        ["plan", "absent.yaml"],
    ):
        done = command(*call, cwd=tmp_path)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere; a file in the way is tested instead")
def test_read_only_folder(command, tmp_path):
    (tmp_path / "c.yaml").write_text("seed: 1\n")
    (tmp_path / "locked").mkdir(mode=0o500)
    done = command("run", "c.yaml", "--out", "locked/out", cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


def test_a_stage_alone_names_what_it_needs_in_one_line(tmp_path):
    (tmp_path / "c.yaml").write_text("seed: 1\n")
    done = process("cutouts", "c.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert "cutouts needs what simulate publishes" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_full_device_for_messages_changes_no_exit_code(tmp_path):
    """Neither the line of the error nor the flush at the exit may put their own failure in its place."""
    with open("/dev/full", "w") as full:
        call = [sys.executable, "-m", "astro_dist", "status", tmp_path / "absent"]
        assert subprocess.run(call, stderr=full, check=False).returncode == 2


@pytest.mark.parametrize(("wish", "against"), [("always", "NO_COLOR"), ("never", "FORCE_COLOR")])
def test_the_option_of_colours_counts_more_than_the_variables_of_the_shell(tmp_path, wish, against):
    code = f"from astro_dist.cli import main; main(['status', 'absent', '--color', '{wish}'])"
    code += "; from rich.console import Console; print(Console().color_system and not Console().no_color)"
    shell = {"PATH": os.environ["PATH"], "TERM": "xterm", against: "1"}
    call = [sys.executable, "-c", code]
    done = subprocess.run(call, capture_output=True, text=True, env=shell, cwd=tmp_path, check=True)
    assert done.stdout.strip() == str(wish == "always")


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("absent.fits", "absent.fits does not exist"),
        ("map.fits.gz", "map.fits.gz is packed; unpack it and verify map.fits"),
        ("map.txt", "neither a run directory, nor a store, nor a FITS file (.fits or .fz), nor a challenge"),
    ],
)
def test_what_cannot_be_verified_is_one_line_that_helps(command, tmp_path, name, advice):
    if "absent" not in name:
        (tmp_path / name).write_bytes(b"")
    done = command("verify", name, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert advice in done.stderr
