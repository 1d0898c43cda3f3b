"""Goals about detections: boxes with scores. Hide an object, or make the detector see one that is not there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ironbound.core.errors import ModelError, UsageError
from ironbound.core.protocols import Labels, Outputs
from ironbound.goals.joint import Joinable, seen_as

EDGE = 0.1
"""Of overlap: a detection nearer than this to the other side of `iou` counts less for a success."""


@dataclass(frozen=True)
class Boxes(Joinable):
    """Something is said of every labelled place by the detections that overlap it.

    Outputs are a dict of "boxes" (m, k, 4) as (x0, y0, x1, y1) and "scores" (m, k), or a list with one such dict an input
    (of different numbers of boxes). Labels are places: (m, 4), (m, j, 4), or a list of (j_i, 4), one entry an input.

    threshold: a detection counts from this score on. iou: it is of a place from this overlap on, in (0, 1].
    """

    threshold: float = 0.5
    iou: float = 0.5

    from_label = False

    def __post_init__(self) -> None:
        if not 0 < self.iou <= 1:
            raise UsageError(f"iou is an overlap, in (0, 1]; got {self.iou}.")

    def margin(self, out: Outputs, y: Labels) -> Float[Tensor, " m"]:
        """The least over the places, shape (m,)."""
        scores, overlap, there, real = self._pairs(out, y)
        return self._each(scores, overlap, there).masked_fill(~real, torch.inf).amin(1)

    def margins(self, out: Outputs, y: Labels) -> Float[Tensor, "m parts"]:
        """The margin of each place; +inf for places that only fill up."""
        scores, overlap, there, real = self._pairs(out, y)
        return self._each(scores, overlap, there).masked_fill(~real, torch.inf)

    def cross_entropy(self, out: Outputs, y: Labels) -> Float[Tensor, " m"]:
        """The mean of log sigmoid(margin) over the parts, nats."""
        margins = self.margins(out, y)
        counted = ~margins.isinf()
        nats = F.logsigmoid(margins.masked_fill(~counted, 0.0)).masked_fill(~counted, 0.0)
        return nats.sum(1) / counted.sum(1).clamp_min(1)

    def scale(self, out: Outputs) -> Tensor:
        """What scores and overlaps round to: the largest score, the threshold, or 1."""
        _, scores, there = _detections(out, self)
        largest = scores.detach().abs().masked_fill(~there, 0.0).double().nan_to_num(nan=0.0)
        largest = largest.amax(1) if largest.shape[1] else largest.sum(1)
        return largest.clamp_min(max(1.0, abs(self.threshold)))

    def _pairs(self, out: Outputs, y: Labels) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Scores, overlaps and whether a detection is there, of each place with each (m, places, k); which places are real."""
        boxes, scores, there = _detections(out, self)
        places, real = _places(y, boxes)
        overlap = intersection_over_union(places, boxes)
        return scores[:, None, :].expand_as(overlap), overlap, there[:, None, :].expand_as(overlap), real

    def _each(self, scores: Tensor, overlap: Tensor, there: Tensor) -> Tensor:
        raise NotImplementedError


@dataclass(frozen=True)
class Hide(Boxes):
    """No detection is left of the labelled objects: each that overlaps one by `iou` or more scores below the threshold.

    The margin of an object is the least threshold - score of the detections that overlap it enough; where none does, the
    least that one lacks to do so (or to count), which is positive. Detections may be silenced or moved away. A success to
    which a loud detection lacks less than EDGE of overlap is worth in proportion less: rounding could undo it.

    Papers: Thys, Van Ranst, Goedeme 2019, Fooling Automated Surveillance Cameras, arXiv 1904.08653 (the objectness loss);
    Lu, Sibai, Fabry 2017, Adversarial Examples that Fool Detectors, arXiv 1712.02494.
    """

    def _each(self, scores: Tensor, overlap: Tensor, there: Tensor) -> Tensor:
        silent, near = self.threshold - scores, there & (overlap >= self.iou)
        far = torch.maximum(silent, self.iou - overlap).masked_fill(near | ~there, torch.inf)
        quiet, spare = _least(silent.masked_fill(~near, torch.inf)), _least(far)
        sure = torch.where(quiet > 0, quiet * (spare / EDGE).clamp(max=1), quiet)
        least = torch.where(near.any(2), sure, spare)
        return torch.where(there.any(2), least, self.iou)  # without detections none overlaps

    def margins(self, out: Outputs, y: Labels) -> Float[Tensor, "m parts"]:
        """threshold - score of each detection that overlaps a place enough, (m, places * k); +inf for all others."""
        scores, overlap, there, real = self._pairs(out, y)
        near = there & real[:, :, None] & (overlap >= self.iou)
        return (self.threshold - scores).masked_fill(~near, torch.inf).flatten(1)


@dataclass(frozen=True)
class Phantom(Boxes):
    """A detection appears at each of the places given: one overlaps it by more than `iou` and scores above the threshold.

    The margin of a place is the largest score - threshold of the detections that overlap it enough, in proportion less of one
    that does so by less than EDGE, which rounding could undo; where none does, the largest over all of the least of that and
    of overlap - iou, which is negative.
    """

    def _each(self, scores: Tensor, overlap: Tensor, there: Tensor) -> Tensor:
        loud, spare = scores - self.threshold, overlap - self.iou
        near = there & (spare > 0)
        some = near.any(
            2, keepdim=True
        )  # else a silent box far away would hide, flat as it is, those that can be woken
        sure = torch.where(loud > 0, loud * (spare / EDGE).clamp(max=1), loud)
        margins = torch.where(some, sure, torch.minimum(loud, spare))
        margins = margins.masked_fill(~torch.where(some, near, there), -torch.inf)
        most = -_least(-margins)
        return torch.where(there.any(2), most, -self.iou)


def _least(margins: Float[Tensor, "m j k"]) -> Float[Tensor, "m j"]:
    """Over the detections; +inf where there are none."""
    nothing = margins.new_full((*margins.shape[:2], 1), torch.inf)
    return torch.cat([margins, nothing], 2).amin(2)


def intersection_over_union(a: Float[Tensor, "m j 4"], b: Float[Tensor, "m k 4"]) -> Float[Tensor, "m j k"]:
    """The overlap of boxes (x0, y0, x1, y1), in [0, 1]: area in common over area of either. Boxes without area have 0."""
    low = torch.maximum(a[:, :, None, :2], b[:, None, :, :2])
    high = torch.minimum(a[:, :, None, 2:], b[:, None, :, 2:])
    common = (high - low).clamp_min(0).prod(-1)
    area = lambda box: (box[..., 2:] - box[..., :2]).clamp_min(0).prod(-1)
    union = area(a)[:, :, None] + area(b)[:, None, :] - common
    return common / union.clamp_min(1e-12)


def _detections(out: Outputs, goal: object) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes (m, k, 4), scores (m, k), and which of them are no filling."""
    if (
        isinstance(out, list)
        and out
        and all(isinstance(row, dict) and {"boxes", "scores"} <= row.keys() for row in out)
    ):
        boxes, there = _filled([row["boxes"].reshape(-1, 4) for row in out])
        scores, _ = _filled([row["scores"].reshape(-1) for row in out])
        return boxes, scores, there
    if isinstance(out, dict) and {"boxes", "scores"} <= out.keys():
        boxes, scores = out["boxes"], out["scores"]
        if isinstance(boxes, Tensor) and boxes.ndim == 3 and boxes.shape[2] == 4 and scores.shape == boxes.shape[:2]:
            return boxes, scores, torch.ones_like(scores, dtype=torch.bool)
    raise ModelError(
        f"{type(goal).__name__} reads a dict of 'boxes' (m, k, 4) and 'scores' (m, k), or a list of such dicts, one an input; "
        f"the model answers with {seen_as(out)}. Say ironbound.Model(net, outputs='anything'); a module around yours can rename."
    )


def _places(y: Labels, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Places (m, j, 4), and which of them are no filling."""
    if isinstance(y, list) and len(y) == len(boxes):
        places, real = _filled([torch.as_tensor(row).reshape(-1, 4) for row in y])
    elif isinstance(y, Tensor) and y.ndim in (2, 3) and y.shape[-1] == 4 and len(y) == len(boxes):
        places = y if y.ndim == 3 else y[:, None]
        real = torch.ones(places.shape[:2], dtype=torch.bool, device=places.device)
    else:
        raise UsageError(f"labels are boxes: (n, 4), (n, j, 4), or a list of n tensors (j, 4); got {seen_as(y)}.")
    return places.to(boxes), real.to(boxes.device)


def _filled(rows: Sequence[Any]) -> tuple[Tensor, Tensor]:
    """Rows of different lengths as one table, and which entries are theirs."""
    table = pad_sequence(list(rows), batch_first=True)
    lengths = torch.tensor([len(row) for row in rows], device=table.device)
    return table, torch.arange(table.shape[1], device=table.device)[None, :] < lengths[:, None]
