"""How a curve is found: below the threat's radius from witnesses inwards, beyond it from survivors outwards.

A sample that was broken is attacked in ever smaller balls, each search from the last one's witness, until one fails; what
survived in ever larger balls, each from the last one's last point, until one succeeds. Nothing is attacked at a radius at
which it is certified. At other radii than the threat's own the attack is one search of `STEPS` steps and no whole plan: the
curve is an upper bound everywhere, and the tightest at that radius.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ironbound import recipes
from ironbound.auditing.checks.check import Evidence
from ironbound.auditing.checks.model import covers_all
from ironbound.auditing.curve import parts
from ironbound.auditing.curve.parts import Reached, curve_facts
from ironbound.auditing.folder import RunFolder
from ironbound.auditing.inside import around, points_of
from ironbound.auditing.plan import Bounds
from ironbound.auditing.prices import counted, spent
from ironbound.auditing.shards import places_of, pools_of
from ironbound.auditing.verdicts import Verdicts
from ironbound.certification.certificates import prove
from ironbound.certification.exhaustive import Exhaustive
from ironbound.certification.graph import trace
from ironbound.core.errors import SoundnessAlarm
from ironbound.core.progress import Event, Listener
from ironbound.core.protocols import Can
from ironbound.core.rng import Rng, content_keys
from ironbound.core.rows import of_rows
from ironbound.objectives import Margin
from ironbound.searches.ascent import Ascent
from ironbound.searches.moves import Step
from ironbound.searches.starts import Given

FACTORS = (0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0, 1.25, 1.5, 2.0)
"""The radii of a curve, as shares of the threat's own; larger ones only where they do not cover the model's whole range."""
STEPS, STEP = 10, 0.25
"""Steps of each search, and their length as a share of its radius: few and short, for the start is near."""
FAILURE = counted(STEPS + 1, STEPS)
"""What a search that finds nothing costs."""
SUCCESSES = 20
"""What all searches of a sample that find something cost together, about: mostly a step or two each."""
PROOFS = 4
"""Of a bisection among the radii, about."""
SHARE = 0.5
"""Of what the verdicts cost, what the curve may cost."""
LEAST = 64
"""Samples without which a curve says nothing, whatever they cost."""

REASONS = {
    "ball": "The curve is of balls with one finite radius above 0 in L-inf, L2 or L1, and this threat is another one.",
    "model": "The curve is for models that answer tensors with numbers, give gradients and do not draw.",
    "plan": "The curve is for plans with an attack that climbs gradients.",
    "alarm": "Certified samples were broken, so that nothing certified can be believed at any radius.",
}
"""Why there is no curve."""
UNSOUND = {"left_out": REASONS["alarm"]}


def curve_of(
    folder: RunFolder, evidence: Evidence, wanted: bool, unsound: bool, progress: Listener
) -> dict[str, Any] | None:
    """What the report says of the curve, which is found now where it is wanted; to be called under the lock, unsealed."""
    why = reason(evidence)
    if not wanted or unsound or why:
        parts.remove(folder)
        return None if not wanted else UNSOUND if unsound else {"left_out": why}
    try:
        draw(folder, evidence, progress)
    except SoundnessAlarm:
        parts.remove(folder)
        return UNSOUND
    return curve_facts(folder, len(evidence.verdicts))


def reason(evidence: Evidence) -> str:
    """Why there can be no curve of this run; "" where there can."""
    threat, model = evidence.threat, evidence.model
    eps, norm = getattr(threat, "eps", None), getattr(threat, "norm", "")
    if norm not in ("linf", "l2", "l1") or not (isinstance(eps, float) and 0 < eps < math.inf):
        return REASONS["ball"]
    if model.random or not evidence.differentiable() or Can.GRADIENT not in model.gives:
        return REASONS["model"]
    return "" if evidence.by_gradient else REASONS["plan"]


@dataclass(frozen=True)
class Grid:
    """The radii of a curve, ascending from 0."""

    threat: Any
    factors: tuple[float, ...]

    @staticmethod
    def of(threat: Any, box: Any, x: Tensor) -> Grid:
        """The usual radii, without those beyond the threat's that leave no input out of reach; x is any one sample."""
        fits = lambda factor: factor <= 1 or not covers_all(threat.times(factor), box, x)
        return Grid(threat, tuple(factor for factor in FACTORS if fits(factor)))

    @property
    def radii(self) -> list[float]:
        """In the threat's unit, float64."""
        return [self.ball(k).eps for k in range(len(self.factors))]

    @property
    def own(self) -> int:
        """The number of the threat's own radius."""
        return self.factors.index(1.0)

    def ball(self, k: int) -> Any:
        """The threat with radius number k."""
        return self.threat.times(self.factors[k])


def sampled(verdicts: Verdicts, grid: Grid) -> Tensor:
    """The places of the samples that the curve is of: all, or as many as its price allows, those with the smallest keys.

    The price is fixed beforehand, from verdicts and counted passes alone: what was broken costs one search that fails and a
    few steps more, everything else that is right a search at each of the radii beyond the threat's, and both a few proofs.
    """
    beyond = len(grid.factors) - 1 - grid.own
    price = verdicts.count("broken") * (FAILURE + SUCCESSES)
    price += verdicts.count("certified", "undecided") * beyond * FAILURE
    if name := cheapest(verdicts):
        costs = verdicts.stage_costs(name)
        right = verdicts.count("broken", "certified", "undecided")
        price += right * PROOFS * costs["bounding"] / costs["entered"]
    allowed = SHARE * spent(verdicts.costs)
    most = len(verdicts) if price <= allowed else int(len(verdicts) * allowed / price)
    return verdicts.places("wrong", "broken", "certified", "undecided", most=max(most, LEAST))


def of_pool(folder: RunFolder, number: int, places: Tensor) -> Tensor:
    """Those of these places that lie in a pool."""
    here = places_of(folder.manifest, number)
    return places[(places >= here.start) & (places < here.stop)]


def draw(folder: RunFolder, evidence: Evidence, progress: Listener) -> None:
    """Write the curve of every pool that has none yet; to be called under the lock, of an unsealed run.

    Raises SoundnessAlarm where a certificate reaches beyond a witness.
    """
    grid = Grid.of(evidence.threat, evidence.model.box, evidence.samples(torch.zeros(1, dtype=torch.long))[0])
    places = sampled(evidence.verdicts, grid)
    settings = {"radii": grid.radii, "own": grid.own, "steps": STEPS, "samples": len(places)}
    if any(parts.read(folder, number)[1]["settings"] != settings for number in parts.numbers(folder)):
        parts.remove(folder)
    done, past, pools = set(parts.numbers(folder)), 0, pools_of(folder.manifest)
    bound = None if len(done) == len(pools) else _Bound.of(evidence)
    for number in pools:
        mine = of_pool(folder, number, places)
        past += len(mine)
        if number not in done:
            evidence.spent.clear()
            start = time.process_time()
            pool = _Pool.of(evidence, grid, mine)
            if len(mine):
                pool.bounded(bound)
                pool.inwards()
                pool.outwards()
            rows = {"forward": evidence.spent["forward"], "backward": evidence.spent["backward"]}
            notes = {"settings": settings, **rows, "cpu": time.process_time() - start}
            parts.write(folder, number, pool.reached(), notes, pool.witnesses())
        progress(Event("curve", past, len(places)))


@dataclass(frozen=True)
class _Bound:
    """Bounds of the plan, with the model traced once."""

    name: str
    method: Any
    graph: Any

    @staticmethod
    def of(evidence: Evidence) -> _Bound | None:
        """None where the plan has no bounds over boxes, or the run had to leave them out."""
        name = cheapest(evidence.verdicts)
        if not name:
            return None
        (stage,) = (stage for stage in evidence.plan.stages if stage.name == name and isinstance(stage, Bounds))
        x, _ = evidence.samples(torch.zeros(1, dtype=torch.long))
        return _Bound(name, stage.method, trace(evidence.model.module, x))


def cheapest(verdicts: Verdicts) -> str:
    """Of the run's bounds over boxes that certified something the one that costs a sample least; "" where none ran.

    Where none certified anything at the threat's radius, the cheapest of all: it may at smaller ones.
    """
    ran = [name for name, method in verdicts.folder.manifest["bounds"].items() if method != Exhaustive.name]
    costs = {name: found for name in ran if (found := verdicts.stage_costs(name))["entered"]}
    some = [name for name, found in costs.items() if found["decided"]] or list(costs)
    return min(some, key=lambda name: costs[name]["bounding"] / costs[name]["entered"], default="")


@dataclass
class _Pool:
    """The samples of a pool, a row each: what is known of their radius."""

    evidence: Evidence
    grid: Grid
    places: Tensor
    verdict: np.ndarray[Any, Any]
    certified: Tensor
    broken: Tensor
    x: Any = None
    y: Any = None
    points: Any = None
    """Where the next search starts: at the smallest witness, or at the last point of the last one."""
    method: list[str] = field(default_factory=list)
    new: set[int] = field(default_factory=set)
    """Rows whose witness the curve found."""

    @staticmethod
    def of(evidence: Evidence, grid: Grid, places: Tensor) -> _Pool:
        """What the verdicts say of these samples."""
        verdict = evidence.verdicts.verdict[places.numpy()]
        known = lambda which, radius, rest: torch.from_numpy(np.where(verdict == which, float(radius), float(rest)))
        radius = grid.radii[grid.own]
        pool = _Pool(evidence, grid, places, verdict, known("certified", radius, 0.0), known("wrong", 0.0, math.inf))
        pool.method = [""] * len(places)
        if len(places):
            pool._start()
        return pool

    def _start(self) -> None:
        """Inputs, the witnesses of what is broken, and random points around the rest."""
        evidence, threat = self.evidence, self.grid.threat
        self.x, self.y = evidence.samples(self.places)
        keys = content_keys(self.x, self.y).to(evidence.model.device)
        region = around(threat, self.places, self.x, evidence.model.box)
        self.points = region.sample(Rng.of(evidence.seed, keys).fold("curve"))
        rows = torch.from_numpy(np.flatnonzero(self.verdict == "broken"))
        if len(rows):
            there = evidence.witnesses(self.places[rows])
            region = region.take(rows.to(there.device))
            self.broken[rows] = region.size(points_of(region, there)).cpu().clamp_max(self.grid.radii[self.grid.own])
            self.points = self.points.index_copy(0, rows.to(there.device), there)

    def bounded(self, bound: _Bound | None) -> None:
        """Bisect among the radii for the largest that is certified."""
        if bound is None:
            return
        radii, own = self.grid.radii, self.grid.own
        proved = torch.from_numpy(self.verdict == "certified")
        low = torch.where(proved, own, 0)
        high = torch.where(proved, len(radii), own)
        high[torch.from_numpy(self.verdict == "wrong")] = 0
        while bool((high - low > 1).any()):
            middle = (low + high) // 2
            for k in middle[high - low > 1].unique().tolist():
                rows = ((middle == k) & (high - low > 1)).nonzero()[:, 0]
                holds = self._holds(bound, k, rows)
                low[rows[holds]], high[rows[~holds]] = k, k
        found = torch.tensor(radii, dtype=torch.float64)[low]
        self.method = [bound.name if more else "" for more in (found > self.certified).tolist()]
        self.certified = torch.maximum(self.certified, found)
        self._must_agree()

    def _holds(self, bound: _Bound, k: int, rows: Tensor) -> Tensor:
        at, ball = rows.to(self.y.device), of_rows(self.grid.ball(k), self.places[rows])
        proof = prove(
            bound.method, self.evidence.model, self.x[at], self.y[at], ball, rows=self.evidence.rows, radii=False,
            graph=bound.graph,
        )  # fmt: skip
        return proof.certified.cpu()

    def inwards(self) -> None:
        """What is broken, in ever smaller balls until a search fails: a smaller one is then said to hold as well."""
        open_ = torch.from_numpy(self.verdict == "broken")
        for k in range(self.grid.own - 1, 0, -1):
            radius = self.grid.radii[k]
            open_ &= self.certified < radius
            rows = (open_ & (self.broken > radius)).nonzero()[:, 0]
            open_[rows] = self._attacked(k, rows)

    def outwards(self) -> None:
        """What survived, in ever larger balls until a search succeeds."""
        open_ = torch.from_numpy(np.isin(self.verdict, ("certified", "undecided")))
        for k in range(self.grid.own + 1, len(self.grid.factors)):
            rows = (open_ & (self.certified < self.grid.radii[k])).nonzero()[:, 0]
            open_[rows] = ~self._attacked(k, rows)

    def _attacked(self, k: int, rows: Tensor) -> Tensor:
        """Search in ball number k from where these samples stand; which of them it breaks."""
        if not len(rows):
            return torch.zeros(0, dtype=torch.bool)
        at = rows.to(self.y.device)
        search = Ascent(STEPS, Step(STEP, relative=True), Given(self.points.index_select(0, at)))
        attack = recipes.pgd().replace(objective=Margin(), search=search)
        found = self.evidence.attack(attack, self.places[rows], self.grid.ball(k))
        won = found.success.cpu()
        moved = won | self.broken[rows].isinf()  # a witness stays where a search from it failed
        self.points = self.points.index_copy(0, at[moved.to(at.device)], found.adversarial[moved.to(at.device)])
        self.broken[rows[won]] = found.size.cpu()[won].clamp_max(self.grid.radii[k])
        self.new |= set(rows[won].tolist())
        self._must_agree()
        return won

    def _must_agree(self) -> None:
        """No certificate reaches as far as a witness."""
        wrong = torch.from_numpy(self.verdict == "wrong")
        both = ((self.certified >= self.broken) & ~wrong).nonzero()[:, 0].tolist()
        if both:
            sample = int(self.evidence.verdicts.index[int(self.places[both[0]])])
            raise SoundnessAlarm(
                f"sample {sample} is certified up to radius {float(self.certified[both[0]]):.6g}, and a change of size "
                f"{float(self.broken[both[0]]):.6g} breaks it: no certificate of this run can be believed. Please report it."
            )

    def reached(self) -> Reached:
        """The rows for the part."""
        places, verdicts = self.places.numpy(), self.evidence.verdicts
        method = np.array(self.method, dtype=object)
        return Reached(
            verdicts.index[places], verdicts.key_of(places), self.certified.numpy(), method, self.broken.numpy()
        )

    def witnesses(self) -> dict[str, Any]:
        """What the curve found, for the part."""
        if not self.new:
            return {}
        rows = torch.tensor(sorted(self.new))
        index = torch.from_numpy(self.evidence.verdicts.index[self.places[rows].numpy()].copy())
        return {"index": index, "adversarial": self.points[rows.to(self.points.device)].cpu()}
