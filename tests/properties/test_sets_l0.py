"""The L0 ball: few pixels change, each as far as the box allows."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from ironbound.core.errors import CompositionError, UsageError
from ironbound.core.rng import Rng
from ironbound.sets import L0

few = settings(max_examples=25, deadline=None, derandomize=True, database=None)
KINDS: Any = st.sampled_from([((2, 3, 3), "pixels", 9), ((2, 3, 3), "coordinates", 18), ((5,), "pixels", 5)])


def numbers(shape: tuple[int, ...], seed: int, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def problem(shape: tuple[int, ...], seed: int, rows: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs of which a part is at the box's ends, points around them, gradients with zeros."""
    x = (0.5 + 0.5 * numbers((rows, *shape), seed)).clamp(0, 1)
    g = numbers((rows, *shape), seed + 2)
    return x, x + numbers((rows, *shape), seed + 1), torch.where(g > -1, g, 0.0)


def changed(q: Tensor, x: Tensor, of: str) -> Tensor:
    differ = (q != x).flatten(2).any(1) if of == "pixels" and x.ndim > 2 else (q != x).flatten(1)
    return differ.sum(1)


@few
@given(KINDS, st.integers(0, 1000), st.sampled_from([0, 1, 2, 4, 5, 18, math.inf]))
def test_a_projection_is_the_best_choice_of_pixels(kind: Any, seed: int, eps: float) -> None:
    """Against all choices of eps pixels, tried one by one."""
    shape, of, pixels = kind
    x, p, _ = problem(shape, seed, rows=2)
    region = L0(eps, of=of).at(x, (0.0, 1.0))
    q = region.project(p)
    assert bool(region.contains(q).all())
    assert bool((changed(q, x, of) <= eps).all())
    assert torch.equal(region.project(q), q)
    assert torch.equal(region.size(q), changed(q, x, of).double())
    count = int(min(eps, pixels))
    if math.comb(pixels, count) > 2000:
        return
    far = lambda z: (z - p).flatten(1).square().sum(1)
    shaped = lambda keep: keep.view(1, -1).expand(x[0].numel() // pixels, -1).reshape(1, *shape)
    least = torch.full((len(x),), math.inf, dtype=torch.float64)
    for chosen in itertools.combinations(range(pixels), count):
        keep = torch.zeros(pixels, dtype=torch.bool)
        keep[list(chosen)] = True
        least = torch.minimum(least, far(torch.where(shaped(keep), p.clamp(0, 1), x)))
    assert torch.allclose(far(q), least, rtol=1e-12)


@few
@given(KINDS, st.integers(0, 1000), st.sampled_from([0, 1, 2, 5, math.inf]))
def test_support_is_attained_and_beats_every_point(kind: Any, seed: int, eps: float) -> None:
    shape, of, _ = kind
    x, p, g = problem(shape, seed)
    region = L0(eps, of=of).at(x, (0.0, 1.0))
    best, value = region.support(g)
    product = lambda z: (z * g).flatten(1).sum(1)
    assert bool(region.contains(best).all())
    assert torch.allclose(product(best), value, rtol=1e-12)
    for seed_ in range(4):
        rng = Rng.of(seed_, torch.arange(len(x)))
        for other in (region.sample(rng), region.project(p), region.project(x + 1e3 * g)):
            assert bool((product(other) <= value + 1e-9).all())


def test_support_takes_the_pixels_with_the_most_to_gain() -> None:
    x = torch.tensor([[0.5, 0.9, 0.5, 0.1]])
    g = torch.tensor([[1.0, 3.0, -1.5, -3.0]])  # gains .5, .3, .75, .3
    point, value = L0(2).at(x, (0.0, 1.0)).support(g)
    assert point.tolist() == [[1.0, pytest.approx(0.9), 0.0, pytest.approx(0.1)]]
    assert float(value) == pytest.approx(float((x * g).sum()) + 1.25)


@few
@given(KINDS, st.integers(0, 1000), st.sampled_from([1, 3, math.inf]))
def test_samples_change_that_many_pixels_and_stay_in_the_box(kind: Any, seed: int, eps: float) -> None:
    shape, of, pixels = kind
    x, _, _ = problem(shape, seed)
    region = L0(eps, of=of).at(x, (0.0, 1.0))
    p = region.sample(Rng.of(seed, torch.arange(len(x))))
    assert bool(region.contains(p).all())
    assert changed(p, x, of).tolist() == [min(eps, pixels)] * len(x)
    alone = region.take(torch.tensor([2]))
    assert torch.equal(alone.sample(Rng.of(seed, torch.tensor([2])))[0], p[2])


def test_samples_are_uniform_in_pixels_and_values() -> None:
    n, x = 4000, torch.full((4000, 3, 2, 2), 0.5, dtype=torch.float64)
    p = L0(2).at(x, (-1.0, 1.0)).sample(Rng.of(0, torch.arange(n)))
    moved = (p != x).any(1).flatten(1)
    counts = np.unique(moved.numpy() @ (2 ** np.arange(4)), return_counts=True)[1]
    assert len(counts) == 6
    assert stats.chisquare(counts).pvalue > 0.001
    assert stats.kstest(p[p != x].numpy(), "uniform", (-1, 2)).pvalue > 0.001


def test_pixels_are_positions_over_all_channels_and_coordinates_are_values() -> None:
    x = torch.zeros(1, 3, 2, 2)
    p = x.clone()
    p[0, :, 1, 1] = torch.tensor([0.5, 0.25, 1.0])
    assert L0(1).at(x, (0.0, 1.0)).contains(p).tolist() == [True]
    assert L0(2, of="coordinates").at(x, (0.0, 1.0)).contains(p).tolist() == [False]
    assert L0(3, of="coordinates").at(x, (0.0, 1.0)).contains(p).tolist() == [True]
    kept = L0(2, of="coordinates").at(x, (0.0, 1.0)).project(p)
    assert kept[0, :, 1, 1].tolist() == [0.5, 0.0, 1.0]


@few
@given(KINDS, st.integers(0, 1000))
def test_rows_keep_to_themselves_and_to_their_own_counts(kind: Any, seed: int) -> None:
    shape, of, _ = kind
    x, p, g = problem(shape, seed)
    p[:, ..., :2] = x[:, ..., :2] + 0.25 * (p[:, ..., :2] > 0)  # ties
    counts = torch.tensor([0.0, 1.0, 3.0, math.inf])
    region = L0(counts, of=of).at(x, (0.0, 1.0))
    scaled = L0(7, of=of).at(x, (0.0, 1.0)).scaled(counts.double() + 0.9)
    assert torch.equal(scaled.project(p), region.project(p))
    for i, eps in enumerate(counts.tolist()):
        alone, at = L0(eps, of=of).at(x[i : i + 1], (0.0, 1.0)), slice(i, i + 1)
        assert torch.equal(alone.project(p[at])[0], region.project(p)[i])
        assert torch.equal(alone.support(g[at])[0][0], region.support(g)[0][i])
        assert torch.equal(alone.lo[0], region.lo[i])


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(UsageError, match="a whole one"):
        L0(2.5)
    with pytest.raises(UsageError, match="a whole one"):
        L0(torch.tensor([1.0, 0.5]))
    with pytest.raises(UsageError, match='"pixels" or "coordinates"'):
        L0(2, of="rows")  # type: ignore[arg-type]
    x = torch.zeros(1, 4)
    with pytest.raises(CompositionError, match="range"):
        L0(2).at(x, None).sample(Rng.of(0, torch.arange(1)))
    assert L0(2).at(x, None).project(x + 3).sum() == 6
