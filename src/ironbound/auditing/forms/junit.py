"""An audit, and what a gate said of it, as JUnit XML: what Jenkins and GitLab read.

There is no one standard. What is written fits the schema of Jenkins' xUnit plugin (junit-10.xsd), and what GitLab documents to
read: `classname` as the suite, `name`, `time`, and the text inside `failure` and `skipped`. Of test cases with one name GitLab
keeps the first, so that names are unique within a file.
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from ironbound.auditing.forms.common import NAME, beside, drop_words, missed, share_words, utc
from ironbound.auditing.intervals import CONFIDENCE
from ironbound.auditing.report import wording
from ironbound.auditing.report.schema import Audit, Check, Condition, GateFacts
from ironbound.core.text import brief, shown


def junit(audit: Audit, gate: GateFacts | None = None) -> str:
    """One XML document: a test suite for the bracket, one for the checks, and one for the conditions where there is a gate.

    A failed check, and a condition that is not met, is a failure. A check that cannot tell or does not apply is skipped, and so
    is the bracket of a run whose checks are pending; a condition of which the gate cannot tell fails, as the gate does.
    Times are seconds: of the bracket by the clock, of checks of the processor.
    """
    package = f"{audit['model']['name']} on {audit['data']['name']}, {wording.threat(audit)}"
    root = Element("testsuites", name=f"ironbound: {brief(audit['title'], NAME)}")
    suites = [("bracket", [_bracket(audit)]), ("checks", [_check(check) for check in audit["checks"]])]
    if gate is not None:
        suites.append(("gate", _conditions(gate)))
    for name, cases in suites:
        if cases:
            root.append(_suite(audit, name, brief(package, NAME), cases))
    for key in ("tests", "failures", "errors"):
        root.set(key, str(sum(int(suite.get(key, 0)) for suite in root)))
    root.set("time", _seconds(sum(float(suite.get("time", 0)) for suite in root)))
    indent(root)
    return tostring(root, encoding="unicode", xml_declaration=False, short_empty_elements=True).join(
        ('<?xml version="1.0" encoding="UTF-8"?>\n', "\n")
    )


def _suite(audit: Audit, name: str, package: str, cases: Sequence[Element]) -> Element:
    counted = {
        "tests": len(cases),
        "failures": sum(case.find("failure") is not None for case in cases),
        "errors": 0,
        "skipped": sum(case.find("skipped") is not None for case in cases),
    }
    suite = Element("testsuite", {"name": name, **{key: str(value) for key, value in counted.items()}})
    suite.set("time", _seconds(sum(float(case.get("time", 0)) for case in cases)))
    if when := utc(audit["created"]):
        suite.set("timestamp", when)
    if name == "bracket":
        held = SubElement(suite, "properties")
        for key, value in beside(audit).items():
            SubElement(held, "property", name=key, value=brief(value, 10 * NAME))
    for case in cases:
        case.set("classname", f"{package}.{name}")  # up to the last dot it is what Jenkins calls the package
        suite.append(case)
    return suite


def _bracket(audit: Audit) -> Element:
    """The finding, which asks for nothing: it fails only with a gate or a check."""
    case = _case("certified <= true robust accuracy <= attacked", audit["cost"]["seconds"])
    if not audit["checks"]:
        _said(
            case,
            "skipped",
            f"{wording.checks_state(audit)}: no figure here is evidence yet",
            [audit["confidence"]["text"]],
        )
    SubElement(case, "system-out").text = _text([wording.sentence(audit), *audit.get("notes", [])])
    return case


def _check(check: Check) -> Element:
    case = _case(f"{check['number']} {check['name']}", check.get("cpu", 0.0))
    words = [check["question"], check["evidence"], f"What it means: {check['meaning']}"]
    words += [f"Next: {check['next']}"] if check["next"] else []
    if check["result"] == "fail":
        _said(case, "failure", check["evidence"], words, type=f"{check['severity']} check")
    elif check["result"] == "pass":
        SubElement(case, "system-out").text = _text(words)
    else:
        _said(case, "skipped", f"{check['result']}: {check['evidence']}", words)
    return case


def _conditions(gate: GateFacts) -> list[Element]:
    """A case a condition. A gate that fails for another reason than its conditions says so itself."""
    cases = []
    for number, condition in enumerate([*(c for c in gate["conditions"] if c["outcome"] == "pass"), *missed(gate)], 1):
        case = _case(f"{number} {condition['name']}", 0.0)
        if condition["outcome"] == "pass":
            SubElement(case, "system-out").text = shown(condition["reason"])
        else:
            words = _reasons(condition, gate.get("confidence", CONFIDENCE))
            _said(case, "failure", condition["reason"], words, type=condition["outcome"])
        cases.append(case)
    return cases


def _reasons(condition: Condition, confidence: float) -> list[str]:
    """All that is known of a condition."""
    words, confidence = [condition["reason"]], condition.get("confidence", confidence)
    if "wanted" in condition:
        words.append(f"Wanted: {condition['wanted']:g}")
    if "share" in condition:
        words.append(f"Found: {share_words(condition['share'], confidence)}")
    if drop := condition.get("drop"):
        words.append(f"Drop: {drop_words(drop, confidence)}")
    return words


def _case(name: str, seconds: float) -> Element:
    return Element("testcase", name=brief(name, NAME), time=_seconds(seconds))


def _said(case: Element, tag: str, message: str, words: Sequence[str], **attributes: str) -> None:
    """A failure or a skip: the message as an attribute, all of it as text, since GitLab shows the text alone."""
    part = SubElement(case, tag, {"message": brief(message, 10 * NAME), **attributes})
    part.text = _text(words)


def _text(words: Sequence[str]) -> str:
    return "\n".join(shown(line) for line in words)


def _seconds(seconds: float) -> str:
    return f"{max(0.0, seconds):.3f}"
