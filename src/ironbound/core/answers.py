"""The way back: what was heard of the granted rows as an answer to all rows that were asked."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ironbound.core import rows
from ironbound.core.pairing import Pairs
from ironbound.core.passes import Heard
from ironbound.core.protocols import Answer, Ask
from ironbound.core.task import Task


def scattered(
    task: Task, ask: Ask, heard: Heard, rate: Tensor | None, enough: Tensor | None, granted: Tensor,
    index: Tensor | None,
) -> Answer:  # fmt: skip
    """The rows that were run at their places (`index`; None: all), the others as if refused."""
    back = lambda v, fill: rows.spread(v, index, len(granted), fill)

    def gradients(v: Any, *middle: int) -> Any:
        if index is None or not isinstance(v, list):
            return back(v, 0)
        return rows.put(_zeros(task, ask, *middle), index, v)

    success = heard.margin > 0 if enough is None else enough
    return Answer(
        back(heard.outputs, 0), back(heard.value, -torch.inf), back(success, False), granted,
        back(rate, 0), back(heard.loss, -torch.inf),
        gradients(heard.grad), gradients(heard.jac, *([] if ask.jac is None else ask.jac.shape[1:])),
    )  # fmt: skip


def refused(task: Task, ask: Ask, granted: Tensor, like: Any, collective: bool) -> Answer:
    """Nothing was granted: -inf, False and zeros in the right shapes; `like` is a row of earlier outputs."""
    count, device = len(granted), granted.device
    none = torch.zeros(0, dtype=torch.long, device=device)
    return Answer(
        outputs=None if like is None else rows.spread(rows.part(like, slice(0, 0)), none, count, 0),
        value=torch.full((count,), -torch.inf, device=device),
        success=torch.zeros(count, dtype=torch.bool, device=device),
        granted=granted,
        rate=torch.zeros(count, dtype=torch.float64, device=device) if collective else None,
        loss=None if ask.loss is None else torch.full((count,), -torch.inf, device=device),
        grad=_zeros(task, ask) if ask.grad else None,
        jac=None if ask.jac is None else _zeros(task, ask, ask.jac.shape[1]),
    )


def _zeros(task: Task, ask: Ask, *middle: int) -> Any:
    """Gradients for rows that were not granted, in the shape of each row's own leaf."""
    region = task.region if ask.owner is None else task.region.take(ask.owner)
    return rows.zeros(region.leaf(region.identity()), *middle)


def added(new: Any, old: Any, pairs: Pairs, at: slice) -> Any:
    """Gradients of a slice of pairs added to the sums of their rows, float64, in the pairs' order."""
    if new is None:
        return None
    if old is None:
        many = len(pairs.counts)
        old = rows.each(lambda g: torch.zeros(many, *g.shape[1:], dtype=torch.float64, device=g.device), new)
    return rows.each(lambda total, g: total.index_add_(0, pairs.row[at], g.double()), old, new)


def averaged(sums: Any, pairs: Pairs, region: Any) -> Any:
    """The means of such sums, in the points' own type."""
    if sums is None:
        return None
    mean = rows.each(lambda s: s / pairs.counts.double().view(-1, *[1] * (s.ndim - 1)), sums)
    return rows.each(lambda s, p: s.to(p.dtype), mean, region.leaf(region.identity()))
