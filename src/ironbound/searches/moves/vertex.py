"""Moves to the point of the set where a linear function is largest: FGSM's, and Frank-Wolfe's part of the way there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from ironbound.core.errors import CompositionError
from ironbound.core.protocols import Answer, Can, Task
from ironbound.searches.moves.move import Move


def _check_end(task: Task) -> None:
    region = task.region
    ends = (
        region.radius,
        *(getattr(region, name, region.radius) for name in ("lo", "hi")),
    )  # L0 counts, and has no end
    if getattr(region, "box", None) is None and not all(bool(torch.isfinite(end).all()) for end in ends):
        raise CompositionError(
            "a linear function has no maximum over a set without end: give it a radius, or the model a range."
        )


@dataclass(frozen=True)
class Vertex(Move):
    """All the way to the maximum of <g, p> over the set.

    Paper: Goodfellow, Shlens, Szegedy 2015, arXiv 1412.6572, section 4: in Linf this is eps sign(g), clamped to the box.
    """

    needs = Can.SUPPORT

    def prepare(self, task: Task, s: Any, steps: int) -> None:
        """Nothing to remember."""
        _check_end(task)

    def __call__(self, task: Task, s: Any, answer: Answer, t: int) -> None:
        """p <- argmax over the set of <g, p>."""
        s.p = task.region.support(answer.grad)[0]


@dataclass(frozen=True)
class FrankWolfe(Move):
    """A part 2 / (t + 2) of the way to the maximum of <m, p>, with m the decayed mean of gradients: no step size to choose.

    Paper: Chen, Zhou, Yi, Gu 2020, A Frank-Wolfe Framework for Efficient and Effective Adversarial Attacks, arXiv
    1811.10828, algorithm 1, with the share of the classical method (Jaggi 2013) where the paper has a constant one.
    The first step goes all the way. On sets that are not convex (L0) the point between is projected.
    """

    momentum: float = 0.0
    """m <- momentum m + (1 - momentum) g, from the first gradient on; the paper has 0.99, and none with 0."""

    needs = Can.SUPPORT | Can.PROJECT

    def prepare(self, task: Task, s: Any, steps: int) -> None:
        """The mean of gradients, which begins with the first."""
        _check_end(task)
        s.m = None

    def __call__(self, task: Task, s: Any, answer: Answer, t: int) -> None:
        """p <- p + 2 / (t + 2) (argmax over the set of <m, p> - p)."""
        g = answer.grad
        if self.momentum:
            s.m = g = g if s.m is None else torch.lerp(g, s.m, self.momentum)
        vertex = task.region.support(g)[0]
        s.p = vertex if t == 0 else task.region.project(torch.lerp(s.p, vertex, 2 / (t + 2)))
