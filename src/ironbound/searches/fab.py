"""The Fast Adaptive Boundary attack: the smallest change, found by walking along the boundary between classes."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ironbound.core.errors import UsageError
from ironbound.core.protocols import Answer, Ask, Can, Task
from ironbound.core.rows import column, flat
from ironbound.searches.guided import MOST, likeliest
from ironbound.searches.hyperplane import DUAL, Planes
from ironbound.searches.norms import norm_among
from ironbound.searches.smallest import final, length, note, tables
from ironbound.sets.bounds import BLOCK, inner_box

Asking = Generator[Ask, Answer, Any]
SHORTEST = 1e-8  # the length of a step for the weights of the two projections, as in the authors' code


@dataclass(frozen=True)
class Fab:
    """Step to the plane on which the linearised model changes its mind, biased towards x; step back from a witness.

    The nearest points of the plane (and the model's box) are found for the current point and for x, and the step goes to
    a mixture of both, a little beyond (`eta`). From an adversarial point the walk goes back towards x (`beta`). It may
    leave the set, so that it also finds the smallest change; what counts is inside. Needs a ball of Linf, L2 or L1.

    By default the plane is the nearest of those to the other classes, in a step that asks for the gradients of `classes`
    classes: the label and the likeliest others at the point heard last. With `towards` it is the one on which the
    objective is zero: of the attack's goal with the margin, of a target class within `Aimed(Fab(towards=True), ...)`.

    Cost, rows a problem and step: 2 forward; 1 backward with `towards`, else one a class asked. Beyond these 1 forward at
    the start and `final` at the end.

    Paper: Croce, Hein 2020, Minimally Distorted Adversarial Examples with a Fast Adaptive Boundary Attack, arXiv
    1907.02044, algorithm 1; targeted: 2003.01690, section 5. Random starts as in the authors' code, on the sphere of half
    the radius (or of the smallest change so far); the paper draws from that ball. Differs: models of more than `classes`
    classes are linearised in part; witnesses met at the points of the gradients count, too; the final search of section 3
    interpolates the objective and looks a little beyond its zero, or beyond a witness that is too weak for the judge,
    where the authors' code has none.
    """

    steps: int = 100
    restarts: int = 1
    """Walks, the first from x and the others from random starts. (Attack.restarts would repeat the first.)"""
    towards: bool = False
    classes: int = 10
    alpha_max: float = 0.1
    """The largest weight of the step from x."""
    eta: float = 1.05
    """How far to go, where 1 is the plane."""
    beta: float = 0.9
    """How much of the change is kept on the way back from a witness."""
    final: int = 3
    """Looks of the final search between x and the smallest witness."""

    norms = ("linf", "l2", "l1")  # other sets are refused when it runs
    needs = Can.GRADIENT | Can.SCORES

    def __post_init__(self) -> None:
        if self.steps < 1 or self.restarts < 1 or self.classes < 2 or self.final < 0:
            raise UsageError(f"Fab walks and steps at least once, with two classes at least; got {self}.")
        if not (0 <= self.alpha_max <= 1 and 0 < self.beta <= 1 and self.eta >= 1):
            raise UsageError(f"Fab has alpha_max in [0, 1], beta in (0, 1] and eta >= 1; got {self}.")

    @property
    def from_label(self) -> bool:
        """Whether it leads away from the label whatever the goal."""
        return not self.towards

    def run(self, task: Task) -> Asking:
        """Algorithm 1 from each start; then the final search."""
        norm, x = norm_among(task.region, self.norms, self), task.region.identity()
        answer = yield Ask(x)
        if answer.outputs is None:  # nobody could pay even this
            return
        s = task.state(p=x, logits=answer.outputs, **tables(x, answer))
        self._note(task, s, norm, x, answer)
        for number in range(self.restarts):
            task.compact()
            if number:
                s.p = _start(task, s.size, norm, number)
            for _ in range(self.steps):
                task.compact()
                w, f = yield from (self._objective(task, s, norm) if self.towards else self._nearest(task, s, norm))
                s.p = self._moved(task.region, norm, s.p, w, f)
                answer = yield Ask(s.p)
                self._note(task, s, norm, s.p, answer)
                s.p = self._back(task.region, s.p, answer.success)
        yield from final(task, s, norm, self.final)

    # ------------------------------------------------------------------------------------------------ the plane
    def _objective(self, task: Task, s: Any, norm: str) -> Asking:
        """The gradient (n, d) and the value (n,) of the objective."""
        answer = yield Ask(s.p, grad=True)
        self._note(task, s, norm, s.p, answer)
        return flat(answer.grad), answer.value

    def _nearest(self, task: Task, s: Any, norm: str) -> Asking:
        """Those of the difference to the label whose zero is nearest, in the dual norm; some problems at a time."""
        asked = _likeliest(s.logits, task.y, self.classes)
        at_once = max(1, MOST // max(1, asked.shape[1] * flat(s.p).shape[1]))
        if task.n <= at_once:
            answer = yield Ask(s.p, jac=asked)
            self._note(task, s, norm, s.p, answer)
            return _nearest_plane(answer, asked, norm)
        parts = []
        for row in torch.arange(task.n, device=s.p.device).split(at_once):
            p = s.p.index_select(0, row)
            answer = yield Ask(p, owner=row, jac=asked[row])
            self._note(task, s, norm, p, answer, row)
            parts.append(_nearest_plane(answer, asked[row], norm))
        return torch.cat([w for w, _ in parts]), torch.cat([f for _, f in parts])

    # ------------------------------------------------------------------------------------------------ the step
    def _moved(self, region: Any, norm: str, p: Tensor, w: Tensor, f: Tensor) -> Tensor:
        """Algorithm 1's step for all rows; on a CPU a few at a time, so that what it needs on the way stays in the cache."""
        out, box, f = torch.empty_like(p), inner_box(region.box, p.dtype), f.double()
        rows = max(1, BLOCK * len(p) // max(1, p.numel())) if p.device.type == "cpu" else len(p)
        w = w if region.mask is None else flat(region.mask) * w
        for start in range(0, len(p), max(1, rows)):
            at = slice(start, start + rows)
            out[at] = self._step(norm, flat(p[at]), flat(region.x[at]), w[at], f[at], box).view_as(out[at])
        return out

    def _step(self, norm: str, p: Tensor, x: Tensor, w: Tensor, f: Tensor, box: tuple[float, float]) -> Tensor:
        """(1 - alpha) (p + eta d) + alpha (x + eta e): d and e lead from p and from x to the plane f + <w, . - p> = 0."""
        wide = torch.promote_types(p.dtype, torch.float32)
        p, x, w = p.to(wide), x.to(wide), w.to(wide)
        back, planes = p - x, Planes(norm, w, *box)
        d, near = planes.nearest(p, -f)
        e, far = planes.nearest(x, (w * back).sum(1).double() - f)
        moves = (near > 0) | (far > 0)  # no gradient, no plane: such a row stays where it is
        near, far = near.clamp_min(SHORTEST), far.clamp_min(SHORTEST)
        alpha = torch.where(moves, (near / (near + far)).clamp_max(self.alpha_max), 0.0).to(wide)[:, None]
        move = d.mul_(self.eta * (1 - alpha)).add_(e.mul_(self.eta).sub_(back).mul_(alpha))
        return move.add_(p).clamp_(*box)

    def _back(self, region: Any, p: Tensor, won: Bool[Tensor, " n"]) -> Tensor:
        """The points, those of the rows that won nearer to x."""
        if not bool(won.any()):
            return p
        nearer = (p - region.x).mul_(column(won.to(p.dtype) * (self.beta - 1), p))
        return nearer.add_(p).clamp_(*inner_box(region.box, p.dtype))

    # ------------------------------------------------------------------------------------------------ what was found
    def _note(
        self, task: Task, s: Any, norm: str, p: Tensor, answer: Answer, owner: Int[Tensor, " m"] | None = None
    ) -> Bool[Tensor, " m"]:
        """Keep the logits heard last, and the smallest adversarial point of each problem; says which points are new."""
        if owner is None and not self.towards:
            s.logits = torch.where(answer.granted[:, None], answer.outputs, s.logits)
        return note(task, s, norm, p, answer, owner)


def _likeliest(logits: Float[Tensor, "n c"], y: Int[Tensor, " n"], count: int) -> Int[Tensor, "n k"]:
    """The label, then the other classes by their logits, `count` in all."""
    return torch.cat([y[:, None], likeliest(logits.nan_to_num(), y, count - 1)], 1)


def _nearest_plane(
    answer: Answer, asked: Int[Tensor, "n k"], norm: str
) -> tuple[Float[Tensor, "n d"], Float[Tensor, " n"]]:
    """Of the classes asked, label first: gradient and value of the difference to the label that is zero nearest by."""
    z, gradients = answer.outputs.gather(1, asked).double(), answer.jac.flatten(2)
    w, f = gradients[:, 1:] - gradients[:, :1], z[:, 1:] - z[:, :1]
    steepness = torch.linalg.vector_norm(w, ord=DUAL[norm], dim=2).double()
    distance = torch.where(steepness > 0, f.abs() / steepness, torch.inf).nan_to_num(nan=torch.inf)
    row, nearest = torch.arange(len(w), device=w.device), distance.argmin(1)
    return w[row, nearest], f[row, nearest]


def _start(task: Task, size: Float[Tensor, " n"], norm: str, number: int) -> Tensor:
    """A point half the radius away (or half the smallest change so far), clamped to the box; x where there is neither."""
    region, rng = task.region, task.rng.fold("start").fold(number)
    shape, kind = tuple(region.x.shape[1:]), region.x.dtype
    u = rng.uniform(shape, kind, -1, 1) if norm == "linf" else rng.normal(shape, kind)
    u = u if region.mask is None else region.mask * u
    reach = torch.minimum(size, region.radius) / 2 / length(norm, flat(u)).clamp_min(torch.finfo(kind).tiny)
    reach = torch.where(torch.isfinite(reach), reach, 0.0)
    return (region.x + column(reach, u) * u).clamp_(*inner_box(region.box, kind))
