"""SARIF of a run: the OASIS schema, what GitHub asks for beyond it, fingerprints that outlast a run."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import unquote

import pytest

from form_samples import HOSTILE, SARIF, gate, schema_errors
from ironbound.auditing.forms.rules import plain
from ironbound.auditing.forms.sarif import sarif, weak
from ironbound.auditing.forms.source import line_of, place_of, within
from ironbound.core.errors import UsageError
from ironbound.core.text import shown
from report_samples import audit, check, group

MIXED = [check(1), check(2, "fail", "red"), check(3, "fail"), check(4, "fail", "info"), check(5, "cannot tell"),
         check(6, "not applicable")]  # fmt: skip


def read(text: str) -> dict[str, Any]:
    """The one run of a log that fits the schema and what GitHub documents to need."""
    log = json.loads(text)
    assert schema_errors(SARIF, log) == []
    assert log["version"] == "2.1.0"
    (run,) = log["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert len({rule["id"] for rule in rules}) == len(rules)
    for rule in rules:
        assert len(rule["name"]) <= 255
        assert 0 < len(rule["shortDescription"]["text"]) <= 1024
        assert 0 < len(rule["fullDescription"]["text"]) <= 1024
        assert rule["help"]["text"]
        assert len(rule["properties"]["tags"]) <= 10
        assert rule["properties"]["problem.severity"] in ("error", "warning", "recommendation")
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["message"]["text"]
        (location,) = result["locations"]
        place = location["physicalLocation"]
        assert place["region"]["startLine"] >= 1
        uri = place["artifactLocation"]["uri"]
        assert uri.isascii()
        assert not uri.startswith("/")
        assert "://" not in uri
        assert set(result["partialFingerprints"]) == {"ironbound/v1", "primaryLocationLineHash"}
    prints = [result["partialFingerprints"]["primaryLocationLineHash"] for result in run["results"]]
    assert len(set(prints)) == len(prints)
    return run


def found(run: dict[str, Any]) -> dict[str, str]:
    return {result["ruleId"]: result["level"] for result in run["results"]}


def even(**facts: Any) -> Any:
    """An audit whose groups hold alike."""
    made = audit(**facts)
    made["classes"] = [group(str(i), 100, 98, 70, 61) for i in range(10)]
    made["slices"] = []
    return made


def test_levels_follow_severity_and_what_could_not_tell_is_a_note_of_the_run():
    run = read(sarif(even(checks=MIXED)))
    assert found(run) == {"check-2": "error", "check-3": "warning", "check-4": "note"}
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]][:6] == [f"check-{n}" for n in range(1, 7)]
    (told,) = run["invocations"][0]["toolExecutionNotifications"]
    assert told["associatedRule"] == {"id": "check-5", "index": 4}
    assert "could not tell" in told["message"]["text"]


def test_conditions_that_are_not_met_are_errors_and_the_exit_code_is_the_gates():
    run = read(sarif(even(), gate()))
    assert found(run) == dict.fromkeys(("gate-attacked", "gate-certified", "gate-checks", "gate-drop"), "error")
    assert run["invocations"][0]["exitCode"] == 1
    run = read(sarif(even(), gate(True)))
    assert run["results"] == []
    assert run["invocations"][0]["exitCode"] == 0
    other = {**gate(True), "passed": False, "reason": "other data"}
    assert "other data" in read(sarif(even(), other))["results"][0]["message"]["text"]


def test_weak_groups_are_those_beyond_chance():
    facts = even()
    facts["classes"][3] = group("three", 100, 98, 30, 10)
    facts["classes"][4] = group("four", 100, 98, 66, 60)  # 70 of 100 in all: chance alone
    facts["classes"][5] = group("none", 0, 0, 0, 0)
    facts["slices"] = [
        {"column": "hospital", "groups": [group("north", 9, 9, 1, 0), group("s", 9, 9, 9, 9)], "note": ""}
    ]
    run = read(sarif(facts))
    words = {result["ruleId"]: result["message"]["text"] for result in run["results"]}
    assert words["weak-class"].startswith("Of class three, 30.0% (30 of 100; 95% interval")
    assert "hospital north" in words["weak-slice"]
    assert len(run["results"]) == 2


def test_no_group_of_many_is_weak_by_chance():
    """Of 300 classes of 10 samples, drawn alike, hardly any may be called weak: the interval is widened for their number."""
    import numpy as np

    draws = np.random.default_rng(0).binomial(10, 0.7, 300)
    groups = [group(str(i), 10, 10, int(held), 0) for i, held in enumerate(draws)]
    assert len(weak(audit(), groups)) <= 1
    assert len(weak(audit(), groups[:1] + [group("bad", 10, 10, 0, 0)])) == 1


def test_findings_keep_their_fingerprints_over_runs_and_have_one_each():
    before, after = even(checks=MIXED), even(wrong=28, broken=271, checks=MIXED)
    after["created"], after["ironbound"], after["seed"] = "2027-01-01T00:00:00Z", "0.2.0", 5
    for facts in (before, after):
        facts["classes"][3], facts["classes"][7] = group("3", 100, 98, 20, 0), group("7", 100, 98, 22, 0)
    raised = gate()
    raised["conditions"][1] = {**raised["conditions"][1], "name": "attacked at least 0.85", "reason": "another"}
    prints = lambda run: sorted(result["partialFingerprints"]["ironbound/v1"] for result in run["results"])
    first = read(sarif(before, gate()))
    assert prints(first) == prints(read(sarif(after, raised)))
    after["threat"]["spec"] = "linf:0.2"
    assert not set(prints(first)) & set(prints(read(sarif(after, gate()))))


def test_runs_of_other_models_and_threats_are_other_categories():
    """GitHub replaces what was uploaded before under the same category: the identifier up to its last slash."""
    first, other = even(), even()
    other["threat"]["spec"] = "linf:8/255"
    names = [read(sarif(facts))["automationDetails"]["id"] for facts in (first, other)]
    assert names == ["ironbound/small-cnn/mnist-test/linf:0.3/", "ironbound/small-cnn/mnist-test/linf:8%2F255/"]


def test_places_are_relative_to_the_repository(tmp_path, monkeypatch):
    (tmp_path / "repo" / ".git").mkdir(parents=True)
    (tmp_path / "repo" / "src").mkdir()
    file = tmp_path / "repo" / "src" / "a b.py"
    file.write_text("import os\n\n\nclass Net:\n    pass\n\n\nmade = Net()\n")
    assert within(file) == "src/a b.py"
    assert (line_of(file, "Net"), line_of(file, "made"), line_of(file, "absent")) == (4, 8, 1)
    assert place_of(tmp_path, file) == ("src/a b.py", 1)
    outside = tmp_path / "b.py"
    outside.write_text("def (")
    assert line_of(outside, "b") == line_of(tmp_path / "none.py", "b") == 1
    monkeypatch.chdir(tmp_path / "repo")
    with pytest.raises(UsageError, match="in no repository"):
        place_of(tmp_path, outside)
    monkeypatch.chdir(tmp_path)
    assert within(outside) == "b.py"
    run = read(sarif(even(checks=MIXED), source="src/a b.py", line=4))
    place = run["results"][0]["locations"][0]["physicalLocation"]
    assert unquote(place["artifactLocation"]["uri"]) == "src/a b.py"
    assert place["region"]["startLine"] == 4


def test_the_figures_are_in_the_properties():
    facts = audit(checks=MIXED)
    held = read(sarif(facts, gate()))["properties"]
    assert held["attacked"] == facts["attacked"]
    assert held["gate"]["conditions"][1]["share"]["count"] == 701
    assert held["checks"]["name-2"] == "fail"


def test_a_run_without_checks_says_so():
    facts = even(checks=[])
    facts["confidence"] = {"grade": "none", "text": "This is shard 1 of 2."}
    (told,) = read(sarif(facts))["invocations"][0]["toolExecutionNotifications"]
    assert (told["level"], told["message"]["text"]) == ("warning", "checks pending. This is shard 1 of 2.")


def test_messages_have_neither_placeholders_nor_links():
    """Placeholders and links of plain messages: SARIF 2.1.0, 3.11.5 and 3.11.6."""
    assert plain("{0} {x}") == "{{0}} {{x}}"
    assert "](" not in plain("[a](http://x.test) \\](1)")


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
def test_hostile_texts_stay_text(hostile):
    facts = even(
        checks=[check(1, "fail", evidence=hostile, name=hostile, question=hostile or "?"), check(2, "cannot tell")]
    )
    facts["model"]["name"] = facts["data"]["name"] = facts["threat"]["spec"] = facts["title"] = hostile
    facts["classes"][0] = group(hostile, 100, 90, 0, 0)
    facts["slices"] = [
        {"column": hostile, "groups": [group(hostile, 100, 90, 0, 0), group("b", 9, 9, 9, 9)], "note": ""}
    ]
    made = gate()
    made["conditions"][1]["name"] = made["conditions"][1]["reason"] = hostile
    text = sarif(facts, made, source=f"src/{hostile[:99]}.py".replace("\x00", ""))
    assert all(char.isprintable() or char == "\n" for char in text)
    text.encode()
    run = read(text)
    assert run["automationDetails"]["id"].count("/") == 4
    assert run["properties"]["title"] == shown(hostile)
    for result in run["results"]:
        assert len(result["message"]["text"]) <= 8000
        assert "](" not in result["message"]["text"]
