"""Fractions by class and slice: counted again sample by sample, with exact intervals."""

from __future__ import annotations

import datetime
import itertools
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
from audit_samples import data_of, digits, digits_net, edited
from ironbound.auditing.audit import Audit
from ironbound.auditing.columns import chosen, groups_of
from ironbound.auditing.slices import MOST, by_class, by_column
from ironbound.auditing.table import VERDICTS
from ironbound.auditing.verdicts import StageRows
from ironbound.cli import run
from ironbound.core.errors import UsageError

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


# ------------------------------------------------------------------------------------------------- columns by choice
def sliced(columns: dict[str, Any], *wanted: str) -> list[dict[str, Any]]:
    n = len(next(iter(columns.values())))
    return by_column(verdicts_of(["undecided"] * n, [0] * n, **columns), wanted)


def test_only_what_is_asked_for_in_that_order() -> None:
    columns = {"a": [1, 2] * 5, "b": ["x", "y"] * 5, "c": [True, False] * 5}
    assert [s["column"] for s in sliced(columns, "c", "a", "c")] == ["c", "a"]
    assert sliced(columns, "label") == []  # the classes have a table of their own
    assert chosen(["label"], ["label"]) == ["label"]  # unless the data have such a column
    with pytest.raises(
        UsageError, match=r"no column 'aa' to slice by\. Did you mean 'a'\? There are: a, b, c; and label"
    ):
        sliced(columns, "aa")


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.lists(st.one_of(st.none(), st.just(math.nan), st.floats(-1e6, 1e6), st.sampled_from([0.0, 1.0])), min_size=2))
def test_bins_hold_every_sample_once_within_their_edges(values: list[float | None]) -> None:
    found = groups_of(pa.chunked_array([pa.array(values, pa.float64())]), forced=True)
    if isinstance(found, str):
        return
    assert len(found.of) == len(values)
    assert sorted(set(found.of.tolist())) == sorted(found.listed) or len(found.listed) == MOST
    if not found.note.endswith("largest value."):
        return
    inside: dict[int, list[float]] = {}
    for value, mine in zip(values, found.of.tolist(), strict=True):
        if value is None or math.isnan(value):
            assert found.names[mine] == ("no value" if value is None else "nan")
        else:
            inside.setdefault(mine, []).append(value)
    ends = [(min(mine), max(mine)) for _, mine in sorted(inside.items())]
    assert all(high < low for (_, high), (low, _) in itertools.pairwise(ends))
    assert len(set(found.names)) == len(found.names)
    for (low, high), name in zip(ends, found.names, strict=False):
        assert float(name.split(" to ")[0]) == pytest.approx(low, rel=1e-3)
        assert float(name.split(" to ")[-1]) == pytest.approx(high, rel=1e-3)


def test_numbers_become_quarters_and_texts_are_listed() -> None:
    n = 400
    columns: dict[str, Any] = {
        "age": [i % 100 for i in range(n)], "id": [f"p{i}" for i in range(n)], "word": [f"w{i // 2}" for i in range(n)],
        "day": [datetime.date(2026, 1, 1) + datetime.timedelta(days=i) for i in range(n)], "grade": [i % 3 for i in range(n)],
    }  # fmt: skip
    found = {s["column"]: s for s in sliced(columns, *columns)}
    assert [(g["name"], g["total"]) for g in found["age"]["groups"]] == [
        ("0 to 24", 100), ("25 to 49", 100), ("50 to 74", 100), ("75 to 99", 100)
    ]  # fmt: skip
    assert found["day"]["groups"][0]["name"] == "2026-01-01 to 2026-04-10"
    assert [g["name"] for g in found["grade"]["groups"]] == ["0", "1", "2"]  # few enough to stand for themselves
    assert found["id"]["note"] == "It has 400 values, too many for slices."  # each of one sample
    assert len(found["word"]["groups"]) == MOST
    close = [1.0 + i * 1e-6 for i in range(100)]
    names = [g["name"] for g in sliced({"x": close}, "x")[0]["groups"]]
    assert len(set(names)) == 4
    assert names[0] == "1 to 1.000024"


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the checks, which take a hundred times as long as these audits."""
    monkeypatch.setattr("ironbound.auditing.audit.run_checks", lambda *_: [])


@pytest.mark.usefixtures("unchecked")
def test_a_run_is_sliced_as_asked_and_again_when_finished(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, where = digits(24), tmp_path / "run"
    made = data_of(
        data.x, data.y, index=data.index,
        columns={"ward": [f"ward {int(i) % 3}" for i in data.index], "age": list(range(24)), "<b>x</b>": ["p", "q"] * 12},
    )  # fmt: skip
    asked: dict[str, Any] = {"threat": "linf:0.05", "method": "fgsm", "out": where}
    with pytest.raises(UsageError, match=r"no column 'wards' to slice by\. Did you mean 'ward'"):
        ib.audit(digits_net(), made, slice_by="wards", **asked)
    assert not where.exists()  # said before anything is run
    report = ib.audit(digits_net(), made, slice_by=["age"], **asked)
    assert (report.facts["slice_by"], [s["column"] for s in report.facts["slices"]]) == (["age"], ["age"])
    assert {gap["column"] for gap in report.facts["gaps"]} == {None, "age"}
    assert ib.verify(where, digits_net(), made).holds
    other = report.sliced_by("ward")
    assert Audit.load(where).facts == report.facts
    assert [g["total"] for g in other.facts["slices"][0]["groups"]] == [10, 7, 7]
    assert run(["report", str(where), "--slice-by", "ward,<b>x</b>", "--out", str(tmp_path / "page.html")]) == 0
    assert Audit.load(where).facts == report.facts  # a page elsewhere leaves the run alone
    assert "&lt;b&gt;x&lt;/b&gt;" in (tmp_path / "page.html").read_text()
    assert "<b>x</b>" not in (tmp_path / "page.html").read_text()
    assert run(["report", str(where), "--slice-by", "ward"]) == 0
    assert Audit.load(where).facts == other.facts
    assert "By ward, most samples first" in (where / "report.html").read_text()
    assert ib.verify(where, digits_net(), made).holds
    assert run(["report", str(where), "--slice-by", "nothing"]) == 2
    (where / "results" / "part-00000.parquet").write_bytes(
        (where / "results" / "part-00000.parquet").read_bytes() + b" "
    )
    capsys.readouterr()
    assert run(["report", str(where), "--slice-by", "age"]) == 2  # what was altered must not be sealed again
    assert "was altered" in capsys.readouterr().err


@pytest.mark.usefixtures("unchecked")
def test_a_run_from_before_there_were_gaps_holds(tmp_path: Path) -> None:
    data = digits(12)
    ib.audit(digits_net(), data, threat="linf:0.05", method="fgsm", out=tmp_path)
    edited(tmp_path / "audit.json", lambda facts: facts.pop("gaps"))
    assert ib.verify(tmp_path, digits_net(), data).holds
    assert "Fairness gap" not in Audit.load(tmp_path).to_html()
    edited(tmp_path / "audit.json", lambda facts: facts.update(slice_by=["age"]))
    assert "slice_by" in str(ib.verify(tmp_path, digits_net(), data))


@pytest.mark.usefixtures("unchecked")
def test_a_gate_takes_what_was_not_attacked_for_no_figure_under_attack(tmp_path: Path) -> None:
    audit = ib.audit(digits_net(), digits(12), threat="linf:0.001", method="fgsm", out=tmp_path)
    assert audit.gate(attacked_at_least=0.01)
    edited(tmp_path / "audit.json", lambda facts: facts["stages"][1].update(kind="bound"))
    gate = Audit.load(tmp_path).gate(attacked_at_least=0.01)
    assert not gate
    assert "attacked accuracy is not known: no attack was run" in gate.reason
    assert Audit.load(tmp_path).gate(clean_at_least=0.01)
    drop = Audit.load(tmp_path).gate(baseline=tmp_path, allow_drop=0.5)
    assert "drop of attacked accuracy is not known" in drop.reason


def test_a_zero_below_zero_is_zero_and_a_text_is_not_what_is_missing():
    zeros = groups_of(pa.chunked_array([pa.array([0.0, -0.0, 1.0] * 4)]))
    assert [zeros.names[i] for i in zeros.listed] == ["0.0", "1.0"]
    assert np.bincount(zeros.of).tolist() == [8, 4]
    texts = groups_of(pa.chunked_array([pa.array(["no value", None, "a"] * 4)]))
    assert len(set(texts.names)) == 3
