"""Writes the JSON Schemas that are published here and shipped in the package: `python docs/schemas/write.py`.

A test fails where they are not what this writes.
"""

from __future__ import annotations

from pathlib import Path

from ironbound.auditing.facts import SCHEMA as AUDIT
from ironbound.auditing.report import schema as audit
from ironbound.comparing import schema as comparison
from ironbound.comparing.comparison import SCHEMA as COMPARE
from ironbound.core.jsonschemas import made

HERE = Path(__file__).parent
SHIPPED = HERE.parents[1] / "src" / "ironbound" / "schemas"


def schemas() -> dict[str, str]:
    """Each file's name and what belongs into it."""
    both = [audit, comparison]
    return {
        f"audit-{AUDIT}.json": made(audit.Audit, both, f"audit-{AUDIT}", "audit.json of Ironbound"),
        f"compare-{COMPARE}.json": made(
            comparison.ComparisonFacts, both, f"compare-{COMPARE}", "compare.json of Ironbound"
        ),
    }


if __name__ == "__main__":
    for name, text in schemas().items():
        for folder in (HERE, SHIPPED):
            (folder / name).write_text(text, encoding="utf-8", newline="\n")
