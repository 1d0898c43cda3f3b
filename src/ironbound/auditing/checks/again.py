"""The plan's own attacks once more, a little otherwise: more steps, other draws, another radius."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ironbound.auditing.checks.check import Evidence
from ironbound.auditing.plan import Attacking
from ironbound.auditing.prices import counted
from ironbound.core.attack import Attack
from ironbound.core.errors import CompositionError
from ironbound.core.protocols import Can, PerturbationSet
from ironbound.models.model import Model
from ironbound.searches.ascent import Clean, Uniform

TURNS = 3
"""Targets of a targeted attack that a repetition of it takes: those it ranks first, where nearly all is found."""


def steps_of(search: Any) -> int:
    """How many steps a search takes, in each turn; 0 where it does not step."""
    inner = getattr(search, "search", None)
    return int(getattr(search, "steps", 0)) if inner is None else steps_of(inner)


def rows_of(attack: Attack) -> int:
    """Model rows of one problem that is not broken, roughly."""
    if attack.budget.forward is not None:
        return attack.budget.forward
    search: Any = attack.search
    turns, once = turns_of(attack), getattr(search, "queries", 0) or steps_of(search) + 1
    rows = turns * once
    if hasattr(search, "short"):  # all targets for a little, a few of them for longer
        kept = min(turns, search.keep)
        rows = kept * once + (turns * (steps_of(search.short) + 1) if turns > kept else 0)
    return int(attack.restarts * rows * attack.oracle.cost)


def cost_of(*attacks: Attack) -> int:
    """Counted rows of one problem that none of the attacks breaks, roughly."""
    return sum(int(counted(rows_of(a), rows_of(a) if Can.GRADIENT in a.search.needs else 0)) for a in attacks)


def turns_of(attack: Attack) -> int:
    """How many targets an attack takes in turn; 1 where it has none."""
    return getattr(getattr(attack.search, "targets", None), "count", None) or 1


def towards(attack: Attack, turns: int) -> Attack:
    """The attack towards the first few of its targets; one without targets as it is."""
    if turns_of(attack) <= turns:
        return attack
    search: Any = attack.search
    return attack.replace(search=replace(search, targets=replace(search.targets, count=turns)))


def strongest(evidence: Evidence) -> Attacking | None:
    """The iterative attack by gradient on which the plan spends most."""
    stages = [stage for stage in evidence.by_gradient if steps_of(stage.single.search) > 1]
    return max(stages, key=lambda stage: rows_of(stage.single), default=None)


def longer(attack: Attack, factor: int) -> Attack:
    """The attack with so many times its steps."""
    return attack.replace(search=_changed(attack.search, lambda s: {"steps": factor * s.steps}))


def elsewhere(attack: Attack) -> Attack:
    """The attack from random starts, also where it began at the input: else restarts would repeat it."""
    begins = lambda s: {"start": Uniform()} if isinstance(getattr(s, "start", None), Clean) else {}
    return attack.replace(search=_changed(attack.search, begins))


def stretched(attack: Attack, threat: Any) -> Attack:
    """The attack on a ball of another radius: steps in input units become the same share of it."""

    def steps(search: Any) -> dict[str, Any]:
        move, eps = getattr(search, "move", None), getattr(attack.set, "eps", None)
        if move is None or getattr(move, "relative", True):
            return {}
        same = getattr(attack.set, "norm", "") == threat.norm and isinstance(eps, float) and eps > 0
        share = move.size / eps if same and eps else 2.5 / search.steps
        return {"move": replace(move, size=share, relative=True)}

    return attack.replace(search=_changed(attack.search, steps))


def _changed(search: Any, change: Any) -> Any:
    """A search, or the one inside it, with other fields."""
    inner = getattr(search, "search", None)
    return replace(search, **change(search)) if inner is None else replace(search, search=_changed(inner, change))


def left_by(
    evidence: Evidence, places: Tensor, threat: PerturbationSet | None = None, model: Model | None = None
) -> Tensor:
    """The samples that none of the plan's attacks breaks on another set or model; each sees what those before it left."""
    for stage in evidence.attacks:
        if len(places) == 0:
            break
        attack = stage.single if threat is None else stretched(stage.single, threat)
        try:
            found = evidence.attack(attack, places, threat or attack.set, model=model)
        except CompositionError:  # an attack that does not fit the other set
            continue
        places = places[~found.success.to(places.device)]
    return places


def standing(model: Model, y: int, shift: float) -> Model:
    """The model with this much taken off the logit of class y."""
    shifted = Model(_Shifted(model, y, shift), range=model.box, outputs="logits", name=model.name)
    shifted.device, shifted.dtype = model.device, model.dtype
    return shifted


class _Shifted(torch.nn.Module):
    def __init__(self, model: Model, y: int, shift: float) -> None:
        super().__init__()
        self.inner, self.y, self.shift = model.module, y, shift

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.inner(x)
        off = torch.zeros(out.shape[1], dtype=out.dtype, device=out.device)
        off[self.y] = self.shift
        return out - off
