"""That the contracts carry searches unlike each other: what each probe finds, and what it hears from the engine."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ironbound.core.attack import Attack
from ironbound.core.protocols import Ask, Budget, Can, Want
from ironbound.models.model import Model
from ironbound.objectives import CrossEntropy, Margin
from ironbound.oracles import Direct, Labels
from ironbound.recipes import noise, pgd
from ironbound.sets import L2, Linf
from probes.carlini_wagner import CarliniWagner
from probes.cases import CASES, GOAL, TABLE, TEXTS, BagOfWords, TokenNet, TwoBranches, Waves, digits, net_of
from probes.deepfool import DeepFool
from probes.greedy import Greedy
from probes.nes import Estimated, Nes
from probes.square import HALVED, Square
from probes.tokens import HotFlip, Swaps
from probes.trees import Both, Branch, Lengths, TreeAscent
from probes.universal import Universal, UniversalAscent
from probes.words import Substitutions

SEARCHES = ("carlini_wagner", "square", "universal", "greedy", "nes", "deepfool", "tokens")


def images(n: int = 32) -> tuple[Model, Tensor, Tensor]:
    x, y = digits()
    return Model(net_of(torch.float64)), x[:n].double(), y[:n]


@dataclass(frozen=True)
class Plane(nn.Module):
    """Two logits whose difference is w x + b."""

    w: Tensor
    b: float

    def __new__(cls, w: Tensor, b: float) -> nn.Sequential:  # type: ignore[misc]
        layer = nn.utils.skip_init(nn.Linear, w.numel(), 2, dtype=w.dtype)
        with torch.no_grad():
            layer.weight.copy_(torch.stack([-w.flatten() / 2, w.flatten() / 2]))
            layer.bias.copy_(torch.tensor([-b / 2, b / 2]))
        return nn.Sequential(nn.Flatten(), layer)


def plane() -> tuple[Model, Tensor, Tensor, Tensor]:
    """A linear model on 4x4 pictures far from the box's edge, of class 0; and their distances from the boundary."""
    generator = torch.Generator().manual_seed(0)
    w = torch.empty(16, dtype=torch.float64).normal_(generator=generator)
    x = 0.5 + 0.02 * torch.empty(6, 1, 4, 4, dtype=torch.float64).normal_(generator=generator)
    b = float(-(x.flatten(1) @ w).max()) - 0.3
    distance = -(x.flatten(1) @ w + b) / w.norm()
    return Model(Plane(w, b)), x, torch.zeros(6, dtype=torch.int64), distance


@pytest.mark.parametrize("name", SEARCHES)
def test_a_search_is_short_and_calls_no_model(name: str) -> None:
    text = (Path(__file__).parent / f"{name}.py").read_text()
    assert len(text.splitlines()) <= 80
    assert "model" not in text.split('"""', 2)[2].lower()
    assert "backward" not in text


# ------------------------------------------------------------------------------------------------- what they find
@pytest.mark.parametrize(("search", "slack"), [(CarliniWagner(6, 100, 0.01), 0.05), (DeepFool(3), 0.03)])
def test_minimal_changes_of_a_linear_model_are_nearly_the_distance(search: Any, slack: float) -> None:
    model, x, y, distance = plane()
    result = Attack(L2(), GOAL, Margin(), search, Direct(), Want.SMALLEST)(model, x, y)
    assert bool(result.success.all())
    assert bool((result.size >= distance).all())
    assert bool((result.size <= distance * (1 + slack)).all())


def test_carlini_wagner_finds_smaller_changes_than_pgd_needs() -> None:
    model, x, y = images(16)
    small = CASES["carlini_wagner"].attack.replace(search=CarliniWagner(4, 60))(model, x, y)
    first = pgd(20).replace(set=L2(1.0))(model, x, y)
    both = small.success & first.success
    assert int(both.sum()) >= 8
    ratio = small.size[both] / first.size[both]
    assert float(ratio.median()) < 0.95
    assert float(ratio.max()) < 1.05


def test_squares_beat_noise_and_shrink_as_in_the_paper() -> None:
    model, x, y = images(64)
    squares = Attack(Linf(0.15), GOAL, Margin(), Square(150), Direct())(model, x, y)
    chance = noise(150).replace(set=Linf(0.15))(model, x, y)
    assert int(squares.success.sum()) > int(chance.success.sum())
    sides = [Square(10_000).side(t, 32, 32) for t in (0, *[at + 1 for at in HALVED])]
    assert sides == [29, 20, 14, 10, 7, 5, 4, 3, 2, 1]


def test_hopskipjump_sees_decisions_only_and_comes_close() -> None:
    case = CASES["hopskipjump"]
    result = case.run()
    assert bool(result.success.all())
    longer = Attack(L2(), GOAL, Margin(), case.attack.search, Labels(), Want.SMALLEST, Budget(forward=1500))
    model, x, y = case.build(torch.float64)
    close = longer.replace(search=type(case.attack.search)(rounds=12, probes=40))(model, x, y)
    near = CASES["carlini_wagner"].attack.replace(search=CarliniWagner(5, 80))(model, x, y)
    both = close.success & near.success & (near.size > 0.05)
    assert int(both.sum()) >= 4
    assert bool((close.size[both] <= 2.5 * near.size[both]).all())


def test_a_universal_change_works_on_its_share_of_inputs() -> None:
    model, x, y = images(32)
    attack = Attack(Universal(0.35), GOAL, CrossEntropy(), UniversalAscent(8, 8, 0.05), Direct(), share=0.6)
    result = attack(model, x, y)
    with torch.no_grad():
        wrong = model.net.eval()((x + result.points).clamp(0, 1)).argmax(1) != y
    assert result.success.tolist() == [True]
    assert float(wrong.double().mean()) >= 0.6
    assert float(result.points.abs().max()) <= 0.35


def test_greedy_takes_the_best_exchange() -> None:
    net = BagOfWords(torch.float64)
    attack = Attack(Substitutions(TABLE, 1), GOAL, Margin(), Greedy(1), Direct(), Want.STRONGEST)
    y = torch.tensor([0, 0, 0, 1, 0, 1, 0])
    result = attack(Model(net, range=None), TEXTS, y)
    for text, label, margin in zip(TEXTS, y, result.margin.tolist(), strict=True):
        words = text.split()
        every = [
            " ".join([*words[:i], new, *words[i + 1 :]]) for i, old in enumerate(words) for new in TABLE.get(old, ())
        ]
        assert margin == pytest.approx(GOAL.margin(net(every), label.repeat(len(every))).max().item())


def test_estimated_gradients_point_where_the_true_ones_do() -> None:
    @dataclass(frozen=True)
    class Look:
        heard: list[Tensor] = field(default_factory=list)
        needs = Can.GRADIENT

        def run(self, task: Any) -> Iterator[Ask]:
            self.heard.append((yield Ask(task.region.identity(), grad=True)).grad)

    model, x, y = images(8)
    true, guess = Look(), Look()
    for search in (true, Estimated(guess, Nes(1000, 0.001))):
        Attack(Linf(0.1), GOAL, Margin(), search, Direct(), Want.STRONGEST)(model, x, y)
    cosine = torch.cosine_similarity(true.heard[0].flatten(1), guess.heard[0].flatten(1))
    assert float(cosine.min()) > 0.9


def test_an_estimated_search_needs_scores_only() -> None:
    search = Estimated(pgd(3).search, Nes(10, 0.1))
    assert not search.needs & Can.GRADIENT
    with pytest.raises(ValueError, match="SCORES"):
        pgd(3).replace(set=Linf(0.1), search=search, oracle=Labels())


# ------------------------------------------------------------------------------------------------- Jacobians
@dataclass(frozen=True)
class LookAt:
    """Asks once for the gradients of the outputs chosen, at a moved point."""

    chosen: tuple[int, ...]
    move: Any
    grad: bool = False
    heard: list[Any] = field(default_factory=list)

    needs = Can.GRADIENT

    def run(self, task: Any) -> Iterator[Ask]:
        p = self.move(task.region.identity())
        jac = torch.tensor(self.chosen).expand(task.n, len(self.chosen))
        self.heard.append((yield Ask(p, jac=jac, grad=self.grad)))


def jacobian(model: Any, inputs: Any, leaf: Tensor, chosen: tuple[int, ...]) -> Tensor:
    out = model(inputs)
    return torch.stack([torch.autograd.grad(out[:, k].sum(), leaf, retain_graph=True)[0] for k in chosen], 1)


@pytest.mark.parametrize("rows", [None, 1, 3])
@pytest.mark.parametrize("grad", [False, True])
def test_jacobian_rows_are_those_of_autograd(grad: bool, rows: int | None) -> None:
    model, x, y = images(5)
    search = LookAt((3, 0, 9), lambda p: p + 0.01, grad)
    result = Attack(Linf(0.1), GOAL, Margin(), search, Direct())(model, x, y, rows=rows)
    leaf = (x + 0.01).requires_grad_()
    answer = search.heard[0]
    assert torch.allclose(answer.jac, jacobian(model.net.eval(), leaf, leaf, (3, 0, 9)), rtol=1e-10, atol=1e-12)
    assert answer.jac.shape == (5, 3, 1, 8, 8)
    assert (answer.grad is not None) == grad
    assert result.backward.tolist() == [3 + grad] * 5
    assert result.forward.tolist() == [1] * 5


def test_jacobians_of_trees_and_of_ragged_points_have_their_shape() -> None:
    net = TwoBranches(net_of(torch.float64), torch.float64).eval()
    _, image, y = images(4)
    x = {"image": image, "extra": torch.full((4, 5), 0.5, dtype=torch.float64)}
    search = LookAt((1, 2), lambda p: p)
    Attack(Both({"image": Linf(0.1), "extra": Linf(0.1)}), GOAL, Margin(), search, Direct())(Model(net), x, y)
    leaf = {name: part.clone().requires_grad_() for name, part in x.items()}
    for name, part in leaf.items():
        assert torch.allclose(search.heard[0].jac[name], jacobian(net, leaf, part, (1, 2)), rtol=1e-10, atol=1e-12)
    waves, net = (
        [torch.rand(n, generator=torch.Generator().manual_seed(n)).double() for n in (7, 5, 9)],
        Waves(torch.float64),
    )
    search = LookAt((1, 2), lambda p: p)
    y = torch.tensor([0, 1, 2])
    Attack(Lengths(0.1), GOAL, Margin(), search, Direct(), Want.STRONGEST)(Model(net), waves, y)
    for wave, rows in zip(waves, search.heard[0].jac, strict=True):
        leaf = wave.clone().requires_grad_()
        assert rows.shape == (2, len(wave))
        assert torch.allclose(rows, jacobian(net, [leaf], leaf, (1, 2)).T, rtol=1e-10, atol=1e-12)


# ------------------------------------------------------------------------------------------------- discrete leaves
def test_gradients_of_tokens_are_taken_at_the_one_hot_leaf() -> None:
    net = TokenNet(torch.float64)
    x = torch.randint(0, 12, (3, 7), generator=torch.Generator().manual_seed(0))
    y = net(x).argmax(1)
    search = LookAt((0, 2), lambda p: p, grad=True)
    Attack(Swaps(12, 2), GOAL, Margin(), search, Direct())(Model(net, range=None), x, y)
    leaf = nn.functional.one_hot(x, 12).double().requires_grad_()
    answer = search.heard[0]
    assert answer.grad.shape == (3, 7, 12)
    grad = torch.autograd.grad(GOAL.margin(net(leaf), y).sum(), leaf)[0]
    assert torch.allclose(answer.grad.double(), grad, atol=1e-5)
    assert torch.allclose(answer.jac.double(), jacobian(net, leaf, leaf, (0, 2)), atol=1e-5)


def test_swaps_guided_by_gradients_find_what_exhaustion_finds() -> None:
    net = TokenNet(torch.float64)
    x = torch.randint(0, 12, (6, 4), generator=torch.Generator().manual_seed(3))
    y = net(x).argmax(1)
    attack = Attack(Swaps(12, 1), GOAL, Margin(), HotFlip(1, beam=12), Direct(), Want.STRONGEST)
    result = attack(Model(net, range=None), x, y)
    for i in range(6):
        every = torch.stack([x[i].index_fill(0, torch.tensor(at), token) for at in range(4) for token in range(12)])
        best = GOAL.margin(net(every), y[i].repeat(len(every))).max()
        assert bool(result.success[i]) == bool(best > 0)
    assert result.adversarial.dtype == torch.int64
    assert bool((result.size[result.success] == 1).all())


# ------------------------------------------------------------------------------------------------- trees and lists
def test_a_branch_of_a_dict_is_attacked_and_the_other_stands() -> None:
    case = CASES["branch"]
    result, (_, x, _) = case.run(), case.build(torch.float64)
    assert torch.equal(result.adversarial["image"], x["image"])
    assert bool((result.adversarial["extra"] != x["extra"]).any(1)[result.success].all())
    assert result.points.shape == (10, 5)


def test_the_branch_alone_gives_what_the_plain_set_gives() -> None:
    model, image, y = images(10)
    net = TwoBranches(model.net, torch.float64)
    with torch.no_grad():
        net.extra.zero_()
    x = {"image": image, "extra": torch.zeros(10, 5, dtype=torch.float64)}
    attack, keys = pgd(8).replace(set=Linf(0.08)), torch.arange(10)
    plain = attack(model, image, y, keys=keys)
    branch = attack.replace(set=Branch("image", Linf(0.08)))(Model(net), x, y, keys=keys)
    assert torch.equal(plain.points, branch.points)
    assert torch.equal(plain.success, branch.success)


def test_both_branches_together_find_more_than_each() -> None:
    case = CASES["tree"]
    both = case.run()
    found = []
    for name in ("image", "extra"):
        alone = {other: part if other == name else Linf(0.0) for other, part in case.attack.set.sets.items()}
        model, x, y = case.build(torch.float64)
        found.append(int(case.attack.replace(set=Both(alone))(model, x, y).success.sum()))
    assert int(both.success.sum()) > max(found)
    assert set(both.points) == {"image", "extra"}


def test_ragged_rows_give_what_each_gives_alone_as_a_tensor() -> None:
    case = CASES["ragged"]
    result, (model, x, y) = case.run(), case.build(torch.float64)
    assert [len(row) for row in result.points] == [len(row) for row in x]

    class Alone(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = model.net

        def forward(self, x: Tensor) -> Tensor:
            return self.net(list(x))

    for i, wave in enumerate(x):
        search = case.attack.search
        alone = case.attack.replace(set=Linf(0.3), search=TreeAscent(search.steps, search.step))
        one = alone(Model(Alone()), wave[None], y[i : i + 1])
        assert bool(one.success[0]) == bool(result.success[i])
        assert torch.allclose(one.points[0], result.points[i])
        assert int(one.forward[0]) == int(result.forward[i])


def test_ragged_points_under_a_budget_hear_zeros_of_their_length() -> None:
    heard = []

    @dataclass(frozen=True)
    class Look:
        needs = Can.GRADIENT

        def run(self, task: Any) -> Iterator[Ask]:
            p = task.region.identity()
            heard.append((yield Ask(p[:2], owner=torch.tensor([0, 1]), grad=True)))
            heard.append((yield Ask(p, grad=True, jac=torch.zeros(task.n, 2, dtype=torch.int64))))

    case = CASES["ragged"]
    model, x, y = case.build(torch.float64)
    case.attack.replace(search=Look(), budget=Budget(forward=1))(model, x, y)
    answer = heard[1]
    assert answer.granted.tolist() == [False, False] + [True] * 6
    assert [row.shape for row in answer.grad] == [wave.shape for wave in x]
    assert [tuple(row.shape) for row in answer.jac] == [(2, len(wave)) for wave in x]
    assert not bool(answer.grad[0].any())
    assert bool(answer.grad[2].any())


# ------------------------------------------------------------------------------------------------- groups
def test_each_group_has_a_change_of_its_own_that_no_other_group_moves() -> None:
    case = CASES["universal_groups"]
    together = case.run()
    assert len(together) == 3
    assert len({tuple(point.flatten().tolist()) for point in together.points}) == 3
    for order in itertools.permutations(range(3)):
        index = torch.tensor(order)
        other = case.run_on(index)
        assert torch.equal(together.points[index], other.points)
        assert torch.equal(together.forward[index], other.forward)
