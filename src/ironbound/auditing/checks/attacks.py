"""Checks of the attacks: do weaker ones find what strong ones missed, does accuracy fall with the radius?"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from ironbound import recipes
from ironbound.auditing.checks.again import cost_of
from ironbound.auditing.checks.chance import lower
from ironbound.auditing.checks.check import FEW, CheckResult, Evidence, check, percent
from ironbound.auditing.plan import Attacking
from ironbound.core.attack import Attack
from ironbound.core.protocols import Can

STRAY = 0.02
"""Share of what strong attacks left that weak ones may break all the same, beyond chance."""


@check(
    8, "no silent success", "Is every success that an attack reported kept?", "red",
    "An attack that returns its last point instead of its best one reports robustness that is not there.",
)  # fmt: skip
def no_silent_success(evidence: Evidence) -> CheckResult:
    """The engine keeps the first witness; what the judge refused, for want of margin, is counted here."""
    lost = entered = np.zeros(0, np.int64)
    undecided = evidence.verdicts.index[evidence.verdicts.verdict == "undecided"]
    for stage in evidence.attacks:
        rows = evidence.verdicts.stage_rows(stage.name)
        index = rows["index"]
        entered, lost = np.union1d(entered, index), np.union1d(lost, index[rows["refused"] > 0])
    if not len(entered):
        return CheckResult("not applicable", "No attack was run.")
    stayed = len(np.intersect1d(lost, undecided))
    text = (
        f"Witnesses are kept when they are found. {percent(stayed, len(entered))} attacked samples stayed undecided although "
        "an attack came within rounding error of the boundary."
    )
    if stayed <= max(1, 0.01 * len(entered)):
        return CheckResult("pass", text)
    advice = "Run with a slightly larger radius; and look whether all logits have a large part in common, which hides margins."
    return CheckResult("fail", text, advice)


@check(
    12, "falls with the radius", "Does accuracy fall as the radius grows, up to twice the one reported?", "amber",
    "If doubling the radius breaks nothing more, the attack is stuck rather than the model robust.", share=0.25,
)  # fmt: skip
def falls_with_radius(evidence: Evidence) -> CheckResult:
    """A short PGD at a quarter, a half, once and twice the radius; a sample broken at one stays broken at larger ones."""
    radii = _radii(evidence.threat)
    if not evidence.differentiable() or not radii or not evidence.fits(recipes.pgd(steps=20)):
        return CheckResult("not applicable", "The threat has no radius to double, or the model no gradients.")
    if not all(0 < radius < math.inf for radius in radii):
        return CheckResult("not applicable", "The radius is zero or infinite: there is nothing to compare it with.")
    most = evidence.afford(FEW, 2 * cost_of(recipes.pgd(steps=20)), least=16)
    places = evidence.verdicts.places("broken", "certified", "undecided", most=most)
    if len(places) == 0:
        return CheckResult("cannot tell", "No sample is right when clean.")
    decided = evidence.verdicts.verdict[places.numpy()]
    standing = torch.ones(len(places), dtype=torch.bool)
    curve = {0.0: 1.0}
    for factor in (0.25, 0.5, 1.0, 2.0):
        if factor == 1.0:  # what the audit itself found
            standing &= torch.from_numpy(decided != "broken")
        else:  # below the radius only broken samples can fall: the verdicts of the others are the audit's
            open_ = standing if factor > 1 else standing & torch.from_numpy(decided == "broken")
            at = open_.nonzero()[:, 0]
            if len(at):
                wider = evidence.threat.times(factor)  # type: ignore[attr-defined]
                found = evidence.attack(recipes.pgd(steps=20), places[at], wider).success.cpu()
                standing[at[found]] = False
        curve[factor] = float(standing.double().mean())
    return _judged(curve, len(places), int((decided == "undecided").sum()))


def _radii(threat: Any) -> list[float]:
    """The radii of a threat that can grow: of all parts, and of all samples where each has its own."""
    if Can.SCALE not in threat.can or not hasattr(threat, "times"):
        return []
    parts = [getattr(part, "eps", math.nan) for part in getattr(threat, "parts", (threat,))]
    return [radius for eps in parts for radius in (eps.tolist() if isinstance(eps, torch.Tensor) else [eps])]


def _judged(curve: dict[float, float], count: int, undecided: int) -> CheckResult:
    said = ", ".join(f"{100 * share:.0f}% at {factor:g} x" for factor, share in curve.items())
    text = f"Of {count} samples that are right when clean: {said} the radius."
    if curve[1.0] == 0 or curve[2.0] < curve[1.0]:
        return CheckResult("pass", text)
    if undecided == 0:
        return CheckResult("pass", f"{text} All that survive are certified, which no masking can feign.")
    if undecided < 5:
        return CheckResult("cannot tell", f"{text} Too few survive undecided to see a fall.", "Audit more samples.")
    return CheckResult("fail", text, "Look for masking: attack without gradients, or with more steps and restarts.")


@check(
    13, "iterative beats single step", "Are the iterative attacks at least as strong as a single step?", "red",
    "If FGSM breaks what PGD and APGD left, these were misled: a sign of masked gradients.",
)  # fmt: skip
def beats_single_step(evidence: Evidence) -> CheckResult:
    """FGSM on every survivor of the iterative attacks."""
    if not evidence.differentiable() or not evidence.fits(recipes.fgsm()):
        return CheckResult("not applicable", "The model gives no gradients, or the threat no direction to step in.")
    if evidence.verdicts.count("undecided", "broken") == 0:
        return CheckResult("not applicable", "Nothing was left to attack.")
    if not evidence.attacks:
        return CheckResult("cannot tell", "No attack was run: the upper end is the clean accuracy.", "Add pgd or apgd.")
    if not any(_iterative(stage) for stage in evidence.attacks):
        return CheckResult(
            "cannot tell",
            "The plan has no iterative attack by gradient, although the model gives gradients.",
            "Add one: pgd or apgd.",
        )
    return _witness(evidence, "fgsm", recipes.fgsm(), "a single gradient step")


def _iterative(stage: Attacking) -> bool:
    return Can.GRADIENT in stage.single.search.needs and getattr(stage.single.search, "steps", 2) > 1


@check(
    16, "beats noise", "Are the attacks at least as strong as random noise?", "red",
    "If random points of the set break what the attacks left, the attacks do not work on this model.",
)  # fmt: skip
def beats_noise(evidence: Evidence) -> CheckResult:
    """Random draws on every survivor."""
    if Can.SAMPLE not in evidence.threat.can:
        return CheckResult("not applicable", "One cannot draw from the threat.")
    if not evidence.attacks:
        return CheckResult("not applicable", "No attack was run.")
    return _witness(evidence, "noise", recipes.noise(20), "random noise")


def _witness(evidence: Evidence, name: str, attack: Attack, what: str) -> CheckResult:
    """A weak attack on what the others left: as a stage of the plan on all, or else here and now on a few."""
    if any(isinstance(s, Attacking) and s.witness and s.name == name for s in evidence.plan.stages):
        costs = evidence.verdicts.stage_costs(name)
        broken, entered, then = int(costs["decided"]), int(costs["entered"]), "They count as broken."
    else:
        places = evidence.verdicts.places("undecided", most=FEW)
        found = evidence.tried(attack, places) if len(places) else None
        if len(places) and found is None:
            return CheckResult("not applicable", f"There is no trying {what} on this threat.")
        broken = 0 if found is None else int(found.success.sum())
        entered, then = len(places), "They still count as undecided: put it into the plan."
    if entered == 0:
        return CheckResult("pass", f"Nothing was left for {what} to break.")
    text = f"Of {entered} samples that the other attacks left, {what} broke {broken}."
    if broken == 0:
        return CheckResult("pass", text)
    advice = "Use more steps, restarts and other objectives, or an attack without gradients."
    if broken == 1 or lower(broken, entered) <= STRAY:
        text += " Single samples tell no masked gradients from attacks that were a little too weak."
        return CheckResult("cannot tell", f"{text} {then}", advice)
    return CheckResult("fail", f"{text} {then}", advice)
