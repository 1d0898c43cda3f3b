"""Oracles: how the attacker sees the model. They nest."""

from ironbound.oracles.direct import Direct, Labels
from ironbound.oracles.eot import Eot

__all__ = ["Direct", "Eot", "Labels"]
