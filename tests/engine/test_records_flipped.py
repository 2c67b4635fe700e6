"""Every bit of every kind of record of a run: no traceback, and no changed value is believed."""

import json
import shutil

import pytest

from astro_dist.engine.errors import ConfigError, IntegrityError
from astro_dist.engine.journal import read_journal
from astro_dist.engine.ledger import Ledger
from astro_dist.engine.manifest import config_fault, manifest_fault
from astro_dist.engine.progress import read_progress
from astro_dist.engine.record import read_record
from tests.toys import execute

TASK = "shard-001"
STEPS = pytest.mark.parametrize("every", [17, pytest.param(1, marks=pytest.mark.soak)])
"""Which bytes are flipped: each 17th, or all."""
NUMERICS = {"device": "cpu", "torch": "2.8"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished toy run that also has the records of arrays and of tasks that were given up."""
    root = tmp_path_factory.mktemp("whole")
    execute(root, {"machine": {"executor": "serial"}, "shards": {"count": 2, "wanted": 0}})
    records = records_of(root)
    Ledger(root).begin("shards", records.fingerprint)
    records.give_up("shard-999", "its data are poisonous")
    records.settle_numerics(NUMERICS, "x")
    return root


def records_of(root):
    return Ledger(root).records("shards", Ledger(root).published("shards").fingerprint)


KINDS = {
    "publication": ("../../shards.json", lambda ledger, records: ledger.published("shards")),
    "task": (f"{TASK}.json", lambda ledger, records: records.result(TASK)),
    "task in the list": (f"{TASK}.json", lambda ledger, records: records.results()),
    "log of a task": (f"{TASK}.json", lambda ledger, records: records.logs()),
    "finished": (".finished.json", lambda ledger, records: records.finished()),
    "begun": ("../begun.json", lambda ledger, records: ledger.begun("shards")),
    "given up": (".given-up/shard-999.json", lambda ledger, records: records.given_up()),
    "numerics": (".numerics.json", lambda ledger, records: records.settle_numerics(NUMERICS, "x")),
}
"""The file of each kind below the folder of a version of a stage, and how it is read."""


@pytest.fixture
def opened(whole, tmp_path):
    """A function that returns the file of a kind in a copy of the run, and its reader."""
    root = tmp_path / "run"
    shutil.copytree(whole, root)
    records = records_of(whole)

    def find(kind):
        name, read = KINDS[kind]
        path = root / (records.folder / name).resolve().relative_to(whole.resolve())
        # New records each time, because they keep what they have read.
        return path, lambda: read(Ledger(root), Ledger(root).records("shards", records.fingerprint))

    return find


def flips(path, every=1):
    """Flip every bit of every ``every``-th byte of a file in turn; the file is whole again at the end."""
    content = path.read_bytes()
    for place in range(0, len(content), every):
        for bit in range(8):
            data = bytearray(content)
            data[place] ^= 1 << bit
            path.write_bytes(data)
            yield place, bit
    path.write_bytes(content)


@STEPS
@pytest.mark.parametrize("kind", KINDS)
def test_every_bit_of_a_record_is_refused_by_its_reader(opened, kind, every):
    path, read = opened(kind)
    before = read()
    for place, bit in flips(path, every):
        with pytest.raises(IntegrityError) as caught:
            read()
        assert "\n" not in str(caught.value), (place, bit)
    assert read() == before


@STEPS
@pytest.mark.parametrize("kind", KINDS)
def test_no_bit_of_an_unprotected_record_is_a_traceback(opened, kind, every):
    """Records of version 0.1.0 have no sha256: a changed value may be believed, and is never a fault."""
    path, read = opened(kind)
    path.write_text(json.dumps(read_record(path), indent=1))
    # A machine that differs from the recorded one is a question to the user.
    refusals = (IntegrityError, ConfigError) if kind == "numerics" else IntegrityError
    refused = 0
    for _ in flips(path, every):
        try:
            read()
        except refusals:
            refused += 1
    assert refused > 0


BESIDE = {"config.yaml": config_fault, "manifest.json": manifest_fault}


@STEPS
@pytest.mark.parametrize("name", BESIDE)
def test_every_bit_beside_the_products_is_noticed(whole, tmp_path, name, every):
    root, find_fault = tmp_path / "run", BESIDE[name]
    shutil.copytree(whole, root)
    for place, bit in flips(root / name, every):
        found = find_fault(root)
        assert found is not None, (place, bit)
        assert found.startswith(f"{name}: ")
        assert "\n" not in found
    assert find_fault(root) is None


@STEPS
def test_no_bit_of_a_journal_or_a_note_is_a_traceback(whole, tmp_path, every):
    root = tmp_path / "run"
    shutil.copytree(whole, root)
    note = root / "logs" / "progress" / "shards-x.json"
    note.parent.mkdir(exist_ok=True)
    note.write_text(json.dumps({"stage": "shards", "task": "x", "done": 1, "total": 2, "per_s": 0.5}))
    for _ in flips(note, every):
        for read in read_progress(note.parent, "shards"):
            assert f"{read['task']}: {read['done'] / read['total']:g} {read.get('per_s', 0):g}"
    (journal,) = (root / "logs" / "journal").glob("*-driver.jsonl")
    count = len(read_journal(root))
    for _ in flips(journal, every):
        events = read_journal(root)
        # A line that loses its end takes the next one along.
        assert len(events) >= count - 2
        assert all(event["time"] + len(event["stage"]) > 0 for event in events)
