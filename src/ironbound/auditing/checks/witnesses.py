"""Checks of what was found: witnesses hold alone and in float64, certificates hold against attack."""

from __future__ import annotations

import copy

import torch

from ironbound import recipes
from ironbound.auditing.checks.check import FEW, CheckResult, Evidence, check, margins, percent, several
from ironbound.core.judge import TAU
from ironbound.models.model import Model


@check(
    20, "same verdict alone and in float64", "Do the witnesses fool the model alone, and in float64?", "red",
    "A verdict that depends on the size of the batch or on rounding is none.",
)  # fmt: skip
def same_verdict(evidence: Evidence) -> CheckResult:
    """Batch size 1 in the model's precision, and all at once in float64."""
    places = evidence.verdicts.places("broken", most=FEW)
    if len(places) == 0:
        return CheckResult("not applicable", "There are no witnesses.")
    if evidence.model.random:
        return CheckResult("not applicable", "The model draws; its witnesses were judged by votes.")
    adversarial, (_, y) = evidence.witnesses(places), evidence.samples(places)
    alone = margins(evidence, adversarial, y, rows=1)
    lost = int((alone <= 0).sum())
    text = f"Of {len(places)} witnesses, {len(places) - lost} fool the model alone"
    if several(adversarial) and evidence.model.outputs != "decisions":
        wide = double(evidence.model)
        lost_wide = int((margins(evidence, adversarial.double(), y, model=wide) <= 0).sum())
        text += f", {len(places) - lost_wide} in float64"
        lost += lost_wide
    if lost == 0:
        return CheckResult("pass", text + ".")
    return CheckResult(
        "fail", text + ".", f"Report this: a claim must win by {TAU:g} of the logits' scale, which should rule it out."
    )


@check(
    21, "inside the threat", "Is every witness within the radius and the range, with no tolerance?", "red",
    "A perturbation that is a little too large proves nothing about the threat that is reported.",
)  # fmt: skip
def inside(evidence: Evidence) -> CheckResult:
    """Measured again in float64; the fate of the witnesses when rounded to 8 bits is reported beside it."""
    places = evidence.verdicts.places("broken")
    if len(places) == 0:
        return CheckResult("not applicable", "There are no witnesses.")
    x, y = evidence.samples(places)
    adversarial = evidence.witnesses(places)
    region = evidence.threat.at(x, evidence.model.box)
    largest, outside = float(region.size(adversarial).max()), int((~region.contains(adversarial)).sum())
    text = f"{len(places)} witnesses measured in float64: the largest change is {largest:.9g}; {outside} lie outside."
    if several(adversarial) and evidence.model.box is not None and not evidence.model.random:
        text += _eight_bit(evidence, region, adversarial, y)
    return CheckResult(
        "fail" if outside else "pass", text, "Report this: the engine judges with the same bounds." if outside else ""
    )


def _eight_bit(evidence: Evidence, region: object, adversarial: torch.Tensor, y: torch.Tensor) -> str:
    low, high = evidence.model.box or (0.0, 1.0)
    rounded = (((adversarial - low) / (high - low) * 255).round() / 255 * (high - low) + low).clamp(low, high)
    fooled = margins(evidence, rounded, y) > 0
    inside_ = region.contains(rounded)  # type: ignore[attr-defined]
    return (
        f" Rounded to 8 bits, {percent(int(fooled.sum()), len(y))} still fool the model, "
        f"{percent(int((fooled & inside_).sum()), len(y))} within the radius."
    )


@check(
    28, "certificates hold", "Is no sample both certified and broken?", "red",
    "A certified sample that can be broken means a bug in the bounds: no certificate of the run could be believed.",
)  # fmt: skip
def certificates_hold(evidence: Evidence) -> CheckResult:
    """PGD and random draws against certified samples, which the plan itself never attacks."""
    places = evidence.verdicts.places("certified", most=FEW)
    if len(places) == 0:
        return CheckResult("not applicable", "Nothing was certified.")
    broken = evidence.attack(recipes.pgd(steps=20), places).success | evidence.attack(recipes.noise(10), places).success
    text = f"PGD and noise against {len(places)} certified samples broke {int(broken.sum())}."
    return CheckResult(
        "fail" if bool(broken.any()) else "pass", text, "Report this at once." if bool(broken.any()) else ""
    )


def double(model: Model) -> Model:
    """The same model in float64."""
    wide = Model(
        copy.deepcopy(model.net).double(), range=model.box, outputs=model.outputs, name=model.name,
        mean=None if model.module.mean is None else model.module.mean.tolist(),
        std=None if model.module.std is None else model.module.std.tolist(),
    )  # fmt: skip
    wide.classes = model.classes
    return wide
