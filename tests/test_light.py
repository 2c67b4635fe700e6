"""Commands that run nothing load no library of the stages, and faults are found before anything runs."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from safetensors.numpy import load_file, save_file

from astro_dist import pipelines
from astro_dist.engine.journal import Journal
from astro_dist.engine.manifest import write_config
from astro_dist.radio.pipeline import RADIO
from astro_dist.train.start import SHIPPED

QUICK = Path(__file__).parent.parent / "configs" / "quickstart.yaml"
HEAVY = ("torch", "astropy", "zarr", "pyarrow", "scipy", "matplotlib", "dask", "ray", "diffusers", "numpy")
HEAVY += ("psutil", "multiprocessing", "submitit", "astro_dist.cluster.sites")
MOST_OPENED = 400
"""Files that such a command opens, or tries to: about 280; with the libraries of the stages 2,500."""
CODE = f"""
import sys
opened = []
sys.addaudithook(lambda event, _: opened.append(event) if event == "open" else None)
from astro_dist.cli import main
code = main(sys.argv[1:])
print(code, len(opened), [name for name in {HEAVY} if name in sys.modules])
"""
SIZES = "size\n1\n"
WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def begun(tmp_path):
    """A run directory whose first stage has begun."""
    root, config = tmp_path / "run", RADIO.resolve({"name": "begun"})
    (root / "ledger").mkdir(parents=True)
    write_config(root, config, print)
    return root


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["plan", QUICK], "0"),
        (["status", "run"], "0"),
        (["run", QUICK, "--set", "assembel.objects=2"], "2"),
        (["plan", QUICK, "--set", "autoencoder.preset=tiny"], "2"),
    ],
)
def test_what_runs_nothing_loads_no_library_of_the_stages(begun, words, wanted):
    call = [sys.executable, "-P", "-c", CODE, *map(str, words)]
    done = subprocess.run(call, cwd=begun.parent, capture_output=True, text=True, check=True)
    code, opened, loaded = done.stdout.splitlines()[-1].split(maxsplit=2)
    assert (code, loaded) == (wanted, "[]"), done.stderr
    assert int(opened) < MOST_OPENED
    assert done.stderr.count("\n") == (wanted != "0")


def test_status_shows_the_tasks_that_a_worker_has_planned(begun, command):
    mark = pipelines.reopen(begun).states()[0].fingerprint
    for fingerprint, shown in (("of other settings", "not begun"), (mark, "0 of 8 tasks done")):
        Journal(begun, "driver").note("tasks", stage="simulate", fingerprint=fingerprint, tasks=8)
        assert f"simulate     {shown}" in command("status", begun).stdout


def weights(folder, spoil):
    """A copy of the autoencoder of the package with something wrong."""
    shutil.copytree(SHIPPED / "small" / "autoencoder", folder)
    spoil(folder)
    return ["autoencoder.preset=small", "autoencoder.steps=0", f"autoencoder.start_from={folder}"]


def with_nan(folder):
    tensors = load_file(folder / WEIGHTS)
    next(iter(tensors.values())).flat[0] = np.nan
    save_file(tensors, folder / WEIGHTS)


def without_a_tensor(folder):
    tensors = load_file(folder / WEIGHTS)
    tensors.popitem()
    save_file(tensors, folder / WEIGHTS)


def image(path, pixels):
    fits.writeto(path, np.full((300, 300), pixels, np.float32))
    return path


def text(path, content):
    path.write_text(content)
    return path


CASES = {
    "nan": (lambda at: weights(at / "w", with_nan), "holds NaN or infinite numbers"),
    "tensor": (lambda at: weights(at / "w", without_a_tensor), "is missing"),
    "cut": (lambda at: weights(at / "w", lambda w: (w / WEIGHTS).write_bytes(b"cut")), "does not fit"),
    "kind": (lambda at: weights(at / "w", lambda w: text(w / "config.json", "{}")), "is no StampAutoencoder"),
    "latents": (
        lambda at: [
            *weights(at / "models" / "autoencoder", with_other_numbers),
            f"autoencoder.start_from={at}",
            f"diffusion.start_from={diffusion(at)}",
            "diffusion.preset=small",
        ],
        "the latents of another autoencoder",
    ),
    "name": (
        lambda at: ["diffusion.start_from=smal", "autoencoder.start_from=smal", "autoencoder.steps=0"],
        "'smal' is neither",
    ),
    "labels": (lambda at: [f"generate.masks.labels={image(at / 'l.fits', 7)}"], "holds the label 7"),
    "no objects": (lambda at: [f"generate.masks.labels={image(at / 'l.fits', 1)}"], "objects is extended or"),
    "sky": (lambda at: [f"generate.background={image(at / 's.fits', np.nan)}"], "are blank or constant"),
    "column": (
        lambda at: ["assemble.flux.mode=catalogue", f"assemble.flux.catalogue={text(at / 'c.csv', SIZES)}"],
        "no column flux_jy",
    ),
    "table": (
        lambda at: ["assemble.flux.mode=catalogue", f"assemble.flux.catalogue={text(at / 'c.fits', 'f')}"],
        "c.fits: ",
    ),
    "file": (lambda at: ["assemble.density=absent.fits"], "there is no file absent.fits"),
    "map": (
        lambda at: ["assemble.background.kind=map", f"assemble.background.path={image(at / 'm.fits', 1)}"],
        "m.fits: ",
    ),
    "folder": (lambda at: [f"maps.files=[{at}]"], "it is a folder, not a file; write it as FITS"),
}


def with_other_numbers(folder):
    tensors = load_file(folder / WEIGHTS)
    next(iter(tensors.values())).flat[0] += 1
    save_file(tensors, folder / WEIGHTS)


def diffusion(root):
    shutil.copytree(SHIPPED / "small" / "diffusion", root / "models" / "diffusion")
    return root


@pytest.mark.parametrize("case", CASES)
def test_what_cannot_end_well_is_refused_before_anything_runs(command, tmp_path, case):
    make, message = CASES[case]
    (tmp_path / "c.yaml").write_text("seed: 1\n")
    changes = [word for change in make(tmp_path) for word in ("--set", change)]
    planned = command("plan", "c.yaml", *changes, cwd=tmp_path)
    assert (planned.returncode, planned.stdout, planned.stderr.count("\n")) == (2, "", 1), planned.stderr
    assert message in planned.stderr
    ran = command("run", "c.yaml", "--out", "out", *changes, cwd=tmp_path)
    assert (ran.returncode, ran.stderr.splitlines()[-1:]) == (2, planned.stderr.splitlines())
    assert not (tmp_path / "out").exists()


def test_status_refuses_what_run_refuses_in_the_same_words(begun, command):
    (begun / "ledger").rmdir()
    (begun / "maps").mkdir()
    for words in (("status", begun), ("run", QUICK, "--out", begun), ("plan", QUICK, "--out", begun)):
        done = command(*words)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert "if this was a run, put its ledger/ back" in done.stderr
    for verb in ("verify", "repair"):
        done = command(verb, begun)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert "put its ledger/ back" in done.stderr


@pytest.mark.parametrize("out", ["file", "file/run", "folder"])
def test_a_plan_refuses_the_places_that_a_run_refuses(command, tmp_path, out):
    (tmp_path / "c.yaml").write_text("seed: 1\n")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "mine.txt").write_text("mine")
    for verb in ("plan", "run"):
        done = command(verb, "c.yaml", "--out", out, cwd=tmp_path)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
        assert "choose a" in done.stderr
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["c.yaml", "file", "folder", "mine.txt"]
