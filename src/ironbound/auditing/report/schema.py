"""What an audit says, as it stands in its JSON file: the one thing that a report is made of.

Every fraction comes with its count, its total and the ends of its 95% interval, so that no figure
can be printed without them.
"""

from __future__ import annotations

from typing import Literal, NotRequired, TypedDict

Result = Literal["pass", "fail", "cannot tell", "not applicable"]
Severity = Literal["red", "amber", "info"]
Grade = Literal["high", "moderate", "low", "none"]
Kind = Literal["clean", "bound", "attack"]
Part = Literal["wrong", "broken", "certified", "undecided"]


class ModelFacts(TypedDict):
    """The model that was audited."""

    name: str
    fingerprint: str
    parameters: int
    outputs: str
    range: list[float] | None


class DataFacts(TypedDict):
    """The data set: how many rows it has, and how many samples of it were audited."""

    name: str
    fingerprint: str
    rows: int
    samples: int
    classes: list[str]


class ThreatFacts(TypedDict):
    """What the attacker may do."""

    spec: str
    norm: str
    radius: float
    text: str


class PlanFacts(TypedDict):
    """Which stages were planned, in order."""

    name: str
    stages: list[str]


class Share(TypedDict):
    """A fraction of the samples, with its exact (Clopper-Pearson) 95% interval."""

    count: int
    total: int
    fraction: float
    low: float
    high: float


class Bracket(TypedDict):
    """Certified and attacked fraction, and the outer ends of their intervals."""

    low: float
    high: float
    interval: list[float]


class Verdicts(TypedDict):
    """How many samples ended as what."""

    wrong: int
    broken: int
    certified: int
    undecided: int


class Stage(TypedDict):
    """One stage: how many samples it saw, how many it decided, and what that cost."""

    name: str
    kind: Kind
    entered: int
    decided: int
    forward: int
    backward: int
    seconds: float


class ClassFacts(TypedDict):
    """One class: its samples and the three fractions of them."""

    name: str
    total: int
    clean: float
    attacked: float
    certified: float


class Check(TypedDict):
    """One question about the evaluation itself, with its answer and what to do next."""

    number: int
    name: str
    question: str
    result: Result
    severity: Severity
    evidence: str
    meaning: str
    next: str
    forward: NotRequired[int]
    """Model rows that the check ran."""
    backward: NotRequired[int]


class Confidence(TypedDict):
    """How far the evaluation can be believed."""

    grade: Grade
    text: str


class Cost(TypedDict):
    """What the whole audit cost, its checks included."""

    forward: int
    backward: int
    seconds: float


class CurveCost(TypedDict):
    """What the curve cost, beside the stages: model rows, and seconds of the processor."""

    forward: int
    backward: int
    cpu: float


class Curve(TypedDict, total=False):
    """Both ends of the bracket at each of several radii, on some or all samples; or only why there is none."""

    left_out: str
    radii: list[float]
    """Ascending from 0, where both ends are what is right when clean."""
    own: int
    """Which of them is the threat's."""
    steps: int
    """Of each search at another radius."""
    samples: int
    """Those with the smallest keys, of the `total` that the audit has."""
    total: int
    attacked: list[Share]
    certified: list[Share]
    cost: CurveCost


class Audit(TypedDict):
    """Everything that a report needs to know."""

    schema: int
    ironbound: str
    created: str
    title: str
    model: ModelFacts
    data: DataFacts
    threat: ThreatFacts
    plan: PlanFacts
    clean: Share
    attacked: Share
    certified: Share
    bracket: Bracket
    verdicts: Verdicts
    stages: list[Stage]
    classes: list[ClassFacts]
    checks: list[Check]
    confidence: Confidence
    notes: NotRequired[list[str]]
    """What the run left out, and why."""
    cost: Cost
    seed: int
    environment: dict[str, str]
    fingerprints: dict[str, str]
    curve: NotRequired[Curve]
    shard: NotRequired[dict[str, int]]
    """Which part of an audit this is: number, of."""
