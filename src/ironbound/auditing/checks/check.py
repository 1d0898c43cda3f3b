"""What a check is, what it may look at, and the grade of confidence that all of them give together."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ironbound.auditing.inside import around, kept, points_of
from ironbound.auditing.passing import surveyed
from ironbound.auditing.plan import Attacking, Plan
from ironbound.auditing.pools import GOAL
from ironbound.auditing.prices import counted
from ironbound.auditing.report.schema import Check as CheckFacts
from ironbound.auditing.report.schema import Result, Severity
from ironbound.auditing.verdicts import Verdicts
from ironbound.core import rows as rows_
from ironbound.core.attack import Attack
from ironbound.core.errors import CompositionError
from ironbound.core.predict import predict
from ironbound.core.progress import Event, Listener, silent
from ironbound.core.protocols import Can, PerturbationSet
from ironbound.core.result import Result as Attacked
from ironbound.core.rng import Rng, content_keys
from ironbound.data.dataset import Data
from ironbound.models.model import Model
from ironbound.recipes.draws import fitted

FEW = 64
"""Samples that costly checks look at, at most: those with the smallest keys."""
LEAST = 8
"""Samples that a check looks at in any case, where there are so many."""


@dataclass(frozen=True)
class Evidence:
    """What checks may look at: the model, the data, the finished verdicts and the witnesses."""

    model: Model
    data: Data
    threat: PerturbationSet
    plan: Plan
    verdicts: Verdicts
    witness: Callable[..., Any]
    """The adversarial input of the sample at a place; with "points", the point that was kept beside it."""
    seed: int = 0
    rows: int | None = None
    manifest: dict[str, Any] | None = None
    spent: Counter[str] = field(default_factory=Counter)
    """Model rows that checks have run so far, "forward" and "backward"."""
    allowed: float = math.inf
    """Counted rows (a backward row is two) that the check which is looking may plan for."""

    def afford(self, most: int, rows: int, least: int = LEAST) -> int:
        """How many samples a check may look at, where each costs up to so many counted rows.

        At least `least`, below which it would learn nothing: so that checks of small audits cost more than their share.
        """
        return most if math.isinf(self.allowed) else min(most, max(least, int(self.allowed // max(1, rows))))

    def samples(self, places: Tensor) -> tuple[Any, Tensor]:
        """Inputs and labels of some samples, as the model takes them."""
        return self.model.admit(rows_.take(self.data.x, places), self.data.y[places])

    def ends(self) -> tuple[float, float]:
        """The smallest and the largest value of the inputs, as the pass before the run found them."""
        known = (self.manifest or {}).get("data", {})
        if isinstance(known.get("low"), float) and isinstance(known.get("high"), float):
            return known["low"], known["high"]
        found = surveyed(self.data)
        return (math.nan if found.low is None else found.low), (math.nan if found.high is None else found.high)

    def witnesses(self, places: Tensor) -> Any:
        """The adversarial inputs of broken samples, on the model's device."""
        return rows_.to(rows_.join([self.witness(int(i)) for i in places]), self.model.device)

    def points(self, region: Any, places: Tensor, adversarial: Any) -> Any:
        """The points of broken samples in their region."""
        if not kept(self.threat):
            return points_of(region, adversarial)
        stored = [self.witness(int(i), "points") for i in places]
        lost = any(point is None for point in stored)
        return points_of(region, adversarial, None if lost else rows_.to(rows_.join(stored), self.model.device))

    def attack(
        self, attack: Attack, places: Tensor, threat: PerturbationSet | None = None, *, model: Model | None = None,
        turn: int = 0,
    ) -> Attacked:  # fmt: skip
        """Run an attack on some samples, with another set or model than the audit's where one is given.

        Another `turn` has other draws.
        """
        x, y = self.samples(places)
        ready = fitted(attack.against(rows_.of_rows(threat or self.threat, places)), self.model)
        found: Attacked = ready(
            model or self.model, x, y, seed=self.seed + turn, keys=content_keys(x, y), rows=self.rows
        )
        self.spent.update(forward=int(found.forward.sum()), backward=int(found.backward.sum()))
        return found

    def answers(self, x: Any, rng: Rng, model: Model | None = None, rows: int | None = None) -> Tensor:
        """What the model says of admitted inputs, counted."""
        self.spent["forward"] += rows_.count(x)
        out: Tensor = predict(model or self.model, x, rng, rows=rows or self.rows)
        return out

    def tried(self, attack: Attack, places: Tensor) -> Attacked | None:
        """The same; None where an attack that fits the kind of set turns out to want an end of it."""
        try:
            return self.attack(attack, places)
        except CompositionError:
            return None

    def fits(self, attack: Attack) -> bool:
        """Whether the threat offers what an attack needs."""
        try:
            attack.against(self.threat)
        except CompositionError:
            return False
        return True

    def drawable(self, places: Tensor) -> bool:
        """Whether one can draw from the threat around these samples: not where it has no end."""
        if Can.SAMPLE not in self.threat.can:
            return False
        x, y = self.samples(places)
        try:
            around(self.threat, places, x, self.model.box).sample(
                Rng.of(self.seed, content_keys(x, y).to(self.model.device))
            )
        except CompositionError:
            return False
        return True

    @property
    def attacks(self) -> list[Attacking]:
        """The plan's attacks that are no mere witnesses."""
        return [s for s in self.plan.stages if isinstance(s, Attacking) and not s.witness]

    @property
    def by_gradient(self) -> list[Attacking]:
        """Those of them that climb gradients."""
        return [s for s in self.attacks if Can.GRADIENT in s.single.search.needs]

    def differentiable(self) -> bool:
        """Whether gradients of the inputs can be asked for."""
        real = Can.PROJECT in self.threat.can  # of numbered changes there is no gradient
        return real and isinstance(self.data.first, Tensor) and self.model.outputs != "decisions"


@dataclass(frozen=True)
class CheckResult:
    """What a check found."""

    result: Result
    evidence: str
    next: str = ""
    least: float | None = None
    """Where it cannot tell for want of samples alone: the smallest gain that these could have shown, of the data set."""


@dataclass(frozen=True)
class Check:
    """One question, its severity where the answer is no, and what it means."""

    number: int
    name: str
    question: str
    severity: Severity
    meaning: str
    look: Callable[[Evidence], CheckResult]
    share: float = 0.0
    """Of what is left of the budget when its turn comes, as much as it may plan for; 0 where a few rows are all it runs."""

    def facts(self, found: CheckResult, spent: Counter[str] | None = None, cpu: float = 0.0) -> CheckFacts:
        """The check, what it found, the rows that it ran and the CPU seconds it took, as the report wants them."""
        spent = spent or Counter()
        facts: CheckFacts = {
            "number": self.number, "name": self.name, "question": self.question, "result": found.result,
            "severity": self.severity, "evidence": found.evidence, "meaning": self.meaning, "next": found.next,
            "forward": spent["forward"], "backward": spent["backward"], "cpu": cpu,
        }  # fmt: skip
        return facts if found.least is None else {**facts, "least": found.least}


CHECKS: dict[int, Check] = {}


def check(
    number: int, name: str, question: str, severity: Severity, meaning: str, *, share: float = 0.0
) -> Callable[[Any], Any]:
    """Register a check. Numbers and sources are those of docs/checks.md."""

    def register(look: Callable[[Evidence], CheckResult]) -> Callable[[Evidence], CheckResult]:
        CHECKS[number] = Check(number, name, question, severity, meaning, look, share)
        return look

    return register


def run_checks(evidence: Evidence, progress: Listener = silent, budget: float = math.inf) -> list[CheckFacts]:
    """All checks by number; together they plan for no more than a budget of counted rows, as far as `Evidence.afford` lets them.

    Those that run few rows come first, then red ones, then amber ones: what one leaves of its share, the next may plan for.
    """
    turns = sorted(CHECKS.values(), key=lambda one: (one.share > 0, one.severity != "red", one.number))
    found = []
    for done, one in enumerate(turns):
        evidence.spent.clear()
        start = time.process_time()
        result = _looked(one, replace(evidence, allowed=one.share * max(0.0, budget) if one.share else math.inf))
        budget -= counted(evidence.spent["forward"], evidence.spent["backward"])
        found.append(one.facts(result, evidence.spent, time.process_time() - start))
        progress(Event("checks", done + 1, len(turns)))
    return sorted(found, key=lambda facts: facts["number"])


def _looked(check: Check, evidence: Evidence) -> CheckResult:
    """What a check finds; an attack of its own that does not fit set or model is no finding."""
    try:
        return check.look(evidence)
    except CompositionError as error:
        return CheckResult("not applicable", f"Its attack does not fit: {error}")


def margins(evidence: Evidence, x: Any, y: Tensor, model: Model | None = None, rows: int | None = None) -> Tensor:
    """The goal's margin at inputs that are already admitted."""
    rng = Rng.of(evidence.seed, content_keys(x, y).to(evidence.model.device))
    return GOAL.margin(evidence.answers(x, rng, model, rows), y)


def percent(count: int | float, total: int) -> str:
    """A share for a sentence."""
    return f"{count} of {total} ({100 * count / total:.1f}%)" if total else "0 of 0"


def several(x: Any) -> bool:
    """Whether rows are tensors of numbers."""
    return isinstance(x, torch.Tensor) and x.is_floating_point()
