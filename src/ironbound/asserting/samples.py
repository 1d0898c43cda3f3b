"""Samples in random order through the stages of a plan, a few at a time, each with what became of it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from ironbound.auditing.passing import Survey
from ironbound.auditing.pilot import PILOT, guarded
from ironbound.auditing.plan import Attacking, Plan, Stage
from ironbound.auditing.pools import Evaluation, Pool, audit_pool
from ironbound.auditing.run import admitted, traced, tried
from ironbound.auditing.sizes import usual_size
from ironbound.auditing.verdicts import RIGHT, turns
from ironbound.core import rows as rows_
from ironbound.core.errors import UsageError
from ironbound.core.progress import Listener
from ironbound.core.protocols import PerturbationSet
from ironbound.core.rng import Rng
from ironbound.data.dataset import Data
from ironbound.models.model import Model

KINDS = {"clean": (), "attacked": ("attack",), "certified": ("bound",)}
"""The kinds of stages that say whether a sample counts."""


@dataclass(frozen=True)
class Case:
    """What became of one sample."""

    index: int
    """Its number in the data source."""
    label: int
    verdict: str
    stage: str
    """Where the verdict was reached."""
    prediction: int | None
    """The answer that is wrong: to the input, or to the witness."""
    confidence: float | None
    margin: float | None
    """Of what decided, in logits: of an attack the goal's, of a bound what it proved of the label."""
    size: float | None
    clean: Any
    witness: Any
    """A batch of one each; None where there is no witness."""

    def counts(self, requirement: str) -> bool:
        """Whether it is a success of "clean", "attacked" or "certified" accuracy."""
        return self.verdict in RIGHT[requirement]


def order_of(survey: Survey, seed: int) -> Int[Tensor, " n"]:
    """Places in random order: a function of the seed and of the samples' own content, wherever they stand.

    Equal samples draw each for itself. By content alone they would be neighbours, and the first n samples no random ones.
    """
    by_key = survey.keys.argsort(stable=True)
    keys = survey.keys[by_key]
    copy = torch.from_numpy(turns(keys.numpy()))
    drawn = Rng.of(seed, keys).fold("asserted").fold(copy).unit()
    return by_key[drawn.argsort(stable=True)]


@dataclass(frozen=True)
class Stream:
    """The samples that are left to ask about, and how."""

    evaluation: Evaluation
    order: Int[Tensor, " n"]
    """The places of all samples, in the order in which they are asked about."""
    at_once: int
    """The most samples that go through the stages together."""
    data: Data
    survey: Survey
    notes: tuple[str, ...]

    def cases(self, start: int, count: int, requirements: set[str]) -> Iterator[Case]:
        """The samples from `start` on in the order, through the stages that these requirements hang on."""
        kinds = {kind for requirement in requirements for kind in KINDS[requirement]}
        stages = tuple(stage for stage in self.evaluation.plan.stages if stage.kind in kinds)
        places = self.order[start : start + count]
        samples = self.data.take(places)
        if self.data.streamed:
            self.survey.unchanged(samples, places)
        evaluation = replace(self.evaluation, plan=replace(self.evaluation.plan, stages=stages))
        yield from _cases(audit_pool(evaluation, samples, places), samples)


def _cases(pool: Pool, samples: Data) -> Iterator[Case]:
    places = {int(number): i for i, number in enumerate(samples.index.tolist())}
    rows = list[list[dict[str, Any]]]([] for _ in places)
    for record in pool.records:
        rows[places[record["index"]]].append(record)
    for i, records in enumerate(rows):
        clean, last = records[0], records[-1]
        found = last if last.get("prediction") is not None else clean
        yield Case(
            index=last["index"], label=last["label"], verdict=last["verdict"], stage=last["stage"],
            prediction=found.get("prediction"), confidence=found.get("confidence"), margin=last.get("margin"),
            size=last.get("size"), clean=rows_.take(pool.x, torch.tensor([i], device=pool.y.device)),
            witness=pool.witnesses.get(i),
        )  # fmt: skip


def stream_of(
    model: Model, data: Data, threat: PerturbationSet, plan: Plan, requirements: set[str],
    *, seed: int, rows: int | None, progress: Listener,
) -> Stream:  # fmt: skip
    """Check model, data, threat and plan against each other, and put the samples in order.

    Raises InputError, CompositionError, ModelError before the first attack; UsageError where nothing in the plan could meet a
    requirement.
    """
    plan, notes = _at_once(plan, requirements)
    survey = admitted(model, data)
    plan, refused = tried(model, data, threat, plan)
    with _quietly():
        graph, unbounded = traced(model, data, threat, plan)
    if "certified" in requirements and not any(s.kind == "bound" and s.name not in unbounded for s in plan.stages):
        why = next(iter(unbounded.values()), "") or f"the plan {plan.name} has no bounds that fit the threat."
        raise UsageError(f"certified_at_least: nothing can be certified: {why}")
    plan = plan.without(set(unbounded))
    notes += [*refused, *(f"{name} was left out: {why}" for name, why in unbounded.items())]
    evaluation = Evaluation(model, threat, plan, seed, rows, graph, progress=progress)
    left_out = guarded(evaluation, data, survey.smallest(PILOT))
    notes += left_out.values()
    evaluation = replace(evaluation, plan=plan.without(set(left_out)))
    if "certified" in requirements and not any(stage.kind == "bound" for stage in evaluation.plan.stages):
        raise UsageError(f"certified_at_least: every bound of the plan {plan.name} is too dear: {' '.join(notes)}")
    at_once = usual_size(data, model.device, alone=True)
    return Stream(evaluation, order_of(survey, seed), at_once, data, survey, tuple(notes))


def _at_once(plan: Plan, requirements: set[str]) -> tuple[Plan, list[str]]:
    """The plan's stages that are of use, each for every sample by itself: what becomes of a sample hangs on it alone.

    A stage that waits for the survivors of all samples does not wait here; one that follows such a stage is left out.
    """
    kinds = {kind for requirement in requirements for kind in KINDS[requirement]}
    for requirement in requirements:
        if requirement != "clean" and not any(stage.kind in KINDS[requirement] for stage in plan.stages):
            raise UsageError(
                f"{requirement}_at_least needs {'attacks' if requirement == 'attacked' else 'bounds'}, and the plan {plan.name} "
                'has none. Use method="standard", or leave the requirement out.'
            )
    stages, notes = list[Stage](), list[str]()
    for stage in plan.stages:
        if isinstance(stage, Attacking) and stage.after:
            continue
        if stage.kind in kinds:
            stages.append(replace(stage, most=None) if isinstance(stage, Attacking) else stage)
    return replace(plan, stages=tuple(stages), adaptive=False), notes


@contextmanager
def _quietly() -> Iterator[None]:
    """torch.export reports every step to its own logger; under pytest's capture it would fill the page of a failed test."""
    steps = logging.getLogger("torch.__trace")
    was, steps.propagate = steps.propagate, False
    try:
        yield
    finally:
        steps.propagate = was
