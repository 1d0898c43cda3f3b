"""Random noise in place of an inner attack: what tutorials train on, and what does not protect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from jaxtyping import Float
from torch import Tensor

from ironbound.core.protocols import Can
from ironbound.core.rows import column
from ironbound.defenses.train.inner import Climbed, must_step
from ironbound.defenses.train.objective import Batch, Scene


@dataclass(frozen=True)
class Signs:
    """Inputs at the set's edge in a random direction: on Linf every value moves by the radius, up or down by chance.

    It asks no model, and so is no attack. In L2 the random signs are shortened to the radius; in L1 one value moves.
    """

    @property
    def rows(self) -> int:
        """None."""
        return 0

    def check(self, scene: Scene, threat: Any) -> None:
        """The set must have a direction and an edge."""
        must_step(scene, threat, Can.PROJECT | Can.STEER)

    def inputs(self, scene: Scene, batch: Batch, region: Any, climbed: Climbed | None = None) -> Float[Tensor, "n ..."]:
        """One radius along random signs, in the set."""
        p = region.identity()
        signs = batch.rng.fold("signs").sign(tuple(p.shape[1:]), p.dtype)
        far = p + column(region.radius, p) * region.steepest(signs)
        return region.apply(region.project(far), batch.rng)

    def stronger(self) -> Self:
        """Itself: there is no stronger noise in the set."""
        return self
