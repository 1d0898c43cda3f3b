"""One update of the weights: the parts of a batch, their gradients over all processes, and the optimiser's step."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from ironbound.defenses.train.counting import COUNTS, counted
from ironbound.defenses.train.objective import Batch, Scene, TrainingObjective
from ironbound.defenses.train.place import Place, statistics_of
from ironbound.defenses.train.shares import Shares
from ironbound.defenses.train.training import Training


class Updates:
    """What makes updates: the trained weights, their optimiser, and how batches are divided."""

    def __init__(
        self,
        scene: Scene,
        training: Training,
        place: Place,
        smallest: int,
        finite: Callable[[Tensor | float, str], None],
    ) -> None:
        """`smallest` is the size of the smallest batch; `finite` raises where a number is not."""
        self.scene, self.training, self.place, self.finite = scene, training, place, finite
        self.net = scene.model.net
        self.weights = [parameter for parameter in self.net.parameters() if parameter.requires_grad]
        self.optimiser = training.optimiser_of(self.weights)
        self.rates = [group["lr"] for group in self.optimiser.param_groups]
        self.shares = Shares(scene, place, training.accumulate, smallest)

    def update(
        self,
        objective: TrainingObjective,
        index: Tensor,
        batch_of: Callable[[Tensor], Batch],
        drawing: Callable[[int], AbstractContextManager[None]],
        factor: float,
    ) -> dict[str, Any]:
        """One step by the samples of those rows, at that share of the highest rate; what was counted.

        `drawing` gives the context in which the part of that number draws.
        """
        place = self.place
        for group, highest in zip(self.optimiser.param_groups, self.rates, strict=True):
            group["lr"] = highest * factor
        counts: Tensor | float = 0.0
        seen: dict[str, Any] = {}
        for number, part in self.shares.of(index):
            with drawing(number), self.shares.state(number):
                earlier = self._gradients([None] * len(self.weights))
                outcome = objective.loss(self.scene, batch_of(part))
                self._gradients(earlier if seen else [None] * len(self.weights))  # what `loss` added is not used
                place.backward(outcome.losses.sum() / len(index))
            counts = counts + counted(outcome)
            seen = {name: getattr(outcome, name) for name in ("eps", "kappa")}
        assert isinstance(counts, Tensor)
        self.shares.join(index)
        found = dict(zip(COUNTS, self._joined(counts), strict=True))
        self.finite(found["loss"], "the loss")
        if found["samples"] != len(index):  # losses of pairs, or of unlabelled samples besides: the mean is over them
            for weight in self.weights:
                if weight.grad is not None:
                    weight.grad *= len(index) / found["samples"]
        place.unscale(self.optimiser)
        norm = nn.utils.get_total_norm([weight.grad for weight in self.weights if weight.grad is not None])
        if self.training.clip is not None:
            nn.utils.clip_grads_with_norm_(self.weights, self.training.clip, norm)
        if not place.scaled:
            self.finite(norm, "the norm of the gradient")
        place.step(self.optimiser)
        return found | seen

    def _gradients(self, new: list[Tensor | None]) -> list[Tensor | None]:
        """Give the weights these gradients; those that they had come back."""
        had = [weight.grad for weight in self.weights]
        for weight, grad in zip(self.weights, new, strict=True):
            weight.grad = grad
        return had

    def _joined(self, counts: Tensor) -> list[float]:
        """The counts of all processes. Gradients become their sums and running statistics their means, all in one go."""
        if self.place.world == 1:
            return counts.tolist()
        wide = torch.float64 if any(weight.dtype is torch.float64 for weight in self.weights) else torch.float32
        statistics = statistics_of(self.net)
        has = [float(weight.grad is not None) for weight in self.weights]
        gradients = [torch.zeros_like(w) if w.grad is None else w.grad for w in self.weights]
        pieces = [counts, torch.tensor(has, device=counts.device), *gradients, *statistics]
        flat = self.place.sum(torch.cat([piece.detach().flatten().to(wide) for piece in pieces]))
        parts = flat.split([piece.numel() for piece in pieces])
        numbers, present = parts[0].tolist(), parts[1].tolist()
        for weight, some, total in zip(self.weights, present, parts[2:], strict=False):
            if some:
                weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
                weight.grad.copy_(total.view_as(weight))  # in the weight's own layout
        for statistic, total in zip(statistics, parts[2 + len(self.weights) :], strict=True):
            statistic.copy_(total.view_as(statistic) / self.place.world)
        return numbers

    @torch.no_grad()
    def join_statistics(self) -> None:
        """Running statistics become their means over all processes."""
        for statistic in statistics_of(self.net) if self.place.world > 1 else ():
            statistic.copy_(self.place.sum(statistic.clone()) / self.place.world)
