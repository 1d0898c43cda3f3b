"""What the trainer and what is minimised agree on: the scene, a batch, and what an objective says of it.

An objective is a frozen dataclass that gives the losses of one batch; the trainer knows nothing else of it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar, Literal, Protocol, Self

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.func import functional_call

from ironbound.certification.graph import Graph, trace
from ironbound.core.rng import Rng
from ironbound.models.cheap import layout_kept
from ironbound.models.model import Model

Loss = Callable[[Any, Any], Tensor]
"""(logits (n, classes), classes (n,)) -> losses (n,), nats."""
Precision = Literal["32", "bf16", "16"]


def cross_entropy(logits: Float[Tensor, "n classes"], y: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Of each sample, in nats."""
    return F.cross_entropy(logits, y, reduction="none")


@dataclass(frozen=True)
class Smoothed:
    """The cross-entropy with `smoothing` of the label's weight given to all classes alike.

    Paper: Szegedy et al. 2016 (arXiv 1512.00567), section 7.
    """

    smoothing: float

    def __call__(self, logits: Float[Tensor, "n classes"], y: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
        return F.cross_entropy(logits, y, reduction="none", label_smoothing=self.smoothing)


@dataclass(frozen=True, eq=False)
class Given:
    """What some objectives need beside model and data; None is what was not given."""

    teacher: Model | None = None
    """A trained model to learn from."""
    models: tuple[Model, ...] = ()
    """Other models, from which examples are transferred."""
    unlabelled: Any = None
    """Further inputs (m, ...) without labels."""
    source: dict[str, Tensor] | None = None
    """Weights by name of a model trained on another task, to start from."""


@dataclass(frozen=True, eq=False)
class Scene:
    """What all batches of a training share. `model` is the trainer's own copy, in training mode."""

    model: Model
    threat: Any
    """The perturbation set; None only where the objective needs none."""
    x: Any
    """All inputs trained on (n, ...), where they are: batches alone move to the model's device."""
    y: Int[Tensor, " n"]
    seed: int = 0
    criterion: Loss = cross_entropy
    """The loss of labelled samples."""
    given: Given = field(default_factory=Given)
    state: dict[str, Tensor] = field(default_factory=dict)
    """What the objective carries from update to update; kept in checkpoints, so that resuming finds it. Tensors with a
    row for each sample of the data (n, ...) are common to all; any other belongs to the part of the batch that wrote it,
    where batches are divided (shares.py)."""
    stage: Callable[[str, Any, Model], Model] | None = None
    """(name, training, model) -> an earlier training on the same data, finished; kept in a folder of that name."""
    kept: Callable[[str, Callable[[], Tensor]], Tensor] | None = None
    """(name, make) -> a tensor made once: of the folder's file of that name where there is one, else made and kept there."""
    made: dict[str, Any] = field(default_factory=dict)
    """What `prepare` made for the batches (models of earlier stages, examples, pseudo-labels); in no checkpoint."""
    weights: dict[str, Tensor] | None = None
    """Weights by name that stand in for the model's own; gradients flow through them. None is the model's own."""
    transform: Callable[[Any, Rng], Any] | None = None
    """What is done to inputs before they are trained on. Batches come transformed; other inputs that are trained on go
    through it, too, an example of a sample with that sample's streams."""
    strength: float = 1.0
    """The radius of the whole training, in radii of the set: what is made once before it is made at this one."""
    precision: Precision = "32"
    """Of `logits`. Bounds and losses are computed in the model's own type."""

    @cached_property
    def example(self) -> Any:
        """The first input, one row, on the model's device."""
        from ironbound.core import rows

        return rows.to(rows.part(self.x, slice(0, 1)), self.model.device)

    @cached_property
    def graph(self) -> Graph:
        """The model's graph in evaluation mode; bounds through it read the present weights."""
        return trace(self.model.module, self.example)

    def logits(self, x: Any, rng: Rng) -> Float[Tensor, "n classes"]:
        """The model's logits in its present mode, with parameters in the graph, in the model's own type."""
        arguments = (x, rng) if self.model.keyed else (x,)
        with self.autocast(), layout_kept(self.model.module):
            if self.weights is None:
                out = self.model.module(*arguments)
            else:
                out = functional_call(self.model.module, self.weights, arguments)
        return out if self.precision == "32" else out.to(self.model.dtype)

    def autocast(self) -> AbstractContextManager[Any]:
        """Passes inside run in the precision of the training, by weights that are kept in the model's own."""
        if self.precision == "32":
            return nullcontext()
        half = torch.bfloat16 if self.precision == "bf16" else torch.float16
        return torch.autocast(self.model.device.type, half)

    def transformed(self, x: Any, rng: Rng) -> Any:
        """Inputs as they are trained on."""
        return x if self.transform is None else self.transform(x, rng)

    def region(self, batch: Batch, threat: Any = None) -> Any:
        """The set (or `threat`, a part of it) around the batch, at the radius of this moment of the training."""
        region = (self.threat if threat is None else threat).at(batch.x, self.model.box)
        return region if batch.strength == 1 else region.scaled(region.radius * batch.strength)

    def replace(self, **parts: Any) -> Self:
        """The same scene with other parts."""
        return replace(self, **parts)


@dataclass(frozen=True, eq=False)
class Batch:
    """Some samples on the model's device."""

    x: Any
    y: Int[Tensor, " n"]
    rng: Rng
    """One stream a sample, another in each epoch."""
    at: float
    """Epochs done so far, with the share of the present one."""
    index: Int[Tensor, " n"]
    """Their rows in the data, on the CPU."""
    strength: float = 1.0
    """The radius trained at, in radii of the set: the training's own, less while it rises."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """What an objective says of one batch; None is what it does not measure."""

    losses: Float[Tensor, " m"]
    """Of each sample (or pair, or unlabelled sample), nats, differentiable; their mean is minimised."""
    clean: Bool[Tensor, " n"] | None = None
    """Which samples are classified correctly without a change."""
    attacked: Bool[Tensor, " n"] | None = None
    """Which samples withstood the inner attack (a weak one: an upper bound of robust accuracy)."""
    certified: Bool[Tensor, " n"] | None = None
    """Which samples' margins are positive by the bounds of this pass (no certificate of the trained model)."""
    eps: float | Tensor | None = None
    """The radius trained at; a tensor is looked at after the update."""
    kappa: float | None = None
    """The weight of the clean loss."""
    rows: int = 0
    """Model rows that the batch took."""


class TrainingObjective(Protocol):
    """What the trainer asks of an objective."""

    name: ClassVar[str]

    @property
    def lasts(self) -> float:
        """Epochs until its own schedule has reached the end; 0 where it has none."""
        ...

    @property
    def repeats(self) -> int:
        """Updates on each batch before the next one is taken; 1 for most."""
        ...

    def check(self, scene: Scene) -> None:
        """Before anything is written or changed: refuse what cannot be trained.

        Raises CompositionError, UsageError or UnsupportedOperation.
        """
        ...

    def prepare(self, scene: Scene) -> None:
        """Before the first batch, also of a resumed training: make the copy's weights ready, run earlier stages."""
        ...

    def loss(self, scene: Scene, batch: Batch) -> Outcome:
        """The losses of one batch, or of a part of one. What it adds to the `.grad` of weights is not used."""
        ...


@dataclass(frozen=True)
class Objective:
    """What most objectives have in common; a TrainingObjective without a loss."""

    name: ClassVar[str]
    uses: ClassVar[tuple[str, ...]] = ()
    """What of `Given` it reads."""

    @property
    def lasts(self) -> float:
        """No schedule of its own."""
        return 0.0

    @property
    def repeats(self) -> int:
        """One update a batch."""
        return 1

    def check(self, scene: Scene) -> None:
        """Everything that has logits can be trained."""

    def prepare(self, scene: Scene) -> None:
        """The weights are trained as they are."""


def correct(logits: Float[Tensor, "n classes"], y: Int[Tensor, " n"]) -> Bool[Tensor, " n"]:
    """Which samples are classified correctly."""
    return logits.detach().argmax(1) == y


@torch.no_grad()
def answers(scene: Scene, x: Any, rng: Rng) -> Float[Tensor, "n classes"]:
    """Logits in evaluation mode, outside any graph."""
    return answers_of(scene.model, x, rng)


@torch.no_grad()
def answers_of(model: Model, x: Any, rng: Rng) -> Float[Tensor, "n classes"]:
    """Logits of any model in evaluation mode, outside any graph."""
    with model.opened() as answer:
        return answer(x, rng)
