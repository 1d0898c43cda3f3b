"""The pilot of an adaptive plan: a few samples through every stage, which say in what order the stages pay, and which do not.

Decided from counted passes and a fixed table of costs, never from a clock, on the samples with the smallest keys of the whole
data set: shards and resumed runs decide alike. What was decided stands in the manifest before the first pool begins.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ironbound.auditing.plan import Attacking, Bounds, Plan, Stage
from ironbound.auditing.pools import Evaluation, Pool, begun, clean_pass, pass_stage
from ironbound.auditing.prices import CHEAP, counted
from ironbound.certification.estimates import estimate
from ironbound.core.progress import Event, silent
from ironbound.core.rows import of_rows, take
from ironbound.data.dataset import Data

PILOT = 16
FEW = 2
"""Samples that each stage is tried on at least, so that its cost is known."""
WORTH = 8
"""Smallest multiple of the pilot that a data set must have: on fewer samples all stages cost less than finding out."""


@dataclass(frozen=True)
class Trial:
    """What a stage did with each sample of the pilot that was right when clean."""

    stage: Stage
    decided: Bool[Tensor, " n"]
    cost: Float[Tensor, " n"]
    """In forward rows."""

    def rate(self, left: Bool[Tensor, " n"]) -> float:
        """The expected share of verdicts: the mean of Jeffreys' posterior, so that a few samples prove nothing impossible."""
        return (int(self.decided[left].sum()) + 0.5) / (int(left.sum()) + 1)

    def price(self, left: Bool[Tensor, " n"]) -> float:
        """The mean cost of a sample."""
        return float((self.cost[left] if left.any() else self.cost).mean())


@dataclass(frozen=True)
class Decision:
    """The stages that an adaptive plan keeps, in order, and in words why others are left out."""

    order: tuple[str, ...]
    left_out: dict[str, str]


def decide(trials: Sequence[Trial]) -> Decision:
    """Stages by expected verdicts per cost, each on what those before it left; optional ones that do not pay are left out.

    A stage pays where it decided a sample of the pilot that those before it left, or where the verdicts to be expected of
    it save more passes in the stages behind it than it costs.
    """
    order, kept = _ranked(trials), list[Trial]()
    left_out: dict[str, str] = {}
    for at in reversed(range(len(order))):  # from the end, so that what a verdict saves is known
        trial, left = order[at], _left(order, at)
        saved = trial.rate(left) * sum(later.price(left) for later in kept)
        if not trial.stage.optional or bool(trial.decided[left].any()) or saved >= trial.price(left):
            kept.insert(0, trial)
        else:
            came = int(left.sum())
            saw = (
                f"it decided none of the {came} pilot samples that came to it" if came else "no pilot sample came to it"
            )
            left_out[trial.stage.name] = (
                f"{trial.stage.name} was left out: {saw}; it costs the rows of {trial.price(left):,.0f} forward passes a sample, "
                f"and could be expected to save {saved:,.0f}."
            )
    return Decision(tuple(trial.stage.name for trial in kept), left_out)


def _ranked(trials: Sequence[Trial]) -> list[Trial]:
    waiting, order = list(trials), list[Trial]()
    while waiting:
        left = _left([*order, *waiting], len(order))
        names = {trial.stage.name for trial in waiting}
        ready = [trial for trial in waiting if getattr(trial.stage, "of", "") not in names]
        best = max(ready, key=lambda trial: trial.rate(left) / max(trial.price(left), 1.0))  # the first, of equals
        waiting.remove(best)
        order.append(best)
    return order


def _left(order: Sequence[Trial], at: int) -> Bool[Tensor, " n"]:
    """What the stages before this place leave undecided."""
    decided = [trial.decided for trial in order]
    return ~torch.stack([torch.zeros_like(decided[0]), *decided[:at]]).any(0)


def settled(evaluation: Evaluation, data: Data, places: Tensor) -> tuple[Plan, dict[str, Any]]:
    """The plan with nothing left to decide, and what the pilot on the samples at these places found, for the manifest.

    A dear bound is tried after the attacks, and only where its estimate says that it costs no more than all of them.
    """
    plan = evaluation.plan
    movable = [stage for stage in plan.pooled if not stage.witness and (evaluation.bounds or stage.kind != "bound")]
    pool = begun(evaluation, samples := data.take(places), places)
    clean_pass(replace(evaluation, progress=silent), pool, samples)
    right = len(pool.open())
    facts: dict[str, Any] = {
        "samples": len(places), "right": right, "forward": sum(int(r["forward"]) for r in pool.records), "backward": 0,
        "bounding": 0.0, "stages": {},
    }  # fmt: skip
    trials, left_out = dict[str, Trial](), dict[str, str]()
    decided = {kind: torch.zeros(right, dtype=torch.bool) for kind in ("bound", "attack")}
    for done, stage in enumerate(sorted(movable, key=_turn)):
        if right and isinstance(stage, Bounds) and (why := _too_dear(evaluation, pool, stage, trials.values())):
            left_out[stage.name] = why
            continue
        known = decided["attack" if stage.kind == "bound" else "bound"]
        trial, (forward, backward, bounding) = _tried(evaluation, pool, stage, known)
        trials[stage.name], decided[stage.kind] = trial, decided[stage.kind] | trial.decided
        facts["forward"] += forward
        facts["backward"] += backward
        facts["bounding"] += bounding
        evaluation.progress(Event("pilot", done + 1, len(movable)))
    ordered = [trials[stage.name] for stage in movable if stage.name in trials]
    for trial in ordered:
        everybody = torch.ones_like(trial.decided)
        facts["stages"][trial.stage.name] = {
            "decided": int(trial.decided.sum()), "cost": trial.price(everybody) if right else 0.0,
        }  # fmt: skip
    decision = decide(ordered) if right else Decision(tuple(s.name for s in movable), {})
    first = [stage.name for stage in plan.pooled if stage not in movable and not stage.witness]  # will be skipped
    behind = [stage.name for stage in plan.stages if stage.witness or stage.last]
    facts["left_out"] = left_out | decision.left_out
    return plan.without(set(facts["left_out"])).following([*first, *decision.order, *behind]), facts


def guarded(evaluation: Evaluation, data: Data, places: Tensor) -> dict[str, str]:
    """Of a plan that leaves nothing to a pilot, why bounds are left out that would cost more than the plan allows them."""
    wanted = [stage for stage in evaluation.plan.pooled if isinstance(stage, Bounds) and stage.most is not None]
    if not wanted or not evaluation.bounds:
        return {}
    pool = begun(evaluation, data.take(places), places)
    found = {stage.name: _too_dear(evaluation, pool, stage, ()) for stage in wanted}
    return {name: why for name, why in found.items() if why}


def _too_dear(evaluation: Evaluation, pool: Pool, stage: Bounds, trials: Iterable[Trial]) -> str:
    """Why a bound is not even tried: by its estimate it costs more than the plan allows it, or than all attacks do."""
    attacks = [trial for trial in trials if trial.stage.kind == "attack"]
    limit = math.inf if stage.most is None else stage.most
    if attacks and stage.optional:
        limit = min(limit, sum(trial.price(torch.ones_like(trial.decided)) for trial in attacks))
    if math.isinf(limit):
        return ""
    index = pool.open()
    threat = of_rows(evaluation.threat, pool.place[index])
    costs = estimate(stage.method, evaluation.graph, evaluation.model, take(pool.x, index), threat)
    mean = 0.0 if costs is None or not len(costs) else float(costs.mean())
    if mean <= limit:
        return ""
    about = float(f"{mean:.2g}")  # so that machines that round otherwise say the same
    return f"{stage.name} was left out: it would cost up to the rows of {about:,.0f} forward passes a sample, and " + (
        f"all attacks together cost {limit:,.0f}." if attacks else f"the plan allows it {limit:,.0f}."
    )


def _turn(stage: Stage) -> int:
    """Cheap bounds, attacks, dear bounds: each spares those after it a part of the samples."""
    return 1 if isinstance(stage, Attacking) else 2 if hasattr(stage.method, "estimate") else 0


def _tried(
    evaluation: Evaluation, pool: Pool, stage: Stage, known: Bool[Tensor, " n"]
) -> tuple[Trial, tuple[int, int, float]]:
    """A stage on the samples that are right when clean, whatever other stages of its kind do with them.

    What is `known` it cannot decide: no attack breaks what is certified, no bound certifies what is broken. Of these samples
    none is tried, but for a few where there are no others: they cost what undecided ones cost.
    """
    right = pool.open()
    tried = ~known
    tried[known.nonzero()[: max(0, FEW - int(tried.sum())), 0]] = True
    unknown = torch.full_like(pool.best, -torch.inf)
    fresh: dict[str, Any] = {"proven": {}, "records": [], "witnesses": {}}
    verdict = list(pool.verdict)
    for i in right[(~tried).to(right.device)].tolist():
        verdict[i] = "left"
    own = replace(pool, verdict=verdict, best=unknown, costs={}, **fresh)
    at = own.open().tolist()
    pass_stage(replace(evaluation, progress=silent), own, stage)
    won = torch.tensor([own.verdict[i] != "undecided" for i in at], dtype=torch.bool)
    forward, backward, bounding = (
        torch.tensor([record.get(name) or 0 for record in own.records], dtype=torch.float64)
        for name in ("forward", "backward", "bounding")
    )
    each = counted(forward, backward) + bounding
    if isinstance(stage, Attacking) and stage.single.cheap:
        each -= (1 - CHEAP) * counted(1, 1) * torch.minimum(forward, backward)  # gradient rows are one of each
    decided, cost = torch.zeros_like(known), torch.zeros(len(known), dtype=torch.float64)
    decided[tried], cost[tried] = won, each
    if len(each):
        cost[~tried] = each[~won].mean() if bool((~won).any()) else each.max()
    return Trial(stage, decided, cost), (int(forward.sum()), int(backward.sum()), float(bounding.sum()))
