"""The page of the worst witnesses of an assertion that failed."""

from __future__ import annotations

from pathlib import Path

import torch

from ironbound.asserting.found import Found
from ironbound.asserting.samples import Case, Stream
from ironbound.core import rows as rows_
from ironbound.core.errors import InputError
from ironbound.showing.page import page_of
from ironbound.showing.seen import pictures

WORDS = {"wrong": "wrong when clean", "undecided": "not certified"}


def write(found: Found, stream: Stream, path: Path) -> tuple[Path | None, list[str]]:
    """Write it; where it went, and why not where inputs are of a kind that no page shows."""
    try:
        shown = pictures(
            stream.evaluation.model,
            rows_.join([case.clean for case in found.against]),
            torch.tensor([case.label for case in found.against], device=stream.evaluation.model.device),
            rows_.join([case.clean if case.witness is None else case.witness for case in found.against]),
            index=torch.tensor([case.index for case in found.against]),
            verdicts=[_word(case) for case in found.against],
            size=torch.tensor([case.size or 0.0 for case in found.against], dtype=torch.float64),
            names=found.names or None, seed=found.seed, rows=stream.evaluation.rows,
        )  # fmt: skip
    except InputError as error:
        return None, [f"no page was written: {error}"]
    lead = str(found).split("\n", 1)[0]
    page = page_of(found.name or "The worst witnesses", lead[:1].upper() + lead[1:], shown, stream.evaluation.threat)
    path.parent.mkdir(parents=True, exist_ok=True)
    return page.save(path).path, []


def _word(case: Case) -> str:
    return WORDS.get(case.verdict, case.verdict)
