"""BPDA: values are the model's own, gradients the stand-in's at the transformed point; what is masked is broken through."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import ironbound as ib
from ironbound.core.describe import fingerprint
from ironbound.core.errors import CompositionError, ModelError, UsageError
from ironbound.core.rng import Rng, forked
from ironbound.data import load
from ironbound.models.zoo import digits_cnn
from ironbound.testing import WhiteNoise


class Rounded(nn.Module):
    """Values on a grid: a gradient of zero everywhere, or none at all through NumPy."""

    def __init__(self, levels: int, numpy: bool = False) -> None:
        super().__init__()
        self.levels, self.numpy = levels, numpy

    def extra_repr(self) -> str:
        return f"levels={self.levels}"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(np.round(x.numpy() * self.levels) / self.levels) if self.numpy else (
            torch.round(x * self.levels) / self.levels
        )  # fmt: skip


class Thermometer(nn.Module):
    """(n, 1, h, w) to (n, levels, h, w): which of the levels each value reaches (Buckman et al. 2018)."""

    levels = 8

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x >= self.steps(x)).to(x.dtype)

    def steps(self, x: torch.Tensor) -> torch.Tensor:
        return (torch.arange(self.levels, dtype=x.dtype, device=x.device) + 0.5).div(self.levels).view(1, -1, 1, 1)

    def smooth(self, x: torch.Tensor) -> torch.Tensor:
        """Athalye et al. 2018, section 5.3: the same with a ramp."""
        return ((x - self.steps(x)) * self.levels + 0.5).clamp(0, 1)


class Drawn(nn.Module):
    """Noise, then a grid: a defense that draws and masks."""

    def __init__(self, levels: int, sigma: float) -> None:
        super().__init__()
        self.grid, self.sigma = Rounded(levels), sigma

    def forward(self, x: torch.Tensor, rng: Rng) -> torch.Tensor:
        return self.grid((x + self.sigma * rng.fold("noise").normal(tuple(x.shape[1:]), x.dtype)).clamp(0, 1))


class Through(nn.Module):
    def __init__(self, defense: nn.Module, net: nn.Module) -> None:
        super().__init__()
        self.defense, self.net = defense, net

    def forward(self, x: torch.Tensor, *rng: Rng) -> torch.Tensor:
        return self.net(self.defense(x, *rng))


class DrawnThrough(Through):
    def forward(self, x: torch.Tensor, rng: Rng) -> torch.Tensor:
        return super().forward(x, rng)


def fitted(net: nn.Module, epochs: int = 4) -> nn.Module:
    data = load("digits:train")
    optimiser = torch.optim.Adam(net.parameters(), 3e-3)
    with forked(0):
        for _ in range(epochs):
            for at in torch.randperm(len(data)).split(64):
                optimiser.zero_grad()
                nn.functional.cross_entropy(net(data.x[at]), data.y[at]).backward()
                optimiser.step()
    return net.eval()


@pytest.fixture(scope="module")
def digits_net():
    return fitted(digits_cnn())


@pytest.fixture(scope="module")
def data():
    return load("digits:test", samples=100)


def seen(oracle, net, x, seed=0):
    """What a search hears through the oracle, and the gradient of the sum of squares."""
    at = x.clone().requires_grad_()
    keyed = lambda inputs, rng: net(inputs, rng) if isinstance(net, DrawnThrough) else net(inputs)
    out = oracle.bind(keyed)(at, Rng.of(seed, torch.arange(len(x))))
    (grad,) = torch.autograd.grad((out * out).sum(), at)
    return out.detach(), grad


def chained(net, stand_in, x, g):
    """J(x)^T grad f at g(x), by hand."""
    middle = g(x).detach().requires_grad_()
    out = net(middle)
    (after,) = torch.autograd.grad((out * out).sum(), middle)
    at = x.clone().requires_grad_()
    return torch.autograd.grad(stand_in(at), at, after)[0]


@pytest.mark.parametrize("numpy", [False, True])
def test_the_identity_is_straight_through(digits_net, data, numpy):
    grid, x = Rounded(4, numpy), data.x[:20]
    out, grad = seen(ib.Bpda(grid), Through(grid, digits_net), x)
    assert torch.equal(out, digits_net(grid(x)))
    middle = grid(x).requires_grad_()
    (by_hand,) = torch.autograd.grad((digits_net(middle) ** 2).sum(), middle)
    assert torch.equal(grad, by_hand)
    assert grad.abs().sum() > 0


def test_the_gradient_is_the_stand_ins_at_the_transformed_point(data):
    coding = Thermometer()
    with forked(1):
        net = nn.Sequential(nn.Conv2d(8, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(144, 10))
    out, grad = seen(ib.Bpda(coding, coding.smooth), Through(coding, net), data.x[:8])
    assert torch.equal(out, net(coding(data.x[:8])))
    assert torch.allclose(grad, chained(net, coding.smooth, data.x[:8], coding))


def test_two_defenses_and_one_that_is_called_twice(digits_net, data):
    first, second, x = Rounded(8), Rounded(5), data.x[:8]
    net = nn.Sequential(first, second, first, digits_net)
    half = lambda z: z / 2
    out, grad = seen(ib.Bpda(first, half, ib.Bpda(second)), net, x)
    assert torch.equal(out, net(x))
    assert torch.allclose(grad, chained(digits_net, lambda z: z / 4, x, lambda z: first(second(first(z)))))


def test_nested_in_eot_it_is_the_mean_over_draws_by_hand(digits_net, data):
    net, x, keys = DrawnThrough(Drawn(4, 0.1), digits_net), data.x[:6], torch.arange(6)
    out, grad = seen(ib.Eot(ib.Bpda(net.defense.grid), draws=5), net, x)
    rng = Rng.of(0, keys).repeat(5).fold("inner")
    at = x.clone().requires_grad_()
    noisy = (at.repeat_interleave(5, 0) + 0.1 * rng.fold("noise").normal((1, 8, 8), x.dtype)).clamp(0, 1)
    straight = noisy + (net.defense.grid(noisy) - noisy).detach()
    by_hand = digits_net(straight).unflatten(0, (6, 5)).mean(1)
    (expected,) = torch.autograd.grad((by_hand**2).sum(), at)
    assert torch.allclose(out, by_hand, atol=1e-5)
    assert torch.allclose(grad, expected, atol=1e-4)
    in_front = ib.Eot(ib.Bpda(net.defense.grid), WhiteNoise(0.05), draws=3)
    assert in_front.cost == 3
    assert not in_front.exact


def test_of_losses_eot_has_the_mean_of_the_draws_gradients(digits_net, data):
    x, y = data.x[:6], data.y[:6]
    oracle = ib.Eot(transform=WhiteNoise(0.2), draws=4, mean="losses")
    at = x.clone().requires_grad_()
    several = oracle.bind(lambda inputs, rng: digits_net(inputs))(at, Rng.of(0, torch.arange(6)))
    loss = several.mean(lambda out: nn.functional.cross_entropy(out, y, reduction="none"))
    (grad,) = torch.autograd.grad(loss.sum(), at)
    noise = WhiteNoise(0.2)(x.repeat_interleave(4, 0), Rng.of(0, torch.arange(6)).repeat(4).fold("transform"))
    each = noise.requires_grad_()
    (single,) = torch.autograd.grad(
        nn.functional.cross_entropy(digits_net(each), y.repeat_interleave(4), reduction="sum"), each
    )
    assert torch.allclose(grad, single.unflatten(0, (6, 4)).mean(1), atol=1e-5)
    pgd = ib.recipes.pgd(steps=4).replace(oracle=oracle)
    found = ib.attack(digits_net, x, y, threat="linf:0.2", method=pgd)
    assert bool(found.success.any())
    assert bool((digits_net(found.adversarial).argmax(1) != y)[found.success].all())


@pytest.mark.parametrize("kind", ["quantised", "thermometer"])
def test_what_is_masked_is_broken_through(kind, digits_net, data):
    """Of 100 digits at Linf 0.1, naive PGD breaks few and BPDA most, with the judge on the defended model for both."""
    if kind == "quantised":
        net = Through(Rounded(8), digits_net)
        backward = None
    else:
        coding = Thermometer()
        with forked(0):
            first = nn.Conv2d(8, 16, 3, padding=1)
            net = fitted(Through(coding, nn.Sequential(first, *digits_cnn()[1:])))
        backward = coding.smooth
    model, pgd = ib.Model(net), ib.recipes.pgd(steps=20)
    clean = (net(data.x).argmax(1) == data.y).sum()
    naive = _naive(model, data, pgd)
    through = ib.attack(
        model, data.x, data.y, threat="linf:0.15", method=pgd.replace(oracle=ib.Bpda(net.defense, backward))
    )
    wrong = int(len(data) - clean)
    assert clean >= 90
    assert int(naive.success.sum()) - wrong <= 25
    assert int(through.success.sum()) >= 70
    assert int(through.success.sum()) > 3 * int(naive.success.sum())
    assert bool((net(through.adversarial).argmax(1) != data.y)[through.success].all())
    assert bool(((through.adversarial - data.x).abs() <= 0.15 + 1e-6).all())


def _naive(model, data, pgd):
    """Through rounding the gradient is zero, through comparisons there is none: a random search is what is left."""
    if isinstance(model.net.defense, Thermometer):
        with pytest.raises(ModelError, match="Bpda"):
            ib.attack(model, data.x, data.y, threat="linf:0.15", method=pgd)
        pgd = "noise"
    return ib.attack(model, data.x, data.y, threat="linf:0.15", method=pgd)


def test_a_defense_that_draws_is_broken_by_eot_around_bpda(digits_net, data):
    net = DrawnThrough(Drawn(8, 0.1), digits_net)
    model, some = ib.Model(net, random=True), slice(0, 40)
    pgd = ib.recipes.pgd(steps=10).replace(votes=20)
    x, y = data.x[some], data.y[some]
    naive = ib.attack(model, x, y, threat="linf:0.15", method=pgd.replace(oracle=ib.Eot(draws=5)))
    adaptive = ib.attack(
        model, x, y, threat="linf:0.15", method=pgd.replace(oracle=ib.Eot(ib.Bpda(net.defense.grid), draws=5))
    )
    assert int(adaptive.success.sum()) >= int(naive.success.sum()) + 15


def test_the_model_is_left_as_it_was_and_claims_are_free(digits_net, data):
    net = Through(Rounded(8), digits_net)
    attack = ib.recipes.pgd(steps=5).replace(oracle=ib.Bpda(net.defense))
    found = ib.attack(net, data.x[:20], data.y[:20], threat="linf:0.2", method=attack)
    assert not net.defense._forward_hooks
    assert not net.defense._forward_pre_hooks
    assert int(found.judged.sum()) == 0
    assert int(found.forward.max()) <= 7


def test_what_does_not_fit_is_refused_with_what_does(digits_net, data):
    net, other = Through(Rounded(8), digits_net), Rounded(8)
    run = lambda attack: ib.attack(net, data.x[:4], data.y[:4], threat="linf:0.2", method=attack)
    with pytest.raises(CompositionError, match="very module"):
        run(ib.recipes.pgd(steps=2).replace(oracle=ib.Bpda(other)))
    coding = Thermometer()
    coded = Through(coding, nn.Sequential(nn.Flatten(), nn.Linear(512, 10)))
    attack = ib.recipes.pgd(steps=2).replace(oracle=ib.Bpda(coding))
    with pytest.raises(ModelError, match="give Bpda a backward="):
        ib.attack(coded, data.x[:4], threat="linf:0.2", method=attack)
    with pytest.raises(UsageError, match="stands in for a module"):
        ib.Bpda(torch.round)
    with pytest.raises(CompositionError, match="gives none"):
        ib.Bpda(other, inner=ib.Labels())
    with pytest.raises(UsageError, match="Eot\\(transform=noise"):
        ib.Eot(WhiteNoise(0.1))


def test_an_audit_takes_it_and_descriptions_tell_it_from_others(digits_net, data, tmp_path):
    describe = lambda *a: fingerprint(ib.recipes.pgd().replace(oracle=ib.Eot(ib.Bpda(*a), draws=2), set=ib.Linf(0.1)))
    one = describe(Rounded(8))
    assert one == describe(Rounded(8))
    assert one not in {describe(Rounded(4)), describe(Rounded(8), torch.tanh)}
    net = Through(Rounded(8), digits_net)
    attack = ib.recipes.pgd(steps=5).replace(oracle=ib.Bpda(net.defense))
    some = (data.x[:20], data.y[:20])
    report = ib.audit(net, some, threat="linf:0.2", method=attack, out=tmp_path / "run", curve=False)
    assert report.attacked_accuracy < 0.5
    assert ib.verify(tmp_path / "run", net, some).holds
