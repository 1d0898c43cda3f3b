"""Where linear bounds of margins are least over a set: what a verifier fears, as starts for attacks."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ironbound.certification.backward import pulled
from ironbound.certification.bounder import swept
from ironbound.certification.coefficients import Dense
from ironbound.certification.extremes import vertices
from ironbound.certification.functionals import Rows
from ironbound.certification.graph import Graph
from ironbound.certification.margins import before_softmax, differences
from ironbound.certification.regions import region_of
from ironbound.core.errors import UnsupportedOperation
from ironbound.core.protocols import PerturbationSet
from ironbound.core.rows import of_rows
from ironbound.models.model import Model

ROWS = 256
COST = 2.0
"""Forward rows of an interval pass; every point costs one more."""


@torch.no_grad()
def worst_points(
    graph: Graph,
    model: Model,
    x: Float[Tensor, "n ..."],
    y: Int[Tensor, " n"],
    targets: Int[Tensor, "n k"],
    set_: PerturbationSet,
) -> Float[Tensor, "n k ..."]:
    """For each input and target class t the point of the set where a linear function below z_y - z_t is least.

    The function is CROWN's over interval bounds (method `crown-ibp`): one backward row a point. Points are in the set, up to
    the rounding of float32.

    Raises UnsupportedOperation where a layer has no linear rule or the set no `support`, UsageError where points of the set
    are no inputs.
    """
    parts = [
        _of_chunk(graph, of_rows(set_, at.cpu()), model, x[at], y[at], targets[at])
        for at in torch.arange(len(x), device=x.device).split(ROWS)
    ]
    return torch.cat(parts) if parts else x.new_zeros(0, targets.shape[1], *x.shape[1:])


def _of_chunk(graph: Graph, set_: PerturbationSet, model: Model, x: Tensor, y: Tensor, targets: Tensor) -> Tensor:
    region = region_of(set_, x, model.box)
    if not hasattr(region, "support"):
        raise UnsupportedOperation(
            f"{type(set_).__name__} does not say where a linear function is largest on it (support)."
        )
    passed, bounder = swept(graph, region, x.dtype, refine=False)
    assert bounder.known is not None
    count = targets.shape[1]
    owner = torch.arange(len(x), device=x.device).repeat_interleave(count)
    a = differences(y[owner], targets.reshape(-1), passed.output.lower.shape[1], x.dtype)
    rows = Rows(bounder.known, owner)
    inside = pulled(before_softmax(graph), Dense(a), rows).inside
    if inside is None:  # the margin does not depend on the input
        return x[:, None].expand(-1, count, *x.shape[1:])
    return vertices(region, inside, rows).to(x.dtype).view(len(x), count, *x.shape[1:])
