"""The loop of a training: batches, updates, checkpoints and history. What is minimised is the objective's business."""

from __future__ import annotations

import math
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ironbound.core import rows
from ironbound.core.errors import ModelError
from ironbound.core.progress import Event, Listener
from ironbound.core.rng import content_keys
from ironbound.defenses.train import checkpoint, randomness
from ironbound.defenses.train.averaging import SETTLING, Average, fill, has_statistics
from ironbound.defenses.train.checkpoint import Position, Tables, captured, put
from ironbound.defenses.train.counting import added, row
from ironbound.defenses.train.history import write_history
from ironbound.defenses.train.objective import Batch, Scene
from ironbound.defenses.train.place import Place
from ironbound.defenses.train.recovery import RECOVERIES, recovery_of, said, strengthened
from ironbound.defenses.train.training import Training
from ironbound.defenses.train.update import Updates
from ironbound.defenses.train.validation import Probe, Validation


class Run:
    """One training from where its checkpoint stands to the end."""

    def __init__(
        self,
        scene: Scene,
        training: Training,
        held: Probe | None,
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
        self.keys = content_keys(scene.x, scene.y)
        self.batches = -(-len(scene.y) // training.batch)
        self.updates = self.batches * training.objective.repeats
        self.updating = Updates(scene, training, place, len(scene.y) // self.batches, self._must_be_finite)
        self.average = Average(self.net, training.average, training.swa_start)
        begins = max(training.objective.lasts, training.rise)
        self.validation = None if held is None else Validation(held, training, begins)
        self.recovery = recovery_of(scene, training, held, self.keys, self.updates)
        self.objective, self.position = training.objective, Position()
        if folder is not None:
            self._load(folder)
        place.must_agree(self.position.epoch * self.updates + self.position.batch, "the checkpoints")
        if self.recovery is not None and self.position.good is None:
            self.recovery.keep(self.position, self._tables())

    def finish(self) -> None:
        """All epochs that are left; then the net holds what is given back."""
        while self.position.epoch < self.training.epochs and not self.position.stopped:
            self._epoch()
        if self.validation is not None and self.validation.best:
            fill(self.net, self.validation.best)
        elif self.average.there:
            self.average.swap()
            self._settle_where_needed()

    def _epoch(self) -> None:
        at, scene = self.position, self.scene
        parts = randomness.batches(self.training.seed, at.epoch, len(scene.y), self.training.batch)
        while at.batch < self.updates:
            since = time.perf_counter()
            found = self._update(parts[at.batch // self.training.objective.repeats])
            self.average.updated()
            at.batch += 1
            self._note(found, time.perf_counter() - since)
            if self._gone_back():
                return
            if self.every is not None and at.batch % self.every == 0 and at.batch < self.updates:
                self._save()
        self._must_be_finite(self._total(), "the sum of the weights")
        self._end_epoch()

    def _end_epoch(self) -> None:
        """Average, measure, note, keep."""
        at, since = self.position, time.perf_counter()
        self.average.ended((at.epoch + 1) / self.training.epochs)
        measured = None
        if self.validation is not None:
            with self.average.swapped(self._settle_where_needed):
                measured = self.validation.judged(self.scene, at, self.place)
        at.sums["seconds"] += time.perf_counter() - since
        rate = self.updating.optimiser.param_groups[0]["lr"]
        at.history.append(row(at.epoch + 1, at.sums, rate, measured, len(at.recoveries)))
        at.epoch, at.batch, at.sums = at.epoch + 1, 0, {}
        self._save()
        folder = self.folder
        if folder is not None:
            self.place.first(lambda: write_history(folder, at.history))

    def _gone_back(self) -> bool:
        """Where it is time, look for catastrophic overfitting, and go back where it is seen."""
        at, recovery = self.position, self.recovery
        if recovery is None or not recovery.due(at):
            return False
        since = time.perf_counter()
        strength = self.training.strength_at(at.epoch + at.batch / self.updates)
        fallen = recovery.fallen(self.scene, at, self._tables(), strength, self.place)
        at.sums["seconds"] += time.perf_counter() - since
        if not fallen or len(at.recoveries) >= RECOVERIES:
            return False
        self.position = recovery.back(at)
        self._put(recovery.good)
        self.objective = strengthened(self.training.objective, len(self.position.recoveries))
        self._save()
        self._tell(said(self.position.recoveries[-1], self.objective))
        return True

    def _tables(self) -> Tables:
        """All tensors that make this moment of the training."""
        further = {**self.updating.shares.tables(), "place": self.place.tables(), "average": self.average.tables()}
        return captured(self.net, self.updating.optimiser, further, self.position)

    def _put(self, tables: Tables) -> None:
        """Go on from that moment."""
        put(tables, self.position, self.net, self.updating.optimiser)
        self.updating.shares.load(tables)
        self.place.restore(tables.get("place", {}))
        self.average.put(tables.get("average", {}))

    def _load(self, folder: Path) -> None:
        self.position, tables = checkpoint.load(folder)
        if not tables:
            return
        self._put(tables)
        device = self.scene.model.device
        if self.validation is not None:
            self.validation.best = rows.to(tables.get("best", {}), device)
        if self.recovery is not None:
            self.recovery.good = rows.to(tables.get("good", {}), device)
            self.objective = strengthened(self.training.objective, len(self.position.recoveries))

    def _settle_where_needed(self) -> None:
        """Running statistics of the mean of weights, by batches passed as in training; nothing else is moved."""
        if self.average.kind != "swa" or not has_statistics(self.net):
            return
        seed, epoch, device, shares = (
            self.training.seed,
            self.position.epoch,
            self.scene.model.device,
            self.updating.shares,
        )
        parts = randomness.batches(seed, epoch, len(self.scene.y), self.training.batch)
        with shares.untouched():
            for batch, index in enumerate(parts[:SETTLING]):
                for number, part in shares.of(index):
                    with randomness.drawing(seed, -1 - epoch, batch, device, number), shares.state(number):
                        self.objective.loss(self.scene, self._batch(part))
        self.updating.optimiser.zero_grad(set_to_none=True)
        self.updating.join_statistics()

    def _update(self, index: Tensor) -> dict[str, Any]:
        """One update of the weights by the samples of those rows, and what it counted."""
        at, seed, device = self.position, self.training.seed, self.scene.model.device
        done = (at.epoch * self.updates + at.batch + 0.5) / (self.training.epochs * self.updates)
        drawing = partial(randomness.drawing, seed, at.epoch, at.batch, device)
        return self.updating.update(self.objective, index, self._batch, drawing, self.training.factor_at(done))

    def _batch(self, index: Tensor) -> Batch:
        """The samples of those rows, on the model's device."""
        at, scene = self.position, self.scene
        there, device = index.to(scene.y.device), scene.model.device
        epochs = at.epoch + at.batch / self.updates
        rng = randomness.streams(self.training.seed, at.epoch, self.keys[index].to(device))
        x = scene.transformed(rows.to(rows.take(scene.x, there), device), rng)
        return Batch(
            x=x,
            y=scene.y[there].to(device),
            rng=rng,
            at=epochs,
            index=index,
            strength=self.training.strength_at(epochs),
        )

    def _must_be_finite(self, number: Tensor | float, what: str) -> None:
        value, at = float(number), self.position
        if math.isfinite(value):
            return
        rate = self.updating.optimiser.param_groups[0]["lr"]
        kept = "" if self.folder is None else f" The last checkpoint is kept in {self.folder}."
        raise ModelError(
            f"{what} is {value} in epoch {at.epoch + 1}, batch {min(at.batch + 1, self.updates)} of {self.updates}, at rate "
            f"{rate:.3g}: the training has diverged. Lower the rate (rate={self.training.rate / 10:g}) or shorten gradients "
            f"(clip=1.0).{kept}"
        )

    def _total(self) -> Tensor:
        """Not finite where a weight is not."""
        return torch.stack([weight.detach().sum() for weight in self.updating.weights]).sum()

    def _note(self, found: dict[str, Any], seconds: float) -> None:
        """Add a batch to the epoch's sums, and tell the listener."""
        at = self.position
        new = added(at.sums, found, seconds)
        at.rows += int(found["rows"])
        for name in ("attacked", "attacked of") if "attacked" in new else ():
            at.watched[name] = at.watched.get(name, 0.0) + new[name]
        self._tell(f"epoch {at.epoch + 1}, loss {found['loss'] / new['rows']:.4f}")

    def _tell(self, note: str) -> None:
        at = self.position
        done, of = at.epoch * self.updates + at.batch, self.training.epochs * self.updates
        self.progress(Event(f"train {self.training.label}", done, of, at.rows, note))

    def _save(self) -> None:
        if self.folder is None:
            return
        self._must_be_finite(self._total(), "the sum of the weights")
        further = {} if self.validation is None else {"best": self.validation.best}
        further |= {} if self.recovery is None else {"good": self.recovery.good}
        folder, tables = self.folder, {**self._tables(), **further}
        self.place.first(lambda: checkpoint.save(folder, tables, self.position))
