"""Goals: did it work? Success is margin > 0 and nothing else."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ironbound.core.errors import UsageError
from ironbound.core.protocols import Goal, Outputs


def _rival(out: Float[Tensor, "m c"], chosen: Tensor) -> Float[Tensor, " m"]:
    """The highest logit but that of the chosen class."""
    return out.scatter(1, chosen[:, None], -math.inf).amax(1)


@dataclass(frozen=True)
class Untargeted:
    """The model no longer answers y: another class has a higher logit. On bare decisions the margin is +-inf."""

    from_label = True

    def margin(self, out: Outputs, y: Tensor) -> Float[Tensor, " m"]:
        """The highest other logit less that of y, shape (m,), in logits."""
        if y is None:
            raise UsageError("an untargeted goal keeps away from a label; pass y.")
        if not out.is_floating_point():
            return torch.where(out != y, math.inf, -math.inf)
        return _rival(out, y) - out.gather(1, y[:, None])[:, 0]

    def cross_entropy(self, out: Outputs, y: Tensor) -> Float[Tensor, " m"]:
        """-log p(y), nats."""
        return F.cross_entropy(out, y, reduction="none")


@dataclass(frozen=True)
class Targeted:
    """The model answers the class wanted: `target` for all, or, where it is None, the class given as y for each."""

    target: int | None = None
    from_label = False

    def margin(self, out: Outputs, y: Tensor) -> Float[Tensor, " m"]:
        """The target's logit less the highest other one, shape (m,), in logits."""
        wanted = self._wanted(out, y)
        if not out.is_floating_point():
            return torch.where(out == wanted, math.inf, -math.inf)
        return out.gather(1, wanted[:, None])[:, 0] - _rival(out, wanted)

    def cross_entropy(self, out: Outputs, y: Tensor) -> Float[Tensor, " m"]:
        """log p(target), nats."""
        return -F.cross_entropy(out, self._wanted(out, y), reduction="none")

    def _wanted(self, out: Outputs, y: Tensor) -> Tensor:
        if self.target is None:
            return y
        return torch.full((len(out),), self.target, dtype=torch.int64, device=out.device)


@dataclass(frozen=True)
class TopK:
    """The label is not among the k classes with the highest logits: top-k error, as ImageNet's top-5. TopK(1) is Untargeted."""

    k: int
    from_label = True

    def __post_init__(self) -> None:
        if self.k < 1:
            raise UsageError(f"TopK(k) counts classes, k >= 1; got {self.k}.")

    def margin(self, out: Outputs, y: Tensor) -> Float[Tensor, " m"]:
        """The k-th highest other logit less that of y, shape (m,), in logits. Raises UsageError for k or fewer classes."""
        if y is None or not out.is_floating_point() or out.shape[1] <= self.k:
            got = "bare decisions" if not out.is_floating_point() else f"{out.shape[1]} classes"
            raise UsageError(f"the top {self.k} need labels and logits of more than {self.k} classes; got {got}.")
        others = out.scatter(1, y[:, None], -math.inf)
        return others.topk(self.k, dim=1).values[:, -1] - out.gather(1, y[:, None])[:, 0]

    def cross_entropy(self, out: Outputs, y: Tensor) -> Float[Tensor, " m"]:
        """-log p(y), nats."""
        return F.cross_entropy(out, y, reduction="none")


@dataclass(frozen=True)
class Confident:
    """Another goal, reached by at least `kappa` logits: high-confidence examples, which transfer better and pass for sure.

    Its margin is the other's less kappa, so that a success is one by kappa and results say what is above that.
    Paper: Carlini, Wagner 2017, arXiv 1608.04644, section V.A (the confidence kappa).
    """

    goal: Goal
    kappa: float

    def __post_init__(self) -> None:
        if not 0 <= self.kappa < math.inf:
            raise UsageError(f"kappa is a number of logits >= 0; got {self.kappa}.")

    @property
    def from_label(self) -> bool:
        """Whether the other goal leads away from the label."""
        return bool(getattr(self.goal, "from_label", True))

    def margin(self, out: Outputs, y: Tensor) -> Float[Tensor, " m"]:
        """The other goal's margin less kappa, shape (m,), in logits."""
        return self.goal.margin(out, y) - self.kappa

    def cross_entropy(self, out: Outputs, y: Tensor) -> Float[Tensor, " m"]:
        """The other goal's, nats."""
        return self.goal.cross_entropy(out, y)
