"""Schemes of adversarial training: each loss of one batch beside the formula of its paper, written another way."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import ironbound as ib
from ironbound.core.errors import CompositionError, UsageError
from ironbound.core.rng import Rng, content_keys
from ironbound.defenses.train import (
    Adversarial,
    Alp,
    Awp,
    Composed,
    Dro,
    Free,
    GradAlign,
    Mart,
    MultiNorm,
    Signs,
    Standard,
    Steps,
    Trades,
    Training,
    train,
    training_named,
)  # fmt: skip
from ironbound.defenses.train.earlier import Earlier
from ironbound.defenses.train.msd import Msd
from ironbound.defenses.train.objective import Batch, Scene
from ironbound.defenses.train.objectives.fast import cosine
from ironbound.defenses.train.objectives.union import extremes
from ironbound.defenses.train.schemes import ENTRIES
from ironbound.models.model import Model
from ironbound.sets import L1, L2, Linf
from training_samples import EPS, UNION, images, same, small_net, state_of, trained

ROWS = 12


def _scene(threat: Any = EPS, net: nn.Module | None = None, **parts: Any) -> tuple[Scene, Batch]:
    """One batch in float64 on a net whose rows do not feel each other, in training mode as the trainer has it."""
    x, y = images(ROWS)
    x = x.double()
    model = Model((small_net(norm=False, dropout=0) if net is None else net).double().train())
    model.settle(x)
    return Scene(model, threat, x, y), Batch(x, y, Rng.of(0, content_keys(x, y)), 0.0, torch.arange(ROWS), **parts)


def _gradients(losses: Tensor, net: nn.Module) -> list[Tensor]:
    return list(torch.autograd.grad(losses.mean(), [*net.parameters()]))


def _close(a: list[Tensor], b: list[Tensor]) -> None:
    for one, other in zip(a, b, strict=True):
        assert torch.allclose(one, other, rtol=1e-9, atol=1e-12)


def _kl(p: Tensor, q: Tensor) -> Tensor:
    """Of the softmax of two tables of logits, term by term."""
    p, q = p.exp() / p.exp().sum(1, keepdim=True), q.exp() / q.exp().sum(1, keepdim=True)
    return sum(p[:, k] * (p[:, k].log() - q[:, k].log()) for k in range(p.shape[1]))  # type: ignore[return-value]


def _ce(logits: Tensor, y: Tensor) -> Tensor:
    return logits.exp().sum(1).log() - logits[torch.arange(len(y)), y]


# ------------------------------------------------------------------------------------------------ the published formulas
def test_trades_is_the_formula_of_its_paper() -> None:
    scene, batch = _scene()
    objective = Trades(Steps(3, start="nudged"), beta=4.0)
    found = objective.attacked(scene, batch, scene.region(batch))
    net = scene.model.net
    expected = _ce(net(batch.x), batch.y) + 4.0 * _kl(net(batch.x), net(found))
    outcome = objective.outcome(scene, batch, found)
    assert torch.allclose(outcome.losses, expected, rtol=1e-10)
    _close(_gradients(outcome.losses, net), _gradients(expected, net))
    assert torch.allclose(objective.loss(scene, batch).losses, expected, rtol=1e-10)


def test_the_inner_attack_of_trades_climbs_the_divergence_without_labels() -> None:
    scene, batch = _scene()
    other = Batch(batch.x, batch.y.roll(1), batch.rng, 0.0, batch.index)
    objective, region = Trades(Steps(5, share=0.3, start="nudged")), scene.region(batch)
    found = objective.attacked(scene, batch, region)
    assert torch.equal(found, objective.attacked(scene, other, region))
    with torch.no_grad():
        near = batch.x + 0.001
        net = scene.model.net
        assert (_kl(net(batch.x), net(found)) > 50 * _kl(net(batch.x), net(near))).all()
    assert region.contains(found).all()


def test_mart_is_the_formula_of_its_paper() -> None:
    scene, batch = _scene()
    objective = Mart(Steps(3, start="nudged"), beta=5.0)
    found = objective.attacked(scene, batch, scene.region(batch))
    net, rows = scene.model.net, torch.arange(ROWS)
    clean, there = net(batch.x).softmax(1), net(found).softmax(1)
    others = torch.stack([there[i][torch.arange(3) != batch.y[i]] for i in range(ROWS)])
    boosted = -there[rows, batch.y].log() - (1 - others.max(1).values).log()
    expected = boosted + 5.0 * _kl(net(batch.x), net(found)) * (1 - clean[rows, batch.y])
    outcome = objective.outcome(scene, batch, found)
    assert torch.allclose(outcome.losses, expected, rtol=1e-9)
    _close(_gradients(outcome.losses, net), _gradients(expected, net))


def test_the_boosted_loss_stays_finite_where_probabilities_are_one() -> None:
    from ironbound.defenses.train.objectives.regularised import boosted

    logits = torch.tensor([[200.0, 0.0, -50.0], [0.0, 200.0, -50.0]], requires_grad=True)
    y = torch.tensor([0, 0])
    losses = boosted(logits, y, F.cross_entropy(logits, y, reduction="none"))
    assert losses.tolist() == pytest.approx([0.0, 400.0])
    losses.sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_logit_pairing_is_the_formula_of_its_paper() -> None:
    scene, batch = _scene()
    objective = Alp(Steps(3), weight=0.7)
    found = objective.attacked(scene, batch, scene.region(batch))
    net = scene.model.net
    clean, there = net(batch.x), net(found)
    expected = 0.5 * _ce(clean, batch.y) + 0.5 * _ce(there, batch.y) + 0.7 * ((clean - there) ** 2).sum(1) / 3
    outcome = objective.outcome(scene, batch, found)
    assert torch.allclose(outcome.losses, expected, rtol=1e-10)
    _close(_gradients(outcome.losses, net), _gradients(expected, net))


def test_aligned_gradients_are_the_formula_of_their_paper() -> None:
    scene, batch = _scene()
    objective = GradAlign(weight=0.3)
    found = objective.attacked(scene, batch, scene.region(batch))
    noise = scene.region(batch).sample(batch.rng.fold("aligned"))
    net = scene.model.net

    def gradient(of: Tensor) -> Tensor:
        leaf = of.clone().requires_grad_()
        return torch.autograd.grad(_ce(net(leaf), batch.y).sum(), leaf, create_graph=True)[0].flatten(1)

    a, b = gradient(batch.x), gradient(noise)
    expected = _ce(net(found), batch.y) + 0.3 * (1 - F.cosine_similarity(a, b, eps=1e-30))
    outcome = objective.outcome(scene, batch, found)
    assert torch.allclose(outcome.losses, expected, rtol=1e-9)
    assert (outcome.losses > _ce(net(found), batch.y)).any()
    _close(_gradients(outcome.losses, net), _gradients(expected, net))


def test_gradients_of_a_linear_model_are_aligned_only_where_probabilities_are() -> None:
    """Two classes: the gradient is the difference of the weights times a positive number, so that nothing is added."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(36, 2))
    scene, batch = _scene(net=net)
    batch = Batch(batch.x, batch.y % 2, batch.rng, 0.0, batch.index)
    found = scene.region(batch).identity()
    plain = Adversarial().outcome(scene, batch, found).losses
    assert torch.allclose(GradAlign(weight=9.0).outcome(scene, batch, found).losses, plain, atol=1e-12)


def test_gradients_that_are_zero_have_no_angle() -> None:
    a = torch.tensor([[0.0, 0.0], [1e-25, 0.0], [3.0, 4.0]], requires_grad=True)
    b = torch.tensor([[1.0, 2.0], [1e-25, 1e-25], [4.0, -3.0]])
    value = cosine(a, b)
    assert value.tolist() == pytest.approx([1.0, math.sqrt(0.5), 0.0], abs=1e-6)
    value.sum().backward()
    assert a.grad is not None
    assert a.grad.isfinite().all()


# ------------------------------------------------------------------------------------------------ one step
def test_noise_beyond_the_ball_is_held_by_the_range_alone() -> None:
    """N-FGSM: x + n + alpha sign(grad at x + n), clamped to the range and not to the ball."""
    scene, batch = _scene(Linf(0.1))
    found = Steps(1, share=1.0, noise=2.0).inputs(scene, batch, scene.region(batch))
    noise = Linf(0.2).at(batch.x, (0.0, 1.0)).sample(batch.rng.fold("start"))
    leaf = noise.clone().requires_grad_()
    (grad,) = torch.autograd.grad(_ce(scene.model.net(leaf), batch.y).sum(), leaf)
    assert torch.allclose(found, (noise + 0.1 * grad.sign()).clamp(0, 1), atol=1e-12)
    away = (found - batch.x).abs().flatten(1).amax(1)
    assert (away > 0.15).all()
    assert (away <= 0.3 + 1e-9).all()


def test_a_random_start_and_a_longer_step_stay_in_the_ball() -> None:
    """FGSM-RS: clamp(x + n + 1.25 eps sign(grad at x + n)) to ball and range."""
    scene, batch = _scene(Linf(0.1))
    found = Steps(1, share=1.25).inputs(scene, batch, scene.region(batch))
    noise = Linf(0.1).at(batch.x, (0.0, 1.0)).sample(batch.rng.fold("start"))
    leaf = noise.clone().requires_grad_()
    (grad,) = torch.autograd.grad(_ce(scene.model.net(leaf), batch.y).sum(), leaf)
    expected = torch.minimum(torch.maximum(noise + 0.125 * grad.sign(), batch.x - 0.1), batch.x + 0.1).clamp(0, 1)
    assert torch.allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("name", ["fgsm-rs", "n-fgsm", "gradalign", "free"])
def test_stronger_attacks_of_one_step_have_more_or_shorter_ones(name: str) -> None:
    objective = training_named(name).objective.stronger()
    if isinstance(objective, Free):
        assert objective.share == 0.5
    else:
        was = training_named(name).objective.inner
        assert (objective.inner.steps, objective.inner.share) == (2, was.share / 2)
        assert objective.inner.noise == was.noise


def test_what_goes_around_a_single_step_is_watched_as_it_is() -> None:
    from ironbound.defenses.train.recovery import wanted

    assert wanted(training_named("awp", base="fgsm-rs"))
    assert not wanted(training_named("awp"))
    assert training_named("dro", base="n-fgsm").objective.stronger().base.inner == Steps(2, share=0.5, noise=2.0)


def test_random_signs_move_every_value_by_the_radius_and_ask_no_model() -> None:
    scene, batch = _scene(Linf(0.1))
    x = batch.x.clamp(0.1, 0.9)
    batch = Batch(x, batch.y, batch.rng, 0.0, batch.index)
    found = Signs().inputs(scene, batch, scene.region(batch))
    assert torch.allclose((found - x).abs(), torch.full_like(x, 0.1))
    assert 0.4 < float((found > x).double().mean()) < 0.6
    assert Adversarial(Signs()).loss(scene, batch).rows == ROWS
    away = Signs().inputs(scene, batch, L2(0.5).at(x, None)) - x
    assert torch.allclose(away.flatten(1).norm(dim=1), torch.full((ROWS,), 0.5).double())


# ------------------------------------------------------------------------------------------------ free
def test_free_moves_weights_and_inputs_by_the_same_backward_pass() -> None:
    """Algorithm 1 beside it: delta is kept between updates and batches, and clamped to the ball alone."""
    torch.manual_seed(0)
    scene, batch = _scene(Linf(0.1))
    net, objective = scene.model.net, Free(repeats=3, share=0.7)
    delta = torch.zeros_like(batch.x)
    for update in range(3):
        outcome = objective.loss(scene, batch)
        leaf = (batch.x + delta).clamp(0, 1).requires_grad_()
        expected = _ce(net(leaf), batch.y)
        assert torch.allclose(outcome.losses, expected, rtol=1e-10)
        (grad,) = torch.autograd.grad(expected.mean(), leaf)
        net.zero_grad()
        outcome.losses.mean().backward()
        delta = (delta + 0.07 * grad.sign()).clamp(-0.1, 0.1)
        assert torch.allclose(scene.state["change"], delta, atol=1e-12), update
        with torch.no_grad():
            for parameter in net.parameters():
                parameter -= 0.1 * parameter.grad
    assert delta.abs().max() == pytest.approx(0.1)

    few = Batch(batch.x[:5], batch.y[:5], batch.rng.take(torch.arange(5)), 0.0, batch.index[:5])
    objective.loss(scene, few).losses.mean().backward()
    assert torch.equal(scene.state["change"][5:], delta[5:]) or torch.allclose(scene.state["change"][5:], delta[5:])
    assert len(scene.state["change"]) == ROWS


def test_free_updates_each_batch_several_times() -> None:
    events: list[Any] = []
    training = Training(Free(repeats=4), 2, batch=45, rate=0.01)
    train(Model(small_net()), images(), EPS, training, progress=events.append)
    assert [event.done for event in events] == list(range(1, 17))
    assert events[-1].rows == 2 * 4 * 90


# ------------------------------------------------------------------------------------------------ adversarial weights
@pytest.mark.parametrize("base", [Adversarial(Steps(2)), Trades(Steps(2, start="nudged"))], ids=["pgd", "trades"])
def test_adversarial_weights_are_those_of_their_paper(base: Any) -> None:
    scene, batch = _scene()
    net = scene.model.net
    before = state_of(net)
    objective = Awp(base, gamma=0.02)
    outcome = objective.loss(scene, batch)
    got = _gradients(outcome.losses, net)
    assert same(before, state_of(net))

    found = base.attacked(scene, batch, scene.region(batch))
    loss = lambda: base.outcome(scene, batch, found).losses.mean()
    clean = float(loss().detach())
    grads = torch.autograd.grad(loss(), [*net.parameters()])
    with torch.no_grad():
        for parameter, grad in zip(net.parameters(), grads, strict=True):
            if parameter.ndim > 1:
                parameter += 0.02 * parameter.norm() * grad / grad.norm()
    assert outcome.losses.mean().item() == pytest.approx(float(loss().detach()), rel=1e-10)
    assert outcome.losses.mean() > clean
    _close(got, _gradients(base.outcome(scene, batch, found).losses, net))


def test_normalisations_and_frozen_weights_are_not_perturbed_and_statistics_move_once() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.LayerNorm((8,)), nn.Unflatten(1, (2, 4)), nn.LayerNorm((2, 4)),
                        nn.Flatten(), nn.BatchNorm1d(8), nn.Linear(8, 3))  # fmt: skip
    net[7].weight.requires_grad_(False)
    scene, batch = _scene(net=net)
    weights = Awp().weights(scene, batch, batch.x)
    assert list(weights) == ["net.1.weight"]
    own = net[1].weight.detach()
    assert float((weights["net.1.weight"].detach() - own).norm() / own.norm()) == pytest.approx(0.01)
    assert int(net[6].num_batches_tracked) == 0
    Awp(Adversarial(Steps(1))).loss(scene, batch)
    assert int(net[6].num_batches_tracked) == 1


def test_weights_are_not_perturbed_before_their_time() -> None:
    scene, batch = _scene()
    base = Adversarial(Steps(2))
    assert torch.equal(Awp(base, warmup=1.0).loss(scene, batch).losses, base.loss(scene, batch).losses)
    with pytest.raises(UsageError, match="epochs"):
        Training(Awp(warmup=5.0), 3)


# ------------------------------------------------------------------------------------------------ unions
def _parted(scene: Scene, batch: Batch, base: Adversarial) -> list[Tensor]:
    return [base.attacked(scene, batch, scene.region(batch, part)) for part in UNION.parts]


def test_worst_and_average_are_the_maximum_and_the_mean_over_the_parts() -> None:
    scene, batch = _scene(UNION)
    base = Adversarial(Steps(4))
    points = _parted(scene, batch, base)
    table = torch.stack([_ce(scene.model.net(found), batch.y) for found in points])
    worst, average = (MultiNorm(base, how=how).loss(scene, batch) for how in ("worst", "average"))
    assert torch.allclose(worst.losses, table.max(0).values, rtol=1e-10)
    assert torch.allclose(average.losses, table.mean(0), rtol=1e-10)
    assert len(set(table.argmax(0).tolist())) > 1
    assert (worst.rows, average.rows) == (ROWS * (3 * 5 + 1), ROWS * 3 * 5)


def test_msd_takes_at_each_step_the_part_that_leads_furthest() -> None:
    scene, batch = _scene(UNION)
    inner = Steps(1, share=0.5, start="clean")
    region = scene.region(batch)
    found = Msd(inner).inputs(scene, batch, region)
    steps = [inner.inputs(scene, batch, scene.region(batch, part)) for part in UNION.parts]
    table = torch.stack([_ce(scene.model.net(step), batch.y) for step in steps])
    assert torch.allclose(_ce(scene.model.net(found), batch.y), table.max(0).values, rtol=1e-10)
    long = Msd(Steps(6)).inputs(scene, batch, region)
    assert region.contains(long).all()
    assert _ce(scene.model.net(long), batch.y).mean() > _ce(scene.model.net(found), batch.y).mean()


def test_e_at_attacks_one_extreme_part_and_more_often_where_errors_are() -> None:
    assert [type(part) for part in extremes(UNION.parts)] == [Linf, L1]
    assert extremes((Linf(0.1), L2(0.5))) == (Linf(0.1), L2(0.5))
    scene, batch = _scene(UNION)
    objective = MultiNorm(Adversarial(Steps(2)), how="e-at")
    scene.state["errors"] = torch.tensor([0.9, 0.1], dtype=torch.float64)
    parts = [L1, Linf]
    drawn = []
    for epoch in range(60):
        moved = Batch(batch.x, batch.y, batch.rng.fold(epoch), 0.0, batch.index)
        scene.state["errors"] = torch.tensor([0.9, 0.1], dtype=torch.float64)
        objective.loss(scene, moved)
        drawn.append(parts[int(scene.state["errors"][0] != 0.9)])
    assert 45 <= drawn.count(Linf) < 60


def test_unions_are_asked_for_and_single_sets_refused() -> None:
    training = Training(MultiNorm(), 1)
    with pytest.raises(CompositionError, match="several sets"):
        train(Model(small_net()), images(), EPS, training)
    with pytest.raises(CompositionError, match="multi-norm"):
        train(Model(small_net()), images(), UNION, Training(Adversarial(), 1))
    with pytest.raises(CompositionError, match="multi-norm"):
        Composed(ib.recipes.pgd(steps=2)).check(Scene(Model(small_net()), UNION, *images()), UNION)
    with pytest.raises(CompositionError, match="attacked inputs"):
        MultiNorm(Standard())


def test_steps_on_l1_balls_are_those_of_the_engine() -> None:
    """One value a step would not get far: both change several at once."""
    from ironbound.defenses.train.fused import stepped
    from ironbound.searches.moves import Slide

    net = nn.Sequential(nn.Flatten(), nn.Linear(400, 3))
    x, y = torch.full((4, 1, 20, 20), 0.5), torch.tensor([0, 1, 2, 0])
    region = L1(8.0).at(x, (0.0, 1.0))
    leaf = x.clone().requires_grad_()
    (grad,) = torch.autograd.grad(F.cross_entropy(net(leaf), y, reduction="sum"), leaf)

    class Task:
        pass

    task = Task()
    task.region = region  # type: ignore[attr-defined]
    ours = stepped(region, x, grad, torch.full((4, 1, 1, 1), 2.0))
    assert torch.equal(ours, Slide(2.0).moved(task, x, grad))  # type: ignore[arg-type]
    assert torch.equal(ours, stepped(region, x, grad, 2.0))
    assert ((ours != x).flatten(1).sum(1) == 4).all()


# ------------------------------------------------------------------------------------------------ robust weighting
def test_class_weights_rise_exponentially_with_the_losses_of_their_class() -> None:
    scene, batch = _scene()
    objective, base = Dro(Standard(), eta=0.5), Standard()
    losses = base.loss(scene, batch).losses.detach()
    q = torch.full((3,), 1 / 3, dtype=torch.float64)
    for _ in range(3):
        outcome = objective.loss(scene, batch)
        means = torch.stack([losses[batch.y == c].mean() for c in range(3)])
        q = q * (0.5 * means).exp()
        q = q / q.sum()
        assert outcome.losses.mean().item() == pytest.approx(float((q * means).sum()), rel=1e-10)
    assert torch.allclose(scene.state["log weights"].exp(), q)
    assert int(q.argmax()) == int(means.argmax())


def test_tilted_losses_have_the_gradient_of_their_closed_form() -> None:
    scene, batch = _scene()
    net = scene.model.net
    outcome = Dro(Standard(), over="samples", tilt=0.5).loss(scene, batch)
    closed = 0.5 * (Standard().loss(scene, batch).losses / 0.5).exp().mean().log()
    _close(_gradients(outcome.losses, net), _gradients(closed, net))


# ------------------------------------------------------------------------------------------------ attacks of the engine
@pytest.mark.parametrize("attack", [ib.recipes.pgd(steps=5), ib.recipes.apgd(steps=5), ib.recipes.fgsm()])
def test_any_attack_makes_inputs_that_raise_the_loss_and_stay_inside(attack: Any) -> None:
    scene, batch = _scene()
    region = scene.region(batch)
    found = Composed(attack).inputs(scene, batch, region)
    assert region.contains(found).all()
    with torch.no_grad():
        assert (_ce(scene.model.net(found), batch.y) > _ce(scene.model.net(batch.x), batch.y)).all()
    assert scene.model.net.training
    assert all(parameter.requires_grad for parameter in scene.model.net.parameters())


def test_the_radius_of_the_moment_holds_for_attacks_of_the_engine() -> None:
    scene, batch = _scene(strength=0.25)
    found = Composed(ib.recipes.pgd(steps=5)).inputs(scene, batch, scene.region(batch))
    assert 0.024 < float((found - batch.x).abs().max()) <= 0.025 + 1e-9


def test_inner_attacks_and_bases_by_name() -> None:
    objective = training_named("pgd", inner="apgd", steps=3, loss="dlr").objective
    assert objective == Adversarial(Composed(ib.recipes.apgd(steps=3, loss="dlr")))
    assert training_named("trades", inner=ib.recipes.pgd(steps=2), beta=1.0).objective == Trades(
        Composed(ib.recipes.pgd(steps=2)), beta=1.0
    )
    assert training_named("awp", base="trades", beta=2.0, gamma=0.005).objective == Awp(Trades(beta=2.0), gamma=0.005)
    assert training_named("dro", base="standard").objective == Dro(Standard())
    assert training_named("dro", base="pgd", inner=Steps(3)).objective == Dro(Adversarial(Steps(3)))
    with pytest.raises(UsageError, match="several attacks"):
        training_named("pgd", inner="autoattack")
    with pytest.raises(UsageError, match=r"'inner'. It is one of pgd"):
        training_named("standard", inner="pgd")
    with pytest.raises(UsageError, match="inner is an attack"):
        training_named("pgd", inner=3)


# ------------------------------------------------------------------------------------------------ all of them
@pytest.mark.parametrize(
    "objective",
    [Free(), GradAlign(), Trades(Steps(2, start="nudged")), Mart(Steps(2)), Alp(Steps(2)), Awp(Adversarial(Steps(2)))],
    ids=lambda objective: objective.name,
)
def test_training_learns(objective: Any) -> None:
    """The weights of the moment, on what the inner attack finds: from one class in three to nearly all."""
    history = trained(objective, small_net(dropout=0), epochs=4, rate=0.01).history
    assert history[-1]["attacked_accuracy"] > 0.85
    assert history[-1]["loss"] < 0.8 * history[0]["loss"]


@pytest.mark.parametrize(
    "build",
    [lambda: Trades(beta=-1), lambda: Mart(beta=math.inf), lambda: Alp(weight="1"), lambda: Awp(gamma=-0.1),
     lambda: Free(repeats=0), lambda: Free(share=0), lambda: GradAlign(weight=-1), lambda: MultiNorm(how="best"),
     lambda: Dro(over="groups"), lambda: Dro(tilt=0), lambda: Steps(noise=0), lambda: Steps(noise=2, start="clean"),
     lambda: MultiNorm(Adversarial(Steps(step=0.1)))],
)  # fmt: skip
def test_bad_settings_are_refused(build: Any) -> None:
    with pytest.raises(UsageError, match=r"got|step"):
        build()


def test_flags_reach_the_parts_of_a_scheme() -> None:
    from ironbound.cli.settings import HardenSettings, settings_of

    needed = {"model": "zoo.py:net", "data": "digits", "threat": "linf:0.1"}
    flags = {"method": "awp", "base": "trades", "beta": "3", "gamma": "0.005", "share": "0.3", "epochs": "7"}
    said = settings_of(HardenSettings, {**needed, **flags}).of_training()
    expected = Awp(Trades(Steps(10, share=0.3, start="nudged"), beta=3.0), gamma=0.005)
    assert training_named("awp", **said).objective == expected
    with pytest.raises(UsageError, match=r"--how cannot be .best.: .* how sets are joined"):
        settings_of(HardenSettings, {**needed, "how": "best"})


def test_a_setting_means_one_thing_wherever_it_is_found() -> None:
    """Only stages before a training, and the second inner attack of semi-supervised training, share names with it."""
    shared = {field.name for part in (Earlier, Steps) for field in fields(part)}

    def names(part: Any) -> Iterator[str]:
        for field in fields(part):
            value = getattr(part, field.name)
            yield from names(value) if is_dataclass(value) and not isinstance(value, type) else (field.name,)

    for entry in ENTRIES:
        twice = {name for name, count in Counter(names(entry.make())).items() if count > 1}
        assert twice <= shared, entry.name
