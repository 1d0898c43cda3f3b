"""Objectives: how close is it? Up is always better for the attacker; a targeted attack is another goal, never a sign."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from ironbound.core.protocols import Goal, Labels, Outputs


@dataclass(frozen=True)
class CrossEntropy:
    """The goal's cross-entropy: FGSM's and PGD's objective (Goodfellow et al. 2015, arXiv 1412.6572).

    In float32 it is exactly flat where the model is very sure; `Margin` is not.
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
