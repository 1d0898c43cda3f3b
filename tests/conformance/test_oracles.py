"""Every oracle of the house keeps the promises of oracles."""

from __future__ import annotations

import torch

from ironbound import testing
from ironbound.oracles import Bpda, Direct, Ensemble, Eot, Labels
from ironbound.testing.nets import Tiny

NOISY = Eot(Direct(), testing.WhiteNoise(0.1), 3)
FRONT = testing.Front()


def others(classes: int) -> list[Tiny]:
    """Two nets for the inputs of the kit."""
    nets = [Tiny((1, 4, 4), classes) for _ in range(2)]
    nets[1].last.weight.data.neg_()
    return nets


class TestOracles(testing.OracleConformance):
    oracles = [
        Direct(),
        Labels(),
        NOISY,
        Eot(Direct(), None, 2),
        Labels(NOISY),
        Eot(Labels(), testing.WhiteNoise(0.1), 3),
        Eot(transform=testing.WhiteNoise(0.1), draws=3, mean="losses"),
    ]


class TestOraclesPastADefense(testing.OracleConformance):
    front = FRONT
    oracles = [Bpda(FRONT), Bpda(FRONT, torch.tanh), Eot(Bpda(FRONT), draws=2), Labels(Bpda(FRONT))]


class TestOraclesOfTwoClasses(testing.OracleConformance):
    oracles = [
        Ensemble(others(2)),
        Ensemble(others(2), "probabilities", (3, 2, 1)),
        Ensemble(others(2), "losses"),
        Ensemble(others(2), target=False),
        Ensemble(others(2)[:1], inner=NOISY),
        Eot(Ensemble(others(2)), testing.WhiteNoise(0.1), 2, "losses"),
    ]
    classes = (2,)


class TestOraclesOfTenClasses(testing.OracleConformance):
    oracles = [Ensemble(others(10)), Ensemble(others(10), "probabilities"), Ensemble(others(10), "losses")]
    classes = (10,)
