import json
import re

import pytest

from astro_dist.engine.progress import Display, plan_lines, read_progress
from astro_dist.engine.work import Estimate, Run, for_stage
from tests.toys import SHARDS, TOTAL, ToyConfig
from tests.waiting import wait_until

ROWS = [
    (SHARDS, "done", Estimate(tasks=3, bytes=10**9)),
    (TOTAL, "after", Estimate(tasks=1, bytes=2 * 10**9, memory_bytes=10**8, cpu_s=120, exact=False)),
]


@pytest.fixture
def run(tmp_path):
    return for_stage(Run.of(tmp_path, ToyConfig()), SHARDS, "f" * 64)


@pytest.fixture
def looks(monkeypatch):
    """Progress notes that a display has read; it shows them before it ends a stage."""
    seen = []

    def look(folder, stage):
        notes = read_progress(folder, stage)
        seen.extend(notes)
        return notes

    monkeypatch.setattr("astro_dist.engine.progress.read_progress", look)
    return seen


def show(display, run, task, looks):
    """Let a display see one stage of two tasks, with a long task that reports its progress."""
    display.plan(ROWS)
    display.skipped(SHARDS)
    with display.stage(SHARDS, run):
        display.tasks(SHARDS, 0, 2)
        run.progress(task, 1, 4, loss=0.12345, mask_loss=2.0, kl=3.0)
        display.note("shards: one damaged, made again")
        wait_until(lambda: looks)
        display.done(None, {})


def test_without_a_terminal_every_line_is_json(run, capsys, looks):
    show(Display(live=False), run, "lines", looks)
    out, err = capsys.readouterr()
    events = [json.loads(line) for line in err.splitlines()]
    assert out == ""
    assert [e["event"] for e in events] == ["plan", "skipped", "start", "note", "progress", "end"]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", event.pop("time")) for event in events)
    assert events[0] == {"event": "plan", "stages": ["total"], "disk_bytes": 2 * 10**9}
    assert (events[4]["done"], events[4]["total"]) == (0.25, 2)


def test_on_a_terminal_people_read_it(run, capsys, looks):
    display = Display(live=True)
    show(display, run, "seen", looks)
    out, err = capsys.readouterr()
    assert out == ""
    lines = [line.rstrip() for line in err.splitlines()]
    assert "  shards       already done" in lines
    assert "shards: one damaged, made again" in lines
    assert lines[-1].startswith("  shards       done in ")
    assert "{" not in err


def test_the_bar_has_room_for_two_figures(run):
    display = Display(live=True)
    display.name, display.total = "shards", 2
    updates = []

    class Bar:
        def update(self, row, **fields):
            updates.append(fields)

    class Stop:
        def wait(self, seconds):
            return len(updates) > 0

    run.progress("bar", 1, 4, loss=0.12345, mask_loss=2.0, kl=3.0)
    display.bar = (Bar(), 0)
    display._watch(run.root / "logs" / "progress", Stop())
    assert updates == [{"completed": 0.25, "total": 2, "note": "0/2 tasks loss 0.1235 mask_loss 2"}]


def test_the_plan_marks_upper_bounds_and_sums_what_is_left():
    lines = plan_lines(ROWS)
    assert len(lines) == 4
    assert lines[1].split() == ["shards", "done", "3", "0", "1.00", "0.00", "0.0"]
    assert lines[2].split() == ["total", "after", "<=1", "<=0", "<=2.00", "0.10", "2.0"]
    assert "up to 2.00 GB of disk, 0.10 GB of memory per process, about 2 core minutes" in lines[3]


@pytest.mark.parametrize(
    ("cpu_s", "said"),
    [
        (0, "less than a core minute, and the start of programs"),
        (90_000, "25 core hours"),
        (30_000, "500 core minutes"),
    ],
)
def test_the_work_of_a_plan_is_said_in_units_of_its_size(cpu_s, said):
    assert plan_lines([(SHARDS, "todo", Estimate(tasks=1, cpu_s=cpu_s))])[-1].endswith(f"about {said}")


def test_a_half_written_note_is_passed_over(run):
    run.progress("whole", 1, 4)
    folder = run.root / "logs" / "progress"
    (folder / "shards-half.json").write_text('{"task": ')
    assert [note["task"] for note in read_progress(folder, "shards")] == ["whole"]


def test_before_any_task_has_ended_the_plan_says_how_long_it_takes(run, capsys):
    display = Display(live=False)
    display.plan([(SHARDS, "todo", Estimate(tasks=8, cpu_s=1200))])
    with display.stage(SHARDS, run):
        display.tasks(SHARDS, 4, 8, seats=2)
        wait_until(lambda: display.last_line)
    events = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    (progress,) = [event for event in events if event["event"] == "progress"]
    # 1,200 core-seconds of eight tasks, four of which are left to two workers.
    assert 250 < progress["remaining_s"] <= 300
    live = Display(live=True)
    live.planned_s, live.name, live.total, live.started = {"shards": 1e-9}, "shards", 1, 0.0
    assert live._planned_left() is None
