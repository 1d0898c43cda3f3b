"""The largest radius that is proved, a row: root finding on the bound as a function of the radius, all rows in step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

Gap = Callable[[Int[Tensor, " r"], Float[Tensor, " r"]], Float[Tensor, " r"]]
"""gap(rows, radius): by how much the bound exceeds what it must, at these radii; falls as they grow."""
PASSES = 100
"""After which the search ends with what it has, wherever that is: halving has long arrived by then."""


@dataclass(frozen=True, eq=False)
class Bracket:
    """Radii between which a bound stops to prove, one pair a row."""

    low: Float[Tensor, " n"]
    """Proved; 0 where nothing is known to be."""
    high: Float[Tensor, " n"]
    """Not proved."""
    low_gap: Float[Tensor, " n"]
    """> 0."""
    high_gap: Float[Tensor, " n"]
    """<= 0, or NaN where the bound is none."""


def narrowed(gap: Gap, bracket: Bracket, width: Float[Tensor, " n"], step: float = 0.0) -> Bracket:
    """The bracket narrowed to this width, or to one `step` where radii are multiples of it.

    Inverse quadratic interpolation where the last three radii allow it, else halving; a last step of the wanted width
    beyond the root closes the bracket. Of a smooth bound that takes about half as many passes as halving alone.

    Paper: Chandrupatla 1997, "A new hybrid quadratic/bisection algorithm for finding the zero of a nonlinear function
    without using derivatives" (Advances in Engineering Software 28). Differs: the first step is the secant's.
    """
    a, b = bracket.high.clone(), bracket.low.clone()
    fa, fb = _plain(bracket.high_gap), bracket.low_gap.clone()
    c, fc = a.clone(), fa.clone()
    width = width.clamp_min(step)
    share = _cut((fa / (fa - fb)).nan_to_num(nan=0.5), a, b, width)
    for _ in range(PASSES):
        open_ = ((a - b).abs() > width).nonzero()[:, 0]
        if not len(open_):
            break
        at = (a + share * (b - a))[open_]
        if step:
            low, high = torch.minimum(a, b)[open_], torch.maximum(a, b)[open_]
            at = ((at / step).floor() * step).maximum(low + step).minimum(high - step)
        f = _plain(gap(open_, at))
        same = (f > 0) == (fa[open_] > 0)
        new_c, new_fc = torch.where(same, a[open_], b[open_]), torch.where(same, fa[open_], fb[open_])
        new_b, new_fb = torch.where(same, b[open_], a[open_]), torch.where(same, fb[open_], fa[open_])
        for table, value in ((a, at), (fa, f), (b, new_b), (fb, new_fb), (c, new_c), (fc, new_fc)):
            table[open_] = value
        share = _cut(_next(a, b, c, fa, fb, fc), a, b, width)
    proved = fa > 0
    return Bracket(
        torch.where(proved, a, b), torch.where(proved, b, a), torch.where(proved, fa, fb), torch.where(proved, fb, fa)
    )


def confirmed(gap: Gap, bracket: Bracket, width: Float[Tensor, " n"], step: float = 0.0) -> Float[Tensor, " n"]:
    """The upper ends where the gap is above 0 there after all; the others narrowed."""
    radius, rest = bracket.high.clone(), (~(bracket.high_gap > 0)).nonzero()[:, 0]
    if len(rest):
        below = Bracket(bracket.low[rest], bracket.high[rest], bracket.low_gap[rest], bracket.high_gap[rest])
        radius[rest] = narrowed(lambda rows, at: gap(rest[rows], at), below, width[rest], step).low
    return radius


def _next(a: Tensor, b: Tensor, c: Tensor, fa: Tensor, fb: Tensor, fc: Tensor) -> Tensor:
    """How far on the way from a to b the root of the parabola through all three lies; half where that is no good guess."""
    xi, phi = (a - b) / (c - b), (fa - fb) / (fc - fb)
    smooth = (phi**2 < xi) & ((1 - phi) ** 2 < 1 - xi)
    quadratic = fa / (fb - fa) * fc / (fb - fc) + (c - a) / (b - a) * fa / (fc - fa) * fb / (fc - fb)
    return torch.where(smooth & quadratic.isfinite(), quadratic, 0.5)


def _cut(share: Tensor, a: Tensor, b: Tensor, width: Tensor) -> Tensor:
    """No nearer to either end than half the width, so that the bracket closes."""
    least = (width / 2 / (b - a).abs()).clamp_max(0.5)
    return torch.minimum(torch.maximum(share, least), 1 - least)


def _plain(gap: Tensor) -> Tensor:
    """With NaN and infinities as large negative numbers: not proved."""
    huge = torch.finfo(gap.dtype).max ** 0.25  # whose squares are finite
    return gap.nan_to_num(nan=-huge, neginf=-huge, posinf=huge).clamp(-huge, huge)
