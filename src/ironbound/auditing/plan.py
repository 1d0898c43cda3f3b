"""Plans: which stages an audit runs, in which order, and what each may decide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import or_
from typing import Any

from ironbound.core.attack import Attack
from ironbound.core.cascade import Cascade, searches_of
from ironbound.core.errors import CompositionError, UsageError
from ironbound.core.protocols import PerturbationSet
from ironbound.goals import Untargeted
from ironbound.searches.norms import norms_must_fit


@dataclass(frozen=True)
class Bounds:
    """A stage that certifies what is open; certified samples are not attacked any more."""

    name: str
    method: Any
    radii: bool = False
    """Whether to look for the largest radius of samples that are not certified: a dozen bounds instead of one."""
    optional: bool = False
    """Whether it is left out where it does not fit model or threat, or where the pilot says that it does not pay."""
    near: float | None = None
    """Only samples of which the stage `of` proved that their margin is above minus so many times the clean one."""
    of: str = ""
    most: float | None = None
    """Forward rows a sample: it is left out where its estimate on the first samples is higher."""

    kind = "bound"
    witness = last = False

    def __post_init__(self) -> None:
        if (self.near is None) == bool(self.of):
            raise UsageError(f"stage {self.name!r}: near= and of= belong together; got {self.near} and {self.of!r}.")
        for name, value in (("near", self.near), ("most", self.most)):
            if value is not None and not value > 0:
                raise UsageError(f"stage {self.name!r}: {name} is a number above 0; got {value}.")
        if self.most is not None and not self.optional:
            raise UsageError(f"stage {self.name!r}: what has a most may be left out, so it is optional=True.")


@dataclass(frozen=True)
class Attacking:
    """A stage that attacks what is open; broken samples leave.

    A `witness` stage is a weak attack that must not break anything that the strong ones before it left: if it does, the
    samples are broken all the same and a check fails.
    """

    name: str
    attack: Attack | Cascade
    witness: bool = False
    optional: bool = False
    """Whether it is left out where it does not fit the threat, or where the pilot says that it does not pay."""
    most: int | None = None
    """On no more of the survivors of the whole data set than these, those with the smallest keys."""
    after: str = ""
    """Only where the stage of this name broke a sample."""
    near: float | None = None
    """Only samples that an attack before it brought at least this share of the way from their clean margin to zero."""
    norms: tuple[str, ...] = ()
    """On balls of these norms it stands in for the stages that name none, but for witnesses; it is for no other sets."""

    kind = "attack"

    @property
    def last(self) -> bool:
        """Whether it has to wait for all pools, since it asks about the survivors of the whole data set."""
        return self.most is not None or bool(self.after)

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
        if self.most is not None and self.most < 1:
            raise UsageError(f"stage {self.name!r}: most is a number of samples, at least 1; got {self.most}.")
        if self.near is not None and (self.last or not 0 < self.near < 1):
            raise UsageError(
                f"stage {self.name!r}: near is a share of the way, between 0 and 1, of a stage without `most` and `after`; "
                f"got {self.near}."
            )


Stage = Bounds | Attacking


@dataclass(frozen=True)
class Plan:
    """Stages after the clean pass, in order."""

    name: str
    stages: tuple[Stage, ...]
    adaptive: bool = False
    """Whether a pilot puts them in the order in which they pay, and leaves out optional ones that do not (see pilot.py)."""
    curve: bool = False
    """Whether robust accuracy against radius follows the verdicts, at up to half of what they cost."""

    def __post_init__(self) -> None:
        names = [stage.name for stage in self.stages]
        if len(set(names)) != len(names) or "clean" in names:
            raise UsageError(f"stages of a plan have different names, and none is called 'clean'; got {names}.")
        waiting = [stage.last for stage in self.stages]
        if waiting != sorted(waiting):
            raise UsageError(
                "stages with `most` or `after` wait for all pools, so they come last; "
                f"{names[waiting.index(True)]!r} is followed by one that does not wait."
            )
        for i, stage in enumerate(self.stages):
            wanted = getattr(stage, "after", "")
            if wanted and not any(belongs(name, wanted) for name in names[:i]):
                raise UsageError(f"stage {stage.name!r} runs after {wanted!r}, which is no stage before it.")
            if (of := getattr(stage, "of", "")) and not any(
                one.name == of and one.kind == "bound" for one in self.stages
            ):
                raise UsageError(f"stage {stage.name!r} goes by the margins of {of!r}, which is no bound of the plan.")

    @property
    def pooled(self) -> tuple[Stage, ...]:
        """The stages that every pool goes through."""
        return tuple(stage for stage in self.stages if not stage.last)

    @property
    def last(self) -> tuple[Attacking, ...]:
        """The stages on survivors of the whole data set, when all pools are through."""
        return tuple(stage for stage in self.stages if isinstance(stage, Attacking) and stage.last)

    def has(self, stage: Stage) -> bool:
        """Whether a stage is in the plan; on a union, a part of it."""
        return _has(self.stages, stage.name)

    def with_bounds(self, methods: dict[str, Any]) -> Plan:
        """With other methods of certification, by the names of stages; those that are None or missing stay."""
        stages = tuple(
            replace(stage, method=method)
            if isinstance(stage, Bounds) and (method := methods.get(stage.name)) is not None
            else stage
            for stage in self.stages
        )
        return replace(self, stages=stages)

    def notes(self, classes: int | None) -> list[str]:
        """What stages do otherwise than their names say, at this number of classes."""
        if not classes:
            return []
        noted = [
            (stage, _far(stage) if isinstance(stage, Bounds) else [*_near(stage), *stage.single.notes(classes)])
            for stage in self.stages
        ]
        return [f"{stage.name}: {note}" for stage, notes in noted for note in notes]

    def against(self, threat: PerturbationSet) -> Plan:
        """The plan with this set in every attack, without the optional ones that do not fit it.

        Raises CompositionError where another one does not.
        """
        fitted: list[Stage] = []
        for stage in self.stages:
            try:
                fitted += self._flat(stage, threat) if isinstance(stage, Attacking) else [stage]
            except CompositionError:
                if not stage.optional:
                    raise
        return self.without({stage.name for stage in self.stages if not _has(fitted, stage.name)}, fitted)

    def _flat(self, stage: Attacking, threat: PerturbationSet) -> list[Attacking]:
        """A stage on the parts of the set that it is for."""
        whole = getattr(threat, "parts", (threat,))
        parts = [part for part in whole if self._is_for(stage, part)]
        if len(parts) == len(whole):
            return _flat(stage, threat)
        return _flat(stage, reduce(or_, parts)) if parts else []

    def _is_for(self, stage: Attacking, part: PerturbationSet) -> bool:
        norm = getattr(part, "norm", "")
        if stage.norms or stage.witness:
            return not stage.norms or norm in stage.norms
        return not any(norm in getattr(other, "norms", ()) for other in self.stages)

    def following(self, names: Sequence[str]) -> Plan:
        """These stages in this order, as a run of the plan recorded them; nothing is left to decide."""
        by_name = {stage.name: stage for stage in self.stages}
        return replace(self, adaptive=False, stages=tuple(by_name[name] for name in names if name in by_name))

    def without(self, gone: set[str], stages: Sequence[Stage] | None = None) -> Plan:
        """The plan without some stages, and without what was to run after one of these."""
        kept = [stage for stage in (self.stages if stages is None else stages) if stage.name not in gone]
        return replace(self, stages=tuple(s for s in kept if not getattr(s, "after", "") or _has(kept, s.after)))  # type: ignore[union-attr]


def belongs(name: str, stage: str) -> bool:
    """Whether a stage is the one of that name, or a part of it: on a union there is one for each set."""
    return name == stage or name.startswith(f"{stage}: ")


def of_attacks(attacks: Sequence[tuple[str, Attack | Cascade]]) -> Plan:
    """A plan of attacks alone."""
    return Plan("+".join(name for name, _ in attacks), tuple(Attacking(name, attack) for name, attack in attacks))


def _near(stage: Attacking) -> list[str]:
    if stage.near is None:
        return []
    return [f"only for samples that attacks before it brought {stage.near:.0%} of the way to another answer."]


def _far(stage: Bounds) -> list[str]:
    if stage.near is None:
        return []
    return [f"only for samples that {stage.of} left at most {stage.near:g} times their clean margin below zero."]


def _has(stages: Sequence[Stage], name: str) -> bool:
    return any(belongs(stage.name, name) for stage in stages)


def _flat(stage: Attacking, threat: PerturbationSet) -> list[Attacking]:
    """A stage on this set; each stage of a cascade is one of its own, so that the results say what each found."""
    norms_must_fit(searches_of(stage.attack), threat)
    attack = stage.attack.against(threat)
    if getattr(attack.set, "collective", False):
        raise CompositionError(
            f"an audit says of each sample whether it can be attacked, and {stage.name} is about one change for all of them, "
            f"{attack.set!r}. Find one by ironbound.attack(...) and see by ironbound.measure on how many other inputs it "
            "works; ironbound attack --method universal does both."
        )
    if isinstance(attack, Attack):
        return [replace(stage, attack=attack)]
    return [replace(stage, name=f"{stage.name}: {one.name}", attack=one.attack) for one in attack.stages]
