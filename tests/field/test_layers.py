"""Headers of a field: provenance from the ledger, the same bytes every time."""

from astro_dist.engine.config import fingerprint
from astro_dist.engine.files import sha256_file
from astro_dist.engine.ledger import Published
from astro_dist.field.assembly import find_instrument
from astro_dist.field.layers import INSTANCES, LAYERS, MAP, MASK, history, make_header
from tests.field.small_sky import make_run

WEIGHTS = "conditioner/diffusion_pytorch_model.safetensors"


def publish(run, name, product, files, inputs=(), **settings):
    basis = {"inputs": dict.fromkeys(inputs, "00"), "settings": {name: settings}}
    run.ledger.publish(name, Published("0" * 64, basis, product, files))


def test_headers_name_every_stage_and_the_model(tmp_path):
    run = make_run(tmp_path, shape=[40, 50])
    files = {WEIGHTS: "ab" * 32, "unet/config.json": "cd" * 32}
    publish(run, "masks", "models/masks", {"model.safetensors": "ef" * 32})
    publish(run, "diffusion", "models/diffusion", files, ["cutouts"], start_from="/home/someone/my weights")
    publish(run, "cutouts", "cutouts.zarr", {"zarr.json": "cd" * 32})
    publish(run, "generate", "stamps.zarr", {"zarr.json": "12" * 32}, ["diffusion", "cutouts"])
    instrument = find_instrument(run)
    header = make_header(run, instrument, LAYERS[MAP])
    assert header["MODELSHA"] == fingerprint(files)
    lines = history(run)
    # The model of masks is published and not what the stamps were drawn with.
    assert lines[:6] == [
        f"cutouts: cutouts.zarr sha256 {fingerprint({'zarr.json': 'cd' * 32})[:16]}",
        f"diffusion: models/diffusion sha256 {fingerprint(files)[:16]}",
        "diffusion: began with the weights my weights",
        f"weights models/diffusion/{WEIGHTS}",
        f"sha256 {'ab' * 32}",
        f"generate: stamps.zarr sha256 {fingerprint({'zarr.json': '12' * 32})[:16]}",
    ]
    assert list(header["HISTORY"]) == lines
    assert max(map(len, lines)) <= 72
    assert header.tostring() == make_header(run, instrument, LAYERS[MAP]).tostring()
    assert "BUNIT" not in make_header(run, instrument, LAYERS[MASK])
    for name in (MASK, INSTANCES):
        assert "level_jy_beam" in "".join(make_header(run, instrument, LAYERS[name])["COMMENT"])


def test_files_of_the_user_are_named_without_their_folders(tmp_path):
    files = {name: tmp_path / name for name in ("sky é.fits", "fluxes.csv")}
    for name, path in files.items():
        path.write_text(name)
    run = make_run(
        tmp_path / "run",
        shape=[40, 50],
        density=str(files["sky é.fits"]),
        flux={"mode": "catalogue", "catalogue": str(files["fluxes.csv"])},
    )
    lines = list(make_header(run, find_instrument(run), LAYERS[MAP])["HISTORY"])
    # FITS has ASCII only.
    named = {"assemble.flux.catalogue": "fluxes.csv", "assemble.density": r"sky \xe9.fits"}
    for (key, shown), path in zip(named.items(), reversed(files.values()), strict=True):
        place = lines.index(f"{key}: {shown}")
        assert lines[place + 1] == f"sha256 {sha256_file(path)}"
    assert str(tmp_path) not in "".join(lines)
