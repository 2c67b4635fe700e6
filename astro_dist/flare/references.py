"""The training sets that are compared, and those with half of the real pictures of another."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from astro_dist.engine.config import nearest
from astro_dist.engine.errors import ConfigError
from astro_dist.engine.work import Run
from astro_dist.flare.classify_config import ArmConfig, CombineConfig, take
from astro_dist.flare.compare_config import CompareConfig

Why = Literal["raw", "real", "leak", "chosen"]
REASONS: dict[Why, str] = {
    "raw": "the same real pictures as they are",
    "real": "the same real pictures, with as many augmented versions as there are",
    "leak": "the same set without copies of test pictures",
    "chosen": "chosen by compare.against",
}
"""What the other set of a comparison is."""


@dataclass(frozen=True)
class Pair:
    """A set, the set it is compared with, and the reason."""

    arm: str
    reference: str
    why: Why


def list_pairs(combine: CombineConfig, against: Mapping[str, tuple[str, ...]]) -> list[Pair]:
    """Return the comparisons of a run in the order of the sets.

    Every set is compared with its real pictures as they are, a set with synthetic pictures also with its
    real pictures in as many versions as any set has, and a set with the leak with its twin without.
    """
    pairs = []
    for name in combine.arms:
        if name in against:
            pairs += [Pair(name, other, "chosen") for other in against[name]]
            continue
        order: tuple[Why, ...] = ("real", "raw", "leak")
        found = {why: _find_reference(combine, name, why) for why in order}
        # Where real pictures have one version only, both references are one set.
        seen: set[str] = set()
        for why, other in found.items():
            if other is not None and other not in seen:
                pairs.append(Pair(name, other, why))
                seen.add(other)
    return pairs


def _find_reference(combine: CombineConfig, name: str, why: Why) -> str | None:
    """Return the first set that is the reference of another one, None where there is none."""
    arm = combine.arms[name]
    others = {n: a for n, a in combine.arms.items() if n != name}
    if why == "leak":
        twin = arm.model_copy(update={"as_published": False})
        return next((n for n, a in others.items() if a == twin), None) if arm.as_published else None
    real = {n: a for n, a in others.items() if a.beta == 0 and not a.as_published and _same_real(a, arm)}
    counts = {n: _count_versions(a, combine) for n, a in real.items()}
    if why == "raw":
        return next((n for n, count in counts.items() if count == 1 and real[n].real == "pictures"), None)
    if arm.beta == 0:
        return None
    alike = {n: count for n, count in counts.items() if real[n].real == arm.real} or counts
    return max(alike, key=alike.__getitem__) if alike else None


def _same_real(a: ArmConfig, b: ArmConfig) -> bool:
    return (a.fraction, a.per_class, a.draw) == (b.fraction, b.per_class, b.draw)


def _count_versions(arm: ArmConfig, combine: CombineConfig) -> int:
    return take(arm.alpha, arm.k or combine.k)


def find_half(combine: CombineConfig, reference: str) -> str | None:
    """Return the set with half of the real pictures of another, and otherwise the same settings."""
    arm = combine.arms[reference]
    halves = [arm.model_copy(update={"fraction": arm.fraction / 2})]
    if arm.per_class is not None and arm.per_class % 2 == 0:
        halves.append(arm.model_copy(update={"per_class": arm.per_class // 2}))
    # Any draw is a half of the pictures; only a share of one draw is a part of a larger share of it.
    plain = [half.model_copy(update={"draw": 0}) for half in halves]
    return next((n for n, a in combine.arms.items() if a.model_copy(update={"draw": 0}) in plain), None)


def refuse_unknown(run: Run) -> None:
    """Refuse comparisons with sets that there are none of; a `Stage.refuse`.

    Raises
    ------
    ConfigError
        Naming the setting and the nearest name.
    """
    arms = run.section(CombineConfig).arms
    for name, others in run.section(CompareConfig).against.items():
        for other in (name, *others):
            if other not in arms:
                raise ConfigError(f"compare.against: combine has no set {other!r}; {nearest(other, arms)}")
        if name in others:
            raise ConfigError(f"compare.against.{name}: a set cannot be compared with itself; name another")
