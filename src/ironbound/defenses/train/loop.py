"""The loop of a training: batches, updates, checkpoints and history. What is minimised is the objective's business."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ironbound.core import rows
from ironbound.core.errors import ModelError
from ironbound.core.progress import Event, Listener
from ironbound.core.rng import content_keys
from ironbound.defenses.train import checkpoint, randomness
from ironbound.defenses.train.checkpoint import Position
from ironbound.defenses.train.objective import Batch, Outcome, Scene
from ironbound.defenses.train.place import Place, statistics_of
from ironbound.defenses.train.shares import Shares
from ironbound.defenses.train.training import Training

MEASURES = ("clean", "attacked", "certified")
COUNTS = ("loss", "samples", "rows", *(f"{name}{of}" for name in MEASURES for of in ("", " of")))
"""What is counted of each batch, over all its parts and processes."""


class Run:
    """One training from where its checkpoint stands to the end."""

    def __init__(
        self,
        scene: Scene,
        training: Training,
        place: Place,
        folder: Path | None,
        every: int | None,
        progress: Listener,
    ) -> None:
        self.scene, self.training, self.place = scene, training, place
        self.folder, self.every, self.progress = folder, every, progress
        self.net = scene.model.net
        if not self.net.training:
            self.net.train()
        self.weights = [parameter for parameter in self.net.parameters() if parameter.requires_grad]
        self.optimiser = training.optimiser_of(self.weights)
        self.keys = content_keys(scene.x, scene.y)
        self.batches = -(-len(scene.y) // training.batch)
        self.updates = self.batches * training.objective.repeats
        self.shares = Shares(scene, place, training.accumulate, len(scene.y) // self.batches)
        self.position = Position()
        if folder is not None:
            self.position, tables = checkpoint.load(folder, self.net, self.optimiser)
            self.shares.load(tables)
            place.restore(tables.get("place", {}))
        place.must_agree(self.position.epoch * self.updates + self.position.batch, "the checkpoints")

    def finish(self) -> None:
        """All epochs that are left."""
        while self.position.epoch < self.training.epochs:
            self._epoch()

    def _epoch(self) -> None:
        at, scene = self.position, self.scene
        parts = randomness.batches(self.training.seed, at.epoch, len(scene.y), self.training.batch)
        repeats = self.training.objective.repeats
        while at.batch < self.updates:
            since = time.perf_counter()
            found = self._update(parts[at.batch // repeats])
            at.batch += 1
            self._note(found, time.perf_counter() - since)
            if self.every is not None and at.batch % self.every == 0 and at.batch < self.updates:
                self._save()
        self._must_be_finite(self._total(), "the sum of the weights")
        at.history.append(self._summary())
        at.epoch, at.batch, at.sums = at.epoch + 1, 0, {}
        self._save()

    def _update(self, index: Tensor) -> dict[str, Any]:
        """One update of the weights by the samples of those rows, and what it counted."""
        at, seed, device, place = self.position, self.training.seed, self.scene.model.device, self.place
        done = (at.epoch * self.updates + at.batch + 0.5) / (self.training.epochs * self.updates)
        for group in self.optimiser.param_groups:
            group["lr"] = self.training.rate_at(done)
        counts: Tensor | float = 0.0
        seen: dict[str, Any] = {}
        for number, rows_of in self.shares.of(index):
            with randomness.drawing(seed, at.epoch, at.batch, device, number), self.shares.state(number):
                outcome = self.training.objective.loss(self.scene, self._batch(rows_of))
                if not seen:
                    self.optimiser.zero_grad(set_to_none=True)
                place.backward(outcome.losses.sum() / len(index))
            counts = counts + _counted(outcome)
            seen = {name: getattr(outcome, name) for name in ("eps", "kappa")}
        assert isinstance(counts, Tensor)
        self.shares.join(index)
        found = dict(zip(COUNTS, self._joined(counts), strict=True))
        self._must_be_finite(found["loss"], "the loss")
        if found["samples"] != len(index):  # losses of pairs, or of unlabelled samples besides: the mean is over them
            for weight in self.weights:
                if weight.grad is not None:
                    weight.grad *= len(index) / found["samples"]
        place.unscale(self.optimiser)
        norm = nn.utils.get_total_norm([weight.grad for weight in self.weights if weight.grad is not None])
        if self.training.clip is not None:
            nn.utils.clip_grads_with_norm_(self.weights, self.training.clip, norm)
        if not place.scaled:
            self._must_be_finite(norm, "the norm of the gradient")
        place.step(self.optimiser)
        return found | seen

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
            weight.grad = total.view_as(weight).to(weight) if some else None
        for statistic, total in zip(statistics, parts[2 + len(self.weights) :], strict=True):
            statistic.copy_(total.view_as(statistic) / self.place.world)
        return numbers

    def _batch(self, index: Tensor) -> Batch:
        """The samples of those rows, on the model's device."""
        at, scene = self.position, self.scene
        there, device = index.to(scene.y.device), scene.model.device
        epochs = at.epoch + at.batch / self.updates
        return Batch(
            x=rows.to(rows.take(scene.x, there), device),
            y=scene.y[there].to(device),
            rng=randomness.streams(self.training.seed, at.epoch, self.keys[index].to(device)),
            at=epochs,
            index=index,
            strength=self.training.strength_at(epochs),
        )

    def _must_be_finite(self, number: Tensor | float, what: str) -> None:
        value, at, rate = float(number), self.position, self.optimiser.param_groups[0]["lr"]
        if math.isfinite(value):
            return
        kept = "" if self.folder is None else f" The last checkpoint is kept in {self.folder}."
        raise ModelError(
            f"{what} is {value} in epoch {at.epoch + 1}, batch {min(at.batch + 1, self.updates)} of {self.updates}, at rate "
            f"{rate:.3g}: the training has diverged. Lower the rate (rate={self.training.rate / 10:g}) or shorten gradients "
            f"(clip=1.0).{kept}"
        )

    def _total(self) -> Tensor:
        """Not finite where a weight is not."""
        return torch.stack([weight.detach().sum() for weight in self.weights]).sum()

    def _note(self, found: dict[str, Any], seconds: float) -> None:
        """Add a batch to the epoch's sums, and tell the listener."""
        at, sums, count = self.position, self.position.sums, int(found["samples"])
        new = {"rows": count, "loss": found["loss"], "seconds": seconds}
        for name in MEASURES:
            of = f"{name} of"
            new |= {name: int(found[name]), of: int(found[of])} if found[of] else {}
        for name, value in new.items():
            sums[name] = sums.get(name, 0) + value
        sums |= {name: float(value) for name in ("eps", "kappa") if (value := found[name]) is not None}
        at.rows += int(found["rows"])
        done, of_all = at.epoch * self.updates + at.batch, self.training.epochs * self.updates
        stage = f"train {self.training.label}"
        self.progress(Event(stage, done, of_all, at.rows, f"epoch {at.epoch + 1}, loss {found['loss'] / count:.4f}"))

    def _summary(self) -> dict[str, Any]:
        """The epoch as a row of the history."""
        sums = self.position.sums
        share = lambda name: sums[name] / sums[f"{name} of"] if name in sums else None
        return {
            "epoch": self.position.epoch + 1,
            "loss": sums["loss"] / sums["rows"],
            **{f"{name}_accuracy": share(name) for name in ("clean", "attacked", "certified")},
            "eps": sums.get("eps"),
            "kappa": sums.get("kappa"),
            "rate": self.optimiser.param_groups[0]["lr"],
            "seconds": sums["seconds"],
        }

    def _save(self) -> None:
        if self.folder is None:
            return
        folder = self.folder
        self._must_be_finite(self._total(), "the sum of the weights")
        tables = {**self.shares.tables(), "place": self.place.tables()}
        self.place.first(lambda: checkpoint.save(folder, self.net, self.optimiser, tables, self.position))


def _counted(outcome: Outcome) -> Tensor:
    """What an outcome says as numbers, in the order of COUNTS, on its device."""
    losses, good = outcome.losses.detach(), {name: getattr(outcome, name) for name in MEASURES}
    sizes = [0 if good[name] is None else len(good[name]) for name in MEASURES]
    known = [0, len(losses), outcome.rows, *(number for size in sizes for number in (0, size))]
    numbers = torch.tensor(known, dtype=torch.promote_types(losses.dtype, torch.float32), device=losses.device)
    numbers[0] = losses.sum()
    for place, name in enumerate(MEASURES):
        if good[name] is not None:
            numbers[3 + 2 * place] = good[name].sum()
    return numbers
