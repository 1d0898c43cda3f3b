"""A gate: what is asked of a run, how each of it came out, and the reason in one line."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from ironbound.auditing.curve.draw import UNSOUND
from ironbound.auditing.gate.baseline import Pairs
from ironbound.auditing.gate.floors import floor_outcome, more_for_floor
from ironbound.auditing.gate.paired import Drop, drop_outcome, more_for_drop
from ironbound.auditing.gate.reading import Reading, reading
from ironbound.auditing.intervals import CONFIDENCE, Share
from ironbound.auditing.report import wording
from ironbound.auditing.report.schema import Condition, GateFacts, Outcome
from ironbound.auditing.verdicts import RIGHT
from ironbound.core.errors import UsageError
from ironbound.core.text import json_text

KINDS = tuple(RIGHT)
ALARM = 28
"""The check that no certified sample was broken."""
UNATTACKED = "no attack was run, so that it would only be what is right when clean"


@dataclass(frozen=True, eq=False)
class Gate:
    """What a gate said; true where the run passed."""

    facts: GateFacts
    """All of it as plain data: what `to_json` writes and the other forms of a run take."""

    def __bool__(self) -> bool:
        return self.facts["passed"]

    @property
    def reason(self) -> str:
        """One line: PASS or FAIL, and why."""
        return self.facts["reason"]

    @property
    def conditions(self) -> list[Condition]:
        """Each thing that was asked for, and how it came out."""
        return list(self.facts["conditions"])

    def to_json(self) -> str:
        """The facts as JSON."""
        return json_text(self.facts)

    def __str__(self) -> str:
        return self.reason

    def __repr__(self) -> str:
        return f"Gate({self.reason!r})"


def gate(
    run: Any,
    *,
    attacked_at_least: float | None = None,
    certified_at_least: float | None = None,
    clean_at_least: float | None = None,
    no_red_checks: bool = False,
    baseline: Any = None,
    allow_drop: float | Mapping[str, float] | None = None,
    confidence: float = CONFIDENCE,
) -> Gate:
    """Hold a finished run against figures, and against an earlier run on the same samples.

    Parameters
    ----------
    run, baseline: Audits, or folders of finished runs; of a hardening the audit of what it made counts.
    attacked_at_least, certified_at_least, clean_at_least: fractions from 0 to below 1. A floor passes where the lower end of
        the figure's two-sided interval (Clopper-Pearson, as in the report) is at least the figure. Else it fails, as
        "below" where the upper end is below, or as "cannot tell", with about how many more samples would tell if the
        observed rate stays.
    no_red_checks: fail where a red check failed, and where the checks are pending.
    allow_drop: how much of the attacked accuracy may be lost since the baseline, or a mapping such as
        {"attacked": 0.01, "clean": 0.02}. A drop passes where the upper end of its paired interval (Tango 1998) on the
        samples that both runs have is at most that. It is 0 for certain where the model is the same.
    confidence: of all intervals, two-sided, from 0.5 to below 1.

    Raises UsageError where nothing is asked for, or what cannot be; RunError for runs that are not finished, altered, shards,
    or not to be compared: of another threat, range or plan, or with no sample in common.
    """
    floors = {"clean": clean_at_least, "attacked": attacked_at_least, "certified": certified_at_least}
    wanted = {kind: _fraction(f"{kind}_at_least", value) for kind, value in floors.items() if value is not None}
    allowed = _allowed(allow_drop)
    _must_ask(wanted, no_red_checks, baseline, allowed, confidence)
    read = reading(run)
    conditions = [_floor(read, kind, figure, confidence) for kind, figure in wanted.items()]
    notes = [] if no_red_checks else _doubts("", read)
    if no_red_checks:
        conditions.append(_checks(read))
    facts: GateFacts = {"passed": False, "reason": "", "conditions": conditions, "run": str(read.path)}
    if baseline is not None:
        old = reading(baseline)
        pairs = Pairs(read, old)
        conditions += [_drop(pairs, kind, figure, confidence) for kind, figure in allowed.items()]
        notes += [*pairs.notes, *_doubts("the baseline: ", old)]
        facts["baseline"] = str(old.path)
    facts["passed"] = all(condition["outcome"] == "pass" for condition in conditions)
    facts["reason"] = _reason(read, facts["passed"], conditions, notes)
    facts["notes"], facts["confidence"] = notes, confidence
    return Gate(facts)


# ----------------------------------------------------------------------------------------------------- what is asked for
def _fraction(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
        raise UsageError(f"{name} is a fraction from 0 to below 1, such as 0.45; got {value!r}.")
    if value == 1:
        raise UsageError(f"{name}=1: no number of samples can show that all are right. Ask for less, such as 0.99.")
    if value > 1:
        hint = f" Did you mean {value / 100:g}?" if value <= 100 else ""
        raise UsageError(f"{name} is a fraction from 0 to below 1; got {value!r}.{hint}")
    return float(value)


def _allowed(given: Any) -> dict[str, float]:
    """What may drop, by fraction; a number alone is meant for the attacked one."""
    if given is None:
        return {}
    named = dict(given) if isinstance(given, Mapping) else {"attacked": given}
    strange = [str(kind) for kind in named if kind not in KINDS]
    if strange or not named:
        raise UsageError(
            f"allow_drop is for {', '.join(KINDS)}, such as attacked=0.01; got {', '.join(strange) or 'none'}."
        )
    return {kind: _fraction(f"allow_drop of {kind}", value) for kind, value in named.items()}


def _must_ask(wanted: Any, no_red_checks: bool, baseline: Any, allowed: Any, confidence: Any) -> None:
    if not isinstance(confidence, (int, float)) or not 0.5 <= confidence < 1:
        raise UsageError(f"confidence is from 0.5 to below 1, such as 0.95; got {confidence!r}.")
    if allowed and baseline is None:
        raise UsageError("a drop is one since a baseline: name its run (--baseline runs/main).")
    if baseline is not None and not allowed:
        raise UsageError("a baseline is there to say what may be lost since: add how much (--allow-drop 0.01).")
    if not (wanted or no_red_checks or allowed):
        raise UsageError(
            "a gate asks for something: --attacked-at-least 0.45, --certified-at-least, --clean-at-least, --no-red-checks, or "
            "--baseline with --allow-drop."
        )


# ------------------------------------------------------------------------------------------------------- how it came out
def _floor(read: Reading, kind: str, wanted: float, confidence: float) -> Condition:
    count, total = int(read.right(kind).sum()), len(read.verdicts)
    share = Share.of(count, total, confidence)
    found, figure = (
        f"{_called(read, kind)} {_shown(share.fraction, share.low, share.high, total, confidence)}",
        _percent(wanted),
    )
    condition: Condition = {
        "name": f"{kind} at least {wanted:g}", "kind": cast(Any, kind), "outcome": floor_outcome(share, wanted),
        "reason": "", "wanted": wanted, "share": cast(Any, share.as_dict()),
        "confidence": confidence,
    }  # fmt: skip
    if kind == "attacked" and not wording.was_attacked(read.facts):
        return {**condition, "outcome": "fail", "reason": f"attacked accuracy is not known: {UNATTACKED}"}
    if why := _void(read, kind):
        return {**condition, "outcome": why[0], "reason": f"{found} {why[1]}"}
    words = {"pass": f"is at least {figure}", "below": f"is below {figure}"}
    if condition["outcome"] != "cannot tell":
        return {**condition, "reason": f"{found} {words[condition['outcome']]}"}
    more = more_for_floor(count, total, wanted, confidence)
    side = f"reach {figure}" if share.fraction > wanted else f"show it to be below {figure}"
    reason = f"{found}: cannot tell whether it is at least {figure}: {_more(more, side)}"
    return {**condition, "reason": reason, **_with(more)}


def _drop(pairs: Pairs, kind: str, allowed: float, confidence: float) -> Condition:
    drop = pairs.drop(kind, confidence)
    outcome, figure = drop_outcome(drop, allowed), f"{100 * allowed:.6g} {'point' if allowed == 0.01 else 'points'}"
    condition: Condition = {
        "name": f"{kind} may drop by {allowed:g}", "kind": "drop", "outcome": outcome, "reason": "", "wanted": allowed,
        "drop": [drop.fraction, drop.low, drop.high], "confidence": confidence,
    }  # fmt: skip
    if kind == "attacked" and not all(wording.was_attacked(run.facts) for run in (pairs.new, pairs.old)):
        return {**condition, "outcome": "fail", "reason": f"drop of attacked accuracy is not known: {UNATTACKED}"}
    found = f"drop of {_called(pairs.new, kind)} since the baseline {_points(drop, confidence)}"
    if why := _void(pairs.new, kind) or _void(pairs.old, kind):
        return {**condition, "outcome": why[0], "reason": f"{found} {why[1]}"}
    if outcome == "pass":
        same = ", the model being the baseline's own," if drop.low == drop.high else ""
        return {**condition, "reason": f"{found}{same} is at most {figure}"}
    if outcome == "above":
        return {**condition, "reason": f"{found} is more than {figure}"}
    more = more_for_drop(drop, allowed, confidence)
    side = f"show it to be at most {figure}" if drop.fraction < allowed else f"show it to be more than {figure}"
    reason = f"{found}: cannot tell whether it is at most {figure}: {_more(more, side)}"
    return {**condition, "reason": reason, **_with(more)}


def _checks(read: Reading) -> Condition:
    state = wording.checks_state(read.facts)
    condition: Condition = {"name": "no red checks", "kind": "checks", "outcome": "pass", "reason": ""}
    if red := _red(read):
        return {**condition, "outcome": "fail", "reason": f"red checks failed: {', '.join(red)}"}
    if read.facts["confidence"]["grade"] == "none":
        return {
            **condition,
            "outcome": "cannot tell",
            "reason": f"no red check is known to have passed: {_pending(read)}",
        }
    return {**condition, "reason": f"no red check failed ({state})"}


# ------------------------------------------------------------------------------------------------------------- in words
def _reason(read: Reading, passed: bool, conditions: list[Condition], notes: list[str]) -> str:
    told = conditions if passed else [c for c in conditions if c["outcome"] != "pass"]
    held = len(conditions) - len(told)
    parts = [c["reason"] for c in told] + ([f"{held} of {len(conditions)} conditions hold"] if held else [])
    context = f"{wording.threat(read.facts)}; {wording.checks_state(read.facts)}"
    said = f"{'PASS' if passed else 'FAIL'}: {'; '.join(parts)} ({context})"
    line = said + "".join(f" NOTE: {note}." for note in notes)
    return "".join(char if char.isprintable() else " " for char in line)


def _called(read: Reading, kind: str) -> str:
    return "attacked accuracy so far" if kind == "attacked" and wording.doubted(read.facts) else f"{kind} accuracy"


def _shown(fraction: float, low: float, high: float, total: int, confidence: float) -> str:
    return f"{wording.percent(fraction)} of {total:,} ({_percent(confidence)} interval {wording.span(low, high)})"


def _points(drop: Drop, confidence: float) -> str:
    low, high = math.floor(1000 * drop.low + 1e-9) / 10, math.ceil(1000 * drop.high - 1e-9) / 10
    interval = f"{_percent(confidence)} interval {low:.1f} to {high:.1f}"
    return f"{100 * drop.fraction:.1f} points on {drop.total:,} common samples ({interval})"


def _percent(value: float) -> str:
    return f"{100 * value:.6g}%"


def _more(more: int | None, side: str) -> str:
    if more is None:
        return "the rate is so near to it that no number of samples would settle it"
    return f"about {wording.plural(more, 'more sample')} at this rate would {side}"


def _with(more: int | None) -> Any:
    return {} if more is None else {"more": more}


def _red(read: Reading) -> list[str]:
    return [c["name"] for c in read.facts["checks"] if c["result"] == "fail" and c["severity"] == "red"]


def _unsound(read: Reading) -> bool:
    failed = any(c["number"] == ALARM and c["result"] == "fail" for c in read.facts["checks"])
    return failed or read.facts.get("curve") == UNSOUND


def _void(read: Reading, kind: str) -> tuple[Outcome, str] | None:
    """Why a figure is none, whatever it is: the outcome and the reason. Attacks are not tried on what is certified."""
    if kind != "clean" and _unsound(read):
        return "fail", "counts for nothing: certified samples were broken"
    return None


def _pending(read: Reading) -> str:
    waiting = read.facts.get("pending") or []
    return "the checks are pending" + "".join(f", and so is {stage}" for stage in waiting)


def _doubts(whose: str, read: Reading) -> list[str]:
    """What speaks against the attacked figure of a run."""
    if red := _red(read):
        return [f"{whose}red checks failed ({', '.join(red)}), the attacked figure is attacked so far, no more"]
    if read.facts["confidence"]["grade"] == "none":
        return [f"{whose}{_pending(read)}, the attacked figure is attacked so far, no more"]
    return []
