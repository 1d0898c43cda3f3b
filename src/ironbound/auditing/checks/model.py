"""Checks of the model itself: does it draw, what does it answer, are its gradients alive, is its range right?"""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ironbound.auditing.checks.check import FEW, CheckResult, Evidence, check, percent
from ironbound.auditing.manifest import threat_facts
from ironbound.core.attack import Attack
from ironbound.core.protocols import Answer, Ask, Can, Task, Want
from ironbound.core.rng import Rng, content_keys
from ironbound.core.rows import flat
from ironbound.goals import Untargeted
from ironbound.objectives import Margin
from ironbound.oracles import Direct

MIXED = 1e-3
"""Of the largest logit: ten times what rounding in batches of another size is allowed."""
DEAD = 0.1
"""Share of samples without a usable gradient from which on the evaluation is suspect."""


@check(
    1, "deterministic", "Do five passes of the same inputs agree?", "red",
    "A model that draws needs averaged gradients and votes; a single lucky draw is no witness.",
)  # fmt: skip
def deterministic(evidence: Evidence) -> CheckResult:
    """Five forward passes agree to 1e-4 of the logits' scale (Croce, Hein 2020)."""
    model = evidence.model
    if model.random:
        return CheckResult(
            "not applicable", "The model is declared random; witnesses were judged by votes over fresh draws."
        )
    x, y = evidence.samples(evidence.verdicts.places("wrong", "broken", "certified", "undecided", most=FEW))
    rng = Rng.of(evidence.seed, content_keys(x, y).to(model.device))
    passes = [evidence.answers(x, rng).double() for _ in range(5)]
    first, *others = [out.nan_to_num(nan=math.pi) for out in passes]  # NaN each time is the same answer
    scale = first.abs().amax().clamp_min(1e-12)
    worst = max(float((other - first).abs().amax() / scale) for other in others)
    text = f"Over {len(y)} inputs, five passes differ by at most {worst:.1e} of the largest logit."
    if worst <= 1e-4:
        return CheckResult("pass", text)
    return CheckResult(
        "fail", text, "Say ironbound.Model(net, random=True), so that gradients are averaged and witnesses win votes."
    )


@check(
    2, "logits", "Does the model answer with logits?", "amber",
    "Probabilities hide small differences: where one class has nearly all, gradients vanish and attacks look weak.",
)  # fmt: skip
def logits(evidence: Evidence) -> CheckResult:
    """Rows do not sum to one within [0, 1]."""
    kind = evidence.model.outputs
    if kind in ("logits", "logit"):
        return CheckResult("pass", f"The outputs are {'one logit' if kind == 'logit' else 'logits'}.")
    if kind == "decisions":
        return CheckResult(
            "cannot tell", "The model answers with decisions only; attacks by gradient were not possible."
        )
    if kind == "auto":
        return CheckResult(
            "cannot tell", "The inputs have no range to try the model on; its answers were taken as logits.",
            'Say what they are: ironbound.Model(net, range=None, outputs="logits").',
        )  # fmt: skip
    return CheckResult(
        "fail",
        f"The outputs are {kind}; their logarithm was attacked, which is flat in float32 beyond 1 - 1e-7.",
        "Leave the final softmax or sigmoid out of the model that is evaluated.",
    )


@check(
    3, "classes", "Do the objectives suit the number of classes?", "amber",
    "An objective that compares more logits than there are means nothing on this model.",
)  # fmt: skip
def classes(evidence: Evidence) -> CheckResult:
    """What the plan's parts say that they do otherwise; that targets are clamped to the classes there are is no fault."""
    count = evidence.model.classes
    if not evidence.attacks:
        return CheckResult("not applicable", "No attack was run.")
    if count is None:
        return CheckResult("cannot tell", "The number of classes is not known.", "Say it with outputs that are logits.")
    notes = evidence.plan.notes(count)
    instead = [note for note in notes if "stood in" in note]
    if instead:
        advice = 'Attack with the margin, which needs two classes: pgd or apgd with loss="margin".'
        return CheckResult("fail", " ".join(instead), advice)
    return CheckResult("pass", " ".join([f"Every objective suits {count} classes.", *notes]))


@dataclass(frozen=True)
class Look:
    """Asks for the gradient at the input and, where it can, at a random point: a search that does not search."""

    norms: list[Tensor]
    draws: bool
    at_x: bool = True

    needs = Can.GRADIENT

    def run(self, task: Task) -> Generator[Ask, Answer, None]:
        drawn = [task.region.sample(task.rng.fold("look"))] if self.draws else []
        for points in ([task.region.identity()] if self.at_x else []) + drawn:
            answer = yield Ask(points, grad=True)
            self.norms.append(torch.linalg.vector_norm(flat(answer.grad.double()), dim=1))


@check(
    4, "gradients", "Are the gradients of the margin alive?", "red",
    "Zero, NaN or infinite gradients make every gradient attack blind: the model may only seem robust.",
)  # fmt: skip
def gradients(evidence: Evidence) -> CheckResult:
    """On the margin, not on the cross-entropy, which is exactly flat in float32 for a confident honest net."""
    if not evidence.differentiable():
        return CheckResult("not applicable", "The model gives no gradients.")
    places = evidence.verdicts.places("broken", "certified", "undecided", most=FEW)
    if len(places) == 0:
        return CheckResult("cannot tell", "No sample is right when clean.")
    norms: list[Tensor] = []
    first = getattr(evidence.threat, "parts", (evidence.threat,))[0]
    draws = evidence.drawable(places)
    look = Look(norms, draws, at_x=not (draws and getattr(first, "flat_at_x", False)))  # of a blur x tells nothing
    evidence.attack(Attack(first, Untargeted(), Margin(), look, Direct(), Want.STRONGEST), places, first)
    dead = (~torch.isfinite(torch.stack(norms))) | (torch.stack(norms) == 0)
    count, total = int(dead.any(0).sum()), len(places)
    where = " or ".join(["at the input"] * look.at_x + ["at a random point near it"] * look.draws)
    text = f"{percent(count, total)} samples have a zero, NaN or infinite gradient {where}."
    if count <= DEAD * total:
        return CheckResult("pass", text)
    return CheckResult(
        "fail",
        text,
        "Attack without gradients (hopskipjump), or give a differentiable stand-in for the part that masks.",
    )


@check(
    19, "evaluation mode", "Was the model evaluated, and not trained, while it was attacked?", "red",
    "In training mode batch norm mixes samples and dropout draws: the figures would be of another model.",
)  # fmt: skip
def evaluation_mode(evidence: Evidence) -> CheckResult:
    """The door holds evaluation mode; a batch norm without running statistics ignores that and is named."""
    mixing = [
        name or type(part).__name__
        for name, part in evidence.model.net.named_modules()
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.running_mean is None
    ]
    if mixing:
        return CheckResult(
            "fail", f"Batch norm without running statistics mixes samples even when evaluated: {', '.join(mixing[:3])}.",
            "Use track_running_stats=True.",
        )  # fmt: skip
    if (mixed := _mixed(evidence)) > MIXED:
        return CheckResult(
            "fail", f"The answer to a sample depends on what else is in its batch, by {mixed:.1e} of the largest logit.",
            "Look for batch statistics that are taken anew in the forward pass.",
        )  # fmt: skip
    arrived = (evidence.manifest or {}).get("model", {}).get("training_mode", evidence.model.net.training)
    came = "training mode; it was held in evaluation mode, and put back" if arrived else "evaluation mode"
    return CheckResult("pass", f"The model came in {came}.")


def _mixed(evidence: Evidence) -> float:
    """By how much answers to eight samples differ between one batch and each alone, of the largest; 0 where it draws."""
    x, y = evidence.samples(evidence.verdicts.places("wrong", "broken", "certified", "undecided", most=8))
    if evidence.model.random or evidence.model.outputs == "decisions" or len(y) < 2:
        return 0.0
    rng = Rng.of(evidence.seed, content_keys(x, y).to(evidence.model.device))
    alone, again = (evidence.answers(x, rng, rows=1).double() for _ in range(2))
    together = evidence.answers(x, rng, rows=len(y)).double()
    scale = alone.abs().amax().clamp_min(1e-12)
    drawn = float((alone - again).abs().amax() / scale)  # a model that draws in secret is the first check's matter
    return 0.0 if drawn > 0 else float((together - alone).abs().amax() / scale)


@check(
    31, "radius and range", "Do the radius and the model's range have the same unit?", "red",
    "A radius of 8 on inputs in [0, 1], or a normalisation outside the model, make the figure meaningless.",
)  # fmt: skip
def radius_and_range(evidence: Evidence) -> CheckResult:
    """eps against the width of the box, and the data against the box."""
    box, facts = evidence.model.box, threat_facts(evidence.threat, None)
    if box is None or not isinstance(evidence.data.first, Tensor) or not _balls(evidence.threat):
        return CheckResult("not applicable", "The inputs have no numerical range, or the threat no radius.")
    width, (low, high) = box[1] - box[0], evidence.ends()
    radius = facts["spec"] if facts["radius"] is None else f"{facts['radius']:.6g}"
    text = f"Radius {radius} on a model range of [{box[0]:g}, {box[1]:g}]; the data lie in [{low:.4g}, {high:.4g}]."
    problem = radius_problem(evidence.threat, box, evidence.data.first)
    if problem:
        return CheckResult("fail", f"{text} {problem}", "Give range, data and radius in one unit.")
    if (high - low) < 0.2 * width:
        return CheckResult(
            "fail", f"{text} The data fill {100 * (high - low) / width:.1f}% of the range.",
            "If the data are scaled otherwise than the range says, mend range=.",
        )  # fmt: skip
    return CheckResult("pass", text)


def radius_problem(threat: Any, box: Any, x: Any) -> str:
    """What is wrong with a radius's unit, in a sentence; "" where nothing is.

    A radius should not cover the whole range in its own norm (the width for linf, the diagonal for l2, the sum of all
    widths for l1, the number of pixels for l0); one of linf should not be below the steps of 8-bit data.
    """
    if box is None or not isinstance(x, Tensor):
        return ""
    problems = (_problem(part, box, x) for part in _balls(threat))
    return next((problem for problem in problems if problem), "")


def covers_all(threat: Any, box: Any, x: Any) -> bool:
    """Whether a finite radius covers the whole range."""
    if box is None or not isinstance(x, Tensor):
        return False
    return any(_covers(part, box, x) for part in _balls(threat))


def _problem(ball: Any, box: Any, x: Tensor) -> str:
    norm, eps, width = ball.norm, _largest(ball), box[1] - box[0]
    if _covers(ball, box, x):
        if norm == "l0":
            return f"A sample has {int(_most(ball, box, x))} {getattr(ball, 'of', 'values')}, fewer than the radius."
        usual = f" Did you mean {eps:g}/255 = {eps / 255:.4g}?" if norm == "linf" and width <= 2 and eps >= 2 else ""
        return f"The radius covers the whole range: every input may become every other.{usual}"
    if norm == "linf" and 0 < eps < width / 1000:
        usual = f" Did you mean {eps * 255:.3g}?" if width > 100 else ""
        return f"The radius is less than a thousandth of the range, below the steps of 8-bit data.{usual}"
    return ""


def _covers(ball: Any, box: Any, x: Tensor) -> bool:
    eps, most = _largest(ball), _most(ball, box, x)
    return math.isfinite(eps) and (eps >= most if ball.norm == "linf" else eps > most)


def _most(ball: Any, box: Any, x: Tensor) -> float:
    """The distance between the farthest inputs."""
    width, values = float(box[1] - box[0]), math.prod(x.shape[1:])
    channels = x.shape[1] if getattr(ball, "of", "") == "pixels" and x.ndim > 3 else 1
    most = {"linf": width, "l2": width * math.sqrt(values), "l1": width * values, "l0": values / channels}
    return float(most[ball.norm])


def _balls(threat: Any) -> list[Any]:
    parts = getattr(threat, "parts", (threat,))
    return [part for part in parts if getattr(part, "norm", "") in ("linf", "l2", "l1", "l0")]


def _largest(ball: Any) -> float:
    """The radius, or the largest where each sample has its own; NaN where there is none."""
    eps = ball.eps
    return float(eps) if not isinstance(eps, Tensor) else float(eps.max()) if len(eps) else math.nan
