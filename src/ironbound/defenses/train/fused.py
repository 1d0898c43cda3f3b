"""A second attack loop, the only one that is allowed: the inner maximisation of adversarial training.

No counting, no judging, no early dropping: every sample takes all steps, and what is wanted is where they lead. Tested
to give the points of the engine's `Ascent(steps, Step(size))` with `CrossEntropy` and `Untargeted`.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from ironbound.core.rng import Rng
from ironbound.models.model import Model


def ascend(
    model: Model,
    region: Any,
    y: Int[Tensor, " n"],
    start: Float[Tensor, "n ..."],
    *,
    steps: int,
    size: float,
    rng: Rng,
    cheap: bool = False,
) -> Float[Tensor, "n ..."]:
    """The points that `steps` of p <- project(p + size * steepest(gradient of the cross-entropy)) lead to from `start`.

    The model is in evaluation mode (batch normalisation by its running statistics, no dropout) with its parameters out
    of the graph, and is given back as it was. `size` is in the unit of the region's radius; `cheap` passes run in
    bfloat16.

    Paper: Madry et al. 2018 (arXiv 1706.06083), the equation in section 2.1.
    """
    p = start
    with model.opened(cheap) as answer:
        for step in range(steps):
            draws = rng.fold(step)
            leaf = p.detach().requires_grad_()
            with torch.enable_grad():
                loss = F.cross_entropy(answer(region.apply(leaf, draws), draws), y, reduction="sum")
                (grad,) = torch.autograd.grad(loss, leaf)
            p = region.project(torch.add(p, region.steepest(grad), alpha=size))
    return p
