"""Checks without gradients: do queries or bare decisions find what the attacks by gradient missed?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ironbound import recipes
from ironbound.auditing.checks.attacks import STRAY
from ironbound.auditing.checks.chance import lower
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
"""Share of the survivors that a plan which is merely too weak may have left to queries, beyond chance."""
SINGLE = 5
"""Samples from which on that is no accident of single ones: the fewest that an exact test tells from chance."""
ADVICE = "Look for masked gradients; put it into the plan, which then runs it on all."


@check(
    14, "white box beats black box", "Are the attacks at least as strong as queries alone?", "red",
    "If random search by scores breaks what gradients left, the gradients are masked.", share=0.3,
)  # fmt: skip
def beats_black_box(evidence: Evidence) -> CheckResult:
    """A thousand queries of Square on 64 survivors; a plan that ends with Square has asked already."""
    norms = {getattr(part, "norm", "") for part in getattr(evidence.threat, "parts", (evidence.threat,))}
    if not norms <= set(Square.norms):
        return CheckResult("not applicable", "Square is for balls of Linf, L2 and L1.")
    what, most = f"Square with {QUERIES} queries", evidence.afford(FEW, QUERIES)
    return _without(evidence, Square, lambda: recipes.square(QUERIES), most, what)


@check(
    17, "gradients beat decisions", "Are the attacks at least as strong as a decision-based one?", "red",
    "If an attack that sees the predicted class only breaks what gradients left, the gradients are masked.", share=0.3,
)  # fmt: skip
def beats_decisions(evidence: Evidence) -> CheckResult:
    """HopSkipJump on at most eight survivors."""
    what, most = f"HopSkipJump with {DECISIONS} queries", evidence.afford(HANDFUL, DECISIONS, least=4)
    return _without(evidence, HopSkipJump, lambda: recipes.hopskipjump(queries=DECISIONS), most, what)


def _without(evidence: Evidence, kind: Any, attack: Callable[[], Attack], most: int, what: str) -> CheckResult:
    """An attack without gradients on what those by gradient left: stages of the plan behind them, or else here and now."""
    if not evidence.differentiable() or evidence.model.random:
        return CheckResult("not applicable", "The model gives no scores and gradients, or it draws.")
    if not evidence.attacks:
        return CheckResult("not applicable", "No attack was run.")
    stages = _behind(evidence, kind)
    if stages:
        places, entered = _by_stages(evidence, stages)
        what = f"the plan's {' and '.join(stage.name for stage in stages)}"
    else:
        looked = evidence.verdicts.places("undecided", most=most)
        entered = len(looked)
        places = looked[evidence.attack(attack(), looked).success.cpu()] if entered else looked
    if entered == 0:
        return CheckResult("pass", f"Nothing was left for {what} to break.")
    text = f"Of {entered} samples that the other attacks left, {what} broke {len(places)}."
    if len(places) == 0:
        return CheckResult("pass", text)
    return _judged(evidence, places, entered, text, counted=bool(stages))


def _judged(evidence: Evidence, places: Tensor, entered: int, text: str, counted: bool) -> CheckResult:
    """Masked gradients leave queries a large share; a plan that is merely too weak leaves them single samples."""
    still = "They count as broken." if counted else "They still count as undecided."
    if lower(len(places), entered) > SPARSE:
        return CheckResult("fail", f"{text} {still}", ADVICE)
    if _climbed(evidence, places[:HANDFUL]):
        text += (
            " APGD breaks them from other starts, too: the gradients lead there, but the plan's attacks are too weak."
        )
        return CheckResult(
            "cannot tell", f"{text} {still}", "Use the plan thorough, or give its attacks more restarts."
        )
    if len(places) < SINGLE or (counted and lower(len(places), entered) <= STRAY):
        text += " So few tell no masked gradients from a plan that is too weak."
        return CheckResult("cannot tell", f"{text} {still}", ADVICE)
    return CheckResult("fail", f"{text} {still}", ADVICE)


def _climbed(evidence: Evidence, places: Tensor) -> bool:
    """Whether a strong attack by gradient breaks these samples: then gradients are not masked."""
    for attack in (recipes.apgd_targeted(), recipes.pma(restarts=5)):
        if len(places) and evidence.fits(attack):
            places = places[~evidence.attack(attack, places, turn=1).success.cpu()]
    return len(places) == 0


def _by_stages(evidence: Evidence, stages: list[Attacking]) -> tuple[Tensor, int]:
    """What these stages broke, and on how many samples any of them ran."""
    rows = [evidence.verdicts.stage_rows(stage.name) for stage in stages]
    broken = np.concatenate([row["index"][row["verdict"] == "broken"] for row in rows])
    entered = np.unique(np.concatenate([row["index"] for row in rows]))
    return torch.from_numpy(np.flatnonzero(np.isin(evidence.verdicts.index, broken))), len(entered)


def _behind(evidence: Evidence, kind: Any) -> list[Attacking]:
    """The plan's stages of this kind, where all attacks by gradient come before them."""
    stages = [stage for stage in evidence.plan.stages if isinstance(stage, Attacking)]
    climbs = [i for i, s in enumerate(stages) if Can.GRADIENT in s.single.search.needs and not s.witness]
    behind = stages[climbs[-1] + 1 :] if climbs else []
    ran = evidence.verdicts.stages
    return [stage for stage in behind if isinstance(stage.single.search, kind) and stage.name in ran]
