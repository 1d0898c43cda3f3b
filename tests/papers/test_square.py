"""Square Attack does what its papers say: schedule, windows, starts, redistribution, acceptance; and the engine's promises."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from ironbound.core.attack import Attack
from ironbound.core.errors import CompositionError, UsageError
from ironbound.core.protocols import Answer, Want
from ironbound.core.rng import Rng
from ironbound.objectives import Margin
from ironbound.oracles import Direct
from ironbound.recipes import square
from ironbound.searches.proposals import Bumps, Squares, Windows, bumps, extent
from ironbound.searches.square import Square
from ironbound.sets import L0, L1, L2, Linf
from ironbound.testing import Trial, invariance
from ironbound.testing.tables import assert_same
from probes.cases import GOAL, N, _images

BOX = (0.0, 1.0)
THREATS = [Linf(0.1), L2(0.6), L1(4.0)]
BALLS = pytest.mark.parametrize("threat", THREATS, ids=["linf", "l2", "l1"])
SHAPES = pytest.mark.parametrize("shape", [(3, 12, 12), (1, 8, 8), (2, 7, 10), (40,), (1, 1, 9)])


def inputs(shape: tuple[int, ...], n: int = 6, kind: torch.dtype = torch.float32) -> Tensor:
    """A quarter of the values at each end of the box."""
    return (2 * torch.rand(n, *shape, generator=torch.Generator().manual_seed(0)) - 0.5).clamp(0, 1).to(kind)


# ------------------------------------------------------------------------------------------------- the schedule
def test_p_halves_where_the_paper_says() -> None:
    """Section 3.1 of the paper: at 10, 50, 200, 500, 1000, 2000, 4000, 6000 and 8000 of 10,000 iterations."""
    search = Square(10_000)
    halvings = [t for t in range(1, 10_000) if search.share(t) < search.share(t - 1)]
    assert halvings == [at + 1 for at in (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)]
    assert search.share(0) == 0.8
    assert search.share(9_999) == 0.8 / 512


@pytest.mark.parametrize("queries", [1000, 5000])
def test_the_schedule_is_rescaled_to_the_queries(queries: int) -> None:
    search, whole = Square(queries), Square(10_000)
    assert all(search.share(t) == whole.share(t * 10_000 // queries) for t in range(queries))


def test_sides_of_windows() -> None:
    """On CIFAR-10 with p = 0.8; in L2 and L1 at least 3 and odd."""
    shares = [0.8 / 2**i for i in range(10)]
    assert [extent(share, 32, 32)[0] for share in shares] == [29, 20, 14, 10, 7, 5, 4, 3, 2, 1]
    assert [extent(share, 32, 32, 3, odd=True)[0] for share in shares] == [29, 21, 15, 11, 7, 5, 5, 3, 3, 3]
    assert extent(1.0, 6, 9) == (6, 6)
    assert extent(0.25, 1, 40) == (1, 10)


# ------------------------------------------------------------------------------------------------- windows
def test_every_place_of_a_window_is_drawn_and_none_beyond() -> None:
    u = torch.linspace(0, 1, 1001, dtype=torch.float64)[:-1]
    at = Windows.drawn((2, 7, 10), (3, 3), u, u)
    assert sorted(set(at.top.tolist())) == list(range(5))
    assert sorted(set(at.left.tolist())) == list(range(8))
    counts = torch.bincount(at.left)
    assert int(counts.max() - counts.min()) <= 1
    table = torch.arange(140.0).view(1, 2, 7, 10).expand(1000, -1, -1, -1)
    for i in (0, 333, 999):
        top, left = int(at.top[i]), int(at.left[i])
        assert torch.equal(at.of(table)[i].view(2, 3, 3), table[i, :, top : top + 3, left : left + 3])


def test_overlap_of_windows() -> None:
    rng = Rng.of(0, torch.arange(50))
    u = rng.repeat(4).unit().view(50, 4)
    one, other = (Windows.drawn((1, 6, 8), (3, 3), u[:, i], u[:, i + 1]) for i in (0, 2))
    for i in range(50):
        assert one.inside(other)[i, 0].tolist() == [place in other.index[i].tolist() for place in one.index[i].tolist()]


# ------------------------------------------------------------------------------------------------- proposals
@pytest.mark.parametrize("side", [1, 2, 3, 6, 7])
@pytest.mark.parametrize("norm", [1, 2])
def test_bumps_are_pyramids_of_opposite_signs(side: int, norm: int) -> None:
    """Equation 2 of the paper's supplement: nested rectangles around the middle, the k-th 1 / k^2 (L1: 1 / k^4) high."""
    upright, turned = bumps(side, side, norm)
    assert torch.equal(turned, upright.T)
    torch.testing.assert_close(torch.linalg.vector_norm(upright, norm), torch.tensor(1.0, dtype=torch.float64))
    halves = [torch.zeros(rows, side, dtype=torch.float64) for rows in (side // 2, side - side // 2)]
    for half, sign in zip(halves, (1, -1), strict=True):
        rows = len(half)
        for k in range(max(rows, side) // 2 + 1):
            top, left = rows // 2 - k, side // 2 - k
            half[max(top, 0) : top + 2 * k + 1, max(left, 0) : left + 2 * k + 1] += 1 / (k + 1) ** (2 * (3 - norm))
        if rows:
            half *= sign / torch.linalg.vector_norm(half, norm)
    expected = torch.cat(halves)
    torch.testing.assert_close(upright, expected / torch.linalg.vector_norm(expected, norm))


@BALLS
@SHAPES
@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_proposals_stay_inside_and_change_their_windows_only(
    threat: Any, shape: tuple[int, ...], kind: torch.dtype
) -> None:
    region = threat.at(inputs(shape, kind=kind), BOX)
    moves = Squares() if isinstance(threat, Linf) else Bumps(2 if isinstance(threat, L2) else 1)
    rng, every = Rng.of(1, torch.arange(len(region))), torch.arange(len(region))
    p = moves.start(region, rng)
    assert bool(region.contains(p).all())
    for t in range(60):
        share, before = 0.8 / 2 ** (t // 10), p.clone()
        u = rng.fold(t).repeat(moves.numbers(region)).unit().view(len(region), -1)
        q = moves.propose(region, p, moves.sizes(region, p, every), share, u)
        assert torch.equal(p, before), "the point that it starts from was written to"
        assert bool(region.contains(q).all())
        if not isinstance(threat, L1):  # whose projection takes small changes away everywhere
            assert bool((changed_pixels(p, q) <= window_pixels(threat, shape, share)).all())
        p = q


def changed_pixels(p: Tensor, q: Tensor) -> Tensor:
    changed = p != q
    return (changed.any(1) if p.ndim == 4 else changed).flatten(1).sum(1)


def window_pixels(threat: Any, shape: tuple[int, ...], share: float) -> int:
    height, width = shape[1:] if len(shape) == 3 else (1, *shape)
    bump = not isinstance(threat, Linf)
    rows, columns = extent(share, height, width, 3 if bump else 1, bump)
    return rows * columns * (2 if bump else 1)


@SHAPES
def test_linf_windows_show_the_edge_and_always_change_something(shape: tuple[int, ...]) -> None:
    x = inputs(shape, 40).clamp(0.2, 0.8)
    region, moves = Linf(0.1).at(x, BOX), Squares()
    rng = Rng.of(2, torch.arange(40))
    p = moves.start(region, rng)
    for t in range(40):
        u = rng.fold(t).repeat(moves.numbers(region)).unit().view(40, -1)
        q = moves.propose(region, p, torch.zeros(40), 0.01, u)
        assert bool(((q == region.lo) | (q == region.hi)).all())
        assert bool((changed_pixels(p, q) > 0).all())
        p = q


def test_linf_starts_with_vertical_stripes() -> None:
    region = Linf(0.1).at(inputs((3, 12, 12)).clamp(0.2, 0.8), BOX)
    up = Squares().start(region, Rng.of(0, torch.arange(6))) == region.hi
    assert torch.equal(up, up[:, :, :1].expand_as(up))
    assert 0.3 < up[:, :, 0].double().mean() < 0.7


@pytest.mark.parametrize("threat", [L2(0.6), L1(4.0)], ids=["l2", "l1"])
def test_where_the_box_is_far_proposals_use_the_whole_radius(threat: Any) -> None:
    """Algorithm 3: what the windows lose and what the ball has left goes into the first window."""
    region = threat.at(inputs((3, 12, 12)) * 0 + 0.5, (-50.0, 50.0))
    moves, rng = Bumps(2 if isinstance(threat, L2) else 1), Rng.of(1, torch.arange(6))
    p, every = moves.start(region, rng), torch.arange(6)
    for t in range(20):
        u = rng.fold(t).repeat(moves.numbers(region)).unit().view(6, -1)
        p = moves.propose(region, p, region.size(p), 0.05, u)
        torch.testing.assert_close(moves.sizes(region, p, every), region.radius, rtol=1e-4, atol=0)


def test_masks_are_respected() -> None:
    x, mask = inputs((3, 12, 12)), torch.zeros(12, 12, dtype=torch.bool)
    mask[2:7, 3:9] = True
    for threat in (Linf(0.1, mask=mask), L2(0.6, mask=mask), L1(4.0, mask=mask)):
        region, rng = threat.at(x, BOX), Rng.of(1, torch.arange(6))
        moves = Squares() if isinstance(threat, Linf) else Bumps(2 if isinstance(threat, L2) else 1)
        p = moves.start(region, rng)
        for t in range(10):
            u = rng.fold(t).repeat(moves.numbers(region)).unit().view(6, -1)
            p = moves.propose(region, p, region.size(p), 0.1, u)
        assert bool(region.contains(p).all())
        assert not bool((p != x)[:, :, ~mask].any())
        assert bool((p != x)[:, :, mask].any())


# ------------------------------------------------------------------------------------------------- acceptance
class Fixed:
    """A task of problems that never leave, with values of one's own as answers."""

    def __init__(self, region: Any) -> None:
        self.region, self.rng, self.n = region, Rng.of(0, torch.arange(len(region))), len(region)

    def state(self, **tables: Any) -> Any:
        return type("State", (), tables)()

    def compact(self) -> None: ...


@BALLS
def test_a_proposal_is_kept_only_where_the_objective_rises(threat: Any) -> None:
    """Every proposal starts from the best point so far: in its windows alone it differs (Linf), and ties do not move it."""
    region = threat.at(inputs((1, 12, 12)), BOX)
    asks, value = Square(60).run(Fixed(region)), torch.zeros(6, dtype=torch.float64)
    best, asked = None, next(asks).points
    generator = torch.Generator().manual_seed(0)
    top = torch.full((6,), -torch.inf, dtype=torch.float64)
    for t in range(59):
        value = torch.randint(-3, 4, (6,), generator=generator).double()
        if t % 7 == 3:
            value[0] = torch.nan
        kept = value > top
        best = asked if best is None else torch.where(kept.view(-1, 1, 1, 1), asked, best)
        top = torch.where(kept, value, top)
        before, asked = asked.clone(), asks.send(Answer(None, value, value > 9, value < 9)).points
        if isinstance(threat, Linf):
            assert bool((changed_pixels(best, asked) <= window_pixels(threat, (1, 12, 12), Square(60).share(t))).all())
        assert before.shape == asked.shape


# ------------------------------------------------------------------------------------------------- the engine's promises
def case(threat: Any, **parts: Any) -> Trial:
    return Trial(Attack(threat, GOAL, Margin(), Square(60), Direct(), **parts), _images, N)


@BALLS
def test_the_batch_changes_nothing(threat: Any) -> None:
    threat = replace(threat, eps=threat.eps * 0.8)
    ours = case(threat).run()
    assert 0 < int(ours.success.sum()) < N
    invariance.rows_change_nothing(case(threat), 3, ours)
    invariance.compaction_changes_nothing(case(threat), ours)
    for which in ("reversed", "subset", "middle"):
        invariance.order_changes_nothing(case(threat), which, ours)


@BALLS
def test_budgets_and_witnesses_hold(threat: Any) -> None:
    for forward in (1, 7, 45):
        invariance.budget_holds(case(threat), forward)
    for kind in (torch.float32, torch.float64):
        invariance.witnesses_hold(case(threat), kind)


def test_queries_are_rows() -> None:
    model, x, y = _images(torch.float64)
    result = square(37, restarts=2).replace(set=Linf(1e-4), want=Want.STRONGEST)(model, x, y)
    assert result.forward.tolist() == [74] * N


def test_layout_changes_nothing() -> None:
    model, x, y = _images(torch.float64)
    attack, x = square(40).replace(set=Linf(0.1)), x.expand(-1, 1, -1, -1)
    assert_same(attack(model, x, y), attack(model, x.to(memory_format=torch.channels_last), y))


# ------------------------------------------------------------------------------------------------- what does not fit
def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(UsageError, match="queries=0"):
        Square(0)
    with pytest.raises(UsageError, match=r"p=1\.5"):
        Square(p=1.5)
    for threat, shape, said in (
        (L0(3), (1, 8, 8), "Linf, L2 and L1"), (Linf(0.1), (8, 8), "Reshape"), (L2(), (1, 8, 8), "radius"),
    ):  # fmt: skip
        region = threat.at(inputs(shape), None)
        with pytest.raises(CompositionError, match=said):
            next(Square(5).run(Fixed(region)))
