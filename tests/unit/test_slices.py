"""Fractions by class and slice: counted again sample by sample, with exact intervals."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

import ironbound as ib
from audit_samples import data_of, digits, digits_net
from ironbound.auditing.audit import Audit
from ironbound.auditing.slices import MOST, by_class, by_column
from ironbound.auditing.table import VERDICTS
from ironbound.auditing.verdicts import StageRows

RIGHT = {
    "clean": {"broken", "certified", "undecided"},
    "attacked": {"certified", "undecided"},
    "certified": {"certified"},
}


def verdicts_of(verdict: list[str], label: list[int], **columns: Any) -> Any:
    """Verdicts with a second row of half of the samples, as stages leave them."""
    further = sum(v != "wrong" for v in verdict)
    table = pa.table(
        {
            "stage": ["clean"] * len(verdict) + ["pgd"] * further,
            **{f"data.{name}": pa.array([*values, *[None] * further]) for name, values in columns.items()},
        }
    )
    parts = lambda names, before: iter([(table.select(names or table.column_names), {})])
    run = SimpleNamespace(folder=SimpleNamespace(parts=parts), before=None)
    rows: Any = lambda stage: StageRows(run, stage)  # type: ignore[arg-type]
    return SimpleNamespace(verdict=np.array(verdict, dtype=object), label=np.array(label), stage_rows=rows)


def right(verdict: list[str], mine: list[bool]) -> dict[str, tuple[int, int]]:
    """The counts out of how many, one sample after the other."""
    some = [v for v, yes in zip(verdict, mine, strict=True) if yes]
    return {name: (sum(v in kinds for v in some), len(some)) for name, kinds in RIGHT.items()}


def checked(group: dict[str, Any], wanted: dict[str, tuple[int, int]]) -> None:
    for name, (count, total) in wanted.items():
        exact = binomtest(count, total).proportion_ci(0.95, "exact")
        assert (group[name]["count"], group[name]["total"], group["total"]) == (count, total, total)
        assert group[name]["fraction"] == count / total
        assert (group[name]["low"], group[name]["high"]) == pytest.approx((exact.low, exact.high), abs=1e-9)


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(VERDICTS), st.integers(0, 4), st.sampled_from(["a", "b", None])), min_size=1))
def test_every_group_is_counted_as_one_would_by_hand(rows: list[tuple[str, int, str | None]]) -> None:
    verdict, label, kind = (list(column) for column in zip(*rows, strict=True))
    verdicts = verdicts_of(verdict, label, kind=pa.array(kind, pa.string()).to_pylist())
    classes = by_class(verdicts, ["zero", "one", "two"])
    assert [c["name"] for c in classes] == [["zero", "one", "two", "3", "4"][y] for y in sorted(set(label))]
    for group, y in zip(classes, sorted(set(label)), strict=True):
        checked(group, right(verdict, [mine == y for mine in label]))
    (found,) = by_column(verdicts)
    if len(set(kind)) == 1:
        assert found == {"column": "kind", "groups": [], "note": "Every sample has the same value."}
        return
    if 2 * len(set(kind)) > len(kind):
        assert found["note"] == f"It has {len(set(kind))} values, too many for slices."
        return
    sizes = Counter("no value" if value is None else value for value in kind)
    assert [g["name"] for g in found["groups"]] == sorted(sizes, key=lambda name: (-sizes[name], name))
    for group in found["groups"]:
        checked(group, right(verdict, [group["name"] == ("no value" if value is None else value) for value in kind]))


def test_the_commonest_values_are_listed_and_the_others_counted() -> None:
    ages = [a for a in range(30) for _ in range(a + 1)]  # of age a there are a + 1
    n = len(ages)
    columns = {"age": ages, "id": list(range(n)), "score": [math.nan] * (n - 1) + [0.5], "tags": [["x"]] * n}
    columns |= {"pairs": [min(i // 2, 16) for i in range(n)]}
    found = {s["column"]: s for s in by_column(verdicts_of(["undecided"] * n, [0] * n, **columns))}
    assert [g["name"] for g in found["age"]["groups"]] == [str(a) for a in range(29, 9, -1)]
    assert len(found["age"]["groups"]) == MOST
    assert found["age"]["note"] == "The 20 values with the most samples; 10 others with 55 in all are left out."
    assert found["id"] == {"column": "id", "groups": [], "note": f"It has {n} values, too many for slices."}
    assert [(g["name"], g["total"]) for g in found["score"]["groups"]] == [("nan", n - 1), ("0.5", 1)]
    assert found["pairs"]["groups"] != []
    assert found["tags"]["note"] == "Its values are not single ones; no slices were made."


def test_slices_of_a_run_and_of_its_folder(tmp_path: Path) -> None:
    data = digits(24)
    ward = [f"ward {int(i) % 3}" for i in data.index]
    sliced = data_of(data.x, data.y, index=data.index, columns={"ward": ward, "id": list(range(24))})
    report = ib.audit(digits_net(), sliced, threat="linf:0.05", method="pgd", out=tmp_path / "run", pool=7)
    ward_, id_ = report.facts["slices"]
    assert (ward_["column"], id_["column"]) == ("ward", "id")
    assert id_["groups"] == []
    for group in ward_["groups"]:
        checked(group, right(report.verdicts, [name == group["name"] for name in ward]))
    assert {g["name"] for g in ward_["groups"]} == set(ward)
    assert "By ward, most samples first" in report.to_html()
    assert Audit.load(tmp_path / "run").facts == report.facts
    assert ib.verify(tmp_path / "run", digits_net(), sliced).holds
    stages, cost = report.facts["stages"], report.facts["cost"]
    assert all(stage["cpu"] > 0 for stage in stages if stage["forward"])
    assert cost["cpu"] == pytest.approx(sum(stage["cpu"] for stage in stages))
