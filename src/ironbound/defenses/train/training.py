"""How a model is trained: everything that changes the result, validated when it is built."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, Self, get_args

import torch
from torch import nn

from ironbound.core.errors import UsageError
from ironbound.core.protocols import Box
from ironbound.core.rng import Rng
from ironbound.defenses.train.objective import Loss, Precision, Smoothed, TrainingObjective, cross_entropy
from ironbound.defenses.train.schedules import OwnSchedule, Schedule, factor
from ironbound.defenses.train.transforms import TRANSFORMS, transformed

Optimiser = Literal["adam", "sgd"]
OwnOptimiser = Callable[[list[nn.Parameter]], torch.optim.Optimizer]
"""Parameters -> an optimiser over them (or some of them)."""


@dataclass(frozen=True)
class Training:
    """An objective and the descent on it. Build variants with `training.replace(rate=...)`.

    >>> from ironbound.defenses.train import Standard
    >>> Training(Standard(), epochs=10).rate_at(0.5)
    0.0005
    """

    objective: TrainingObjective
    epochs: int
    batch: int = 64
    """Samples an update, at most, of all processes together; an epoch is cut into batches of nearly equal size."""
    accumulate: int = 1
    """Parts in which a process runs its share of a batch one after the other, to save memory; the update is one. Batch
    normalisation sees the parts."""
    precision: Precision = "32"
    """Of the forward and backward passes; weights, losses and updates stay in the model's own type. "bf16" is bfloat16 by
    autocast, "16" float16 with scaled losses, on GPUs. Micikevicius et al. 2018 (arXiv 1710.03740)."""
    rate: float = 1e-3
    """The learning rate at its highest."""
    optimiser: Optimiser | OwnOptimiser = "adam"
    """Or a function of the parameters that makes one. Its own rates are then the highest, group by group, and `rate`,
    `weight_decay` and `momentum` say nothing."""
    schedule: Schedule | OwnSchedule = "cosine"
    """"cosine" falls from `rate` to 0 (Loshchilov, Hutter 2017, arXiv 1608.03983, without restarts); "cyclic" rises
    linearly for two fifths of the training and falls to 0 (as in Wong et al. 2020, arXiv 2001.03994); "step" multiplies
    by `drop` at each of the `milestones`. A function takes the share of the updates done and gives the factor."""
    milestones: tuple[float, ...] = (0.5, 0.75)
    """Of "step": shares of the training, ascending, in (0, 1)."""
    drop: float = 0.1
    weight_decay: float = 0.0
    momentum: float = 0.9
    """Of sgd."""
    clip: float | None = None
    """The Euclidean norm to which the gradient of all parameters together is shortened; None leaves it."""
    rise: float = 0.0
    """Epochs over which the radius trained at rises linearly from 0 to its own."""
    strength: float = 1.0
    """The radius trained at, in radii of the set: somewhat more than 1 is often asked of bounds, less of single steps."""
    smoothing: float = 0.0
    """The share of a label's weight that is given to all classes alike (Szegedy et al. 2016, arXiv 1512.00567)."""
    loss: Loss | None = None
    """A loss of the user's own: (logits (n, classes), classes (n,)) -> (n,). None is the cross-entropy."""
    transform: str | None = None
    """What is done to each image before it is attacked and trained on, drawn anew in each epoch: "flip" (left and right),
    "crop" (moved by up to `padding` pixels), "flip+crop"."""
    padding: int = 4
    """Of "crop": pixels on each side."""
    average: float | Literal["swa"] | None = None
    """The weights that are given back: a decay such as 0.995 for their exponential average over the updates, "swa" for
    their mean over the epochs from `swa_start` on (see averaging.py); None the last ones."""
    swa_start: float = 0.75
    """Share of the training."""
    validation: float | None = None
    """A share (in (0, 1)) or a number of rows that are not trained on: after each epoch they are attacked, and the weights
    that stood best are given back (see validation.py). None is none, or a tenth and at most 1,000 where there is
    `patience`."""
    validation_steps: int = 10
    """Steps of the attack on them."""
    patience: int | None = None
    """Epochs without a better result on the validation rows after which the training stops; None goes on to the end."""
    recover: bool | None = None
    """Whether catastrophic overfitting is looked for, and mended by a stronger inner attack (see recovery.py); None does
    so where the inner attack takes a single step."""
    watch: int | None = None
    """Updates from one look to the next; None looks one to four times an epoch."""
    seed: int = 0
    name: str = ""
    """What it is called in progress and reports; by default as its objective."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "accumulate"):
            _must(
                type(getattr(self, name)) is int and getattr(self, name) >= 1,
                name,
                "a whole number of at least 1",
                self,
            )
        _must(type(self.seed) is int, "seed", "a whole number", self)
        _must(_number(self.rate) and self.rate > 0, "rate", "a number > 0", self)
        _must(_number(self.weight_decay) and self.weight_decay >= 0, "weight_decay", "a number >= 0", self)
        _must(_number(self.momentum) and 0 <= self.momentum < 1, "momentum", "a number in [0, 1)", self)
        _must(self.clip is None or (_number(self.clip) and self.clip > 0), "clip", "a norm > 0, or None", self)
        _must(_number(self.rise) and 0 <= self.rise <= self.epochs, "rise", f"epochs from 0 to {self.epochs}", self)
        _must(_number(self.strength) and self.strength > 0, "strength", "a number of radii > 0", self)
        _must(_number(self.smoothing) and 0 <= self.smoothing < 1, "smoothing", "a share in [0, 1)", self)
        _must(self.loss is None or callable(self.loss), "loss", "a function of logits and classes, or None", self)
        if self.loss is not None and self.smoothing:
            raise UsageError("smoothing belongs to the cross-entropy; with loss= of your own, smooth there.")
        for name, known in (("optimiser", Optimiser), ("schedule", Schedule)):
            value, words = getattr(self, name), f"one of {', '.join(get_args(known))}, or a function"
            _must(callable(value) or value in get_args(known), name, words, self)
        _must(self.precision in get_args(Precision), "precision", f"one of {', '.join(get_args(Precision))}", self)
        if callable(self.optimiser) and (self.weight_decay or self.momentum != 0.9):
            raise UsageError("weight_decay and momentum are settings of adam and sgd; give them to your own optimiser.")
        self._check_features()
        _must(
            callable(getattr(self.objective, "loss", None)),
            "objective",
            "Standard(), Adversarial(), Ibp(...) or alike",
            self,
        )
        if self.objective.lasts > self.epochs:
            raise UsageError(
                f"the objective's warmup and ramp take {self.objective.lasts:g} epochs, but there are {self.epochs}: the "
                "full radius would never be trained at. Shorten the ramp or give more epochs."
            )

    def _check_features(self) -> None:
        """The settings of schedules, averaging, validation and recovery."""
        marks, whole = self.milestones, lambda value: type(value) is int and value >= 1
        _must(
            isinstance(marks, (tuple, list)) and all(map(_number, marks)) and list(marks) == sorted(set(marks))
            and all(0 < mark < 1 for mark in marks), "milestones", "ascending shares in (0, 1)", self,
        )  # fmt: skip
        object.__setattr__(self, "milestones", tuple(marks))
        _must(_number(self.drop) and 0 < self.drop <= 1, "drop", "a factor in (0, 1]", self)
        if self.schedule != "step" and (self.milestones != (0.5, 0.75) or self.drop != 0.1):
            raise UsageError(
                f'milestones and drop are settings of schedule="step" (--schedule step), and the schedule is {self.schedule!r}.'
            )
        _must(self.transform in (None, *TRANSFORMS), "transform", f"one of {', '.join(TRANSFORMS)}, or None", self)
        _must(whole(self.padding), "padding", "a whole number of pixels >= 1", self)
        decay = self.average
        _must(
            decay in (None, "swa") or (_number(decay) and 0 < decay < 1),  # type: ignore[operator]
            "average", 'a decay in (0, 1), "swa" or None', self,
        )  # fmt: skip
        _must(_number(self.swa_start) and 0 <= self.swa_start < 1, "swa_start", "a share in [0, 1)", self)
        rows = self.validation
        _must(
            rows is None or (_number(rows) and (0 < rows < 1 or (rows >= 1 and rows == int(rows)))),
            "validation", "a share in (0, 1), a whole number of rows, or None", self,
        )  # fmt: skip
        for name in ("validation_steps", "patience", "watch"):
            value = getattr(self, name)
            _must((value is None and name != "validation_steps") or whole(value), name, "a whole number >= 1", self)
        _must(self.recover in (None, True, False), "recover", "True, False or None", self)

    def replace(self, **parts: Any) -> Self:
        """The same training with other parts."""
        return replace(self, **parts)

    @property
    def label(self) -> str:
        """What it is called."""
        return self.name or self.objective.name

    @property
    def criterion(self) -> Loss:
        """The loss of labelled samples."""
        return self.loss or (Smoothed(self.smoothing) if self.smoothing else cross_entropy)

    def strength_at(self, epochs: float) -> float:
        """The radius after so many epochs, in radii of the set."""
        return self.strength * (min(1.0, epochs / self.rise) if self.rise > 0 else 1.0)

    def rate_at(self, share: float) -> float:
        """The learning rate after this share of all steps, in [0, 1]."""
        return self.rate * self.factor_at(share)

    def factor_at(self, share: float) -> float:
        """The same in units of the highest."""
        return factor(self.schedule, share, self.milestones, self.drop)

    def transforming(self, box: Box) -> Callable[[Any, Rng], Any] | None:
        """What is done to inputs in this range before they are trained on; None where nothing is."""
        kinds, padding = self.transform, self.padding
        return None if kinds is None else lambda x, rng: transformed(x, kinds, padding, rng, box)

    def optimiser_of(self, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        """A new optimiser over the parameters. Raises UsageError where the user's own function gives something else."""
        if self.optimiser == "sgd":
            return torch.optim.SGD(parameters, self.rate, momentum=self.momentum, weight_decay=self.weight_decay)
        if self.optimiser == "adam":
            return torch.optim.Adam(parameters, self.rate, weight_decay=self.weight_decay)
        assert callable(self.optimiser)
        own = self.optimiser(parameters)
        if not isinstance(own, torch.optim.Optimizer) or isinstance(own, torch.optim.LBFGS):
            raise UsageError(
                "optimiser is a function of a list of parameters that gives a torch.optim.Optimizer whose step needs no "
                f"closure; it gave {type(own).__name__}."
            )
        known = {id(parameter) for parameter in parameters}
        if any(id(parameter) not in known for group in own.param_groups for parameter in group["params"]):
            raise UsageError("the optimiser holds parameters that it was not given; it trains those of the copy only.")
        return own


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _must(holds: bool, name: str, expected: str, training: Training) -> None:
    if not holds:
        raise UsageError(f"{name} is {expected}; got {getattr(training, name)!r}.")
