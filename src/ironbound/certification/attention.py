"""Linear bounds of softmax and log-softmax: of a whole functional of the shares at once.

With s the logits in their box, s0 its centre, lse(s) = log of the sum of exp(s_j) and log p_i = s_i - lse(s):

- lse lies above its tangent at s0, lse(s0) + p(s0) . (s - s0);
- each exp lies below its chord; log of the sum of the chords, S(s), lies below its tangent at S(s0);
- p_i = exp(log p_i) lies between a tangent of exp and its chord over the interval of log p_i.

Together each share has a lower and an upper plane, and those of one group differ from each other in their own s_i alone,
so that a group of T shares costs O(T) and no T x T matrix is made. Since shares sum to one, the mean of a functional's
coefficients is taken out first and counts as a constant: what is equal for all shares has no slack.

Paper: the tangent and chord planes of log-sum-exp are those of Wei et al. 2023, "Convex Bounds on the Softmax Function with
Applications to Robustness Verification" (arXiv 2303.01713), section 4 (LSE bounds). Differs: they bound share by share, and
lower bounds go through log S here instead of 1/S. Shi et al. 2020, "Robustness Verification for Transformers" (arXiv
2002.06622), bounds exp, sum and reciprocal one after the other.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ironbound.certification.functionals import Back, Rows
from ironbound.certification.graph import Node
from ironbound.certification.intervals import Interval, log_softmax

WIDE = 30.0
"""Width of a logit's interval beyond which shares are bounded by constants: planes would be worse, and exp overflows."""
NOTHING = -1e30
"""Logits below this are shares of zero, as -inf is."""


NARROW = 1e-6


class Planes(NamedTuple):
    """lse(s) >= tangent + slope . s and lse(s) <= roof + rise . s; all (k n, ..., T), or 1 in place of T."""

    slope: Tensor
    tangent: Tensor
    rise: Tensor
    roof: Tensor


class Shares(NamedTuple):
    """p_i >= low_i (s_i - roof - rise . s) + below_i, p_i <= high_i (s_i - tangent - slope . s) + above_i, of `planes`."""

    planes: Planes
    low: Tensor
    below: Tensor
    high: Tensor
    above: Tensor
    middle: Tensor
    """The shares at the centre, which sum to one."""


def _planes(x: Interval) -> Planes:
    """Around log-sum-exp over the last dimension of a box."""
    wide = _wide(x)
    centre, lower, upper = x.centre, torch.where(wide, x.centre, x.lower), torch.where(wide, x.centre, x.upper)
    slope = centre.softmax(-1)
    level = centre.logsumexp(-1, keepdim=True)
    tangent = level - (slope * centre).sum(-1, keepdim=True)
    # Chords of exp(s - level), and the tangent of log at the height of their sum in the centre.
    start, chord = _chord((lower - level).exp(), (upper - level).exp(), upper - lower)
    total = (start + chord * (upper - lower) / 2).sum(-1, keepdim=True)
    rise = chord / total
    roof = level + total.log() - 1 + (start - chord * lower).sum(-1, keepdim=True) / total
    return Planes(
        torch.where(wide, 0.0, slope),
        torch.where(wide, x.lower.logsumexp(-1, keepdim=True), tangent),
        torch.where(wide, 0.0, rise),
        torch.where(wide, x.upper.logsumexp(-1, keepdim=True), roof),
    )


def _shares(node: Node, x: Interval) -> Shares:
    planes, centre, wide = _planes(x), x.centre, _wide(x)
    logs = log_softmax(node, x, -1)
    # Below: the tangent of exp at the height that the lower plane of log p has in the centre.
    height = centre - planes.roof - (planes.rise * centre).sum(-1, keepdim=True)
    low = height.exp()
    # Above: the chord of exp over the interval of log p.
    start, high = _chord(logs.lower.exp(), logs.upper.exp(), logs.upper - logs.lower)
    return Shares(
        planes,
        torch.where(wide, 0.0, low),
        torch.where(wide, logs.lower.exp(), low * (1 - height)),
        torch.where(wide, 0.0, high),
        torch.where(wide, logs.upper.exp(), start - high * logs.lower),
        centre.softmax(-1),
    )


def _chord(low: Tensor, high: Tensor, width: Tensor) -> tuple[Tensor, Tensor]:
    """Height at the left end and slope of a line above a convex function that is low and high at the ends.

    Of narrow intervals the slope is any that is not too steep; the height makes up for it, whatever was rounded.
    """
    slope = torch.where(width > NARROW, (high - low) / width.clamp_min(NARROW), high)
    return torch.maximum(low, high - slope * width), slope


def _wide(x: Interval) -> Tensor:
    """Groups whose planes would be worse than constants, (..., 1)."""
    return ~((x.upper - x.lower).amax(-1, keepdim=True) <= WIDE)


def _last(x: Interval, dim: int) -> Interval:
    """With the dimension of the shares behind all others, and -inf, which masks write, as a number."""
    low, high = (end.movedim(dim, -1).clamp_min(NOTHING) for end in (x.lower, x.upper))
    return Interval(low, high)


def softmax(node: Node, a: Tensor, rows: Rows) -> Back:
    """A functional of shares as one of logits."""
    ref, dim = node.args[:2]
    known = rows.known
    if node.name not in known.lines:
        known.lines[node.name] = _shares(node, _last(known.values[ref.name], dim))
    made = known.lines[node.name]
    planes = Planes(*(rows.gathered(part, False) for part in made.planes))
    low, below, high, above, middle = (rows.gathered(part, False) for part in made[1:])
    a = a.movedim(dim, -1)
    mean = (a * middle).sum(-1, keepdim=True)
    up, down = (a - mean).clamp(min=0), (a - mean).clamp(max=0)
    inside, bias = _pulled(planes, up * low, down * high)
    bias = bias + (up * below + down * above).sum(-1, keepdim=True) + mean
    return Back([(ref, inside.movedim(-1, dim))], rows.summed(bias))


def log_shares(node: Node, a: Tensor, rows: Rows) -> Back:
    """A functional of log-shares as one of logits."""
    ref, dim = node.args[:2]
    known = rows.known
    if node.name not in known.lines:
        known.lines[node.name] = _planes(_last(known.values[ref.name], dim))
    planes = Planes(*(rows.gathered(part, False) for part in known.lines[node.name]))
    a = a.movedim(dim, -1)
    inside, bias = _pulled(planes, a.clamp(min=0), a.clamp(max=0))
    return Back([(ref, inside.movedim(-1, dim))], rows.summed(bias))


def _pulled(planes: Planes, up: Tensor, down: Tensor) -> tuple[Tensor, Tensor]:
    """up . log p from below and down . log p (down <= 0), as coefficients of s and a constant for each group."""
    ups, downs = up.sum(-1, keepdim=True), down.sum(-1, keepdim=True)
    inside = up + down - ups * planes.rise - downs * planes.slope
    return inside, -ups * planes.roof - downs * planes.tangent
