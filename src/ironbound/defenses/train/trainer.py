"""The trainer: batches, optimiser, checkpoints and history. What is minimised is the objective's business."""

from __future__ import annotations

import copy
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ironbound.core import rows
from ironbound.core.errors import InputError, ModelError, UsageError
from ironbound.core.progress import Event, Listener, silent
from ironbound.core.rng import content_keys
from ironbound.data.dataset import Data
from ironbound.defenses.train import checkpoint, randomness
from ironbound.defenses.train.checkpoint import Position
from ironbound.defenses.train.objectives import Batch, Outcome, Scene
from ironbound.defenses.train.training import Training
from ironbound.models.admission import admitted_inputs, admitted_labels
from ironbound.models.model import Model


@dataclass(frozen=True, eq=False)
class Trained:
    """What a training gives."""

    model: Model
    """A copy of the user's model with other weights, in evaluation mode."""
    history: list[dict[str, Any]]
    """A row an epoch: epoch, loss (nats), clean_accuracy, attacked_accuracy and certified_accuracy, eps, kappa, rate,
    seconds. Accuracies are of the training batches as they went by, each with the weights of its moment (None where the
    objective does not measure it): signs of progress, not results. eps, kappa and rate are those of the last batch."""


def train(
    model: Model,
    data: Data | tuple[Any, Any],
    threat: Any,
    training: Training,
    *,
    folder: Path | None = None,
    resume: bool = False,
    every: int | None = None,
    progress: Listener = silent,
) -> Trained:
    """Train a copy of the model; the user's module, its modes and gradients and torch's generators stay as they are.

    Parameters
    ----------
    model: any Model with logits. Parts whose parameters need no gradient stay frozen. A module in training mode keeps
        the modes of its parts (frozen batch normalisation stays in evaluation mode); one in evaluation mode is put into
        training mode throughout.
    data: Data, or a pair (x, y): inputs (n, ...) in the model's range and classes (n,), on any device.
    threat: the perturbation set; None will do for `Standard`.
    folder: where to keep training.json and, after every epoch and every `every` batches, checkpoint.safetensors.
    resume: go on from the checkpoint in `folder` (from the start where there is none). The weights are bit by bit those
        of a training that was never interrupted, where the kernels are deterministic, as PyTorch's are on a CPU.
    progress: hears one event a batch.

    Raises InputError for data that the model cannot take, CompositionError or UnsupportedOperation where model, set and
    objective do not fit, FingerprintMismatch when resuming another training, ModelError when the loss is not finite.
    """
    if (every is not None and every < 1) or (folder is None and (resume or every is not None)):
        raise UsageError(
            f"resume and every (a number of batches >= 1) need a folder; got folder={folder}, every={every}."
        )
    x, y = _admitted(model, data)
    plan = None if folder is None else checkpoint.plan_of(model, x, y, threat, training)
    scene = Scene(_copied(model), threat, rows.to(rows.part(x, slice(0, 1)), model.device))
    training.objective.prepare(scene, training.seed)
    if folder is not None and plan is not None:
        folder = Path(folder)
        checkpoint.begun(folder, plan, resume)
    run = _Run(scene, training, x, y, folder, every, progress)
    with torch.enable_grad():
        run.finish()
    net = scene.model.net.eval()
    net.zero_grad(set_to_none=True)
    return Trained(scene.model, run.position.history)


class _Run:
    """One training from where its checkpoint stands to the end."""

    def __init__(
        self,
        scene: Scene,
        training: Training,
        x: Any,
        y: Tensor,
        folder: Path | None,
        every: int | None,
        progress: Listener,
    ) -> None:
        self.scene, self.training, self.x, self.y = scene, training, x, y
        self.folder, self.every, self.progress = folder, every, progress
        self.net = scene.model.net
        if not self.net.training:
            self.net.train()
        self.weights = [parameter for parameter in self.net.parameters() if parameter.requires_grad]
        self.optimiser = training.optimiser_of(self.weights)
        self.keys = content_keys(x, y)
        self.batches = -(-len(y) // training.batch)
        self.position = Position() if folder is None else checkpoint.load(folder, self.net, self.optimiser)

    def finish(self) -> None:
        """All epochs that are left."""
        while self.position.epoch < self.training.epochs:
            self._epoch()

    def _epoch(self) -> None:
        at, epoch = self.position, self.position.epoch
        parts = randomness.batches(self.training.seed, epoch, len(self.y), self.training.batch)
        while at.batch < self.batches:
            since = time.perf_counter()
            outcome = self._step(parts[at.batch])
            at.batch += 1
            at.rows += outcome.rows
            self._note(outcome, time.perf_counter() - since)
            if self.every is not None and at.batch % self.every == 0 and at.batch < self.batches:
                self._save()
        self._must_be_finite(self._total(), "the sum of the weights")
        at.history.append(self._summary())
        at.epoch, at.batch, at.sums = epoch + 1, 0, {}
        self._save()

    def _step(self, index: Tensor) -> Outcome:
        at, device, seed = self.position, self.scene.model.device, self.training.seed
        done = (at.epoch * self.batches + at.batch + 0.5) / (self.training.epochs * self.batches)
        for group in self.optimiser.param_groups:
            group["lr"] = self.training.rate_at(done)
        with randomness.drawing(seed, at.epoch, at.batch, device):
            batch = Batch(
                x=rows.to(rows.take(self.x, index.to(self.y.device)), device),
                y=self.y[index.to(self.y.device)].to(device),
                rng=randomness.streams(seed, at.epoch, self.keys[index].to(device)),
                at=at.epoch + at.batch / self.batches,
            )
            outcome = self.training.objective.loss(self.scene, batch)
            self._must_be_finite(outcome.loss, "the loss")
            self.optimiser.zero_grad(set_to_none=True)
            outcome.loss.backward()
        norm = nn.utils.clip_grad_norm_(self.weights, self.training.clip or math.inf)
        self._must_be_finite(norm, "the norm of the gradient")
        self.optimiser.step()
        return outcome

    def _must_be_finite(self, number: Tensor, what: str) -> None:
        value, at, rate = float(number.detach()), self.position, self.optimiser.param_groups[0]["lr"]
        if math.isfinite(value):
            return
        kept = "" if self.folder is None else f" The last checkpoint is kept in {self.folder}."
        raise ModelError(
            f"{what} is {value} in epoch {at.epoch + 1}, batch {min(at.batch + 1, self.batches)} of {self.batches}, at rate "
            f"{rate:.3g}: the training has diverged. Lower the rate (rate={self.training.rate / 10:g}) or shorten gradients "
            f"(clip=1.0).{kept}"
        )

    def _total(self) -> Tensor:
        """Not finite where a weight is not."""
        return torch.stack([weight.detach().sum() for weight in self.weights]).sum()

    def _note(self, outcome: Outcome, seconds: float) -> None:
        """Add a batch to the epoch's sums, and tell the listener."""
        sums, loss = self.position.sums, float(outcome.loss.detach())
        count = len(outcome.clean)
        new = {"rows": count, "loss": loss * count, "clean": int(outcome.clean.sum()), "seconds": seconds}
        for name in ("attacked", "certified"):
            good = getattr(outcome, name)
            new |= {} if good is None else {name: int(good.sum())}
        for name, value in new.items():
            sums[name] = sums.get(name, 0) + value
        sums |= {name: value for name in ("eps", "kappa") if (value := getattr(outcome, name)) is not None}
        at, total = self.position, self.training.epochs * self.batches
        done = at.epoch * self.batches + at.batch
        stage = f"train {self.training.objective.name}"
        self.progress(Event(stage, done, total, at.rows, f"epoch {at.epoch + 1}, loss {loss:.4f}"))

    def _summary(self) -> dict[str, Any]:
        """The epoch as a row of the history."""
        sums = self.position.sums
        share = lambda name: sums[name] / sums["rows"] if name in sums else None
        return {
            "epoch": self.position.epoch + 1,
            "loss": share("loss"),
            **{f"{name}_accuracy": share(name) for name in ("clean", "attacked", "certified")},
            "eps": sums.get("eps"),
            "kappa": sums.get("kappa"),
            "rate": self.optimiser.param_groups[0]["lr"],
            "seconds": sums["seconds"],
        }

    def _save(self) -> None:
        if self.folder is not None:
            self._must_be_finite(self._total(), "the sum of the weights")
            checkpoint.save(self.folder, self.net, self.optimiser, self.position)


def _admitted(model: Model, data: Data | tuple[Any, Any]) -> tuple[Any, Tensor]:
    """Inputs and labels, checked, where they are: batches move to the model's device one by one."""
    if not isinstance(data, Data) and not (isinstance(data, tuple) and len(data) == 2):
        raise InputError(
            f"data is a Data or a pair (inputs, labels); got {type(data).__name__}. ironbound.data.load reads more."
        )
    x, y = (data.x, data.y) if isinstance(data, Data) else data
    home = x.device if isinstance(x, Tensor) else torch.device("cpu")
    x = admitted_inputs(x, model.box, home, model.dtype)
    model.settle(rows.to(rows.part(x, slice(0, 1)), model.device))
    if y is None:
        raise InputError("training needs labels, one class an input; got none.")
    y = admitted_labels(y, rows.count(x), model.classes, home)
    if not isinstance(y, Tensor):
        raise InputError(f"training needs labels as classes (n,); got {type(y).__name__}.")
    return x, y


def _copied(model: Model) -> Model:
    """A model like the user's around a copy of its net."""
    if model.outputs == "decisions":
        raise ModelError(
            "the model answers decisions only, which have no gradient. Train the module that gives its logits."
        )
    try:
        net = copy.deepcopy(model.net)
    except (RuntimeError, TypeError) as error:
        raise ModelError(
            f"{type(model.net).__name__} cannot be copied, and training never changes the user's own module: {error}. "
            "Keep only parameters, buffers and plain values in it (no results of computations, no open files)."
        ) from error
    if not any(parameter.requires_grad for parameter in net.parameters()):
        raise ModelError(
            "no parameter of the model needs a gradient: nothing can be trained. Call net.requires_grad_() first."
        )
    mean, std = (None if t is None else t.tolist() for t in (model.module.mean, model.module.std))
    trained = Model(
        net, range=model.box, mean=mean, std=std, outputs=model.outputs, random=model.random, name=model.name
    )
    trained.classes = model.classes
    return trained
