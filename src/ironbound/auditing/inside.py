"""Adversarial inputs as points of a region: what is inside the threat, and how far it goes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ironbound.core.rows import column, flat, of_rows


def around(threat: Any, places: Any, x: Any, box: Any) -> Any:
    """The region of some samples: those at these places of the data that the threat was made for."""
    return of_rows(threat, places).at(x, box)


def kept(threat: Any) -> bool:
    """Whether points are kept beside the witnesses, since no one could tell them from the inputs (angles, flow fields)."""
    return getattr(threat, "parametric", False)


def points_of(region: Any, inputs: Any, points: Any = None) -> Any:
    """The points that stand for these inputs; the inputs themselves, unless the region says otherwise (`locate`).

    Where points were kept, those, if they make the inputs again but for rounding; else NaN, which is in no set.
    """
    if kept(region):
        made = None if points is None else region.apply(points, None)
        if made is None or made.shape != inputs.shape:
            return torch.full_like(region.identity(), torch.nan)
        return torch.where(column(_alike(made, inputs), points), points, torch.nan)
    locate = getattr(region, "locate", None)
    return inputs if locate is None else locate(inputs)


def _alike(made: Tensor, inputs: Tensor) -> Tensor:
    """Which rows differ by no more than kernels may round otherwise in other company, or elsewhere."""
    eps = torch.finfo(inputs.dtype).eps
    largest = torch.maximum(flat(made).abs().amax(1), flat(inputs).abs().amax(1)).double()
    return flat(made.double() - inputs.double()).abs().amax(1) <= 256 * eps * largest
