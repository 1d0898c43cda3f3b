"""The least value of linear functionals over the sets around inputs: where a backward pass ends."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ironbound.certification.coefficients import Coefficients, Dense, Spots
from ironbound.certification.functionals import Rows


def least(region: Any, a: Coefficients | None, rows: Rows) -> Float[Tensor, " R"]:
    """min a . x' over the region of each row's input, in the pass's type; differentiable in a.

    On boxes a c - |a| r; elsewhere by the region's `support`, whose maximum is exact in float64.
    """
    if a is None:
        return torch.zeros(len(rows), dtype=rows.known.dtype, device=rows.known.device)
    a = Dense(a.dense()) if isinstance(a, Spots) else a
    if is_box(region):
        centre, radius = (rows.like(a, part) for part in rows.known.ball)
        return rows.dot(a.values, centre) - rows.dot(a.values.abs(), radius)
    values = a.dense()
    point, most = region.take(rows.owner).support(-values.detach())
    if not values.requires_grad:
        return -most.to(values.dtype)
    reached = rows.dot(values, point)  # the derivative is the point that is reached: the envelope theorem
    return reached - (reached + most.to(values.dtype)).detach()


def vertices(region: Any, a: Coefficients, rows: Rows) -> Tensor:
    """Where each functional is least, (R, ...): a start for attacks, on the worst vertex of the bound."""
    point: Tensor = region.take(rows.owner).support(-a.dense())[0]
    return point


def is_box(region: Any) -> bool:
    """Whether a region is all of its box."""
    return getattr(region, "norm", "") == "linf"
