"""Searches that climb towards something learnt at the clean input."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

import ironbound as ib
from ironbound.objectives import KlToClean, TargetMargin
from ironbound.searches.ascent import Ascent, Uniform
from ironbound.searches.guided import Aimed, Away, Likely, Malt
from ironbound.searches.moves import Step

C = 6


class Heard(nn.Module):
    """A linear net that notes the inputs of every pass."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(5)
        self.weight = nn.Parameter(torch.randn(C, 12, dtype=torch.float64, generator=generator))
        self.weight.data[0] += 3  # the label's logit is far above: nothing breaks
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x.detach().clone())
        return x.flatten(1) @ self.weight.T


def problem(n: int = 5) -> tuple[Heard, ib.Model, Tensor, Tensor]:
    net = Heard()
    x = torch.rand(n, 3, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(6))
    model = ib.Model(net, outputs="logits")
    x, y = model.admit(x, torch.zeros(n, dtype=torch.int64))
    model.settle(x)
    net.seen.clear()
    return net, model, x, y


def attack_of(search: object, eps: float = 1e-3, norm: type = ib.Linf) -> ib.Attack:
    return ib.Attack(norm(eps), ib.Untargeted(), ib.CrossEntropy(), search, ib.Direct())  # type: ignore[arg-type]


def test_each_turn_climbs_to_its_own_target() -> None:
    net, model, x, y = problem()
    attack_of(Aimed(Ascent(1, Step(1.0, relative=True)), TargetMargin(), Likely(3)))(model, x, y)
    order = (x.flatten(1) @ net.weight.T).detach().argsort(1, descending=True)
    assert bool((order[:, 0] == 0).all())
    moved = net.seen[2::2]  # the clean pass, then start and end of each turn
    assert len(moved) == 3
    for turn, points in enumerate(moved):
        slope = net.weight[order[:, turn + 1]] - net.weight[0]
        assert torch.equal((points - x).flatten(1).sign(), slope.detach().sign())


def test_each_turn_starts_elsewhere() -> None:
    net, model, x, y = problem()
    attack_of(Aimed(Ascent(1, Step(1e-9), Uniform()), TargetMargin(), Likely(3)))(model, x, y)
    starts = net.seen[1::2]
    assert len(starts) == 3
    assert all(not torch.equal(starts[i], starts[j]) for i in range(3) for j in range(i))


@pytest.mark.parametrize(("norm", "dual"), [(ib.Linf, 1), (ib.L2, 2), (ib.L1, math.inf)])
def test_malt_ranks_by_the_distance_to_linear_boundaries(norm: type, dual: float) -> None:
    """Of a linear net the ratio is the exact distance to each class in the attack's norm."""
    net, model, x, y = problem()
    net.weight.data[2] *= 9  # near by distance, whatever the likelihood says
    attack_of(Aimed(Ascent(1, Step(1e-9)), TargetMargin(), Malt(C - 1)), norm=norm)(model, x, y)
    z = x.flatten(1) @ net.weight.T
    gap = z[:, :1] - z[:, 1:]
    distance = gap / torch.linalg.vector_norm(net.weight[1:] - net.weight[0], ord=dual, dim=1)
    expected = distance.argsort(1) + 1
    assert not torch.equal(expected, z[:, 1:].argsort(1, descending=True) + 1)
    turns = net.seen[3::2]
    for turn, points in enumerate(turns):
        slope = net.weight[expected[:, turn]] - net.weight[0]
        at = slope.abs().argmax(1) if norm is ib.L1 else torch.zeros(len(x), dtype=torch.int64)
        change = (points - x).flatten(1).gather(1, at[:, None])
        assert torch.equal(change.sign(), slope.gather(1, at[:, None]).detach().sign())


def test_kl_leads_away_from_the_clean_answer_without_a_label() -> None:
    net, model, x, _ = problem()
    search = Away(Ascent(20, Step(0.25, relative=True), Uniform()), KlToClean())
    with pytest.raises(ib.IronboundError, match="leads away"):
        attack_of(search).replace(goal=ib.Targeted(5))
    attack_of(search, eps=0.02)(model, x, torch.zeros(len(x), dtype=torch.int64))
    reached = net.seen[-1]
    kl = lambda p: KlToClean()(model.net(p), model.net(x))
    noise = (
        x + 0.02 * torch.rand(x.shape, dtype=x.dtype, generator=torch.Generator().manual_seed(0)).mul(2).sub(1).sign()
    )
    assert bool((kl(reached) > kl(noise.clamp(0, 1))).all())


def test_an_aimed_search_changes_nothing_by_batch() -> None:
    net, model, x, y = problem(9)
    net.weight.data[0] -= 2.5  # now some break
    attack = attack_of(Aimed(Ascent(3, Step(0.4, relative=True), Uniform()), targets=Malt(3)), eps=0.9)
    whole = attack(model, x, y)
    for compaction in ("always", "never"):
        assert torch.equal(whole.adversarial, attack(model, x, y, compaction=compaction, rows=4).adversarial)
    parts = [attack(model, x[i : i + 1], y[i : i + 1]).adversarial for i in range(9)]
    assert torch.allclose(whole.adversarial, torch.cat(parts), rtol=0, atol=1e-15)
    assert bool(whole.success.any())
