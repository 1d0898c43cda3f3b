"""One backward pass: lower bounds of linear functionals of a layer's values, pulled through the graph to the input.

Only lower bounds are ever computed; an upper bound is one of the negative. At each node all rows wait with their
coefficients until every use of the node's value has added to them, so that paths that part and meet again cancel
exactly. Zhang et al. 2018 (arXiv 1811.00866), theorem 3.2; for graphs Xu et al. 2020, "Automatic Perturbation Analysis
for Scalable Certified Robustness and Beyond" (arXiv 2002.12920), algorithm 1.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ironbound.certification.coefficients import Coefficients, Dense, Patches, Spots, plus
from ironbound.certification.functionals import Back, Known, Rows, varying
from ironbound.certification.graph import Node, Ref
from ironbound.certification.intervals import Interval
from ironbound.certification.lines import Lines
from ironbound.certification.operations import OPERATIONS, Operation
from ironbound.certification.transposes import SPARSE
from ironbound.core.errors import UnsupportedOperation


class Pulled(NamedTuple):
    """What a backward pass comes to."""

    inside: Coefficients | None
    """Of the input; None where the value does not depend on it."""
    bias: Float[Tensor, " R"]
    work: float
    """Multiplications a row, about."""


def pulled(start: str, a: Coefficients, rows: Rows) -> Pulled:
    """Coefficients of the input and a constant, the sum of which is below a . (value of `start`) on the whole set.

    Raises UnsupportedOperation for nodes without a linear rule.
    """
    known = rows.known
    waiting: dict[str, Any] = {start: a}
    bias, work = torch.zeros(len(rows), dtype=known.dtype, device=known.device), 0.0
    for node in known.graph.upto(start):
        mine = waiting.pop(node.name, None)
        if mine is None:
            continue
        back = _through(node, mine, rows)
        work += known.work(node) * _share(mine, node)
        if back.bias is not None:
            bias = bias + back.bias
        for ref, part in back.parts:
            part = Dense(part) if isinstance(part, Tensor) else part
            if node.op == "getitem":
                outputs = waiting.setdefault(ref.name, {})
                outputs[node.args[1]] = plus(outputs.get(node.args[1]), part)
            else:
                waiting[ref.name] = plus(waiting.get(ref.name), part)
    return Pulled(waiting.get(known.graph.input), bias, work)


def _share(a: Any, node: Node) -> float:
    """The part of a value that coefficients are of."""
    if isinstance(a, Patches) and node.shape is not None:
        return a.values[0].numel() / prod(node.shape) if len(a.values) else 0.0
    return 0.0 if isinstance(a, Spots) else 1.0


def _through(node: Node, a: Any, rows: Rows) -> Back:
    operation = OPERATIONS[node.op]
    if operation.relax is not None:
        return _between_lines(node, operation, a, rows)
    rule = operation.backward
    if rule is None:
        raise UnsupportedOperation(
            f'{node.op} at {node.module} has interval bounds, but no linear ones: method="ibp" bounds it.'
        )
    if rule in SPARSE or isinstance(a, dict):
        return rule(node, a, rows)
    return rule(node, a.dense(), rows)


def _between_lines(node: Node, operation: Operation, a: Coefficients, rows: Rows) -> Back:
    """An element-wise function: positive coefficients take the lower line, negative ones the upper line."""
    (ref,) = varying(node)
    if not isinstance(a, Patches) or (rows.free is not None and _beside(node)):
        a = Dense(a.dense())
    low, low_bias, high, high_bias = _lines(node, operation, a, rows)
    above, below = a.values.clamp(min=0), a.values.clamp(max=0)
    inside = torch.addcmul(below * high, above, low)
    bias = None
    for part, constant in ((above, low_bias), (below, high_bias)):
        if constant is not None:
            mine = rows.dot(part, constant)
            bias = mine if bias is None else bias + mine
    return Back([(ref, replace(a, values=inside))], bias)


def _lines(node: Node, operation: Operation, a: Patches | Dense, rows: Rows) -> Any:
    """Slopes and constants of the lower and the upper line, in the form of a; None for a constant of zero."""
    assert operation.relax is not None
    (ref,) = varying(node)
    chosen = rows.free if operation.start is not None else None  # lines row by row
    read = rows.known.constant if chosen is None else rows.value
    rest = [read(argument) for argument in node.args if argument is not ref]
    kwargs = {name: read(argument) for name, argument in node.kwargs.items()}
    if chosen is not None:
        x = rows.known.values[ref.name]
        under = Interval(rows.like(a, x.lower), rows.like(a, x.upper))
        free = chosen(node, under, len(a.values))
        if operation.family is None or operation.choose is None:
            return _tensors(operation.relax(node, under, *rest, free=free, **kwargs))
        if node.name not in rows.known.families:  # once for all rows and passes over these intervals
            rows.known.families[node.name] = operation.family(node, x, *rest, **kwargs)
        family = tuple(rows.like(a, part) for part in rows.known.families[node.name])
        return _tensors(operation.choose(node, family, free))
    if node.name not in rows.known.lines:
        lines = _tensors(operation.relax(node, rows.known.values[ref.name], *rest, **kwargs))
        rows.known.lines[node.name] = [None if part is None else _last(part) for part in lines]
    return [None if part is None else rows.like(a, part) for part in rows.known.lines[node.name]]


def _beside(node: Node) -> bool:
    """Whether a function has constants that lie beside its argument, place by place (those of prelu: channel by channel)."""
    constants = [*node.args, *node.kwargs.values()]
    return node.op != "prelu.default" and any(isinstance(part, Ref) and not part.varies for part in constants)


def _tensors(lines: Lines) -> list[Tensor | None]:
    return [None if isinstance(part, float) else part for part in lines]


def _last(plane: Tensor) -> Tensor:
    """With the channels last, as transposed convolutions leave coefficients."""
    return plane.contiguous(memory_format=torch.channels_last) if plane.ndim == 4 else plane


def supported_by(known: Known) -> None:
    """Raise UnsupportedOperation where the graph has a node without a linear rule, before any work is done."""
    for node in known.graph.nodes:
        operation = OPERATIONS.get(node.op)
        if node.varies and operation is not None and not operation.linear:
            _through(node, Dense(torch.empty(0)), Rows(known, torch.empty(0, dtype=torch.int64)))
