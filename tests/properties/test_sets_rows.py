"""Radii and masks that problems have of their own: every ball with them is the ball of each problem alone."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from ironbound.core.describe import fingerprint
from ironbound.core.errors import InputError, UsageError
from ironbound.core.rng import Rng
from ironbound.core.rows import of_rows
from ironbound.sets import L0, L1, L2, Linf

NORMS: Any = st.sampled_from([Linf, L2, L1, L0])
BOX = (0.0, 1.0)
few = settings(max_examples=25, deadline=None, derandomize=True, database=None)


def numbers(shape: tuple[int, ...], seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def problem(seed: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    x = (0.5 + 0.5 * numbers((5, 2, 4, 3), seed)).clamp(0, 1).to(dtype)
    return x, x + numbers(tuple(x.shape), seed + 1, dtype), numbers(tuple(x.shape), seed + 2, dtype)


def radii_of(norm: Any) -> Tensor:
    return torch.tensor([0.0, 1.0, 2.0, 5.0, math.inf]) if norm is L0 else torch.tensor([0.0, 0.01, 0.3, 2.0, math.inf])


@few
@given(NORMS, st.integers(0, 1000), st.sampled_from([torch.float32, torch.float64]))
def test_each_problem_has_its_own_radius_and_mask(norm: Any, seed: int, dtype: torch.dtype) -> None:
    x, p, g = problem(seed, dtype)
    radii, mask = radii_of(norm), numbers(tuple(x.shape), seed + 3) > 0
    threat = norm(radii, mask=mask)
    region, streams = threat.at(x, BOX), Rng.of(seed, torch.arange(5))
    assert torch.equal(region.radius, radii.double())
    for i, eps in enumerate(radii.tolist()):
        at, row = slice(i, i + 1), torch.tensor([i])
        alone = norm(eps, mask=mask[i]).at(x[at], BOX)
        for other in (region.take(row), of_rows(threat, row).at(x[at], BOX)):
            assert torch.equal(other.project(p[at]), alone.project(p[at]))
        assert torch.equal(region.project(p)[i], alone.project(p[at])[0])
        assert torch.equal(region.contains(p)[i], alone.contains(p[at])[0])
        assert torch.equal(region.sample(streams)[i], alone.sample(streams.take(row))[0])
        assert torch.equal(region.support(g)[0][i], alone.support(g[at])[0][0])
        if norm is not L0:
            assert torch.equal(region.steepest(g)[i], alone.steepest(g[at])[0])


@few
@given(NORMS, st.integers(0, 1000))
def test_what_a_mask_covers_never_changes_and_the_rest_is_a_smaller_ball(norm: Any, seed: int) -> None:
    """The masked ball is that of the free values alone, in a space of fewer dimensions."""
    x, p, g = problem(seed)
    free = numbers((4, 3), seed + 3) > 0
    free[0, 0] = True
    eps = 2.0 if norm is L0 else 0.4
    region = norm(eps, mask=free).at(x, BOX)
    part = lambda t: t.flatten(2)[:, :, free.flatten()].flatten(1)
    inner = norm(eps, **({"of": "coordinates"} if norm is L0 else {})).at(part(x), BOX)
    region = norm(eps, mask=free, of="coordinates").at(x, BOX) if norm is L0 else region
    assert torch.allclose(part(region.project(p)), inner.project(part(p)), atol=1e-12)
    assert torch.allclose(part(region.support(g)[0]), inner.support(part(g))[0], atol=1e-12)
    points = [
        region.project(p),
        region.support(g)[0],
        region.sample(Rng.of(seed, torch.arange(5))),
        region.lo,
        region.hi,
    ]
    for q in points:
        assert torch.equal(q[:, :, ~free], x[:, :, ~free])
    assert bool(region.contains(points[0]).all())
    assert not bool(region.contains(torch.where(free, x, 1 - x)).any())
    if norm is not L0:
        assert torch.allclose(part(region.steepest(g)), inner.steepest(part(g)), atol=1e-12)
        assert not bool(region.steepest(g)[:, :, ~free].any())


@pytest.mark.parametrize("norm", [L2, L1])
def test_samples_under_a_mask_are_uniform_in_the_free_dimensions(norm: Any) -> None:
    n, eps, mask = 3000, 0.2, torch.tensor([True, False, True, False, True, False])
    x = torch.full((n, 6), 0.5, dtype=torch.float64)
    change = norm(eps, mask=mask).at(x, BOX).sample(Rng.of(0, torch.arange(n))) - x
    size = torch.linalg.vector_norm(change, ord=2 if norm is L2 else 1, dim=1)
    assert stats.kstest(((size / eps) ** 3).numpy(), "uniform").pvalue > 0.001
    assert not bool(change[:, ~mask].any())


def test_masks_may_be_of_pixels_of_samples_or_one_a_problem() -> None:
    x = torch.full((3, 2, 4, 4), 0.5)
    pixels = torch.zeros(4, 4, dtype=torch.bool)
    pixels[1:3, 1:3] = True
    for mask in (pixels, pixels.expand(2, 4, 4), pixels.expand(3, 1, 4, 4), pixels.expand(3, 2, 4, 4)):
        region = Linf(0.1, mask=mask).at(x, BOX)
        assert torch.equal((region.hi > x), pixels.expand(3, 2, 4, 4))
    for mask in (torch.ones(5, 4, dtype=torch.bool), torch.ones(2, 2, 4, 4, dtype=torch.bool)):
        with pytest.raises(InputError, match="a mask has the shape"):
            Linf(0.1, mask=mask).at(x, BOX)
    with pytest.raises(UsageError, match="bool tensor"):
        Linf(0.1, mask=torch.ones(4, 4))


def test_lengths_are_checked() -> None:
    x = torch.full((3, 4), 0.5)
    with pytest.raises(InputError, match="2 radii, one a problem, for 3 inputs"):
        L2(torch.tensor([0.1, 0.2])).at(x, BOX)
    with pytest.raises(InputError, match="row 3 was asked for"):
        L2(torch.tensor([0.1, 0.2, 0.3])).take(torch.tensor([1, 3]))
    for radii in (torch.tensor([0.1, -0.2]), torch.tensor([0.1, math.nan]), torch.zeros(2, 2)):
        with pytest.raises(UsageError, match="radi"):
            Linf(radii)


def test_taking_rows_twice_is_taking_them_once() -> None:
    x = torch.rand(6, 3, generator=torch.Generator().manual_seed(0))
    threat = Linf(torch.linspace(0, 0.5, 6), mask=torch.rand(6, 3, generator=torch.Generator().manual_seed(1)) > 0.5)
    one, two = torch.tensor([5, 3, 1, 0]), torch.tensor([2, 0])
    twice = threat.take(one).take(two)
    assert torch.equal(twice.at(x[one][two], BOX).hi, threat.at(x, BOX).hi[one][two])
    assert Linf(0.1).take(one) == Linf(0.1)
    assert of_rows(Linf(0.1), one) is not None


def test_sets_with_tensors_are_told_apart() -> None:
    radii, mask = torch.tensor([0.1, 0.2]), torch.tensor([True, False])
    assert L2(radii) == L2(radii.clone())
    assert hash(L2(radii)) == hash(L2(radii.clone()))
    assert L2(radii) != L2(radii + 0.1)
    assert L2(0.1, mask=mask) != L2(0.1, mask=~mask)
    assert L2(0.1) != L1(0.1)
    assert (
        len({fingerprint(s) for s in (L2(0.1), L2(0.1, mask), L2(radii), L2(radii, mask), L2(radii).take(mask.long()))})
        == 5
    )
    assert repr(L2(radii, mask=mask)) == "L2(eps=<2: 0.1 to 0.2>, mask=<1 of 2>)"
    assert repr(L0(3)) == "L0(eps=3.0)"
