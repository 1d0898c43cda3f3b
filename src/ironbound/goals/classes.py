"""Goals about the class that a model answers. Success is margin > 0 and nothing else."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ironbound.core.errors import ModelError, UsageError
from ironbound.core.judge import scale_of
from ironbound.core.protocols import Goal, Outputs
from ironbound.goals.joint import Joinable, margins_of, seen_as


def _answers(out: Outputs, goal: object) -> Tensor:
    """The model's answers, where they are such that classes can be compared; else the error says what they are."""
    if isinstance(out, Tensor) and (out.ndim == 2 or not out.is_floating_point()):
        return out
    raise ModelError(
        f"{type(goal).__name__} reads logits (m, classes), and the model answers with {seen_as(out)}. Where they are a part of "
        "that, name it: Part('classes', Untargeted()); for maps, boxes and embeddings ironbound.goals has goals of their own."
    )


def _rival(out: Float[Tensor, "m c"], chosen: Tensor) -> Float[Tensor, " m"]:
    """The highest logit but that of the chosen class."""
    return out.scatter(1, chosen[:, None], -math.inf).amax(1)


@dataclass(frozen=True)
class Untargeted(Joinable):
    """The model no longer answers y: another class has a higher logit. On bare decisions the margin is +-inf."""

    from_label = True

    def margin(self, out: Outputs, y: Tensor) -> Float[Tensor, " m"]:
        """The highest other logit less that of y, shape (m,), in logits."""
        out = _answers(out, self)
        if y is None:
            raise UsageError("an untargeted goal keeps away from a label; pass y.")
        if not out.is_floating_point():
            return torch.where(out != y, math.inf, -math.inf)
        return _rival(out, y) - out.gather(1, y[:, None])[:, 0]

    def cross_entropy(self, out: Outputs, y: Tensor) -> Float[Tensor, " m"]:
        """-log p(y), nats."""
        return F.cross_entropy(_answers(out, self), y, reduction="none")


@dataclass(frozen=True)
class Targeted(Joinable):
    """The model answers the class wanted: `target` for all, or, where it is None, the class given as y for each."""

    target: int | None = None
    from_label = False

    def margin(self, out: Outputs, y: Tensor) -> Float[Tensor, " m"]:
        """The target's logit less the highest other one, shape (m,), in logits."""
        wanted = self._wanted(_answers(out, self), y)
        if not out.is_floating_point():
            return torch.where(out == wanted, math.inf, -math.inf)
        return out.gather(1, wanted[:, None])[:, 0] - _rival(out, wanted)

    def cross_entropy(self, out: Outputs, y: Tensor) -> Float[Tensor, " m"]:
        """log p(target), nats."""
        return -F.cross_entropy(_answers(out, self), self._wanted(out, y), reduction="none")

    def _wanted(self, out: Outputs, y: Tensor) -> Tensor:
        if self.target is None:
            return y
        return torch.full((len(out),), self.target, dtype=torch.int64, device=out.device)


@dataclass(frozen=True)
class TopK(Joinable):
    """The label is not among the k classes with the highest logits: top-k error, as ImageNet's top-5. TopK(1) is Untargeted."""

    k: int
    from_label = True

    def __post_init__(self) -> None:
        if self.k < 1:
            raise UsageError(f"TopK(k) counts classes, k >= 1; got {self.k}.")

    def margin(self, out: Outputs, y: Tensor) -> Float[Tensor, " m"]:
        """The k-th highest other logit less that of y, shape (m,), in logits. Raises UsageError for k or fewer classes."""
        if y is None or not _answers(out, self).is_floating_point() or out.shape[1] <= self.k:
            got = "bare decisions" if not out.is_floating_point() else f"{out.shape[1]} classes"
            raise UsageError(f"the top {self.k} need labels and logits of more than {self.k} classes; got {got}.")
        others = out.scatter(1, y[:, None], -math.inf)
        best = others.topk(self.k, dim=1).values
        best = torch.where(best[:, :1].isnan(), torch.nan, best)  # which is sorted first, and would hide behind others
        return best[:, -1] - out.gather(1, y[:, None])[:, 0]

    def cross_entropy(self, out: Outputs, y: Tensor) -> Float[Tensor, " m"]:
        """-log p(y), nats."""
        return F.cross_entropy(_answers(out, self), y, reduction="none")


@dataclass(frozen=True)
class Confident(Joinable):
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

    def margins(self, out: Outputs, y: Tensor) -> Float[Tensor, "m k"]:
        """Those of the other goal's parts, less kappa."""
        return margins_of(self.goal, out, y) - self.kappa

    def scale(self, out: Outputs) -> Tensor | None:
        """The other goal's."""
        return scale_of(out, self.goal)

    def cross_entropy(self, out: Outputs, y: Tensor) -> Float[Tensor, " m"]:
        """The other goal's, nats."""
        return self.goal.cross_entropy(out, y)
