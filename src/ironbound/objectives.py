"""Objectives: how close is it? Up is always better for the attacker; a targeted attack is another goal, never a sign.

An objective is a function of (outputs, labels, goal). The last part of the file holds those that compare with something
learnt before: a target chosen at the clean input, or the clean answer; searches/guided.py hands it to them, and `within`
says which of its searches.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from jaxtyping import Float, Int
from torch import Tensor

from ironbound.core.errors import ModelError
from ironbound.core.protocols import Goal, Labels, Objective, Outputs


@dataclass(frozen=True)
class CrossEntropy:
    """The goal's cross-entropy: FGSM's and PGD's objective (Goodfellow et al. 2015, arXiv 1412.6572).

    In float32 it is exactly flat where the model is very sure; `Margin` is not, nor is Rescaled(CrossEntropy()).
    """

    def __call__(self, out: Outputs, y: Labels, goal: Goal) -> Float[Tensor, " m"]:
        """One number a row, nats."""
        return goal.cross_entropy(out, y)


@dataclass(frozen=True)
class Margin:
    """The goal's margin itself, in logits: Carlini and Wagner's f6 (2017, arXiv 1608.04644, section V.A)."""

    def __call__(self, out: Outputs, y: Labels, goal: Goal) -> Float[Tensor, " m"]:
        """One number a row, in logits."""
        return goal.margin(out, y)


@dataclass(frozen=True)
class Hinged:
    """The mean of the goal's margins over its parts (pixels, boxes, joined goals), each cut off at `cut`.

    What works already counts no more. For goals of many parts, of which the margin is that of a single one. Papers: Xie et al.
    2017, Adversarial Examples for Semantic Segmentation and Object Detection, arXiv 1703.08603, equation 1 (the sum over
    targets that are still right); with `cut` > 0 the confidence of Carlini, Wagner 2017, arXiv 1608.04644.
    """

    cut: float = 0.0

    def __call__(self, out: Outputs, y: Labels, goal: Goal) -> Float[Tensor, " m"]:
        """One number a row, in logits, at most `cut`."""
        parts = getattr(goal, "margins", None)
        margins = goal.margin(out, y)[:, None] if parts is None else parts(out, y)
        counted = margins < math.inf  # parts that do not count are at +inf
        cut = margins.masked_fill(~counted, self.cut).clamp_max(self.cut)
        return (cut - self.cut).sum(1) / counted.sum(1).clamp_min(1) + self.cut


@dataclass(frozen=True)
class ProbabilityMargin:
    """The goal's margin in probabilities: max p_j - p_y untargeted, in [-1, 1].

    Paper: Xie, Zheng, Huang, Ye, Ma 2024, Towards Million-Scale Adversarial Robustness Evaluation With Stronger Individual
    Attacks, arXiv 2411.15210, equation of the probability margin loss (PMA).
    """

    def __call__(self, out: Outputs, y: Labels, goal: Goal) -> Float[Tensor, " m"]:
        """One number a row."""
        return goal.margin(_scores(out, self).softmax(1), y)


@dataclass(frozen=True)
class Dlr:
    """The goal's margin over the gap of the highest to the third highest logit: it ignores shift and scale of the logits.

    Paper: Croce, Hein 2020, arXiv 2003.01690, equation 6. With fewer than three classes there is no third logit, and the
    margin stands in. Where the two are equal (and the quotient has no end) a gap of 1e-12 is taken, as the authors' code does.
    """

    def __call__(self, out: Outputs, y: Labels, goal: Goal) -> Float[Tensor, " m"]:
        """One number a row."""
        if _scores(out, self).shape[1] < 3:
            return goal.margin(out, y)
        top = out.topk(3, dim=1).values
        return goal.margin(out, y) / (top[:, 0] - top[:, 2] + 1e-12)

    def notes(self, classes: int) -> list[str]:
        """That the margin stood in, where it did."""
        return [] if classes >= 3 else [f"DLR needs 3 classes; the model has {classes}, and the margin stood in."]


@dataclass(frozen=True)
class Rescaled:
    """Another objective on logits divided by their own spread, so that no scale of the logits makes it flat.

    Each row is divided by the gap of its highest to its lowest logit, held constant under the gradient, and multiplied by
    `gap`. Against models whose large logits round the softmax to 0 and 1 (Carlini, Wagner 2016, arXiv 1607.04311, on
    defensive distillation; Croce, Hein 2020, arXiv 2003.01690, section 4.1, on the scale of logits and cross-entropy).
    """

    objective: Objective = field(default_factory=CrossEntropy)
    gap: float = 10.0

    def __call__(self, out: Outputs, y: Labels, goal: Goal) -> Float[Tensor, " m"]:
        """One number a row, in the other objective's unit."""
        seen = _scores(out, self).detach()
        top = seen.amax(1, keepdim=True)  # taken off first: of 1e4 and 1e4 + 1e-9 scaled, float32 would keep noise
        spread = (top - seen.amin(1, keepdim=True)).clamp_min(1e-12)
        return self.objective((out - top) * (self.gap / spread), y, goal)

    def notes(self, classes: int) -> list[str]:
        """What the other objective says."""
        return list(getattr(self.objective, "notes", lambda classes: ())(classes))


@dataclass(frozen=True)
class Clipped:
    """Another objective, but no more than `most` of any single input: what has worked has no more to gain.

    For means over many inputs, which a few large losses would rule. Paper: Shafahi, Najibi, Xu, Dickerson, Davis, Goldstein
    2020, Universal Adversarial Training, arXiv 1811.11304, section 3 (the clipped cross-entropy).
    """

    objective: Objective
    most: float

    def __call__(self, out: Outputs, y: Labels, goal: Goal) -> Float[Tensor, " m"]:
        """One number a row, in the other objective's unit."""
        return self.objective(out, y, goal).clamp(max=self.most)

    def notes(self, classes: int) -> list[str]:
        """What the other objective says."""
        return list(getattr(self.objective, "notes", lambda classes: ())(classes))


# ------------------------------------------------------------------------------------------------- towards a target
@dataclass(frozen=True)
class TargetMargin:
    """z_t - z_y: towards a target class t, away from the label, whatever the other classes do.

    Paper: Gowal et al. 2019, An Alternative Surrogate Loss for PGD-based Adversarial Testing, arXiv 1910.09338, equation 6.
    """

    needs = 2
    within = "Aimed(search, objective)"

    def __call__(self, out: Outputs, y: Int[Tensor, " m"], target: Int[Tensor, " m"]) -> Float[Tensor, " m"]:
        """One number a row, in logits."""
        scores = _scores(out, self)
        return _of(scores, target) - _of(scores, y)


@dataclass(frozen=True)
class TargetDlr:
    """(z_t - z_y) / (z_1 - (z_3 + z_4) / 2), with logits sorted: targeted DLR.

    Paper: Croce, Hein 2020, arXiv 2003.01690, equation 7. With fewer than four classes the margin z_t - z_y stands in.
    """

    needs = 4
    within = "Aimed(search, objective)"

    def __call__(self, out: Outputs, y: Int[Tensor, " m"], target: Int[Tensor, " m"]) -> Float[Tensor, " m"]:
        """One number a row."""
        margin = TargetMargin()(out, y, target)
        if out.shape[1] < self.needs:
            return margin
        top = out.topk(4, dim=1).values
        return margin / (top[:, 0] - (top[:, 2] + top[:, 3]) / 2 + 1e-12)


@dataclass(frozen=True)
class TargetProbability:
    """p_t - p_y: the targeted probability margin (Xie et al. 2024, arXiv 2411.15210)."""

    needs = 2
    within = "Aimed(search, objective)"

    def __call__(self, out: Outputs, y: Int[Tensor, " m"], target: Int[Tensor, " m"]) -> Float[Tensor, " m"]:
        """One number a row, in [-1, 1]."""
        p = _scores(out, self).softmax(1)
        return _of(p, target) - _of(p, y)


# ------------------------------------------------------------------------------------------------- away from the clean answer
@dataclass(frozen=True)
class KlToClean:
    """KL(p(x) || p(x')), nats: how far the answer is from the clean one. It needs no label.

    Paper: Zhang et al. 2019, Theoretically Principled Trade-off between Robustness and Accuracy (TRADES), arXiv 1901.08573,
    equation 5 and algorithm 1. Its gradient at x itself is zero: start elsewhere.
    """

    within = "Away(search)"

    def __call__(self, out: Outputs, clean: Outputs) -> Float[Tensor, " m"]:
        """One number a row, of the logits here and those of the clean input."""
        here, there = _scores(out, self).log_softmax(1), clean.log_softmax(1)
        return (there.exp() * (there - here)).sum(1)


def _of(table: Float[Tensor, "m c"], classes: Int[Tensor, " m"]) -> Float[Tensor, " m"]:
    return table.gather(1, classes[:, None])[:, 0]


def _scores(out: Outputs, objective: object) -> Tensor:
    if not (isinstance(out, Tensor) and out.is_floating_point() and out.ndim == 2):
        shape = f"{out.dtype} {tuple(out.shape)}" if isinstance(out, Tensor) else f"a {type(out).__name__}"
        raise ModelError(
            f"{type(objective).__name__} compares logits (m, classes); the model answers with {shape}. Use an objective that the "
            "goal itself defines: Margin(), CrossEntropy(), or Hinged() for goals of many parts."
        )
    return out
