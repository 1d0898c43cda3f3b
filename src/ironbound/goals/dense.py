"""Goals about dense outputs: a class for every pixel (or token, or point)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ironbound.core.errors import ModelError, UsageError
from ironbound.core.protocols import Labels, Outputs
from ironbound.goals.joint import Joinable, seen_as


@dataclass(frozen=True)
class Dense(Joinable):
    """Something holds at a share of the pixels that have a label; logits (m, classes, ...), labels (m, ...), int64.

    share: of the pixels that count, in (0, 1]; the number that it asks for is rounded up.
    ignore: the label of pixels that do not count. An attack on a mask alone is one with all other pixels so labelled.
    """

    share: float = 1.0
    ignore: int = -1

    from_label = False

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise UsageError(f"share is a part of the pixels, in (0, 1]; got {self.share}.")

    def margins(self, out: Outputs, y: Labels) -> Float[Tensor, "m pixels"]:
        """The margin at each pixel, in logits; +inf at those that do not count, so that no least one is theirs."""
        logits, labels, counted = self._table(out, y)
        return self._at(logits, labels).masked_fill(~counted, math.inf)

    def margin(self, out: Outputs, y: Labels) -> Float[Tensor, " m"]:
        """The margin of the pixel that is the last to be needed, shape (m,), in logits: positive exactly where enough are.

        -inf where no pixel counts, NaN where one that counts is NaN.
        """
        logits, labels, counted = self._table(out, y)
        margins = self._at(logits, labels).masked_fill(~counted, -math.inf)
        count = counted.sum(1)
        needed = (self.share * count.double() - 1e-9).ceil().long().clamp_min(1)
        ranked = margins.sort(1, descending=True).values
        last = ranked.gather(1, (needed - 1)[:, None])[:, 0]
        return torch.where(ranked[:, 0].isnan(), torch.nan, last)  # NaN is sorted first, as if it worked best

    def cross_entropy(self, out: Outputs, y: Labels) -> Float[Tensor, " m"]:
        """The mean over the pixels that count of their cross-entropy, nats: PGD's objective on maps."""
        logits, labels, counted = self._table(out, y)
        each = self._nats(logits, labels).masked_fill(~counted, 0.0)
        return each.sum(1) / counted.sum(1).clamp_min(1)

    def _at(self, logits: Tensor, labels: Tensor) -> Tensor:
        raise NotImplementedError

    def _nats(self, logits: Tensor, labels: Tensor) -> Tensor:
        raise NotImplementedError

    def _table(self, out: Outputs, y: Labels) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (m, classes, pixels), labels (m, pixels) with 0 where they do not count, and which do."""
        if not (isinstance(out, Tensor) and out.is_floating_point() and out.ndim >= 3):
            raise ModelError(
                f"{type(self).__name__} reads logits (m, classes, height, width), and the model answers with {seen_as(out)}. "
                "Name the part of it that holds them: Part('out', goal)."
            )
        shape = (out.shape[0], *out.shape[2:])
        if not isinstance(y, Tensor) or y.is_floating_point() or tuple(y.shape) != shape:
            raise UsageError(f"labels are whole numbers {shape}, a class for every pixel; got {seen_as(y)}.")
        labels, logits = y.flatten(1), out.flatten(2)
        counted = labels != self.ignore
        labels = labels.masked_fill(~counted, 0)
        return logits, labels, counted


@dataclass(frozen=True)
class Pixels(Dense):
    """The labels are no longer answered at `share` of the pixels: Pixels(0.9) is a map that is 90% wrong.

    Adversarial examples for segmentation: Xie et al. 2017, arXiv 1703.08603 (dense adversary generation, which climbs the
    sum of margins of pixels that are still right: objective `Hinged`); Arnab, Miksik, Torr 2018, arXiv 1711.09856.
    """

    def _at(self, logits: Tensor, labels: Tensor) -> Tensor:
        rival = logits.scatter(1, labels[:, None], -math.inf).amax(1)
        return rival - logits.gather(1, labels[:, None])[:, 0]

    def _nats(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels, reduction="none")


@dataclass(frozen=True)
class PixelsTo(Dense):
    """The map wanted, y, is answered at `share` of the pixels: erase a person, draw a road.

    Fischer, Kumar, Metzen, Brox 2017, Adversarial Examples for Semantic Image Segmentation, arXiv 1703.01101; Metzen et al.
    2017, arXiv 1704.05712 (dynamic target segmentation).
    """

    def _at(self, logits: Tensor, labels: Tensor) -> Tensor:
        rival = logits.scatter(1, labels[:, None], -math.inf).amax(1)
        return logits.gather(1, labels[:, None])[:, 0] - rival

    def _nats(self, logits: Tensor, labels: Tensor) -> Tensor:
        return -F.cross_entropy(logits, labels, reduction="none")


def pixel_share(out: Float[Tensor, "m c *pixels"], y: Tensor, ignore: int = -1) -> Float[Tensor, " m"]:
    """The share of the pixels with a label at which it is not answered, float64: what Pixels(share) is compared with."""
    counted = (y != ignore).flatten(1)
    wrong = (out.argmax(1) != y).flatten(1) & counted
    return wrong.sum(1).double() / counted.sum(1).clamp_min(1)
