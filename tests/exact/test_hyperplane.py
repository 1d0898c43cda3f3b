"""The nearest point of a hyperplane within the box against linear programs, a dual solved by bisection, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize
from torch import Tensor

from ironbound.searches.hyperplane import Planes

NORMS = pytest.mark.parametrize("norm", ["linf", "l2", "l1"])


def smallest(norm: str, p: Tensor, w: Tensor, gap: float, low: float, high: float) -> float:
    """The length of the smallest change of one point with <w, change> = gap within [low, high]; inf where there is none."""
    down, up, normal = (low - p).double().numpy(), (high - p).double().numpy(), w.double().numpy()
    d = len(normal)
    if norm == "l2":
        at = lambda t: np.clip(t * normal, down, up)
        reached = lambda t: float(normal @ at(t)) - gap
        end = np.sign(gap) * 1e6
        if reached(end) * np.sign(gap) < -1e-9:
            return float("inf")
        if abs(reached(0.0)) < 1e-15:
            return 0.0
        t = end if reached(end) * np.sign(gap) <= 0 else optimize.brentq(reached, 0, end, xtol=1e-18, rtol=1e-14)
        return float(np.linalg.norm(at(t)))
    box, eye = list(zip(down, up, strict=True)), np.eye(d)
    if norm == "linf":  # variables: the change and its bound
        cost, equal = np.r_[np.zeros(d), 1.0], np.r_[normal, 0.0][None]
        edges = np.block([[eye, -np.ones((d, 1))], [-eye, -np.ones((d, 1))]])
        limits, right = [*box, (0, None)], np.zeros(2 * d)
    else:  # variables: the change and the length of each of its values
        cost, equal = np.r_[np.zeros(d), np.ones(d)], np.r_[normal, np.zeros(d)][None]
        edges = np.block([[eye, -eye], [-eye, -eye]])
        limits, right = [*box, *[(0, None)] * d], np.zeros(2 * d)
    found = optimize.linprog(cost, edges, right, equal, [gap], bounds=limits, method="highs")
    return float(found.fun) if found.status == 0 else float("inf")


def length(norm: str, change: Tensor) -> Tensor:
    order = {"linf": torch.inf, "l2": 2, "l1": 1}[norm]
    return torch.linalg.vector_norm(change.double(), ord=order, dim=1)


def cases(seed: int, rows: int, d: int, low: float, high: float) -> tuple[Tensor, Tensor, Tensor]:
    """Points with values at the edges, normals with zeros and of very different sizes, gaps of which some are too wide."""
    draw = torch.Generator().manual_seed(seed)
    rand = lambda: torch.rand(rows, d, dtype=torch.float64, generator=draw)
    p = low + (high - low) * (rand() * 1.5 - 0.25).clamp(0, 1)
    w = torch.randn(rows, d, dtype=torch.float64, generator=draw) * 3 ** torch.randn(
        rows, d, dtype=torch.float64, generator=draw
    )
    w[::3, ::4] = 0
    gap = (w * (low + (high - low) * rand() - p)).sum(1)
    gap[::5] *= 1e-3
    gap[::7] *= 4
    return p, w, gap


@NORMS
@pytest.mark.parametrize("box", [(0.0, 1.0), (-1.7, 2.3)])
@pytest.mark.parametrize("d", [1, 2, 5, 17, 40])
def test_it_is_as_short_as_a_solver_finds(norm: str, box: tuple[float, float], d: int) -> None:
    p, w, gap = cases(d, 30, d, *box)
    change, size = Planes(norm, w, *box).nearest(p, gap)
    assert torch.allclose(size, length(norm, change), rtol=1e-12, atol=1e-14)
    assert bool(((p + change >= box[0] - 1e-12) & (p + change <= box[1] + 1e-12)).all())
    away = 0
    for i in range(len(p)):
        best = smallest(norm, p[i], w[i], float(gap[i]), *box)
        if best == float("inf"):
            away += 1
            edge = torch.where(w[i] * gap[i] > 0, box[1], box[0]).double()
            assert torch.allclose((p[i] + change[i])[w[i] != 0], edge[w[i] != 0], atol=1e-12)
            assert bool((change[i][w[i] == 0] == 0).all())
        else:
            assert float(size[i]) == pytest.approx(best, rel=1e-7, abs=1e-8)
            assert float((w[i] * change[i]).sum()) == pytest.approx(float(gap[i]), rel=1e-9, abs=1e-9)
    assert away > 0 or d > 5


@NORMS
@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_large_points_meet_the_conditions_of_the_optimum(norm: str, kind: torch.dtype) -> None:
    """Those that moved and met no edge have the same multiplier; those at an edge would go on; in L1 the steepest move."""
    p, w, gap = cases(3, 12, 10_000, 0.0, 1.0)
    gap[::7] /= 4  # all within reach
    p, w, near = p.to(kind), w.to(kind), 1e-6 if kind == torch.float64 else 1e-3
    change, _ = Planes(norm, w, 0.0, 1.0).nearest(p, gap)
    error = (w.double() * change.double()).sum(1) - gap
    assert bool((error.abs() <= near * gap.abs().clamp_min(1)).all())
    ahead = w * gap.sign()[:, None].to(kind)
    room = torch.where(ahead > 0, 1 - p, p)
    free = (change.abs() < room * (1 - 1e-5)) & (w != 0)
    for i in range(len(p)):
        mine, steep = change[i].abs().double(), w[i].abs().double()
        if norm == "linf":
            pace = mine
        elif norm == "l2":
            pace = mine / steep.clamp_min(1e-30)
        else:
            assert float(steep[free[i]].max()) <= float(steep[mine > 1e-6].min()) * (1 + 1e-6)
            continue
        t = pace[free[i] & (steep > 1e-3 * steep.max())]
        assert float(t.max() - t.min()) <= near * float(t.max())
        assert bool((pace[~free[i] & (w[i] != 0) & (room[i] > 0)] <= t.max() * (1 + 1e-3)).all())


@NORMS
def test_without_a_box_it_is_the_closed_form(norm: str) -> None:
    p, w, gap = cases(5, 20, 12, 0.0, 1.0)
    change, size = Planes(norm, w).nearest(p, gap)
    dual = torch.linalg.vector_norm(w, ord={"linf": 1, "l2": 2, "l1": torch.inf}[norm], dim=1)
    assert torch.allclose(size, gap.abs() / dual, rtol=1e-12)
    assert torch.allclose((w * change).sum(1), gap, rtol=1e-12)


@NORMS
def test_a_row_does_not_feel_its_company(norm: str) -> None:
    p, w, gap = cases(6, 9, 700, 0.0, 1.0)
    for kind in (torch.float32, torch.float64):
        here, normal = p.to(kind), w.to(kind)
        change, _ = Planes(norm, normal, 0.0, 1.0).nearest(here, gap)
        for i in range(9):
            alone, _ = Planes(norm, normal[i : i + 1], 0.0, 1.0).nearest(here[i : i + 1], gap[i : i + 1])
            assert torch.equal(alone[0], change[i])


@NORMS
def test_the_scale_of_the_gradient_is_lost_nowhere(norm: str) -> None:
    p, w, gap = cases(7, 9, 30, 0.0, 1.0)
    p, w = p.float(), w.float()
    change, _ = Planes(norm, w, 0.0, 1.0).nearest(p, gap)
    small, _ = Planes(norm, w * 2.0**-110, 0.0, 1.0).nearest(p, gap * 2.0**-110)
    large, _ = Planes(norm, w * 2.0**100, 0.0, 1.0).nearest(p, gap * 2.0**100)
    assert torch.allclose(small, change, atol=1e-6)
    assert torch.allclose(large, change, atol=1e-6)


@NORMS
def test_rows_without_a_plane_move_nothing(norm: str) -> None:
    p, w, gap = cases(8, 7, 6, 0.0, 1.0)
    w[0], w[1, 2], w[2, 3], gap[3], gap[4] = 0, torch.nan, torch.inf, torch.nan, -torch.inf
    change, size = Planes(norm, w, 0.0, 1.0).nearest(p, gap)
    assert bool((change[:5] == 0).all())
    assert bool((size[:5] == 0).all())
    alone, _ = Planes(norm, w[5:], 0.0, 1.0).nearest(p[5:], gap[5:])
    assert torch.equal(change[5:], alone)
    assert float(size[5:].min()) > 0


@NORMS
def test_nothing_to_move(norm: str) -> None:
    for shape in ((0, 4), (3, 0)):
        change, size = Planes(norm, torch.ones(shape), 0.0, 1.0).nearest(torch.zeros(shape), torch.ones(shape[0]))
        assert change.shape == shape
        assert size.shape == shape[:1]


numbers = st.floats(-4, 4, allow_subnormal=False)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([0.0, 1.0, 0.5, 0.99, 1e-7]), numbers), min_size=1, max_size=7), numbers,
)  # fmt: skip
def test_no_corner_case_beats_the_solver(values: list[tuple[float, float]], gap: float) -> None:
    p, w = (torch.tensor(column, dtype=torch.float64) for column in zip(*values, strict=True))
    w = torch.where(w.abs() < 1e-3, 0.0, w)  # below the solver's own tolerance
    for norm in ("linf", "l2", "l1"):
        change, size = Planes(norm, w[None], 0.0, 1.0).nearest(p[None], torch.tensor([gap], dtype=torch.float64))
        assert bool(((p + change >= -1e-12) & (p + change <= 1 + 1e-12)).all())
        best = smallest(norm, p, w, gap, 0.0, 1.0)
        reached = float((w * change).sum())
        if abs(reached - gap) < 1e-6:
            assert float(size) <= best + 1e-6
        else:
            most = float(torch.where(w * gap > 0, w * (1 - p), -w * p).sum()) if gap else 0.0
            assert reached == pytest.approx(most, abs=1e-9)
