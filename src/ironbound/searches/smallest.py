"""The smallest witness of each problem so far, and the final search between it and x: what searches for small changes share."""

from __future__ import annotations

import math
from collections.abc import Generator
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ironbound.core.judge import TAU, convincing, scale_of
from ironbound.core.protocols import Answer, Ask, Task
from ironbound.core.rows import column, flat, kept
from ironbound.sets.bounds import inner_box

BEYOND = 0.1  # of the way back to a witness: where the final search looks, rather than at the level that suffices
ENOUGH = 1.5  # times the least margin that the judge accepts: the level that searches aim at
FURTHEST = 3.0  # times the length of a witness that is too weak: how far the final search goes


def tables(x: Tensor, clean: Answer) -> dict[str, Tensor]:
    """What a search keeps in its state, before anything was found; `clean` is what was heard of x."""
    far = torch.full((len(x),), math.inf, dtype=torch.float64, device=x.device)
    never = torch.zeros_like(clean.success)
    return {
        "best": x.clone(),
        "size": far,
        "firm": never,
        "value": far,
        "scale": torch.zeros_like(far),
        "clean": clean.value,
    }


def note(
    task: Task, s: Any, norm: str, p: Tensor, answer: Answer, owner: Int[Tensor, " m"] | None = None
) -> Bool[Tensor, " m"]:
    """Keep the smallest adversarial point of each problem, those that convince the judge first; says which are new."""
    if (scale := scale_of(answer.outputs)) is not None:
        row = torch.arange(task.n, device=p.device) if owner is None else owner
        s.scale = s.scale.index_copy(0, row, torch.maximum(s.scale[row], scale))
    if not bool(answer.success.any()):
        return answer.success
    x, known, sure, largest = (
        table if owner is None else table.index_select(0, owner) for table in (task.region.x, s.size, s.firm, s.scale)
    )
    # a target's value below 0 says nothing about the margin: another class is answered
    firm, size = (answer.value <= 0) | convincing(answer.value, largest), length(norm, flat(p - x))
    new = answer.success & torch.where(firm == sure, size < known, firm)
    at = new.nonzero()[:, 0]
    if len(at):
        row = at if owner is None else owner[at]
        s.best.index_copy_(0, row, kept(p, at, len(p)))
        s.size, s.firm = s.size.index_copy(0, row, size[at]), s.firm.index_copy(0, row, firm[at])
        s.value = s.value.index_copy(0, row, answer.value[at].double())
    return new


def put(s: Any, row: Int[Tensor, " m"], p: Tensor, size: Tensor, value: Tensor, scale: Tensor) -> None:
    """These points are what the final search starts from, whatever was noted before: they convince the judge."""
    s.best.index_copy_(0, row, p)
    s.size, s.value = s.size.index_copy(0, row, size), s.value.index_copy(0, row, value.double())
    s.firm, s.scale = s.firm.index_fill(0, row, True), s.scale.index_copy(0, row, scale)


def final(task: Task, s: Any, norm: str, looks: int) -> Generator[Ask, Answer, None]:
    """Interpolate the objective between x and the smallest witness, keep what still wins; `looks` forward rows a problem.

    A witness that is too weak for the judge is gone beyond instead, as far as the objective's slope suggests.
    """
    task.compact()
    s.low, s.under = torch.zeros_like(s.size), s.clean.double()
    for _ in range(looks):
        task.compact()
        row = ((s.size > 0) & torch.isfinite(s.size)).nonzero()[:, 0]
        if len(row) == 0:
            return
        t = _where_to_look(s, row)
        x, best = task.region.x[row], s.best[row]
        q = (x + column(t, x) * (best - x)).clamp_(*inner_box(task.region.box, x.dtype))
        answer = yield Ask(q, owner=row)
        low, new = s.low[row], note(task, s, norm, q, answer, row)
        nearer = ~new & (t < 1)  # of a new end at t, what was at low is now at low / t
        s.low = s.low.index_copy(0, row, torch.where(new, low / t, torch.where(nearer, t, low)))
        s.under = s.under.index_copy(0, row, torch.where(nearer, answer.value.double(), s.under[row]))


def _where_to_look(s: Any, row: Int[Tensor, " r"]) -> Float[Tensor, " r"]:
    """The place between x (0) and the witness (1) where the objective should suffice; beyond 1 where a weak one does not."""
    low, under, over = s.low[row], s.under[row], s.value[row]
    level = ENOUGH * TAU * s.scale[row]
    t = low + (1 - low) * (level - under) / (over - under)
    crossing = (under < level) & (over > under) & (over > 0) & torch.isfinite(t)
    t = torch.where(t < 1, t + BEYOND * (1 - t), torch.where(s.firm[row], 1.0, t.clamp_max(FURTHEST)))
    return torch.where(crossing, t, (low + 1) / 2)


def length(norm: str, change: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
    """The length of each change, float64."""
    if norm == "l2":
        return torch.linalg.vector_norm(change, dim=1).double()
    size = change.abs()  # linalg's other norms are ten times slower
    return (size.amax(1) if norm == "linf" else size.sum(1)).double()
