"""Checks without gradients: do queries or bare decisions find what the attacks by gradient missed?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from ironbound import recipes
from ironbound.auditing.checks.check import FEW, CheckResult, Evidence, check
from ironbound.auditing.plan import Attacking
from ironbound.core.attack import Attack
from ironbound.core.protocols import Can
from ironbound.searches.boundary import HopSkipJump
from ironbound.searches.square import Square

QUERIES = 1000
"""Of Square, on each of 64 survivors."""
DECISIONS, HANDFUL = 500, 8
"""Queries of HopSkipJump, and on how many survivors."""
SPARSE = 0.1
"""Share of the survivors that a plan which is merely too weak may have left to queries."""
SINGLE = 5
"""Samples from which on that is no accident of single ones: the fewest that an exact test tells from chance."""
ADVICE = "Look for masked gradients; put it into the plan, which then runs it on all."


@check(
    14, "white box beats black box", "Are the attacks at least as strong as queries alone?", "red",
    "If random search by scores breaks what gradients left, the gradients are masked.",
)  # fmt: skip
def beats_black_box(evidence: Evidence) -> CheckResult:
    """A thousand queries of Square on 64 survivors; a plan that ends with Square has asked already."""
    norms = {getattr(part, "norm", "") for part in getattr(evidence.threat, "parts", (evidence.threat,))}
    if not norms <= set(Square.norms):
        return CheckResult("not applicable", "Square is for balls of Linf, L2 and L1.")
    return _without(evidence, Square, lambda: recipes.square(QUERIES), FEW, f"Square with {QUERIES} queries")


@check(
    17, "gradients beat decisions", "Are the attacks at least as strong as a decision-based one?", "red",
    "If an attack that sees the predicted class only breaks what gradients left, the gradients are masked.",
)  # fmt: skip
def beats_decisions(evidence: Evidence) -> CheckResult:
    """HopSkipJump on eight survivors."""
    what = f"HopSkipJump with {DECISIONS} queries"
    return _without(evidence, HopSkipJump, lambda: recipes.hopskipjump(queries=DECISIONS), HANDFUL, what)


def _without(evidence: Evidence, kind: Any, attack: Callable[[], Attack], most: int, what: str) -> CheckResult:
    """An attack without gradients on what those by gradient left: a stage of the plan behind them, or else here and now."""
    if not evidence.differentiable() or evidence.model.random:
        return CheckResult("not applicable", "The model gives no scores and gradients, or it draws.")
    if not evidence.attacks:
        return CheckResult("not applicable", "No attack was run.")
    stage = _behind(evidence, kind)
    if stage is not None:
        costs = evidence.verdicts.stage_costs(stage.name)
        broken, entered, what = int(costs["decided"]), int(costs["entered"]), f"the plan's {stage.name}"
    else:
        places = evidence.verdicts.places("undecided", most=most)
        if len(places):
            places, entered = places[evidence.attack(attack(), places).success.cpu()], len(places)
        else:
            entered = 0
        broken = len(places)
    if entered == 0:
        return CheckResult("pass", f"Nothing was left for {what} to break.")
    text = f"Of {entered} samples that the other attacks left, {what} broke {broken}."
    if broken == 0:
        return CheckResult("pass", text)
    if stage is None and broken <= max(1, SPARSE * entered):
        if _climbed(evidence, places):
            text += " Targeted APGD breaks them too: the gradients lead there, but the plan's attacks are too weak."
            return CheckResult(
                "cannot tell", f"{text} They still count as undecided.", "Put apgd_targeted into the plan."
            )
        if broken < SINGLE:
            text += " Single samples tell no masked gradients from a plan that is too weak."
            return CheckResult("cannot tell", f"{text} They still count as undecided.", ADVICE)
    still = "They count as broken." if stage is not None else "They still count as undecided."
    return CheckResult("fail", f"{text} {still}", ADVICE)


def _climbed(evidence: Evidence, places: Tensor) -> bool:
    """Whether a strong attack by gradient breaks these samples: then gradients are not masked."""
    attack = recipes.apgd_targeted(steps=100)
    return evidence.fits(attack) and bool(evidence.attack(attack, places).success.all())


def _behind(evidence: Evidence, kind: Any) -> Attacking | None:
    """The plan's stage of this kind, where all attacks by gradient come before it."""
    stages = [stage for stage in evidence.plan.stages if isinstance(stage, Attacking)]
    climbs = [i for i, s in enumerate(stages) if Can.GRADIENT in s.single.search.needs and not s.witness]
    behind = stages[climbs[-1] + 1 :] if climbs else []
    return next((stage for stage in behind if isinstance(stage.single.search, kind)), None)
