"""The Jacobian-based Saliency Map Attack: two features at a time, those that raise the target and lower all else the most."""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import pad

from ironbound.core.errors import UsageError
from ironbound.core.protocols import Answer, Ask, Can, Task, Terms
from ironbound.core.rows import flat, kept, put
from ironbound.searches.norms import norm_among
from ironbound.searches.sparse import changed, some

Asking = Generator[Ask, Answer, Any]
PAIRS = 1 << 22
"""Pairs that are compared at a time (some 50 MiB in float32)."""

NEARLY = 0.01
"""Of theta: a feature that could move by no more than this is as good as at its end, and would count all the same."""


@dataclass(frozen=True)
class Saliency:
    """Change the two features by `theta` that have the largest saliency, look again, until the goal is met.

    Of features p and q let alpha be the sum of the derivatives of the target's logit and beta that of all other logits.
    Their saliency is -alpha beta where alpha > 0 and beta < 0 (for theta < 0: alpha < 0 and beta > 0). Where the goal is to
    leave a label, the label takes the part of the others: alpha is the derivative of all logits but the label's (NT-JSMA).
    `maximal` compares the maps of all classes, in both directions (M-JSMA).

    beta is the derivative of the sum of all logits less that of the target's, so that two backward passes do for any
    number of classes. The best pair is found exactly, without comparing all: both factors grow with both features' own
    terms, so that a feature that two others exceed in both terms is in no best pair; what remains is compared in blocks.

    A feature is a coordinate. One that has reached the end of the box, or nearly, is left alone. No more pixels are
    changed than the radius allows; the last one alone, where there is room for one only. A problem without a pair of
    positive saliency is given up.

    Paper: Papernot et al. 2016, The Limitations of Deep Learning in Adversarial Settings, arXiv 1511.07528, algorithms 2
    and 3, equations 8 to 10; NT-JSMA and M-JSMA: Wiyatno, Xu 2018, Maximal Jacobian-based Saliency Map Attack, arXiv
    1808.07945, algorithms 2 and 3.
    """

    theta: float = 1.0
    """What is added to a feature, in widths of the box; in input units where there is no box."""
    gamma: float = 0.145
    """The share of the features that may be changed: gamma d / 2 steps, rounded up."""
    maximal: bool = False
    probabilities: bool = False
    """Derivatives of probabilities (JSMA-F of Carlini, Wagner 2017, arXiv 1608.04644) and not of logits (JSMA-Z).

    Probabilities add up to 1, so that beta is -alpha, and the pair is of the two largest derivatives of the target's. Those
    of its logarithm are in the same order, and do not vanish.
    """

    norms = ("l0",)
    needs = Can.GRADIENT | Can.SCORES

    def __post_init__(self) -> None:
        if self.theta == 0 or not (math.isfinite(self.theta) and 0 < self.gamma <= 1):
            raise UsageError(f"JSMA has theta != 0 and gamma in (0, 1]; got theta={self.theta}, gamma={self.gamma}.")
        if self.maximal and self.probabilities:
            raise UsageError("the maps of all classes are compared by logits: leave out maximal or probabilities.")

    def run(self, task: Task) -> Asking:
        """Algorithm 2."""
        norm_among(task.region, self.norms, self)
        x, classes = task.region.identity(), 0
        if self.maximal and _leaves(task):
            answer = yield Ask(x)
            if answer.outputs is None:
                return
            classes = answer.outputs.shape[1]
        s = task.state(p=x, live=torch.ones(task.n, dtype=torch.bool, device=x.device))
        for _ in range(math.ceil(self.gamma * flat(x).shape[1] / 2)):
            task.compact()
            at = s.live.nonzero()[:, 0]
            if len(at) == 0:
                return
            p, region, owner = some(s.p, task.region, at)
            asked, sign = (kept(table, at, task.n) for table in _classes(task, classes))
            if self.probabilities:
                answer = yield Ask(p, owner, grad=True, loss=_log_probability, args=(asked[:, 0],))
                up = down = sign[..., None] * flat(answer.grad)[:, None]
            else:
                answer = yield Ask(p, owner, jac=asked, grad=True, loss=_all_logits)
                jac = answer.jac.flatten(2)
                up, down = sign[..., None] * jac, sign[..., None] * (jac - flat(answer.grad)[:, None])
            moved = self._moved(region, p, up, down)
            s.p, s.live = put(s.p, at, moved), put(s.live, at, flat(moved != p).any(1))
        task.compact()
        at = s.live.nonzero()[:, 0]
        if len(at):
            p, _, owner = some(s.p, task.region, at)
            yield Ask(p, owner)

    def _moved(self, region: Any, p: Tensor, up: Float[Tensor, "n k d"], down: Float[Tensor, "n k d"]) -> Tensor:
        """The points with their two most salient features changed, or as they are where no pair is salient.

        `up` and `down` are alpha's and -beta's terms, for each of the maps that are compared.
        """
        ways = (self.theta, -self.theta) if self.maximal else (self.theta,)
        x, stepped = flat(p), torch.stack([flat(_stepped(region, p, way)) for way in ways], 1)
        may, single = _room(region, p)
        tiny = abs(self.theta) * NEARLY * _width(region)
        usable = (((stepped - x[:, None]).abs() > tiny) & may[:, None])[:, :, None]
        along = x.new_tensor([math.copysign(1.0, way) for way in ways])[:, None, None]
        a, c = (torch.where(usable, along * _scaled(term)[:, None], -torch.inf).flatten(0, 2) for term in (up, down))
        value, pair = best_pair(a, c, single.repeat_interleave(len(a) // max(1, len(x))))
        row = torch.arange(len(x), device=x.device)
        value, of = value.view(len(x), -1).max(1)
        pair = pair.view(len(x), -1, 2)[row, of]
        ends = stepped[row, of // up.shape[1]].gather(1, pair)
        return x.scatter(1, pair, torch.where((value > 0)[:, None], ends, x.gather(1, pair))).view_as(p)


def best_pair(
    a: Float[Tensor, "n d"], c: Float[Tensor, "n d"], single: Bool[Tensor, " n"]
) -> tuple[Float[Tensor, " n"], Int[Tensor, "n 2"]]:
    """The largest (a_i + a_j) (c_i + c_j) of two places of a row with both factors above 0, and the places.

    0 where there is none. Where `single`, the largest a_i c_i of one place, which is named twice. Places of
    -inf are left out. Memory: PAIRS products at a time, or n d where that is more.
    """
    if a.shape[1] == 0 or len(a) == 0:
        return a.new_zeros(len(a)), torch.zeros(len(a), 2, dtype=torch.int64, device=a.device)
    place, known = _not_exceeded(a, c)
    a, c = (torch.where(known, table.gather(1, place), -torch.inf) for table in (a, c))
    count = place.shape[1]
    best, where = a.new_zeros(len(a)), torch.zeros(len(a), dtype=torch.int64, device=a.device)
    second, rows = torch.arange(count, device=a.device), max(1, PAIRS // (len(a) * count))
    for first in second.split(rows):
        same = first[:, None] == second
        factors = [
            torch.where(single[:, None, None], t[:, first, None], t[:, first, None] + t[:, None]) for t in (a, c)
        ]
        both = (factors[0] > 0) & (factors[1] > 0) & (same == single[:, None, None])
        value, of = torch.where(both, factors[0] * factors[1], 0.0).flatten(1).max(1)
        best, where = torch.where(value > best, value, best), torch.where(value > best, of + first[0] * count, where)
    return best, place.gather(1, torch.stack([where // count, where % count], 1))


def _not_exceeded(a: Tensor, c: Tensor) -> tuple[Int[Tensor, "n k"], Bool[Tensor, "n k"]]:
    """The places that fewer than two others exceed in both values, by falling a; and which of them are meant.

    In the order of falling a, those are the places whose c is above the second largest so far.
    """
    order = a.argsort(dim=1, descending=True, stable=True)
    c = c.gather(1, order)
    largest = pad(c.cummax(1).values[:, :-1], (1, 0), value=-torch.inf)
    second = pad(torch.minimum(c, largest).cummax(1).values[:, :-1], (1, 0), value=-torch.inf)
    few = c > second
    count = few.sum(1, keepdim=True)
    known = torch.arange(max(1, int(count.max())), device=a.device) < count
    place = torch.zeros_like(known, dtype=torch.int64)
    place[known] = order[few]
    return place, known


def _all_logits(terms: Terms) -> Float[Tensor, " m"]:
    total: Tensor = terms.outputs.sum(1)
    return total


def _log_probability(terms: Terms, chosen: Int[Tensor, " m"]) -> Float[Tensor, " m"]:
    scores: Tensor = terms.outputs.log_softmax(1).gather(1, chosen[:, None])[:, 0]
    return scores


def _leaves(task: Task) -> bool:
    """Whether the goal is to leave the label, and not to reach a class."""
    return bool(getattr(task.goal, "from_label", True))


def _classes(task: Task, classes: int) -> tuple[Int[Tensor, "n k"], Float[Tensor, "n k"]]:
    """The classes whose maps are made, and whether each is to rise (1) or to fall (-1); `classes` of them, or the goal's."""
    wanted = getattr(task.goal, "target", None)
    own = task.y if wanted is None else torch.full_like(task.y, wanted)
    asked = torch.arange(classes, device=own.device).expand(len(own), -1) if classes else own[:, None]
    falls = (asked == own[:, None]) & _leaves(task)
    return asked, torch.where(falls, -1.0, 1.0).to(task.region.x.dtype)


def _stepped(region: Any, p: Tensor, theta: float) -> Tensor:
    """Each value theta widths of the box further, or as far as it may."""
    return torch.clamp(p + theta * _width(region), region.lo, region.hi)


def _width(region: Any) -> float:
    return 1.0 if region.box is None else region.box[1] - region.box[0]


def _room(region: Any, p: Tensor) -> tuple[Bool[Tensor, "n d"], Bool[Tensor, " n"]]:
    """The values that may change within the radius, and whether only one more pixel may."""
    already = changed(region, p)
    left = region.radius - already.sum(1)
    return flat(region.by_value(already | (left >= 1)[:, None])), left == 1


def _scaled(term: Float[Tensor, "n k d"]) -> Float[Tensor, "n k d"]:
    """Each problem's by its largest absolute value, so that products neither vanish nor overflow; NaN counts as 0."""
    term = torch.where(torch.isfinite(term), term, 0.0)
    return term / term.abs().amax((1, 2), keepdim=True).clamp_min(torch.finfo(term.dtype).tiny)
