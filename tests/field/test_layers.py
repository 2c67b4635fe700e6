"""Headers of a field: provenance from the ledger, the same bytes every time."""

from astro_dist.engine.config import fingerprint
from astro_dist.engine.ledger import Published
from astro_dist.field.assembly import find_instrument
from astro_dist.field.layers import INSTANCES, LAYERS, MAP, MASK, history, make_header
from tests.field.small_sky import make_run


def test_headers_name_every_stage_and_the_model(tmp_path):
    run = make_run(tmp_path, shape=[40, 50])
    files = {"unet/weights.safetensors": "ab" * 32}
    run.ledger.publish("diffusion", Published("0" * 64, {}, "models/diffusion", files))
    run.ledger.publish("cutouts", Published("1" * 64, {}, "cutouts.zarr", {"zarr.json": "cd" * 32}))
    instrument = find_instrument(run)
    header = make_header(run, instrument, LAYERS[MAP])
    assert header["MODELSHA"] == fingerprint(files)
    lines = history(run)
    assert lines[0] == f"cutouts: cutouts.zarr sha256 {fingerprint({'zarr.json': 'cd' * 32})[:16]}"
    assert lines[1].startswith("diffusion: models/diffusion sha256 ")
    assert list(header["HISTORY"]) == lines
    assert max(map(len, lines)) <= 72
    assert header.tostring() == make_header(run, instrument, LAYERS[MAP]).tostring()
    assert "BUNIT" not in make_header(run, instrument, LAYERS[MASK])
    for name in (MASK, INSTANCES):
        assert "level_jy_beam" in "".join(make_header(run, instrument, LAYERS[name])["COMMENT"])
