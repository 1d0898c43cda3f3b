"""The model itself, and the model seen through its decisions only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ironbound.core.protocols import WHITE_BOX, Can, Counted, Inputs, Oracle
from ironbound.core.rng import Rng


@dataclass(frozen=True)
class Direct:
    """The model as it is: gradients, scores and decisions."""

    gives = WHITE_BOX
    cost = 1
    exact = True

    def bind(self, model: Counted) -> Counted:
        """The model."""
        return model


@dataclass(frozen=True)
class Labels:
    """Decisions only. The judge still sees the model, so that a claim needs a pass of its own."""

    inner: Oracle = field(default_factory=Direct)

    gives = Can.DECISIONS
    exact = False

    @property
    def cost(self) -> int:
        """What the inner oracle costs."""
        return self.inner.cost

    def bind(self, model: Counted) -> Counted:
        """The class with the highest logit, int64 (m,)."""
        scores = self.inner.bind(model)

        def decide(x: Inputs, rng: Rng) -> Any:
            out: Tensor = scores(x, rng)
            return out.argmax(1) if out.is_floating_point() else out

        return decide
