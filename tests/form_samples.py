"""What a gate says, hostile texts, and readers of the forms that a run is written in: for the tests of the forms."""

from __future__ import annotations

import json
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from ironbound.auditing.report.schema import GateFacts
from report_samples import share

SCHEMAS = Path(__file__).parent / "schemas"
SARIF = SCHEMAS / "sarif-schema-2.1.0.json"

HOSTILE = {
    "script": "<script>alert(1)</script>",
    "image": '"><img src=x onerror=alert(1)>',
    "cdata": "]]><b>x</b><![CDATA[",
    "comment": "--><b>x</b><!--",
    "entity": "&lt;b&gt; &#60; &undefined;",
    "template": "{{ 7 * 7 }} {% raw %} ${7*7}",
    "link": "[a](javascript:alert(1)) ![b](http://x.test/y)",
    "reference": "[a]: http://x.test 'b'",
    "autolink": "<http://x.test> http://x.test www.x.test a@x.test @team #123",
    "cells": "a | b || c \\| d",
    "rule": "---",
    "heading": "# a",
    "list": "1. a",
    "quote": "> a",
    "emphasis": "*a* **b** _c_ __d__ ~~e~~ ==f== ++g++ `h` ``` $i$",
    "fence": "```\n</details>\n```",
    "lines": "a\n\n# b\r\nc\u2028d\x85e",
    "formula": "=cmd|'/c calc'!A0",
    "formulas": "+1;=1+1;\t@SUM(1)",
    "ansi": "\x1b[31mred\x1b]0;t\x07\x9b31m",
    "nul": "a\x00b\x01\x08\x0b\x0c\x7f",
    "surrogate": "caf\udce9 \ud800 \udfff",
    "nonchar": "\ufffe \uffff \U0001ffff",
    "bidi": "abc\u202egpj.exe\u2066\u200f\ufeff",
    "long": "=<b>" * 2500,
    "empty": "",
    "space": "  a  ",
    "backslash": "a\\",
    "quotes": "'\"`\u2019",
}


class Html(HTMLParser):
    """Tags, attributes and words of a page."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.words = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.words += data


def gate(passed: bool = False) -> GateFacts:
    """A gate with a condition of each kind and outcome, or one that is passed."""
    conditions: list[Any] = [
        {"name": "clean at least 0.9", "kind": "clean", "outcome": "pass", "reason": "98.2% is enough", "wanted": 0.9}
    ]
    if not passed:
        conditions += [
            {"name": "attacked at least 0.8", "kind": "attacked", "outcome": "below", "reason": "70.1% is below",
             "wanted": 0.8, "share": share(701, 1000)},
            {"name": "certified at least 0.6", "kind": "certified", "outcome": "cannot tell", "reason": "about 900 more",
             "wanted": 0.6, "share": share(612, 1000), "more": 900},
            {"name": "no red checks", "kind": "checks", "outcome": "fail", "reason": "one red check failed"},
            {"name": "attacked may drop by 0.01", "kind": "drop", "outcome": "above", "reason": "it fell by 3 points",
             "drop": [0.03, 0.02, 0.04]},
        ]  # fmt: skip
    reason = "all conditions are met" if passed else "attacked is below 0.8"
    return {"passed": passed, "reason": reason, "conditions": conditions, "run": "runs/x"}


@cache
def checker(schema: str) -> Any:
    """What holds documents against a JSON Schema in this file, formats included."""
    from jsonschema import validators

    read = json.loads(Path(schema).read_text("utf-8"))
    kind = validators.validator_for(read)
    kind.check_schema(read)
    return kind(read, format_checker=kind.FORMAT_CHECKER)


def schema_errors(schema: Path, document: Any) -> list[str]:
    """What a document has against a JSON Schema."""
    errors = checker(str(schema)).iter_errors(document)
    return [f"{'/'.join(map(str, error.absolute_path))}: {error.message[:200]}" for error in errors]


def undescribed(name: str, document: Any) -> list[str]:
    """What a file has against its published schema ("audit-2"), where no key may be in it that the schema does not name."""
    return [error.message[:200] for error in _strict(name).iter_errors(document)]


@cache
def _strict(name: str) -> Any:
    from jsonschema import Draft202012Validator

    from ironbound.core.jsonschemas import published

    return Draft202012Validator(_closed(published(name)))


def _closed(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: _closed(part) for key, part in schema.items()}
    return (
        {"additionalProperties": False, **found} if "properties" in found and found.get("type") == "object" else found
    )
