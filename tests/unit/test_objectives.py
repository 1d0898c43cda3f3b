"""Goals and objectives against their formulas, at 2, 3, 10 and 1000 classes, and what they mean to an ascent."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import ironbound as ib
from ironbound.core.errors import ModelError, UsageError
from ironbound.goals import Targeted, TopK, Untargeted
from ironbound.objectives import (
    CrossEntropy,
    Dlr,
    KlToClean,
    Margin,
    ProbabilityMargin,
    Rescaled,
    TargetDlr,
    TargetMargin,
    TargetProbability,
)

CLASSES = pytest.mark.parametrize("classes", [2, 3, 10, 1000])
OBJECTIVES = pytest.mark.parametrize(
    "objective", [CrossEntropy(), Margin(), ProbabilityMargin(), Dlr(), Rescaled(), Rescaled(Dlr())], ids=repr
)


def logits(classes: int, rows: int = 40, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    out = torch.randn(rows, classes, dtype=torch.float64, generator=generator) * 3
    return out, torch.randint(classes, (rows,), generator=generator)


def best_other(row: Tensor, y: int) -> float:
    return float(max(value for j, value in enumerate(row.tolist()) if j != y))


@CLASSES
def test_margins_by_hand(classes: int) -> None:
    out, y = logits(classes)
    p = out.softmax(1)
    for i, label in enumerate(y.tolist()):
        gap = best_other(out[i], label) - float(out[i, label])
        assert float(Margin()(out, y, Untargeted())[i]) == gap
        assert float(Margin()(out, y, Targeted())[i]) == -gap
        assert float(ProbabilityMargin()(out, y, Untargeted())[i]) == pytest.approx(
            best_other(p[i], label) - float(p[i, label]), abs=1e-15
        )
        ranked = sorted(out[i].tolist(), reverse=True)
        if classes >= 3:
            assert float(Dlr()(out, y, Untargeted())[i]) == pytest.approx(gap / (ranked[0] - ranked[2]), rel=1e-9)
        else:
            assert float(Dlr()(out, y, Untargeted())[i]) == gap
        target = (label + 1) % classes
        toward = float(out[i, target] - out[i, label])
        scale = ranked[0] - (ranked[2] + ranked[3]) / 2 if classes >= 4 else 1.0
        args = out, y, (y + 1) % classes
        assert float(TargetMargin()(*args)[i]) == toward
        assert float(TargetDlr()(*args)[i]) == pytest.approx(toward / scale, rel=1e-9)
        assert float(TargetProbability()(*args)[i]) == pytest.approx(float(p[i, target] - p[i, label]), abs=1e-15)


@CLASSES
def test_kl_is_that_of_torch_and_zero_at_the_clean_answer(classes: int) -> None:
    out, _ = logits(classes)
    clean, _ = logits(classes, seed=1)
    theirs = nn.functional.kl_div(out.log_softmax(1), clean.log_softmax(1), log_target=True, reduction="none").sum(1)
    assert torch.allclose(KlToClean()(out, clean), theirs, atol=1e-12)
    assert KlToClean()(out, out).abs().max() == 0


@pytest.mark.parametrize("k", [1, 2, 5])
def test_top_k(k: int) -> None:
    out, y = logits(10)
    margin = TopK(k).margin(out, y)
    inside = (out.topk(k, dim=1).indices == y[:, None]).any(1)
    assert torch.equal(margin > 0, ~inside)
    if k == 1:
        assert torch.equal(margin, Untargeted().margin(out, y))


def test_top_k_needs_more_classes() -> None:
    out, y = logits(3)
    with pytest.raises(UsageError, match="more than 3 classes"):
        TopK(3).margin(out, y)
    with pytest.raises(UsageError, match=">= 1"):
        TopK(0)


@OBJECTIVES
@CLASSES
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), factor=st.sampled_from([1e-20, 1e-3, 1.0, 50.0, 1e4]))
def test_finite_with_finite_gradients_row_by_row(objective: ib.Margin, classes: int, seed: int, factor: float) -> None:
    out, y = logits(classes, rows=6, seed=seed)
    out = (out * factor).float().requires_grad_()
    for goal in (Untargeted(), Targeted()):
        value = objective(out, y, goal)
        assert value.shape == (6,)
        assert bool(value.isfinite().all())
        (gradient,) = torch.autograd.grad(value.sum(), out)
        assert bool(gradient.isfinite().all())
        alone = torch.cat([objective(out[i : i + 1], y[i : i + 1], goal) for i in range(6)])
        assert torch.allclose(alone, value, rtol=1e-6, atol=0)


@OBJECTIVES
def test_of_two_classes_all_objectives_rise_with_the_margin(objective: ib.Margin) -> None:
    gaps = torch.linspace(-8, 8, 41, dtype=torch.float64)
    out, y = torch.stack([-gaps / 2, gaps / 2], 1), torch.zeros(41, dtype=torch.int64)
    for goal, sign in ((Untargeted(), 1), (Targeted(), -1)):
        value = objective(out, y, goal) * sign
        if isinstance(objective, Rescaled):  # of two logits the gap is the scale: its sign is all that is left
            assert bool(value[gaps > 0].amin() > value[gaps < 0].amax())
        else:
            assert bool((value.diff() > 0).all())


@pytest.mark.parametrize("objective", [Dlr(), Rescaled(CrossEntropy())], ids=repr)
def test_no_scale_of_the_logits_matters(objective: ib.Margin) -> None:
    out, y = logits(10)
    for factor in (1e-3, 1e3):
        assert torch.allclose(objective(out * factor, y, Untargeted()), objective(out, y, Untargeted()), rtol=1e-6)


def test_rescaling_gives_a_gradient_where_cross_entropy_has_none() -> None:
    out = torch.tensor([[5e4, 0.0, 1.0]], requires_grad=True)
    y = torch.tensor([0])
    flat = torch.autograd.grad(CrossEntropy()(out, y, Untargeted()).sum(), out)[0]
    steep = torch.autograd.grad(Rescaled()(out, y, Untargeted()).sum(), out)[0]
    assert float(flat.abs().max()) == 0
    assert float(steep.abs().max()) > 0


@pytest.mark.parametrize("objective", [Dlr(), ProbabilityMargin(), Rescaled()], ids=repr)
def test_bare_decisions_are_refused_in_words(objective: ib.Margin) -> None:
    with pytest.raises(ModelError, match="compares logits"):
        objective(torch.tensor([1, 2]), torch.tensor([1, 1]), Untargeted())


def net(classes: int, logit: bool = False) -> nn.Module:
    torch.manual_seed(classes)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 16), nn.Tanh(), nn.Linear(16, 1 if logit else classes))


@pytest.mark.parametrize("classes", [1, 2, 3, 10])
def test_what_stands_in_is_said(classes: int) -> None:
    """One logit is two classes; DLR needs three, targeted DLR four, nine targets ten."""
    with torch.random.fork_rng():
        module = net(max(classes, 2), logit=classes == 1).double()
    x = torch.rand(6, 3, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    model = ib.Model(module)
    for objective in (Dlr(), Rescaled(Dlr())):
        said = ib.attack(model, x, threat="linf:0.01", method=ib.recipes.apgd(steps=3).replace(objective=objective))
        assert bool(said.config.get("notes")) == (classes < 3)
    said = ib.attack(model, x, threat="linf:0.01", method=ib.recipes.apgd_targeted(steps=3))
    count = max(classes, 2)
    expected = [f"targeted DLR needs 4 classes; the model has {count}"] if count < 4 else []
    expected += [f"of {count} classes there are {count - 1}"] if count < 10 else []
    notes = said.config.get("notes", [])
    assert len(notes) == len(expected)
    assert all(any(part in note for note in notes) for part in expected)
    assert int(said.backward.max()) <= 3 * min(9, count - 1)


def test_targets_are_named() -> None:
    with torch.random.fork_rng():
        module = net(5).double()
    x = torch.rand(8, 3, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    model, out = ib.Model(module), module(x).detach()
    y = out.argmax(1)
    huge = math.inf
    reached = {}
    for name in ("next likely", "least likely", "random", "all"):
        found = ib.attack(model, x, y, threat=ib.Linf(huge), method=ib.recipes.pgd(steps=20, step=0.1), target=name)
        reached[name] = module(found.adversarial).argmax(1)
        assert not bool((reached[name][found.success] == y[found.success]).any())
    order = out.scatter(1, y[:, None], -huge).argsort(1, descending=True)
    next_likely = ib.attack(
        model, x, y, threat=ib.Linf(huge), method=ib.recipes.pgd(steps=20, step=0.1), target=order[:, 0]
    )
    assert torch.equal(reached["next likely"], module(next_likely.adversarial).argmax(1))
    with pytest.raises(UsageError, match="next likely"):
        ib.attack(model, x, y, threat="linf:0.1", target="nearest")


def test_random_targets_are_uniform_and_the_problems_own() -> None:
    from ironbound.core.rng import Rng
    from ironbound.recipes.targets import ranked_targets

    with torch.random.fork_rng():
        model = ib.Model(net(5).double())
    x = torch.rand(2000, 3, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    x, y = model.admit(x, torch.full((2000,), 2))
    rng = Rng.of(0, torch.arange(2000))
    drawn = ranked_targets(model, x, y, "random", rng, None)[:, 0]
    counts = torch.bincount(drawn, minlength=5)
    assert int(counts[2]) == 0
    assert bool((counts[[0, 1, 3, 4]] - 500).abs().max() < 100)  # five standard deviations
    some = torch.arange(7, 2000, 13)
    assert torch.equal(ranked_targets(model, x[some], y[some], "random", rng.take(some), None)[:, 0], drawn[some])
