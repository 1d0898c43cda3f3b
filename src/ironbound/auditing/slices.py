"""The three fractions by class and by slice, each with its count and its 95% interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ironbound.auditing.columns import MOST as MOST
from ironbound.auditing.columns import Groups, chosen, groups_of
from ironbound.auditing.intervals import Share
from ironbound.auditing.table import DATA
from ironbound.auditing.verdicts import RIGHT, Verdicts


def by_class(verdicts: Verdicts, named: Sequence[str]) -> list[dict[str, Any]]:
    """Each class of the label that has samples, in the order of the labels."""
    labels, group = np.unique(verdicts.label, return_inverse=True)
    names = [named[label] if label < len(named) else str(label) for label in labels.tolist()]
    return _counted(verdicts, group, names)


def by_column(verdicts: Verdicts, wanted: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Further columns of the data, all or those that are `wanted`: their values, and in words what was left out.

    Raises UsageError for a column that there is not.
    """
    rows = verdicts.stage_rows("clean")
    columns = [name.removeprefix(DATA) for name in rows if name.startswith(DATA)]
    found = []
    for name in chosen(wanted, columns):
        groups = groups_of(rows.arrow(DATA + name), forced=wanted is not None)
        found.append({"column": name, **_sliced(verdicts, groups)})
    return found


def _sliced(verdicts: Verdicts, groups: Groups | str) -> dict[str, Any]:
    """`groups` and `note` of one column."""
    if isinstance(groups, str):
        return {"groups": [], "note": groups}
    counted = _counted(verdicts, groups.of, groups.names)
    return {"groups": [counted[i] for i in groups.listed], "note": groups.note}


def _counted(verdicts: Verdicts, group: np.ndarray[Any, Any], names: list[str]) -> list[dict[str, Any]]:
    """Name, total and shares of each group; `group` holds the number of each sample's own."""
    total = np.bincount(group, minlength=len(names)).tolist()
    counts = {
        share: np.bincount(group[np.isin(verdicts.verdict, kinds)], minlength=len(names)).tolist()
        for share, kinds in RIGHT.items()
    }
    return [
        {"name": name, "total": total[i], **{s: Share.of(counts[s][i], total[i]).as_dict() for s in RIGHT}}
        for i, name in enumerate(names)
    ]
