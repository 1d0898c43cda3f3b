"""Plans: which stages an audit runs, in which order, and what each may decide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ironbound import recipes
from ironbound.certification.exhaustive import Exhaustive
from ironbound.certification.ibp import Ibp
from ironbound.core.attack import Attack
from ironbound.core.cascade import Cascade
from ironbound.core.catalogue import Entry
from ironbound.core.errors import UsageError
from ironbound.core.protocols import PerturbationSet
from ironbound.goals import Untargeted
from ironbound.objectives import Margin


@dataclass(frozen=True)
class Bounds:
    """A stage that certifies what is open; certified samples are not attacked any more."""

    name: str
    method: Any
    radii: bool = False
    """Whether to look for the largest radius of samples that are not certified: a dozen bounds instead of one."""

    kind = "bound"


@dataclass(frozen=True)
class Attacking:
    """A stage that attacks what is open; broken samples leave.

    A `witness` stage is a weak attack that must not break anything that the strong ones before it left: if it does, the
    samples are broken all the same and a check fails.
    """

    name: str
    attack: Attack | Cascade
    witness: bool = False
    kind = "attack"

    @property
    def single(self) -> Attack:
        """The attack, where the stage is one and no cascade: as all are in a plan that is against a set."""
        assert isinstance(self.attack, Attack)
        return self.attack

    def __post_init__(self) -> None:
        if not isinstance(self.attack.goal, Untargeted):
            raise UsageError(
                f"an audit asks whether the label can be lost; the goal of stage {self.name!r} is {self.attack.goal!r}. "
                "Use goal=Untargeted(); for other goals use ironbound.attack."
            )


Stage = Bounds | Attacking


@dataclass(frozen=True)
class Plan:
    """Stages after the clean pass, in order."""

    name: str
    stages: tuple[Stage, ...]

    def __post_init__(self) -> None:
        names = [stage.name for stage in self.stages]
        if len(set(names)) != len(names) or "clean" in names:
            raise UsageError(f"stages of a plan have different names, and none is called 'clean'; got {names}.")

    def notes(self, classes: int | None) -> list[str]:
        """What stages do otherwise than their names say, at this number of classes."""
        attacks = [stage for stage in self.stages if isinstance(stage, Attacking)] if classes else []
        return [f"{stage.name}: {note}" for stage in attacks for note in stage.single.notes(classes or 0)]

    def against(self, threat: PerturbationSet) -> Plan:
        """The plan with this set in every attack. Raises CompositionError where one does not fit it."""
        fitted = [one for s in self.stages for one in (_flat(s, threat) if isinstance(s, Attacking) else [s])]
        return replace(self, stages=tuple(fitted))


def _flat(stage: Attacking, threat: PerturbationSet) -> list[Attacking]:
    """A stage on this set; each stage of a cascade is one of its own, so that the results say what each found."""
    attack = stage.attack.against(threat)
    if isinstance(attack, Attack):
        return [replace(stage, attack=attack)]
    return [replace(stage, name=f"{stage.name}: {one.name}", attack=one.attack) for one in attack.stages]


def standard() -> Plan:
    """Interval bounds, PGD, APGD from two starts on what survives; FGSM and noise as witnesses that these were strong enough.

    PGD climbs the margin, which is not flat where the model is sure; APGD the cross-entropy, as published.
    """
    return Plan(
        "standard", (Bounds("ibp", Ibp()), _pgd(40), Attacking("apgd", recipes.apgd(restarts=2)), *_witnesses())
    )


def quick() -> Plan:
    """Interval bounds and ten steps of PGD: a first look, with FGSM and noise as witnesses."""
    return Plan("quick", (Bounds("ibp", Ibp()), _pgd(10), *_witnesses()))


def exhaustive() -> Plan:
    """Every point of a finite set: each sample ends as certified or broken, but for margins within rounding."""
    return Plan("exhaustive", (Bounds("exhaustive", Exhaustive()), Attacking("search", recipes.exhaustive())))


def of_attacks(attacks: Sequence[tuple[str, Attack | Cascade]]) -> Plan:
    """A plan of attacks alone."""
    return Plan("+".join(name for name, _ in attacks), tuple(Attacking(name, attack) for name, attack in attacks))


def _pgd(steps: int) -> Attacking:
    return Attacking("pgd", recipes.pgd(steps=steps).replace(objective=Margin()))


def _witnesses() -> tuple[Attacking, Attacking]:
    return Attacking("fgsm", recipes.fgsm(), witness=True), Attacking("noise", recipes.noise(20), witness=True)


ENTRIES = (
    Entry("audit", "standard", standard, None),
    Entry("audit", "quick", quick, None),
    Entry("audit", "exhaustive", exhaustive, None),
)
