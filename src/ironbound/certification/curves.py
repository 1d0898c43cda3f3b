"""Linear bounds of smooth functions of one argument, by one construction from the function, its slope and its bends.

A `Curve` is convex and concave by turns, and changes at its bends. The best lower lines on [l, u] are those that support the
function's convex envelope there: tangents at points of a convex part, or the chord of the two ends where every tangent of
the convex part passes above one of them. Upper lines are lower lines of -f, mirrored.

Why these lines are sound whatever the search for tangent points has found: let h(z) = f(z) - s z, whose minimum is the bias.

- On a concave part h is least at an end of that part; on a convex part it is least where f' = s, or at an end of the part.
- For a tangent, s = f'(t) with t inside the convex part: h is least at t there, and at the outer ends of the concave
  neighbours. So the tangent at *any* t of the part is a lower line but for what it passes above f(l) or f(u), its `gap`, by
  which it is shifted down. Of two convex parts (the upper side of GELU) the slopes must lie apart, as they do for every
  curve here: then h rises or falls throughout the other part, and is least at l or at u.
- The gap to l only grows while t moves away from l, and that to u while it moves away from u. So within a range of
  tangent points none needs a greater shift than those at its two ends do; these are computed.
- The chord is taken where there is no convex part, or where the search has seen every tangent fail: one point that
  fails for l lets all nearer ones fail, and likewise for u.

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

STEPS = 5
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
    if curve.drop is not None:
        low = low - curve.drop[1] * (x.upper > curve.drop[0])
    return Interval(low, high)


Family = tuple[Tensor, ...]
"""All that lines depend on but for `free`, in tensors that may be taken row by row."""


def family(curve: Curve, x: Interval) -> Family:
    """The lines below and above the curve on [x.lower, x.upper] among which `chosen` chooses."""
    with torch.no_grad():  # an infinite value has no gradient
        values = image(curve, x)
    usable = values.lower.isfinite() & values.upper.isfinite()
    lower, upper = torch.where(usable, x.lower, 1), torch.where(usable, x.upper, 1)
    below = _Side(curve, 1, lower, upper).family(usable, values.lower)
    above = _Side(curve, -1, lower, upper).family(usable, -values.upper)
    if curve.drop is not None:
        below = (*below[:6], below[6] - curve.drop[1] * (x.upper > curve.drop[0]))
    return (*below, *above)


def chosen(curve: Curve, family: Family, free: Tensor | None = None) -> Lines:
    """Lines of a family, in shapes that broadcast with it.

    Where values are infinite the lines are flat, through the bounds of `image` (NaN where that is).

    free: in [0, 1], of a shape that broadcasts: the tangent touches at the lower end of what is possible at 0, at its default
        at 1/2, at the upper end at 1. None is 1/2.

    Differentiable in `free` and in the ends. What is lost to rounding is of the order of the values' own.
    """
    below = 2 if _Side.bare(curve, 1) else 9 if curve.kinked else 7
    lower_slope, lower_bias = _line(curve, 1, family[:below], free)
    upper_slope, upper_bias = _line(curve, -1, family[below:], free)
    return Lines(lower_slope, lower_bias, -upper_slope, -upper_bias)


def relaxed(curve: Curve, x: Interval, free: Tensor | None = None) -> Lines:
    """`chosen` from the `family`."""
    return chosen(curve, family(curve, x), free)


def _line(curve: Curve, sign: int, family: Family, free: Tensor | None) -> Line:
    if len(family) == 2:
        return family[0], family[1]
    low, middle, high, fixed, slope, bias, shift, *edges = family
    t = middle if free is None else _moved(low, middle, high, free)
    tangent = curve.slope(t) * sign
    for point, edge in zip((low, high), edges, strict=False):
        tangent = torch.where(t == point, edge, tangent)
    value = curve.value(t) * sign
    return torch.where(fixed, slope, tangent), torch.where(fixed, bias, value - tangent * t + shift)


def _moved(low: Tensor, middle: Tensor, high: Tensor, free: Tensor) -> Tensor:
    """From low by the middle to high. Where one half of the way is empty its gradient is that of the other half."""
    down = ((free < 0.5) & (middle > low)) | (middle >= high)
    ahead = torch.where(down, 2 * free, 2 * free - 1)
    ahead = ahead + (ahead.clamp(0, 1) - ahead).detach()
    return torch.lerp(torch.where(down, low, middle), torch.where(down, middle, high), ahead)


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

    @staticmethod
    def bare(curve: Curve, sign: int) -> bool:
        """Whether there is nothing to choose."""
        return not curve.bends and curve.convex != (sign > 0)

    def family(self, usable: Tensor, bound: Tensor) -> Family:
        """The range of tangent points (low, middle, high); where the line is fixed, and which it is; a shift of tangents.

        Where not usable the line is flat, through the bound. Kinked curves have the slopes at low and high besides.
        """
        chord = self._chord()
        chord, bias = self._flat(usable, bound, chord, self._least(chord))
        if self.bare(self.curve, self.sign):
            return chord, bias
        low, high, straight = self.l, self.u, ~usable
        edges: list[Tensor] = []
        if self.curve.bends:
            low, high, bare, edges = self._tangents()
            straight = straight | bare
        middle = self.l / 2 + self.u / 2
        middle = middle if math.isinf(self.curve.reach) else torch.minimum(middle, self.l + self.curve.reach)
        middle = torch.clamp(middle, low, high)
        with torch.no_grad():
            straight = straight | ~((self.slope(low) * low).isfinite() & (self.slope(high) * high).isfinite())
            shift = torch.zeros_like(low)
            if self.curve.bends:  # no tangent of the range passes further above an end than those at its own ends
                shift = self._gap(self.l, low).clamp(max=0) + self._gap(self.u, high).clamp(max=0)
        return low, middle, high, straight, chord, bias, shift, *edges

    def _flat(self, usable: Tensor, bound: Tensor, slope: Tensor, bias: Tensor) -> Line:
        usable = usable & slope.isfinite() & bias.isfinite()
        return torch.where(usable, slope, 0), torch.where(usable, bias, bound)

    def _tangents(self) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
        """Between which points of the convex part tangents are lower lines, where none is, and the slopes at the points."""
        convex_first = self.curve.convex == (self.sign > 0)
        if len(self.curve.bends) == 2 and not convex_first:
            first, last = self._clamped(*self.curve.bends)
            low, failed_low = self._touching(self.l, first, last)
            high, failed_high = self._touching(self.u, last, first)
            straight = (failed_low >= failed_high) | failed_low.isposinf() | failed_high.isneginf()
        else:  # the part reaches to the left, or to the right, so that only tangents through the other end are in question
            left = self._left(convex_first)
            a, b = self.curve.bends[0], self.curve.bends[-1]
            first, last = self._clamped(torch.where(left, -math.inf, b), torch.where(left, a, math.inf))
            end, near, far = (torch.where(left, *pair) for pair in ((self.u, self.l), (last, first), (first, last)))
            point, failed = self._touching(end, near, far)
            low, high, straight = torch.where(left, self.l, point), torch.where(left, point, self.u), failed.isinf()
        apart = low > high  # between what fails for l and what fails for u
        low, high = torch.where(apart, (low + high) / 2, low), torch.where(apart, (low + high) / 2, high)
        edges = [self._edge(self.l, low, first), self._edge(self.u, high, last)] if self.curve.kinked else []
        return low, high, straight | (first >= last), edges

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

    def _left(self, convex_first: bool) -> Tensor:
        """Where the convex part is the one before all bends, and not the one after them."""
        if len(self.curve.bends) == 1:
            return torch.full_like(self.l, convex_first, dtype=torch.bool)
        return (self.l < self.curve.bends[0]) & (self._gap(self.u, self.l) >= 0)

    def _clamped(self, a: Tensor | float, b: Tensor | float) -> tuple[Tensor, Tensor]:
        """The convex part [a, b], as much of it as lies in [l, u].

        A kinked curve's is open, and smaller by a rounding: there the slope is the part's own.
        """
        first, last = (torch.clamp(torch.as_tensor(z).to(self.l), self.l, self.u) for z in (a, b))
        if not self.curve.kinked:
            return first, last
        with torch.no_grad():
            up, down = torch.nextafter(first, last) - first, torch.nextafter(last, first) - last
        return first + torch.where(first > self.l, up, 0), last + torch.where(last < self.u, down, 0)

    def _gap(self, end: Tensor, t: Tensor) -> Tensor:
        """How far the tangent at t passes below g(end); rises as t comes nearer to the far end of a convex part."""
        return self.value(end) - self.value(t) - self.slope(t) * (end - t)

    def _touching(self, end: Tensor, near: Tensor, far: Tensor) -> tuple[Tensor, Tensor]:
        """The nearest point to `end`, on the convex part from `near` to `far`, whose tangent passes below g(end).

        Returns about that point, and the last one that was seen to fail: NaN where none does, beyond the part (infinite)
        where all of it does. A false position search with the halving of stale ends (the Illinois rule).
        """
        with torch.no_grad():
            at_near, at_far = self._gap(end, near), self._gap(end, far)
            good, bad, at_good, at_bad = far, near, at_far, at_near
            onward = torch.where(far >= near, 1.0, -1.0)
            ahead = onward * self._guess((near - end).abs())
            t = near + 0.9 * ahead
            before = torch.zeros_like(near, dtype=torch.bool)  # whether the last step found a good one
            steps = STEPS + 5 * self.curve.kinked  # behind a kink the first guess is a poor one
            for step in range(steps):
                t = torch.where((t - bad) * (t - good) < 0, t, (bad + good) / 2)
                gap = self._gap(end, t)
                fine = gap >= 0
                if step > 1:
                    at_bad = torch.where(fine & before, at_bad / 2, at_bad)
                    at_good = torch.where(fine | before, at_good, at_good / 2)
                good, at_good = torch.where(fine, t, good), torch.where(fine, gap, at_good)
                bad, at_bad = torch.where(fine, bad, t), torch.where(fine, at_bad, gap)
                before = fine
                t = near + 1.1 * ahead if step == 0 else (bad * at_good - good * at_bad) / (at_good - at_bad)
            t = torch.where((t - bad) * (t - good) < 0, t, good)
        settled = at_near >= 0
        bad = torch.where(at_far < 0, onward * math.inf, bad)
        return torch.where(settled, near, self._following(end, t)), torch.where(settled, math.nan, bad)

    def _guess(self, distance: Tensor) -> Tensor:
        """How far behind a bend the tangent touches that passes through a point at this distance before it."""
        curve = self.curve
        if len(curve.bends) == 1 or self.sign * (-1 if curve.convex else 1) < 0:
            return curve.guess(distance)
        most = abs(curve.turns[0][0] - curve.bends[0])  # from far away the values are nearly those of an asymptote
        return -most * torch.expm1(-distance / (2 * most))

    def _edge(self, end: Tensor, t: Tensor, kink: Tensor) -> Tensor:
        """The slope at t; at a kink that of the line through the end, which lies nearer to the function there."""
        slope = self.slope(t)
        both = (t == kink) & ((t - end).abs() > 1e-3 * (self.u - self.l))
        line = (self.value(t.detach()) - self.value(end)) / torch.where(both, t.detach() - end, 1)
        return torch.where(both, torch.minimum(line, slope) if end is self.l else torch.maximum(line, slope), slope)

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
