"""Damaged inputs: every product and every stage that reads it, as the pipeline declares them.

A stage is made again over a finished run of which one bit is wrong. Nothing may be published: the driver
refuses before the stage opens. Then the same with a bit that is flipped after the driver has compared:
readers find damage in what has sums of its own, the driver the rest once the last task is done.
"""

import random
import shutil
from collections import Counter
from dataclasses import replace

import pytest

from astro_dist import cli, pipelines
from astro_dist.engine.errors import IntegrityError
from astro_dist.engine.files import tree_files
from astro_dist.engine.journal import read_journal
from astro_dist.engine.progress import Display
from astro_dist.engine.record import read_record, write_record
from astro_dist.radio.pipeline import RADIO
from astro_dist.runner import Runner
from tests.end_to_end.conftest import stable_digests

SEED = 12
PAIRS = [(given, stage.name) for stage in RADIO.stages for given in stage.inputs if given != "masks"]
"""Every product with every stage that reads it; no model of masks is trained in the toy run."""
PAIRS = [(given, stage) for given, stage in PAIRS if stage not in ("masks", "package")]
DURING = [("simulate", "cutouts"), ("annotate", "cutouts"), ("cutouts", "assemble"), ("generate", "assemble")]
"""Pairs whose stages take a second or two."""


@pytest.fixture(scope="module")
def work(whole, tmp_path_factory):
    """A copy of the evaluated run; every trial leaves it as it was."""
    out = tmp_path_factory.mktemp("work") / "run"
    shutil.copytree(whole, out)
    return out


def flip(path, chance):
    """Flip a random bit and return what puts it back."""
    data, place = bytearray(path.read_bytes()), chance.randrange(path.stat().st_size)
    sound = bytes(data)
    data[place] ^= 1 << chance.randrange(8)
    path.write_bytes(data)
    return lambda: path.write_bytes(sound)


def files_of(root, stage):
    """The files of the product of a stage."""
    published = pipelines.reopen(root).ledger.published(stage)
    return [path for path in tree_files(root / published.product) if path.stat().st_size]


def redo(root, name, change=lambda stage: stage):
    """Make one stage of a run again, in this process."""
    opened = pipelines.reopen(root)
    machine = opened.config.machine.model_copy(update={"executor": "serial"})
    config = opened.config.model_copy(update={"machine": machine})
    stages = [change(stage) if stage.name == name else stage for stage in opened.known]
    Runner(root, config, stages, name).execute(Display(live=False), [name])


def started(root):
    return [(e["stage"], e["task"]) for e in read_journal(root) if e["event"] == "start"]


def try_before(work, given, stage, files, chance):
    """Redo a stage with one wrong bit in each of these files, one at a time."""
    before = stable_digests(work), started(work)
    for path in files:
        put_back = flip(path, chance)
        with pytest.raises(IntegrityError, match="repair") as caught:
            redo(work, stage)
        assert str(path) in str(caught.value)
        put_back()
        assert (stable_digests(work), started(work)) == before
    assert not list(work.glob(".*.part"))


@pytest.mark.parametrize(("given", "stage"), PAIRS)
def test_no_stage_begins_with_a_wrong_bit_in_what_it_reads(work, given, stage):
    chance = random.Random(f"{SEED} {given} {stage}")
    try_before(work, given, stage, [chance.choice(files_of(work, given))], chance)


@pytest.mark.soak
@pytest.mark.parametrize(("given", "stage"), PAIRS)
def test_no_stage_begins_with_a_wrong_bit_in_any_file(work, given, stage, record_property):
    chance = random.Random(f"{SEED} {given} {stage}")
    files = [path for path in files_of(work, given) for _ in range(5)]
    try_before(work, given, stage, files, chance)
    print(f"TABLE before {given} {stage}: {len(files)} tried, {len(files)} noticed, 0 silent (seed {SEED})")


def try_during(work, given, stage, path, chance):
    """Redo a stage of which an input is damaged once the driver has compared it; return who noticed."""
    flipped, met = [], []

    def prepare(change, run):
        if not flipped:
            flipped.append(flip(path, chance))
        change.prepare(run)

    def note(function):
        def call(*arguments):
            try:
                return function(*arguments)
            except Exception as error:
                met.append(error)
                raise

        return call

    def change(known):
        watched = {name: note(getattr(known, name)) for name in ("open", "run", "finish")}
        return replace(known, prepare=lambda run: prepare(known, run), **watched)

    with pytest.raises(IntegrityError, match="repair") as caught:
        redo(work, stage, change)
    assert str(path) in str(caught.value)
    flipped[0]()
    return "reader" if met else "driver"


@pytest.mark.parametrize(("given", "stage"), DURING)
def test_a_bit_that_is_flipped_once_the_driver_has_compared_is_not_published_either(work, given, stage):
    before = stable_digests(work)
    chance = random.Random(f"{SEED} during {given} {stage}")
    try_during(work, given, stage, chance.choice(files_of(work, given)), chance)
    assert stable_digests(work) == before


@pytest.mark.soak
@pytest.mark.parametrize(("given", "stage"), PAIRS)
def test_bits_that_are_flipped_while_the_stage_runs(work, given, stage):
    before, chance = stable_digests(work), random.Random(f"{SEED} during {given} {stage}")
    files, found = files_of(work, given), Counter()
    for path in chance.sample(files, min(3, len(files))):
        found[path.suffix or "chunk", try_during(work, given, stage, path, chance)] += 1
    assert stable_digests(work) == before
    told = ", ".join(f"{kind} by the {who} {n}" for (kind, who), n in sorted(found.items()))
    print(f"TABLE during {given} {stage}: {sum(found.values())} tried, all noticed ({told}), seed {SEED}")


def test_damaged_maps_are_made_again_and_what_was_compared_stays(whole, tmp_path, capsys):
    out = tmp_path / "run"
    shutil.copytree(whole, out)
    before, tasks = stable_digests(out), len(started(out))
    for path in sorted((out / "maps").glob("*.fits")):
        flip(path, random.Random(SEED))
    assert cli.main(["verify", str(out)]) == 3
    assert cli.main(["repair", str(out)]) == 0
    capsys.readouterr()
    assert cli.main(["status", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "waits; stays as it is if its inputs come out with the same bytes" in shown
    run_again(out)
    assert {stage for stage, _ in started(out)[tasks:]} == {"simulate"}
    assert stable_digests(out) == before
    assert cli.main(["verify", str(out)]) == 0


def test_what_version_0_1_0_may_have_made_from_damaged_maps_is_made_again(toy_run, tmp_path, capsys):
    out = tmp_path / "run"
    shutil.copytree(toy_run[0], out)
    before, tasks = stable_digests(out), len(started(out))
    for path in (out / "ledger").glob("*.json"):
        record = read_record(path)
        del record["compared"]
        write_record(path, record)
    flip(out / "maps" / "simulated-00.fits", random.Random(SEED))
    assert cli.main(["repair", str(out)]) == 0
    assert (
        "annotate: made from simulate by a version that did not compare its inputs" in capsys.readouterr().out
    )
    assert cli.main(["status", str(out)]) == 0
    assert "to be made again: simulate may have been damaged when it was read" in capsys.readouterr().out
    run_again(out)
    assert stable_digests(out) == before
    # Trainings stay: the cutouts came out with the same bytes.
    assert {stage for stage, _ in started(out)[tasks:]} == {"simulate", "annotate", "cutouts", "report"}
    assert cli.main(["verify", str(out)]) == 0


def run_again(out):
    """Give the command of the run directory again, in this process."""
    assert cli.main(["run", str(out / "config.yaml"), "--out", str(out), "--on", "serial"]) == 0
