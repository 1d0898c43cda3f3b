"""An audit, and what a gate said of it, as SARIF 2.1.0 (OASIS, 2020; errata 2023): what code scanning reads.

Rules are the checks, the kinds of a gate's conditions, and weak classes and slices. Results are what asks to be looked at:
checks that failed, conditions that are not met, and groups that hold less than the whole. Everything else is in the properties
of the run. GitHub takes a result only with a location and tells results of several uploads apart by `partialFingerprints`:
these are made of the rule, the model, the data and the threat, and not of figures, so that a finding stays the same one.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote

from ironbound.auditing.forms.common import NAME, cleaned, missed, share_words, utc
from ironbound.auditing.forms.rules import GATE, LEVELS, WEAK, plain, rule_of_check, rules_of
from ironbound.auditing.gaps import weakness
from ironbound.auditing.intervals import CONFIDENCE, clopper_pearson
from ironbound.auditing.report import wording
from ironbound.auditing.report.schema import Audit, Condition, GateFacts, GroupFacts
from ironbound.core.text import brief, json_text

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
HOME = "https://github.com/ironbound/ironbound"
GROUPS = 20
"""Weak classes, and weak slices of a column, that become results: those that hold least."""


def sarif(audit: Audit, gate: GateFacts | None = None, *, source: str | None = None, line: int = 1) -> str:
    """One log with one run, as JSON.

    source: a file relative to the repository, with slashes; results are shown there, at `line`. None: they are shown at
    audit.json, which need not be in the repository.

    A red check that failed is an error, an amber one a warning, any other a note; a condition that is not met is an error,
    whether it is missed or cannot be told, since the gate fails for either; a weak class or slice is a warning.
    """
    rules = rules_of(audit["checks"], gate is not None)
    place = {rule["id"]: index for index, rule in enumerate(rules)}
    location = _location(source, line)
    results = [
        {**found, "ruleIndex": place[found["ruleId"]], "kind": "fail", "locations": [location]}
        for found in (*_checks(audit), *_conditions(audit, gate), *_groups(audit))
    ]
    driver = {
        "name": "Ironbound",
        "version": audit["ironbound"],
        "semanticVersion": audit["ironbound"],
        "informationUri": HOME,
        "rules": rules,
    }
    invocation: dict[str, Any] = {"executionSuccessful": True, "toolExecutionNotifications": _untold(audit, place)}
    if when := utc(audit["created"]):
        invocation["startTimeUtc"] = f"{when}Z"
    if gate is not None:
        invocation |= {"exitCode": int(not gate["passed"]), "exitCodeDescription": plain(gate["reason"])}
    log = {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": driver},
                "automationDetails": {
                    "id": f"{'/'.join(['ironbound', *(_part(name) for name in _scope(audit))])}/",
                    "description": {"text": plain(wording.sentence(audit))},
                },
                "invocations": [invocation],
                "originalUriBaseIds": {"%SRCROOT%": {"description": {"text": "The root of the repository."}}},
                "columnKind": "unicodeCodePoints",
                "results": results,
                "properties": cleaned(_properties(audit, gate)),
            }
        ],
    }
    return f"{json_text(log)}\n"


def _checks(audit: Audit) -> Iterator[dict[str, Any]]:
    for check in audit["checks"]:
        if check["result"] == "fail":
            words = f"{check['name']}: the check failed. {check['evidence']} {check['meaning']} Next: {check['next']}"
            told = {"result": check["result"], "severity": check["severity"]}
            yield _result(audit, rule_of_check(check), LEVELS[check["severity"]], words, (), told)


def _untold(audit: Audit, place: dict[str, int]) -> list[dict[str, Any]]:
    """The checks that could not tell, and those that are pending: nothing was found, and nothing can be concluded from that."""
    unclear = [check for check in audit["checks"] if check["result"] == "cannot tell"]
    told: list[dict[str, Any]] = [
        {
            "level": "note",
            "message": {
                "text": plain(f"{check['name']}: the check could not tell. {check['evidence']} Next: {check['next']}")
            },
            "associatedRule": {"id": rule_of_check(check), "index": place[rule_of_check(check)]},
        }
        for check in unclear
    ]
    if not audit["checks"]:
        text = plain(f"{wording.checks_state(audit)}. {audit['confidence']['text']}")
        told.append({"level": "warning", "message": {"text": text}})
    return told


def _conditions(audit: Audit, gate: GateFacts | None) -> Iterator[dict[str, Any]]:
    for condition in () if gate is None else missed(gate):
        words = f"The gate is not passed: {condition['name']}. {condition['reason']}"
        yield _result(
            audit,
            GATE + condition["kind"],
            "error",
            words,
            (re.sub(r"[\d.]+", "", condition["name"]),),
            _told(condition),
        )


def _told(condition: Condition) -> dict[str, Any]:
    return {key: condition[key] for key in ("outcome", "wanted", "share", "drop", "more") if key in condition}


def _groups(audit: Audit) -> Iterator[dict[str, Any]]:
    tables = [("class", audit["classes"])] + [(column["column"], column["groups"]) for column in audit["slices"]]
    if not wording.was_attacked(audit):
        return
    for number, (column, groups) in enumerate(tables):
        kind = "slice" if number else "class"
        for group in weak(audit, groups)[:GROUPS]:
            named = f"class {group['name']}" if kind == "class" else f"{column} {group['name']}"
            words = (
                f"Of {named}, {share_words(group['attacked'])} are right under attack, of all samples "
                f"{share_words(audit['attacked'])}. The interval of the group, widened for {len(groups):,} groups, "
                f"ends below that of the whole. {wording.threat(audit)}; {wording.checks_state(audit)}."
            )
            yield _result(
                audit, WEAK + kind, "warning", words, (column, group["name"]), {"attacked": group["attacked"]}
            )


def weak(audit: Audit, groups: Sequence[GroupFacts]) -> list[GroupFacts]:
    """The groups of which less is right under attack than of all samples, beyond chance; those that hold least first.

    That is: the upper end of the group's exact interval, at a level divided by the number of groups (Bonferroni), is below the
    lower end of the whole's own.
    """
    level = 1 - (1 - CONFIDENCE) / max(1, len(groups))
    filled = [group for group in groups if group["total"]]
    upper = lambda share: clopper_pearson(share["count"], share["total"], level)[1]
    found = [group for group in filled if upper(group["attacked"]) < audit["attacked"]["low"]]
    return sorted(found, key=lambda group: (*weakness(group), group["name"]))


def _result(
    audit: Audit, rule_id: str, level: str, words: str, further: Sequence[str], properties: dict[str, Any]
) -> dict[str, Any]:
    digest = hashlib.blake2b(digest_size=16)
    for part in (rule_id, *_scope(audit), *further):
        digest.update(json.dumps(part).encode())
    print_ = digest.hexdigest()
    return {
        "ruleId": rule_id,
        "level": level,
        "message": {"text": plain(words)},
        # what GitHub reads is named after lines; of itself it would tell findings at one line apart by their rule alone
        "partialFingerprints": {"ironbound/v1": print_, "primaryLocationLineHash": f"{print_[:16]}:1"},
        "properties": cleaned(properties),
    }


def _scope(audit: Audit) -> tuple[str, str, str]:
    """What stays the same from run to run."""
    return audit["model"]["name"], audit["data"]["name"], audit["threat"]["spec"]


def _part(name: str) -> str:
    """A name as one part of a path that has no slashes of its own."""
    return quote(brief(name, NAME), safe=" ,:|.")


def _location(source: str | None, line: int) -> dict[str, Any]:
    path = "audit.json" if source is None else source
    try:  # names that could not be decoded are the bytes that they were
        name = path.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        name = path.encode("utf-8", "surrogatepass")
    place: dict[str, Any] = {
        "artifactLocation": {"uri": quote(name), "uriBaseId": "%SRCROOT%"},
        "region": {"startLine": line},
    }
    return {"physicalLocation": place}


def _properties(audit: Audit, gate: GateFacts | None) -> dict[str, Any]:
    """The figures, each with its count and interval, and what stands beside them."""
    facts: Any = audit
    shares = ("clean", "attacked", "certified", "bracket", "verdicts", "confidence", "cost", "seed", "threat", "model")
    return {
        "title": audit["title"],
        "found": wording.sentence(audit),
        **{key: facts[key] for key in shares},
        "data": {key: value for key, value in audit["data"].items() if key != "classes"},
        "plan": audit["plan"]["name"],
        "fingerprints": audit["fingerprints"],
        "checks": {check["name"]: check["result"] for check in audit["checks"]},
        **({} if gate is None else {"gate": gate}),
    }
