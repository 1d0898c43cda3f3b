"""An audit in words: numbers as people read them, and the sentences that a report opens with."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from math import ceil, floor

from ironbound.auditing.report.schema import Audit, Check
from ironbound.showing.words import NORMS, sized
from ironbound.showing.words import count as count
from ironbound.showing.words import number as number
from ironbound.showing.words import percent as percent
from ironbound.showing.words import plural as plural

MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip


def ends(low: float, high: float) -> tuple[str, str]:
    """The two ends of an interval with one decimal, rounded outwards: what is printed is never narrower."""
    down, up = floor(1000 * low + 1e-9), ceil(1000 * high - 1e-9)
    return f"{down / 10:.1f}%", f"{up / 10:.1f}%"


def span(low: float, high: float) -> str:
    """An interval as "58.1% to 73.0%"."""
    return " to ".join(ends(low, high))


def duration(seconds: float) -> str:
    """A time in the two units that matter."""
    if seconds < 1:
        return f"{seconds:.2f} s"
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60:02d} min"


def moment(created: str) -> str:
    """A point in time as "2 November 2026, 09:30 UTC"; what is none, as it is written."""
    try:
        when = datetime.fromisoformat(created)
    except ValueError:
        return created
    zone = "" if when.tzinfo is None else f" {when.tzname()}"
    return f"{when.day} {MONTHS[when.month - 1]} {when.year}, {when:%H:%M}{zone}"


def threat(audit: Audit) -> str:
    """The threat in short, with units: "L-inf 8/255", "L0 3 pixels", "L-inf 8/255 or L2 0.5"; others in their own spelling."""
    facts = audit["threat"]
    radius = facts["radius"]
    if ":" not in facts["spec"] and facts["norm"].lower() in NORMS and radius is not None:
        return f"{NORMS[facts['norm'].lower()]} {number(radius)}"
    parts = facts["spec"].split("|") if facts["norm"] == "union" else [facts["spec"]]
    return " or ".join(_ball(part.strip()) for part in parts)


def _ball(spec: str) -> str:
    """One ball as "L0 3 pixels"; any other set as it is spelt."""
    name, colon, radius = spec.partition(":")
    norm, radius = NORMS.get(name.lower()), radius.strip()
    if norm is None or not colon:
        return spec
    if norm == "L0" and "coordinates" not in radius:
        count, _, rest = radius.partition(" (")
        radius = f"{count} {'pixel' if count == '1' else 'pixels'}" + (f" ({rest}" if rest else "")
    return f"{norm} {'1 coordinate' if radius == '1 coordinates' else radius}"


def size(audit: Audit, value: float) -> str:
    """How large a change is, in the threat's own unit: "0.03 in L-inf", "2 pixels"."""
    unit = "coordinate" if "coordinates" in audit["threat"]["spec"] else "pixel"
    return sized(audit["threat"]["norm"].lower(), unit, value)


def doubted(audit: Audit) -> bool:
    """Whether a red check failed, or the checks are pending: then the attacked share is only a figure so far."""
    pending = audit["confidence"]["grade"] == "none"
    return pending or any(check["result"] == "fail" and check["severity"] == "red" for check in audit["checks"])


def was_attacked(audit: Audit) -> bool:
    """Whether attacks are among the stages; else the share right "under attack" is only what is right when clean."""
    return any(stage["kind"] == "attack" for stage in audit["stages"])


def was_bounded(audit: Audit) -> bool:
    """Whether bounds are among the stages; else nothing could be certified."""
    return any(stage["kind"] == "bound" for stage in audit["stages"])


def accuracy(audit: Audit) -> str:
    """What the upper end of the bracket may be called."""
    if not was_attacked(audit):
        return "right when clean, not attacked"
    return "attacked so far" if doubted(audit) else "robust accuracy"


def upper(audit: Audit) -> str:
    """What the share is that stands under "attacked": its name in tables."""
    if not was_attacked(audit):
        return "Right when clean (no attack was run)"
    return "Right under attack, so far" if doubted(audit) else "Right under attack"


def lower(audit: Audit) -> str:
    """The same of "certified"."""
    return "Certified" if was_bounded(audit) else "Certified (no bound was run)"


def not_tried(audit: Audit) -> str:
    """A sentence where one end of the bracket was not looked for at all; else nothing."""
    attacked, bounded = was_attacked(audit), was_bounded(audit)
    if not attacked and not bounded:
        return "Neither attacks nor bounds were run: nothing is known beyond what is right when clean."
    if not attacked:
        return "No attack was run: the upper end is what is right when clean, and says nothing about attacks."
    return (
        "" if bounded else "No bound was run: nothing could be certified, and the lower end is not known to be above 0."
    )


def applicable(checks: Sequence[Check]) -> int:
    """How many of the checks apply at all."""
    return sum(check["result"] != "not applicable" for check in checks)


def checks_state(audit: Audit) -> str:
    """The state of the checks, as "2 of 12 checks could not tell"."""
    total = applicable(audit["checks"])
    if total == 0:
        return "checks pending" if audit["confidence"]["grade"] == "none" else "no checks were made"
    failed = sum(check["result"] == "fail" for check in audit["checks"])
    unclear = sum(check["result"] == "cannot tell" for check in audit["checks"])
    if not failed and not unclear:
        return "the one check passed" if total == 1 else f"all {total} checks passed"
    first, verb = (failed, "failed") if failed else (unclear, "could not tell")
    if total == 1:
        return f"the one check {verb}"
    state = f"{first} of {plural(total, 'check')} {verb}"
    return f"{state} and {unclear} could not tell" if failed and unclear else state


def found(audit: Audit) -> str:
    """What stays right, without threat, n or interval."""
    low, high = percent(audit["bracket"]["low"]), percent(audit["bracket"]["high"])
    attacked, bounded = was_attacked(audit), was_bounded(audit)
    if not attacked:
        clean = f"{high} right when clean, and no attack was run"
        return f"{low} certified, {clean}" if bounded else clean
    if doubted(audit):
        so_far = f"{high} still right, attacked so far"
        return f"{low} certified and {so_far}" if bounded else f"{so_far}, and no bound was run"
    if audit["verdicts"]["undecided"] == 0:
        return f"{high} stay right, with no sample undecided"
    return f"between {low} and {high} stay right" if bounded else f"at most {high} stay right, and no bound was run"


def sentence(audit: Audit) -> str:
    """The finding in one sentence, with threat, n, interval and the state of the checks."""
    samples = plural(audit["attacked"]["total"], "test sample")
    interval = span(*audit["bracket"]["interval"])
    return f"Of {samples} under {threat(audit)}: {found(audit)} (95% interval {interval}); {checks_state(audit)}."


def against_radius(audit: Audit) -> str:
    """What the curve is of and what it cost, in two or three sentences; why there is none, where there is none."""
    curve = audit.get("curve", {})
    if "radii" not in curve:
        return curve.get("left_out", "")
    few, cost = curve["samples"] < curve["total"], curve["cost"]
    chosen = f"On {count(curve['samples'])} of {plural(curve['total'], 'sample')}"
    chosen += ", those with the smallest keys, to keep the price down" if few else ""
    so_far = "so far " if doubted(audit) else ""
    return (
        f"{chosen}. The upper line is the share not broken {so_far}at that radius, the lower one the share certified. At other "
        f"radii than the threat's the attack is one search of {curve['steps']} steps from the last radius' witness, so that the "
        f"upper line is an upper bound there too, only a looser one. Beside the stages it cost {count(cost['forward'])} forward "
        f"and {count(cost['backward'])} backward rows, {duration(cost['cpu'])} of the processor."
    )


def attributions(audit: Audit) -> str:
    """Of how many samples attributions were made and what they cost; why there are none, where there are none."""
    said = audit.get("attributions", {})
    if "methods" not in said:
        return said.get("left_out", "")
    gap = f", which miss their sum by at most {percent(said['gap'])} of their magnitudes" if "gap" in said else ""
    steps = (
        f" Integrated gradients take {said['steps']} points on the way from {number(said['baseline'])}{gap}."
        if gap
        else ""
    )
    return (
        f"Of {plural(said['samples'], 'broken sample')}, those with the smallest keys.{steps} Beside the stages this cost "
        f"{count(said['forward'])} forward and {count(said['backward'])} backward rows. It decides no verdict."
    )


def likeness(cosine: float | None, rank: float | None) -> str:
    """How alike two attributions are, in figures."""
    said = lambda value: "not defined" if value is None or value != value else f"{value:.2f}"
    return f"cosine {said(cosine)}, rank {said(rank)}"


def ordering(audit: Audit) -> str:
    """What a pilot did to the order of the stages; nothing where there was none."""
    pilot = audit["plan"].get("pilot")
    if not pilot:
        return ""
    return (
        f"The order was found on a pilot of {plural(pilot['samples'], 'sample')}, those with the smallest keys: of the "
        f"{count(pilot['right'])} that were right when clean each stage was tried on all, and what decides the most per pass "
        "comes first."
    )


def proofs(audit: Audit) -> str:
    """By what how many samples are certified; nothing where none is."""
    found = [(stage["name"], stage["decided"]) for stage in audit["stages"] if stage["kind"] == "bound"]
    named = [f"{count(decided)} by {name}" for name, decided in found if decided]
    return f"Certified: {', '.join(named)}." if named else ""


def not_run(audit: Audit) -> list[str]:
    """A sentence for each stage that waited for another one and was not needed."""
    ran = {stage["name"] for stage in audit["stages"]}
    waited = [] if audit.get("pending") else audit["plan"].get("last", [])
    return [
        f"{stage['name']} was not needed: {stage['after']} broke no sample."
        for stage in waited
        if stage["after"] and stage["name"] not in ran
    ]


def remarks(audit: Audit) -> list[str]:
    """What there is to say of the plan: how its order was found, what was left out, what was not needed."""
    first = [said for said in [ordering(audit)] if said]
    return [*first, *audit.get("notes", []), *not_run(audit)]


def apart(audit: Audit) -> list[tuple[str, int, int, float | None]]:
    """What was run beside the stages: its name, forward and backward rows, and CPU seconds where they are known."""
    found = [
        ("Pilot", audit.get("pilot")),
        ("Checks", audit["cost"].get("checks")),
        ("Curve", audit.get("curve", {}).get("cost")),
    ]
    return [(name, cost["forward"], cost["backward"], cost.get("cpu")) for name, cost in found if cost]


def context(audit: Audit) -> str:
    """Threat, n, interval and the state of the checks: what stands beside every figure."""
    samples = plural(audit["attacked"]["total"], "sample")
    interval = span(*audit["bracket"]["interval"])
    return f"{threat(audit)}, {samples}, 95% interval {interval}, {checks_state(audit)}"


def comparison(audits: Sequence[tuple[str, Audit]]) -> str:
    """One sentence for several audits, each with its own interval and state of the checks."""
    scopes = {(threat(audit), audit["attacked"]["total"]) for _, audit in audits}
    alone = len(scopes) == 1
    parts = []
    for name, audit in audits:
        scope = "" if alone else f"of {plural(audit['attacked']['total'], 'test sample')} under {threat(audit)} "
        interval = span(*audit["bracket"]["interval"])
        parts.append(f"{name}: {scope}{found(audit)} (95% interval {interval}; {checks_state(audit)})")
    opening = f"{plural(len(audits), 'model')} audited."
    if alone and audits:
        threatened, total = next(iter(scopes))
        each = ", each on" if len(audits) > 1 else " on"
        opening = f"{plural(len(audits), 'model')}{each} {plural(total, 'test sample')} under {threatened}."
    return f"{opening[:-1]} \N{EN DASH} {'; '.join(parts)}."
