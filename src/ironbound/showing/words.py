"""Numbers as people read them."""

from __future__ import annotations

from math import isfinite
from typing import Any

NORMS = {"linf": "L-inf", "l2": "L2", "l1": "L1", "l0": "L0"}


def count(value: int) -> str:
    """A whole number with thousands separators."""
    return f"{value:,}"


def percent(fraction: float) -> str:
    """A share with one decimal; neither "0.0%" nor "100.0%" is said of a share that is not exactly that."""
    if not isfinite(fraction):
        return "\N{EN DASH}"
    if 0 < fraction < 0.0005:
        return "<0.1%"
    if 0.9995 <= fraction < 1:
        return ">99.9%"
    return f"{100 * fraction:.1f}%"


def number(value: float) -> str:
    """A real number with at most six digits."""
    return f"{value:,.6g}"


def plural(value: int, noun: str) -> str:
    """A number with its noun: "1 sample", "1,000 samples"."""
    return f"{value:,} {noun}" if value == 1 else f"{value:,} {noun}s"


def sized(norm: str, unit: str, value: float) -> str:
    """How large a change is: "size 0.03 in L-inf", "2 pixels"; of a union, in radii. `unit` is what an L0 ball counts."""
    if norm == "l0":
        return plural(round(value), unit)
    if norm == "union":
        return f"{value:.4g} times the radius of the nearest part"
    return f"size {value:.4g}" + (f" in {NORMS[norm]}" if norm in NORMS else "")


def size_in(threat: Any, value: float) -> str:
    """The same for a set."""
    norm = "union" if getattr(threat, "parts", ()) else str(getattr(threat, "norm", ""))
    return sized(norm, str(getattr(threat, "of", "pixels")).removesuffix("s"), value)
