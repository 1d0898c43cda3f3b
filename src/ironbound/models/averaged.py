"""An ensemble as one model: the mean of several nets, as logits or as probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ironbound.core.errors import UsageError
from ironbound.models.model import Model

MEANS = ("logits", "probabilities")


class Averaged(nn.Module):
    """The mean of several nets, which answer with logits of the same classes: an ensemble that is itself attacked.

    nets: nn.Modules, or Models whose normalisation is kept (of the same range, and with a kind of outputs that is said:
        Model(net, outputs="logits")). mean: "logits", or "probabilities", of which the logarithm is answered.
    """

    def __init__(self, nets: Sequence[Any], mean: str = "logits", weights: Sequence[float] | None = None) -> None:
        super().__init__()
        if len(nets) == 0 or mean not in MEANS:
            raise UsageError(f"Averaged([net, ...], mean in {MEANS}); got {len(nets)} nets, {mean!r}.")
        given = [1.0] * len(nets) if weights is None else [float(weight) for weight in weights]
        if len(given) != len(nets) or min(given) < 0 or sum(given) <= 0:
            raise UsageError(f"weights are {len(nets)} numbers >= 0, one a net; got {weights!r}.")
        boxes = {net.box for net in nets if isinstance(net, Model)}
        if len(boxes) > 1 or any(isinstance(net, Model) and net.outputs == "auto" for net in nets):
            raise UsageError(
                f"nets of an ensemble take the same inputs (ranges {sorted(map(str, boxes))}) and have known outputs: say "
                'Model(net, range=..., outputs="logits") of each.'
            )
        self.nets = nn.ModuleList([net.module if isinstance(net, Model) else net for net in nets])
        self.mean, self.weights = mean, tuple(weight / sum(given) for weight in given)

    def extra_repr(self) -> str:
        """How it averages: what is printed of a module is also what tells it from others in fingerprints."""
        return f"mean={self.mean!r}, weights={self.weights}"

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, classes)."""
        return mean_of([net(x) for net in self.nets], self.weights, self.mean)


def mean_of(answers: Sequence[Tensor], weights: Sequence[float], mean: str) -> Tensor:
    """The weighted mean of logits (m, classes), or the logarithm of the weighted mean of their probabilities."""
    if mean == "logits":
        total = answers[0] * weights[0]
        for answer, weight in zip(answers[1:], weights[1:], strict=True):
            total = total + weight * answer
        return total
    logs = torch.stack([answer.log_softmax(1) for answer in answers])
    shares = logs.new_tensor(weights).clamp_min(torch.finfo(logs.dtype).tiny).log()
    return (logs + shares[:, None, None]).logsumexp(0)
