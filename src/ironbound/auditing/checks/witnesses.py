"""Checks of what was found: witnesses hold alone and in float64, certificates hold against attack."""

from __future__ import annotations

import copy

import torch

from ironbound import recipes
from ironbound.auditing.checks.again import cost_of
from ironbound.auditing.checks.check import FEW, CheckResult, Evidence, check, margins, percent, several
from ironbound.auditing.inside import around, points_of
from ironbound.core.judge import TAU
from ironbound.models.model import Model

PORTION = 256


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
    lost = int((~(alone > 0)).sum())
    text = f"Of {len(places)} witnesses, {len(places) - lost} fool the model alone"
    if several(adversarial) and evidence.model.outputs != "decisions":
        try:
            wide = margins(evidence, adversarial.double(), y, model=double(evidence.model))
            lost_wide = int((~(wide > 0)).sum())
        except (RuntimeError, TypeError) as error:  # a model that makes float32 tensors of its own, or cannot be copied
            return _alone_only(lost, text, error)
        text += f", {len(places) - lost_wide} in float64"
        lost += lost_wide
    if lost == 0:
        return CheckResult("pass", text + ".")
    return CheckResult(
        "fail", text + ".", f"Report this: a claim must win by {TAU:g} of the logits' scale, which should rule it out."
    )


def _alone_only(lost: int, text: str, error: Exception) -> CheckResult:
    said = f"{text}; float64 could not be tried ({str(error).splitlines()[0] if str(error) else type(error).__name__})."
    return CheckResult("fail" if lost else "cannot tell", said, "Let the model take its dtype from its input.")


@check(
    21, "inside the threat", "Is every witness within the radius and the range, with no tolerance?", "red",
    "A perturbation that is a little too large proves nothing about the threat that is reported.",
)  # fmt: skip
def inside(evidence: Evidence) -> CheckResult:
    """Measured again in float64; the fate of the witnesses when rounded to 8 bits is reported beside it."""
    places = evidence.verdicts.places("broken")
    if len(places) == 0:
        return CheckResult("not applicable", "There are no witnesses.")
    rounding = (
        isinstance(evidence.data.first, torch.Tensor) and evidence.model.box is not None and not evidence.model.random
    )
    largest, outside, fooled, close = 0.0, 0, 0, 0
    for some in places.split(PORTION):
        x, y = evidence.samples(some)
        adversarial = evidence.witnesses(some)
        region = around(evidence.threat, some, x, evidence.model.box)
        points = evidence.points(region, some, adversarial)
        largest = max(largest, float(region.size(points).max()))
        outside += int((~region.contains(points)).sum())
        if rounding:
            rounded = eight_bit(adversarial, evidence.model.box or (0.0, 1.0))
            still = margins(evidence, rounded, y) > 0
            fooled, close = (
                fooled + int(still.sum()),
                close + int((still & region.contains(points_of(region, rounded))).sum()),
            )
    text = f"{len(places)} witnesses measured in float64: the largest change is {largest:.9g}; {outside} lie outside."
    if rounding:
        text += f" Rounded to 8 bits, {percent(fooled, len(places))} still fool the model, "
        text += f"{percent(close, len(places))} within the radius."
    return CheckResult(
        "fail" if outside else "pass", text, "Report this: the engine judges with the same bounds." if outside else ""
    )


def eight_bit(x: torch.Tensor, box: tuple[float, float]) -> torch.Tensor:
    """What is left of inputs when they are stored with 256 steps from the one end of the range to the other."""
    low, high = box
    return (((x - low) / (high - low) * 255).round() / 255 * (high - low) + low).clamp(low, high)


@check(
    28, "certificates hold", "Is no sample both certified and broken?", "red",
    "A certified sample that can be broken means a bug in the bounds: no certificate of the run could be believed.",
    share=0.5,
)  # fmt: skip
def certificates_hold(evidence: Evidence) -> CheckResult:
    """PGD and random draws against certified samples, which the plan itself never attacks."""
    attacks = {"PGD": recipes.pgd(steps=20), "noise": recipes.noise(10)}
    places = evidence.verdicts.places("certified", most=evidence.afford(FEW, cost_of(*attacks.values())))
    if len(places) == 0:
        return CheckResult("not applicable", "Nothing was certified.")
    found = {name: evidence.tried(attack, places) for name, attack in attacks.items() if evidence.fits(attack)}
    able = {name: result.success for name, result in found.items() if result is not None}
    if not able:
        return CheckResult("cannot tell", "Neither PGD nor noise fit the threat.")
    broken = torch.stack(list(able.values())).any(0)
    text = f"{' and '.join(able)} against {len(places)} certified samples broke {int(broken.sum())}."
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
