"""Interval arithmetic on tensors: what each operation does to a box [lower, upper], value by value.

Every rule takes the node and the operation's own arguments, with an `Interval` for each argument that depends on the
input, and returns an `Interval` (or a tuple of them). All rules are exact for the operation by itself; what is lost is
that values of one layer depend on each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ironbound.certification.graph import Node


@dataclass(frozen=True, eq=False)
class Interval:
    """A box of values, lower <= upper, both of shape (k n, ...)."""

    lower: Tensor
    upper: Tensor

    @property
    def centre(self) -> Tensor:
        """The middle."""
        return (self.lower + self.upper) / 2

    @property
    def radius(self) -> Tensor:
        """Half the width, >= 0."""
        return (self.upper - self.lower) / 2

    @staticmethod
    def around(centre: Tensor, radius: Tensor) -> Interval:
        """[centre - radius, centre + radius]."""
        return Interval(centre - radius, centre + radius)


def end(tree: Any, name: str) -> Any:
    """Arguments with each interval replaced by its `lower` or `upper` end."""
    if isinstance(tree, Interval):
        return getattr(tree, name)
    return [end(part, name) for part in tree] if isinstance(tree, (list, tuple)) else tree


def monotone(node: Node, *args: Any, **kwargs: Any) -> Any:
    """An operation that rises with each of its varying arguments: both ends through the operation itself.

    ReLU, pooling with whatever padding, sums, and all that only moves values.
    """
    lower, upper = (node.target(*end(args, name), **kwargs) for name in ("lower", "upper"))
    if isinstance(lower, Tensor):
        return Interval(lower, upper)
    return tuple(Interval(low, high) for low, high in zip(lower, upper, strict=True))


def reshape(node: Node, x: Interval, *_: Any, **__: Any) -> Interval:
    """Another shape, row by row."""
    assert node.shape is not None
    shape = (-1, *node.shape[1:])
    return Interval(x.lower.reshape(shape), x.upper.reshape(shape))


def same(node: Node, x: Interval, *_: Any, **__: Any) -> Interval:
    """Nothing changes: clones, and casts (bounds keep their own type)."""
    return x


def piece(node: Node, parts: Any, at: int) -> Any:
    """One of several outputs."""
    return parts[at]


def negative(node: Node, x: Interval) -> Interval:
    """-x: the ends change places."""
    return Interval(-x.upper, -x.lower)


def subtract(node: Node, a: Any, b: Any, *, alpha: float = 1) -> Interval:
    """a - alpha b, alpha >= 0."""
    return Interval(end(a, "lower") - alpha * end(b, "upper"), end(a, "upper") - alpha * end(b, "lower"))


def multiply(node: Node, a: Any, b: Any) -> Interval:
    """a b: by a constant of any sign, or of two intervals (the least and greatest of the four products of ends)."""
    ends = [x * y for x in _ends(a) for y in _ends(b)]
    lower, upper = ends[0], ends[0]
    for product in ends[1:]:
        lower, upper = torch.minimum(lower, product), torch.maximum(upper, product)
    return Interval(lower, upper)


def divide(node: Node, a: Interval, b: Any) -> Interval:
    """a / b by a constant of any sign."""
    low, high = a.lower / b, a.upper / b
    return Interval(torch.minimum(low, high), torch.maximum(low, high))


def matrix(node: Node, x: Interval, weight: Tensor) -> Interval:
    """x W by centre and radius: c W -+ r |W| (Gowal et al. 2018, equation 6)."""
    return Interval.around(x.centre @ weight, x.radius @ weight.abs())


def affine(node: Node, bias: Tensor, x: Interval, weight: Tensor) -> Interval:
    """x W + b."""
    return Interval.around(torch.addmm(bias, x.centre, weight), x.radius @ weight.abs())


def convolve(node: Node, x: Interval, weight: Tensor, bias: Tensor | None, *how: Any) -> Interval:
    """A convolution, transposed or not; zeros that pad the input are constants, so their radius is zero too."""
    return Interval.around(node.target(x.centre, weight, bias, *how), node.target(x.radius, weight.abs(), None, *how))


def normalise(
    node: Node,
    x: Any,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor,
    var: Tensor,
    momentum: float,
    eps: float,
) -> tuple[Interval]:
    """Batch normalisation with given statistics: an affine map a channel (dimension 1)."""
    scale = torch.rsqrt(var + eps)
    scale = scale if weight is None else scale * weight
    shift = -mean * scale if bias is None else bias - mean * scale
    wide = (-1, *[1] * (x.lower.ndim - 2))
    scaled = multiply(node, x, scale.view(wide))
    shift = shift.view(wide)
    return (Interval(scaled.lower + shift, scaled.upper + shift),)


def softmax(node: Node, x: Interval, *dim: Any) -> Interval:
    """Each share is least where its own logit is least and all others are greatest."""
    logs = log_softmax(node, x, *dim)
    return Interval(logs.lower.exp(), logs.upper.exp())


def log_softmax(node: Node, x: Interval, dim: int, *_: Any) -> Interval:
    """log p_i = -log(1 + sum of exp(x_j - x_i) over j != i), which rises with x_i and falls with every other."""
    return Interval(_log_share(x.lower, x.upper, dim), _log_share(x.upper, x.lower, dim))


def _log_share(own: Tensor, others: Tensor, dim: int) -> Tensor:
    """log of exp(own_i) / (exp(own_i) + sum of exp(others_j) over j != i), shape (..., classes)."""
    own, others = own.movedim(dim, -1), others.movedim(dim, -1)
    nothing = torch.full_like(others[..., :1], -torch.inf)
    before = torch.cat([nothing, others.logcumsumexp(-1)[..., :-1]], -1)
    after = torch.cat([others.flip(-1).logcumsumexp(-1).flip(-1)[..., 1:], nothing], -1)
    rest = torch.logaddexp(before, after)
    return (own - torch.logaddexp(own, rest)).movedim(-1, dim)


def _ends(value: Any) -> list[Any]:
    return [value.lower, value.upper] if isinstance(value, Interval) else [value]
