"""Exact binomial intervals, against another implementation and against the definition."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from ironbound.auditing.intervals import Share, clopper_pearson


@st.composite
def counts(draw: st.DrawFn) -> tuple[int, int]:
    total = draw(st.integers(1, 100_000))
    return draw(st.integers(0, total)), total


@given(counts(), st.sampled_from([0.8, 0.95, 0.99]))
def test_interval_is_that_of_scipy(drawn: tuple[int, int], confidence: float) -> None:
    count, total = drawn
    expected = binomtest(count, total).proportion_ci(confidence, method="exact")
    assert clopper_pearson(count, total, confidence) == pytest.approx((expected.low, expected.high), abs=1e-9)


@given(counts())
def test_ends_leave_half_of_the_doubt_each_and_hold_the_fraction(drawn: tuple[int, int]) -> None:
    count, total = drawn
    low, high = clopper_pearson(count, total)
    assert 0 <= low <= count / total <= high <= 1
    if count:
        assert binom.sf(count - 1, total, low) == pytest.approx(0.025, rel=1e-5)
    if count < total:
        assert binom.cdf(count, total, high) == pytest.approx(0.025, rel=1e-5)


def test_nothing_one_and_all() -> None:
    assert clopper_pearson(0, 0) == (0.0, 1.0)
    assert clopper_pearson(0, 1) == (0.0, pytest.approx(0.975))
    assert clopper_pearson(1, 1) == (pytest.approx(0.025), 1.0)
    assert clopper_pearson(10, 10)[1] == 1.0
    assert Share.of(0, 0).fraction == 0.0
    assert Share.of(0, 0).as_dict() == {"count": 0, "total": 0, "fraction": 0.0, "low": 0.0, "high": 1.0}


def test_a_share_carries_its_count_total_and_ends() -> None:
    share = Share.of(3, 12)
    assert share.as_dict() == {"count": 3, "total": 12, "fraction": 0.25, "low": share.low, "high": share.high}
    assert (share.low, share.high) == clopper_pearson(3, 12)
