"""JUnit XML of a run: the schema of Jenkins, what GitLab reads, counts that are true."""

from __future__ import annotations

from functools import cache
from typing import Any
from xml.etree import ElementTree

import pytest

from form_samples import HOSTILE, SCHEMAS, gate
from ironbound.auditing.forms.junit import junit
from ironbound.core.text import shown
from report_samples import audit, check

MIXED = [check(1), check(2, "fail", "red"), check(3, "fail"), check(4, "cannot tell"), check(5, "not applicable")]


@cache
def jenkins() -> Any:
    import xmlschema

    return xmlschema.XMLSchema(SCHEMAS / "junit-10.xsd")


def read(text: str) -> ElementTree.Element:
    """The document; it is one that Jenkins' schema takes."""
    jenkins().validate(text)
    return ElementTree.fromstring(text)


def cases(root: ElementTree.Element, suite: str) -> list[ElementTree.Element]:
    return root.findall(f"testsuite[@name='{suite}']/testcase")


@pytest.mark.parametrize("made", [None, gate(True), gate()], ids=["no gate", "passed", "failed"])
def test_counts_are_those_of_the_cases(made):
    root = read(junit(audit(checks=MIXED), made))
    suites = root.findall("testsuite")
    assert [suite.get("name") for suite in suites] == ["bracket", "checks", *(["gate"] if made else [])]
    for suite in suites:
        found = suite.findall("testcase")
        assert int(suite.get("tests")) == len(found) > 0
        assert int(suite.get("failures")) == len(suite.findall("testcase/failure"))
        assert int(suite.get("skipped")) == len(suite.findall("testcase/skipped"))
        assert float(suite.get("time")) == pytest.approx(sum(float(case.get("time")) for case in found), abs=0.01)
    for key in ("tests", "failures", "errors"):
        assert int(root.get(key)) == sum(int(suite.get(key)) for suite in suites)


def test_a_check_fails_is_skipped_or_passes():
    found = cases(read(junit(audit(checks=MIXED))), "checks")
    assert [[part.tag for part in case] for case in found] == [
        ["system-out"], ["failure"], ["failure"], ["skipped"], ["skipped"],
    ]  # fmt: skip
    assert [case.find("failure").get("type") for case in found[1:3]] == ["red check", "amber check"]
    assert found[3].find("skipped").get("message").startswith("cannot tell: ")
    assert found[4].find("skipped").get("message").startswith("not applicable: ")
    for case, facts in zip(found, MIXED, strict=True):  # GitLab shows the text, Jenkins the message as well
        for key in ("question", "evidence", "meaning", "next"):
            assert facts[key] in case[0].text


def test_a_gate_fails_where_a_condition_is_missed_or_cannot_be_told():
    found = cases(read(junit(audit(), gate())), "gate")
    said = {case.get("name"): case.find("failure") for case in found}
    assert {name: None if part is None else part.get("type") for name, part in said.items()} == {
        "1 clean at least 0.9": None, "2 attacked at least 0.8": "below", "3 certified at least 0.6": "cannot tell",
        "4 no red checks": "fail", "5 attacked may drop by 0.01": "above",
    }  # fmt: skip
    assert "701 of 1,000; 95% interval" in said["2 attacked at least 0.8"].text
    assert "3.00 points (95% interval 2.00 to 4.00)" in said["5 attacked may drop by 0.01"].text
    surer = cases(read(junit(audit(), {**gate(), "confidence": 0.99})), "gate")
    assert "701 of 1,000; 99% interval" in surer[1].find("failure").text


def test_a_gate_that_fails_without_a_condition_fails_all_the_same():
    other = {**gate(True), "passed": False, "reason": "another data set than the baseline's"}
    root = read(junit(audit(), other))
    assert root.get("failures") == "1"
    assert "another data set" in cases(root, "gate")[-1].find("failure").text


def test_names_are_unique_and_suites_tell_runs_apart():
    """Of cases with one name GitLab reads the first, and it takes `classname` for the suite."""
    twice = {**gate(), "conditions": 2 * gate()["conditions"]}
    root = read(junit(audit(checks=MIXED), twice))
    pairs = [(case.get("classname"), case.get("name")) for case in root.iter("testcase")]
    assert len(set(pairs)) == len(pairs)
    assert all("small-cnn" in suite and "L-inf 0.3" in suite for suite, _ in pairs)
    assert [suite.rpartition(".")[2] for suite, _ in pairs[:2]] == ["bracket", "checks"]


def test_figures_stand_with_threat_count_interval_and_checks():
    root = read(junit(audit(checks=MIXED)))
    known = {part.get("name"): part.get("value") for part in root.iter("property")}
    assert known["attacked accuracy"] == "70.1% (701 of 1,000; 95% interval 67.1% to 73.0%)"
    assert (known["threat"], known["checks"]) == ("L-inf 0.3", "2 of 4 checks failed and 1 could not tell")
    assert "Of 1,000 test samples under L-inf 0.3" in cases(root, "bracket")[0].find("system-out").text


def test_a_run_without_checks_is_skipped_and_not_passed():
    facts = audit(checks=[])
    facts["confidence"] = {"grade": "none", "text": "This is shard 1 of 2."}
    root = read(junit(facts))
    assert cases(root, "bracket")[0].find("skipped").get("message").startswith("checks pending")
    assert not cases(root, "checks")


def test_times_are_seconds_and_begin_in_utc():
    facts = audit(checks=[{**check(1), "cpu": 0.12345}])
    facts["created"] = "2026-11-02T09:30:00+02:00"
    root = read(junit(facts))
    assert cases(root, "checks")[0].get("time") == "0.123"
    assert cases(root, "bracket")[0].get("time") == "4261.400"
    assert {suite.get("timestamp") for suite in root} == {"2026-11-02T07:30:00"}
    facts["created"] = "long ago"
    assert all("timestamp" not in suite.attrib for suite in read(junit(facts)))


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
def test_hostile_texts_stay_text(hostile):
    facts = audit(checks=[check(1, "fail", evidence=hostile, name=hostile)], title=hostile)
    facts["model"]["name"] = facts["data"]["name"] = facts["threat"]["spec"] = hostile
    facts["notes"] = [hostile]
    made = gate()
    made["conditions"][1]["name"] = made["conditions"][1]["reason"] = hostile
    root = read(junit(facts, made))
    assert {part.tag for part in root.iter()} <= {
        "testsuites", "testsuite", "properties", "property", "testcase", "failure", "skipped", "system-out",
    }  # fmt: skip
    assert shown(hostile) in cases(root, "checks")[0].find("failure").text
    everything = [*(text for part in root.iter() for text in (part.text or "", *part.attrib.values()))]
    assert all(char.isprintable() or char == "\n" for text in everything for char in text)
