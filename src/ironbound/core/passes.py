"""One pass of an ask through set, oracle, model, goal and objective: what the model said of one chunk of pairs."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ironbound.core import rows
from ironbound.core.errors import ModelError, UsageError
from ironbound.core.pairing import Pairs
from ironbound.core.protocols import Ask, Can, Points, Rows, Terms
from ironbound.core.rng import Rng
from ironbound.core.several import Several

if TYPE_CHECKING:
    from ironbound.core.attack import Attack
    from ironbound.core.door import Door


@dataclass
class Heard:
    """What was heard of some rows (or pairs), one row each."""

    outputs: Any
    value: Tensor
    margin: Tensor
    loss: Tensor | None = None
    grad: Any = None
    jac: Any = None

    @staticmethod
    def joined(parts: list[Heard]) -> Heard:
        """All chunks as one."""
        if len(parts) == 1:
            return parts[0]
        columns = ([getattr(part, field.name) for part in parts] for field in fields(Heard))
        tables: list[Any] = [None if column[0] is None else rows.join(column) for column in columns]
        return Heard(*tables)


@dataclass(frozen=True)
class Chunk:
    """Some pairs of an ask, ready to run: everything here has one row a pair."""

    region: Any
    y: Any
    points: Points
    draws: Rng
    problem: Tensor
    item: Tensor | None
    jac: Tensor | None
    less: Tensor | None
    args: tuple[Tensor, ...]


def hear(attack: Attack, door: Door, ask: Ask, chunk: Chunk) -> Heard:
    """Run one chunk: apply, oracle, counted model, goal, objective, and the gradients asked for."""
    wanted = 0 if chunk.jac is None else chunk.jac.shape[1]
    backward = wanted + int(ask.grad)
    with torch.set_grad_enabled(backward > 0):
        leaf = rows.each(Tensor.detach, chunk.points)
        if backward:  # without, the pass is of the points themselves, as the judge sees them
            leaf = rows.each(lambda part: part.detach().requires_grad_(), chunk.region.leaf(leaf))
        inputs = chunk.region.apply(leaf, chunk.draws, chunk.item)
        answers = Several.of(door.seen(attack.oracle, chunk.problem, backward)(inputs, chunk.draws))
        detached = answers.each(lambda answer: rows.each(Tensor.detach, answer))
        outputs, seen = answers.middle, detached.middle
        margin = detached.mean(lambda answer: attack.goal.margin(answer, chunk.y))
        scores = Can.SCORES in attack.oracle.gives
        climbed = lambda answer: attack.objective(answer, chunk.y, attack.goal)
        value = answers.mean(climbed) if scores else (margin > 0).double()
        loss = None
        if ask.loss is not None:
            loss = ask.loss(Terms(leaf, inputs, outputs, value, chunk.y, chunk.region), *chunk.args)
        upward = value if loss is None else loss
        grad = _gradient(upward.sum(), leaf, chunk.jac is not None) if ask.grad else None
        jac = None if chunk.jac is None else _jacobian(outputs, chunk.jac, chunk.less, leaf)
    return Heard(seen, value.detach(), margin, None if loss is None else loss.detach(), grad, jac)


def _gradient(total: Tensor, leaf: Any, keep: bool) -> Any:
    """The gradient at the leaf, in its own shape. Disconnected parts have a gradient of zero: a check looks for it."""
    parts = rows.leaves(leaf)
    if not total.requires_grad:
        if torch.is_inference_mode_enabled():
            raise UsageError("gradients cannot be had inside torch.inference_mode(); call the attack outside of it.")
        raise ModelError(
            "the model's answer does not depend on its input in a differentiable way (an argmax, detach() or NumPy inside?). "
            "Use an attack that needs no gradient (hopskipjump), or give a differentiable stand-in by Bpda."
        )
    grads = iter(torch.autograd.grad(total, parts, retain_graph=keep, allow_unused=True, materialize_grads=True))
    return rows.each(lambda _: next(grads), leaf)


def _jacobian(outputs: Any, chosen: Tensor, less: Tensor | None, leaf: Any) -> Any:
    """Gradients of the chosen outputs (less another), shape (m, k, ...): one backward pass for each of the k columns."""
    if not (isinstance(outputs, Tensor) and outputs.ndim == 2):
        raise ModelError(
            "this attack needs the gradients of single logits (m, classes), and the model's answers are no such table. "
            "Use one that climbs the goal's own objective: pgd or apgd, .replace(goal=..., objective=Margin())."
        )
    values = outputs.gather(1, chosen)
    columns = (values if less is None else values - outputs.gather(1, less[:, None])).sum(0)
    last = len(columns) - 1
    return rows.beside([_gradient(one, leaf, place < last) for place, one in enumerate(columns)])


def points_of(ask: Ask, index: Tensor | None) -> Points:
    """The points of some rows (ascending); lazy ones are made run by run of neighbouring numbers."""
    if not isinstance(ask.points, Rows):
        return ask.points if index is None else rows.take(ask.points, index)
    if index is None:
        return ask.points.make(slice(0, ask.points.count))
    breaks = [0, *((index[1:] - index[:-1]) > 1).nonzero()[:, 0].add(1).tolist(), len(index)]
    runs = zip(breaks, breaks[1:], strict=False)
    made = rows.join([ask.points.make(slice(int(index[a]), int(index[b - 1]) + 1)) for a, b in runs])
    repeated = torch.unique_consecutive(index, return_inverse=True)[1]
    return made if len(repeated) == 0 or int(repeated[-1]) + 1 == len(index) else rows.take(made, repeated)


def per_row(heard: Heard, pairs: Pairs, share: float) -> tuple[Heard, Tensor, Tensor]:
    """Means over the items of collective problems, the share on which it worked, and whether that is enough."""
    rate = pairs.mean((heard.margin > 0).double())
    mean = lambda v: None if v is None else pairs.mean(v)
    outputs = pairs.grouped(heard.outputs) if isinstance(heard.outputs, Tensor) else None
    row = Heard(outputs, pairs.mean(heard.value), pairs.mean(heard.margin), mean(heard.loss), heard.grad, heard.jac)
    return row, rate, rate >= share


def works_on_more(value: Tensor, rate: Tensor, pairs: Pairs | None) -> Tensor:
    """How strong points of collective problems are: the number of items on which each works, then its mean value; float64."""
    assert pairs is not None  # who has a rate has items
    return (rate.double() * pairs.counts).round() + value.double().nan_to_num(nan=-torch.inf).atan() / torch.pi
