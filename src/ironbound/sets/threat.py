"""Threats as people write them at the prompt: `linf:8/255`, `l2:0.5`. Parsed, never evaluated."""

from __future__ import annotations

import math
from fractions import Fraction

from ironbound.core.errors import UnknownName, UsageError
from ironbound.sets.lp import L2, Linf

BALLS: dict[str, type[Linf | L2]] = {"linf": Linf, "l2": L2}


def parse_threat(text: str) -> Linf | L2:
    """The perturbation set that a text such as `linf:8/255` means.

    Raises UnknownName for a norm there is not, UsageError for a radius that is no number >= 0.

    >>> parse_threat("linf:0.3")
    Linf(eps=0.3)
    """
    norm, colon, radius = text.strip().lower().partition(":")
    norm = norm.replace("-", "").replace("_", "")
    if norm not in BALLS:
        raise UnknownName(f"no threat is called {norm!r}; there are {', '.join(sorted(BALLS))}. Example: linf:8/255")
    if not colon:
        raise UsageError(f"the threat {text!r} has no radius. Example: {norm}:0.3 or {norm}:8/255")
    try:
        eps = float(Fraction(radius.replace(" ", "")))
    except (ValueError, ZeroDivisionError):
        raise UsageError(f"the radius {radius!r} is no number. Write it as 0.3 or 8/255: {norm}:8/255") from None
    if not (eps >= 0 and math.isfinite(eps)):
        raise UsageError(f"a radius is a number >= 0 in input units; got {radius!r}")
    return BALLS[norm](eps)
