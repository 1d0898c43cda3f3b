"""Checks of effort: would more steps, more restarts or another objective have found more?"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from itertools import permutations
from typing import Any

import torch
from torch import Tensor

from ironbound import recipes
from ironbound.auditing.checks.again import affordable, elsewhere, longer, steps_of, strongest
from ironbound.auditing.checks.chance import Paired
from ironbound.auditing.checks.check import CheckResult, Evidence, check
from ironbound.auditing.plan import Attacking
from ironbound.core.attack import Attack
from ironbound.core.protocols import Answer, Ask, Can
from ironbound.searches.guided import relayed

MANY = 256
"""Survivors on which more steps and restarts are tried, at most."""
GAIN = 0.005
TAIL, DIFFER = 10, 0.05
"""Pintor et al. 2022: the last so many values of the running best, rescaled to [0, 1], differ by at most so much."""
BOTH, APART = 512, 0.01
"""Samples on which objectives are compared, at most, and how far apart they may lead."""


def _to_try(evidence: Evidence) -> Attacking | CheckResult:
    """The attack that more effort is spent on, or why there is none."""
    if not evidence.differentiable() or evidence.model.random or not evidence.by_gradient:
        return CheckResult("not applicable", "No attack of the plan uses gradients, or the model draws.")
    stage = strongest(evidence)
    if stage is None:
        return CheckResult("cannot tell", "The plan has no iterative attack by gradient.", "Add one: pgd or apgd.")
    if evidence.verdicts.count("undecided") == 0:
        return CheckResult("pass", "Nothing was left that more effort could break.")
    return stage


def _gain(evidence: Evidence, stage: Attacking, attack: Attack, turn: int = 0) -> Paired:
    """What an attack breaks of the survivors, in points of the data set."""
    left = evidence.verdicts.count("undecided")
    places = evidence.verdicts.places("undecided", most=affordable([attack], MANY, least=16))
    broken = int(evidence.attack(attack, places, stage.single.set, turn=turn).success.sum())
    return Paired(broken, 0, len(places), left / len(evidence.verdicts))


@dataclass(frozen=True)
class _Heard:
    """Another search, and what it hears on the way: the numbers of the problems and their values, ask by ask."""

    search: Any
    heard: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    @property
    def needs(self) -> Can:
        needs: Can = self.search.needs
        return needs

    def run(self, task: Any) -> Generator[Ask, Answer, None]:
        def noted(ask: Ask, answer: Answer) -> Answer:
            if ask.owner is None:
                value = answer.value if answer.loss is None else answer.loss
                self.heard.append((task.problems.cpu(), value.detach().double().cpu()))
            return answer

        return relayed(self.search, task, lambda ask: ask, noted)


def _tail(evidence: Evidence, stage: Attacking) -> float | None:
    """The mean over 16 survivors of what the last ten values of the running best still rise, of its whole range."""
    attack, steps = stage.single, steps_of(stage.single.search)
    if steps < 2 * TAIL:
        return None
    listening = _Heard(attack.search)
    places = evidence.verdicts.places("undecided", most=16)
    evidence.attack(attack.replace(search=listening, restarts=1), places, attack.set)
    path = torch.full((len(places), min(steps + 1, len(listening.heard))), torch.nan, dtype=torch.float64)
    for step, (problem, value) in enumerate(listening.heard[: path.shape[1]]):
        path[problem, step] = value
    whole = torch.isfinite(path).all(1)
    path = path[whole]
    if len(path) == 0 or path.shape[1] < 2 * TAIL:
        return None
    best, low = path.cummax(1).values, path.amin(1)
    spread = best[:, -1] - low
    return float(((best[:, -1] - best[:, -TAIL]) / spread.clamp_min(1e-12)).mean())


@check(
    9, "converged", "Have the attacks converged?", "amber",
    "An attack that was stopped while it was still rising reports what it had no time to find as robustness.",
)  # fmt: skip
def converged(evidence: Evidence) -> CheckResult:
    """Twice the steps of the costliest attack on the survivors, and the end of its path (Pintor et al. 2022)."""
    stage = _to_try(evidence)
    if isinstance(stage, CheckResult):
        return stage
    paired, tail = _gain(evidence, stage, longer(stage.single, 2)), _tail(evidence, stage)
    steps = steps_of(stage.single.search)
    ends = f"{steps} steps are too few to see them level off" if tail is None else f"the last {TAIL} rise by {tail:.3f}"
    text = (
        f"{2 * steps} steps of {stage.name} instead of {steps} broke {paired.gained} of {paired.looked} survivors: {paired.text} "
        f"Of the best values, rescaled, {ends}."
    )
    advice = "Take more steps."
    if tail is not None and tail > DIFFER:
        return CheckResult("fail", text, advice)
    found = paired.judged(GAIN, text, advice)
    return CheckResult("cannot tell", text, advice) if tail is None and found.result == "pass" else found


@check(
    10, "enough restarts", "Would more restarts find more?", "amber",
    "What another start finds was not robust, but missed by chance.",
)  # fmt: skip
def enough_restarts(evidence: Evidence) -> CheckResult:
    """As many restarts again, of the costliest attack, from other random points."""
    stage = _to_try(evidence)
    if isinstance(stage, CheckResult):
        return stage
    if Can.SAMPLE not in stage.single.set.can:
        return CheckResult("not applicable", "One cannot draw from the threat.")
    paired = _gain(evidence, stage, elsewhere(stage.single), turn=1)
    more = stage.single.restarts
    text = (
        f"{more} further restart{'s' * (more > 1)} of {stage.name} broke {paired.gained} of {paired.looked} survivors: "
        f"{paired.text}"
    )
    return paired.judged(GAIN, text, "Take more restarts.")


@check(
    26, "objectives agree", "Do different objectives lead to the same figure?", "amber",
    "Where one objective finds much more than another, the others are flat or misleading on this model.",
)  # fmt: skip
def objectives_agree(evidence: Evidence) -> CheckResult:
    """Twenty steps of APGD on cross-entropy, margin and probability margin, each on the same samples that are not certified."""
    names = {"cross-entropy": "ce", "margin": "margin", "probability margin": "probability"}
    attacks = {name: recipes.apgd(steps=20, loss=loss) for name, loss in names.items()}
    if not evidence.differentiable() or evidence.model.random or not evidence.fits(attacks["margin"]):
        return CheckResult("not applicable", "The model gives no gradients or draws, or APGD does not fit the threat.")
    open_ = evidence.verdicts.count("broken", "undecided")
    if open_ == 0:
        return CheckResult("not applicable", "Nothing was left to attack.")
    places = evidence.verdicts.places("broken", "undecided", most=BOTH)
    found = {name: evidence.attack(attack, places).success.cpu() for name, attack in attacks.items()}
    weight = open_ / len(evidence.verdicts)
    pairs = {
        (one, other): Paired(
            int((found[one] & ~found[other]).sum()), int((found[other] & ~found[one]).sum()), len(places), weight
        )
        for one, other in permutations(found, 2)
    }
    best, worst = max(pairs, key=lambda pair: (pairs[pair].low, pairs[pair].gain))
    broke = ", ".join(f"{name} {int(won.sum())}" for name, won in found.items())
    paired = pairs[best, worst]
    text = f"Of {len(places)} samples APGD broke, by objective: {broke}. The {best} has over the {worst} {paired.text}"
    return paired.judged(APART, text, f"Attack with the {best} too, and use the strongest for each sample.")
