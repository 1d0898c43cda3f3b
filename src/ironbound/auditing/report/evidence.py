"""What a run measured that bears on points of four public texts: evidence for them, with its state and its limits.

A line stands here only where the run did something about it, and never says that a point is met: which level is enough for a
use, and whether a text applies to it at all, no test can tell. Ids, numbers and titles are those of

- MITRE ATLAS 5.6.0 (github.com/mitre-atlas/atlas-data, dist/ATLAS.yaml, 5 May 2026);
- NIST AI 100-2 E2025, "Adversarial Machine Learning: A Taxonomy and Terminology of Attacks and Mitigations", Vassilev, Oprea,
  Fordyce, Anderson, Davies and Hamin, 24 March 2025, doi:10.6028/NIST.AI.100-2e2025, section 2.2;
- ISO/IEC TR 24029-1:2021 (overview: statistical, formal and empirical methods) and ISO/IEC 24029-2:2023 (methodology for the
  use of formal methods: 5.2 notion of domain, 5.3 stability), "Assessment of the robustness of neural networks";
- Regulation (EU) 2024/1689 (Artificial Intelligence Act) of 13 June 2024, article 15, paragraphs 1, 3, 4 and 5.

AML.M0003 Model Hardening has no line: an audit sees a model, and not how it was made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ironbound.auditing.report import wording
from ironbound.auditing.report.schema import Audit, Share, Stage

ABOUT = (
    "What this run measured that bears on points of public texts. Each line is evidence for judging that point, within the "
    "samples and the threat of this run, and no judgement of it: that is for people who know the use."
)
DRAWS = "noise"
"""The stage that only draws at random, which is no search."""


@dataclass(frozen=True)
class Line:
    """One point of a text, and what the run has to say of it."""

    point: str
    title: str
    measured: str
    state: str
    limits: str


@dataclass(frozen=True)
class Source:
    """A text with the lines of it on which the run bears."""

    name: str
    edition: str
    lines: tuple[Line, ...]


def evidence(audit: Audit) -> list[Source]:
    """Every text on which this run bears, with its lines."""
    found = [_atlas(audit), _nist(audit), _iso(audit), _act(audit)]
    return [source for source in found if source.lines]


def state(audit: Audit) -> str:
    """How far a figure can be believed: said in every line."""
    red = [check["name"] for check in audit["checks"] if check["result"] == "fail" and check["severity"] == "red"]
    if red:
        return f"Weak evidence: a red check failed ({', '.join(red)}), so that the figure may be an artefact; see the checks."
    if wording.doubted(audit):
        return "Weak evidence: the checks are pending."
    said = wording.checks_state(audit)
    return f"{said[0].upper()}{said[1:]}; confidence in the evaluation: {audit['confidence']['grade']}."


def _atlas(audit: Audit) -> Source:
    tried, line = _attacks(audit), _lines(audit)
    lines = []
    if tried:
        lines.append(
            line(
                "AML.T0015", "Evade AI Model", _broken(audit),
                "Other changes than those of the threat, other inputs, and the system around the model.",
            )
        )  # fmt: skip
    for point, title, stages, how in (
        ("AML.T0043.000", "Craft Adversarial Data: White-Box Optimization", _by_gradient(tried), "along gradients"),
        ("AML.T0043.001", "Craft Adversarial Data: Black-Box Optimization", _by_queries(tried), "without gradients"),
    ):
        if stages:
            lines.append(line(point, title, f"Searches {how}: {_what_each(stages)}.", _only(audit)))
    if tried or _certified(audit):
        lines.append(
            line(
                "AML.M0008", "Validate AI Model", f"Tested for adversarial influence: {_held(audit)}.",
                "Backdoor triggers, leakage of data and drift, which this mitigation names as well.",
            )
        )  # fmt: skip
    return Source("MITRE ATLAS", "version 5.6.0", tuple(lines))


def _nist(audit: Audit) -> Source:
    tried, line = _attacks(audit), _lines(audit)
    lines = []
    if tried or _certified(audit):
        lines.append(
            line(
                "2.2, NISTAML.022", "Evasion", f"{_held(audit, first=True)}.",
                "Poisoning, privacy and misuse, the other classes of attack of this taxonomy.",
            )
        )  # fmt: skip
    for point, title, stages in (
        ("2.2.1", "White-Box Evasion Attacks", _by_gradient(tried)),
        ("2.2.2, NISTAML.025", "Black-Box Evasion Attacks", _by_queries(tried)),
    ):
        if stages:
            lines.append(line(point, title, f"{_what_each(stages)}.", _only(audit)))
    if _certified(audit):
        lines.append(
            line(
                "2.2.5", "Mitigations: formal verification", f"{_proved(audit)}.",
                "What was not certified: it is undecided or broken, and the report says which.",
            )
        )  # fmt: skip
    return Source("NIST AI 100-2", "E2025, March 2025", tuple(lines))


def _iso(audit: Audit) -> Source:
    tried, line = _attacks(audit), _lines(audit)
    clean = f"right when clean {_figure(audit['clean'])}"
    under = f"; still right under attack {_figure(audit['attacked'])}, {wording.threat(audit)}" if tried else ""
    lines = [
        line(
            "TR 24029-1", "Statistical methods", f"Shares of a sample with exact intervals: {clean}{under}.",
            "Data that are drawn otherwise than these samples.",
        )
    ]  # fmt: skip
    if tried:
        lines.append(
            line(
                "TR 24029-1", "Empirical methods",
                f"Experiments on {wording.plural(audit['attacked']['total'], 'sample')}, whose witnesses are kept and can be "
                f"tried again: {_what_each(tried)}.",
                "Trials in the field, and the judgement of experts.",
            )
        )  # fmt: skip
    if _certified(audit):
        lines.append(
            line(
                "TR 24029-1 and 24029-2, 5.2 and 5.3", "Formal methods: stability on a domain",
                f"{_proved(audit)}. The domain is what the threat allows around each sample; the property, that the answer "
                "stays the label.",
                "Inputs that are no change of these samples, and the rounding of other kernels than those that were run.",
            )
        )  # fmt: skip
    return Source("ISO/IEC 24029", "TR 24029-1:2021 and 24029-2:2023", tuple(lines))


def _act(audit: Audit) -> Source:
    line, clean = _lines(audit), f"Right when clean: {_figure(audit['clean'])}"
    worst = _attacks(audit) or _certified(audit)
    within = f"; {_held(audit)}" if worst else ""
    lines = [
        line(
            "15(1)", "Level of accuracy, robustness and cybersecurity", f"{clean}{within}.",
            "Which level is appropriate for the use, and how the system performs later in its life cycle.",
        ),
        line(
            "15(3)", "Levels of accuracy and their metrics",
            f"{clean}: a metric with its interval, by class and slice in this report.",
            "The declaration in the instructions of use, and metrics that the use asks for beside this one.",
        ),
    ]  # fmt: skip
    if worst:
        lines += [
            line(
                "15(4)", "Robustness: errors, faults or inconsistencies",
                f"What was found of the worst case among all changes within the threat: {_held(audit)}.",
                "Faults outside the threat, redundancy, and feedback loops of systems that go on learning.",
            ),
            line(
                "15(5)", "Cybersecurity: adversarial examples or model evasion", f"{_held(audit, first=True)}.",
                "Data poisoning, model poisoning, confidentiality attacks and model flaws, which the paragraph names as well; "
                "and how attacks are prevented, detected and answered.",
            ),
        ]  # fmt: skip
    return Source("EU AI Act, article 15", "Regulation (EU) 2024/1689", tuple(lines))


# ---------------------------------------------------------------------------------------------------- what was measured
def _lines(audit: Audit) -> Callable[[str, str, str, str], Line]:
    """Makes lines with the state of this audit."""
    believed = state(audit)
    return lambda point, title, measured, limits: Line(point, title, measured, believed, limits)


def _attacks(audit: Audit) -> list[Stage]:
    """The stages of attacks that saw samples."""
    return [stage for stage in audit["stages"] if stage["kind"] == "attack" and stage["entered"]]


def _by_gradient(stages: Sequence[Stage]) -> list[Stage]:
    return [stage for stage in stages if stage["backward"]]


def _by_queries(stages: Sequence[Stage]) -> list[Stage]:
    """Searches that asked for answers alone; random draws are no search."""
    return [stage for stage in stages if not stage["backward"] and not stage["name"].startswith(DRAWS)]


def _certified(audit: Audit) -> bool:
    return audit["certified"]["count"] > 0


def _figure(share: Share) -> str:
    """A share with its count and its interval."""
    return (
        f"{wording.percent(share['fraction'])} ({wording.count(share['count'])} of {wording.count(share['total'])}, 95% "
        f"interval {wording.span(share['low'], share['high'])})"
    )


def _held(audit: Audit, first: bool = False) -> str:
    """Both ends of the bracket, as far as they were looked for, with the threat."""
    so_far = ", so far" if wording.doubted(audit) else ""
    parts = [f"still right under attack{so_far} {_figure(audit['attacked'])}"] if _attacks(audit) else []
    parts += [f"certified {_figure(audit['certified'])}"] if _certified(audit) else []
    said = f"under {wording.threat(audit)}, {' and '.join(parts)}"
    return f"{said[0].upper()}{said[1:]}" if first else said


def _broken(audit: Audit) -> str:
    """What attacks found of what was right when clean."""
    found, right = audit["verdicts"]["broken"], audit["clean"]["count"]
    return (
        f"Inputs changed within {wording.threat(audit)} that the model gets wrong were found for {wording.count(found)} of the "
        f"{wording.plural(right, 'sample')} right when clean, and kept as witnesses; {_held(audit)}."
    )


def _what_each(stages: Sequence[Stage]) -> str:
    return "; ".join(
        f"{stage['name']} broke {wording.count(stage['decided'])} of the {wording.plural(stage['entered'], 'sample')} that it saw"
        for stage in stages
    )


def _only(audit: Audit) -> str:
    return f"Other searches, larger budgets, and changes outside {wording.threat(audit)}."


def _proved(audit: Audit) -> str:
    """What is certified, by which bounds."""
    by = [stage["name"] for stage in audit["stages"] if stage["kind"] == "bound" and stage["decided"]]
    named = f", by {', '.join(by)}" if by else ""
    return f"Proved right for every change within {wording.threat(audit)}: {_figure(audit['certified'])}{named}"
