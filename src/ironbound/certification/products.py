"""Products of two values that both depend on the input: of numbers and of matrices, and the scaling of normalisation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ironbound.certification.coefficients import Dense
from ironbound.certification.functionals import Back, Rows, varying
from ironbound.certification.graph import Node, Ref
from ironbound.certification.intervals import Interval, end, multiply
from ironbound.certification.transposes import added, transposed

SLACK = 1e-6
"""What rounding may add to the radius of a product."""


def matrices(node: Node, *args: Any, **kwargs: Any) -> Interval:
    """a @ b, and c + a @ b (baddbmm), over the last two dimensions; each of them constant or not.

    Two enclosures, of which the tighter end is taken: by centre and radius, which is exact where intervals straddle zero
    evenly, and by the signs of a, which is exact where no entry of a changes its sign (shares of attention).
    """
    first, second = args[-2:]
    if not isinstance(first, Interval):
        product = _by_centre(Interval(first, first), second)
    elif not isinstance(second, Interval):
        product = _by_centre(first, Interval(second, second))
    else:
        loose, signed = _by_centre(first, second), _by_sign(first, second)
        product = Interval(torch.maximum(loose.lower, signed.lower), torch.minimum(loose.upper, signed.upper))
    if len(args) == 2:
        return product
    low, high = (args[0].lower, args[0].upper) if isinstance(args[0], Interval) else (args[0], args[0])
    return Interval(product.lower + low, product.upper + high)


def _by_centre(a: Interval, b: Interval) -> Interval:
    """Rump 1999, "Fast and Parallel Interval Arithmetic", algorithm 4.6: (c -+ r) (d -+ s) in c d -+ (|c| s + r (|d| + s))."""
    c, d, r, s = a.centre, b.centre, a.radius, b.radius
    return Interval.around(c @ d, c.abs() @ s + r @ (d.abs() + s))


def _by_sign(a: Interval, b: Interval) -> Interval:
    """The parts of a above and below zero apart: both rise, or fall, with b."""
    parts = torch.cat([a.lower.clamp(min=0), a.upper.clamp(min=0), a.lower.clamp(max=0), a.upper.clamp(max=0)], -1)
    up, down = (torch.cat([end.clamp(min=0), end.clamp(max=0)], -2) for end in (b.lower, b.upper))
    above = parts.unflatten(-1, (4, -1))[..., [1, 0, 3, 2], :].flatten(-2)
    return Interval(parts @ torch.cat([up, down], -2), above @ torch.cat([down, up], -2))


def scaled_by_rms(
    node: Node, x: Interval, inverse: Interval, dims: list[int], eps: float, of_centred: bool
) -> Interval:
    """x_i / sqrt(mean of x_j^2 + eps), which rises with x_i and falls with every other |x_j|: exact over the box of x.

    Of values with mean zero the other squares sum to x_i^2 / (D - 1) or more, so that the result is within
    sqrt(D - 1). Intersected with the product of both intervals, since that of the inverse may have been refined.
    """
    count = 1
    for dim in dims:
        count *= x.lower.shape[dim]
    least = torch.where((x.lower < 0) & (x.upper > 0), 0.0, torch.minimum(x.lower.abs(), x.upper.abs())).square()
    most = torch.maximum(x.lower.abs(), x.upper.abs()).square()
    fewest, largest = ((part.sum(dims, keepdim=True) - part).clamp_min(0) for part in (least, most))

    def share(x: Tensor, away: Tensor) -> Tensor:
        """The value at this end of x, where `away` says whether it lies on the end's own side of zero."""
        own = x.square()
        others = torch.where(away, fewest, largest)
        if of_centred and count > 1:
            others = torch.maximum(others, own / (count - 1))
        return x * torch.rsqrt((others + own) / count + eps)

    product = multiply(node, x, inverse)
    low, high = share(x.lower, x.lower < 0), share(x.upper, x.upper > 0)
    return Interval(torch.maximum(low, product.lower), torch.minimum(high, product.upper))


def larger(node: Node, a: Any, rest: Interval, b: Any) -> Interval:
    """max(a, b), not its parts."""
    return Interval(*(torch.maximum(end(a, name), end(b, name)) for name in ("lower", "upper")))


def smaller(node: Node, a: Any, rest: Interval, b: Any) -> Interval:
    """min(a, b), not its parts."""
    return Interval(*(torch.minimum(end(a, name), end(b, name)) for name in ("lower", "upper")))


def centred(node: Node, x: Interval, dims: list[int]) -> Interval:
    """x less its mean over dims: one affine map, exact, where the difference of both intervals would count x twice."""
    centre, radius = x.centre, x.radius
    count = x.lower.numel() // x.lower.sum(dims).numel()
    spread = radius.mean(dims, keepdim=True) + radius * (1 - 2 / count)
    return Interval.around(centre - centre.mean(dims, keepdim=True), spread)


# ------------------------------------------------------------------------------------------------------ linear bounds
def factors(node: Node) -> list[Ref]:
    """The arguments whose intervals the planes of a product read: both, where both vary."""
    refs = varying(node)
    return refs if len(refs) > 1 else []


def multiplied(node: Node, a: Tensor, rows: Rows) -> Back:
    """x y, element by element, by a mean of McCormick's planes.

    For centres c, d and radii r, s two planes lie below x y = c d + ..., one exact in the corner where both are least, one
    where both are greatest; between them, for t in [-1, 1],

        x y >= (d + t s) x + (c + t r) y - (c + t r) (d + t s) - (1 - t^2) r s.

    What is asked for is least near the first corner if c, d > 0, near the second if both are negative, and near one where
    both planes are exact if their signs differ: t = -(p + q) / 2 with p, q the signs of c, d, or in [-1, 1] where an
    interval has zero inside. Above likewise, with the sign of d turned. Where the product's own interval is known to be
    narrower than that of its planes (a normalisation of values that may all be equal) its ends are taken instead.

    Paper: Shi et al. 2020, "Robustness Verification for Transformers" (arXiv 2002.06622), section 3.3, theorem 1, has the
    planes. Differs: they always take t = -1; any t has the same slack on average, and this one less where it counts.
    """
    refs = varying(node)
    x, y = (rows.value(ref) for ref in refs)
    c, d, r, s = x.centre, y.centre, x.radius, y.radius
    own = rows.value(Ref(node.name, True, node.shape))
    planes = torch.where(r * s <= own.radius * (1 + SLACK), a, 0.0)
    rest = a - planes
    constant = rows.summed(rest.clamp(min=0) * own.lower + rest.clamp(max=0) * own.upper)
    p, q, a, size = _side(x), _side(y), planes, planes.abs()
    # a t and |a| t, by which the planes' slopes and heights move, for coefficients of either sign
    even, odd = (a * p + size * q) / -2, (size * p + a * q) / -2
    parts = [
        (refs[0], _summed_to(a * d + odd * s, refs[0], rows)),
        (refs[1], _summed_to(a * c + even * r, refs[1], rows)),
    ]
    height = rows.summed(a * (c * d) + size * (r * s) + even * (r * d) + odd * (c * s))
    return Back(parts, constant - height)  # type: ignore[arg-type]


def _side(x: Interval) -> Tensor:
    """1 above zero, -1 below, between them where zero is inside."""
    return (x.centre / x.radius.clamp_min(torch.finfo(x.radius.dtype).tiny)).clamp(-1, 1)


def _summed_to(a: Tensor, ref: Ref, rows: Rows) -> Tensor:
    assert ref.shape is not None
    return a.sum_to_size(ref.shape[0] * len(rows), *ref.shape[1:])


def multiplied_matrices(node: Node, a: Tensor, rows: Rows) -> Back:
    """a @ b and c + a @ b: the planes of `multiplied` for every product in the sums."""
    first, second = node.args[-2:]
    if not (_varies(first) and _varies(second)):
        return transposed(node, a, rows)
    x, y = rows.value(first), rows.value(second)
    c, d, r, s = x.centre, y.centre, x.radius, y.radius
    p, q, size = _side(x), _side(y), a.abs()
    plain, spread, turned = a @ d.mT, size @ s.mT, a @ (q * s).mT
    into = plain - (p * spread + turned) / 2
    other = (c - p * r / 2).mT @ a - q * (r.mT @ size) / 2
    bias = plain * (c - p * r / 2) + spread * (r - p * c / 2) - (size @ (q * d).mT) * (r / 2) - turned * (c / 2)
    bias = -rows.summed(bias)
    parts: list[tuple[Ref, Any]] = [(first, into), (second, other)]
    if len(node.args) == 2:
        return Back(parts, bias)
    if _varies(node.args[0]):
        return Back([*parts, (node.args[0], _summed_to(a, node.args[0], rows))], bias)
    return Back(parts, bias + rows.summed(a * rows.value(node.args[0])))


def from_mean(node: Node, a: Tensor, rows: Rows) -> Back:
    """x less its mean: the map is its own transpose."""
    return Back([(node.args[0], a - a.mean(node.args[1], keepdim=True))])


def of_two(node: Node, a: Tensor, rows: Rows) -> Back:
    """The larger (smaller) of two by its parts."""
    return added(replace(node, op="add" if node.op == "larger" else "sub", args=node.args[:2]), Dense(a), rows)


def where(node: Node, a: Tensor, rows: Rows) -> Back:
    """One value or the other, by a constant mask."""
    mask, *values = node.args
    mask, parts, bias = rows.value(mask), [], torch.zeros(len(rows), dtype=a.dtype, device=a.device)
    for value, mine in zip(values, (mask, ~mask), strict=True):
        own = torch.where(mine, a, 0.0)
        if _varies(value):
            parts.append((value, _summed_to(own, value, rows)))
        else:  # 0 times the -inf of a mask is 0
            bias = bias + rows.summed(torch.where(own == 0, 0.0, own * rows.value(value)))
    return Back(parts, bias)  # type: ignore[arg-type]


def _varies(argument: Any) -> bool:
    return isinstance(argument, Ref) and argument.varies
