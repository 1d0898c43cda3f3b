"""By how much the label wins everywhere in a box: bounds of z_y - z_j, with the last affine layer folded into them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ironbound.certification.graph import RESHAPES, Graph, Node, Ref
from ironbound.certification.interval import Propagation, Stats, propagate
from ironbound.certification.intervals import Interval
from ironbound.core.errors import InputError, ModelError

_SCALAR = frozenset(
    {"add.Tensor", "add.Scalar", "sub.Tensor", "sub.Scalar", "mul.Tensor", "mul.Scalar", "div.Tensor", "div.Scalar"}
)
_NOTHING = RESHAPES | {"clone.default", "alias.default", "detach.default", "_to_copy.default"}


@dataclass(frozen=True, eq=False)
class Margins:
    """What a method of certification answers."""

    least: Float[Tensor, "n classes"]
    """A lower bound of z_y - z_j for each class j, +inf for j = y."""
    scale: Float[Tensor, " n"]
    """The largest absolute value that a bound of any logit has: what tolerances are relative to."""
    cost: Float[Tensor, " n"] | float = 2.0
    """Forward rows that each row was worth."""
    learned: Any = None
    """What the method found out about its parameters in one row a problem, with `take`: for the pass in float64."""


def margins(
    graph: Graph,
    lo: Float[Tensor, "n ..."],
    hi: Float[Tensor, "n ..."],
    y: Int[Tensor, " n"],
    *,
    dtype: torch.dtype | None = None,
    weights: Mapping[str, Tensor] | None = None,
    stats: Stats = "running",
    clean: Float[Tensor, "m ..."] | None = None,
) -> Float[Tensor, "n classes"]:
    """Lower bounds of z_y - z_j over the boxes [lo, hi] for every class j; +inf for j = y. Differentiable.

    Arguments as for `propagate`. Row i is proved where all its entries are > 0.
    """
    return margins_of(propagate(graph, lo, hi, dtype=dtype, weights=weights, stats=stats, clean=clean), y)


def margins_of(passed: Propagation, y: Int[Tensor, " n"]) -> Float[Tensor, "n classes"]:
    """The same from a pass that has been made.

    Where the logits are an affine map W a + b of earlier values a (a linear layer, and constants added or multiplied
    after it), z_y - z_j is bounded over the box of a by (W_y - W_j) c - |W_y - W_j| r, which never is below the
    difference of the logits' own bounds: on a linear model it is exact. Other logits: lower(z_y) - upper(z_j).
    A log-softmax (or the log of a softmax) at the end changes no difference of logits, and is left out.

    Paper: Gowal et al. 2018 (arXiv 1810.12715), section 3, "elision of the last layer".
    """
    _checked(passed, y)
    logits = before_softmax(passed.graph)
    found = _last_affine(passed, logits)
    least = _apart(passed.values[logits], y) if found is None else _folded(*found, y)
    return least.scatter(1, y[:, None], math.inf)


def _apart(logits: Interval, y: Tensor) -> Tensor:
    return logits.lower.gather(1, y[:, None]) - logits.upper


def _folded(a: Interval, weight: Tensor, bias: Tensor, y: Tensor) -> Tensor:
    """Class by class of the labels that occur, so that no (n, classes, d) tensor is made."""
    centres = a.centre @ weight + bias
    least = centres.gather(1, y[:, None]) - centres
    radius, spread = a.radius, torch.zeros_like(least)
    for label in sorted(set(y.tolist())):
        rows = (y == label).nonzero()[:, 0]
        apart = (weight[:, label, None] - weight).abs()
        spread = spread.index_copy(0, rows, radius.index_select(0, rows) @ apart)
    return least - spread


def differences(y: Int[Tensor, " R"], other: Int[Tensor, " R"], classes: int, dtype: torch.dtype) -> Tensor:
    """The coefficients of z_y - z_j for one class j a row, (R, classes): what backward passes of margins begin with."""
    number = torch.arange(classes, device=y.device)
    return ((number == y[:, None]).int() - (number == other[:, None]).int()).to(dtype)


def only(least: Tensor, against: Tensor | None) -> Float[Tensor, "n classes"]:
    """Margins with +inf, which is proved, for the classes that nobody asks about."""
    return least if against is None else least.masked_fill(~against, math.inf)


def scale_of(passed: Propagation) -> Float[Tensor, " n"]:
    """The largest absolute value that a logit's interval allows: of the output, and of what goes into a softmax at its end.

    Shares and their logs are small where logits are large, and inherit the rounding of these.
    """
    ends = [passed.output, passed.values[before_softmax(passed.graph)]]
    sizes = [torch.maximum(end.lower.abs(), end.upper.abs()).flatten(1).amax(1) for end in ends]
    return torch.maximum(*sizes)


def before_softmax(graph: Graph) -> str:
    """The value of which the output is the log-softmax; the output itself where it is none."""
    nodes = {node.name: node for node in graph.nodes}
    found = []
    node = nodes.get(graph.output)
    while node is not None and node.op in ("log.default", "clamp.default", "clamp_min.default", *_NOTHING):
        found.append(node)
        node = nodes.get(node.args[0].name)
    clamps = [part for part in found if part.op.startswith("clamp")]
    logs = sum(part.op == "log.default" for part in found)
    known = node is not None and {"_log_softmax.default": 0, "_softmax.default": 1}.get(node.op) == logs
    harmless = all(len(part.args) == 2 and isinstance(part.args[1], float) and part.args[1] < 1e-30 for part in clamps)
    if node is None or not known or not harmless or len(clamps) > logs:
        return graph.output
    # A row of classes throughout: (1, classes) keeps its places whatever it passed through.
    rowwise = all(part.shape == (1, *graph.out_shape) for part in (*found, node)) and len(graph.out_shape) == 1
    return str(node.args[0].name) if rowwise else graph.output


def _last_affine(passed: Propagation, logits: str) -> tuple[Interval, Tensor, Tensor] | None:
    """(a, W, b) with logits a W + b, W (d, classes), b (classes,); None where the logits are not of that form."""
    nodes = {node.name: node for node in passed.graph.nodes}
    node, after = nodes.get(logits), []
    while node is not None and node.op in _SCALAR | _NOTHING and node.varies:
        varying = [arg for arg in node.args if isinstance(arg, Ref) and arg.varies]
        if len(varying) != 1 or varying[0].shape != node.shape or node.kwargs:
            return None
        after.append((node, varying[0].name))
        node = nodes.get(varying[0].name)
    if node is None or node.op not in ("addmm.default", "mm.default") or (node.shape or (0,))[0] != 1:
        return None
    values = [passed.values[arg.name] for arg in node.args if isinstance(arg, Ref)]
    bias = values[0] if node.op == "addmm.default" else values[1].new_zeros(values[1].shape[1])
    a, weight = values[-2:]
    return _followed(after, passed.values, a, weight, bias.expand(weight.shape[1]))


def _followed(after: list[tuple[Node, str]], values: dict[str, Any], a: Interval, weight: Tensor, bias: Tensor) -> Any:
    """The map after the constants that follow the layer; None where one of them differs from row to row."""
    for node, inner in reversed(after):
        if node.op in _NOTHING:
            continue
        first, second = (_constant(arg, inner, values) for arg in node.args[:2])
        constant = second if first is None else first
        shape = constant.shape if isinstance(constant, Tensor) else ()
        if len(shape) > 2 or (len(shape) == 2 and shape[0] != 1):
            return None
        constant = constant.reshape(-1) if isinstance(constant, Tensor) else constant
        operation = node.op.split(".")[0]
        if operation == "add":
            bias = bias + constant
        elif operation == "sub":
            weight, bias = (weight, bias - constant) if first is None else (-weight, constant - bias)
        elif operation == "mul":
            weight, bias = weight * constant, bias * constant
        else:
            weight, bias = weight / constant, bias / constant
    return a, weight, bias


def _constant(arg: Any, inner: str, values: dict[str, Any]) -> Any:
    """The constant that an argument is; None for the one that is computed from the input."""
    if not isinstance(arg, Ref):
        return arg
    return None if arg.name == inner else values[arg.name]


def must_have_classes(graph: Graph) -> None:
    """Raise ModelError where the graph's output is not one logit a class, of two or more."""
    shape = graph.out_shape
    if len(shape) != 1 or shape[0] < 2:
        raise ModelError(
            f"margins are between logits of two or more classes; the model answers (n, {', '.join(map(str, shape))}). "
            'For one logit a row say Model(..., outputs="logit").'
        )


def _checked(passed: Propagation, y: Tensor) -> None:
    must_have_classes(passed.graph)
    n = len(passed.output.lower)
    if y.dtype != torch.int64 or tuple(y.shape) != (n,):
        raise InputError(f"y must be int64 labels of shape ({n},), one a row; got {y.dtype} {tuple(y.shape)}.")
