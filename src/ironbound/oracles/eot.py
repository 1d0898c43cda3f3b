"""Expectation over transformations: the mean of what the model says of several random versions of an input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ironbound.core import rows
from ironbound.core.errors import ModelError, UsageError
from ironbound.core.protocols import Can, Counted, Inputs, Oracle, Outputs
from ironbound.core.rng import Rng
from ironbound.core.several import Several
from ironbound.oracles.direct import Direct

Transform = Callable[[Inputs, Rng], Inputs]

MEANS = ("logits", "losses")


@dataclass(frozen=True)
class Eot:
    """The mean over draws of a transformation; where `transform` is None, over draws of the model itself.

    transform: (inputs, one random stream an input) -> inputs; any distribution that draws from the streams. It stands in
        front of the model for the search alone; a defense that draws is a part of the attacked model, and needs none.
    draws: how many; each is charged as a row.
    mean: "logits" averages the answers (of decisions: the vote) and asks goal and objective about their mean;
        "losses" averages what goal and objective say of each draw, whose gradient is the mean of the draws' gradients.

    Eot(Bpda(jpeg), draws=20) averages over draws of what Bpda sees. Paper: Athalye, Engstrom, Ilyas, Kwok 2018,
    Synthesizing Robust Adversarial Examples, arXiv 1707.07397, equation 2 (the mean of log-probabilities of the target,
    which is "losses"); against defenses that draw: Athalye, Carlini, Wagner 2018, arXiv 1802.00420, section 4.2.
    Differs: logits are averaged unless asked otherwise, since that is what a vote over draws comes down to.
    """

    inner: Oracle = field(default_factory=Direct)
    transform: Transform | None = None
    draws: int = 10
    mean: str = "logits"

    exact = False

    def __post_init__(self) -> None:
        if (
            not isinstance(self.draws, int)
            or self.draws < 1
            or self.mean not in MEANS
            or not hasattr(self.inner, "bind")
        ):
            raise UsageError(
                f"Eot(inner oracle, transform, draws >= 1, mean in {MEANS}); got {self.inner!r}, draws={self.draws!r}, "
                f"mean={self.mean!r}. A transformation alone is named: Eot(transform=noise, draws=10)."
            )

    @property
    def gives(self) -> Can:
        """What the inner oracle gives."""
        return self.inner.gives

    @property
    def cost(self) -> int:
        """The draws, each at the inner oracle's price."""
        return self.draws * self.inner.cost

    @property
    def elsewhere(self) -> int:
        """What of the cost is run on models of the inner oracle's own."""
        return self.draws * int(getattr(self.inner, "elsewhere", 0))

    def bind(self, model: Counted) -> Counted:
        """The averaged model; each row's draws come from its own stream."""
        answers = self.inner.bind(model)

        def mean(x: Inputs, rng: Rng) -> Outputs:
            count = rows.count(x)
            row = torch.arange(count, device=rng.keys.device).repeat_interleave(self.draws)
            drawn, many = rng.repeat(self.draws), rows.take(x, row)
            many = many if self.transform is None else self.transform(many, drawn.fold("transform"))
            out = Several.of(answers(many, drawn.fold("inner")))
            out = self._apart(out, count, row.device) if self.mean == "losses" else out.each(self._averaged)
            return out.answers[0] if len(out.answers) == 1 else out

        return mean

    def _apart(self, out: Several, count: int, device: torch.device) -> Several:
        """Every draw of every answer as an answer of its own."""
        first = torch.arange(count, device=device) * self.draws
        answers = [rows.take(answer, first + draw) for answer in out.answers for draw in range(self.draws)]
        weights = [weight / self.draws for weight in out.weights for _ in range(self.draws)]
        return Several(tuple(answers), tuple(weights))

    def _averaged(self, answer: Outputs) -> Outputs:
        if isinstance(answer, list):
            raise ModelError(
                "answers of different sizes have no mean; average what the goal says: Eot(..., mean='losses')."
            )
        return rows.each(self._mean, answer)

    def _mean(self, part: Tensor) -> Tensor:
        drawn = part.unflatten(0, (-1, self.draws))
        return drawn.mean(1) if part.is_floating_point() else drawn.mode(1).values
