"""Ensembles, as what the search sees and as what is attacked: means by hand, rows counted, models left as they were."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import ironbound as ib
from ironbound.core.describe import described, fingerprint
from ironbound.core.errors import ModelError, UsageError
from ironbound.core.rng import Rng, forked

SHAPE, CLASSES = (1, 4, 4), 5


def net(seed: int, kind: torch.dtype = torch.float64) -> nn.Module:
    with forked(seed):
        layers = [
            nn.Flatten(),
            nn.Linear(16, 12),
            nn.BatchNorm1d(12),
            nn.Dropout(0.5),
            nn.ReLU(),
            nn.Linear(12, CLASSES),
        ]
        return nn.Sequential(*layers).to(kind)


@pytest.fixture
def problem():
    x = torch.rand(10, *SHAPE, generator=torch.Generator().manual_seed(1)).double()
    nets = [net(i).eval() for i in range(3)]
    return nets, x, nets[0](x).argmax(1)


def heard(oracle, model, x):
    at = x.clone().requires_grad_()
    return at, oracle.bind(lambda inputs, rng: model(inputs))(at, Rng.of(0, torch.arange(len(x))))


@pytest.mark.parametrize("target", [True, False])
def test_means_and_their_gradients_by_hand(problem, target):
    nets, x, y = problem
    members = nets if target else nets[1:]
    w = [0.5, 0.3, 0.2][: len(members)]
    w = [v / sum(w) for v in w]
    seen = lambda mean: heard(ib.Ensemble(nets[1:], mean, w, target), nets[0], x)
    at, logits = seen("logits")
    here = x.clone().requires_grad_()
    outs = [member(here) for member in members]
    assert torch.allclose(logits, sum(v * out for v, out in zip(w, outs, strict=True)))
    (grad,) = torch.autograd.grad(logits[:, 0].sum(), at)
    singles = [torch.autograd.grad(member(here)[:, 0].sum(), here)[0] for member in members]
    assert torch.allclose(grad, sum(v * one for v, one in zip(w, singles, strict=True)))
    _, logs = seen("probabilities")
    assert torch.allclose(logs.exp(), sum(v * out.softmax(1) for v, out in zip(w, outs, strict=True)))
    at, several = seen("losses")
    ce = several.mean(lambda out: F.cross_entropy(out, y, reduction="none"))
    assert torch.allclose(
        ce, sum(v * F.cross_entropy(out, y, reduction="none") for v, out in zip(w, outs, strict=True))
    )
    assert torch.allclose(several.middle, logits)


def test_the_engine_climbs_the_mean_of_losses(problem):
    nets, x, y = problem
    fgsm = ib.recipes.fgsm().replace(oracle=ib.Ensemble(nets[1:], "losses"), set=ib.Linf(1e-4))
    found = fgsm(ib.Model(nets[0]), x, y)
    here = x.clone().requires_grad_()
    (grad,) = torch.autograd.grad(sum(F.cross_entropy(member(here), y, reduction="sum") for member in nets), here)
    inside = (x > 0.001) & (x < 0.999)
    assert torch.equal((found.adversarial - x).sign()[inside], grad.sign()[inside])


def test_the_judge_is_the_attacked_model_alone(problem):
    nets, x, y = problem
    away = ib.recipes.pgd(steps=5).replace(oracle=ib.Ensemble(nets[1:], target=False), set=ib.Linf(0.3))
    found = away(ib.Model(nets[0]), x, y)
    assert torch.equal((nets[0](found.adversarial).argmax(1) != y)[found.success], found.success[found.success])
    assert bool(found.success.any())


def test_rows_of_all_models_are_counted_and_budgets_hold(problem):
    nets, x, y = problem
    runs = [0, 0, 0]
    hooks = [
        m.register_forward_hook(lambda m, a, o, i=i: runs.__setitem__(i, runs[i] + len(o))) for i, m in enumerate(nets)
    ]
    oracle = ib.Ensemble([ib.Model(other, outputs="logits") for other in nets[1:]])
    assert oracle.cost == 3
    assert oracle.elsewhere == 2
    assert ib.Eot(oracle, None, 4).elsewhere == 8
    for other in oracle.others:
        other.settle(x)
    model = ib.Model(nets[0], outputs="logits")
    model.settle(x)
    runs[:] = [0, 0, 0]
    attack = ib.recipes.pgd(steps=5).replace(oracle=oracle, set=ib.Linf(0.001))
    found = attack(model, x, y)
    assert sum(runs) == int(found.forward.sum())
    assert runs[1] == runs[2]
    capped = attack.replace(budget=ib.Budget(forward=8))(model, x, y)
    assert int(capped.forward.max()) <= 8
    for hook in hooks:
        hook.remove()


def test_the_others_are_left_as_they_were(problem):
    nets, x, y = problem
    other = nets[1].train()
    before = {name: value.clone() for name, value in other.state_dict().items()}
    ib.attack(nets[0], x, y, threat="linf:0.2", method=ib.recipes.pgd(steps=3).replace(oracle=ib.Ensemble([other])))
    assert other.training
    assert all(p.requires_grad and p.grad is None for p in other.parameters())
    assert all(torch.equal(before[name], value) for name, value in other.state_dict().items())


def test_another_type_is_converted(problem):
    nets, x, _ = problem
    _, out = heard(ib.Ensemble([net(1, torch.float32).eval()]), nets[0], x)
    assert out.dtype == torch.float64
    _, ours = heard(ib.Ensemble([nets[1]]), nets[0], x)
    assert torch.allclose(out, ours, atol=1e-5)


def test_an_ensemble_is_described_by_its_models(problem):
    nets, x, _ = problem
    describe = lambda *a, **k: fingerprint(ib.recipes.pgd().replace(oracle=ib.Ensemble(*a, **k), set=ib.Linf(0.1)))
    one = describe([net(1)])
    assert one == describe([net(1)])
    assert one != describe([net(2)])
    assert one != describe([net(1)], "losses")
    assert one != describe([ib.Model(net(1), mean=0.5)])
    oracle = ib.Ensemble([net(1).eval()])
    before = described(oracle)
    heard(oracle, nets[0], x)
    assert described(oracle) == before


def test_an_ensemble_is_attacked_as_one_model(problem):
    nets, x, _ = problem
    for member in nets:
        member[-1].weight.data.mul_(10)  # untrained nets answer with much the same class everywhere
    whole = ib.Averaged(nets, "probabilities").eval()
    assert described(whole) != described(ib.Averaged(nets, "probabilities", (1, 2, 3)))
    share = sum(member(x).softmax(1) for member in nets) / 3
    assert torch.allclose(whole(x).exp(), share)
    assert torch.allclose(
        ib.Averaged(nets, weights=(2, 1, 1)).eval()(x), (2 * nets[0](x) + nets[1](x) + nets[2](x)) / 4
    )
    scaled = ib.Model(nets[1], mean=0.3, std=0.5, outputs="logits")
    assert torch.allclose(ib.Averaged([scaled]).eval()(x), nets[1]((x - 0.3) / 0.5))
    y = whole(x).argmax(1)
    found = ib.attack(whole, x, y, threat="linf:0.8", method=ib.recipes.pgd(steps=5))
    assert bool(found.success.any())
    assert bool((whole(found.adversarial).argmax(1) != y)[found.success].all())


def test_what_makes_no_ensemble_is_refused(problem):
    nets, x, y = problem
    for make in (lambda: ib.Ensemble([]), lambda: ib.Ensemble(nets, "median"), lambda: ib.Ensemble(nets, weights=(1, 2)),
                 lambda: ib.Averaged([]), lambda: ib.Averaged([ib.Model(nets[0])])):  # fmt: skip
        with pytest.raises(UsageError):
            make()
    few = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).double()
    with pytest.raises(ModelError, match="same classes"):
        ib.attack(nets[0], x, y, threat="linf:0.1", method=ib.recipes.pgd(steps=1).replace(oracle=ib.Ensemble([few])))
