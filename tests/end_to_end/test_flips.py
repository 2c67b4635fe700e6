"""One flipped bit anywhere in a finished run is found and named, and mended to the same bytes."""

import json
import random
import shutil
from collections import Counter
from pathlib import Path

import pytest

from tests.end_to_end.conftest import ROOT, call, stable_digests

BESIDE = ("config.yaml", "manifest.json")


def files_by_kind(out):
    """The files of a run directory but for its logs, by kind; a product is a kind."""
    products = json.loads((out / "manifest.json").read_text())["products"]
    kinds = {name: [Path(name) / file for file in product["sha256"]] for name, product in products.items()}
    kinds |= {name: [Path(name)] for name in BESIDE}
    records = sorted(path.relative_to(out) for path in (out / "ledger").rglob("*.json"))
    kinds["publications"] = [path for path in records if len(path.parts) == 2]
    kinds["hidden records"] = [path for path in records if path.name.startswith(".")]
    kinds["task records"] = [p for p in records if p not in kinds["publications"] + kinds["hidden records"]]
    return kinds


def choose_spots(out, count, seed):
    """``(kind, file, byte, bit)`` of each flip; the kinds take turns, so that none is left out."""
    chance, kinds = random.Random(seed), files_by_kind(out)
    # The small kinds first: records, and what lies beside the products.
    names = list(kinds)[::-1]
    spots = []
    for number in range(count):
        kind = names[number % len(names)]
        file = chance.choice(kinds[kind])
        spots.append((kind, file, chance.randrange((out / file).stat().st_size), chance.randrange(8)))
    return spots


def flip(path, place, bit):
    """Flip one bit; flipped again, the file is as it was."""
    with path.open("r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 1 << bit]))


def named(done):
    """The files that `verify` names."""
    return {line.partition(": ")[0] for line in done.stdout.splitlines()}


def check_found(command, out, spot):
    kind, file, place, bit = spot
    flip(out / file, place, bit)
    done = command("verify", out)
    assert done.returncode == 3, (spot, done.stdout)
    assert named(done) == {file.as_posix()}, spot
    assert "Traceback" not in done.stderr
    return kind


def check_mended(command, out, before):
    assert command("repair", out).returncode == 0
    done = command(*call("run", "--out", out, "--on", "serial")[3:], cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert stable_digests(out) == before
    assert command("verify", out).returncode == 0


def test_every_file_of_a_run_has_a_kind(toy_run):
    out, _ = toy_run
    known = {file for files in files_by_kind(out).values() for file in files}
    found = {path.relative_to(out) for path in out.rglob("*") if path.is_file()}
    assert {path for path in found - known if path.parts[0] != "logs"} == {Path(".lock")}


@pytest.mark.parametrize("count", [24, pytest.param(3000, marks=pytest.mark.soak)])
@pytest.mark.timeout(7200)
def test_a_flipped_bit_is_found_and_the_file_named(toy_run, tmp_path, command, count):
    out = tmp_path / "run"
    shutil.copytree(toy_run[0], out)
    found = Counter()
    for spot in choose_spots(out, count, seed=12):
        found[check_found(command, out, spot)] += 1
        flip(out / spot[1], *spot[2:])
    print(count, "flips, seed 12, all found and named:", dict(found))
    assert command("verify", out).returncode == 0


@pytest.mark.parametrize("count", [6, pytest.param(300, marks=pytest.mark.soak)])
@pytest.mark.timeout(14400)
def test_a_flipped_bit_is_mended_to_the_same_bytes(toy_run, tmp_path, command, count):
    before, mended = stable_digests(toy_run[0]), Counter()
    for spot in choose_spots(toy_run[0], count, seed=13):
        out = tmp_path / "run"
        shutil.copytree(toy_run[0], out)
        mended[check_found(command, out, spot)] += 1
        check_mended(command, out, before)
        shutil.rmtree(out)
    print(count, "flips, seed 13, each mended by a repair and a run of its own:", dict(mended))


@pytest.mark.parametrize("count", [10, pytest.param(300, marks=pytest.mark.soak)])
@pytest.mark.timeout(7200)
def test_a_flipped_bit_of_a_log_stops_no_command(toy_run, tmp_path, command, count):
    """Nothing protects the logs, and nothing follows from them."""
    out, chance = tmp_path / "run", random.Random(14)
    shutil.copytree(toy_run[0], out)
    logs = sorted(path for path in (out / "logs").rglob("*") if path.is_file())
    for number in range(count):
        spot = logs[number % len(logs)]
        place, bit = chance.randrange(spot.stat().st_size), chance.randrange(8)
        flip(spot, place, bit)
        assert command("status", out).returncode == 0, (spot, place, bit)
        assert command("verify", out).returncode == 0
        flip(spot, place, bit)
