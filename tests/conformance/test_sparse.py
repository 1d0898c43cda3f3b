"""JSMA's other forms keep the promises of attacks; every recipe as it comes is tried in test_attacks.py."""

from __future__ import annotations

from ironbound import L0, recipes, testing
from ironbound.core.attack import Attack


def maximal() -> Attack:
    return recipes.jsma(gamma=0.5, maximal=True)


def decreasing() -> Attack:
    return recipes.jsma(theta=-0.5, gamma=0.5, probabilities=True)


class TestSaliency(testing.SearchConformance):
    attacks = (maximal, decreasing)
    threats = (L0(5), L0(6, of="coordinates"))
    shape = (3, 4, 4)
    classes = (1, 2, 3, 10, 100)  # JSMA takes the derivative of every class at every step
