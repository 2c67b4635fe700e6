"""Runs for tests of single stages: sections by their names, everything else at its default."""

from pathlib import Path

from astro_dist.engine.work import MachineConfig, Run, Settings, for_stage


def claim(root):
    """Make a folder a run directory, in which a test may lay products: its ledger has a begun stage."""
    (Path(root) / "ledger" / "begun" / (16 * "0")).mkdir(parents=True, exist_ok=True)


def make_run(root, stage=None, fingerprint="f" * 64, seed=3, name="toy", machine=None, **sections):
    """Return a run directory with some sections; as ``stage`` sees it, where one is given."""
    claim(root)
    run = Run(Path(root), Settings(name, seed, machine or MachineConfig(), sections))
    return run if stage is None else for_stage(run, stage, fingerprint)
