"""Objectives around another one: adversarial weights, and weights of classes or samples."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Self

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from ironbound.core.errors import CompositionError, UsageError
from ironbound.defenses.train.objective import Batch, Objective, Outcome, Scene
from ironbound.defenses.train.objectives.adversarial import Adversarial
from ironbound.defenses.train.objectives.regularised import must_be_weight

NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm)


@dataclass(frozen=True)
class Wrapped(Objective):
    """Around `base`, to which everything goes that it does not say itself."""

    base: Any = field(default_factory=Adversarial)

    @property
    def inner(self) -> Any:
        """The base's inner attack; None where it has none."""
        return getattr(self.base, "inner", None)

    @property
    def lasts(self) -> float:
        """As the base."""
        return self.base.lasts

    @property
    def repeats(self) -> int:
        """As the base."""
        return self.base.repeats

    def check(self, scene: Scene) -> None:
        """What the base asks for."""
        self.base.check(scene)

    def prepare(self, scene: Scene) -> None:
        """What the base needs."""
        self.base.prepare(scene)

    def stronger(self) -> Self:
        """The same around the stronger base, where it has one."""
        stronger = getattr(self.base, "stronger", None)
        return self if stronger is None else replace(self, base=stronger())


def must_attack(base: Any, name: str) -> None:
    """Refuse a base that does not train on attacked inputs. Raises CompositionError."""
    if not isinstance(base, Adversarial):
        raise CompositionError(
            f"{name} goes around an objective that trains on attacked inputs: Adversarial, Trades, Mart or Alp; got "
            f"{type(base).__name__}."
        )


@dataclass(frozen=True)
class Awp(Wrapped):
    """Adversarial weight perturbation: the gradient is taken at the weights nearby at which the loss is large.

    After the inner attack one step on the weights w + v, v = gamma |w| g / |g| layer by layer, raises the loss at the
    attacked inputs; the update is made on w with the gradient at w + v. Biases and normalisation layers stay as they
    are. Running statistics move in the second pass alone.

    Paper: Wu, Xia, Wang 2020 (arXiv 2004.05884), equations 8 to 10 and algorithm 1, with one step and one alternation.
    """

    base: Any = field(default_factory=Adversarial)
    """Adversarial, Trades, Mart or Alp."""
    gamma: float = 0.01
    """|v| in shares of each layer's |w|; theirs is 0.01 around plain adversarial training, 0.005 around TRADES."""
    warmup: float = 0.0
    """Epochs before the weights are perturbed."""

    name: ClassVar[str] = "awp"

    def __post_init__(self) -> None:
        must_attack(self.base, "awp")
        must_be_weight("gamma", self.gamma)
        must_be_weight("warmup", self.warmup)

    @property
    def lasts(self) -> float:
        """Until weights are perturbed, or as the base."""
        return max(self.warmup, self.base.lasts)

    def loss(self, scene: Scene, batch: Batch) -> Outcome:
        """The base's losses at perturbed weights."""
        region = scene.region(batch)
        attacked = self.base.attacked(scene, batch, region)
        there = scene
        if batch.at >= self.warmup and self.gamma > 0:
            there = scene.replace(weights=self.weights(scene, batch, attacked))
        outcome = self.base.outcome(there, batch, attacked)
        passes = 1 if there is scene else 2
        rows = passes * outcome.rows + self.base.inner.rows * len(batch.y)
        return replace(outcome, eps=region.radius.max(), rows=rows)

    def weights(self, scene: Scene, batch: Batch, attacked: Tensor) -> dict[str, Tensor]:
        """w + v by name, through which gradients flow to w."""
        own = _scaled_weights(scene.model.module)
        leaves = {name: weight.detach().requires_grad_() for name, weight in own.items()}
        buffers = {name: tensor.clone() for name, tensor in scene.model.module.named_buffers()}
        losses = self.base.outcome(scene.replace(weights={**leaves, **buffers}), batch, attacked).losses
        gradients = torch.autograd.grad(losses.mean(), list(leaves.values()), allow_unused=True)
        return {
            name: weight if grad is None else weight + self.gamma * _as_long(grad, weight.detach())
            for (name, weight), grad in zip(own.items(), gradients, strict=True)
        }


def _scaled_weights(module: nn.Module) -> dict[str, nn.Parameter]:
    """The trained weights with two dimensions or more, but those of normalisations."""
    fixed = {id(weight) for part in module.modules() if isinstance(part, NORMS) for weight in part.parameters(False)}
    return {
        name: weight
        for name, weight in module.named_parameters()
        if weight.requires_grad and weight.ndim > 1 and id(weight) not in fixed
    }


def _as_long(grad: Tensor, weight: Tensor) -> Tensor:
    """The gradient made as long as the weight; zero where it is zero."""
    return grad * (weight.norm() / grad.norm().clamp_min(torch.finfo(grad.dtype).tiny))


@dataclass(frozen=True)
class Dro(Wrapped):
    """Distributionally robust weighting of the base's losses: what is learned worst counts most.

    over="classes": the weight of class c is multiplied by exp(eta * its mean loss) at each batch that has it, and what is
    minimised is the weighted sum of the classes' mean losses. Weights are kept in checkpoints.
    over="samples": within the batch, losses are weighted by exp(loss / tilt), which is the gradient of
    tilt * log mean exp(loss / tilt).

    Paper: Sagawa et al. 2020 (arXiv 1911.08731), algorithm 1, with classes for groups; for samples the dual of a
    Kullback-Leibler ball (Hu, Hong 2013; as tilted losses in Li et al. 2021, arXiv 2007.01162, equation 2).
    Differs: batches are drawn from all samples alike and not group by group.
    """

    base: Any = field(default_factory=Adversarial)
    over: Literal["classes", "samples"] = "classes"
    eta: float = 0.01
    """The rate of the classes' weights; theirs is 0.01."""
    tilt: float = 1.0
    """Nats; the lower, the more the largest losses of a batch count."""

    name: ClassVar[str] = "dro"

    def __post_init__(self) -> None:
        if self.over not in ("classes", "samples"):
            raise UsageError(f'over of dro is "classes" or "samples"; got {self.over!r}.')
        must_be_weight("eta", self.eta)
        if not (isinstance(self.tilt, (int, float)) and self.tilt > 0 and math.isfinite(self.tilt)):
            raise UsageError(f"tilt of dro is a number of nats > 0; got {self.tilt!r}.")

    def loss(self, scene: Scene, batch: Batch) -> Outcome:
        """The base's losses, weighted; their mean is what is minimised."""
        outcome = self.base.loss(scene, batch)
        if len(outcome.losses) != len(batch.y):
            raise CompositionError(
                f"dro weights samples by their class, and {self.base.name} gives {len(outcome.losses)} losses for "
                f"{len(batch.y)} samples. Use another base."
            )
        found = outcome.losses.detach()
        weights = self._by_class(scene, batch, found) if self.over == "classes" else self._by_sample(found)
        return replace(outcome, losses=weights * outcome.losses)

    def _by_sample(self, losses: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        return len(losses) * (losses / self.tilt).softmax(0)

    def _by_class(self, scene: Scene, batch: Batch, losses: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """The class's weight, shared by its samples of the batch."""
        classes = scene.model.classes or int(scene.y.max()) + 1
        logs = scene.state.get("log weights")
        logs = losses.new_zeros(classes) if logs is None else logs
        count = torch.bincount(batch.y, minlength=classes).to(losses)
        means = losses.new_zeros(classes).index_add(0, batch.y, losses) / count.clamp_min(1)
        scene.state["log weights"] = logs = (logs + self.eta * means).log_softmax(0)
        return len(losses) * (logs.exp() / count.clamp_min(1))[batch.y]
