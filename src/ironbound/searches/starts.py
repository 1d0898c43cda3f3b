"""Where an ascent starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from ironbound.core.errors import CompositionError, UsageError
from ironbound.core.protocols import Can, Points, Task
from ironbound.core.rng import Rng
from ironbound.core.rows import column, take
from ironbound.searches.norms import norm_of

SQUARES = 7
"""Squares of one sign along the shorter side of a picture; smaller pictures than twice that have one a pixel."""


class Start(Protocol):
    """Where a search starts, a point a problem. One that needs something of the set says so in `needs`."""

    def __call__(self, task: Task) -> Points:
        """The first points; random ones differ with every restart."""
        ...


@dataclass(frozen=True)
class Clean:
    """Start at the input itself."""

    needs = Can(0)

    def __call__(self, task: Task) -> Points:
        """The identity of each problem."""
        return task.region.identity()


@dataclass(frozen=True)
class Uniform:
    """Start at a random point of the set; what distribution that is the set says."""

    needs = Can.SAMPLE

    def __call__(self, task: Task) -> Points:
        """One draw a problem, a different one for every restart."""
        return task.region.sample(task.rng.fold("start"))


@dataclass(frozen=True)
class Nudged:
    """Start a step away from the input in a random direction: the steepest one of Gaussian noise, projected.

    In Linf each value goes up or down by `share` of the radius with equal probability; in L2 directions are uniform on the
    sphere. Paper: Tramer et al. 2018, Ensemble Adversarial Training, arXiv 1705.07204, section 4 (R+FGSM).
    """

    share: float

    needs = Can.PROJECT | Can.STEER

    def __call__(self, task: Task) -> Points:
        """project(x + share radius steepest(noise))."""
        region = task.region
        x = region.identity()
        noise = task.rng.fold("start").normal(tuple(x.shape[1:]), x.dtype)
        return region.project(torch.addcmul(x, column(self.share * region.radius, x), region.steepest(noise)))


@dataclass(frozen=True)
class Corner:
    """Start at a random corner of an Linf ball, each value at the upper or the lower end; in other balls as Sparse does.

    In images squares of a seventh of the picture's shorter side have one sign a channel. Square Attack begins at corners,
    too, in stripes (Andriushchenko et al. 2020, arXiv 1912.00049, section 3). Far from the input other parts of the net are
    active than inside: where gradients near the input mislead, an ascent from corners finds more, and coarse ones more again.
    """

    times: float = 1.0
    """L1: see Sparse."""

    @property
    def needs(self) -> Can:
        """What Sparse needs, and a steepest direction."""
        return Sparse(self.times).needs | Can.STEER

    def __call__(self, task: Task) -> Points:
        """One draw a problem, a different one for every restart."""
        region = task.region
        if norm_of(region) != "linf":
            return Sparse(self.times)(task)
        x = region.identity()
        noise = _blocks(task.rng.fold("start"), tuple(x.shape[1:]), x.dtype)
        return region.project(torch.addcmul(x, column(region.radius, x), region.steepest(noise)))


@dataclass(frozen=True, eq=False)
class Vertices:
    """Start where linear bounds of z_y - z_t are least over the set, for one dangerous class t after the other.

    The bound is a linear function below the margin on the whole set; where it is least is a vertex, and a margin that the
    bound lets go far down is often low there. Restart k begins at the k-th point of each problem, further ones and those of
    problems without points where Corner does. Points are made by `certification.worst.worst_points`; an audit gives them
    where the model has linear bounds.

    Paper: Zhang, Wang, Xu, Jana, Hsieh, Kolter 2022, "A Branch and Bound Framework for Stronger Adversarial Attacks of ReLU
    Networks" (ICML), section 3.2, starts attacks inside the subdomains of a verifier. Differs: of the whole set, no branching.
    """

    points: Points | None = None
    """(problems, k, ...): in the order of the problems."""
    times: float = 1.0
    """L1: see Sparse."""

    @property
    def needs(self) -> Can:
        """What Corner needs, which stands in."""
        return Corner(self.times).needs

    def __call__(self, task: Any) -> Points:
        """The nearest point of the set to each, for the problems that are in the task."""
        if self.points is None or task.restart >= self.points.shape[1]:
            return Corner(self.times)(task)
        return task.region.project(take(self.points, task.problems)[:, task.restart])


def _blocks(rng: Rng, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Gaussian noise, the same over squares where the shape is an image's: (channels, height, width)."""
    side = min(shape[1:]) // SQUARES if len(shape) == 3 else 1
    if side < 2:
        return rng.normal(shape, dtype)
    channels, height, width = shape
    coarse = rng.normal((channels, -(-height // side), -(-width // side)), dtype)
    return coarse.repeat_interleave(side, 2).repeat_interleave(side, 3)[..., :height, :width]


@dataclass(frozen=True)
class Gaussian:
    """Start at the input with Gaussian noise on every value, projected: where a gradient vanishes at the input itself.

    Paper: Zhang et al. 2019, arXiv 1901.08573 (TRADES), algorithm 1, with its 0.001.
    """

    deviation: float = 0.001
    """In input units."""

    needs = Can.PROJECT

    def __post_init__(self) -> None:
        if not self.deviation > 0:
            raise UsageError(f"deviation is a number > 0 in input units; got {self.deviation}.")

    def __call__(self, task: Task) -> Points:
        """project(x + deviation N(0, 1))."""
        x = task.region.identity()
        noise = task.rng.fold("start").normal(tuple(x.shape[1:]), x.dtype)
        return task.region.project(torch.add(x, noise, alpha=self.deviation))


@dataclass(frozen=True)
class Sparse:
    """Start as Uniform does; on an L1 ball at Gaussian noise as wide as the box, projected, of which few values remain.

    Paper: Croce, Hein 2021, arXiv 2103.01208, as in the authors' code.
    """

    times: float = 1.0
    """L1: project onto the ball of so many radii."""

    @property
    def needs(self) -> Can:
        """Draws and a projection, and other radii where it starts with these."""
        return Can.SAMPLE | Can.PROJECT | (Can.SCALE if self.times != 1 else Can(0))

    def __call__(self, task: Task) -> Points:
        """One draw a problem, a different one for every restart."""
        region = task.region
        if norm_of(region) != "l1":
            return Uniform()(task)
        if self.times != 1:
            region = region.scaled(self.times * region.radius)
        if not bool(torch.isfinite(region.radius).all()):
            raise CompositionError("there is no drawing from a set without end: give it a radius.")
        x, width = region.identity(), 1.0 if region.box is None else region.box[1] - region.box[0]
        noise = task.rng.fold("start").normal(tuple(x.shape[1:]), x.dtype)
        return region.project(torch.add(x, noise, alpha=width))


@dataclass(frozen=True, eq=False)
class Given:
    """Start at given points, brought into the set: where another search ended, in a ball of another radius."""

    points: Points
    """One a problem, in the order of the problems."""

    needs = Can.PROJECT

    def __call__(self, task: Any) -> Points:
        """The nearest point of the set to each, for the problems that are in the task."""
        return task.region.project(take(self.points, task.problems))
