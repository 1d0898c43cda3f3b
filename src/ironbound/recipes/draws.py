"""Attacks on models that draw: gradients averaged over draws, witnesses that win the majority of fresh ones."""

from __future__ import annotations

from typing import Any

from ironbound.core.attack import Attack
from ironbound.core.cascade import Cascade
from ironbound.core.protocols import Can, Model
from ironbound.oracles import Eot

VOTES = 20
"""Fresh draws that judge a claim."""
DRAWS = 10
"""Draws over which an answer is averaged for the search."""


def fitted(attack: Attack | Cascade, model: Model) -> Any:
    """The attack as it stands; for a random model that it is not made for, with averaged answers and votes.

    Paper: Athalye, Carlini, Wagner 2018, Obfuscated Gradients Give a False Sense of Security, arXiv 1802.00420, 4.2.
    """
    if isinstance(attack, Cascade):
        return attack.each(lambda one: _fitted(one, model))
    return _fitted(attack, model)


def _fitted(attack: Attack, model: Model) -> Attack:
    if not model.random or attack.votes > 1:
        return attack
    averaged = Eot(attack.oracle, None, DRAWS) if Can.GRADIENT in attack.oracle.gives else attack.oracle
    return attack.replace(oracle=averaged, votes=VOTES)
