"""One backward pass: lower bounds of linear functionals of a layer's values, pulled through the graph to the input.

Only lower bounds are ever computed; an upper bound is one of the negative. At each node all rows wait with their
coefficients until every use of the node's value has added to them, so that paths that part and meet again cancel
exactly. Zhang et al. 2018 (arXiv 1811.00866), theorem 3.2; for graphs Xu et al. 2020, "Automatic Perturbation Analysis
for Scalable Certified Robustness and Beyond" (arXiv 2002.12920), algorithm 1.
"""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ironbound.certification.coefficients import Coefficients, Dense, Patches, Spots, plus
from ironbound.certification.functionals import Back, Known, Rows, varying
from ironbound.certification.graph import Node
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
    a = a if isinstance(a, Patches) else Dense(a.dense())
    slope, offset, rise, lift = _lines(node, operation, a, rows)
    above = a.values.clamp(min=0)
    inside = torch.addcmul(a.values * slope, above, rise)
    bias = None
    if offset is not None:
        bias = rows.dot(a.values, offset)
    if lift is not None:
        other = rows.dot(above, lift)
        bias = other if bias is None else bias + other
    if isinstance(a, Patches):
        return Back([(ref, Patches(inside, a.window))], bias)
    return Back([(ref, inside)], bias)


def _lines(node: Node, operation: Operation, a: Patches | Dense, rows: Rows) -> Any:
    """Slope and offset of the upper line, and how much more those of the lower one are, in the form of a."""
    assert operation.relax is not None
    (ref,) = varying(node)
    rest = [rows.value(argument) for argument in node.args if argument is not ref]
    kwargs = {name: rows.value(argument) for name, argument in node.kwargs.items()}
    if rows.free is not None and operation.start is not None:
        x = rows.known.values[ref.name]
        under = Interval(rows.like(a, x.lower), rows.like(a, x.upper))
        free = rows.free(node, under, len(a.values))
        return _apart(operation.relax(node, under, *rest, free=free, **kwargs))
    if node.name not in rows.known.lines:
        rows.known.lines[node.name] = _apart(operation.relax(node, rows.known.values[ref.name], *rest, **kwargs))
    return [None if part is None else rows.like(a, part) for part in rows.known.lines[node.name]]


def _apart(lines: Lines) -> tuple[Tensor, Tensor | None, Tensor, Tensor | None]:
    low, low_bias, high, high_bias = lines
    offset = None if isinstance(high_bias, float) else high_bias
    lift = None if isinstance(low_bias, float) and offset is None else low_bias - high_bias
    return _last(high), _last(offset), _last(low - high), None if lift is None else _last(torch.as_tensor(lift))


def _last(plane: Any) -> Any:
    """With the channels last, as transposed convolutions leave coefficients."""
    return plane.contiguous(memory_format=torch.channels_last) if plane is not None and plane.ndim == 4 else plane


def supported_by(known: Known) -> None:
    """Raise UnsupportedOperation where the graph has a node without a linear rule, before any work is done."""
    for node in known.graph.nodes:
        operation = OPERATIONS.get(node.op)
        if node.varies and operation is not None and not operation.linear:
            _through(node, Dense(torch.empty(0)), Rows(known, torch.empty(0, dtype=torch.int64)))
