"""Attacks that take the model for linear, step by step: DeepFool and what grew out of it. Give the set by `threat`."""

from __future__ import annotations

from ironbound.core.attack import Attack, TheThreat
from ironbound.core.catalogue import Entry, Paper
from ironbound.core.protocols import Want
from ironbound.goals import Untargeted
from ironbound.objectives import Margin
from ironbound.oracles import Direct
from ironbound.searches.linearise import DeepFool


def deepfool(steps: int = 50, overshoot: float = 0.02) -> Attack:
    """A small change in Linf, L2 or L1 within a few steps, each onto the nearest plane between two classes.

    Paper: Moosavi-Dezfooli, Fawzi, Frossard 2016, DeepFool: a Simple and Accurate Method to Fool Deep Neural Networks,
    """
    return Attack(TheThreat(), Untargeted(), Margin(), DeepFool(steps, overshoot), Direct(), Want.SMALLEST)
