"""The methods of certification by name, with what can be set: ironbound.bounds.alpha_crown(layers="last").

Cheapest first. All linear bounds prove what `ibp` proves, and `alpha_crown` what `crown` does. docs/certify.md says when
to take which.
"""

from __future__ import annotations

from ironbound.certification.alpha import AlphaCrown
from ironbound.certification.crown import Crown
from ironbound.certification.exhaustive import Exhaustive
from ironbound.certification.ibp import Ibp
from ironbound.certification.milp import Milp


def ibp() -> Ibp:
    """Interval bounds, layer by layer: the cheapest proof, tight on nets that were trained for it."""
    return Ibp()


def crown_ibp() -> Crown:
    """Linear bounds by one backward pass over interval bounds of the layers in between: nets trained for certificates."""
    return Crown(intermediate="ibp")


def crown() -> Crown:
    """Linear bounds by backward passes, of the layers in between too: the first to try on nets trained in other ways."""
    return Crown()


def alpha_crown(layers: str = "all", steps: int = 20, rate: float = 0.5) -> AlphaCrown:
    """Linear bounds with the slopes of undecided neurons optimised: those of the last pass, or of all layers.

    layers: "last" (cheaper) or "all". steps: of the ascent, >= 1. rate: the length of its first step, > 0.
    """
    return AlphaCrown(layers, steps, rate)


def milp(binaries: int = 300, nodes: int = 10_000) -> Milp:
    """The exact minimum of every margin by mixed-integer programs (HiGHS): tiny piecewise-linear models, Linf and L1.

    binaries: undecided neurons that are allowed; more is refused. nodes: branches a class at most.
    """
    return Milp(binaries, nodes)


def exhaustive() -> Exhaustive:
    """Every point of a finite set, one by one: exact, whatever the model is."""
    return Exhaustive()
