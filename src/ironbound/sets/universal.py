"""One change for many inputs: a ball around zero, in which the change lies, and the model's box around every input."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ironbound.core.errors import CompositionError, InputError
from ironbound.core.protocols import Box, Can
from ironbound.core.rng import Rng
from ironbound.core.rows import choose, column
from ironbound.sets.ball import Ball, BallRegion
from ironbound.sets.bounds import inner_box
from ironbound.sets.collective import Grouped, checked_groups, items_of


@dataclass(frozen=True, eq=False)
class Universal(Grouped):
    """One perturbation within `ball`, the same for all inputs, or one for each group of them (`groups=y`: one a class).

    A point is the perturbation, in the units of the model's inputs; what the model sees is x plus it, clamped to its range.
    That lies in the ball around x as well, exactly. A ball has one radius here, and a mask of the shape of one sample.

    Moosavi-Dezfooli, Fawzi, Fawzi, Frossard 2017, Universal adversarial perturbations, arXiv 1610.08401, section 2.

    >>> from ironbound.sets.linf import Linf
    >>> Universal(Linf(10 / 255)).ball
    Linf(eps=0.0392156862745098)
    """

    ball: Ball
    groups: Any = None
    """Whole numbers, one an input: inputs with the same number share a perturbation. None: all do."""

    def __post_init__(self) -> None:
        if not isinstance(self.ball, Ball) or isinstance(self.ball.eps, Tensor):
            raise CompositionError(
                f"a universal perturbation lies in one ball with one radius, such as Linf(10/255); got {self.ball!r}. "
                "Of a union, attack each part by itself."
            )
        object.__setattr__(self, "groups", checked_groups(self.groups))

    @property
    def can(self) -> Can:
        """What its ball can."""
        return self.ball.can

    @property
    def norm(self) -> str:
        """Of the ball."""
        return self.ball.norm

    @property
    def eps(self) -> float:
        """The radius of the ball, in the units of the model's inputs."""
        assert isinstance(self.ball.eps, float)  # a tensor was refused
        return self.ball.eps

    def at(self, x: Float[Tensor, "n ..."], box: Box) -> UniversalRegion:
        """The region of the perturbations of these inputs, one a group."""
        items, names = items_of(self.groups, x)
        if self.ball.mask is not None and self.ball.mask.ndim == x.ndim:
            raise InputError(f"one perturbation for all has one mask, of the shape {tuple(x.shape[1:])} of one sample.")
        zero = x.new_zeros(len(names), *x.shape[1:])
        return UniversalRegion(self.ball.at(zero, None), self.ball, x, items, box, names)


@dataclass(frozen=True)
class UniversalRegion:
    """Changes in a ball around zero, a row a problem; what is not said here the ball says."""

    change: BallRegion
    ball: Ball
    x: Tensor
    """All inputs, of all problems."""
    items: Int[Tensor, " inputs"]
    within: Box
    """The model's range. (`box` is that of the changes themselves: none.)"""
    names: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.change)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "change":
            raise AttributeError(name)
        return getattr(self.change, name)

    def take(self, index: Int[Tensor, " r"]) -> Self:
        """The region of some problems; the inputs stay."""
        return replace(self, change=self.change.take(index))

    def scaled(self, radius: Float[Tensor, " n"]) -> Self:
        """Changes in other balls."""
        return replace(self, change=self.change.scaled(radius))

    def contains(self, p: Tensor) -> Bool[Tensor, " m"]:
        """Whether each change lies in its ball."""
        return self.change.contains(p)

    def apply(self, p: Tensor, rng: Rng, items: Int[Tensor, " m"] | None = None) -> Tensor:
        """x + p in the model's range; None: a change for each input in turn.

        Rounding x + p may leave the ball around x, which for changes of the set it must not: those are projected. The
        gradient is that of the clamped sum.
        """
        x = self.x if items is None else self.x.index_select(0, items)
        low, high = inner_box(self.within, x.dtype)
        moved = (x + p).clamp(low, high)
        with torch.no_grad():
            sound = self.change.contains(p.detach())
            near = replace(self.ball, eps=self.change.radius).at(x, self.within).project(x + p)
            exact = choose(sound, near, moved)
        return exact + (moved - moved.detach()) if moved.requires_grad else exact

    def rival(self, rng: Rng) -> Tensor:
        """A random direction as far as the ball goes: what a perturbation that was fitted must beat."""
        x = self.change.x
        step = self.steepest(rng.normal(tuple(x.shape[1:]), x.dtype))
        return self.change.project(column(self.change.radius, x) * step)

    def record(self) -> dict[str, Any]:
        """What it takes to apply a change to other inputs, as plain data."""
        of = getattr(self.ball, "of", None)
        ball = {"norm": self.ball.norm, "eps": self.ball.eps, **({} if of is None else {"of": of})}
        return {
            "set": "universal",
            **ball,
            "groups": list(self.names),
            "box": None if self.within is None else [*self.within],
        }
