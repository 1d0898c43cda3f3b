"""What a training minimises, as parts: the plain loss, the loss at attacked points, the loss at bounds.

An objective is a frozen dataclass that gives the loss of one batch; the trainer knows nothing else of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, Protocol

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ironbound.certification.graph import Graph, trace
from ironbound.certification.interval import propagate
from ironbound.certification.margins import margins_of
from ironbound.core.errors import CompositionError, UsageError
from ironbound.core.protocols import Can
from ironbound.core.rng import Rng
from ironbound.defenses.train.batchnorm import moved
from ironbound.defenses.train.fused import ascend
from ironbound.defenses.train.initial import initialise
from ironbound.models.model import Model
from ironbound.sets.linf import LinfRegion


@dataclass(frozen=True, eq=False)
class Scene:
    """What all batches of a training share. `model` is the trainer's own copy, in training mode."""

    model: Model
    threat: Any
    """The perturbation set; None only where the objective needs none."""
    example: Any
    """The first input, one row."""

    @cached_property
    def graph(self) -> Graph:
        """The model's graph in evaluation mode; bounds through it read the present weights."""
        return trace(self.model.module, self.example)

    def logits(self, x: Any, rng: Rng) -> Float[Tensor, "n classes"]:
        """The model's logits in its present mode, with parameters in the graph."""
        return self.model.module(x, rng) if self.model.keyed else self.model.module(x)


@dataclass(frozen=True, eq=False)
class Batch:
    """Some samples on the model's device."""

    x: Any
    y: Int[Tensor, " n"]
    rng: Rng
    """One stream a sample, another in each epoch."""
    at: float
    """Epochs done so far, with the share of the present one."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """What an objective says of one batch; None is what it does not measure."""

    loss: Float[Tensor, ""]
    """The batch's mean, nats, differentiable."""
    clean: Bool[Tensor, " n"]
    """Which samples are classified correctly without a change."""
    attacked: Bool[Tensor, " n"] | None = None
    """Which samples withstood the inner attack (a weak one: an upper bound of robust accuracy)."""
    certified: Bool[Tensor, " n"] | None = None
    """Which samples' margins are positive by the bounds of this pass (no certificate of the trained model)."""
    eps: float | None = None
    """The radius trained at."""
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

    def prepare(self, scene: Scene, seed: int) -> None:
        """Before the first batch: refuse what cannot be trained, make the copy's weights ready.

        Raises CompositionError, UsageError or UnsupportedOperation.
        """
        ...

    def loss(self, scene: Scene, batch: Batch) -> Outcome:
        """The loss of one batch."""
        ...


@dataclass(frozen=True)
class Standard:
    """The cross-entropy of unchanged inputs: no defense, and what defenses are compared with."""

    name: ClassVar[str] = "standard"
    lasts: ClassVar[float] = 0.0

    def prepare(self, scene: Scene, seed: int) -> None:
        """Everything that has logits can be trained."""

    def loss(self, scene: Scene, batch: Batch) -> Outcome:
        """The mean cross-entropy."""
        logits = scene.logits(batch.x, batch.rng)
        return Outcome(F.cross_entropy(logits, batch.y), _correct(logits, batch.y), rows=len(batch.y))


@dataclass(frozen=True)
class Pgd:
    """Adversarial training: the cross-entropy at the points of an inner attack.

    The inner attack sees the model in evaluation mode (running statistics, no dropout) as a later attacker would, and
    does not move it; the update is made in training mode, so that batch statistics, and the running ones, are those of
    the attacked inputs. With steps=1 and step=1.25 eps it is fast adversarial training (Wong et al. 2020, arXiv
    2001.03994).

    Paper: Madry et al. 2018 (arXiv 1706.06083), equation 2.1.
    """

    steps: int = 7
    step: float | None = None
    """The length of a step in the unit of the radius; None is 2.5 eps / steps."""
    start: Literal["random", "clean"] = "random"
    cheap: bool = False
    """The inner attack in bfloat16; the update never."""

    name: ClassVar[str] = "pgd"
    lasts: ClassVar[float] = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.steps, int) or self.steps < 1:
            raise UsageError(f"Pgd: steps is a whole number of at least 1; got {self.steps!r}.")
        if self.step is not None and not (math.isfinite(self.step) and self.step > 0):
            raise UsageError(
                f"Pgd: step is a length > 0 in input units, or None for 2.5 eps / steps; got {self.step!r}."
            )
        if self.start not in ("random", "clean"):
            raise UsageError(f'Pgd: start is "random" or "clean"; got {self.start!r}.')

    def prepare(self, scene: Scene, seed: int) -> None:
        """The set must have a projection, a steepest direction and, for random starts, draws; each sample its own."""
        if getattr(scene.threat, "parts", ()):
            raise CompositionError(
                f"adversarial training steps in one norm, and this is a union, {scene.threat!r}. Train against one of its "
                "parts, and audit against all."
            )
        needs = Can.PROJECT | Can.STEER | (Can.SAMPLE if self.start == "random" else Can(0))
        missing = needs & ~(Can(0) if scene.threat is None else scene.threat.can)
        if missing:
            raise CompositionError(
                f"adversarial training needs a set that can {_words(missing)}; got {scene.threat!r}. "
                'Use Linf, L2 or L1, or, where only draws are missing, Pgd(start="clean").'
            )
        region = scene.threat.at(scene.example, scene.model.box)
        if region.items is not None:
            raise CompositionError(
                "adversarial training attacks each sample by itself; in this set samples share one change. Use Linf or L2."
            )
        _must_leave_room(region, scene)

    def loss(self, scene: Scene, batch: Batch) -> Outcome:
        """The mean cross-entropy at the attacked points."""
        region = scene.threat.at(batch.x, scene.model.box)
        eps = float(region.radius.max())
        start = region.sample(batch.rng.fold("start")) if self.start == "random" else region.identity()
        size = 2.5 * eps / self.steps if self.step is None else self.step
        points = ascend(
            scene.model, region, batch.y, start, steps=self.steps, size=size, rng=batch.rng, cheap=self.cheap
        )
        with torch.no_grad(), scene.model.opened() as answer:
            clean = answer(batch.x, batch.rng)
        logits = scene.logits(region.apply(points, batch.rng), batch.rng)
        return Outcome(
            loss=F.cross_entropy(logits, batch.y),
            clean=_correct(clean, batch.y),
            attacked=_correct(logits, batch.y),
            eps=eps,
            rows=len(batch.y) * (self.steps + 2),
        )


@dataclass(frozen=True)
class Ibp:
    """Certified training by interval bounds: kappa CE(clean) + (1 - kappa) CE(worst-case logits).

    The worst-case logits are the label's own at 0 and the others at minus their margins' lower bounds, with the last
    layer elided (certification/margins.py). For `warmup` epochs the loss is the clean one; over the next `ramp` epochs
    the radius rises linearly from 0 to that of the set, and kappa falls from 1 to `kappa_end`. Dropout is off.

    Batch normalisation: with stats="batch" clean inputs and bounds are normalised by the statistics of the clean batch,
    which also move the running statistics; with "running" by the running statistics, which stay as they are.

    Paper: Gowal et al. 2018 (arXiv 1810.12715), section 3 (the loss with kappa, the schedule); Shi et al. 2021
    (arXiv 2103.17268) for the rule of batch normalisation and init="ibp".
    Differs: without Shi et al.'s regularisers, which are for long nets.
    """

    warmup: float
    ramp: float
    kappa_end: float = 0.5
    stats: Literal["batch", "running"] = "batch"
    init: Literal["ibp"] | None = None
    """ "ibp" draws the weights anew before training (initial.py); None trains on from the weights there are."""

    name: ClassVar[str] = "ibp"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.warmup) and self.warmup >= 0 and math.isfinite(self.ramp) and self.ramp >= 0):
            raise UsageError(f"Ibp: warmup and ramp are epochs >= 0; got {self.warmup!r} and {self.ramp!r}.")
        if not 0 <= self.kappa_end <= 1:
            raise UsageError(f"Ibp: kappa_end is a weight in [0, 1]; got {self.kappa_end!r}.")
        if self.stats not in ("batch", "running") or self.init not in (None, "ibp"):
            raise UsageError(
                f'Ibp: stats is "batch" or "running" and init is "ibp" or None; got {self.stats!r} and {self.init!r}.'
            )

    @property
    def lasts(self) -> float:
        """Epochs until the full radius is reached."""
        return self.warmup + self.ramp

    def share(self, at: float) -> float:
        """How far the ramp has come after `at` epochs, in [0, 1]."""
        after = at - self.warmup
        return min(1.0, after / self.ramp) if after >= 0 and self.ramp > 0 else float(after >= 0)

    def prepare(self, scene: Scene, seed: int) -> None:
        """The set must be an L-infinity ball, and every operation of the model must have bounds."""
        region = None if scene.threat is None else scene.threat.at(scene.example, scene.model.box)
        if not isinstance(region, LinfRegion):
            raise CompositionError(
                f"interval bounds are for boxes around the input, Linf(eps); got {scene.threat!r}. "
                "Train with Pgd for other sets."
            )
        _must_leave_room(region, scene)
        if self.init == "ibp":
            initialise(scene.model.net, seed)
        _ = scene.graph

    def loss(self, scene: Scene, batch: Batch) -> Outcome:
        """The weighted sum at the present radius and kappa."""
        share = self.share(batch.at)
        full = scene.threat.at(batch.x, scene.model.box)
        region = full.scaled(full.radius * share)
        kappa = 1 - share * (1 - self.kappa_end)
        passed = propagate(scene.graph, region.lo, region.hi, stats=self.stats, clean=batch.x)
        moved(scene.model.module, passed.statistics)
        least = margins_of(passed, batch.y)
        worst = -least.scatter(1, batch.y[:, None], 0.0)
        assert passed.clean is not None
        clean = F.cross_entropy(passed.clean, batch.y)
        return Outcome(
            loss=kappa * clean + (1 - kappa) * F.cross_entropy(worst, batch.y),
            clean=_correct(passed.clean, batch.y),
            certified=(least > 0).all(1),
            eps=float(region.radius.max()),
            kappa=kappa,
            rows=3 * len(batch.y),
        )


def _correct(logits: Tensor, y: Tensor) -> Tensor:
    return logits.detach().argmax(1) == y


def _must_leave_room(region: Any, scene: Scene) -> None:
    """A radius from one end of the range to the other makes every input like every other."""
    if getattr(scene.threat, "parametric", False):  # its radius is of angles or pixels
        return
    radius, box = float(region.radius.max()), scene.model.box
    width = math.inf if box is None else box[1] - box[0]
    reach = width if isinstance(region, LinfRegion) else width * math.sqrt(scene.example[0].numel())
    if not math.isfinite(radius) or radius >= reach:
        raise UsageError(
            f"the radius {radius:g} of {scene.threat!r} takes every input of the range {box} to every other, so that "
            f"nothing can be learned. Radii are in input units, less than {reach:g} here; 8/255 or 0.1 are usual in [0, 1]."
        )


def _words(can: Can) -> str:
    return " and ".join((part.name or "").lower() for part in can)
