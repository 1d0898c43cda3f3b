"""What an audit says, as it stands in its JSON file: the one thing that a report is made of.

Every fraction comes with its count, its total and the ends of its 95% interval, so that no figure
can be printed without them.
"""

from __future__ import annotations

from typing import Literal, NotRequired

from typing_extensions import TypedDict  # what pydantic makes schemas of before Python 3.12

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
    radius: float | None
    """None where the threat has none, no end, or one for each sample."""
    text: str


class PilotStage(TypedDict):
    """What one stage did to the pilot's samples: how many it decided, at how many forward rows each."""

    decided: int
    cost: float


class PilotPlan(TypedDict):
    """What the pilot of an adaptive plan saw, and in words which stages do not pay."""

    samples: int
    right: int
    """How many of them were right when clean, and so went through the stages."""
    forward: int
    backward: int
    bounding: float
    stages: dict[str, PilotStage]
    left_out: dict[str, str]


class LastStage(TypedDict):
    """A stage behind the pools: on how many survivors (None: all), and which one has to break a sample first ("": none)."""

    name: str
    most: int | None
    after: str


class PlanFacts(TypedDict):
    """Which stages were planned, in order."""

    name: str
    stages: list[str]
    notes: NotRequired[list[str]]
    """What stands in for what was asked for, and which stages look at some samples only."""
    last: NotRequired[list[LastStage]]
    pilot: NotRequired[PilotPlan]


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
    """One stage: how many samples it saw, how many it decided, and what that cost in rows, seconds and CPU seconds."""

    name: str
    kind: Kind
    entered: int
    decided: int
    forward: int
    backward: int
    bounding: NotRequired[int]
    """What bounds cost beside them, in forward rows."""
    seconds: float
    cpu: float


class GroupFacts(TypedDict):
    """The samples of one class or slice, and the three fractions of them."""

    name: str
    total: int
    clean: Share
    attacked: Share
    certified: Share


class SliceFacts(TypedDict):
    """A further column of the data, its values with the most samples, and in words what was left out."""

    column: str
    groups: list[GroupFacts]
    note: str


class Extreme(TypedDict):
    """The worst or the best of several groups, with an interval that holds for all of them at once."""

    name: str
    count: int
    total: int
    fraction: float
    low: float
    high: float


class GapFacts(TypedDict):
    """The fairness gap of one table of groups: best minus worst share, with its 95% interval (auditing/gaps.py)."""

    column: str | None
    """The column whose values are the groups; None: the classes."""
    share: Literal["clean", "attacked"]
    groups: int
    """How many were compared: those listed that have samples."""
    worst: Extreme
    best: Extreme
    difference: float
    low: float
    high: float


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
    cpu: NotRequired[float]
    """CPU seconds that it took."""
    least: NotRequired[float]
    """Where it cannot tell for want of samples alone: the smallest gain that these could have shown, of the data set."""


class Confidence(TypedDict):
    """How far the evaluation can be believed."""

    grade: Grade
    text: str


class ChecksCost(TypedDict):
    """What all checks together ran and took."""

    forward: int
    backward: int
    cpu: float


class Cost(TypedDict):
    """What the stages cost that decided the verdicts; the checks stand apart."""

    forward: int
    backward: int
    bounding: NotRequired[int]
    seconds: float
    cpu: float
    checks: NotRequired[ChecksCost]


class PilotCost(TypedDict):
    """What the pilot of an adaptive plan took, beside the stages."""

    samples: int
    forward: int
    backward: int
    bounding: NotRequired[int]
    seconds: NotRequired[float]
    cpu: NotRequired[float]


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


class Alike(TypedDict):
    """How alike the attributions of clean inputs and of their witnesses are: medians over the samples; None: not defined."""

    cosine: float | None
    """Of the angle between them: 1 for the same, -1 for the opposite."""
    rank: float | None
    """Spearman's correlation of the magnitudes."""


class Attributions(TypedDict, total=False):
    """What spoke for the answers to a few samples, clean and as witness; or only why that was not looked at."""

    left_out: str
    methods: list[str]
    samples: int
    """Broken ones, those with the smallest keys."""
    steps: int
    """Of integrated gradients, by Gauss-Legendre quadrature."""
    baseline: float
    """The input value from which they start."""
    forward: int
    """Model rows that were run."""
    backward: int
    gap: float
    """The largest gap of completeness, as a share of the magnitudes of a sample's values, or of the sum that is due."""
    alike: dict[str, Alike]


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
    classes: list[GroupFacts]
    slices: list[SliceFacts]
    slice_by: NotRequired[list[str]]
    """The columns that were asked for, where some were; else every further column is one of the slices."""
    gaps: NotRequired[list[GapFacts]]
    checks: list[Check]
    confidence: Confidence
    notes: NotRequired[list[str]]
    """What the run left out, and why."""
    pending: NotRequired[list[str]]
    """In words, the stages behind the pools that have not been run yet."""
    cost: Cost
    pilot: NotRequired[PilotCost | None]
    seed: int
    environment: dict[str, str]
    fingerprints: dict[str, str]
    curve: NotRequired[Curve]
    attributions: NotRequired[Attributions]
    shard: NotRequired[dict[str, int]]
    """Which part of an audit this is: number, of."""


Outcome = Literal["pass", "below", "above", "cannot tell", "fail"]


class Condition(TypedDict):
    """One thing that a gate asks of a run, and how it came out."""

    name: str
    """As it was asked: "attacked at least 0.45", "no red checks", "attacked may drop by 0.01"."""
    kind: Literal["clean", "attacked", "certified", "checks", "drop"]
    outcome: Outcome
    reason: str
    """One line: the figure with its interval, and what is missing."""
    wanted: NotRequired[float]
    share: NotRequired[Share]
    """The fraction that was held against `wanted`."""
    drop: NotRequired[list[float]]
    """Of the baseline: the paired drop and both ends of its interval."""
    more: NotRequired[int]
    """Where it cannot tell: about how many more samples would."""
    confidence: NotRequired[float]
    """Of its interval, two-sided; that of the gate where nothing is said."""


class GateFacts(TypedDict):
    """What a gate said of a run."""

    passed: bool
    reason: str
    """One line."""
    conditions: list[Condition]
    run: str
    baseline: NotRequired[str]
    notes: NotRequired[list[str]]
    """What speaks against a figure or a comparison, and stands in the reason too."""
    confidence: NotRequired[float]
    """Of all intervals, two-sided; 0.95 where nothing is said."""
