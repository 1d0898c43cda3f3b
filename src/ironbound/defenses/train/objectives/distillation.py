"""Learning from the answers of a teacher: robust ones of a robust teacher, or smooth ones that do not protect."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ironbound.core import rows
from ironbound.core.errors import UsageError
from ironbound.core.rng import Rng
from ironbound.defenses.train.earlier import Earlier
from ironbound.defenses.train.objective import Batch, Objective, Outcome, Scene, answers_of, correct
from ironbound.defenses.train.objectives.adversarial import Adversarial


def divergence(
    target: Float[Tensor, "n classes"], logits: Float[Tensor, "n classes"], temperature: float = 1.0
) -> Float[Tensor, " n"]:
    """KL(softmax(target / T) || softmax(logits / T)) of each sample, in nats; both arguments are logits."""
    wanted = F.log_softmax(target / temperature, 1)
    return F.kl_div(F.log_softmax(logits / temperature, 1), wanted, reduction="none", log_target=True).sum(1)


@dataclass(frozen=True)
class Distill(Adversarial):
    """Robustness from a robust teacher, at inputs attacked for the student.

    "ard": alpha t^2 KL(T^t(x) || S^t(x')) + (1 - alpha) CE(S(x), y), where the inner attack climbs the student's
    cross-entropy of the labels. The teacher T sees the clean input, and t divides the logits of both.

    "rslad": alpha KL(T(x) || S(x')) + (1 - alpha) KL(T(x) || S(x)), where the inner attack climbs KL(T(x) || S(x')): the
    teacher's answers stand for the labels everywhere.

    The teacher is given, runs in evaluation mode and gets no gradient. Clean and attacked inputs of the student go through
    in one pass, so that batch statistics are of both.

    Papers: Goldblum et al. 2020 (arXiv 1905.09747), Algorithm 1, for "ard"; Zi et al. 2021 (arXiv 2108.07969), section 3,
    for "rslad" (with alpha = 5/6 and t = 1).
    Differs: the paper of "rslad" names the two weights 1 - alpha and alpha; "rslad" takes t^2 KL at t, too.
    """

    kind: Literal["ard", "rslad"] = "rslad"
    alpha: float = 5 / 6
    """The weight of the attacked inputs, in (0, 1]."""
    temperature: float = 1.0

    name: ClassVar[str] = "distill"
    uses: ClassVar[tuple[str, ...]] = ("teacher",)

    def __post_init__(self) -> None:
        if self.kind not in ("ard", "rslad"):
            raise UsageError(f'kind is "ard" or "rslad"; got {self.kind!r}.')
        if not 0 < self.alpha <= 1:
            raise UsageError(f"alpha, the weight of attacked inputs, is in (0, 1]; got {self.alpha!r}.")
        _must_be_a_temperature(self.temperature)

    def check(self, scene: Scene) -> None:
        """There must be a teacher, and the inner attack must go with the set."""
        if scene.given.teacher is None:
            raise UsageError(
                "distill learns from a robust teacher, and none is given. Pass teacher=model (at the prompt --teacher "
                "FILE:NAME --teacher-weights W.safetensors), or train without one by pgd or trades."
            )
        super().check(scene)

    def loss(self, scene: Scene, batch: Batch) -> Outcome:
        """The losses, with the teacher asked once a batch."""
        target, region = self.target(scene, batch), scene.region(batch)
        outcome = self.learned(scene, batch, self.misled(scene, batch, region, target), target)
        eps, took = float(region.radius.max()), outcome.rows + (1 + self.inner.rows) * len(batch.y)
        return replace(outcome, eps=eps, rows=took)

    def attacked(self, scene: Scene, batch: Batch, region: Any) -> Tensor:
        """The inputs in the region that are trained on, for what goes around this objective."""
        return self.misled(scene, batch, region, self.target(scene, batch))

    def outcome(self, scene: Scene, batch: Batch, attacked: Tensor) -> Outcome:
        """What is minimised at attacked inputs, for what goes around this objective."""
        outcome = self.learned(scene, batch, attacked, self.target(scene, batch))
        return replace(outcome, rows=outcome.rows + len(batch.y))

    def target(self, scene: Scene, batch: Batch) -> Float[Tensor, "n classes"]:
        """The teacher's logits of the clean inputs."""
        assert scene.given.teacher is not None
        return answers_of(scene.given.teacher, batch.x, batch.rng.fold("teacher"))

    def misled(self, scene: Scene, batch: Batch, region: Any, target: Float[Tensor, "n classes"]) -> Tensor:
        """What the inner attack finds, given the teacher's logits of the clean inputs."""
        climbed = (lambda logits: divergence(target, logits, self.temperature)) if self.kind == "rslad" else None
        return self.inner.inputs(scene, batch, region, climbed)

    def learned(self, scene: Scene, batch: Batch, attacked: Any, target: Float[Tensor, "n classes"]) -> Outcome:
        """What is minimised at attacked inputs, given the teacher's logits of the clean ones."""
        square = self.temperature**2
        if self.alpha == 1:
            logits = scene.logits(attacked, batch.rng)
            losses = square * divergence(target, logits, self.temperature)
            return Outcome(losses, attacked=correct(logits, batch.y), rows=len(batch.y))
        clean, logits = both(scene, batch, attacked)
        if self.kind == "ard":
            own = scene.criterion(clean, batch.y)
        else:
            own = square * divergence(target, clean, self.temperature)
        return Outcome(
            self.alpha * square * divergence(target, logits, self.temperature) + (1 - self.alpha) * own,
            clean=correct(clean, batch.y),
            attacked=correct(logits, batch.y),
            rows=2 * len(batch.y),
        )


def both(scene: Scene, batch: Batch, attacked: Tensor) -> tuple[Tensor, Tensor]:
    """Logits of the clean and of the attacked inputs, from one pass."""
    rng = Rng(torch.cat([batch.rng.keys, batch.rng.fold("attacked").keys]))
    clean, logits = scene.logits(rows.join([batch.x, attacked]), rng).chunk(2)
    return clean, logits


@dataclass(frozen=True)
class Tempered(Objective):
    """The loss of clean inputs with logits divided by a temperature: how the teacher of defensive distillation is trained."""

    temperature: float = 20.0

    name: ClassVar[str] = "tempered"

    def __post_init__(self) -> None:
        _must_be_a_temperature(self.temperature)

    def loss(self, scene: Scene, batch: Batch) -> Outcome:
        """The loss of each sample at the temperature."""
        logits = scene.logits(batch.x, batch.rng)
        losses = scene.criterion(logits / self.temperature, batch.y)
        return Outcome(losses, correct(logits, batch.y), rows=len(batch.y))


@dataclass(frozen=True)
class DefensiveDistillation(Objective):
    """A student on the soft labels of a teacher of its own architecture, both at a high temperature, deployed at 1.

    It does not protect: it makes logits large, so that the softmax saturates and the gradient of its cross-entropy
    vanishes in float32. Attacks that climb logits or margins see through (Carlini, Wagner 2016, arXiv 1607.04311). It is
    here to be compared with.

    The loss is -sum_k softmax(T(x) / t)_k log softmax(S(x) / t)_k. The teacher is trained as an earlier stage, from the
    weights that the model has; the student starts from the same. A teacher that is given stands for that stage.

    Paper: Papernot et al. 2016 (arXiv 1511.04508), section IV.
    """

    temperature: float = 20.0
    """From 20 to 100 in the paper."""
    earlier: Earlier = field(default_factory=Earlier)

    name: ClassVar[str] = "defensive-distillation"
    uses: ClassVar[tuple[str, ...]] = ("teacher",)

    def __post_init__(self) -> None:
        _must_be_a_temperature(self.temperature)
        if self.earlier.earlier_epochs < 1:
            raise UsageError("the teacher of defensive distillation is trained for at least 1 epoch; got 0.")

    def prepare(self, scene: Scene) -> None:
        """Train the teacher, or take the one that is given."""
        teacher = scene.given.teacher
        if teacher is None:
            stage = self.earlier.training(Tempered(self.temperature), scene.seed, "teacher")
            assert scene.stage is not None
            teacher = scene.stage("teacher", stage, scene.model)
        scene.made["teacher"] = teacher

    def loss(self, scene: Scene, batch: Batch) -> Outcome:
        """The cross-entropy with the soft labels, at the temperature."""
        target = answers_of(scene.made["teacher"], batch.x, batch.rng.fold("teacher"))
        logits = scene.logits(batch.x, batch.rng)
        wanted = (target / self.temperature).softmax(1)
        losses = -(wanted * F.log_softmax(logits / self.temperature, 1)).sum(1)
        return Outcome(losses, correct(logits, batch.y), rows=2 * len(batch.y))


def _must_be_a_temperature(value: Any) -> None:
    if not (isinstance(value, (int, float)) and math.isfinite(value) and value > 0):
        raise UsageError(f"temperature is a number > 0 that logits are divided by; got {value!r}.")
