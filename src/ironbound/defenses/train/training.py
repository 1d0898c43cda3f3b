"""How a model is trained: everything that changes the result, validated when it is built."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal, Self, get_args

import torch
from torch import nn

from ironbound.core.errors import UsageError
from ironbound.defenses.train.objective import Loss, Precision, Smoothed, TrainingObjective, cross_entropy

Optimiser = Literal["adam", "sgd"]
Schedule = Literal["constant", "cosine", "cyclic"]


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
    optimiser: Optimiser = "adam"
    schedule: Schedule = "cosine"
    """"cosine" falls from `rate` to 0 (Loshchilov, Hutter 2017, arXiv 1608.03983, without restarts); "cyclic" rises
    linearly for two fifths of the training and falls to 0 (as in Wong et al. 2020, arXiv 2001.03994)."""
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
        for name, known in (("optimiser", Optimiser), ("schedule", Schedule), ("precision", Precision)):
            _must(getattr(self, name) in get_args(known), name, f"one of {', '.join(get_args(known))}", self)
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
        if self.schedule == "cosine":
            return self.rate * (1 + math.cos(math.pi * share)) / 2
        if self.schedule == "cyclic":
            return self.rate * min(share / 0.4, (1 - share) / 0.6)
        return self.rate

    def optimiser_of(self, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        """A new optimiser over the parameters."""
        if self.optimiser == "sgd":
            return torch.optim.SGD(parameters, self.rate, momentum=self.momentum, weight_decay=self.weight_decay)
        return torch.optim.Adam(parameters, self.rate, weight_decay=self.weight_decay)


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _must(holds: bool, name: str, expected: str, training: Training) -> None:
    if not holds:
        raise UsageError(f"{name} is {expected}; got {getattr(training, name)!r}.")
