"""Checks of the gradients: does the graph hold, do finite differences agree with it, is the loss stable nearby?"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ironbound.auditing.checks.check import CheckResult, Evidence, check, margins, percent, several
from ironbound.core.attack import Attack
from ironbound.core.protocols import Answer, Ask, Can, Task, Want
from ironbound.core.rng import Rng, content_keys
from ironbound.core.rows import column, flat
from ironbound.goals import Untargeted
from ironbound.objectives import Margin
from ironbound.oracles import Direct

SOME = 32
"""Samples whose gradients are compared with differences."""
DIRECTIONS = 8
REACH = 0.1
"""Length of a difference, as a share of the radius: what is flat below it may still be climbed by an attack."""
ASTRAY = 0.25
"""Share of samples whose gradients may point elsewhere."""
HEARD = 0.75
"""Share of the samples that have to be heard: where logits are saturated, differences drown in rounding."""
NEAR, POINTS, ROUGH = 1e-3, 100, 0.1
"""Pintor et al. 2022: points within a thousandth of the range, how many, and by how much the loss may vary."""
ROUNDING = 1e-5
"""Of the logits' scale: smaller differences say nothing in float32."""
ADVICE = "Attack without gradients (square, hopskipjump), or give a differentiable stand-in for the part."


@check(
    5, "whole graph", "Does the graph lead from the input to the output?", "red",
    "Where the graph is cut, gradients say nothing about the part behind the cut, and attacks climb something else.",
)  # fmt: skip
def whole_graph(evidence: Evidence) -> CheckResult:
    """Eight samples, and a look at every part: does its output depend on the input where what it was given does?"""
    if not evidence.differentiable() or not evidence.by_gradient:
        return CheckResult("not applicable", "No attack of the plan uses gradients.")
    places = evidence.verdicts.places("wrong", "broken", "certified", "undecided", most=8)
    x, y = evidence.samples(places)
    if not several(x):
        return CheckResult("not applicable", "The inputs are no numbers.")
    cut: list[str] = []
    hooks = [
        part.register_forward_hook(lambda m, given, got, name=name: _note(cut, name or type(m).__name__, given, got))
        for name, part in evidence.model.net.named_modules()
    ]
    rng = Rng.of(evidence.seed, content_keys(x, y).to(evidence.model.device))
    try:
        with evidence.model.opened() as answer, torch.enable_grad():
            evidence.spent.update(forward=len(y), backward=len(y))
            out = answer(leaf := x.detach().clone().requires_grad_(True), rng)
            grad = torch.autograd.grad(out.sum(), leaf, allow_unused=True)[0] if out.requires_grad else None
    finally:
        for hook in hooks:
            hook.remove()
    where = f" It ends in {', '.join(dict.fromkeys(cut[:3]))}." if cut else ""
    if grad is None:
        return CheckResult("fail", f"No path of the graph leads from the input to the output.{where}", ADVICE)
    if cut:
        text = f"The graph leads through, but not through every part.{where}"
        return CheckResult("cannot tell", text, "See whether that part matters; if so, give it a stand-in.")
    return CheckResult("pass", f"Of {len(y)} samples the graph leads through every part of the model.")


def _note(cut: list[str], name: str, given: Any, got: Any) -> None:
    """Remember a part whose input depends on the model's input and whose output does not."""
    depends = any(isinstance(t, Tensor) and t.requires_grad for t in given)
    if depends and isinstance(got, Tensor) and got.is_floating_point() and not got.requires_grad:
        cut.append(name)


@dataclass(frozen=True)
class _Differences:
    """Steps along parts of the gradient and back, and what they gain against what the gradient promised.

    A part is the steepest step of the gradient on a random half of the values, so that the promise is well above
    rounding; where the gradient is zero, the step is random.
    """

    promised: list[Tensor] = field(default_factory=list)
    gained: list[Tensor] = field(default_factory=list)
    scale: list[Tensor] = field(default_factory=list)

    needs = Can.GRADIENT | Can.PROJECT | Can.STEER

    def run(self, task: Task) -> Generator[Ask, Answer, None]:
        region = task.region
        x = region.identity()
        heard = yield Ask(x, grad=True)
        grad = heard.grad.nan_to_num()
        self.scale.append(heard.outputs.double().abs().amax(1))
        for number in range(DIRECTIONS):
            draws = task.rng.fold("direction").fold(number)
            half = draws.fold("half").sign(tuple(x.shape[1:]), x.dtype) > 0
            noise = draws.fold("noise").normal(tuple(x.shape[1:]), x.dtype)
            alive = column(flat(grad * half).abs().amax(1) > 0, x)
            step = region.steepest(torch.where(alive, grad * half, noise))
            length = column(REACH * region.radius, x)
            ends = [region.project(torch.addcmul(x, sign * length, step)) for sign in (1.0, -1.0)]
            ahead = (yield Ask(ends[0])).value.double()
            back = (yield Ask(ends[1])).value.double()
            self.promised.append(flat(grad.double() * (ends[0].double() - ends[1].double())).sum(1))
            self.gained.append(ahead - back)


@check(
    6, "true gradients", "Do finite differences agree with the gradients in direction?", "red",
    "Gradients that point elsewhere than the model grows (shattered, or of a stand-in) lead attacks astray.",
)  # fmt: skip
def true_gradients(evidence: Evidence) -> CheckResult:
    """The margin a tenth of the radius along and against parts of the gradient, for 32 samples."""
    first: Any = getattr(evidence.threat, "parts", (evidence.threat,))[0]
    if not evidence.differentiable() or evidence.model.random:
        return CheckResult("not applicable", "The model gives no gradients, or it draws.")
    if getattr(first, "norm", "") not in ("linf", "l2", "l1") or evidence.model.box is None:
        return CheckResult("not applicable", "Along this threat there is no small step.")
    if not bool(torch.isfinite(torch.as_tensor(first.eps)).all()):
        return CheckResult("not applicable", "The radius is infinite: there is no share of it.")
    places = evidence.verdicts.places("broken", "certified", "undecided", most=SOME)
    if len(places) == 0:
        return CheckResult("cannot tell", "No sample is right when clean.")
    look = _Differences()
    attack = Attack(first, Untargeted(), Margin(), look, Direct(), Want.STRONGEST)
    evidence.attack(attack, places, first)
    if not look.gained:
        return CheckResult("cannot tell", "No difference could be heard.")
    promised, gained = torch.stack(look.promised), torch.stack(look.gained)
    least = ROUNDING * look.scale[0].clamp_min(1e-12)
    heard = (promised.abs() > least) | (gained.abs() > least)
    astray = heard & ~((promised > least) & (gained > least))
    asked = heard.sum(0)
    lost, total = int((astray.sum(0) * 2 > asked).sum()), int((asked > 0).sum())
    text = (
        f"{percent(lost, total)} samples have a gradient that most of {DIRECTIONS} differences over {REACH:g} of the radius "
        f"contradict; of {len(places)} samples, {len(places) - total} are too flat to be heard in float32."
    )
    if total >= min(5, len(places)) and lost > ASTRAY * total:
        return CheckResult("fail", text, ADVICE)
    if total < min(5, len(places)) or total < HEARD * len(places):
        return CheckResult("cannot tell", f"{text} So would be the attacks' steps.", "Audit the model in float64.")
    return CheckResult("pass", text)


@check(
    7, "stable loss", "Is the loss stable at random points near the input?", "amber",
    "Where the loss jumps within a thousandth of the range, single gradients lead nowhere.", share=0.1,
)  # fmt: skip
def stable_loss(evidence: Evidence) -> CheckResult:
    """The margin at 100 points around each of 16 samples, against the spread of its logits (after Pintor et al. 2022)."""
    box = evidence.model.box
    if not evidence.differentiable() or box is None or evidence.model.random:
        return CheckResult("not applicable", "The model gives no margins near an input, or it draws.")
    places = evidence.verdicts.places("broken", "certified", "undecided", most=evidence.afford(16, POINTS + 1))
    if len(places) == 0:
        return CheckResult("cannot tell", "No sample is right when clean.")
    x, y = evidence.samples(places)
    rng = Rng.of(evidence.seed, content_keys(x, y).to(x.device)).fold("stable")
    out = evidence.answers(x, rng).double()
    spread = (out.amax(1) - out.amin(1)).clamp_min(1e-12)
    shift = rng.repeat(POINTS).uniform(tuple(x.shape[1:]), x.dtype, -NEAR, NEAR) * (box[1] - box[0])
    many = (x.repeat_interleave(POINTS, 0) + shift).clamp(*box)
    there = margins(evidence, many, y.repeat_interleave(POINTS)).double().view(len(y), POINTS)
    varies = ((there - Untargeted().margin(out, y)[:, None]).abs().mean(1) / spread).nan_to_num(nan=1.0)
    worst = float(varies.mean())
    text = (
        f"Around {len(y)} samples, {POINTS} points within {NEAR:g} of the range change the margin by {100 * worst:.2g}% of the "
        "spread of the logits on average."
    )
    if worst <= ROUGH:
        return CheckResult("pass", text)
    return CheckResult("fail", text, "Average gradients over random points: an oracle Eot with a transformation.")
