"""What a move is, and what moves share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from ironbound.core.errors import CompositionError
from ironbound.core.protocols import Answer, Can, Task


class Move(Protocol):
    """How to step from the point just asked to the next. All state is in tables with one row a problem.

    A move is written as a subclass, which then has the defaults below, or as a class of its own with all four.
    """

    @property
    def needs(self) -> Can:
        """What the set must offer: a projection and a steepest direction."""
        return Can.PROJECT | Can.STEER

    def on(self, region: Any) -> Move:
        """What the move becomes on this set, which those who composed it may not have known: itself."""
        return self

    def prepare(self, task: Task, s: Any, steps: int) -> None:
        """Add the move's own tables to the state, and note how many steps there will be, where that matters."""

    def __call__(self, task: Task, s: Any, answer: Answer, t: int) -> None:
        """Replace s.p by the next point, after step t (from 0) of the search. s.p itself was asked: never write to it."""
        ...


@dataclass(frozen=True)
class Shared:
    """Something that all problems share, kept in the state beside their tables."""

    value: Any

    def take(self, index: Tensor) -> Shared:
        """The same, whoever leaves."""
        return self


def check_radius(task: Task, other: str = "") -> None:
    """Raise CompositionError where steps are shares of a radius that is infinite."""
    if not bool(torch.isfinite(task.region.radius).all()):
        raise CompositionError(f"steps are a share of the radius, but the set has none; {other}give the set a radius.")
