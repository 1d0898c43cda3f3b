"""The number that is explained, and the passes that ask for it: through the door, in evaluation mode, counted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ironbound.core import rows as rows_
from ironbound.core.door import Door
from ironbound.core.errors import InputError, ModelError, UsageError
from ironbound.core.ledger import Ledger
from ironbound.core.memory import Chunks
from ironbound.core.predict import predict
from ironbound.core.protocols import Budget
from ironbound.core.rng import Rng
from ironbound.models.model import Model


@dataclass(frozen=True)
class Score:
    """One number an input: the logit of `classes`, less that of `against` where there is one. It is linear in the logits."""

    classes: Int[Tensor, " n"]
    against: Int[Tensor, " n"] | None

    def of(self, out: Any, owner: Tensor) -> Float[Tensor, " rows"]:
        """From the model's answers to rows that belong to these inputs."""
        score: Tensor = out.gather(1, self.classes[owner][:, None])[:, 0]
        return score if self.against is None else score - out.gather(1, self.against[owner][:, None])[:, 0]


def score_of(model: Model, x: Tensor, classes: Any, against: Any, rng: Rng, rows: int | None) -> tuple[Score, int]:
    """The score that a caller means, and the rows that it took to find out: one an input where no class was named.

    Raises InputError for classes that the model does not have or that stand against themselves.
    """
    asked = 0
    if classes is None:
        out, asked = predict(model, x, rng, rows=rows), len(x)
        classes = _logits(out).argmax(1)
    wanted = _named(model, x, classes, "classes")
    rivals = None if against is None else _named(model, x, against, "against")
    if rivals is not None and bool((wanted == rivals).any()):
        row = int((wanted == rivals).nonzero()[0, 0])
        raise InputError(f"row {row} has class {int(wanted[row])} against itself; name two different classes.")
    return Score(wanted, rivals), asked


def _named(model: Model, x: Tensor, classes: Any, what: str) -> Tensor:
    """One class an input, as int64 on the model's device."""
    if isinstance(classes, (bool, float)):
        raise UsageError(f"{what} is a class, or one class an input; got {classes!r}.")
    each = torch.full((len(x),), classes) if isinstance(classes, int) else classes
    try:
        labels: Tensor = model.admit(x, each)[1]
    except InputError as error:
        raise InputError(f"{what}: {error}") from None
    return labels


def _logits(out: Any) -> Tensor:
    if not isinstance(out, Tensor) or out.ndim != 2 or not out.is_floating_point():
        raise ModelError("attributions are of logits (n, classes), which this model does not answer with.")
    return out


class Passes:
    """Scores and their input gradients at rows made when they are needed; every row is counted in `forward`, `backward`."""

    def __init__(self, model: Model, score: Score, rng: Rng, rows: int | None) -> None:
        self.model, self.score, self.rng, self._checked = model, score, rng, False
        self.ledger = Ledger(len(rng), Budget(), model.device)
        self.door, self.chunks = Door(model, self.ledger, cheap=False, pad=None), Chunks(rows, model.device)

    @contextmanager
    def opened(self) -> Iterator[None]:
        """The user's module is in evaluation mode inside, its parameters out of the graph, and as it was outside."""
        with self.door.opened():
            yield

    def answer(self, x: Tensor, owner: Tensor, backward: int) -> Tensor:
        """The scores (rows,) of inputs x (rows, ...), each of the input numbered by `owner`."""
        self.ledger.forget()  # of a pass that broke off for want of memory
        out = _logits(self.door.rows(x, self.rng.take(owner), owner, backward))
        self.ledger.settle()
        self._known(out.shape[1])
        return self.score.of(out, owner)

    def _known(self, classes: int) -> None:
        """Raise InputError for classes beyond the model's, which were not known where it has no range."""
        if self._checked:
            return
        named = [self.score.classes] if self.score.against is None else [self.score.classes, self.score.against]
        largest = max(int(one.max()) for one in named)
        if largest >= classes:
            raise InputError(f"class {largest} was named, and the model has {classes}, numbered from 0.")
        self._checked = True

    def scores(self, x: Tensor) -> Tensor:
        """The score at one row for each input, (n,)."""
        owner = torch.arange(len(x), device=x.device)
        with torch.no_grad():
            return torch.cat(self.chunks.run(len(x), lambda at: self.answer(x[at], owner[at], 0)))

    def gradients(self, make: Any, owner: Tensor) -> tuple[Tensor, Tensor]:
        """Input gradients (rows, ...) and scores (rows,); `make` gives the inputs of a slice of `owner`."""

        def job(at: slice) -> tuple[Tensor, Tensor]:
            leaf = make(at).detach().requires_grad_(True)
            score = self.answer(leaf, owner[at], 1)
            found = torch.autograd.grad(score.sum(), leaf, allow_unused=True)[0] if score.requires_grad else None
            if found is None:
                raise ModelError(
                    "no path of the graph leads from the input to the output, so that there is no gradient to attribute. "
                    "Look for detach(), no_grad() or a rounding in the model."
                )
            return found.detach(), score.detach()

        with torch.enable_grad():
            parts = self.chunks.run(len(owner), job)
        return torch.cat([grad for grad, _ in parts]), torch.cat([score for _, score in parts])

    @property
    def spent(self) -> tuple[int, int]:
        """Rows so far, forward and backward."""
        return int(self.ledger.forward.sum()), int(self.ledger.backward.sum())


def must_have_gradients(model: Model, x: Any) -> None:
    """Raise for inputs and models that no attribution can be made of."""
    if not isinstance(x, Tensor) or not x.is_floating_point():
        kind = f"{x.dtype}" if isinstance(x, Tensor) else type(x).__name__
        raise InputError(f"attributions are of inputs that are one tensor of real numbers (n, ...); got {kind}.")
    if model.outputs == "decisions":
        raise ModelError(
            "the model answers with decisions alone, which have no gradient: there is nothing to attribute. Give the module "
            "that returns logits or probabilities."
        )
    if model.outputs == "anything":
        raise ModelError(
            "attributions are of one class, and this model was said to answer with anything else (outputs)."
        )
    if rows_.count(x) == 0:
        raise InputError("there are no inputs: the batch is empty.")
