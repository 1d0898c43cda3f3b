"""The L-infinity ball in a box."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ironbound.core.protocols import Box
from ironbound.core.rng import Rng
from ironbound.core.rows import column, flat
from ironbound.sets.ball import Ball, BallRegion


@dataclass(frozen=True, eq=False, repr=False)
class Linf(Ball):
    """All inputs within `eps` of x in every value, and within the model's box.

    `sample` draws uniformly from the ball and clamps to the box, as PGD's start does (Madry et al. 2018). Of a radius
    beyond the box's diagonal only that diagonal counts.

    >>> Linf(8 / 255)
    Linf(eps=0.03137254901960784)
    """

    norm = "linf"

    def at(self, x: Float[Tensor, "n ..."], box: Box) -> LinfRegion:
        """The region around x, shape (n, ...)."""
        return LinfRegion(**self._edged(x, box))


@dataclass(frozen=True)
class LinfRegion(BallRegion):
    """An L-infinity ball in the box around each row of x."""

    norm = "linf"

    def contains(self, p: Tensor) -> Bool[Tensor, " m"]:
        return self._within(p)

    def project(self, p: Tensor) -> Tensor:
        return torch.clamp(p, self.lo, self.hi)

    def sample(self, rng: Rng) -> Tensor:
        noise = rng.uniform(tuple(self.x.shape[1:]), self.x.dtype, -1, 1)
        return self.project(self.x + column(self._reach(self.x.dtype), self.x) * noise)

    def steepest(self, g: Tensor) -> Tensor:
        return self._masked(g).sign()

    def support(self, g: Tensor) -> tuple[Tensor, Float[Tensor, " m"]]:
        p = torch.where(g > 0, self.hi, torch.where(g < 0, self.lo, self.x))
        return p, flat(g.double() * p.double()).sum(1)
