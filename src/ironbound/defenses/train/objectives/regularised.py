"""Adversarial training that also looks at the clean answer: TRADES, MART, logit pairing."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from ironbound.core.errors import UsageError
from ironbound.defenses.train.inner import Inner, Steps
from ironbound.defenses.train.objective import Batch, Outcome, Scene, answers, correct
from ironbound.defenses.train.objectives.adversarial import Adversarial
from ironbound.objectives import KlToClean

divergence = KlToClean()
"""(logits there, clean logits) -> KL(clean || there) (n,), nats."""


def _nudged() -> Inner:
    """Ten steps of a quarter of the radius from next to the input, as TRADES and MART were published with."""
    return Steps(10, share=0.25, start="nudged")


@dataclass(frozen=True)
class Trades(Adversarial):
    """CE(x, y) + beta KL(p(x) || p(x')), with x' where that divergence is large: accuracy is traded for robustness.

    The inner attack climbs the divergence from the clean answer and needs no label; it starts next to the input, since
    at the input itself the gradient is zero. The update moves both answers, each in a pass of its own.

    Paper: Zhang et al. 2019 (arXiv 1901.08573), equation 5 and algorithm 1; beta is their 1 / lambda.
    """

    inner: Inner = field(default_factory=_nudged)
    beta: float = 6.0
    """The weight of the divergence."""

    name: ClassVar[str] = "trades"

    def __post_init__(self) -> None:
        must_be_weight("beta", self.beta)

    def attacked(self, scene: Scene, batch: Batch, region: Any) -> Tensor:
        """Inputs whose answer is far from the clean one."""
        clean = answers(scene, batch.x, batch.rng)
        return self.inner.inputs(scene, batch, region, lambda logits: divergence(logits, clean))

    def outcome(self, scene: Scene, batch: Batch, attacked: Tensor) -> Outcome:
        """The loss of the clean inputs and the divergence; three rows with the clean answer of the inner attack."""
        clean, there = scene.logits(batch.x, batch.rng), scene.logits(attacked, batch.rng)
        losses = scene.criterion(clean, batch.y) + self.beta * divergence(there, clean)
        return Outcome(losses, correct(clean, batch.y), correct(there, batch.y), rows=3 * len(batch.y))


@dataclass(frozen=True)
class Mart(Adversarial):
    """BCE(x', y) + beta KL(p(x) || p(x')) (1 - p_y(x)): samples that are misclassified when clean count more.

    The boosted cross-entropy BCE is -log p_y(x') - log(1 - p_k(x')), with k the likeliest other class.

    Paper: Wang et al. 2020 (ICLR, Improving Adversarial Robustness Requires Revisiting Misclassified Examples),
    equations 8 to 11; beta is their lambda.
    Differs: log(1 - p_k) is computed from logits and has no floor; theirs is log(1.0001 - p_k + 1e-12).
    """

    inner: Inner = field(default_factory=_nudged)
    beta: float = 6.0
    """The weight of the divergence."""

    name: ClassVar[str] = "mart"

    def __post_init__(self) -> None:
        must_be_weight("beta", self.beta)

    def outcome(self, scene: Scene, batch: Batch, attacked: Tensor) -> Outcome:
        """The boosted loss at the attacked inputs, and the weighted divergence."""
        clean, there = scene.logits(batch.x, batch.rng), scene.logits(attacked, batch.rng)
        sure = clean.softmax(1).gather(1, batch.y[:, None])[:, 0]
        losses = boosted(there, batch.y, scene.criterion(there, batch.y)) + self.beta * divergence(there, clean) * (
            1 - sure
        )
        return Outcome(losses, correct(clean, batch.y), correct(there, batch.y), rows=2 * len(batch.y))


def boosted(logits: Float[Tensor, "n classes"], y: Tensor, plain: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """`plain` - log(1 - p_k), with k the likeliest class but y."""
    of = torch.nn.functional.one_hot(y, logits.shape[1]).bool()
    rival = logits.masked_fill(of, -math.inf).argmax(1, keepdim=True)
    rest = logits.scatter(1, rival, -math.inf)
    return plain + logits.logsumexp(1) - rest.logsumexp(1)


@dataclass(frozen=True)
class Alp(Adversarial):
    """(CE(x, y) + CE(x', y)) / 2 + weight mean_k (z_k(x) - z_k(x'))^2: the logits of a pair shall be alike.

    Paper: Kannan, Kurakin, Goodfellow 2018 (arXiv 1803.06373), section 3.2, on mixed minibatches.
    It can mask gradients (Engstrom et al. 2018, arXiv 1807.10272): measure it by an audit, not by the attack trained with.
    """

    inner: Inner = field(default_factory=Steps)
    weight: float = 0.5
    """The weight of the pairing."""

    name: ClassVar[str] = "alp"

    def __post_init__(self) -> None:
        must_be_weight("weight", self.weight)

    def outcome(self, scene: Scene, batch: Batch, attacked: Tensor) -> Outcome:
        """The losses of both, and how far their logits are apart."""
        clean, there = scene.logits(batch.x, batch.rng), scene.logits(attacked, batch.rng)
        both = (scene.criterion(clean, batch.y) + scene.criterion(there, batch.y)) / 2
        losses = both + self.weight * (clean - there).square().mean(1)
        return Outcome(losses, correct(clean, batch.y), correct(there, batch.y), rows=2 * len(batch.y))


def must_be_weight(name: str, value: Any, least: float = 0.0) -> None:
    """Refuse what is no weight. Raises UsageError."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < least:
        raise UsageError(f"{name} is a number of at least {least:g}; got {value!r}.")
