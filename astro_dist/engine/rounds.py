"""The tasks of one version of a stage: those done, those missing and those given up.

A stage plans in rounds: its plan is called again with the recorded results until every named task has a
result. The runner of a whole stage, a worker of an array, a second rank and `status` all use this object.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from astro_dist.engine.errors import QUARANTINED, QuarantinedError
from astro_dist.engine.journal import Journal
from astro_dist.engine.ledger import Ledger, Records
from astro_dist.engine.work import Failure, Results, Run, Stage, Task, for_stage


@dataclass(frozen=True)
class Round:
    """The tasks of a stage at one moment.

    Attributes
    ----------
    results
        ``{task name: result}`` of the finished tasks.
    tasks
        All tasks that the plan names with these results.
    missing
        Tasks without a result that were not given up.
    failures
        Tasks without a result that were given up, with the reasons.
    """

    results: Results
    tasks: list[Task]
    missing: list[Task]
    failures: list[Failure]

    @property
    def done(self) -> int:
        """Number of tasks that have a result."""
        return len(self.tasks) - len(self.missing) - len(self.failures)


class Rounds:
    """One version of a stage over a run directory.

    Parameters
    ----------
    run
        The whole run, or the run of another stage.
    stage, fingerprint
        The version.
    """

    def __init__(self, run: Run, stage: Stage, fingerprint: str) -> None:
        self.stage, self.run = stage, for_stage(run, stage, fingerprint)
        self.records: Records = self.run.records
        self.noted: int | None = None

    def look(self) -> Round:
        """Plan with the present records; each record is read from the disk once."""
        # A task that ends after this listing counts as missing; done again, it has the same bytes.
        results = self.records.results()
        tasks = list(self.stage.plan(self.run, results))
        marks = self.records.given_up()
        open_tasks = [task for task in tasks if task.name not in results]
        missing = [task for task in open_tasks if task.name not in marks]
        failures = [Failure(task.name, marks[task.name]) for task in open_tasks if task.name in marks]
        return Round(results, tasks, missing, failures)

    def note(self, who: str, tasks: int) -> None:
        """Write the number of tasks that are planned now to the journal, from which `status` reads it."""
        if tasks != self.noted:
            facts = {"stage": self.stage.name, "fingerprint": self.run.fingerprint, "tasks": tasks}
            Journal(self.run.root, who).note("tasks", **facts)
            self.noted = tasks

    def ended(self) -> set[str]:
        """Return the names of the tasks that are done or given up."""
        return self.records.results().keys() | self.records.given_up().keys()

    def forget(self, tasks: Collection[str]) -> set[str]:
        """Delete the records of tasks and of all tasks of later rounds, which may have read their files.

        Returns
        -------
        set of str
            Names of all tasks whose records were deleted.
        """
        results = self.records.results()
        known: dict[str, dict[str, object]] = {}
        dropped = set(tasks)
        # Records do not name their round. Planning again from no results yields one round after the other.
        while new := [t.name for t in self.stage.plan(self.run, known) if t.name not in known]:
            if tasks and set(new) & set(tasks):
                dropped |= results.keys() - known.keys() - set(new)
                break
            # This round is not complete, so no later one was ever planned.
            if not all(name in results for name in new):
                break
            known |= {name: results[name] for name in new}
        self.records.forget(dropped)
        return dropped


def refuse_quarantined(ledger: Ledger) -> None:
    """Name what published stages have left out of the user's data; for the end of a command.

    The runner itself goes on, because a chain of jobs would end at an error before its last stage.

    Raises
    ------
    QuarantinedError
        Something was left out.
    """
    for name, found in ledger.all_published().items():
        if left_out := found.facts.get(QUARANTINED, ()):
            raise QuarantinedError(
                f"{name}: {len(left_out)} quarantined ({list_some(left_out)}), and all else is done: mend or "
                f"leave out what is named, and run the same command with --redo {name}"
            )


def list_some(lines: Sequence[str]) -> str:
    """Return the first of some sentences, and how many follow."""
    return "; ".join(lines[:5]) + (f" and {len(lines) - 5} more" if len(lines) > 5 else "")
