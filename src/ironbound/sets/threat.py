"""Threats as people write them at the prompt: `linf:8/255`, `rotation:30`, `linf:8/255|l2:0.5`. Parsed, never evaluated."""

from __future__ import annotations

import math
from collections.abc import Callable
from difflib import get_close_matches
from fractions import Fraction
from typing import Any

from ironbound.core.errors import UnknownName, UsageError
from ironbound.core.protocols import PerturbationSet
from ironbound.sets.ball import Ball
from ironbound.sets.color import Blur, Brightness, ColorShift
from ironbound.sets.corruptions import Corruptions
from ironbound.sets.flow import Flow
from ironbound.sets.l0 import L0
from ironbound.sets.l1 import L1
from ironbound.sets.l2 import L2
from ironbound.sets.linf import Linf
from ironbound.sets.parameters import written
from ironbound.sets.patch import Patch
from ironbound.sets.spatial import Rotation, Spatial, Translation
from ironbound.sets.union import Union

BALLS: dict[str, type[Linf] | type[L2] | type[L1] | type[L0]] = {"linf": Linf, "l2": L2, "l1": L1, "l0": L0}
EXAMPLES = {
    "linf": "linf:0.3 or linf:8/255",
    "l2": "l2:0.5 or l2:128/255",
    "l1": "l1:12",
    "l0": "l0:3 or l0:5 coordinates",
    "rotation": "rotation:30 (degrees)",
    "translation": "translation:3 (pixels) or translation:10%",
    "spatial": "spatial:30:3 (degrees, pixels)",
    "flow": "flow:0.5 (pixels)",
    "color": "color:0.1 (turns of hue, share of saturation)",
    "brightness": "brightness:0.2",
    "blur": "blur:1.5 (pixels)",
    "corruption": "corruption:fog:3, corruption:fog,snow:3 or corruption:all:3 (a severity from 1 to 5)",
    "patch": "patch:0.1 (a share of the picture)",
}


def parse_threat(text: str) -> PerturbationSet:
    """The perturbation set that a text such as `linf:8/255`, `rotation:30`, `corruption:fog:3` or `linf:8/255|l2:0.5` means.

    Raises UnknownName for a threat there is not, UsageError for a radius that is no number >= 0, or for l0 no whole one.

    >>> parse_threat("linf:0.3")
    Linf(eps=0.3)
    >>> parse_threat("linf:0.5|l0:2")
    Linf(eps=0.5) | L0(eps=2.0)
    """
    parts = tuple(_read(part) for part in text.split("|"))
    return parts[0] if len(parts) == 1 else Union(parts)


def spec_of(threat: Any) -> str:
    """The text that `parse_threat` would read as this set; "" where there is none (masks, radii of their own, other sets)."""
    if isinstance(threat, Union):
        parts = [spec_of(part) for part in threat.parts]
        return "|".join(parts) if all(parts) else ""
    if hasattr(threat, "spec"):
        said: str = threat.spec
        return said
    if type(threat) not in BALLS.values() or threat.mask is not None or not isinstance(threat.eps, float):
        return ""
    of = " coordinates" if getattr(threat, "of", "") == "coordinates" else ""
    return f"{threat.norm}:{radius_text(threat.eps)}{of}"


def radius_text(eps: float) -> str:
    """As one writes it: 0.3, 8/255 where that is the very number, all digits where it is neither."""
    steps = eps * 255
    if float(f"{eps:.6g}") == eps or not math.isfinite(eps):
        return written(eps)
    return f"{round(steps)}/255" if steps < 1e6 and round(steps) / 255 == eps else repr(eps)


def _read(text: str) -> PerturbationSet:
    name, colon, rest = text.strip().lower().partition(":")
    name = name.strip().replace("-", "").replace("_", "")
    if name not in READERS:
        got = f"no threat is called {name!r}" if name else f"the text {text!r} names no threat"
        raise UnknownName(
            f"{got}.{_meant(name, rest)} There are {', '.join(sorted(READERS))}, each with its radius after a colon, "
            "several joined by |. Example: linf:8/255 or linf:8/255|l2:0.5"
        )
    if not colon:
        raise UsageError(f"the threat {text!r} has no radius. Example: {EXAMPLES[name]}")
    return READERS[name](name, rest)


def _meant(name: str, rest: str) -> str:
    """What may have been meant: a threat of nearly that name, or a corruption."""
    if name in {known.replace("_", "") for known in Corruptions.known()}:
        return f" Did you mean corruption:{name}:{rest or 3}?"
    near = get_close_matches(name, READERS, n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def _ball(norm: str, radius: str) -> Ball:
    number, of = _split(radius) if norm == "l0" else (radius, "")
    eps = _number(norm, number)
    return L0(eps, of="coordinates") if of == "coordinates" else BALLS[norm](eps)


def _number(name: str, text: str, unit: str = "in input units") -> float:
    try:
        eps = math.inf if text.strip() == "inf" else float(_quotient(text.replace(" ", "")))
    except (ValueError, ZeroDivisionError, OverflowError):
        joined = " Several threats are joined by |: linf:8/255|l2:0.5." if ":" in text else ""
        raise UsageError(f"the radius {text!r} is no number.{joined} Example: {EXAMPLES[name]}") from None
    if not eps >= 0:
        raise UsageError(f"a radius is a number >= 0 {unit}; got {text!r}")
    return eps


def _quotient(text: str) -> Fraction:
    """8/255, 0.3, and 0.5/255, which Fraction does not read."""
    top, *bottom = (Fraction(part) for part in text.split("/"))
    if len(bottom) > 1:
        raise ValueError(text)
    return top / bottom[0] if bottom else top


def _of(make: Callable[[float], PerturbationSet], unit: str) -> Callable[[str, str], PerturbationSet]:
    return lambda name, text: make(_number(name, text, unit))


def _translation(name: str, text: str) -> Translation:
    number = text.strip()
    if number.endswith("%"):
        _number(name, number[:-1], "in percent")
        share = math.inf if "inf" in number else float(Fraction(number[:-1].replace(" ", "")) / 100)
        return Translation(share, of="side")
    return Translation(_number(name, number, "in pixels"))


def _spatial(name: str, text: str) -> Spatial:
    angle, colon, shift = text.partition(":")
    if not colon:
        raise UsageError(f"spatial has an angle and a shift; got {text!r}. Example: {EXAMPLES[name]}")
    return Spatial(_number(name, angle, "in degrees"), _number(name, shift, "in pixels"))


def _corruption(name: str, text: str) -> Corruptions:
    which, colon, severity = text.rpartition(":")
    if not (colon and severity.strip().isdigit()):
        raise UsageError(f"a corruption has a name and a severity; got {text!r}. Example: {EXAMPLES[name]}")
    return Corruptions([one.strip() for one in which.split(",")], int(severity))


def _patch(name: str, text: str) -> Patch:
    try:
        return Patch(area=_number(name, text, "and a share of the picture"))
    except UsageError as error:
        raise UsageError(
            f"a patch has its share of the picture; got {text!r}. Example: {EXAMPLES[name]} ({error})"
        ) from None


READERS: dict[str, Callable[[str, str], PerturbationSet]] = {
    **dict.fromkeys(BALLS, _ball),
    "rotation": _of(Rotation, "in degrees"),
    "translation": _translation,
    "spatial": _spatial,
    "flow": _of(Flow, "in pixels"),
    "color": _of(ColorShift, "in turns and shares"),
    "brightness": _of(Brightness, "in input units"),
    "blur": _of(Blur, "in pixels"),
    "corruption": _corruption,
    "patch": _patch,
}
"""What reads the text behind each name."""


def _split(radius: str) -> tuple[str, str]:
    """The number and the unit of an L0 threat: `3`, `3 pixels`, `5 coordinates`."""
    number, _, unit = radius.strip().partition(" ")
    unit = unit.strip()
    if unit not in ("", "pixels", "coordinates"):
        raise UsageError(f"l0 counts pixels or coordinates; got {unit!r}. Example: l0:3 or l0:5 coordinates")
    return number, unit
