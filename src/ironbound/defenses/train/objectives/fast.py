"""Adversarial training for the price of one or two passes a sample: aligned gradients, and gradients used twice."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import torch
from jaxtyping import Float
from torch import Tensor

from ironbound.core.errors import UsageError
from ironbound.core.protocols import Can
from ironbound.core.rng import Rng
from ironbound.core.rows import column, flat
from ironbound.defenses.train.fused import stepped
from ironbound.defenses.train.inner import Inner, Steps, must_step
from ironbound.defenses.train.objective import Batch, Objective, Outcome, Scene, correct
from ironbound.defenses.train.objectives.adversarial import Adversarial
from ironbound.defenses.train.objectives.regularised import must_be_weight


@dataclass(frozen=True)
class GradAlign(Adversarial):
    """CE(x', y) + weight (1 - cos(g(x), g(x + n))), g the gradient by the input and n anywhere in the set.

    One step is a good inner attack as long as gradients point the same way in the whole set; without that it overfits
    catastrophically. Gradients are those of the net in training mode, and their own gradient is taken (double backward).
    Where a gradient is zero there is no angle, and nothing is added.

    Paper: Andriushchenko, Flammarion 2020 (arXiv 2007.02617), equation 7 and section 5: FGSM with GradAlign.
    """

    inner: Inner = field(default_factory=lambda: Steps(1, share=1.0, start="clean"))
    weight: float = 0.2
    """The weight of the regulariser; theirs is 0.2 at 8/255 on CIFAR-10."""

    name: ClassVar[str] = "gradalign"

    def __post_init__(self) -> None:
        must_be_weight("weight", self.weight)

    def check(self, scene: Scene) -> None:
        """The set must have draws, too."""
        super().check(scene)
        must_step(scene, scene.threat, Can.SAMPLE)

    def outcome(self, scene: Scene, batch: Batch, attacked: Tensor) -> Outcome:
        """The loss at the attacked inputs, and how much gradients turn."""
        outcome = super().outcome(scene, batch, attacked)
        region, draws = scene.region(batch), batch.rng.fold("aligned")
        here = self._gradient(scene, batch, batch.x, draws)
        there = self._gradient(scene, batch, region.sample(draws), draws)
        losses = outcome.losses + self.weight * (1 - cosine(here, there))
        return replace(outcome, losses=losses, rows=outcome.rows + 4 * len(batch.y))

    def _gradient(self, scene: Scene, batch: Batch, x: Tensor, rng: Rng) -> Tensor:
        """Of the loss by the inputs, in the graph of the weights."""
        leaf = x.detach().requires_grad_()
        total = scene.criterion(scene.logits(leaf, rng), batch.y).sum()
        (grad,) = torch.autograd.grad(total, leaf, create_graph=True)
        return grad


def cosine(a: Float[Tensor, "n ..."], b: Float[Tensor, "n ..."]) -> Float[Tensor, " n"]:
    """The cosine of each pair of rows; 1 where one of them is zero."""
    tiny = torch.finfo(a.dtype).tiny
    # rows are scaled first: the squares of a sure net's gradients are zero in float32
    a, b = (flat(g) / flat(g).detach().abs().amax(1, keepdim=True).clamp_min(tiny) for g in (a, b))
    lengths = (a.square().sum(1), b.square().sum(1))
    fine = (lengths[0] > 0) & (lengths[1] > 0)
    product = torch.where(fine, lengths[0], 1.0).sqrt() * torch.where(fine, lengths[1], 1.0).sqrt()
    return torch.where(fine, (a * b).sum(1) / product, 1.0)


@dataclass(frozen=True)
class Free(Objective):
    """Each batch is trained on `repeats` times, and each backward pass gives the gradient for weights and inputs at once.

    The change of the inputs goes on from batch to batch, as published, and is kept in checkpoints. A training of n epochs
    makes n * repeats passes over the data: give it that much fewer.

    Paper: Shafahi et al. 2019 (arXiv 1904.12843), algorithm 1.
    Differs: batches have nearly equal sizes; a smaller one uses and moves the first of the changes.
    """

    repeats: int = 4
    """Updates on each batch (m)."""
    share: float = 1.0
    """The length of a step of the inputs, in radii."""

    name: ClassVar[str] = "free"

    def __post_init__(self) -> None:
        if type(self.repeats) is not int or self.repeats < 1:
            raise UsageError(f"repeats of free is a whole number of at least 1; got {self.repeats!r}.")
        if not (math.isfinite(self.share) and self.share > 0):
            raise UsageError(f"share of free is the length of a step in radii, > 0; got {self.share!r}.")

    def check(self, scene: Scene) -> None:
        """The set must have a projection and a steepest direction."""
        must_step(scene, scene.threat, Can.PROJECT | Can.STEER)

    def loss(self, scene: Scene, batch: Batch) -> Outcome:
        """The losses at the changed inputs; their backward pass moves the change, too."""
        region = scene.region(batch)
        ball = scene.threat.at(torch.zeros_like(batch.x), None)  # changes belong to no input, and to no range
        ball = ball.scaled(region.radius)
        change = self._change(scene, batch)[: len(batch.x)]
        leaf = region.project(batch.x + ball.project(change)).detach().requires_grad_()
        leaf.register_hook(lambda grad: self._step(scene, ball, change, grad))
        logits = scene.logits(leaf, batch.rng)
        losses = scene.criterion(logits, batch.y)
        rows = len(batch.y)
        return Outcome(losses, attacked=correct(logits, batch.y), eps=region.radius.max(), rows=rows)

    def _change(self, scene: Scene, batch: Batch) -> Float[Tensor, "m ..."]:
        """The changes kept, as many as the largest batch had; zero at first."""
        kept = scene.state.get("change")
        if kept is None or len(kept) < len(batch.x):
            fresh = torch.zeros_like(batch.x)
            if kept is not None:
                fresh[: len(kept)] = kept
            scene.state["change"] = kept = fresh
        return kept

    def _step(self, scene: Scene, ball: Any, change: Tensor, grad: Tensor) -> None:
        """Move the changes of this batch up the loss."""
        moved = stepped(ball, change, grad.detach(), column(self.share * ball.radius, change))
        kept = scene.state["change"].clone()
        kept[: len(moved)] = moved
        scene.state["change"] = kept

    def stronger(self) -> Self:
        """Steps half as long, which end less often at the set's edge."""
        return replace(self, share=self.share / 2)
