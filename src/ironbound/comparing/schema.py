"""What a comparison says, as it stands in compare.json."""

from __future__ import annotations

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

from ironbound.auditing.report.schema import Bracket, DataFacts, Extreme, Grade, Share, ThreatFacts


class Named(TypedDict):
    """A model by name and content."""

    name: str
    fingerprint: str
    parameters: int


class State(TypedDict):
    """The state of the checks of one audit."""

    state: str
    grade: Grade


ClassShare = TypedDict(
    "ClassShare",
    {"class": str, "classes": int, "count": int, "total": int, "fraction": float, "low": float, "high": float},
)
"""The share of the class that holds least, of so many classes."""


class WorstClass(TypedDict):
    """The class of which least is right; null where there is one class alone."""

    clean: ClassShare | None
    attacked: ClassShare | None


class HeldOutStage(TypedDict):
    """An attack of the audit, and whether the training met its kind."""

    name: str
    kind: str
    trained_on: bool | None
    broken: Share
    """Of what the stage saw."""


class HeldOut(TypedDict):
    """What attacks of kinds that were not trained on broke."""

    kinds_trained_on: list[str] | None
    broken: Share | None
    """Of all samples."""
    stages: list[HeldOutStage]


class Took(TypedDict):
    """What a training took."""

    epochs: int
    seconds: float
    cpu: float | None
    rows: int | None
    """Rows through the model."""


class TrainingFacts(TypedDict):
    """How a model was trained."""

    method: str
    settings: Any
    threat: str
    rows: int
    """Of data."""
    took: Took
    device: str
    processes: int
    threads: str
    torch: str


class Rate(TypedDict):
    """A share in points by the minute, and the ends of its 95% interval."""

    fraction: float
    low: float
    high: float


class PerMinute(TypedDict):
    """Attacked accuracy by the minute of training, by the clock and of the processor."""

    unit: str
    clock: Rate | None
    cpu: Rate | None


class CleanCost(TypedDict):
    """What a model gives away when clean: the share right in the baseline alone minus the share right in this model alone."""

    against: str
    """The baseline's name."""
    lost: int
    gained: int
    total: int
    difference: float
    low: float
    high: float
    """The ends of its 95% interval, sample by sample (Tango 1998)."""


class Gap(TypedDict):
    """The fairness gap by class: best minus worst share, with a 95% interval that knows that both were picked."""

    groups: int
    worst: Extreme
    best: Extreme
    difference: float
    low: float
    high: float


class Gaps(TypedDict):
    """When clean and under attack; null where there is one class alone."""

    clean: Gap | None
    attacked: Gap | None


class Ran(TypedDict):
    """What the audit looked for: without attacks, "attacked" is what is right when clean."""

    attacks: bool
    bounds: bool


class Compared(TypedDict):
    """One model of a scope."""

    name: str
    role: Literal["start", "trained", "audited"]
    folder: str
    model: Named
    clean: Share
    attacked: Share
    certified: Share
    bracket: Bracket
    checks: State
    doubted: bool
    worst_class: WorstClass
    ran: NotRequired[Ran]
    clean_cost: NotRequired[CleanCost | None]
    """Null where there is nothing to hold the model against."""
    gap: NotRequired[Gaps]
    threat_trained_on: Literal["same", "other radius", "other norm", "none"] | None
    held_out: HeldOut
    training: TrainingFacts | None
    seconds: float | None
    robust_per_minute: PerMinute
    front: bool | None
    """Whether no other model is at least as good in clean and attacked accuracy and time; null: the time is not known."""


class Cell(TypedDict):
    """What the witnesses of one model break of another."""

    of_right: Share
    of_witnesses: Share


Transfer = TypedDict("Transfer", {"way": str, "from": list[str], "to": list[str], "cells": list[list[Cell]]})
"""Each row a model whose witnesses were kept, each column a model that they were tried on."""


class Scope(TypedDict):
    """Models whose figures may stand side by side: the same samples, the same threat, the same plan."""

    data: DataFacts
    threat: ThreatFacts
    plan: str
    text: str
    notes: list[str]
    models: list[Compared]
    transfer: NotRequired[Transfer | None]


class Skipped(TypedDict):
    """A folder that held nothing to compare, and why."""

    folder: str
    why: str


class ComparisonFacts(TypedDict):
    """Everything that a comparison found."""

    schema: int
    ironbound: str
    scopes: list[Scope]
    skipped: NotRequired[list[Skipped]]
