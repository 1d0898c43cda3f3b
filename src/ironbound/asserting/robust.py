"""`assert_robust`: an assertion about a model that takes no more samples than it needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ironbound.asserting.found import Found, NotRobust, Tally
from ironbound.asserting.samples import Stream, stream_of
from ironbound.asserting.sequential import Sequential
from ironbound.asserting.session import Session, current
from ironbound.core import rows as rows_
from ironbound.core.errors import UsageError
from ironbound.core.progress import Event, Listener, silent
from ironbound.core.protocols import PerturbationSet
from ironbound.models.model import Model
from ironbound.names import plan_must_fit, plan_named, radius_must_fit, set_of
from ironbound.showing.words import size_in

if TYPE_CHECKING:
    from ironbound.auditing.plan import Plan
    from ironbound.core.attack import Attack
    from ironbound.core.cascade import Cascade

FEW = 16
"""Samples that go through the stages together at least: fewer cost as much time."""


def assert_robust(
    model: Any,
    data: Any,
    *,
    threat: PerturbationSet | str,
    attacked_at_least: float | None = None,
    certified_at_least: float | None = None,
    clean_at_least: float | None = None,
    method: str | Path | Attack | Cascade | Plan = "standard",
    confidence: float | None = None,
    seed: int | None = None,
    samples: int | None = None,
    rows: int | None = None,
    names: Sequence[str] | None = None,
    name: str = "",
    out: str | Path | None = None,
    progress: Listener | None = None,
) -> Found:
    """Raise NotRobust (an AssertionError) unless the model is as accurate as is asked for, on the data's population.

    Parameters
    ----------
    model, data, threat: as for `audit`.
    attacked_at_least: the share, in [0, 1], that is right and that no attack of the method breaks within the threat. It is an
        upper bound of the true robust accuracy: a stronger attack may find more. Wrong when clean counts as attacked.
    certified_at_least: the share that is right and that a bound of the method proves robust: a lower bound of it.
    clean_at_least: the share that is right without any attack. At least one of the three is given.
    method: a plan's name ("standard", "quick", "thorough"), an attack's, a Plan or its file. Of its stages those run that
        a requirement hangs on, on each sample by itself; no pilot, no stage that waits for all samples (see docs/pytest.md).
    confidence: 0.95, or what `--ironbound-confidence` says. A model below the threshold passes, and one at or above it is found
        to be below, in (1 - confidence) / 2 of all cases at most, each.
    seed: of the samples' order and the attacks' draws; 0, or what `--ironbound-seed` says. The result is a function of it and
        of model and data: another batch size or order of the data changes nothing.
    samples: a random subset of the data of at most so many is used at most; None, or `--ironbound-samples`: all of them.
    names: of the classes; those of the data where it has them. name: what a message begins with.
    out: where a failure's page of the worst witnesses is written, a file .html or a folder; without it, in a test that pytest
        runs in its `tmp_path`, and elsewhere nowhere.
    rows, progress: as for `audit`; they change no result.

    Samples are taken in random order until the sequential test (see `ironbound.asserting.sequential`) has decided, so that the
    clearer the case the fewer there are: of a threshold of 0.45, in the median 11, 47, 216 and 985 where the truth is 0.90,
    0.65, 0.55 and 0.50. At the threshold itself no number decides; running out of samples is a failure that says so.

    Returns what was found, with a confidence sequence (an interval that holds though the test stopped when it knew).
    Raises UsageError for wrong arguments before the first pass, and what `audit` raises for model and data.

    >>> assert_robust(net, (x, y), threat="linf:0.03", attacked_at_least=0.45)  # doctest: +SKIP
    """
    __tracebackhide__ = True  # pytest shows the line of the test instead
    asked = {"clean": clean_at_least, "attacked": attacked_at_least, "certified": certified_at_least}
    session = current()
    confidence = _confidence(session.confidence if confidence is None else confidence)
    tallies = _tallies(asked, confidence)
    seed = session.seed if seed is None else seed
    samples = session.samples if samples is None else samples
    stream, facts = _prepared(model, data, threat, method, set(asked) & {t.requirement for t in tallies}, samples, seed, rows,
                              progress or silent)  # fmt: skip
    used = _decide(stream, tallies)
    failed = any(tally.result in ("below", "cannot tell") for tally in tallies)
    found = Found(
        figures=tuple(tally.figure(confidence, failed) for tally in tallies),
        **facts, confidence=confidence, seed=seed, used=used, available=len(stream.order), name=name,
        names=tuple(names or stream.data.classes or ()), notes=(*stream.notes, *_masked(tallies, _weak(stream))),
    )  # fmt: skip
    if not found.passed:
        found = _with_the_worst(found, tallies, stream, session, out)
    session.record(found.as_dict())
    if not found.passed:
        raise NotRobust(found)
    return found


def _confidence(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0.5 <= value < 1:
        raise UsageError(f"confidence is a share from 0.5 to below 1, such as 0.95; got {value!r}.")
    return float(value)


def _tallies(asked: dict[str, Any], confidence: float) -> list[Tally]:
    given = {requirement: value for requirement, value in asked.items() if value is not None}
    if not given:
        raise UsageError(
            "nothing is required: give attacked_at_least, certified_at_least or clean_at_least, shares in [0, 1]."
        )
    for requirement, value in given.items():
        if isinstance(value, bool) or not hasattr(value, "__float__") or not 0 <= float(value) <= 1:
            raise UsageError(f"{requirement}_at_least is a share from 0 to 1, such as 0.45 for 45%; got {value!r}.")
    return [Tally(name, Sequential.at(float(value), confidence, len(given))) for name, value in given.items()]


def _prepared(
    model: Any, data: Any, threat: Any, method: Any, requirements: set[str], samples: int | None, seed: int,
    rows: int | None, progress: Listener,
) -> tuple[Stream, dict[str, Any]]:  # fmt: skip
    """The samples in order, and in words against what and by what they are tried."""
    from ironbound.auditing.manifest import threat_facts
    from ironbound.auditing.report.wording import threat as in_words
    from ironbound.data import load

    wrapped, plan, wanted = Model.of(model), plan_named(method), set_of(threat)
    loaded = load(data, samples=samples, seed=seed)
    chosen = rows_.of_rows(wanted, loaded.index)
    radius_must_fit(chosen, wrapped, loaded.first)
    plan_must_fit(plan, chosen)
    fitted = plan.against(chosen)
    stream = stream_of(wrapped, loaded, chosen, fitted, requirements, seed=seed, rows=rows, progress=progress)
    said: Any = {"threat": threat_facts(chosen, wrapped.box)}
    return stream, {"threat": in_words(said), "method": plan.name if requirements != {"clean"} else ""}


def _decide(stream: Stream, tallies: list[Tally]) -> int:
    """Take samples until all requirements are met, one is not, or no sample that is left can decide one; how many were heard.

    Batches grow with what is still needed at least. What is past the deciding sample is not counted, so that the size of a
    batch changes no result.
    """
    at, most, tell = 0, len(stream.order), stream.evaluation.progress
    while True:
        waiting = [tally for tally in tallies if not tally.result]
        for tally in waiting:
            _give_up(tally, most)
        if not waiting or any(tally.result in ("below", "cannot tell") for tally in tallies):
            return max(tally.total for tally in tallies)
        least = min(tally.test.least(tally.count, tally.total, stream.at_once) for tally in waiting)
        size = min(max(FEW, least, at // 2), stream.at_once, most - at)
        for case in stream.cases(at, size, {tally.requirement for tally in waiting}):
            for tally in waiting:
                tally.hear(case)
                _give_up(tally, most)
            if any(tally.result in ("below", "cannot tell") for tally in tallies):
                break
        for tally in waiting:
            tally.tidy()
        at += size
        tell(Event("samples", at, most))


def _give_up(tally: Tally, most: int) -> None:
    """Say so where no sample that is left can decide it: asked after each sample, or a batch's size would show in the figures."""
    if not tally.result and not tally.test.open(tally.count, tally.total, most):
        tally.result = "cannot tell"


def _masked(tallies: list[Tally], weak: set[str]) -> list[str]:
    """A sentence where weak attacks broke what strong ones left."""
    attacked = [tally.kinds for tally in tallies if tally.requirement == "attacked"]
    broken = sum(kinds["broken", stage] for kinds in attacked for stage in weak)
    if not broken:
        return []
    return [
        f"{broken} of the broken samples withstood the strong attacks and fell to one without gradients or of a single step: "
        "gradients may be masked, and the truth be worse. Run ironbound audit."
    ]


def _weak(stream: Stream) -> set[str]:
    """The names of the attacks that are there to notice that strong ones failed."""
    return {stage.name for stage in stream.evaluation.plan.stages if stage.witness}


def _with_the_worst(
    found: Found, tallies: list[Tally], stream: Stream, session: Session, out: str | Path | None
) -> Found:
    """The samples that speak against the first requirement that failed, and a page of them."""
    from ironbound.asserting.page import write

    first = next(t for word in ("below", "cannot tell") for t in tallies if t.result == word)
    sizes = ("" if case.size is None else size_in(stream.evaluation.threat, case.size) for case in first.against)
    found = replace(found, against=tuple(first.against), sizes=tuple(sizes), kinds=dict(first.kinds))
    page = session.page(out) if first.against else None
    if page is None:
        return found
    written, why = write(found, stream, page)
    return replace(found, page=written, notes=(*found.notes, *why))
