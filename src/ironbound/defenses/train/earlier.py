"""A training before the training: what trains the models that some schemes learn from."""

from __future__ import annotations

from dataclasses import dataclass

from ironbound.core.errors import UsageError
from ironbound.defenses.train.objective import TrainingObjective
from ironbound.defenses.train.training import Optimiser, Training


@dataclass(frozen=True)
class Earlier:
    """How an earlier stage is trained. Where a setting has the name of one of the training itself, both follow it."""

    earlier_epochs: int = 10
    batch: int = 64
    rate: float = 3e-3
    """The learning rate at its highest."""
    optimiser: Optimiser = "adam"
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        if type(self.earlier_epochs) is not int or self.earlier_epochs < 0:
            raise UsageError(f"earlier_epochs is a whole number of at least 0; got {self.earlier_epochs!r}.")

    def training(self, objective: TrainingObjective, seed: int, name: str) -> Training:
        """The stage of that name."""
        return Training(
            objective, self.earlier_epochs, self.batch, rate=self.rate, optimiser=self.optimiser,
            weight_decay=self.weight_decay, seed=seed, name=name,
        )  # fmt: skip
