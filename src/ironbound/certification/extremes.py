"""The least value of linear functionals over the sets around inputs: where a backward pass ends."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ironbound.certification.coefficients import Coefficients, Dense, Patches, Spots
from ironbound.certification.functionals import Rows
from ironbound.certification.regions import Enclosed


def least(region: Any, a: Coefficients | None, rows: Rows) -> Float[Tensor, " R"]:
    """min a . x' over the region of each row's input, in the pass's type; differentiable in a.

    On boxes a c - |a| r. Balls say how far each value goes from x (`moves`): of windows of the input only those values are
    looked at. Elsewhere by the region's `support`. Exact up to rounding in the pass's type.
    """
    if a is None:
        return torch.zeros(len(rows), dtype=rows.known.dtype, device=rows.known.device)
    a = Dense(a.dense()) if isinstance(a, Spots) else a
    if is_box(region):
        centre, radius = (rows.like(a, part) for part in rows.known.ball)
        return rows.dot(a.values, centre) - rows.dot(a.values.abs(), radius)
    if hasattr(region, "moves"):
        return _moved(region, a, rows)
    values = a.dense()
    point, most = region.take(rows.owner).support(-values.detach())
    if not values.requires_grad:
        return -most.to(values.dtype)
    reached = rows.dot(values, point)  # the derivative is the point that is reached: the envelope theorem
    return reached - (reached + most.to(values.dtype)).detach()


def _moved(region: Any, a: Dense | Patches, rows: Rows) -> Float[Tensor, " R"]:
    """a x - sum |a| moves: the moves do not depend on small changes of a (the envelope theorem), and need no derivative."""
    x, lo, hi = (table.to(rows.known.dtype) for table in (region.x, region.lo, region.hi))
    slope = a.values.abs()
    room = torch.where(a.values < 0, rows.like(a, hi - x), rows.like(a, x - lo))
    moves = region.moves(slope.detach(), room, region.radius[rows.owner])
    return rows.dot(a.values, rows.like(a, x)) - rows.summed(slope * moves)


def vertices(region: Any, a: Coefficients, rows: Rows) -> Tensor:
    """Where each functional is least, (R, ...): a start for attacks, on the worst vertex of the bound."""
    point: Tensor = region.take(rows.owner).support(-a.dense())[0]
    return point


def is_box(region: Any) -> bool:
    """Whether a region is all of its box, or says no more of itself than that."""
    own = region.region if isinstance(region, Enclosed) else region
    return getattr(own, "norm", "") == "linf" or not hasattr(own, "support")
