"""Unions and finite sets."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from ironbound.core.describe import fingerprint
from ironbound.core.errors import CompositionError, InputError, UsageError
from ironbound.core.protocols import Can
from ironbound.core.rng import Rng
from ironbound.sets import L0, L1, L2, Finite, Linf, Union
from ironbound.sets.threat import parse_threat, spec_of

BOX = (0.0, 1.0)
few = settings(max_examples=20, deadline=None, derandomize=True, database=None)
UNIONS: Any = st.sampled_from(
    [Linf(0.1) | L2(0.3), L2(0.4) | L1(0.9) | Linf(0.05), L0(2) | L2(0.2), Linf(0.0) | L1(1.5)]
)


def problem(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    normal = lambda k: torch.randn(5, 12, generator=torch.Generator().manual_seed(3 * seed + k), dtype=torch.float64)
    x = (0.5 + 0.5 * normal(0)).clamp(0, 1)
    return x, x + 0.3 * normal(1), normal(2)


# ------------------------------------------------------------------------------------------------- unions
@few
@given(UNIONS, st.integers(0, 1000))
def test_a_union_is_what_any_part_allows(union: Union, seed: int) -> None:
    x, p, g = problem(seed)
    region, parts = union.at(x, BOX), [part.at(x, BOX) for part in union.parts]
    q, streams = region.project(p), Rng.of(seed, torch.arange(5))
    assert torch.equal(region.contains(p), torch.stack([part.contains(p) for part in parts]).any(0))
    assert bool(region.contains(q).all())
    assert torch.equal(region.project(q), q)
    assert torch.allclose(region.distance(p), torch.stack([part.distance(p) for part in parts]).amin(0))
    assert bool(region.contains(region.sample(streams)).all())
    best, value = region.support(g)
    assert torch.equal(value, torch.stack([part.support(g)[1] for part in parts]).amax(0))
    assert torch.allclose((best * g).sum(1), value)
    assert bool(region.contains(best).all())
    for i in range(5):
        alone = region.take(torch.tensor([i]))
        assert torch.equal(alone.project(p[i : i + 1])[0], q[i])
        assert torch.equal(alone.sample(streams.take(torch.tensor([i])))[0], region.sample(streams)[i])


@few
@given(UNIONS, st.integers(0, 1000))
def test_sizes_are_in_radii_of_the_nearest_part(union: Union, seed: int) -> None:
    x, p, _ = problem(seed)
    region = union.at(x, BOX)
    assert region.radius.tolist() == [1.0] * 5
    assert region.size(x).tolist() == [0.0] * 5
    size = region.size(p)
    assert bool((size[region.contains(p)] <= 1).all())
    for i, part in enumerate(union.parts):
        if float(part.eps) > 0:
            assert bool((size <= part.at(x, BOX).size(p) / part.eps).all()), i
    wider = region.scaled(torch.full((5,), 2.0, dtype=torch.float64))
    twice = union.times(2).at(x, BOX)
    assert torch.equal(wider.project(p), twice.project(p))
    assert torch.equal(region.scaled(torch.zeros(5).double()).project(p), x)


def test_a_sample_is_of_each_part_with_the_same_probability() -> None:
    x = torch.full((3000, 4), 0.5, dtype=torch.float64)
    p = (Linf(0.001) | L2(0.4) | L0(1)).at(x, BOX).sample(Rng.of(0, torch.arange(3000)))
    moved = (p != x).sum(1)
    counts = [int((moved == 1).sum()), int(((p - x).abs().amax(1) <= 0.001).sum())]
    assert stats.chisquare([*counts, 3000 - sum(counts)]).pvalue > 0.001


def test_unions_are_flat_and_offer_what_all_parts_offer() -> None:
    union = (Linf(0.1) | L2(0.5)) | (L1(1.0) | L0(3))
    assert union.parts == (Linf(0.1), L2(0.5), L1(1.0), L0(3))
    assert Union((union,)).parts == union.parts
    assert (Linf(0.1) | L2(0.5)).can == Linf(0.1).can
    assert union.can == L0(3).can
    assert repr(Linf(0.1) | L2(0.5)) == "Linf(eps=0.1) | L2(eps=0.5)"
    assert fingerprint(Linf(0.1) | L2(0.5)) != fingerprint(L2(0.5) | Linf(0.1))
    with pytest.raises(CompositionError, match="parts in turn"):
        (Linf(0.1) | L2(0.5)).at(torch.zeros(1, 2), BOX).steepest(torch.ones(1, 2))
    with pytest.raises(TypeError):
        Linf(0.1) | 3  # type: ignore[operator]
    with pytest.raises(UsageError, match="a union is of sets"):
        Union((3,))


def test_rows_of_a_union_are_unions_of_rows() -> None:
    x = torch.full((3, 2), 0.5)
    union = Linf(torch.tensor([0.1, 0.2, 0.3])) | L2(0.1)
    at = torch.tensor([2, 0])
    assert union.take(at).at(x[at], BOX).parts[0].radius.tolist() == pytest.approx([0.3, 0.1])
    with pytest.raises(InputError, match="3 radii"):
        union.at(x[:2], BOX)


# ------------------------------------------------------------------------------------------------- finite sets
def mirrored(x: Tensor) -> Tensor:
    return x.flip(-1)


@dataclass(frozen=True)
class Brighter:
    by: float

    def __call__(self, x: Tensor) -> Tensor:
        return x + self.by


FINITE = Finite((mirrored, Brighter(0.75), torch.tensor([0.0, -0.25, 0.0])))
X = torch.tensor([[0.0, 0.5, 1.0], [0.25, 0.5, 0.125]])


def test_points_are_numbered_changes_clamped_to_the_box() -> None:
    region = FINITE.at(X, BOX)
    points, owner = region.enumerate()
    assert points.tolist() == [0, 1, 2, 3] * 2
    assert owner.tolist() == [0] * 4 + [1] * 4
    made = region.take(owner).apply(points)
    assert made[:4].tolist() == [[0, 0.5, 1], [1, 0.5, 0], [0.75, 1, 1], [0, 0.25, 1]]
    assert made[4:].tolist() == [[0.25, 0.5, 0.125], [0.125, 0.5, 0.25], [1, 1, 0.875], [0.25, 0.25, 0.125]]
    assert torch.equal(region.take(owner).locate(made), points)
    assert region.locate(X + 0.001).tolist() == [-1, -1]
    assert region.contains(torch.tensor([-1, 4])).tolist() == [False, False]
    assert region.size(torch.tensor([0, 2])).tolist() == [0, 1]
    assert torch.equal(region.apply(region.identity()), X)
    others, whose = region.neighbours(torch.tensor([0, 2]), Rng.of(0, torch.arange(2)))
    assert others.tolist() == [1, 2, 3, 0, 1, 3]
    assert whose.tolist() == [0, 0, 0, 1, 1, 1]


def test_draws_of_a_finite_set_are_uniform() -> None:
    drawn = FINITE.at(torch.rand(4000, 3, generator=torch.Generator().manual_seed(0)), BOX).sample(
        Rng.of(1, torch.arange(4000))
    )
    assert stats.chisquare(torch.bincount(drawn, minlength=4).numpy()).pvalue > 0.001


def test_finite_sets_are_told_apart_and_united() -> None:
    assert Finite((Brighter(0.1),)) == Finite((Brighter(0.1),))
    assert Finite((Brighter(0.1),)) != Finite((Brighter(0.2),))
    assert len({fingerprint(s) for s in (FINITE, Finite((mirrored,)), Finite((mirrored,), ("m",)))}) == 3
    both = Finite((mirrored,), ("mirror",)) | Finite((Brighter(0.1),), ("light",))
    assert repr(both) == "Finite('mirror', 'light')"
    assert FINITE.can == Can.SAMPLE | Can.FINITE | Can.NEIGHBOURS
    for changes in ((3,), (mirrored, "x")):
        with pytest.raises(UsageError, match="a change is a function"):
            Finite(changes)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="it must keep both"):
        Finite((torch.sum,)).at(X, BOX).apply(torch.tensor([1, 0]))


# ------------------------------------------------------------------------------------------------- as text
@pytest.mark.parametrize(
    ("text", "threat"),
    [
        ("linf:8/255", Linf(8 / 255)),
        ("l1:12", L1(12)),
        ("L2 : 0.5", L2(0.5)),
        ("l0:3", L0(3)),
        ("l0:3 pixels", L0(3)),
        ("l0:5 coordinates", L0(5, of="coordinates")),
        ("linf:8/255|l2:0.5", Linf(8 / 255) | L2(0.5)),
        ("linf:inf", Linf()),
        ("l2:0.1234567890123", L2(0.1234567890123)),
    ],
)
def test_threats_as_text(text: str, threat: Any) -> None:
    assert parse_threat(text) == threat
    assert parse_threat(spec_of(threat)) == threat


def test_what_cannot_be_typed_has_no_text() -> None:
    mask = torch.ones(3, dtype=torch.bool)
    for threat in (Linf(0.1, mask=mask), L2(torch.tensor([0.1])), FINITE, Linf(0.1) | L2(0.1, mask=mask)):
        assert spec_of(threat) == ""
    with pytest.raises(UsageError, match="pixels or coordinates"):
        parse_threat("l0:3 rows")
    with pytest.raises(UsageError, match="a whole one"):
        parse_threat("l0:1/2")
    assert math.isinf(parse_threat("l1:inf").eps)  # type: ignore[union-attr]


def test_points_of_two_kinds_make_no_union() -> None:
    for make in (lambda a, b: a | b, lambda a, b: b | a):
        with pytest.raises(CompositionError, match="one kind of points"):
            make(Finite((mirrored,), ("mirror",)), Linf(0.1))
