"""Goals: did it work? Success is margin > 0 and nothing else."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ironbound.core.errors import UsageError
from ironbound.core.protocols import Outputs


def _rival(out: Float[Tensor, "m c"], chosen: Tensor) -> Float[Tensor, " m"]:
    """The highest logit but that of the chosen class."""
    return out.scatter(1, chosen[:, None], -math.inf).amax(1)


@dataclass(frozen=True)
class Untargeted:
    """The model no longer answers y: another class has a higher logit. On bare decisions the margin is +-inf."""

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
