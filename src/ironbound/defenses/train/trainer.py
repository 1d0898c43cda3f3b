"""Training a copy of a model: what comes in is checked here, what comes out is described here. The loop is loop.py."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ironbound.core import rows
from ironbound.core.errors import InputError, ModelError, UsageError
from ironbound.core.progress import Listener, silent
from ironbound.data.dataset import Data
from ironbound.defenses.train import checkpoint, recovery
from ironbound.defenses.train.giving import admitted_given, beside
from ironbound.defenses.train.loop import Run
from ironbound.defenses.train.objective import Given, Scene
from ironbound.defenses.train.place import Lost, Place, here
from ironbound.defenses.train.training import Training
from ironbound.defenses.train.transforms import must_be_images
from ironbound.defenses.train.validation import Probe, parted
from ironbound.models.admission import admitted_inputs, admitted_labels
from ironbound.models.cheap import fast_layout
from ironbound.models.model import Model


@dataclass(frozen=True, eq=False)
class Trained:
    """What a training gives."""

    model: Model
    """A copy of the user's model with other weights, in evaluation mode."""
    history: list[dict[str, Any]]
    """A row an epoch; history.COLUMNS says of what. Accuracies are of the training batches as they went by, each with the
    weights of its moment (None where the objective does not measure it): signs of progress, not results. Those named
    validation_* are of the rows held out, after the epoch."""
    best: dict[str, Any] | None = None
    """The epoch whose weights these are and its result on the validation rows; None without validation."""
    stopped: str = ""
    """Why the training ended before its last epoch."""
    recoveries: list[dict[str, Any]] = field(default_factory=list)
    """How it went back after catastrophic overfitting, each time (recovery.py)."""


def train(
    model: Model,
    data: Data | tuple[Any, Any],
    threat: Any,
    training: Training,
    *,
    given: Given | None = None,
    folder: Path | None = None,
    resume: bool = False,
    every: int | None = None,
    progress: Listener = silent,
    place: Place | None = None,
) -> Trained:
    """Train a copy of the model; the user's module, its modes and gradients and torch's generators stay as they are.

    Parameters
    ----------
    model: any Model with logits. Parts whose parameters need no gradient stay frozen. A module in training mode keeps
        the modes of its parts (frozen batch normalisation stays in evaluation mode); one in evaluation mode is put into
        training mode throughout.
    data: Data, or a pair (x, y): inputs (n, ...) in the model's range and classes (n,), on any device.
    threat: the perturbation set; None will do for `Standard`.
    given: what some objectives need besides: a teacher, other models, unlabelled inputs, weights to start from.
    folder: where to keep training.json, history.parquet and, after every epoch and every `every` batches,
        checkpoint.safetensors.
    resume: go on from the checkpoint in `folder` (from the start where there is none). The weights are bit by bit those
        of a training that was never interrupted, where the kernels are deterministic, as PyTorch's are on a CPU.
    progress: hears one event a batch, in the first process.
    place: where it runs (place.py); None finds out: under torchrun each process runs its share of every batch, on its own
        GPU where the model is on one, and all give back the same weights. The first writes the files.

    Raises InputError for data that the model cannot take, CompositionError or UnsupportedOperation where model, set and
    objective do not fit, FingerprintMismatch when resuming another training, ModelError when the loss is not finite,
    RunError that names the last checkpoint where another process of the training has ended.
    """
    if (every is not None and every < 1) or (folder is None and (resume or every is not None)):
        raise UsageError(
            f"resume and every (a number of batches >= 1) need a folder; got folder={folder}, every={every}."
        )
    place = place or here(model.device, training.precision)
    where = None if folder is None else Path(folder)
    listener = progress if place.rank == 0 else silent
    try:
        with place.guarded(), torch.enable_grad():
            return _trained(model, data, threat, training, given or Given(), where, resume, every, listener, place)
    except Lost as error:
        if error.kept:  # an earlier stage has said where it stands
            raise
        lost = Lost(f"{error} {checkpoint.last(where)}")
        lost.kept = True
        raise lost from error


def _trained(
    model: Model, data: Any, threat: Any, training: Training, given: Given, folder: Path | None, resume: bool,
    every: int | None, progress: Listener, place: Place,
) -> Trained:  # fmt: skip
    """Train where we are."""
    x, y, held = parted(*_admitted(model, data), training)
    given = admitted_given(given, model, x, training.objective)

    def stage(name: str, training: Training, model: Model) -> Model:
        """An earlier training, in a folder of its own; what it trained is resumed with the rest."""
        where = None if folder is None else folder / name
        go_on = where is not None and (where / checkpoint.PLAN).exists()
        return train(
            model, (x, y), threat, training, folder=where, resume=go_on, every=every, progress=progress, place=place
        ).model

    def kept(name: str, make: Callable[[], Tensor]) -> Tensor:
        """A tensor that is made once, so that a resumed training has the very same."""
        return make() if folder is None else checkpoint.kept(folder, name, make, write=place.rank == 0)

    given = beside(given, place.device)
    copied = _copied(model, place.device)
    place.copy_first(itertools.chain(copied.net.parameters(), copied.net.buffers()))
    scene = Scene(
        copied, threat, x, y, training.seed, training.criterion, given, stage=stage, kept=kept,
        transform=training.transforming(model.box), strength=training.strength, precision=training.precision,
    )  # fmt: skip
    _check(scene, training, held)
    if folder is not None or place.world > 1:
        plan = checkpoint.plan_of(scene, training, place.world)
        place.must_agree(checkpoint.number_of(plan), "settings, data or model")
        if folder is not None:
            place.first(lambda: checkpoint.begun(folder, plan, resume))
    training.objective.prepare(scene)
    with fast_layout(scene.model.net):
        run = Run(scene, training, held, place, folder, every, progress)
        run.finish()
    net = scene.model.net.eval()
    net.zero_grad(set_to_none=True)
    for own, wanted in zip(net.parameters(), model.net.parameters(), strict=True):  # some are frozen by their training
        own.requires_grad_(wanted.requires_grad)
    at = run.position
    return Trained(scene.model, at.history, at.best, at.stopped, at.recoveries)


def _check(scene: Scene, training: Training, held: Probe | None) -> None:
    """Refuse what cannot be trained, before anything is written."""
    training.objective.check(scene)
    if held is not None:
        held.check(scene)
    if training.transform is not None:
        must_be_images(scene.example)
    recovery.must_be_possible(scene, training)


def must_train(
    model: Model, data: Data | tuple[Any, Any], threat: Any, training: Training, given: Given | None = None
) -> None:
    """Refuse what `train` refuses before its first batch, and train nothing. Raises what it raises."""
    x, y, held = parted(*_admitted(model, data), training)
    given = admitted_given(given or Given(), model, x, training.objective)
    copied = _copied(model, model.device)
    scene = Scene(copied, threat, x, y, training.seed, training.criterion, given, precision=training.precision)
    _check(scene, training, held)


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


def _copied(model: Model, device: torch.device) -> Model:
    """A model like the user's around a copy of its net, on that device."""
    if model.outputs == "decisions":
        raise ModelError(
            "the model answers decisions only, which have no gradient. Train the module that gives its logits."
        )
    try:
        net = copy.deepcopy(model.net).to(device)
    except (RuntimeError, TypeError) as error:
        raise ModelError(
            f"{type(model.net).__name__} cannot be copied, and training never changes the user's own module: {error}. "
            "Keep only parameters, buffers and plain values in it (no results of computations, no open files)."
        ) from error
    if not any(parameter.requires_grad for parameter in net.parameters()):
        raise ModelError(
            "no parameter of the model needs a gradient: nothing can be trained. Call net.requires_grad_() first."
        )
    return model.around(net)
