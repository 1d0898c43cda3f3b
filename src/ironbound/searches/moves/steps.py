"""Steps of fixed length: the plain one, the sparse one for L1, and those along accumulated gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ironbound.core.errors import CompositionError
from ironbound.core.protocols import Answer, Can, Task
from ironbound.core.rows import column, flat
from ironbound.searches.moves.move import Move, Shared, check_radius
from ironbound.searches.norms import norm_of

SHARE = 0.01
"""Of the values, the share that a sparse step changes: the authors' choice on MNIST and CIFAR-10."""
CRAMPED = 1e-4
"""Values that can go on for less than this share of a step, and of the radius, count as being at their edge."""


@dataclass(frozen=True)
class Step(Move):
    """A step of fixed length along the set's steepest direction, then projected; on an L1 ball it becomes a Slide.

    Paper: Kurakin, Goodfellow, Bengio 2017 (arXiv 1607.02533), Madry et al. 2018 (arXiv 1706.06083), equation in 2.1.
    """

    size: float
    """In the units of the radius, or, where `relative`, as a share of each problem's own radius."""
    relative: bool = False

    def on(self, region: Any) -> Step | Slide:
        """On L1 the sparse step, elsewhere itself."""
        return Slide(self.size, relative=self.relative) if norm_of(region) == "l1" else self

    def prepare(self, task: Task, s: Any, steps: int) -> None:
        """Nothing to remember."""
        if self.relative:
            check_radius(task, "give `step` in input units, or ")

    def __call__(self, task: Task, s: Any, answer: Answer, t: int) -> None:
        """p <- project(p + size * steepest(g))."""
        s.p = self.moved(task, s.p, answer.grad)

    def moved(self, task: Task, p: Tensor, g: Tensor) -> Tensor:
        """Where the step along g leads from p."""
        direction = task.region.steepest(g)
        if not self.relative:
            return task.region.project(torch.add(p, direction, alpha=self.size))
        return task.region.project(torch.addcmul(p, column(self.size * task.region.radius, p), direction))


@dataclass(frozen=True)
class Slide(Move):
    """The sparse step for L1 balls: the values with the largest gradients move by the same amount, `size` in sum.

    Paper: Tramer, Boneh 2019, Adversarial Training and Robustness for Multiple Perturbations, arXiv 1904.13000, section 3
    and algorithm 1 (SLIDE): a single value, which would be the steepest direction, changes too little at a step. Values at
    the edge of what they can change are not among the `share`; a tie at its end lets in all that are equal.
    Differs: steeper values at their edge are pushed against it by the same amount, which costs nothing. The projection
    takes as much from every value, and would draw these off the edge at each step for the next one to push back.
    """

    size: float
    share: float = SHARE
    relative: bool = False

    needs = Can.PROJECT

    def on(self, region: Any) -> Slide:
        """Itself. Raises CompositionError for a set without edges for its values."""
        if not (hasattr(region, "lo") and hasattr(region, "hi")):
            raise CompositionError(
                f"a Slide looks how far values can go, and {type(region).__name__} has no lo and hi."
            )
        return self

    def prepare(self, task: Task, s: Any, steps: int) -> None:
        """Nothing to remember."""
        if self.relative:
            check_radius(task, "give `step` in input units, or ")

    def __call__(self, task: Task, s: Any, answer: Answer, t: int) -> None:
        """p <- project(p + size * e), with |e|_1 = 1 over the values that can move."""
        s.p = self.moved(task, s.p, answer.grad)

    def moved(self, task: Task, p: Tensor, g: Tensor) -> Tensor:
        """Where the step along g leads from p."""
        radius = task.region.radius
        size = self.size * radius if self.relative else torch.full_like(radius, self.size)
        return slid(task.region, p, g, size, self.share)


def slid(region: Any, p: Tensor, g: Tensor, size: Float[Tensor, " m"], share: float = SHARE) -> Tensor:
    """Where a sparse step along g, of that length in sum, leads from p (Slide)."""
    slope = flat(g.abs())
    free = torch.where(g > 0, region.hi - p, p - region.lo) > column(CRAMPED * size.minimum(region.radius), p)
    able = torch.where(flat(free), slope, 0.0)
    count = int(share * (slope.shape[1] - 1)) + 1
    least = able.topk(min(count, slope.shape[1]), dim=1).values[:, -1:]
    each = size / ((able >= least) & (able > 0)).sum(1).clamp_min(1)
    pushed = torch.where((slope >= least).view(g.shape), g.sign(), 0.0)
    return region.project(torch.addcmul(p, column(each, p), pushed))


@dataclass(frozen=True)
class Momentum(Move):
    """A step along the decayed sum of gradients, each divided by its own L1 norm; on an L1 ball the step is a Slide.

    Paper: Dong et al. 2018, Boosting Adversarial Attacks with Momentum, arXiv 1710.06081, algorithm 1.
    Differs: divides by the mean absolute value as the authors' code does, which has the same direction.
    """

    size: float
    decay: float = 1.0
    relative: bool = False

    def prepare(self, task: Task, s: Any, steps: int) -> None:
        """The accumulated gradient, zero at first."""
        if self.relative:
            check_radius(task, "give `step` in input units, or ")
        s.g = torch.zeros_like(s.p)

    def __call__(self, task: Task, s: Any, answer: Answer, t: int) -> None:
        """g <- decay g + grad / |grad|_1; p <- project(p + size * steepest(g))."""
        s.g = self.accumulated(s.g, answer.grad)
        s.p = self.moved(task, s.p, s.g)

    def accumulated(self, g: Tensor, grad: Tensor) -> Tensor:
        """decay g + grad / mean |grad|."""
        scale = flat(grad).abs().mean(1)
        return self.decay * g + grad / column(scale.clamp_min(torch.finfo(scale.dtype).tiny), g)

    def moved(self, task: Task, p: Tensor, g: Tensor) -> Tensor:
        """Where the step along g leads from p."""
        return Step(self.size, self.relative).on(task.region).moved(task, p, g)


@dataclass(frozen=True)
class Nesterov(Momentum):
    """Momentum whose gradients are taken where the accumulated one would lead: the points asked lie ahead.

    Paper: Lin, Song, He, Wang, Hopcroft 2020, Nesterov Accelerated Gradient and Scale Invariance for Adversarial Attacks,
    arXiv 1908.06281, equations 6 to 8 (NI-FGSM). The point ahead, p + size decay g, may lie outside the set and the box, as
    in the paper; what is asked at the end lies inside.
    Differs: in other norms than Linf, for which the paper is written, it is where a step along g leads, times the decay.
    """

    def prepare(self, task: Task, s: Any, steps: int) -> None:
        """The accumulated gradient, and the point that moves, from which the one asked lies ahead."""
        super().prepare(task, s, steps)
        s.at, s.steps = s.p, Shared(steps)

    def __call__(self, task: Task, s: Any, answer: Answer, t: int) -> None:
        """As Momentum, then look ahead, but for the last time."""
        s.g = self.accumulated(s.g, answer.grad)
        s.at = self.moved(task, s.at, s.g)
        s.p = s.at if t + 1 >= s.steps.value else self._ahead(task, s.at, s.g)

    def _ahead(self, task: Task, p: Tensor, g: Tensor) -> Tensor:
        if norm_of(task.region) != "linf":
            return p + self.decay * (self.moved(task, p, g) - p)
        if not self.relative:
            return torch.add(p, g, alpha=self.decay * self.size)
        return torch.addcmul(p, column(self.decay * self.size * task.region.radius, p), g)
