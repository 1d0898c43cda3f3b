"""Attacks in turn, each on what those before it left: AutoAttack's schedule, and a union of sets, part by part."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Int
from torch import Tensor

from ironbound.core import rows as rows_
from ironbound.core.describe import described
from ironbound.core.errors import CompositionError, UsageError
from ironbound.core.progress import Listener
from ironbound.core.protocols import Model, PerturbationSet, Status, Want
from ironbound.core.result import COUNTS, Result

if TYPE_CHECKING:
    from ironbound.core.attack import Attack


@dataclass(frozen=True)
class Stage:
    """An attack of a cascade with its name."""

    name: str
    attack: Attack


@dataclass(frozen=True)
class Cascade:
    """Attacks in turn on one set; called as an Attack is. A problem leaves with its first witness.

    Where a stage wants the smallest witness, it also runs on problems that have one, and the smaller is kept.
    """

    set: PerturbationSet
    """What all stages together attack: the set of each, or the union of theirs."""
    stages: tuple[Stage, ...]

    def __post_init__(self) -> None:
        names = [stage.name for stage in self.stages]
        if not names or len({*names}) != len(names):
            raise UsageError(f"a cascade has stages with different names; got {names}.")

    @property
    def goal(self) -> Any:
        """The goal of all stages."""
        return self.stages[0].attack.goal

    def each(self, change: Any) -> Cascade:
        """The same with change(attack) for each attack."""
        return replace(self, stages=tuple(replace(stage, attack=change(stage.attack)) for stage in self.stages))

    def rows(self, index: Tensor) -> Cascade:
        """The same for some of the problems, where sets hold something for each (a radius a problem)."""
        taken = self.each(lambda attack: attack.rows(index))
        return replace(taken, set=rows_.of_rows(self.set, index))

    def replace(self, **parts: Any) -> Cascade:
        """The same with other parts in every stage; another set as by `against`, since stages may depend on it."""
        threat = parts.pop("set", None)
        changed = self.each(lambda attack: attack.replace(**parts)) if parts else self
        return changed if threat is None else changed.against(threat)

    def against(self, threat: PerturbationSet) -> Cascade:
        """The cascade on this set; on a union, all of it on each part in turn."""
        flat: list[Stage] = []
        for part, suffix in _parts(threat):
            flat += [Stage(stage.name + suffix, stage.attack.replace(set=part)) for stage in self.on(part)]
        return Cascade(threat, tuple(flat))

    def on(self, part: PerturbationSet) -> tuple[Stage, ...]:
        """The stages as this set wants them; a schedule that differs between norms says so here."""
        return self.stages

    def describe(self) -> dict[str, Any]:
        """The composition as plain data."""
        description: dict[str, Any] = described(self)
        return description

    def __call__(
        self, model: Model, x: Any, y: Any = None, *, seed: int = 0, keys: Int[Tensor, " n"] | None = None,
        progress: Listener | None = None, stage: str = "attack", **options: Any,
    ) -> Result:  # fmt: skip
        """Attack every problem; see Attack. `config` of the result says what each stage found."""
        x, y = model.admit(x, y)
        region = self.set.at(x, model.box)
        if region.items is not None:
            raise CompositionError(
                "a cascade drops inputs one by one; a collective problem keeps them. Run its stages."
            )
        whole: Result | None = None
        report = []
        for one in self.stages:
            at = _left(whole, one.attack.want, len(region), model.device)
            if len(at) == 0:
                continue
            own = None if keys is None else keys[at.to(keys.device)]
            part = one.attack.rows(at)(
                model, rows_.kept(x, at, len(region)), rows_.kept(y, at, len(region)), seed=seed, keys=own,
                progress=progress, stage=f"{stage}: {one.name}", **options,
            )  # fmt: skip
            whole = part if whole is None else merged(whole, at, part, region)
            notes = part.config.get("notes", [])
            report.append(
                {"name": one.name, "entered": len(at), "found": int(part.success.sum()), "forward": int(part.forward.sum()),
                 "backward": int(part.backward.sum()), **({"notes": notes} if notes else {})}
            )  # fmt: skip
        assert whole is not None  # the first stage enters with all problems
        notes = sorted({note for row in report for note in row.get("notes", [])})
        config = {"attack": self.describe(), "seed": seed, "stages": report, **({"notes": notes} if notes else {})}
        return replace(whole, size=region.size(whole.points), config=config)


def over_parts(attack: Attack) -> Attack | Cascade:
    """The attack itself, or, on a union, the cascade over its parts."""
    if not getattr(attack.set, "parts", ()):
        return attack
    stages = [Stage(suffix.strip(" ()"), attack.replace(set=part)) for part, suffix in _parts(attack.set)]
    return Cascade(attack.set, tuple(stages))


def searches_of(attack: Attack | Cascade) -> list[Any]:
    """The search of an attack, or of each stage of a cascade; of one that runs another, as an aimed one, the other."""
    attacks = [stage.attack for stage in attack.stages] if isinstance(attack, Cascade) else [attack]
    return [getattr(one.search, "search", one.search) for one in attacks]


def _parts(threat: Any) -> list[tuple[PerturbationSet, str]]:
    """The parts of a union with what their stages' names end in; any other set is its own only part."""
    parts = getattr(threat, "parts", ())
    names = [getattr(part, "norm", type(part).__name__.lower()) for part in parts]
    numbered = [name if names.count(name) == 1 else f"{name} {i + 1}" for i, name in enumerate(names)]
    return [(part, f" ({name})") for part, name in zip(parts, numbered, strict=True)] or [(threat, "")]


def _left(whole: Result | None, want: Want, count: int, device: torch.device) -> Tensor:
    if whole is None or want is Want.SMALLEST:
        return torch.arange(count, device=device)
    return (~whole.success).nonzero()[:, 0]


def merged(whole: Result, at: Tensor, part: Result, region: Any) -> Result:
    """The rows `at` with what a further stage found: witnesses before failures, then the smaller or the nearer to success."""
    mine, here = whole.take(at), region.take(at)
    nearer = torch.where(part.success, here.size(part.points) < here.size(mine.points), part.margin > mine.margin)
    better = (part.success & ~mine.success) | ((part.success == mine.success) & nearer)
    status = torch.where(part.status == Status.NOT_FOUND, mine.status, part.status)  # what hindered an earlier stage
    status = torch.where(better & part.success, part.status, torch.where(mine.success, mine.status, status))
    chosen = better.nonzero()[:, 0]
    found = mine.put(chosen, part.take(chosen))
    passes = {name: getattr(part, name) for name in COUNTS}
    return whole.with_rows(at, replace(found, status=status, **passes))
