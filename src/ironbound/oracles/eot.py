"""Expectation over transformations: the mean of what the model says of several random versions of an input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from ironbound.core import rows
from ironbound.core.protocols import Can, Counted, Inputs, Oracle, Outputs
from ironbound.core.rng import Rng

Transform = Callable[[Inputs, Rng], Inputs]


@dataclass(frozen=True)
class Eot:
    """The mean of logits over draws of a transformation (of decisions: the vote); None where the model itself draws.

    Paper: Athalye, Engstrom, Ilyas, Kwok 2018, Synthesizing Robust Adversarial Examples, arXiv 1707.07397, equation 2.
    Differs: logits are averaged before the objective; averaging the objective is an oracle's own affair, since the
    goal is about the averaged answer here.
    """

    inner: Oracle
    transform: Transform | None
    draws: int

    exact = False

    @property
    def gives(self) -> Can:
        """What the inner oracle gives."""
        return self.inner.gives

    @property
    def cost(self) -> int:
        """The draws, each at the inner oracle's price."""
        return self.draws * self.inner.cost

    def bind(self, model: Counted) -> Counted:
        """The averaged model; each row's draws come from its own stream."""
        answers = self.inner.bind(model)

        def mean(x: Inputs, rng: Rng) -> Outputs:
            count = rows.count(x)
            row = torch.arange(count, device=rng.keys.device).repeat_interleave(self.draws)
            drawn, many = rng.repeat(self.draws), rows.take(x, row)
            many = many if self.transform is None else self.transform(many, drawn.fold("transform"))
            out = answers(many, drawn.fold("inner")).unflatten(0, (count, self.draws))
            return out.mean(1) if out.is_floating_point() else out.mode(1).values

        return mean
