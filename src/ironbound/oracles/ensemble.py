"""Several models as one: what the search sees of the attacked model and others together, or of the others alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ironbound.core import rows
from ironbound.core.errors import CompositionError, ModelError, UsageError
from ironbound.core.protocols import Can, Counted, Inputs, Oracle, Outputs
from ironbound.core.rng import Rng
from ironbound.core.several import Several
from ironbound.models.averaged import MEANS, mean_of
from ironbound.models.model import Model
from ironbound.oracles.direct import Direct


@dataclass(frozen=True)
class Ensemble:
    """The mean of the attacked model and of others; the judge sees the attacked model alone.

    others: nn.Modules (inputs in [0, 1]) or Models, that take the attacked model's inputs and answer with its classes. They
        run in evaluation mode, frozen, and are left as they were; only their gradients and answers are used.
    mean: "logits" (Dong et al. 2018, arXiv 1710.06081, equation 9), "probabilities" (Liu et al. 2017, arXiv 1611.02770,
        equation 4, and Dong's "predictions") or "losses" (Dong's "loss"): see models/averaged.py; of losses, goal and
        objective are asked of each model and averaged, which also works for answers that are no logits.
    weights: of the models, in the order attacked model, others; None: all alike. They are divided by their sum.
    target: whether the attacked model is in the mean. False transfers: the search sees only the others.
    inner: how the attacked model itself is seen.

    Rows of the other models are charged like the model's own, and are a part of `cost`. An ensemble as the attacked model
    is another thing: ib.Averaged([net, other]).
    """

    others: Sequence[Any]
    mean: str = "logits"
    weights: Sequence[float] | None = None
    target: bool = True
    inner: Oracle = field(default_factory=Direct)

    exact = False

    def __post_init__(self) -> None:
        others = tuple(Model.of(other) for other in self.others)
        if not others or self.mean not in (*MEANS, "losses"):
            raise UsageError(f"Ensemble([model, ...], mean in {(*MEANS, 'losses')}); got {len(others)}, {self.mean!r}.")
        count = len(others) + self.target
        weights = (1.0,) * count if self.weights is None else tuple(float(weight) for weight in self.weights)
        if len(weights) != count or min(weights) < 0 or not 0 < sum(weights) < math.inf:
            raise UsageError(f"weights are {count} numbers >= 0, one a model; got {self.weights!r}.")
        if Can.SCORES not in self.inner.gives:
            raise CompositionError(f"Ensemble averages scores, and {type(self.inner).__name__} gives none.")
        object.__setattr__(self, "others", others)
        object.__setattr__(self, "weights", tuple(weight / sum(weights) for weight in weights))

    @property
    def gives(self) -> Can:
        """What the inner oracle gives."""
        return self.inner.gives

    @property
    def cost(self) -> int:
        """A row of each other model, and what the inner oracle costs."""
        return self.elsewhere + (self.inner.cost - int(getattr(self.inner, "elsewhere", 0)) if self.target else 0)

    @property
    def elsewhere(self) -> int:
        """What of the cost is run on the other models."""
        own = int(getattr(self.inner, "elsewhere", 0)) if self.target else 0
        return len(self.others) + own

    def bind(self, model: Counted) -> Counted:
        """The mean."""
        own = self.inner.bind(model)

        def answer(x: Inputs, rng: Rng) -> Outputs:
            answers = [own(x, rng)] if self.target else []
            return self._mean(
                answers + [_asked(other, x, rng.fold("other").fold(i)) for i, other in enumerate(self.others)]
            )

        return answer

    def _mean(self, answers: list[Outputs]) -> Outputs:
        weights: Any = self.weights
        if self.mean == "losses":
            apart = [Several.of(answer) for answer in answers]
            flat = [a for several in apart for a in several.answers]
            each = [w * v for several, w in zip(apart, weights, strict=True) for v in several.weights]
            return Several(tuple(flat), tuple(each))
        shapes = {_shape(answer) for answer in answers}
        if len(shapes) > 1 or shapes == {None}:
            raise ModelError(
                f"the models of an ensemble answer with {sorted(map(str, shapes))}: logits (m, classes) of the same classes are "
                "averaged. Answers of another kind have losses that can be: Ensemble(others, mean='losses')."
            )
        return mean_of(answers, weights, self.mean)


def _asked(model: Model, x: Inputs, rng: Rng) -> Outputs:
    """The answer of another model, which may be of another type and on another device."""
    moved = rows.each(lambda part: part.to(model.device, model.dtype if part.is_floating_point() else None), x)
    like = next(iter(rows.leaves(x)), None)
    out = _heard(model, moved, Rng(rng.keys.to(model.device)))
    if like is None:
        return out
    return rows.each(lambda part: part.to(like.device, like.dtype if part.is_floating_point() else None), out)


def _heard(model: Model, x: Inputs, rng: Rng) -> Outputs:
    model.settle(rows.each(Tensor.detach, x))
    with model.opened() as ask:
        if rows.count(x) > 1:
            return ask(x, rng)
        twice = torch.zeros(2, dtype=torch.long, device=model.device)  # kernels for one row differ in the last bits
        return rows.part(ask(rows.take(x, twice), rng.take(twice)), slice(0, 1))


def _shape(answer: Outputs) -> tuple[int, ...] | None:
    scores = isinstance(answer, Tensor) and answer.is_floating_point() and answer.ndim == 2
    return tuple(answer.shape) if scores else None
