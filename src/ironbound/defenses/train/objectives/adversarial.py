"""The plain loss, and the loss at attacked inputs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

from torch import Tensor

from ironbound.defenses.train.inner import Inner, Steps
from ironbound.defenses.train.objective import Batch, Objective, Outcome, Scene, correct


@dataclass(frozen=True)
class Standard(Objective):
    """The loss of unchanged inputs: no defense, and what defenses are compared with."""

    name: ClassVar[str] = "standard"

    def loss(self, scene: Scene, batch: Batch) -> Outcome:
        """The loss of each sample as it is."""
        logits = scene.logits(batch.x, batch.rng)
        return Outcome(scene.criterion(logits, batch.y), correct(logits, batch.y), rows=len(batch.y))


@dataclass(frozen=True)
class Adversarial(Objective):
    """Adversarial training: the loss at the inputs that an inner attack finds.

    The inner attack sees the model in evaluation mode; the update is made in training mode, so that batch statistics, and
    the running ones, are those of the attacked inputs.

    Paper: Madry et al. 2018 (arXiv 1706.06083), equation 2.1.

    Objectives that train on attacked inputs in another way derive from this one and say what is minimised there
    (`outcome`) and, where the inner attack does not climb the loss of the labels, what it climbs (`attacked`).
    """

    inner: Inner = field(default_factory=Steps)

    name: ClassVar[str] = "adversarial"

    def check(self, scene: Scene) -> None:
        """The inner attack must go with the set."""
        self.inner.check(scene, scene.threat)

    def loss(self, scene: Scene, batch: Batch) -> Outcome:
        """The losses at what the inner attack finds."""
        region = scene.region(batch)
        outcome = self.outcome(scene, batch, self.attacked(scene, batch, region))
        return replace(outcome, eps=region.radius.max(), rows=outcome.rows + self.inner.rows * len(batch.y))

    def attacked(self, scene: Scene, batch: Batch, region: Any) -> Tensor:
        """The inputs in the region that are trained on, outside any graph."""
        return self.inner.inputs(scene, batch, region)

    def outcome(self, scene: Scene, batch: Batch, attacked: Tensor) -> Outcome:
        """What is minimised at the attacked inputs, and the rows that it takes."""
        logits = scene.logits(attacked, batch.rng)
        return Outcome(scene.criterion(logits, batch.y), attacked=correct(logits, batch.y), rows=len(batch.y))

    def stronger(self) -> Self:
        """The same with the next stronger inner attack."""
        return replace(self, inner=self.inner.stronger())
