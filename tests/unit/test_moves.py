"""Moves and starts, each by what its paper says of a single step or of its schedule."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from ironbound.core.errors import CompositionError, UsageError
from ironbound.core.protocols import Ask, Can, Want
from ironbound.models.model import Model
from ironbound.recipes import apgd, apgd_targeted, fgsm, frank_wolfe, gama_pgd, ni_fgsm, pgd, pgd_kl, r_fgsm
from ironbound.searches.ascent import Ascent, Sparse
from ironbound.searches.moves import Apgd, ApgdL1, Slide, Step, checkpoints
from ironbound.searches.moves.apgd_l1 import _lengths
from ironbound.sets import L0, L1, L2, Linf
from ironbound.testing import fit
from parity.hearing import Overheard


def heard(
    attack: Any, threat: Any, box: tuple[float, float] = (0.0, 1.0), **parts: Any
) -> tuple[list[Tensor], Tensor, Any]:
    """All points asked while nobody leaves, the inputs and the result."""
    model, x, y = fit((1, 6, 6), 3, 6, box)
    x = x if box == (0.0, 1.0) else 0.9 * x  # a wide box is one that no ball reaches
    search = Overheard(attack.search)
    result = attack.replace(set=threat, search=search, want=Want.STRONGEST, **parts)(model, x, y)
    return search.points, x, result


def asks(attack: Any, threat: Any) -> list[Ask]:
    """The asks of an attack, as they were."""
    model, x, y = fit((1, 6, 6), 3, 6)
    said: list[Ask] = []

    class Noting:
        needs = attack.search.needs

        def run(self, task: Any) -> Any:
            running, answer = attack.search.run(task), None
            while True:
                try:
                    said.append(running.send(answer))
                except StopIteration:
                    return
                answer = yield said[-1]

    attack.replace(set=threat, search=Noting(), want=Want.STRONGEST)(model, x, y)
    return said


# ------------------------------------------------------------------------------------------------- what a move becomes
def test_moves_become_what_the_set_needs() -> None:
    x = torch.rand(2, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    flat, sparse = Linf(0.1).at(x, (0, 1)), L1(0.1).at(x, (0, 1))
    assert Step(0.1).on(flat) == Step(0.1)
    assert Step(0.1, relative=True).on(sparse) == Slide(0.1, relative=True)
    assert Apgd().on(flat) == Apgd()
    assert Apgd(large_radii=True).on(sparse) == ApgdL1(large_radii=True)


def test_fgsm_needs_a_support_alone() -> None:
    assert fgsm().search.needs == Can.GRADIENT | Can.SUPPORT
    points, x, _ = heard(fgsm(), L0(3, of="coordinates"))
    assert (points[-1] != x).flatten(1).sum(1).tolist() == [3] * len(x)
    with pytest.raises(CompositionError, match="STEER"):
        pgd().replace(set=L0(3))


# ------------------------------------------------------------------------------------------------- the sparse step
@pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
def test_a_slide_moves_the_steepest_that_can_move_by_its_length_in_sum(share: float) -> None:
    attack = pgd().replace(search=Ascent(1, Slide(0.25, share, relative=True)))
    (first, second), x, _ = heard(attack, L1(2.0), box=(-9.0, 9.0))
    moved = (second - first).flatten(1)
    assert torch.equal(first, x)
    count = int(share * 35) + 1
    torch.testing.assert_close(moved.abs().sum(1), torch.full((len(x),), 0.5, dtype=x.dtype), rtol=1e-9, atol=0)
    assert (moved != 0).sum(1).tolist() == [count] * len(x)


def test_a_slide_passes_over_values_at_their_edge() -> None:
    """The steepest value is at the box's end: the next one gets the whole step."""
    net = torch.nn.Linear(4, 1, bias=False, dtype=torch.float64)
    net.weight.data = torch.tensor([[4.0, 3.0, -2.0, 1.0]], dtype=torch.float64)
    x = torch.tensor([[1.0, 0.2, 0.5, 0.5]], dtype=torch.float64)
    attack = pgd(1, random_start=False).replace(search=Ascent(1, Slide(0.3)), set=L1(1.0), want=Want.STRONGEST)
    found = attack(Model(net), x, torch.zeros(1, dtype=torch.int64))
    torch.testing.assert_close(found.adversarial, torch.tensor([[1.0, 0.5, 0.5, 0.5]], dtype=torch.float64))


def test_a_slide_wants_edges() -> None:
    with pytest.raises(CompositionError, match="lo and hi"):
        Slide(0.1).on(object())


# ------------------------------------------------------------------------------------------------- APGD
def test_checkpoints_are_those_of_the_paper() -> None:
    """p_{j+1} = p_j + max(p_j - p_{j-1} - 0.03, 0.06), from p_1 = 0.22, of 100 steps."""
    assert list(checkpoints(100)) == [22, 41, 57, 70, 80, 87, 93, 99]


@pytest.mark.parametrize(("steps", "lengths"), [(100, (30, 30, 40)), (7, (3, 3, 1)), (2, (2,)), (1, (1,))])
def test_large_radii_take_turns(steps: int, lengths: tuple[int, ...]) -> None:
    assert tuple(length for _, length in _lengths(steps)) == lengths
    assert _lengths(steps)[-1][0] == 1


def test_large_radii_begin_outside_and_end_inside() -> None:
    eps = 1.0
    points, x, result = heard(apgd(20, large_radii=True), L1(eps))
    sizes = torch.stack([(p - x).flatten(1).abs().sum(1) for p in points])
    assert len(points) == 21
    assert 2 < float(sizes[:6].amax()) / eps <= 3 + 1e-9
    assert float(sizes[6:12].amax()) / eps <= 2 + 1e-9
    assert bool((sizes[12:] <= eps).all())
    assert bool((result.size <= eps).all())


def test_on_other_balls_large_radii_change_nothing() -> None:
    ours, _, _ = heard(apgd(12), L2(0.5))
    theirs, _, _ = heard(apgd(12, large_radii=True), L2(0.5))
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_apgd_never_writes_to_what_it_asked() -> None:
    said = asks(apgd(30), Linf(0.2))
    points, _, _ = heard(apgd(30), Linf(0.2))  # copied when they were asked
    assert all(torch.equal(ask.points, copy) for ask, copy in zip(said, points, strict=True))


def test_apgd_knows_its_losses() -> None:
    with pytest.raises(UsageError, match="ce, dlr, margin, probability"):
        apgd(loss="kl")


# ------------------------------------------------------------------------------------------------- the others
def test_nesterov_asks_ahead_and_ends_where_it_is() -> None:
    eps, step = 0.1, 0.03
    points, x, _ = heard(ni_fgsm(4, step=step), Linf(eps))
    moved, ahead = (points[-1] - x).abs(), (points[1] - x).abs()
    assert len(points) == 5
    assert torch.equal(points[0], x)
    assert float(moved.max()) <= eps
    assert float(ahead.max()) > step + 1e-9  # the first move and the look ahead


def test_frank_wolfe_goes_two_over_t_plus_two_of_the_way() -> None:
    eps = 0.2
    points, x, _ = heard(frank_wolfe(5), Linf(eps), box=(-9.0, 9.0))
    for t in range(1, 5):
        vertex = points[t] + (points[t + 1] - points[t]) * (t + 2) / 2
        torch.testing.assert_close((vertex - x).abs(), torch.full_like(x, eps), rtol=0, atol=1e-9)


def test_gama_steps_are_two_radii_then_a_tenth_twice() -> None:
    eps = 0.05
    points, x, _ = heard(gama_pgd(20), Linf(eps), box=(-9.0, 9.0))
    start, points = points[1], points[1:]
    torch.testing.assert_close((start - x).abs(), torch.full_like(x, eps), rtol=0, atol=1e-12)
    steps = torch.stack([(b - a).abs().flatten(1).amax(1) for a, b in zip(points, points[1:], strict=False)])
    assert bool((steps[12:17] <= 0.2 * eps + 1e-12).all())
    assert bool((steps[17:] <= 0.02 * eps + 1e-12).all())
    assert float(steps[:12].max()) > eps


def test_gama_climbs_the_distance_to_the_clean_answer_at_first() -> None:
    said = asks(gama_pgd(8), Linf(0.1))
    weights = [float(ask.args[1][0]) for ask in said if ask.grad]
    assert weights == [50.0, 25.0, 0, 0, 0, 0, 0, 0]


def test_a_sparse_start_has_few_values_in_l1() -> None:
    attack = pgd().replace(search=Ascent(1, Step(0.1), Sparse(3.0)))
    (first, _), x, _ = heard(attack, L1(0.5))
    changed = (first - x).flatten(1)
    assert bool((changed.abs().sum(1) <= 1.5 * (1 + 1e-9)).all())
    assert int((changed != 0).sum(1).max()) < 18


def test_corners_are_those_of_the_ball_and_others_with_every_restart() -> None:
    points, x, _ = heard(apgd(2, restarts=2, corners=True), Linf(0.1), (-9.0, 9.0))
    up = [(p - x).sign() for p in (points[0], points[3])]
    assert all(torch.allclose((p - x).abs(), torch.full_like(x, 0.1)) for p in (points[0], points[3]))
    assert not torch.equal(*up)
    assert all(0.4 < float((way > 0).double().mean()) < 0.6 for way in up)


def test_corners_of_pictures_are_coarse() -> None:
    model, x, y = fit((2, 29, 31), 3, 3, (-9.0, 9.0))
    search = Overheard(apgd(1, corners=True).search)
    apgd(1).replace(search=search, set=Linf(0.1), want=Want.STRONGEST)(model, 0.9 * x, y)
    up = (search.points[0] - 0.9 * x) > 0
    assert torch.equal(
        up[..., :28:4, :28:4], up[..., 3:28:4, 3:28:4]
    )  # 29 // 7 = 4: seven whole squares, and one that is cut
    assert torch.equal(up[..., 28, :28:4], up[..., 28, 3:28:4])
    assert bool((up[:, 0] != up[:, 1]).any())
    assert 0.3 < float(up.double().mean()) < 0.7


@pytest.mark.parametrize("threat", [L1(0.5), L2(0.5)], ids=["l1", "l2"])
def test_on_other_balls_corners_change_nothing(threat: Any) -> None:
    points, plain = (heard(apgd(4, large_radii=True, corners=corners), threat)[0] for corners in (True, False))
    assert all(torch.equal(p, q) for p, q in zip(points, plain, strict=True))


@pytest.mark.parametrize(
    "attack", [pgd(3), r_fgsm(), apgd(3), gama_pgd(3), pgd_kl(3)], ids=lambda a: type(a.search).__name__
)
def test_steps_in_radii_need_a_radius(attack: Any) -> None:
    model, x, y = fit((1, 4, 4), 3, 2)
    with pytest.raises(CompositionError, match="radius"):
        attack.replace(set=L2())(model, x, y)


@pytest.mark.parametrize("attack", [fgsm(), frank_wolfe(3)], ids=["fgsm", "frank_wolfe"])
@pytest.mark.parametrize("threat", [Linf(), L0(1)], ids=["linf", "l0"])
def test_a_vertex_needs_an_end(attack: Any, threat: Any) -> None:
    """Without a range an L0 ball has none, whatever its radius: its best point would be infinite, and "fool" the model."""
    with pytest.raises(CompositionError, match="without end"):
        attack.replace(set=threat)(Model(torch.nn.Linear(2, 2), range=None), torch.rand(3, 2), torch.tensor([0, 1, 0]))


# ------------------------------------------------------------------------------------------------- costs and notes
COSTS = {
    "fgsm": (fgsm(), 2, 1),
    "r_fgsm": (r_fgsm(restarts=3), 6, 3),
    "pgd": (pgd(4, restarts=2), 10, 8),
    "pgd_kl": (pgd_kl(4), 6, 4),
    "gama_pgd": (gama_pgd(8), 10, 8),
    "apgd": (apgd(6), 7, 6),
    "apgd_targeted": (apgd_targeted(6, targets=2), 15, 12),
    "ni_fgsm": (ni_fgsm(4), 5, 4),
}


@pytest.mark.parametrize("name", COSTS)
def test_costs_are_those_of_the_docstrings(name: str) -> None:
    attack, forward, backward = COSTS[name]
    for threat in (Linf(1e-9), L1(1e-9)):
        model, x, y = fit((1, 4, 4), 3, 4)
        found = attack.replace(set=threat)(model, x, y)
        right = ~found.success
        assert set(found.forward[right].tolist()) == {forward}
        assert set(found.backward[right].tolist()) == {backward}


@pytest.mark.parametrize("classes", [2, 3, 10, 1000])
def test_stand_ins_are_noted(classes: int) -> None:
    model, x, y = fit((1, 4, 4), classes, 4)
    notes = lambda attack: attack.replace(set=Linf(0.1))(model, x, y).config.get("notes", [])
    assert bool(notes(apgd(2, loss="dlr"))) == (classes < 3)
    assert bool(notes(apgd_targeted(2))) == (classes < 10)
    assert any("margin" in note for note in notes(apgd_targeted(2))) == (classes < 4)
