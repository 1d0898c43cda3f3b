"""Goals made of others: parts of what a model answers, several goals at once, a score above or below a threshold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ironbound.core.errors import ModelError, UsageError
from ironbound.core.judge import scale_of
from ironbound.core.protocols import Goal, Labels, Outputs


class Joinable:
    """A goal that joins others by `&`: both must work."""

    def __and__(self, other: Any) -> Both:
        """Both at once."""
        if not hasattr(other, "margin"):
            return NotImplemented
        mine = self.goals if isinstance(self, Both) else (self,)
        return Both((*mine, *(other.goals if isinstance(other, Both) else (other,))))


@dataclass(frozen=True)
class Part(Joinable):
    """A goal about a part of what the model answers: Part("classes", Untargeted()).

    where: the key of a dict, the place in a tuple, or a function of the answers (`max_softmax`, `energy`) that gives
        one row an input. Labels that are a dict or tuple with such a part are read there, too; others are given whole.
    """

    where: str | int | Callable[[Outputs], Outputs]
    goal: Goal

    @property
    def from_label(self) -> bool:
        """Never: searches that follow single logits do not find them in a part."""
        return False

    def margin(self, out: Outputs, y: Labels) -> Float[Tensor, " m"]:
        """The goal's, about its part."""
        return self.goal.margin(self._part(out), self._labels(y))

    def cross_entropy(self, out: Outputs, y: Labels) -> Float[Tensor, " m"]:
        """The goal's, about its part."""
        return self.goal.cross_entropy(self._part(out), self._labels(y))

    def scale(self, out: Outputs) -> Tensor | None:
        """The size of the numbers in the part; of scores that are made of logits also what the logits' rounding does to them."""
        own = scale_of(self._part(out), self.goal)
        if own is None or self.where not in (max_softmax, energy):
            return own
        logits = scale_of(out)
        assert logits is not None  # which scores are made of
        p = max_softmax(out.detach().double())
        slope = 2 * p * (1 - p) if self.where is max_softmax else torch.ones_like(p)
        return torch.maximum(own, (slope * logits).nan_to_num(nan=0.0))

    def margins(self, out: Outputs, y: Labels) -> Float[Tensor, "m k"]:
        """The goal's own parts."""
        return margins_of(self.goal, self._part(out), self._labels(y))

    def _part(self, out: Outputs) -> Outputs:
        if callable(self.where):
            return self.where(out)
        if _has(out, self.where):
            return out[self.where]
        raise ModelError(f"the goal reads the part {self.where!r} of what the model answers, which is {seen_as(out)}.")

    def _labels(self, y: Labels) -> Labels:
        return y[self.where] if not callable(self.where) and _has(y, self.where) else y


@dataclass(frozen=True)
class Both(Joinable):
    """All goals at once: fool the classifier and evade the detector. Written goal & goal.

    The margin is the least of theirs, so that it is positive exactly where all work. The cross-entropy is the mean of log
    sigmoid(margin), the likelihood that all work: smooth, and each part's gradient fades once it works (adaptive attacks on
    detectors: Carlini, Wagner 2017, Adversarial Examples Are Not Easily Detected, arXiv 1705.07263, section 3, joins
    classifier and detector too, as one more class). `Hinged` climbs them one by one.
    """

    goals: tuple[Goal, ...]
    units: tuple[float, ...] | None = field(default=None)
    """What one unit of each margin is worth; margins are divided by it. It moves no zero, so that success is the same."""

    from_label = False

    def __post_init__(self) -> None:
        count = len(self.goals)
        if count < 1 or (self.units is not None and (len(self.units) != count or min(self.units) <= 0)):
            raise UsageError(
                f"Both(goals, units) has a positive unit for each of its goals; got {count} and {self.units}."
            )

    def margins(self, out: Outputs, y: Labels) -> Float[Tensor, "m goals"]:
        """The margin of each goal."""
        found = [goal.margin(out, y) for goal in self.goals]
        units = self.units or (1.0,) * len(found)
        return torch.stack([margin / unit for margin, unit in zip(found, units, strict=True)], 1)

    def margin(self, out: Outputs, y: Labels) -> Float[Tensor, " m"]:
        """The least, shape (m,)."""
        return self.margins(out, y).amin(1)

    def cross_entropy(self, out: Outputs, y: Labels) -> Float[Tensor, " m"]:
        """The mean of log sigmoid(margin) over the goals, nats."""
        return F.logsigmoid(self.margins(out, y)).mean(1)

    def scale(self, out: Outputs) -> Tensor | None:
        """The largest of the goals' own, each in its unit."""
        units = self.units or (1.0,) * len(self.goals)
        pairs = zip(self.goals, units, strict=True)
        known = [scale / unit for goal, unit in pairs if (scale := scale_of(out, goal)) is not None]
        return torch.stack(known).amax(0) if known else None


@dataclass(frozen=True)
class Above(Joinable):
    """A score (m,) or (m, 1) lies above a threshold: a detector that must fire, a confidence that must be reached."""

    threshold: float
    from_label = False

    def margin(self, out: Outputs, y: Labels = None) -> Float[Tensor, " m"]:
        """The score less the threshold, shape (m,), in the score's unit."""
        return one_score(out, self) - self.threshold

    def cross_entropy(self, out: Outputs, y: Labels = None) -> Float[Tensor, " m"]:
        """log sigmoid(margin), nats."""
        return F.logsigmoid(self.margin(out, y))

    def scale(self, out: Outputs) -> Tensor:
        """What the score and the threshold round to."""
        return threshold_scale(out, self.threshold, self)


@dataclass(frozen=True)
class Below(Joinable):
    """A score (m,) or (m, 1) lies below a threshold: a detector that must stay silent."""

    threshold: float
    from_label = False

    def margin(self, out: Outputs, y: Labels = None) -> Float[Tensor, " m"]:
        """The threshold less the score, shape (m,), in the score's unit."""
        return self.threshold - one_score(out, self)

    def cross_entropy(self, out: Outputs, y: Labels = None) -> Float[Tensor, " m"]:
        """log sigmoid(margin), nats."""
        return F.logsigmoid(self.margin(out, y))

    def scale(self, out: Outputs) -> Tensor:
        """What the score and the threshold round to."""
        return threshold_scale(out, self.threshold, self)


# ------------------------------------------------------------------------------------------------- scores of logits
def max_softmax(out: Float[Tensor, "m c"]) -> Float[Tensor, " m"]:
    """The probability of the likeliest class: high on what the model knows.

    Paper: Hendrycks, Gimpel 2017, A Baseline for Detecting Misclassified and Out-of-Distribution Examples in Neural Networks,
    arXiv 1610.02136, section 3.
    """
    return out.softmax(1).amax(1)


def energy(out: Float[Tensor, "m c"], temperature: float = 1.0) -> Float[Tensor, " m"]:
    """The negative free energy T logsumexp(z / T), nats at T = 1: high on what the model knows.

    Paper: Liu, Wang, Owens, Li 2020, Energy-based Out-of-distribution Detection, arXiv 2010.03759, equation 4.
    """
    return temperature * (out / temperature).logsumexp(1)


# ------------------------------------------------------------------------------------------------- what goals share
def margins_of(goal: Any, out: Outputs, y: Labels) -> Float[Tensor, "m k"]:
    """The margins of a goal's parts, each of which must be positive; of a goal without parts its only one."""
    parts = getattr(goal, "margins", None)
    return goal.margin(out, y)[:, None] if parts is None else parts(out, y)


def one_score(out: Outputs, goal: object) -> Tensor:
    """Scores as (m,)."""
    if isinstance(out, Tensor) and out.is_floating_point() and (out.ndim == 1 or (out.ndim == 2 and out.shape[1] == 1)):
        return out.reshape(-1)
    raise ModelError(
        f"{type(goal).__name__} reads one score an input, (m,) or (m, 1), and the model answers with {seen_as(out)}. "
        "Name the part that holds it, Part('detector', Above(0.5)), or a function of it, Part(energy, Above(3.0))."
    )


def threshold_scale(out: Outputs, threshold: float, goal: object) -> Tensor:
    """What a score and its threshold round to: the larger of both."""
    return one_score(out, goal).detach().abs().double().nan_to_num(nan=0.0).clamp_min(abs(threshold))


def seen_as(out: Any) -> str:
    """What a model answers, in a few words for messages."""
    if isinstance(out, Tensor):
        return f"{str(out.dtype).removeprefix('torch.')} {tuple(out.shape)}"
    if isinstance(out, dict):
        return "a dict of " + ", ".join(f"{key!r}: {seen_as(part)}" for key, part in out.items())
    if isinstance(out, tuple):
        return "a tuple of " + ", ".join(seen_as(part) for part in out)
    return f"a list of {len(out)}" if isinstance(out, list) else type(out).__name__


def _has(tree: Any, where: Any) -> bool:
    if isinstance(tree, dict):
        return where in tree
    return isinstance(tree, tuple) and isinstance(where, int) and -len(tree) <= where < len(tree)
