"""Where the stages of a run stand: done, to do, changed, and what may be replaced.

A stage is done when its publication carries the fingerprint of its present settings, inputs, sources and
schema.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from astro_dist.engine.config import differences, fingerprint
from astro_dist.engine.errors import ConfigError, IntegrityError
from astro_dist.engine.manifest import digest_source, source_name
from astro_dist.engine.work import Run, Stage, for_stage


@dataclass(frozen=True)
class StageState:
    """Status of a stage.

    ``done``, ``todo``, ``redo`` (published, and to be made again), ``changed`` (published from other
    settings) or ``after`` (an earlier stage must run first; the fingerprint follows from its product).
    """

    stage: Stage
    status: str
    fingerprint: str = ""
    changes: tuple[str, ...] = ()


class States:
    """The status of the stages of a configuration over a run directory.

    ``known`` are all stages of the run, in order; ``redo`` names those that are to be made again.
    """

    def __init__(self, run: Run, config: Any, known: Sequence[Stage]) -> None:
        self.run, self.config, self.known = run, config, list(known)
        self.redo: set[str] = set()

    def permit(self, stages: Sequence[Stage], only: str | None) -> set[str]:
        """Return the names of the stages that may be replaced.

        Raises
        ------
        ConfigError
            The run would mix settings, or replace a product that ``redo`` does not name.
        """
        for name in self.redo:
            if name not in {s.name for s in self.known}:
                raise ConfigError(f"--redo {name}: this run has no such stage")
        # Later stages too: their inputs change, so they must be replaced as well.
        allowed = self._closure([*sorted(self.redo), *self._doubted()])
        self._refuse_mixing(stages, only)
        self._refuse_replacing(stages, allowed)
        return allowed

    def basis(self, stage: Stage) -> dict[str, Any]:
        """Return all that a stage's bytes follow from; raise `ConfigError` for an unpublished input."""
        # An optional section that is left out is None.
        stated = {name: getattr(self.config, name) for name in stage.sections}
        sections = {name: section for name, section in stated.items() if section is not None}
        inputs = {}
        for given in (s for s in self.known if s.name in stage.inputs):
            name, published = given.name, self.run.ledger.published(given.name)
            if published is None:
                raise ConfigError(
                    f"{stage.name} needs what {name} publishes and {self.run.root} does not have it; "
                    f"run `astro-dist {given.words}` or `astro-dist run` with this configuration first"
                )
            # An unstable product has other bytes each time, which would make all later stages `changed`.
            inputs[name] = fingerprint(published.files if published.stable else published.fingerprint)
        return {
            "schema": stage.schema,
            "seed": self.config.seed,
            "settings": {name: section.marks() for name, section in sections.items()},
            "inputs": inputs,
            "sources": {
                source_name(path): digest_source(path)
                for path in stage.sources(for_stage(self.run, stage, ""))
            },
        }

    def of_all(self, stages: Sequence[Stage]) -> list[StageState]:
        """Return the status of some stages, in their order."""
        states: list[StageState] = []
        waiting: set[str] = set()
        for stage in stages:
            # The fingerprint holds the digests of the inputs, which exist only once these are published.
            if waiting & set(self._inputs(stage)):
                waiting.add(stage.name)
                states.append(StageState(stage, "after"))
                continue
            states.append(self.of(stage))
            if states[-1].status != "done":
                waiting.add(stage.name)
        return states

    def _inputs(self, stage: Stage) -> list[str]:
        return [s.name for s in self.known if s.name in stage.inputs]

    def of(self, stage: Stage) -> StageState:
        """Return the status of a stage whose inputs are published."""
        basis = self.basis(stage)
        mark = fingerprint(basis)
        published = self.run.ledger.published(stage.name)
        if published is None:
            return StageState(stage, "todo", mark)
        # Before the comparison of settings: --redo makes a stage again although nothing has changed.
        if stage.name in self.redo:
            return StageState(stage, "redo", mark)
        if published.fingerprint != mark:
            return StageState(stage, "changed", mark, tuple(differences(published.basis, basis)))
        # Only existence: the bytes are compared before a stage reads them (`Inputs.compare`) and by `verify`.
        paths = (self.run.root / published.product / name for name in published.files)
        if gone := [path for path in paths if not path.exists()]:
            raise IntegrityError(
                f"{gone[0]} was published and is gone; "
                f"put it back, or make it again: `astro-dist repair {self.run.root}`, or --redo {stage.name}"
            )
        return StageState(stage, "done", mark)

    def _doubted(self) -> list[str]:
        """Return the stages that a repair has announced to be made again."""
        published = ((stage.name, self.run.ledger.published(stage.name)) for stage in self.known)
        return [name for name, record in published if record is not None and record.is_doubted]

    def _closure(self, names: Sequence[str]) -> set[str]:
        """Return the named stages and all stages that depend on them."""
        closed = set(names)
        for stage in self.known:
            if closed & set(self._inputs(stage)):
                closed.add(stage.name)
        return closed

    def _refuse_mixing(self, stages: Sequence[Stage], only: str | None) -> None:
        """Refuse to make one stage alone where an earlier one was made from other settings."""
        needed: set[str] = set()
        for stage in reversed(self.known):
            if stage in stages or stage.name in needed:
                needed |= set(self._inputs(stage))
        # A run of all stages brings earlier ones up to date first; only a stage run alone can mix.
        for stage in (s for s in self.known if only and s.name in needed):
            if self.run.ledger.published(stage.name) is None:
                return
            state = self.of(stage)
            if state.status == "changed":
                raise ConfigError(
                    f"{stage.name} was made from other settings ({self._reasons(state)}), and {only} "
                    "would be made from both; take the settings of this run directory (its config.yaml), or "
                    f"bring all up to date with `astro-dist run` and --redo {stage.name}"
                )

    def _refuse_replacing(self, stages: Sequence[Stage], allowed: set[str]) -> None:
        # With --redo a vanished product is no reason to refuse: it may be the product to make again.
        with contextlib.suppress(IntegrityError) if allowed else contextlib.nullcontext():
            for state in self.of_all(stages):
                self.refuse_losing(state, allowed)

    def refuse_losing(self, state: StageState, allowed: set[str]) -> None:
        """Refuse to replace a byte-stable product unasked; others, such as a page, are written again."""
        name = state.stage.name
        if state.status != "changed" or name in allowed or not state.stage.stable:
            return
        after = [n for n in self._closure([name]) - {name} if self.run.ledger.published(n)]
        ordered = [s.name for s in self.known if s.name in after]
        also = f" and, after it, {', '.join(ordered)}" if ordered else ""
        raise ConfigError(
            f"{name}{also} would be made anew, because {self._reasons(state)}; "
            f"add --redo {name} to replace what is published, or choose another --out"
        )

    def _reasons(self, state: StageState) -> str:
        return "; ".join(line.removeprefix("settings.") for line in state.changes[:3])
