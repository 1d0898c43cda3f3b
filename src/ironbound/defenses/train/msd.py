"""The inner attack on a union of sets that looks at every step which of them leads furthest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from jaxtyping import Float
from torch import Tensor

from ironbound.core.rng import Rng
from ironbound.core.rows import choose
from ironbound.defenses.train.fused import stepped
from ironbound.defenses.train.inner import Climbed, Steps
from ironbound.defenses.train.objective import Batch, Scene


@dataclass(frozen=True)
class Msd:
    """Multi steepest descent: one gradient, a step in each part of the union, and on from where the loss is largest.

    Each sample chooses for itself. A step is the inner attack's share of that part's radius, projected onto that part.

    Paper: Maini, Wong, Kolter 2020 (arXiv 1909.04068), section 4.2 and algorithm 1.
    Differs: the sparse steps on L1 change a fixed share of the values, theirs a number drawn at each step.
    """

    inner: Steps

    @property
    def rows(self) -> int:
        """One a step, and one more for each part of the union, which is not known here."""
        return self.inner.rows

    def check(self, scene: Scene, threat: Any) -> None:
        """The steps must go with every part."""
        for part in threat.parts:
            self.inner.check(scene, part)

    def inputs(self, scene: Scene, batch: Batch, region: Any, climbed: Climbed | None = None) -> Float[Tensor, "n ..."]:
        """Where the best steps lead from the start."""
        loss = climbed or (lambda logits: scene.criterion(logits, batch.y))

        def move(answer: Callable[[Any, Rng], Tensor], draws: Rng, p: Tensor, grad: Tensor) -> Tensor:
            best, most = None, None
            for part in region.parts:
                q = stepped(part, p, grad, self.inner.size(part))
                with torch.no_grad():
                    value = loss(answer(q, draws))
                if best is None or most is None:
                    best, most = q, value
                else:
                    best, most = choose(value > most, q, best), torch.maximum(value, most)
            return p if best is None else best

        return self.inner.ascended(scene, batch, region, climbed, 0.0, move)

    def stronger(self) -> Self:
        """The same with more steps."""
        return replace(self, inner=self.inner.stronger())
