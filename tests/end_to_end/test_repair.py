"""A damaged store is made again by repair and run, and what was made from it stays."""

import shutil

from astro_dist import cli
from tests.end_to_end.conftest import run, stable_digests


def test_one_damaged_byte_costs_one_stage(toy_run, tmp_path, capsys):
    out = tmp_path / "run"
    shutil.copytree(toy_run[0], out)
    before, field = stable_digests(out), (out / "field/map.fits").stat().st_mtime_ns
    shard = max((out / "stamps.zarr/image").rglob("*"), key=lambda path: path.stat().st_size)
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    assert cli.main(["verify", str(out)]) == 3
    assert cli.main(["repair", str(out)]) == 0
    assert "generate: stamps.zarr is now stamps.zarr.damaged-1" in capsys.readouterr().out
    done = run(out, "--workers", 2)
    assert done.returncode == 0, done.stderr
    assert stable_digests(out) == before
    assert (out / "field/map.fits").stat().st_mtime_ns == field
    assert cli.main(["verify", str(out)]) == 0
