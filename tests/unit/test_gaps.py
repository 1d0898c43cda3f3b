"""The fairness gap: its interval holds for groups that were picked, checked by enumeration and by simulation."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from ironbound.auditing.gaps import gap_of, gaps_of, lower_differences
from ironbound.auditing.intervals import clopper_pearson
from ironbound.auditing.report import fairness
from report_samples import audit, group


@pytest.mark.parametrize("level", [0.025, 0.0005])
def test_a_difference_is_bounded_at_its_level_whatever_the_shares(level: float) -> None:
    grid = np.array([0.0, 0.01, 0.1, 0.31, 0.5, 0.69, 0.9, 0.99, 1.0])
    for n, m in itertools.product([1, 2, 6, 15], repeat=2):
        pairs = np.array(list(itertools.product(range(n + 1), range(m + 1))))
        bound = np.array(
            [lower_differences(np.array([x, y]), np.array([n, m]), level)[0, 1] for x, y in pairs]
        ).reshape(n + 1, m + 1)
        first, second = binom.pmf(np.arange(n + 1)[:, None], n, grid), binom.pmf(np.arange(m + 1)[:, None], m, grid)
        for i, j in itertools.product(range(len(grid)), repeat=2):
            missed = bound > grid[i] - grid[j] + 1e-12
            assert first[:, i] @ missed @ second[:, j] <= level


@pytest.mark.parametrize(
    "shares", [[0.5] * 8, [0.9, 0.5], [0.95, *[0.7] * 6, 0.4]], ids=["no gap", "two", "two of eight"]
)
def test_the_interval_covers_the_true_gap_of_groups_that_were_picked(shares: list[float]) -> None:
    rng, runs, total = np.random.default_rng(0), 200, 40
    true, covered, naive = max(shares) - min(shares), 0, 0
    for _ in range(runs):
        found = gap_of([(str(i), int(rng.binomial(total, p)), total) for i, p in enumerate(shares)])
        assert found is not None
        covered += found["low"] <= true <= found["high"]
        spread = math.sqrt(
            sum(found[end]["fraction"] * (1 - found[end]["fraction"]) / total for end in ("best", "worst"))
        )
        naive += found["difference"] - 1.96 * spread <= true
    assert covered >= 0.95 * runs
    if true == 0:
        assert naive < 0.8 * runs  # what it would be to forget that the two were picked


def test_real_gaps_are_told_from_chance() -> None:
    even = gap_of([(str(i), 50, 100) for i in range(10)])
    apart = gap_of([("worst", 300, 1000), ("best", 700, 1000), *((str(i), 500, 1000) for i in range(8))])
    assert even is not None
    assert apart is not None
    assert (even["difference"], even["low"]) == (0.0, 0.0)
    assert apart["difference"] == pytest.approx(0.4)
    assert 0.3 < apart["low"] < 0.4 < apart["high"] < 0.5
    assert (apart["worst"]["name"], apart["best"]["name"]) == ("worst", "best")


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.lists(st.integers(0, 30).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), max_size=6))
def test_any_groups(counts: list[tuple[int, int]]) -> None:
    groups = [(str(i), x, n) for i, (x, n) in enumerate(counts)]
    found = gap_of(groups)
    filled = [(name, x, n) for name, x, n in groups if n]
    if len(filled) < 2:
        assert found is None
        return
    assert found is not None
    share = {name: x / n for name, x, n in filled}
    assert found["difference"] == max(share.values()) - min(share.values())
    assert share[found["worst"]["name"]] == min(share.values())
    assert share[found["best"]["name"]] == max(share.values())
    assert 0 <= found["low"] <= found["difference"] <= found["high"] <= 1
    for end in ("worst", "best"):
        alone = clopper_pearson(found[end]["count"], found[end]["total"])
        assert found[end]["low"] <= alone[0] <= alone[1] <= found[end]["high"]


def told(**facts: Any) -> Any:
    sample: Any = {**audit(), **facts}
    sample["gaps"] = gaps_of(sample["classes"], sample["slices"])
    return sample


def test_the_gap_in_words() -> None:
    sample = told(classes=[group("cat", 100, 99, 80, 0), group("dog", 100, 98, 30, 0)], slices=[])
    attacked, clean = fairness.gaps(sample)
    assert attacked.startswith("Right under attack: the worst of 2 is dog (30 of 100, 30.0%, 95% interval ")
    assert "Fairness gap 50.0 points (95% interval " in attacked
    assert clean.endswith("chance alone may explain it.")
    sample["stages"] = [stage for stage in sample["stages"] if stage["kind"] != "attack"]
    assert fairness.gaps(sample) == [clean]  # what was not attacked has no gap under attack
    assert fairness.gaps(sample, "hospital") == []


def test_groups_that_hold_alike_have_no_worst() -> None:
    sample = told(classes=[group("cat", 100, 99, 0, 0), group("dog", 100, 98, 0, 0)], slices=[])
    assert fairness.gaps(sample)[0].startswith("Right under attack: all 2 hold alike, such as ")


def test_many_equal_groups_are_one_question() -> None:
    groups = [(str(i), 30 + i % 3, 50) for i in range(3_000)]
    found, few = gap_of(groups), gap_of(groups[:6])
    assert found is not None
    assert few is not None
    assert found["high"] == few["high"]  # which knows of no number of groups
    assert found["groups"] == 3_000
    count, total = np.array([30, 31, 32]), np.array([50, 50, 50])
    assert found["high"] == pytest.approx(-lower_differences(count, total, 0.025).min())
