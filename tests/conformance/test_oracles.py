"""Every oracle of the house keeps the promises of oracles."""

from __future__ import annotations

from ironbound import testing
from ironbound.oracles import Direct, Eot, Labels

NOISY = Eot(Direct(), testing.WhiteNoise(0.1), 3)


class TestOracles(testing.OracleConformance):
    oracles = [
        Direct(),
        Labels(),
        NOISY,
        Eot(Direct(), None, 2),
        Labels(NOISY),
        Eot(Labels(), testing.WhiteNoise(0.1), 3),
    ]
