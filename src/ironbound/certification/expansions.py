"""Operations that bounds take apart: normalisation, variances, division by what varies, the larger of two, squares.

What they are made of is bounded part by part, so that every part's bounds can be refined by a backward pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ironbound.certification.graph import Node, Ref

aten = torch.ops.aten


def centred(x: Tensor, dims: list[int]) -> Tensor:
    """x less its mean over dims."""
    return x - x.mean(dims, keepdim=True)


def scaled_by_rms(x: Tensor, inverse: Tensor, dims: list[int], eps: float, of_centred: bool) -> Tensor:
    """x times its inverse root mean square over dims, which is given; the rest is for bounds."""
    return x * inverse


def larger(a: Tensor, rest: Tensor, b: Tensor) -> Tensor:
    """max(a, b), of which `rest` = relu(b - a) is for linear bounds."""
    return torch.maximum(a, b)


def smaller(a: Tensor, rest: Tensor, b: Tensor) -> Tensor:
    """min(a, b), of which `rest` = relu(a - b) is for linear bounds."""
    return torch.minimum(a, b)


@dataclass(eq=False)
class Parts:
    """The nodes that stand for one; the last of them bears its name."""

    of: Node
    nodes: list[Node] = field(default_factory=list)

    def add(self, op: str, target: Callable[..., Any], *args: Any, shape: tuple[int, ...] | None = None) -> Ref:
        """One more, of the first argument's shape where none is given."""
        shape = shape or args[0].shape
        name = f"{self.of.name}.{len(self.nodes)}"
        self.nodes.append(Node(name, op, target, args, {}, self.of.module, True, shape))
        return Ref(name, True, shape)

    def done(self) -> list[Node]:
        """All of them."""
        last = self.nodes.pop()
        return [*self.nodes, Node(self.of.name, last.op, last.target, last.args, {}, last.module, True, last.shape)]


def _normalised(parts: Parts, x: Ref, dims: list[int], eps: float) -> Ref:
    """(x - mean) / sqrt(variance + eps) over dims, in five parts."""
    assert x.shape is not None
    c = parts.add("centred", centred, x, dims)
    square = parts.add("pow.Tensor_Scalar", aten.pow.Tensor_Scalar, c, 2)
    one = tuple(1 if at in dims else size for at, size in enumerate(x.shape))
    variance = parts.add("mean.dim", aten.mean.dim, square, dims, True, shape=one)
    inverse = parts.add("rsqrt.default", aten.rsqrt.default, parts.add("add.Tensor", aten.add.Tensor, variance, eps))
    return parts.add("scaled_by_rms", scaled_by_rms, c, inverse, dims, eps, True)


def _affine(parts: Parts, x: Ref, weight: Ref | None, bias: Ref | None) -> Ref:
    x = x if weight is None else parts.add("mul.Tensor", aten.mul.Tensor, x, weight)
    return x if bias is None else parts.add("add.Tensor", aten.add.Tensor, x, bias)


def layer_norm(node: Node) -> list[Node]:
    """native_layer_norm(x, normalized_shape, weight, bias, eps)."""
    x, over, weight, bias, eps = node.args
    parts = Parts(node)
    dims = list(range(len(x.shape) - len(over), len(x.shape)))
    _affine(parts, _normalised(parts, x, dims, eps), weight, bias)
    return parts.done()


def group_norm(node: Node) -> list[Node]:
    """native_group_norm(x, weight, bias, n, channels, positions, groups, eps)."""
    x, weight, bias, _, channels, _, groups, eps = node.args
    parts = Parts(node)
    wide = (x.shape[0], groups, math.prod(x.shape[1:]) // groups)
    made = _normalised(parts, _viewed(parts, x, wide), [2], eps)
    flat = (x.shape[0], channels, math.prod(x.shape[2:]))
    made = _viewed(parts, made, flat)
    column = [None if part is None else _column(parts, part) for part in (weight, bias)]
    _viewed(parts, _affine(parts, made, *column), x.shape)
    return parts.done()


def _viewed(parts: Parts, x: Ref, shape: tuple[int, ...]) -> Ref:
    return parts.add("view.default", aten.view.default, x, [-1, *shape[1:]], shape=shape)


def _column(parts: Parts, x: Ref) -> Ref:
    """A number for each channel, to be broadcast over positions."""
    name = f"{parts.of.name}.{len(parts.nodes)}"
    args = (x, -1)
    parts.nodes.append(Node(name, "unsqueeze.default", aten.unsqueeze.default, args, {}, parts.of.module, False, None))
    return Ref(name, False, None)


def square(node: Node) -> list[Node]:
    """x x as one operation of one argument."""
    parts = Parts(node)
    parts.add("pow.Tensor_Scalar", aten.pow.Tensor_Scalar, node.args[0], 2)
    return parts.done()


def product(node: Node) -> list[Node]:
    """x y of two values that vary: another operation than a multiplication by constants."""
    parts = Parts(node)
    parts.add("product", aten.mul.Tensor, *node.args, shape=node.shape)
    return parts.done()


def quotient(node: Node) -> list[Node]:
    """a / b as a (1/b)."""
    a, b = node.args
    parts = Parts(node)
    inverse = parts.add("reciprocal.default", aten.reciprocal.default, b)
    op = "product" if isinstance(a, Ref) and a.varies else "mul.Tensor"
    parts.add(op, aten.mul.Tensor, inverse, a, shape=node.shape)
    return parts.done()


def of_two(node: Node) -> list[Node]:
    """max(a, b) as a + relu(b - a), min(a, b) as a - relu(a - b)."""
    a, b = node.args
    parts = Parts(node)
    largest = node.op == "maximum.default"
    ends = (b, a) if largest else (a, b)
    rest = parts.add("sub.Tensor", aten.sub.Tensor, *ends, shape=node.shape)
    rest = parts.add("relu.default", aten.relu.default, rest)
    parts.add(*(("larger", larger) if largest else ("smaller", smaller)), a, rest, b, shape=node.shape)
    return parts.done()


def variance(node: Node) -> list[Node]:
    """var.correction(x, dims, correction=, keepdim=)."""
    x = node.args[0]
    assert x.shape is not None
    ndim = len(x.shape)
    dims = sorted(dim % ndim for dim in (node.args[1] or range(ndim)))
    parts = Parts(node)
    squares = parts.add("pow.Tensor_Scalar", aten.pow.Tensor_Scalar, parts.add("centred", centred, x, dims), 2)
    count = math.prod(x.shape[dim] for dim in dims)
    total = parts.add(
        "sum.dim_IntList", aten.sum.dim_IntList, squares, dims, bool(node.kwargs.get("keepdim")), shape=node.shape
    )
    freedom = count - node.kwargs.get("correction", 1)
    parts.add("mul.Tensor", aten.mul.Tensor, total, 1 / freedom if freedom > 0 else math.inf)
    return parts.done()


def norm(node: Node) -> list[Node]:
    """linalg_vector_norm(x, 2, dims, keepdim)."""
    x, _, dims, *keepdim = node.args
    parts = Parts(node)
    squares = parts.add("pow.Tensor_Scalar", aten.pow.Tensor_Scalar, x, 2)
    total = parts.add("sum.dim_IntList", aten.sum.dim_IntList, squares, dims, any(keepdim), shape=node.shape)
    parts.add("sqrt.default", aten.sqrt.default, total)
    return parts.done()


Expansion = Callable[[Node], list[Node]]


def expansion(node: Node) -> Expansion | None:
    """The rule that takes this node, whose value varies, apart; None where it stays as it is."""
    varying = [isinstance(arg, Ref) and arg.varies for arg in node.args]
    if node.op == "mul.Tensor" and all(varying):
        return square if node.args[0] == node.args[1] else product
    if node.op == "div.Tensor" and varying[1]:
        return quotient
    if node.op == "linalg_vector_norm.default":
        return norm if len(node.args) > 2 and node.args[1] == 2 and node.args[2] else None
    rule = RULES.get(node.op)
    return None if rule is None or (rule is not of_two and any(varying[1:])) else rule


RULES: dict[str, Expansion] = {
    "native_layer_norm.default": layer_norm,
    "native_group_norm.default": group_norm,
    "maximum.default": of_two,
    "minimum.default": of_two,
    "var.correction": variance,
}
