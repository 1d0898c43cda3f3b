"""Checks of effort: would more steps, more restarts or another objective have found more?"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field, replace
from itertools import permutations
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ironbound import recipes
from ironbound.auditing.checks.again import TURNS, cost_of, elsewhere, longer, steps_of, strongest, towards, turns_of
from ironbound.auditing.checks.chance import FULL, Paired, Stratified
from ironbound.auditing.checks.check import CheckResult, Evidence, check
from ironbound.auditing.plan import Attacking
from ironbound.core.attack import Attack
from ironbound.core.protocols import Answer, Ask, Can
from ironbound.searches.guided import relayed

MANY = 256
"""Survivors on which more steps and restarts are tried, at most."""
NEAREST = 8
"""Of them the nearest to the boundary, at least; else half."""
GAIN = 0.005
TAIL, DIFFER = 10, 0.05
"""Pintor et al. 2022: the last so many values of the running best, rescaled to [0, 1], differ by at most so much."""
PATHS = 16
"""Survivors whose path is looked at, at most."""
SOON = 0.25
"""Of its passes, what an attack takes at most, as a rule, on a sample that the plan has broken."""
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


def _gain(evidence: Evidence, stage: Attacking, attack: Attack, most: int, turn: int = 0) -> Stratified:
    """What an attack breaks of the survivors: half of those it is tried on are the nearest to the boundary.

    What more effort breaks lies there: on nets that were trained to be robust, a stronger attack broke survivors of the
    first tenth by margin alone. The others are taken by their keys, so that a gain that is spread out is not overlooked.
    """
    left = evidence.verdicts.places("undecided")
    margin = _margins(evidence, left)
    some = min(max(most, NEAREST), len(left))
    by_key = np.argsort(evidence.verdicts.digest[left.numpy()], kind="stable")
    near = by_key[np.argsort(-margin[by_key], kind="stable")][
        : some if some == len(left) else max(-(-some // 2), NEAREST)
    ]
    others = by_key[~np.isin(by_key, near)]
    rest = others[: some - len(near)]
    won = evidence.attack(attack, left[np.concatenate([near, rest])], stage.single.set, turn=turn).success.cpu()
    return Stratified(
        int(won[: len(near)].sum()),
        len(near),
        int(won[len(near) :].sum()),
        len(rest),
        len(others),
        len(evidence.verdicts),
    )


def _margins(evidence: Evidence, places: Tensor) -> Any:
    """How near the plan's attacks came to breaking each of these survivors: the largest margin, below 0, in logits."""
    index = evidence.verdicts.index[places.numpy()]
    order = np.argsort(index)
    best = np.full(len(index), -np.inf)
    for stage in evidence.attacks:
        rows = evidence.verdicts.stage_rows(stage.name)
        seen = rows["index"]
        at = np.searchsorted(index[order], seen).clip(max=len(index) - 1)
        mine = index[order][at] == seen
        margin = np.nan_to_num(rows["margin"][mine].astype(float), nan=-np.inf)
        np.maximum.at(best, order[at[mine]], margin)
    return best


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


def _tail(evidence: Evidence, stage: Attacking, most: int) -> float | None:
    """The mean over some survivors of what the last ten values of the running best still rise, of its whole range.

    Of an attack with targets only the first is taken: each turn has a path of its own.
    """
    attack, steps = towards(stage.single, 1), steps_of(stage.single.search)
    if steps < 2 * TAIL:
        return None
    listening = _Heard(attack.search)
    places = evidence.verdicts.places("undecided", most=most)
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
    "An attack that was stopped while it was still rising reports what it had no time to find as robustness.", share=0.35,
)  # fmt: skip
def converged(evidence: Evidence) -> CheckResult:
    """Twice the steps of the costliest attack on the survivors, and the end of its path (Pintor et al. 2022)."""
    stage = _to_try(evidence)
    if isinstance(stage, CheckResult):
        return stage
    once = stage.single.replace(restarts=1)  # what is broken is broken, however often the plan had tried
    double, path = towards(longer(once, 2), TURNS), towards(once, 1)
    most = evidence.afford(MANY, cost_of(double, path))
    gain, tail = _gain(evidence, stage, double, most), _tail(evidence, stage, min(most, PATHS))
    steps = steps_of(stage.single.search)
    ends = f"{steps} steps are too few to see them level off" if tail is None else f"the last {TAIL} rise by {tail:.3f}"
    text = f"{2 * steps} steps of {_named(stage)} instead of {steps} broke {gain.text} Of the best values, rescaled, {ends}."
    advice = "Take more steps."
    if tail is not None and tail > DIFFER:
        return CheckResult("fail", text, advice)
    found = gain.judged(GAIN, text, advice)
    return CheckResult("cannot tell", text, advice) if tail is None and found.result != "fail" else found


def _named(stage: Attacking) -> str:
    turns = turns_of(stage.single)
    return stage.name if turns <= TURNS else f"{stage.name}, towards {TURNS} of its {turns} targets,"


@check(
    10, "enough restarts", "Would more restarts find more?", "amber",
    "What another start finds was not robust, but missed by chance.", share=0.35,
)  # fmt: skip
def enough_restarts(evidence: Evidence) -> CheckResult:
    """As many restarts again, of the costliest attack, from other random points."""
    stage = _to_try(evidence)
    if isinstance(stage, CheckResult):
        return stage
    if Can.SAMPLE not in stage.single.set.can:
        return CheckResult("not applicable", "One cannot draw from the threat.")
    again = towards(elsewhere(stage.single), TURNS)
    gain, more = _gain(evidence, stage, again, evidence.afford(MANY, cost_of(again)), turn=1), again.restarts
    text = f"{more} further restart{'s' * (more > 1)} of {_named(stage)} broke {gain.text}"
    return gain.judged(GAIN, text, "Take more restarts.")


@check(
    26, "objectives agree", "Do different objectives lead to the same figure?", "amber",
    "Where one objective finds much more than another, the others are flat or misleading on this model.", share=1.0,
)  # fmt: skip
def objectives_agree(evidence: Evidence) -> CheckResult:
    """Twenty steps of APGD on cross-entropy, margin and probability margin, each on the same samples that are not certified.

    Where they differ it matters what the plan made of it: whether it broke what any of them did, and whether one is blind.
    """
    names = {"cross-entropy": "ce", "margin": "margin", "probability margin": "probability"}
    attacks = {name: recipes.apgd(steps=20, loss=loss) for name, loss in names.items()}
    if not evidence.differentiable() or evidence.model.random or not evidence.fits(attacks["margin"]):
        return CheckResult("not applicable", "The model gives no gradients or draws, or APGD does not fit the threat.")
    open_ = evidence.verdicts.count("broken", "undecided")
    if open_ == 0:
        return CheckResult("not applicable", "Nothing was left to attack.")
    stands = evidence.verdicts.count("undecided") / open_
    rows = cost_of(*attacks.values()) * (SOON + (1 - SOON) * stands)
    most = evidence.afford(BOTH, int(rows), least=32)
    places = evidence.verdicts.places("broken", "undecided", most=most)
    found = {name: evidence.attack(attack, places).success.cpu() for name, attack in attacks.items()}
    standing = torch.from_numpy(evidence.verdicts.verdict[places.numpy()] == "undecided")
    judged = _agreed(found, standing, open_ / len(evidence.verdicts))
    return replace(judged, next=judged.next + FULL) if judged.least and len(places) < min(open_, BOTH) else judged


def _agreed(found: dict[str, Tensor], standing: Tensor, weight: float) -> CheckResult:
    """What the objectives broke of the same samples, and which of these the plan left standing."""
    looked = len(standing)
    pairs = {
        (one, other): Paired(
            int((found[one] & ~found[other]).sum()), int((found[other] & ~found[one]).sum()), looked, weight
        )
        for one, other in permutations(found, 2)
    }
    best, worst = max(pairs, key=lambda pair: (pairs[pair].low, pairs[pair].gain))
    paired, broke = pairs[best, worst], ", ".join(f"{name} {int(won.sum())}" for name, won in found.items())
    text = f"Of {looked} samples APGD broke, by objective: {broke}. The {best} has over the {worst} {paired.text}"
    advice = f"Attack with the {best} too, and use the strongest for each sample."
    if paired.low <= APART:
        return paired.judged(APART, text, advice)
    missed = Paired(int((found[best] & standing).sum()), 0, looked, weight)
    blind = 2 * int(found[worst].sum()) < int(found[best].sum())
    text += f" The plan left {missed.gained} of these standing."
    if missed.low > APART or blind:
        return CheckResult("fail", f"{text} The {worst} finds less than half." if blind else text, advice)
    return CheckResult("pass", f"{text} It breaks what the better objective does.")
