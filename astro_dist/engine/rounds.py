"""The tasks of one version of a stage: which are done, which are missing, which were given up.

A stage plans in rounds: its plan is asked again with the results that are there, until it names no task
without one. The runner of a whole stage, a worker of an array, a second rank and `status` all see a stage
through this object.
"""

from collections.abc import Collection
from dataclasses import dataclass

from astro_dist.engine.ledger import Records
from astro_dist.engine.work import Failure, Results, Run, Stage, Task, for_stage


@dataclass(frozen=True)
class Round:
    """One look at a stage.

    Attributes
    ----------
    results
        ``{task name: result}`` of what is done.
    tasks
        All tasks that can be planned yet.
    missing
        Those without a result that were not given up.
    failures
        Those without a result that were.
    """

    results: Results
    tasks: list[Task]
    missing: list[Task]
    failures: list[Failure]

    @property
    def done(self) -> int:
        """How many of the tasks have a result."""
        return len(self.tasks) - len(self.missing) - len(self.failures)


class Rounds:
    """One version of a stage over a run directory.

    Parameters
    ----------
    run
        Of the whole run, or of another stage of it.
    stage, fingerprint
        The version.
    """

    def __init__(self, run: Run, stage: Stage, fingerprint: str) -> None:
        self.stage, self.run = stage, for_stage(run, stage, fingerprint)
        self.records: Records = self.run.records

    def look(self) -> Round:
        """Plan with what is recorded now; each record is read once."""
        results = self.records.results()
        tasks = list(self.stage.plan(self.run, results))
        marks = self.records.given_up()
        open_tasks = [task for task in tasks if task.name not in results]
        missing = [task for task in open_tasks if task.name not in marks]
        failures = [Failure(task.name, marks[task.name]) for task in open_tasks if task.name in marks]
        return Round(results, tasks, missing, failures)

    def ended(self) -> set[str]:
        """Return the names of the tasks that nobody need do any more."""
        return self.records.results().keys() | self.records.given_up().keys()

    def forget(self, tasks: Collection[str]) -> set[str]:
        """Drop the records of tasks and of every task of a later round, which may have read them.

        Returns
        -------
        set of str
            All whose records were dropped.
        """
        results = self.records.results()
        known: dict[str, dict[str, object]] = {}
        dropped = set(tasks)
        # The rounds are found by planning again from nothing with the results that belong to each.
        while new := [t.name for t in self.stage.plan(self.run, known) if t.name not in known]:
            if tasks and set(new) & set(tasks):
                dropped |= results.keys() - known.keys() - set(new)
                break
            if not all(name in results for name in new):
                break
            known |= {name: results[name] for name in new}
        self.records.forget(dropped)
        return dropped
