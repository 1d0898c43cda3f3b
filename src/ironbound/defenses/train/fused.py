"""A second attack loop, the only one that is allowed: the inner maximisation of adversarial training.

No counting, no judging, no early dropping: every sample takes all steps, and what is wanted is where they lead. Tested
to give the points of the engine's `Ascent(steps, Step(size))` with `CrossEntropy` and `Untargeted`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ironbound.core.rng import Rng
from ironbound.models.cheap import layout_kept
from ironbound.models.model import Model
from ironbound.searches.moves.steps import slid
from ironbound.searches.norms import norm_of

Move = Callable[[Callable[[Any, Rng], Tensor], Rng, Tensor, Tensor], Tensor]
"""(the model as a function of inputs and draws, draws, points, gradient) -> the next points."""


def ascend(
    model: Model,
    region: Any,
    loss: Callable[[Any], Tensor],
    start: Float[Tensor, "n ..."],
    *,
    steps: int,
    size: float | Float[Tensor, "n ..."],
    rng: Rng,
    cheap: bool = False,
    move: Move | None = None,
) -> Float[Tensor, "n ..."]:
    """The points that `steps` of p <- project(p + size * steepest(gradient of the loss)) lead to from `start`.

    The model is in evaluation mode (batch normalisation by its running statistics, no dropout) with its parameters out
    of the graph, and is given back as it was. `loss` takes logits (n, classes) and gives what is to become large, of each
    sample. `size` is in the unit of the region's radius, one number or one a sample; `cheap` passes run in bfloat16. On L1
    balls the steps are sparse, as those of the engine. `move` is another rule for the next point, which may ask the model.

    Paper: Madry et al. 2018 (arXiv 1706.06083), the equation in section 2.1.
    """
    p = start
    with layout_kept(model.module), model.opened(cheap) as answer:
        for step in range(steps):
            draws = rng.fold(step)
            leaf = p.detach().requires_grad_()
            with torch.enable_grad():
                (grad,) = torch.autograd.grad(loss(answer(region.apply(leaf, draws), draws)).sum(), leaf)
            p = stepped(region, p, grad, size) if move is None else move(answer, draws, p, grad)
    return p


def stepped(region: Any, p: Tensor, grad: Tensor, size: float | Tensor) -> Tensor:
    """project(p + size * steepest(grad)); on an L1 ball the sparse step of Slide, since one value a step is too little."""
    if norm_of(region) != "l1":
        return region.project(_moved(p, region.steepest(grad), size))
    each = torch.full_like(region.radius, size) if isinstance(size, float) else size.flatten().to(region.radius)
    return slid(region, p, grad, each)


def _moved(p: Tensor, direction: Tensor, size: float | Tensor) -> Tensor:
    """p + size * direction, in one pass over memory."""
    if isinstance(size, Tensor):
        return torch.addcmul(p, direction, size.to(p.dtype))
    return torch.add(p, direction, alpha=size)
