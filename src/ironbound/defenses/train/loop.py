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
from ironbound.defenses.train.training import Training


class Run:
    """One training from where its checkpoint stands to the end."""

    def __init__(
        self,
        scene: Scene,
        training: Training,
        folder: Path | None,
        every: int | None,
        progress: Listener,
    ) -> None:
        self.scene, self.training = scene, training
        self.folder, self.every, self.progress = folder, every, progress
        self.net = scene.model.net
        if not self.net.training:
            self.net.train()
        self.weights = [parameter for parameter in self.net.parameters() if parameter.requires_grad]
        self.optimiser = training.optimiser_of(self.weights)
        self.keys = content_keys(scene.x, scene.y)
        self.batches = -(-len(scene.y) // training.batch)
        self.updates = self.batches * training.objective.repeats
        self.position = Position()
        if folder is not None:
            self.position, tables = checkpoint.load(folder, self.net, self.optimiser)
            device = scene.model.device
            scene.state.update({name: tensor.to(device) for name, tensor in tables.get("objective", {}).items()})

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
            outcome = self._update(parts[at.batch // repeats])
            at.batch += 1
            at.rows += outcome.rows
            self._note(outcome, time.perf_counter() - since)
            if self.every is not None and at.batch % self.every == 0 and at.batch < self.updates:
                self._save()
        self._must_be_finite(self._total(), "the sum of the weights")
        at.history.append(self._summary())
        at.epoch, at.batch, at.sums = at.epoch + 1, 0, {}
        self._save()

    def _update(self, index: Tensor) -> Outcome:
        """One update of the weights by the samples of those rows."""
        at, seed, device = self.position, self.training.seed, self.scene.model.device
        done = (at.epoch * self.updates + at.batch + 0.5) / (self.training.epochs * self.updates)
        for group in self.optimiser.param_groups:
            group["lr"] = self.training.rate_at(done)
        with randomness.drawing(seed, at.epoch, at.batch, device):
            outcome = self.training.objective.loss(self.scene, self._batch(index))
            self._must_be_finite(outcome.losses.sum(), "the loss")
            self.optimiser.zero_grad(set_to_none=True)
            outcome.losses.mean().backward()
        norm = nn.utils.clip_grad_norm_(self.weights, self.training.clip or math.inf)
        self._must_be_finite(norm, "the norm of the gradient")
        self.optimiser.step()
        return outcome

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

    def _must_be_finite(self, number: Tensor, what: str) -> None:
        value, at, rate = float(number.detach()), self.position, self.optimiser.param_groups[0]["lr"]
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

    def _note(self, outcome: Outcome, seconds: float) -> None:
        """Add a batch to the epoch's sums, and tell the listener."""
        sums, count = self.position.sums, len(outcome.losses)
        total = float(outcome.losses.detach().sum())
        new = {"rows": count, "loss": total, "seconds": seconds}
        for name in ("clean", "attacked", "certified"):
            good = getattr(outcome, name)
            new |= {} if good is None else {name: int(good.sum()), f"{name} of": len(good)}
        for name, value in new.items():
            sums[name] = sums.get(name, 0) + value
        sums |= {name: value for name in ("eps", "kappa") if (value := getattr(outcome, name)) is not None}
        at = self.position
        done, of = at.epoch * self.updates + at.batch, self.training.epochs * self.updates
        stage = f"train {self.training.label}"
        self.progress(Event(stage, done, of, at.rows, f"epoch {at.epoch + 1}, loss {total / count:.4f}"))

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
        if self.folder is not None:
            self._must_be_finite(self._total(), "the sum of the weights")
            checkpoint.save(self.folder, self.net, self.optimiser, {"objective": self.scene.state}, self.position)
