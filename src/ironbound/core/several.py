"""Several answers to the same inputs, of which goal and objective are averaged and not the answers themselves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ironbound.core import rows
from ironbound.core.errors import ModelError
from ironbound.core.protocols import Outputs


@dataclass(frozen=True)
class Several:
    """What an oracle answers where the mean is taken of losses: the answers of all models or draws, and their weights.

    The engine asks goal and objective about each answer and takes the weighted mean of what they say. Searches that read
    outputs, or ask for their gradients, see the weighted mean of the answers.
    """

    answers: tuple[Outputs, ...]
    weights: tuple[float, ...]

    @staticmethod
    def of(outputs: Outputs) -> Several:
        """Whatever an oracle answers, as several answers: mostly one."""
        return outputs if isinstance(outputs, Several) else Several((outputs,), (1.0,))

    def each(self, function: Callable[[Outputs], Outputs]) -> Several:
        """`function` on every answer."""
        return Several(tuple(function(answer) for answer in self.answers), self.weights)

    def mean(self, number: Callable[[Outputs], Tensor]) -> Tensor:
        """The weighted mean of one number a row."""
        if len(self.answers) == 1:
            return number(self.answers[0])
        return sum(weight * number(answer) for answer, weight in zip(self.answers, self.weights, strict=True))  # type: ignore[return-value]

    @property
    def middle(self) -> Outputs:
        """The weighted mean of the answers."""
        if len(self.answers) == 1:
            return self.answers[0]
        return rows.each(self._mean, *self.answers)

    def _mean(self, *parts: Tensor) -> Any:
        if not parts[0].is_floating_point():
            raise ModelError("answers that are no numbers (decisions) have no mean; average over draws by their vote.")
        return sum(weight * part for part, weight in zip(parts, self.weights, strict=True))
