"""The ROC curve against pairs counted one by one."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ironbound.auditing.roc import roc
from ironbound.core.errors import InputError

scores = st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=12)  # ties are the hard part


@given(scores, scores)
@settings(max_examples=60, deadline=None, derandomize=True, database=None)
def test_the_area_and_the_curve_are_those_of_counting_pairs(high, low):
    found = roc(high, low)
    wins = sum((p > n) + 0.5 * (p == n) for p in high for n in low)
    assert found.auroc == wins / (len(high) * len(low))
    for threshold, true, false in zip(found.threshold, found.true_positives, found.false_positives, strict=True):
        assert float(true) == sum(p >= float(threshold) for p in high) / len(high)
        assert float(false) == sum(n >= float(threshold) for n in low) / len(low)
    assert float(torch.trapezoid(found.true_positives, found.false_positives)) == pytest.approx(found.auroc)


def test_points_asked_for():
    found = roc([4, 3, 2, 1], [2.5, 0])
    assert found.false_positives_at(0.5) == 0
    assert found.false_positives_at(0.75) == 0.5
    assert found.threshold_at(0.5) == 3
    assert found.threshold_at(1.0) == 1
    table = json.loads(json.dumps(found.as_dict()))
    assert table["threshold"][0] is None
    assert table["true_positives"][-1] == table["false_positives"][-1] == 1
    assert roc([1, 2], [1, 2]).auroc == 0.5
    assert roc([2], [1]).auroc == 1.0
    assert roc([1], [2]).auroc == 0.0


def test_what_has_no_curve_is_refused():
    for high, low in (([], [1.0]), ([1.0], []), ([float("nan")], [1.0])):
        with pytest.raises(InputError, match="scores of both kinds"):
            roc(high, low)
