"""The rules of the SARIF form: every check, what a gate may ask, and groups that hold less than the whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ironbound.auditing.report.schema import Check
from ironbound.core.text import brief

DOCS = "https://github.com/ironbound/ironbound/blob/main/docs"
GATE, WEAK = "gate-", "weak-"
LEVELS = {"red": "error", "amber": "warning", "info": "note"}
SHORT, MESSAGE = 1000, 4000
"""Characters of a description, at most (GitHub takes 1,024), and of a message."""

_WEAK = {
    "class": "One class holds less under attack than all samples together",
    "slice": "One slice of the data holds less under attack than all samples together",
}
_GATE = {
    "clean": "The clean accuracy is at least a figure",
    "attacked": "The accuracy under attack is at least a figure",
    "certified": "The certified accuracy is at least a figure",
    "checks": "No check that matters failed",
    "drop": "The accuracy fell by no more than an allowance since a baseline",
}
_DECIDED = (
    "A figure is met when the lower end of its interval is at least what was asked for, and a drop when the upper end of its "
    "interval is at most the allowance (95% intervals where nothing else was asked for). Where the samples are too few to tell, "
    "the gate fails and says about how many more would do."
)


def plain(words: Any, most: int = MESSAGE) -> str:
    """A text as a plain message of SARIF: braces are doubled (3.11.5), and nothing reads as an embedded link (3.11.6)."""
    return brief(words, most).replace("{", "{{").replace("}", "}}").replace("](", "] (")


def rules_of(checks: Sequence[Check], gated: bool) -> list[dict[str, Any]]:
    """One rule for each check of a run, for each kind of weak group, and, with a gate, for each kind of condition."""
    found = [_of_check(check) for check in checks]
    further = (
        "The share that is right under attack of a group is compared with that of all samples, by exact 95% intervals, the "
        "group's widened for the number of groups (Bonferroni). An overall figure hides such a group."
    )
    act = "Look at its broken samples in the report, and audit it by itself with more samples."
    for kind, short in _WEAK.items():
        found.append(_rule(WEAK + kind, f"Weak{kind.title()}", short, further, act, "warning", "forms.md"))
    for kind, short in _GATE.items() if gated else ():
        name = f"Gate{kind.title()}"
        found.append(_rule(GATE + kind, name, short, _DECIDED, "See the reason of the result.", "error", "forms.md"))
    return found


def rule_of_check(check: Check) -> str:
    """The rule of a check: by its number, which is never given to another one."""
    return f"check-{check['number']}"


def _of_check(check: Check) -> dict[str, Any]:
    name = "".join(word.title() for word in brief(check["name"], 100).split() if word.isalnum()) or "Check"
    rule = rule_of_check(check)
    level = LEVELS[check["severity"]]
    return _rule(rule, name, check["question"], check["meaning"], "docs/checks.md says what to do.", level, "checks.md")


def _rule(rule: str, name: str, short: str, full: str, act: str, level: str, page: str) -> dict[str, Any]:
    """A reporting descriptor with all that GitHub asks for: name, both descriptions, help as text, tags."""
    return {
        "id": rule,
        "name": name[:255],
        "shortDescription": {"text": plain(short, SHORT)},
        "fullDescription": {"text": plain(full, SHORT)},
        "help": {"text": plain(f"{full} {act}", MESSAGE)},
        "helpUri": f"{DOCS}/{page}",
        "defaultConfiguration": {"level": level},
        "properties": {"tags": ["adversarial robustness"], "problem.severity": _severity(level)},
    }


def _severity(level: str) -> str:
    return "recommendation" if level == "note" else level
