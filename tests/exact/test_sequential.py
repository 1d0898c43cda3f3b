"""The sequential test against exact probabilities: every path of successes and failures, summed up by dynamic programming."""

from __future__ import annotations

import math
from functools import cache
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate

from ironbound.asserting.sequential import BLOCK, Sequential, evidence, interval
from ironbound.core.errors import UsageError

THRESHOLDS = (0.05, 0.45, 0.9, 0.99)


@cache
def outcomes(test: Sequential, share: float, most: int) -> tuple[np.ndarray, np.ndarray]:
    return test.chances(share, most)


def median(decided: np.ndarray) -> int:
    return int(np.argmax(decided >= 0.5)) + 1


# ------------------------------------------------------------------------------------------------- samples that it needs
@pytest.mark.parametrize(
    ("truth", "allowed", "needed"), [(0.90, 15, 11), (0.65, 70, 47), (0.55, 350, 216), (0.50, 1500, 993)]
)
def test_the_clearer_the_case_the_fewer_samples(truth: float, allowed: int, needed: int) -> None:
    passed, failed = outcomes(Sequential.at(0.45, 0.95), truth, allowed)
    assert median(passed) == needed <= allowed
    assert median(passed + failed) <= needed
    assert failed[-1] < 0.004


@pytest.mark.parametrize(("truth", "allowed"), [(0.1, 15), (0.25, 70), (0.35, 350), (0.40, 1500)])
def test_below_the_threshold_too(truth: float, allowed: int) -> None:
    assert median(outcomes(Sequential.at(0.45, 0.95), truth, allowed)[1]) <= allowed


def test_chances_are_those_of_all_paths() -> None:
    test, share, most = Sequential(0.45, 0.1, 0.1), 0.6, 11
    passed, failed = np.zeros(most), np.zeros(most)
    for path in product((0, 1), repeat=most):
        weight = math.prod(share if one else 1 - share for one in path)
        for n in range(1, most + 1):
            if said := test.decide(sum(path[:n]), n):
                (passed if said == "pass" else failed)[n - 1 :] += weight
                break
    found = test.chances(share, most)
    assert np.allclose(found[0], passed)
    assert np.allclose(found[1], failed)
    assert passed[-1] > 0.1
    assert 0 < failed[-1] < 0.01


# -------------------------------------------------------------------------------------------------------------- errors
@pytest.mark.parametrize("confidence", [0.8, 0.95])
@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_errors_stay_within_their_bounds(threshold: float, confidence: float) -> None:
    """At the threshold both are largest: there passing is no mistake, and is rare all the same."""
    test, tail = Sequential.at(threshold, confidence), (1 - confidence) / 2
    most, near = (3000, 1000) if (threshold, confidence) == (0.45, 0.95) else (1000, 300)
    passed, failed = outcomes(test, threshold, most)
    assert 0 < passed[-1] <= tail
    assert 0 < failed[-1] <= tail
    for step in (0.002, 0.05):
        if threshold > step:
            assert outcomes(test, threshold - step, near)[0][-1] <= passed[near - 1] + 1e-12
        if threshold + step < 1:
            assert outcomes(test, threshold + step, near)[1][-1] <= failed[near - 1] + 1e-12


def test_a_test_that_looks_after_each_sample_without_paying_for_it_is_caught() -> None:
    """Planted: the same test with Clopper-Pearson's ends, which hold for one number of samples only."""
    from ironbound.auditing.intervals import clopper_pearson

    class Naive(Sequential):
        def boundaries(self, block: int) -> tuple[np.ndarray, np.ndarray]:
            totals = range(block * BLOCK + 1, (block + 1) * BLOCK + 1)
            low = [
                next((k for k in range(n + 1) if clopper_pearson(k, n)[0] > 0.45), n + 1) for n in list(totals)[:200]
            ]
            high = [
                next((k for k in range(n, -1, -1) if clopper_pearson(k, n)[1] < 0.45), -1) for n in list(totals)[:200]
            ]
            return np.array(low), np.array(high)

    passed, failed = outcomes(Naive(0.45), 0.45, 200)
    assert passed[-1] + failed[-1] > 0.15


@pytest.mark.parametrize("truth", [0.40, 0.44, 0.45, 0.46, 0.50])
def test_a_thousand_simulated_cases(truth: float) -> None:
    """On either side of the threshold and at it, wrong in no more than 5% beyond chance."""
    test, cases, most = Sequential.at(0.45, 0.95), 1000, 2048
    passes, fails = (np.concatenate(side) for side in zip(*(test.boundaries(b) for b in range(2)), strict=True))
    successes = (np.random.Generator(np.random.Philox(int(truth * 100))).random((cases, most)) < truth).cumsum(1)
    first = lambda hit: np.where(hit.any(1), hit.argmax(1), most)
    passed, failed = first(successes >= passes), first(successes <= fails)
    wrong = (passed < failed) if truth < 0.45 else (failed < passed)
    assert wrong.sum() <= 0.05 * cases + 2.33 * math.sqrt(0.05 * 0.95 * cases)
    assert wrong.mean() <= 0.025 + 2.33 * math.sqrt(0.025 * 0.975 / cases)  # what it promises of each side


# ---------------------------------------------------------------------------------------------------------- boundaries
@pytest.mark.parametrize("threshold", [*THRESHOLDS, 1e-6, 1 - 1e-6, 1 / 3])
def test_boundaries_are_the_first_counts_that_decide(threshold: float) -> None:
    """One by one, with evidence that is a plain integral for small numbers."""
    test = Sequential(threshold, 0.025, 0.01)
    passes, fails = test.boundaries(0)
    for total in (1, 2, 7, 40, BLOCK):
        counts = np.arange(total + 1)
        above, below = (evidence(threshold, counts, np.full(total + 1, total), side) for side in ("above", "below"))
        assert bool((np.diff(above[above > 0]) > 0).all())
        assert bool((np.diff(below[below > 0]) < 0).all())
        passing, failing = above >= -math.log(0.025) + 1e-9, below >= -math.log(0.01) + 1e-9
        assert passes[total - 1] == (counts[passing].min() if passing.any() else total + 1)
        assert fails[total - 1] == (counts[failing].max() if failing.any() else -1)
    rises, falls = np.diff(passes), np.diff(fails)  # what `open` and the size of batches go by
    assert set(rises.tolist()) <= {0, 1}
    assert set(falls.tolist()) <= {0, 1}


@pytest.mark.parametrize(
    ("threshold", "count", "total"), [(0.45, 7, 7), (0.45, 3, 12), (0.9, 29, 30), (0.05, 0, 40), (0.5, 5, 9)]
)
def test_evidence_is_the_integral(threshold: float, count: int, total: int) -> None:
    ratio = lambda q: (q / threshold) ** count * ((1 - q) / (1 - threshold)) ** (total - count)
    for side, low, high in (("above", threshold, 1.0), ("below", 0.0, threshold)):
        mean = integrate.quad(ratio, low, high)[0] / (high - low)
        found = evidence(threshold, np.array([count]), np.array([total]), side)[0]
        assert found == pytest.approx(math.log(mean), abs=1e-8)


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_evidence_is_fair_at_the_threshold(threshold: float) -> None:
    """Exactly a martingale there: what one sample more is expected to bring is what there was."""
    total = 30
    counts = np.arange(total + 1)
    for side in ("above", "below"):
        now = np.exp(evidence(threshold, counts, np.full(total + 1, total), side))
        miss, hit = (np.exp(evidence(threshold, counts + more, np.full(total + 1, total + 1), side)) for more in (0, 1))
        assert np.allclose(threshold * hit + (1 - threshold) * miss, now, rtol=1e-9)


def test_large_numbers_neither_overflow_nor_vanish() -> None:
    n = 10_000_000
    for count in (0, n // 2, n):
        for side in ("above", "below"):
            assert not math.isnan(evidence(0.45, np.array([count]), np.array([n]), side)[0])
    test = Sequential(0.45)
    assert test.decide(4_600_000, n) == "pass"
    assert test.decide(4_400_000, n) == "below"
    assert test.decide(4_500_000, n) == ""


def test_the_ends_of_the_unit_interval() -> None:
    """Everything is at least 0; one failure shows that a share is below 1, and nothing that it is 1."""
    assert Sequential(0.0).decide(0, 0) == Sequential(0.0).decide(0, 50) == "pass"
    assert Sequential(1.0).decide(5000, 5000) == ""
    assert Sequential(1.0).decide(4999, 5000) == "below"
    assert Sequential(1.0).boundary(10) == (11, 9)
    assert Sequential(1.0).further(10, 10) is None


@pytest.mark.parametrize("bad", [-0.1, 1.1, math.nan, math.inf])
def test_thresholds_and_errors_are_shares(bad: float) -> None:
    with pytest.raises(UsageError, match="threshold is a share"):
        Sequential(bad)
    with pytest.raises(UsageError, match="pass_error is a share"):
        Sequential(0.5, bad)


# ------------------------------------------------------------------------------------------------------------ intervals
@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.integers(1, 400), st.floats(0, 1), st.floats(0.01, 0.99), st.sampled_from([0.8, 0.95, 0.99]))
def test_the_interval_leaves_out_the_threshold_exactly_where_the_test_decides(
    total: int, share: float, threshold: float, confidence: float
) -> None:
    count = round(share * total)
    low, high = interval(count, total, confidence)
    assert 0 <= low <= count / total <= high <= 1
    said = Sequential.at(threshold, confidence).decide(count, total)
    assert said == ("pass" if low >= threshold else "below" if high <= threshold else "")


def test_intervals_hold_at_all_numbers_of_samples_at_once() -> None:
    """The chance that any of the first 1,000 leaves out the truth: exact, for each end."""
    for truth in (0.02, 0.3, 0.75):
        passed, failed = outcomes(Sequential.at(truth, 0.95), truth, 1000)
        assert passed[-1] + failed[-1] <= 0.05
    assert interval(0, 0) == (0.0, 1.0)
    assert interval(0, 10)[0] == 0.0
    assert interval(10, 10)[1] == 1.0


# -------------------------------------------------------------------------------------------------------- how many more
@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 120), st.floats(0, 1), st.sampled_from([0.05, 0.45, 0.9]))
def test_how_many_samples_more_decide(total: int, share: float, threshold: float) -> None:
    test, count = Sequential.at(threshold, 0.95), round(share * total)
    if total and test.decide(count, total):
        return
    least = test.least(count, total, 500)  # by trying both ways, one by one
    brute = next(m for m in range(1, 600) if test.decide(count + m, total + m) or test.decide(count, total + m))
    assert least == min(brute, 501)
    assert test.least(count, total, 0) == 1
    for most in range(total, total + 30):
        reachable = any(test.decide(count + more, n) for n in range(total + 1, most + 1) for more in (0, n - total))
        assert test.open(count, total, most) == reachable
    further = test.further(count, total)
    if further is not None:
        assert further >= min(least, 500) - 1  # a count that is no whole number may be one sample ahead
        if total:
            at = total + further
            assert test.decide(math.ceil(count / total * at), at) or test.decide(math.floor(count / total * at), at)


def test_several_requirements_share_the_errors() -> None:
    one, two, three = (Sequential.at(0.45, 0.94, beside) for beside in (1, 2, 3))
    assert one == two
    assert one.pass_error == three.pass_error == pytest.approx(0.03)
    assert three.fail_error == pytest.approx(0.02)
