import json
import os
import shutil
import subprocess
import sys
import warnings

import numpy as np
import pyarrow.parquet as pq
import pytest
import xarray
from astropy.io import fits

from astro_dist import cli
from astro_dist.engine.config import load_yaml
from astro_dist.radio.pipeline import RADIO
from tests.end_to_end.conftest import ROOT, call, run, stable_digests

PRODUCTS = {
    "maps",
    "annotations",
    "cutouts.zarr",
    "models/autoencoder",
    "models/diffusion",
    "stamps.zarr",
    "field",
}

CUT = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$0" "$@"'] if os.geteuid() == 0 else []
DEFAULT_STAGES = [stage.name for stage in RADIO.choose(RADIO.resolve({}))]


def test_the_last_lines_are_the_paths_and_they_exist(toy_run):
    out, done = toy_run
    lines = dict(line.split(": ", 1) for line in done.stdout.splitlines())
    assert list(lines) == ["map", "truth", "report"]
    assert lines["map"] == str(out / "field/map.fits")
    for path in lines.values():
        assert out.joinpath(path).is_file()


def test_nothing_but_json_lines_is_printed_elsewhere_than_on_a_terminal(toy_run):
    _, done = toy_run
    events = [json.loads(line) for line in done.stderr.splitlines()]
    assert [e["stage"] for e in events if e["event"] == "end"] == DEFAULT_STAGES
    assert events[0]["event"] == "plan"
    assert events[0]["disk_bytes"] > 1e6


def test_status_verify_and_second_run(toy_run, tmp_path, capsys):
    out = tmp_path / "run"
    shutil.copytree(toy_run[0], out)
    assert cli.main(["verify", str(out)]) == 0
    assert cli.main(["status", str(out)]) == 0
    shown = capsys.readouterr().out
    assert shown.count("  done, ") == len(DEFAULT_STAGES)
    again = run(out, "--workers", 2)
    assert again.returncode == 0
    assert sum(json.loads(line)["event"] == "skipped" for line in again.stderr.splitlines()) == 8


@pytest.mark.parametrize(
    "arguments",
    [
        ("--on", "ray", "--workers", 2),
        *(pytest.param(("--workers", n), marks=pytest.mark.soak) for n in (1, 2, 3, 8)),
        *(pytest.param(("--on", "ray", "--workers", n), marks=pytest.mark.soak) for n in (1, 3, 4, 8)),
    ],
    ids=lambda arguments: "".join(str(word).lstrip("-") for word in arguments),
)
def test_same_bytes_on_every_executor(toy_run, tmp_path, arguments):
    out, _ = toy_run
    done = run(tmp_path / "run", *arguments)
    assert done.returncode == 0, done.stderr
    expected, found = stable_digests(out), stable_digests(tmp_path / "run")
    assert set(expected) == PRODUCTS
    assert found == expected


@pytest.fixture(scope="module")
def run_of_four(tmp_path_factory):
    """A run in four worker processes; as root without any network, which only root can cut."""
    out = tmp_path_factory.mktemp("four") / "run"
    line = call("run", "--out", out, "--workers", 4)
    return out, subprocess.run([*CUT, *line], cwd=ROOT, capture_output=True, text=True, check=False)


def test_same_bytes_in_four_worker_processes(toy_run, run_of_four):
    out, done = run_of_four
    assert done.returncode == 0, done.stderr
    assert stable_digests(out) == stable_digests(toy_run[0])


@pytest.mark.skipif(not CUT, reason="only root may mount and unshare")
@pytest.mark.parametrize("executor", ["processes", pytest.param("ray", marks=pytest.mark.soak)])
def test_the_pipeline_runs_with_the_network_cut(toy_run, run_of_four, tmp_path, executor):
    out, done = run_of_four
    if executor == "ray":
        out = tmp_path / "run"
        line = [*CUT, *call("run", "--out", out, "--on", executor, "--workers", 2)]
        done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.args[:2] == ["unshare", "--net"]
    assert done.returncode == 0, done.stderr
    assert stable_digests(out) == stable_digests(toy_run[0])


def test_same_bytes_in_any_order_of_tasks(toy_run, tmp_path):
    out, _ = toy_run
    line = [
        sys.executable,
        "-m",
        "tests.end_to_end.shuffled",
        str(out / "config.yaml"),
        str(tmp_path / "run"),
    ]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert stable_digests(tmp_path / "run") == stable_digests(out)


def test_flux_scale_redoes_only_the_field(toy_run, command, tmp_path):
    out, _ = toy_run
    copy = tmp_path / "run"
    shutil.copytree(out, copy)
    changed = {"assemble.flux.scale": 2.0}
    refused = command(*call("run", "--out", copy, extra=changed)[3:], cwd=ROOT)
    assert refused.returncode == 2
    assert "assemble and, after it, report would be made anew, because assemble.flux.scale: 3.0 -> 2.0" in (
        refused.stderr
    )
    done = run(copy, "--on", "serial", "--redo", "assemble", extra=changed)
    assert done.returncode == 0, done.stderr
    before, after = stable_digests(out), stable_digests(copy)
    assert {name for name in before if before[name] != after[name]} == {"field"}


def test_stores_open_in_xarray_without_a_warning(toy_run):
    out, _ = toy_run
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, place in (
            ("cutouts.zarr", {"ra_deg", "dec_deg", "source_map"}),
            ("stamps.zarr", {"donor"}),
        ):
            with xarray.open_zarr(out / name) as store:
                assert set(store["image"].coords) >= place
                assert store["mask"].attrs["flag_meanings"] == "background spurious compact extended"
                assert store["image"].dims == ("cutout", "y", "x")
                assert store["image"].attrs["units"] == "Jy/beam"


def test_the_field_is_what_the_truth_says(toy_run):
    out, _ = toy_run
    truth = pq.read_table(out / "field/truth.parquet").to_pydict()
    assert len(truth["id"]) == 12
    with fits.open(out / "field/map.fits", checksum=True) as hdus:
        hdus.verify("exception")
        assert hdus[0].data.shape == (500, 620)
        assert hdus[0].header["BUNIT"] == "Jy/beam"
    instances = fits.getdata(out / "field/instances.fits")
    assert set(np.unique(abs(instances))) == {0, *truth["id"]}


def test_models_load_with_the_network_off(toy_run, monkeypatch):
    import socket

    def refuse(*args, **kwargs):
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    out, _ = toy_run
    from astro_dist.models.autoencoder import load_autoencoder
    from astro_dist.models.denoiser import load_denoiser

    for load, name in ((load_autoencoder, "autoencoder"), (load_denoiser, "diffusion")):
        assert load(out / "models" / name) is not None
    assert list((out / "models").rglob("*.safetensors"))
    assert not [p for p in (out / "models").rglob("*") if p.suffix in (".bin", ".pt", ".ckpt", ".pkl")]


def test_config_in_the_run_directory_is_the_resolved_one(toy_run):
    out, _ = toy_run
    config = RADIO.resolve(load_yaml(out / "config.yaml"))
    assert config.generate.objects == 5
    assert config.simulate.shape == (640, 704)
