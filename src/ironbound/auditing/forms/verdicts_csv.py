"""The verdicts of a run as CSV (RFC 4180): a row a sample, written part by part.

Spreadsheets take a cell that begins with = + - @ for a formula, whoever wrote it (OWASP, "CSV Injection"). So texts are quoted
always, and where one begins like a formula, or holds what some spreadsheets take for the beginning of another cell followed by
such a sign, an apostrophe stands before the sign, which makes it text. Numbers stay numbers. Line ends and control characters
within texts are written out, so that a line is a row.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ironbound.auditing.folder import RunFolder
from ironbound.auditing.table import DATA
from ironbound.auditing.verdicts import Verdicts
from ironbound.core.store import write_stream
from ironbound.core.text import shown

OWN = ("index", "key", "label", "class", "prediction", "predicted_class", "verdict", "stage", "confidence")
"""`index`: the row of the data; `prediction` and `confidence`: the answer to the clean input; `stage`: where it was decided."""
_FORMULA = re.compile(r"((?:^|[;|\t])[\s'\ufeff]*)(?=[=+\-@\uff1d\uff0b\uff0d\uff20])")
ROWS = 10_000
"""Rows that are put together before they are written."""


def write_csv(folder: RunFolder, path: Path) -> None:
    """Write the verdicts of a run, whole or not at all. Raises RunError where its parts are damaged or it cannot be written."""
    write_stream(path, (block.encode() for block in csv_blocks(folder)))


def csv_blocks(folder: RunFolder) -> Iterator[str]:
    """The lines, some thousand at a time, the header first. Memory: what `Verdicts` keeps, and one part of the results."""
    verdicts, classes = Verdicts.of(folder), list(folder.manifest["data"]["classes"])
    further = sorted(name for name in verdicts.stage_rows("clean") if name.startswith(DATA))
    yield _lines([[*OWN, *further]])
    begin = 0
    for columns in _parts(folder, further):
        size = len(columns[0])
        for start in range(0, size, ROWS):
            end = min(size, start + ROWS)
            places = slice(begin + start, begin + end)
            yield _lines(
                zip(*_own(verdicts, places, classes), *(column[start:end] for column in columns[1:]), strict=True)
            )
        begin += size


def _parts(folder: RunFolder, further: Sequence[str]) -> Iterator[list[Any]]:
    """Of each part the columns of its clean rows, one a sample: the numbers of the rows, and the data's own columns."""
    import pyarrow.compute as pc

    for table, _ in folder.parts(["index", "stage", *further]):
        clean = table.filter(pc.equal(table["stage"], "clean"))
        yield [clean["index"].to_numpy(), *(clean[name].to_pylist() for name in further)]


def _own(verdicts: Verdicts, places: slice, classes: Sequence[str]) -> list[Sequence[Any]]:
    """The columns that every run has, in the order of OWN; `Verdicts` has samples in the order of the parts."""
    named = lambda labels: [
        "" if label is None or not 0 <= label < len(classes) else classes[label] for label in labels
    ]
    label, prediction = _whole(verdicts.label[places]), _whole(verdicts.prediction[places])
    return [
        verdicts.index[places].tolist(), verdicts.digest[places].astype("U32").tolist(), label, named(label),
        prediction, named(prediction), verdicts.verdict[places].tolist(), verdicts.stage[places].tolist(),
        verdicts.confidence[places].tolist(),
    ]  # fmt: skip


def _whole(numbers: Any) -> list[int | None]:
    """Whole numbers, which are kept as fractions where a part of the results has gaps."""
    return [None if value != value else int(value) for value in numbers.tolist()]


def _lines(rows: Any) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\r\n")
    writer.writerows([_cell(value) for value in row] for row in rows)
    return buffer.getvalue()


def _cell(value: Any) -> Any:
    """A number as it is, an empty cell for none, and all else as a text that no spreadsheet runs."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, (int, float)) else text_cell(value)


def text_cell(value: Any) -> str:
    """A text as a cell.

    >>> text_cell("=1+1"), text_cell("a-b"), text_cell("x;@y")
    ("'=1+1", 'a-b', "x;'@y")
    """
    return _FORMULA.sub(r"\1'", shown(value))
