"""Oracles: how the attacker sees the model. They nest."""

from ironbound.oracles.bpda import Bpda
from ironbound.oracles.direct import Direct, Labels
from ironbound.oracles.ensemble import Ensemble
from ironbound.oracles.eot import Eot

__all__ = ["Bpda", "Direct", "Ensemble", "Eot", "Labels"]
