"""Exact bounds of tiny piecewise-linear models by mixed-integer programs: the most that any method can prove."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ironbound.certification.bounder import swept
from ironbound.certification.crown import bounded_margins
from ironbound.certification.encoding import Encoding, encoded, numbers
from ironbound.certification.graph import Graph, evaluate
from ironbound.certification.interval import propagate
from ironbound.certification.intervals import Interval
from ironbound.certification.margins import Margins, before_softmax, margins_of, only
from ironbound.certification.piecewise import Array, Program, Values
from ironbound.core.errors import SoundnessAlarm, UnsupportedOperation, UsageError
from ironbound.core.judge import TAU

TOLERANCE = 1e-9
"""What HiGHS is told for primal and dual feasibility, integrality and the absolute gap; its own values are 1e-7 and 1e-6."""
SLACK = 1e-6
"""By what share of the logits' scale a bound may exceed what its own minimiser attains: rounding, not a contradiction."""


@dataclass(frozen=True)
class Milp:
    """The exact minimum of z_y - z_j over the set, class by class, by branch and bound (HiGHS, through SciPy).

    For models that are piecewise linear (ReLU, leaky ReLU, clamps, max pooling, maxima, absolute values between affine
    layers) and tiny: the time grows with 2 to the number of neurons whose sign interval bounds leave open.

    What is reported is sound also where the solver stops early: its dual bound, less an allowance. In HiGHS a
    constraint or an integer that is off by its tolerance makes the feasible region larger, and the minimum smaller,
    which is on the safe side. Three things are not, and are allowed for: a reduced cost may have the wrong sign by the
    dual tolerance (times the width of its variable or row, summed over all of them), branches within the gap of the
    best point are dropped, and coefficients below 1e-9 are read as 0 (rows are widened for these when they are
    written). With variables scaled to [-1, 1] and tolerances of 1e-9 this comes to some 1e-7 of the margin's scale, far
    within the tolerance that certificates are judged by. The bound never exceeds what the minimiser, run through the
    model in float64, attains. Rounding in the simplex method is HiGHS's own affair.

    Paper: Tjeng, Xiao, Tedrake 2019, "Evaluating Robustness of Neural Networks with Mixed Integer Programming"
    (arXiv 1711.07356), section 4. Differs: max pooling as ReLUs of differences, by rounds of pairs; bounds of values by
    intervals and by the affine functions themselves, not by linear programs.

    >>> Milp().name
    'milp'
    """

    binaries: int = 300
    """The most binaries (values of open sign) that a program may have. Beyond some hundreds HiGHS may take hours."""
    nodes: int = 10_000
    """Branches a class at most; where they run out, the bound is what has been proved so far."""
    gap: float = 0.0
    """Stop where bound and best point are within this share of each other. 0: the exact minimum; 0.9 finds its sign."""
    every: bool = False
    """Also the minima of classes that bounds have decided, and of those that come after a class that wins somewhere."""
    intermediate: str = "crown"
    """Where bounds of the values in between come from: "crown", or "ibp", as a check of crown needs, which are wider."""

    name = "milp"
    cost = 1e4
    """Forward rows that a bound is worth: some ten milliseconds a class."""
    screens = False
    """Bounds in float32 are of no use: they would take the same time."""

    def __post_init__(self) -> None:
        known = self.intermediate in ("crown", "ibp")
        if self.binaries < 0 or self.nodes < 1 or not 0 <= self.gap < 1 or not known:
            raise UsageError(
                'milp: binaries >= 0, nodes >= 1, gap in [0, 1) and intermediate "crown" or "ibp" are expected; got '
                f"{self.binaries}, {self.nodes}, {self.gap} and {self.intermediate!r}."
            )

    def margins(
        self,
        graph: Graph,
        region: Any,
        y: Int[Tensor, " n"],
        dtype: torch.dtype,
        learned: Any = None,
        against: Bool[Tensor, "n classes"] | None = None,
    ) -> Margins:
        """Lower bounds of z_y - z_j over the region, and how large the logits can be there.

        Raises UnsupportedOperation for models that are not piecewise linear, UsageError for those that are too large and
        for sets that are neither an Linf nor an L1 ball in the box.
        """
        found = self.minima(graph, region, y, against)
        return Margins(found.least.to(dtype), found.scale.to(dtype))

    def minima(self, graph: Graph, region: Any, y: Int[Tensor, " n"], against: Tensor | None = None) -> Minima:
        """The same with the points that attain them, in float64; `region` in float64."""
        norm = getattr(region, "norm", "")
        if norm not in ("linf", "l1"):
            raise UsageError(
                f"milp writes the set as linear constraints, which Linf and L1 balls are, and {norm or 'this set'} is not. "
                'Use method="alpha-crown" or "crown", which bound a linear function over any ball.'
            )
        with torch.no_grad():
            encoding = encoded(graph, before_softmax(graph), region.lo.device)
            known, floor = _cheaply(graph, region, y, self.intermediate)
            floor = only(floor, against)
            rows = [_Row(self, encoding, known, region, y, i).solved(floor[i].clone()) for i in range(len(y))]
        return Minima(*(torch.stack(column) for column in zip(*rows, strict=True)))


def _cheaply(graph: Graph, region: Any, y: Tensor, kind: str) -> tuple[Mapping[str, Any], Tensor]:
    """Bounds of all values and of the margins: linear ones, where the graph has them, else intervals."""
    if kind == "crown":
        with contextlib.suppress(UnsupportedOperation):
            passed, bounder = swept(graph, region, torch.float64)
            return passed.values, bounded_margins(passed, bounder, y).least
    passed = propagate(graph, region.lo, region.hi, dtype=torch.float64)
    return passed.values, margins_of(passed, y)


@dataclass(frozen=True, eq=False)
class Minima:
    """What was found of each input and class."""

    least: Float[Tensor, "n classes"]
    """A lower bound of z_y - z_j, +inf for j = y."""
    attained: Float[Tensor, "n classes"]
    """z_y - z_j at the best point that was found, by the model in float64; +inf where there is none."""
    points: Float[Tensor, "n classes ..."]
    """These points, in the box; NaN where there is none."""
    scale: Float[Tensor, " n"]
    """The largest absolute value that a bound of any logit has."""


@dataclass(frozen=True, eq=False)
class _Row:
    """One input's programs: one for each class, with the same constraints."""

    method: Milp
    encoding: Encoding
    known: Mapping[str, Any]
    """Bounds of all values, for all inputs."""
    region: Any
    y: Tensor
    at: int

    def solved(self, least: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """One row of `Minima`, from bounds of the margins."""
        own = self.region.take(torch.tensor([self.at], device=self.y.device))
        attained = torch.full_like(least, math.inf)
        points = own.lo.new_full((len(least), *own.lo.shape[1:]), math.nan)
        label = int(self.y[self.at])
        if bool((own.lo > own.hi).any() | ~(own.hi - own.lo).isfinite().all()):
            return least, attained, points, least.new_tensor(math.inf)
        program = Program()
        entry = within_ball(program, own) if own.norm == "l1" else boxed(program, own)
        logits = self.encoding.values(program, entry, self._known())
        self._affordable(program)
        task, size = _Task(program, self.method), float(np.maximum(np.abs(logits.low), np.abs(logits.high)).max())
        for j in least.argsort().tolist():
            if j == label or math.isinf(float(least[j])) or not self._worth(float(least[j]), attained, TAU * size):
                continue
            bound, found = task.least(
                program.sum((1, logits.take(np.array([label]))), (-1, logits.take(np.array([j]))))
            )
            if found is not None:
                points[j] = self._point(entry, own, found)
                attained[j] = self._margin(points[j], label, j)
                if bound > float(attained[j]) + SLACK * size:
                    raise SoundnessAlarm(
                        f"milp found a bound of {bound:.9g} where its own point attains {float(attained[j]):.9g}: the "
                        "solver's arithmetic does not hold on this model, or there is a bug. Believe no bound of this model."
                    )
            least[j] = min(max(bound, float(least[j])), float(attained[j]))
        return least, attained, points, least.new_tensor(size)

    def _worth(self, least: float, attained: Tensor, enough: float) -> bool:
        return self.method.every or (least <= enough and not bool((attained < 0).any()))

    def _known(self) -> Mapping[str, tuple[Array, Array]]:
        known = {}
        for name, value in self.known.items():
            if isinstance(value, Interval):
                times = len(value.lower) // len(self.y)
                part = slice(self.at * times, (self.at + 1) * times)
                known[name] = numbers(value.lower[part]), numbers(value.upper[part])
        return known

    def _affordable(self, program: Program) -> None:
        open_ = sum(int(part.sum()) for part in program.integral)
        if open_ > self.method.binaries:
            raise UsageError(
                f"{open_} undecided neurons: too many for milp, whose limit is {self.method.binaries}. Use "
                f'method="alpha-crown", a smaller radius, or Milp(binaries={open_}) and patience.'
            )

    def _point(self, entry: Values, own: Any, found: Array) -> Tensor:
        """The input at which the program's variables are as found, in the set exactly."""
        flat = entry.matrix @ found[: entry.matrix.shape[1]] + entry.offset
        point: Tensor = own.project(torch.as_tensor(flat, device=own.lo.device).view(own.lo.shape))
        return point[0]

    def _margin(self, point: Tensor, label: int, j: int) -> Tensor:
        z = evaluate(replace(self.encoding.graph, output=self.encoding.output), point[None])[0]
        return z[label] - z[j]


def boxed(program: Program, region: Any) -> Values:
    """The input in a box: its centre, and its radius times variables in [-1, 1]."""
    centre, radius = numbers(region.lo + region.hi) / 2, numbers(region.hi - region.lo) / 2
    return _moved(program, centre, [(radius, -1.0)])


def within_ball(program: Program, region: Any) -> Values:
    """The input in an L1 ball: ways up and down, the sum of which is at most the radius, as shares of the room there is."""
    x = numbers(region.x)
    rooms = [np.maximum(numbers(region.hi) - x, 0.0), -np.maximum(x - numbers(region.lo), 0.0)]
    entry = _moved(program, x, [(room, 0.0) for room in rooms])
    radius = float(region.radius[0])
    if math.isfinite(radius):
        from scipy import sparse

        ways = abs(entry.matrix).sum(axis=0)  # one value a variable: each moves one value of the input
        program.at_most(sparse.csr_array(ways[None]), np.array([radius]))
    return entry


def _moved(program: Program, start: Array, ways: list[tuple[Array, float]]) -> Values:
    """start + way * variables in [low, 1], for each (way, low)."""
    from scipy import sparse

    matrix = sparse.csr_array((len(start), 0))
    for way, low in ways:
        moving = way.nonzero()[0]
        share = program.variables(np.full(len(moving), low), np.ones(len(moving)))
        into = sparse.csr_array((way[moving], (moving, np.arange(len(moving)))), shape=(len(start), len(moving)))
        matrix = program.widened(matrix) + into @ share
    return program.values(matrix, start)


class _Task:
    """The constraints of one input as HiGHS takes them, for one objective after the other."""

    def __init__(self, program: Program, method: Milp):
        from scipy import sparse

        self.program, self.method = program, method
        self.low, self.high = np.concatenate([*program.low, np.zeros(0)]), np.concatenate([*program.high, np.zeros(0)])
        self.integral = np.concatenate([*program.integral, np.zeros(0, dtype=np.uint8)])
        self.rows, width = None, float((self.high - self.low).sum())
        if program.rows:
            matrix = sparse.vstack([program.widened(part) for part, _ in program.rows]).tocsc()
            self.rows = matrix, np.concatenate([most for _, most in program.rows])
            least, most = program.range(matrix.tocsr(), np.zeros(matrix.shape[0]))
            width += float((most - least).sum())
        self.allowance = TOLERANCE * (width + 1)
        """Of an objective whose largest coefficient is 1: all widths times the dual tolerance, and the gap."""

    def least(self, objective: Values) -> tuple[float, Array | None]:
        """A lower bound of the objective, and the variables at the best point found."""
        weights = self.program.widened(objective.matrix).toarray().reshape(-1)
        scale, offset = float(np.abs(weights).max(initial=0.0)), float(objective.offset[0])
        if self.rows is None or not scale:  # a linear function over a box
            best = np.where(weights > 0, self.low, self.high)
            return float(weights @ best) + offset, best
        found = self._solved(weights / scale)
        bound = found.fun if found.get("mip_dual_bound") is None else found.mip_dual_bound
        if bound is None or found.x is None or not math.isfinite(bound):
            return -math.inf, None
        if not self.integral.any() and found.status != 0:
            return -math.inf, None
        return (min(bound, found.fun) - self.allowance) * scale + offset, np.clip(found.x, self.low, self.high)

    def _solved(self, weights: Array) -> Any:
        from scipy.optimize import Bounds, LinearConstraint, milp

        assert self.rows is not None
        matrix, most = self.rows
        names = (
            "mip_feasibility_tolerance",
            "primal_feasibility_tolerance",
            "dual_feasibility_tolerance",
            "mip_abs_gap",
        )
        options = {"node_limit": self.method.nodes, "mip_rel_gap": self.method.gap, **dict.fromkeys(names, TOLERANCE)}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # "passed to HiGHS verbatim" is what is wanted
            return milp(
                weights,
                integrality=self.integral,
                bounds=Bounds(self.low, self.high),
                constraints=LinearConstraint(matrix, -np.inf, most),
                options=options,
            )
