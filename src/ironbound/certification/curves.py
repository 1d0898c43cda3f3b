"""Linear bounds of smooth functions of one argument, by one construction from the function, its slope and its bends.

A `Curve` is convex and concave by turns, and changes at its bends. The best lower lines on [l, u] are those that support the
function's convex envelope there: tangents at points of a convex part, or the chord of the two ends where every tangent of
the convex part passes above one of them. Upper lines are lower lines of -f, mirrored.

Why these lines are sound whatever the search for tangent points has found: let h(z) = f(z) - s z, whose minimum is the bias.

- On a concave part h is least at an end of that part; on a convex part it is least where f' = s, or at an end of the part.
- For a tangent, s = f'(t) with t inside the convex part: h is least at t there, and at the outer ends of the concave
  neighbours. So min(h(l), h(t), h(u)) is the exact minimum for *any* t of the part, and the search only decides which
  of these sound lines is taken. Of two convex parts (the upper side of GELU) the slopes must lie apart, as they do for
  every curve here: then h rises or falls throughout the other part, and is least at l or at u.
- The chord is taken where there is no convex part, or where the search has seen every tangent fail: `gap` is monotone
  along a convex part, so that one point which fails for l lets all nearer ones fail, and likewise for u.

Papers: Zhang et al. 2018, "Efficient Neural Network Robustness Certification with General Activation Functions" (CROWN, arXiv
1811.00866), section 3.2 and appendix; Singh et al. 2019, "An Abstract Domain for Certifying Neural Networks" (DeepPoly, POPL);
Shi et al. 2024, "Neural Network Verification with Branch-and-Bound for General Nonlinearities" (GenBaB, arXiv 2405.21063).
Differs: those treat each function by cases, with tables or bisections made for it; here one rule serves all. Tangents stand
by default at the middle (the least area), and `free` moves them over all of the envelope, as in Xu et al. 2021 (alpha-CROWN,
arXiv 2011.13824).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ironbound.certification.intervals import Interval
from ironbound.certification.lines import Lines

STEPS = 7
"""Evaluations in the search for a tangent point; each leaves the lines sound."""
SHORT = 1e-30
"""An interval that is no wider has no chord of its own."""
Function = Callable[[Tensor], Tensor]
Line = tuple[Tensor, Tensor]


def _half(distance: Tensor) -> Tensor:
    return distance / 2


@dataclass(frozen=True, eq=False)
class Curve:
    """A function of one argument, with at most two bends."""

    value: Function
    slope: Function
    """The derivative; at a kink that of the convex or concave part between the bends."""
    convex: bool = True
    """Whether it is convex before its first bend (or all along, where it has none)."""
    bends: tuple[float, ...] = ()
    """Where it changes from convex to concave or back, ascending. With two, the slopes before the first and after the second
    have no value in common."""
    guess: Function = _half
    """How far behind a bend the tangent touches that passes through a point at a given distance before it: where to look
    first. Exact for cubics, and so for all smooth functions when the distance is small."""
    kinked: bool = False
    """Whether the slope jumps at the bends."""
    reach: float = math.inf
    """How far from the lower end the default tangent may touch."""
    turns: tuple[tuple[float, float], ...] = ()
    """Where it goes from falling to rising or back, and its value there, rounded outwards."""
    start: float = -math.inf
    """Below this it is not defined."""
    pole: bool = False
    """Whether it is infinite at 0."""
    drop: tuple[float, float] | None = None
    """(place, height): beyond the place the operation may be lower than `value`, by at most this height."""

    def dropped(self, bound: Tensor, upper: Tensor) -> Tensor:
        """A lower bound on an interval up to `upper`, of the operation in place of `value`."""
        return bound if self.drop is None else torch.where(upper > self.drop[0], bound - self.drop[1], bound)


def image(curve: Curve, x: Interval) -> Interval:
    """The least and greatest value on [x.lower, x.upper]: at the ends, or where the function turns.

    Infinite where the interval holds a pole; NaN, which proves nothing, where the function is not defined on all of it.
    """
    first, second = curve.value(x.lower), curve.value(x.upper)
    low, high = torch.minimum(first, second), torch.maximum(first, second)
    for place, value in curve.turns:
        inside = (x.lower < place) & (x.upper > place)
        low = torch.where(inside, low.clamp(max=value), low)
        high = torch.where(inside, high.clamp(min=value), high)
    if curve.pole:
        inside = (x.lower <= 0) & (x.upper >= 0)
        low, high = torch.where(inside, -math.inf, low), torch.where(inside, math.inf, high)
    if curve.start > -math.inf:
        outside = x.lower < curve.start
        low, high = torch.where(outside, math.nan, low), torch.where(outside, math.nan, high)
    return Interval(curve.dropped(low, x.upper), high)


def relaxed(curve: Curve, x: Interval, free: Tensor | None = None) -> Lines:
    """Lines below and above the curve on [x.lower, x.upper], in shapes that broadcast with these.

    Where values are infinite the lines are flat, through the bounds of `image` (NaN where that is).

    free: in [0, 1], of a shape that broadcasts: the tangent touches at the lower end of what is possible at 0, at its default
        at 1/2, at the upper end at 1. None is 1/2.

    Differentiable in `free` and in the ends. What is lost to rounding is of the order of the values' own.
    """
    with torch.no_grad():  # an infinite value has no gradient
        values = image(curve, x)
    usable = values.lower.isfinite() & values.upper.isfinite()
    lower, upper = torch.where(usable, x.lower, 1), torch.where(usable, x.upper, 1)
    sides = []
    for sign, bound in ((1, values.lower), (-1, -values.upper)):
        slope, bias = _Side(curve, sign, lower, upper).line(free)
        usable_line = usable & slope.isfinite() & bias.isfinite()
        sides.append((torch.where(usable_line, slope, 0), torch.where(usable_line, bias, bound)))
    (lower_slope, lower_bias), (upper_slope, upper_bias) = sides
    return Lines(lower_slope, curve.dropped(lower_bias, x.upper), -upper_slope, -upper_bias)


@dataclass(frozen=True, eq=False)
class _Side:
    """Lower lines of g = sign f on [l, u]."""

    curve: Curve
    sign: int
    l: Tensor  # noqa: E741
    u: Tensor

    def value(self, z: Tensor) -> Tensor:
        return self.curve.value(z) * self.sign

    def slope(self, z: Tensor) -> Tensor:
        return self.curve.slope(z) * self.sign

    def line(self, free: Tensor | None) -> Line:
        """(slope, bias)."""
        chord = self._chord()
        convex_first = self.curve.convex == (self.sign > 0)
        if not self.curve.bends and not convex_first:
            return chord, self._least(chord)
        if not self.curve.bends:
            t = self._moved(self.l, self.u, free)
            slope = self.slope(t)
            return slope, self._least(slope, t)
        a, b = self._part(convex_first)
        first, last = self._inside(torch.clamp(a, self.l, self.u), torch.clamp(b, self.l, self.u))
        low, none_low, failed_low = self._touching(self.l, first, last)
        high, none_high, failed_high = self._touching(self.u, last, first)
        straight = (b <= self.l) | (a >= self.u) | none_low | none_high | (failed_low >= failed_high)
        t = self._moved(low, high, free)
        slope = self._at_kink(self.l, first, t, self._at_kink(self.u, last, t, self.slope(t)))
        slope, t = torch.where(straight, chord, slope), torch.where(straight, self.l, t)
        return slope, self._least(slope, t)

    def _least(self, slope: Tensor, *t: Tensor) -> Tensor:
        """The least value of g(z) - slope z, which is attained at an end or at t."""
        bias = torch.minimum(self.value(self.l) - slope * self.l, self.value(self.u) - slope * self.u)
        for z in t:
            bias = torch.minimum(bias, self.value(z) - slope * z)
        return bias

    def _chord(self) -> Tensor:
        """The slope between the ends, kept within those of g on [l, u]: over short intervals rounding would take it out."""
        wide = self.u - self.l
        chord = (self.value(self.u) - self.value(self.l)) / torch.where(wide > SHORT, wide, 1)
        with torch.no_grad():
            slopes = [self.slope(torch.clamp(self.l.new_tensor(bend), self.l, self.u)) for bend in self.curve.bends]
            slopes += [self.slope(self.l), self.slope(self.u)]
            least, most = slopes[0], slopes[0]
            for slope in slopes[1:]:
                least, most = torch.minimum(least, slope), torch.maximum(most, slope)
        return torch.clamp(chord, least, most)

    def _part(self, convex_first: bool) -> tuple[Tensor, Tensor]:
        """The convex part [a, b] that tangents may touch, possibly infinite."""
        bends, inf = self.curve.bends, math.inf
        if len(bends) == 1:
            a, b = (-inf, bends[0]) if convex_first else (bends[0], inf)
            return self.l.new_tensor(a), self.l.new_tensor(b)
        p, q = (self.l.new_tensor(bend) for bend in bends)
        if not convex_first:
            return p, q
        left = (self.l < p) & (self._gap(self.u, self.l) >= 0)
        return torch.where(left, -inf, q), torch.where(left, p, inf)

    def _gap(self, end: Tensor, t: Tensor) -> Tensor:
        """How far the tangent at t passes below g(end); rises as t comes nearer to the far end of a convex part."""
        return self.value(end) - self.value(t) - self.slope(t) * (end - t)

    def _touching(self, end: Tensor, near: Tensor, far: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The nearest point to `end`, on the convex part from `near` to `far`, whose tangent passes below g(end).

        Returns the point, where there is none, and the nearest point that was seen to fail (NaN where the first does not).
        """
        with torch.no_grad():
            at_near, at_far = self._gap(end, near), self._gap(end, far)
            settled = at_near >= 0
            good, bad, at_good, at_bad = far, near, at_far, at_near
            distance = (near - end).abs()
            ahead = torch.where(far >= near, 1.0, -1.0) * self.curve.guess(distance)
            t = near + 0.9 * ahead
            before = torch.zeros_like(near)  # the side that moved last: 1 good, -1 bad
            for step in range(STEPS):
                t = torch.where((t - bad) * (t - good) < 0, t, (bad + good) / 2)
                gap = self._gap(end, t)
                fine = gap >= 0
                at_bad = torch.where(fine, torch.where(before > 0, at_bad / 2, at_bad), gap)
                at_good = torch.where(fine, gap, torch.where(before < 0, at_good / 2, at_good))
                good, bad = torch.where(fine, t, good), torch.where(fine, bad, t)
                before = torch.where(fine, 1.0, -1.0) if step > 0 else before
                t = near + 1.1 * ahead if step == 0 else (bad * at_good - good * at_bad) / (at_good - at_bad)
            t = torch.where((t - bad) * (t - good) < 0, t, good)
        point = torch.where(settled, near, self._following(end, t))
        return point, ~settled & (at_far < 0), torch.where(settled, math.nan, bad)

    def _inside(self, first: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
        """The ends of a convex part, of kinked curves moved inwards by a rounding, to where the slope is the part's own."""
        if not self.curve.kinked:
            return first, last
        with torch.no_grad():
            up, down = torch.nextafter(first, last) - first, torch.nextafter(last, first) - last
        return first + torch.where(first > self.l, up, 0), last + torch.where(last < self.u, down, 0)

    def _moved(self, low: Tensor, high: Tensor, free: Tensor | None) -> Tensor:
        """Where the tangent touches: in the middle of [l, u] as far as [low, high] allows, or where `free` says."""
        middle = self.l / 2 + self.u / 2
        middle = middle if math.isinf(self.curve.reach) else torch.minimum(middle, self.l + self.curve.reach)
        middle = torch.clamp(middle, low, high)
        if free is None:
            return middle
        return torch.where(free < 0.5, torch.lerp(low, middle, 2 * free), torch.lerp(middle, high, 2 * free - 1))

    def _at_kink(self, end: Tensor, near: Tensor, t: Tensor, slope: Tensor) -> Tensor:
        """The slope at t; at a kink that of the line through the end, which lies nearer to the function there."""
        if not self.curve.kinked:
            return slope
        both = (t == near) & ((t - end).abs() > 1e-3 * (self.u - self.l))
        line = (self.value(t.detach()) - self.value(end)) / torch.where(both, t.detach() - end, 1)
        line = torch.minimum(line, slope) if end is self.l else torch.maximum(line, slope)
        return torch.where(both, line, slope)

    def _following(self, end: Tensor, t: Tensor) -> Tensor:
        """t, with the gradient that it has as the point whose tangent passes through the end.

        From gap(end, t) = 0: dt / d end = (g'(t) - g'(end)) / (g''(t) (t - end)).
        """
        if not end.requires_grad:
            return t
        with torch.no_grad():
            step = torch.finfo(t.dtype).eps ** (1 / 3) * (1 + t.abs())
            bend = (self.slope(t + step) - self.slope(t - step)) / (2 * step)
            rate = (self.slope(t) - self.slope(end)) / (bend * (t - end))
            rate = torch.where(rate.isfinite(), rate, 0).clamp(-100, 100)
        return t + rate * (end - end.detach())
