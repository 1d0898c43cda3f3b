"""What is given to a training beside model and data, checked before anything is trained."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ironbound.core import rows
from ironbound.core.errors import DataError, InputError, ModelError, UsageError
from ironbound.data import load
from ironbound.data.dataset import Data, choose
from ironbound.defenses.train.objective import Given
from ironbound.models.admission import admitted_inputs
from ironbound.models.model import Model
from ironbound.models.weights import read_weights


def given_of(
    objective: Any,
    data: Data,
    seed: int,
    *,
    teacher: Any = None,
    models: Any = (),
    unlabelled: Any = None,
    source: Any = None,
    labelled: int | None = None,
) -> tuple[Data, Given]:
    """What a user gives, and the data that labels are read of: all, or `labelled` rows of them by the seed.

    An objective that uses unlabelled inputs gets the other rows as such, where no further ones are given.

    Raises UsageError where `labelled` is no number of rows that leaves some, or where a model is given as something else.
    """
    rest = None
    if labelled is not None:
        if type(labelled) is not int or not 0 < labelled < len(data):
            raise UsageError(f"labelled is a number of rows from 1 to {len(data) - 1}; got {labelled!r}.")
        places = choose(data.index, labelled, seed)
        others = torch.ones(len(data), dtype=torch.bool)
        others[places] = False
        data, rest = data.chosen(places), data.chosen(others.nonzero()[:, 0]).x
    if unlabelled is None and "unlabelled" in _used_by(objective):
        unlabelled = rest
    elif unlabelled is not None and not isinstance(unlabelled, (Tensor, np.ndarray)):
        unlabelled = _read(unlabelled)
    several = models if isinstance(models, (list, tuple)) else (models,)
    return data, Given(
        None if teacher is None else Model.of(teacher),
        tuple(Model.of(other) for other in several),
        unlabelled,
        None if source is None else weights_of(source),
    )


def _read(source: Any) -> Any:
    """The inputs of a source: a .npy file of them alone, or data whose labels are not looked at."""
    if isinstance(source, (str, Path)) and Path(source).suffix == ".npy":
        try:
            return np.load(Path(source).expanduser(), allow_pickle=False)
        except (OSError, ValueError) as error:
            raise DataError(f"unlabelled inputs: {source} cannot be read: {error}.") from None
    return load(source, split="train", stream=False).x


WORDS = {
    "teacher": "a teacher",
    "models": "other models",
    "unlabelled": "unlabelled inputs",
    "source": "weights to start from",
}
USES = {"teacher": "distill", "models": "ensemble", "unlabelled": "semi-supervised", "source": "robust-transfer"}
"""The training that is made for what is given."""


def admitted_given(given: Given, model: Model, x: Any, objective: Any) -> Given:
    """The same, as Models and tensors that go with the model and its inputs.

    Raises UsageError for what the objective has no use for, ModelError for models that take other inputs or answer with
    other classes, InputError for unlabelled inputs of another shape or range.
    """
    there = {field.name for field in fields(Given) if _is_there(getattr(given, field.name))}
    unused = sorted(there - _used_by(objective))
    if unused:
        raise UsageError(
            f"{objective.name} training has no use for {WORDS[unused[0]]}. Leave that out, or train by a method that has: "
            f"{USES[unused[0]]}."
        )
    return replace(
        given,
        teacher=None if given.teacher is None else _admitted_model(given.teacher, model, x, "the teacher"),
        models=tuple(_admitted_model(other, model, x, f"other model {i}") for i, other in enumerate(given.models, 1)),
        unlabelled=None if given.unlabelled is None else _admitted_rows(given.unlabelled, model, x),
        source=None if given.source is None else weights_of(given.source),
    )


def beside(given: Given, device: torch.device) -> Given:
    """The same with models that are on the device: those that are elsewhere (of another process's GPU) are copied."""
    there = lambda other: other if other.device == device else other.around(copy.deepcopy(other.net).to(device))
    teacher = None if given.teacher is None else there(given.teacher)
    return replace(given, teacher=teacher, models=tuple(map(there, given.models)))


def weights_of(source: Any) -> dict[str, Tensor]:
    """Weights by name: of a Model, a module, a mapping of tensors, or a file of weights."""
    if isinstance(source, (str, Path)):
        return read_weights(source)
    if isinstance(source, (Model, nn.Module)):
        return dict((source.net if isinstance(source, Model) else source).state_dict())
    if isinstance(source, Mapping) and source and all(isinstance(tensor, Tensor) for tensor in source.values()):
        return dict(source)
    raise UsageError(
        f"weights to start from are a model, its state_dict or a file of weights; got {type(source).__name__}."
    )


def _used_by(objective: Any) -> set[str]:
    """What the objective reads of what is given, or its base does."""
    own = set(getattr(objective, "uses", ()))
    return own | (_used_by(objective.base) if hasattr(objective, "base") else set())


def _is_there(value: Any) -> bool:
    return value is not None and not (isinstance(value, tuple) and not value)


def _admitted_model(other: Any, model: Model, x: Any, what: str) -> Model:
    """A model that takes the same inputs and answers with logits of the same classes."""
    other = Model.of(other)
    if other.device != model.device or other.dtype != model.dtype:
        raise ModelError(
            f"{what} is on {other.device} in {other.dtype}, the model on {model.device} in {model.dtype}. "
            "Bring them together: net.to(device, dtype)."
        )
    if other.box != model.box:
        raise ModelError(
            f"{what} takes inputs in {other.box}, the model in {model.box}: one input would mean two things. Wrap both "
            "with the same range, ironbound.Model(net, range=..., mean=..., std=...)."
        )
    try:
        other.settle(rows.to(rows.part(x, slice(0, 1)), other.device))
    except ModelError as error:
        raise ModelError(f"{what}: {error}") from error
    if other.outputs == "decisions" or other.classes != model.classes:
        got = "decisions only" if other.outputs == "decisions" else f"{other.classes} classes"
        raise ModelError(f"{what} answers with {got}; logits of {model.classes} classes, as the model's, are needed.")
    return other


def _admitted_rows(unlabelled: Any, model: Model, x: Any) -> Any:
    """Unlabelled inputs in the shape of the labelled ones."""
    home = x.device if isinstance(x, Tensor) else torch.device("cpu")
    try:
        found = admitted_inputs(unlabelled, model.box, home, model.dtype)
    except InputError as error:
        raise InputError(f"unlabelled inputs: {error}") from None
    if isinstance(found, Tensor) != isinstance(x, Tensor) or (isinstance(x, Tensor) and found.shape[1:] != x.shape[1:]):
        got = f"rows of shape {tuple(found.shape[1:])}" if isinstance(found, Tensor) else type(found).__name__
        raise InputError(
            f"unlabelled inputs have {got}, labelled ones rows of shape {tuple(getattr(x, 'shape', ())[1:])}; "
            "they are to be alike."
        )
    return found
