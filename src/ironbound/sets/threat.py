"""Threats as people write them at the prompt: `linf:8/255`, `l0:3`, `linf:8/255|l2:0.5`. Parsed, never evaluated."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

from ironbound.core.errors import UnknownName, UsageError
from ironbound.sets.ball import Ball
from ironbound.sets.l0 import L0
from ironbound.sets.l1 import L1
from ironbound.sets.l2 import L2
from ironbound.sets.linf import Linf
from ironbound.sets.union import Union

BALLS: dict[str, type[Linf] | type[L2] | type[L1] | type[L0]] = {"linf": Linf, "l2": L2, "l1": L1, "l0": L0}
EXAMPLES = {
    "linf": "linf:0.3 or linf:8/255",
    "l2": "l2:0.5 or l2:128/255",
    "l1": "l1:12",
    "l0": "l0:3 or l0:5 coordinates",
}


def parse_threat(text: str) -> Ball | Union:
    """The perturbation set that a text such as `linf:8/255`, `l0:5 coordinates` or `linf:8/255|l2:0.5` means.

    Raises UnknownName for a norm there is not, UsageError for a radius that is no number >= 0, or for l0 no whole one.

    >>> parse_threat("linf:0.3")
    Linf(eps=0.3)
    >>> parse_threat("linf:0.5|l0:2")
    Linf(eps=0.5) | L0(eps=2.0)
    """
    parts = tuple(_ball(part) for part in text.split("|"))
    return parts[0] if len(parts) == 1 else Union(parts)


def spec_of(threat: Any) -> str:
    """The text that `parse_threat` would read as this set; "" where there is none (masks, radii of their own, other sets)."""
    if isinstance(threat, Union):
        parts = [spec_of(part) for part in threat.parts]
        return "|".join(parts) if all(parts) else ""
    if type(threat) not in BALLS.values() or threat.mask is not None or not isinstance(threat.eps, float):
        return ""
    of = " coordinates" if getattr(threat, "of", "") == "coordinates" else ""
    return f"{threat.norm}:{radius_text(threat.eps)}{of}"


def radius_text(eps: float) -> str:
    """As one writes it: 0.3, 8/255 where that is the very number, all digits where it is neither."""
    plain, steps = f"{eps:.6g}", eps * 255
    if float(plain) == eps or not math.isfinite(eps):
        return plain
    return f"{round(steps)}/255" if steps < 1e6 and round(steps) / 255 == eps else repr(eps)


def _ball(text: str) -> Ball:
    norm, colon, radius = text.strip().lower().partition(":")
    norm = norm.strip().replace("-", "").replace("_", "")
    if norm not in BALLS:
        got = f"no threat is called {norm!r}" if norm else f"the text {text!r} names no threat"
        raise UnknownName(
            f"{got}; there are {', '.join(sorted(BALLS))}, each with its radius after a colon, several joined by |. "
            "Example: linf:8/255 or linf:8/255|l2:0.5"
        )
    if not colon:
        raise UsageError(f"the threat {text!r} has no radius. Example: {EXAMPLES[norm]}")
    number, of = _split(radius) if norm == "l0" else (radius, "")
    try:
        eps = math.inf if number.strip() == "inf" else float(Fraction(number.replace(" ", "")))
    except (ValueError, ZeroDivisionError, OverflowError):
        joined = " Several threats are joined by |: linf:8/255|l2:0.5." if ":" in radius else ""
        raise UsageError(f"the radius {radius!r} is no number.{joined} Example: {EXAMPLES[norm]}") from None
    if not eps >= 0:
        raise UsageError(f"a radius is a number >= 0 in input units; got {radius!r}")
    return L0(eps, of="coordinates") if of == "coordinates" else BALLS[norm](eps)


def _split(radius: str) -> tuple[str, str]:
    """The number and the unit of an L0 threat: `3`, `3 pixels`, `5 coordinates`."""
    number, _, unit = radius.strip().partition(" ")
    unit = unit.strip()
    if unit not in ("", "pixels", "coordinates"):
        raise UsageError(f"l0 counts pixels or coordinates; got {unit!r}. Example: l0:3 or l0:5 coordinates")
    return number, unit
