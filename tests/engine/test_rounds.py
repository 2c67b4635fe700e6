"""Rounds of a plan: the tasks at one moment, and the tasks that are dropped with a damaged one."""

import pytest

from astro_dist.engine.rounds import Rounds
from astro_dist.engine.work import Stage, Task
from tests.settings import make_run

ORDER = (("a-0", "a-1"), ("b-0",), ("c-0", "c-1", "c-2"))


def plan(run, results):
    names = []
    for group in ORDER:
        names += group
        if any(name not in results for name in group):
            break
    return [Task(name) for name in names]


STAGE = Stage("three", "three", plan, lambda state, task: {"sha256": {}})


@pytest.fixture
def rounds(tmp_path):
    return Rounds(make_run(tmp_path), STAGE, "ab" * 32)


def finish(rounds, *names):
    for name in names:
        rounds.records.record(name, {"sha256": {}}, {"seconds": 0})


def test_a_look_shows_what_is_planned_done_missing_and_given_up(rounds):
    now = rounds.look()
    assert [task.name for task in now.tasks] == [task.name for task in now.missing] == ["a-0", "a-1"]
    finish(rounds, "a-0")
    rounds.records.give_up("a-1", "poisonous")
    now = rounds.look()
    assert (now.done, now.missing, [(f.task, f.reason) for f in now.failures]) == (
        1,
        [],
        [("a-1", "poisonous")],
    )
    assert rounds.ended() == {"a-0", "a-1"}
    rounds.records.try_again()
    finish(rounds, "a-1")
    now = rounds.look()
    assert ([task.name for task in now.missing], now.done) == (["b-0"], 2)


@pytest.mark.parametrize(
    ("damaged", "dropped"),
    [
        ({"a-1"}, {"a-1", "b-0", "c-0", "c-1", "c-2"}),
        ({"b-0"}, {"b-0", "c-0", "c-1", "c-2"}),
        ({"c-1"}, {"c-1"}),
        ({"c-1", "a-0"}, {"a-0", "b-0", "c-0", "c-1", "c-2"}),
    ],
)
def test_with_a_task_go_those_of_later_rounds_and_no_others(rounds, damaged, dropped):
    everything = [name for group in ORDER for name in group]
    finish(rounds, *everything)
    assert rounds.forget(damaged) == dropped
    assert set(rounds.records.results()) == set(everything) - dropped


def test_nothing_is_dropped_for_nothing(rounds):
    finish(rounds, *ORDER[0])
    assert rounds.forget(set()) == set()
    assert set(rounds.records.results()) == set(ORDER[0])
