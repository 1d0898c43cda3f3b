"""The three fractions by class and by slice, each with its count and its 95% interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ironbound.auditing.intervals import Share
from ironbound.auditing.table import DATA
from ironbound.auditing.verdicts import Verdicts

MOST = 20
"""Values of a column that are listed, those with the most samples: of more, each would be of too few to say much."""
COVERED = 0.5
"""The share of all samples that these must be of, and with two samples a value on average: or they are no slices."""
SHARES = {
    "clean": ("broken", "certified", "undecided"),
    "attacked": ("certified", "undecided"),
    "certified": ("certified",),
}


def by_class(verdicts: Verdicts, named: Sequence[str]) -> list[dict[str, Any]]:
    """Each class of the label that has samples, in the order of the labels."""
    labels, group = np.unique(verdicts.label, return_inverse=True)
    names = [named[label] if label < len(named) else str(label) for label in labels.tolist()]
    return _groups(verdicts, group, names)


def by_column(verdicts: Verdicts) -> list[dict[str, Any]]:
    """Each further column of the data: its commonest values, and in words what was left out."""
    rows = verdicts.stage_rows("clean")
    names = [name for name in rows if name.startswith(DATA)]
    return [{"column": name.removeprefix(DATA), **_sliced(verdicts, rows.arrow(name))} for name in names]


def _sliced(verdicts: Verdicts, column: Any) -> dict[str, Any]:
    """`groups` and `note` of one column, a value a sample."""
    import pyarrow as pa

    try:
        encoded = column.combine_chunks().dictionary_encode(null_encoding="encode")
    except pa.ArrowException:  # lists, structures
        return {"groups": [], "note": "Its values are not single ones; no slices were made."}
    group = encoded.indices.to_numpy(zero_copy_only=False)
    names = ["no value" if value is None else str(value) for value in encoded.dictionary.to_pylist()]
    if len(names) < 2:
        return {"groups": [], "note": "Every sample has the same value."}
    sizes = np.bincount(group, minlength=len(names)).tolist()
    order = sorted(range(len(names)), key=lambda i: (-sizes[i], names[i]))[:MOST]
    left = len(group) - sum(sizes[i] for i in order)
    if left > COVERED * len(group) or 2 * len(names) > len(group):
        return {"groups": [], "note": f"It has {len(names):,} values, too many for slices."}
    found = _groups(verdicts, group, names)
    others = len(names) - len(order)
    note = f"The {MOST} values with the most samples; {others:,} others with {left:,} in all are left out."
    return {"groups": [found[i] for i in order], "note": note if others else ""}


def _groups(verdicts: Verdicts, group: np.ndarray[Any, Any], names: list[str]) -> list[dict[str, Any]]:
    """Name, total and shares of each group; `group` holds the number of each sample's own."""
    total = np.bincount(group, minlength=len(names)).tolist()
    counts = {
        share: np.bincount(group[np.isin(verdicts.verdict, kinds)], minlength=len(names)).tolist()
        for share, kinds in SHARES.items()
    }
    return [
        {"name": name, "total": total[i], **{s: Share.of(counts[s][i], total[i]).as_dict() for s in SHARES}}
        for i, name in enumerate(names)
    ]
