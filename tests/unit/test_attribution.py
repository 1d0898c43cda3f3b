"""Attributions: closed forms, completeness, parity with Captum, and what is refused."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import ironbound as ib
from audit_samples import Wrap, drawn, mlp
from ironbound.core.errors import InputError, ModelError, UnknownName, UsageError
from ironbound.explaining import cosine, rank_correlation


def linear(classes: int = 3, features: int = 5) -> nn.Linear:
    net = nn.Linear(features, classes)
    with torch.no_grad():
        net.weight.copy_(drawn(classes, features, seed=1) - 0.5)
    return net


def convolutional() -> nn.Sequential:
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Conv2d(4, 4, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16, 5),
    )
    with torch.no_grad():
        for i, weight in enumerate(net.parameters()):
            weight.copy_(drawn(*weight.shape, seed=i) - 0.4)
    return net


@pytest.mark.parametrize("against", [None, 0])
@pytest.mark.parametrize("baseline", [None, 0.25])
def test_a_linear_model_in_closed_form(against: int | None, baseline: float | None) -> None:
    net, x = linear(), drawn(4, 5)
    weight = net.weight[2].detach() if against is None else (net.weight[2] - net.weight[0]).detach()
    slope = ib.attribute(net, x, 2, against=against, method="gradient")
    torch.testing.assert_close(slope.values, weight.expand(4, 5))
    assert slope.gap is None
    for steps in (1, 7):
        found = ib.attribute(net, x, 2, against=against, method="integrated", baseline=baseline, steps=steps)
        torch.testing.assert_close(found.values, weight * (x - (baseline or 0.0)))
        assert found.gap is not None
        assert float(found.gap.abs().max()) < 1e-5


def test_the_range_and_the_normalisation_are_the_models() -> None:
    """The gradient is per unit of the range, and the baseline is its lowest value."""
    net, x = linear(), 4 * drawn(3, 5) - 1
    model = ib.Model(net, range=(-1, 3), mean=0.5, std=2.0)
    weight = net.weight[1].detach() / 2
    torch.testing.assert_close(ib.attribute(model, x, 1, method="gradient").values, weight.expand(3, 5))
    torch.testing.assert_close(ib.attribute(model, x, 1).values, weight * (x + 1))
    with pytest.raises(InputError, match="baseline"):
        ib.attribute(model, x, 1, baseline=-2.0)


def test_a_polynomial_is_integrated_exactly() -> None:
    """x_i times the mean of 5 t^4 x_i^4 is x_i^5, which three points of Gauss-Legendre have exactly, and one has not."""
    scale = nn.Linear(4, 4, bias=False, dtype=torch.float64)
    nn.init.eye_(scale.weight)
    model, x = ib.Model(Wrap(scale, lambda x: torch.stack([x.pow(5).sum(1), x.sum(1)], 1))), drawn(6, 4).double()
    torch.testing.assert_close(ib.attribute(model, x, 0, steps=3).values, x**5)
    assert float((ib.attribute(model, x, 0, steps=1).values - x**5).abs().max()) > 1e-3


def test_completeness_comes_nearer_with_steps() -> None:
    net, x = mlp(64, 24, 10), drawn(8, 1, 8, 8)
    gaps = []
    for steps in (2, 16, 256):
        found = ib.attribute(net, x, steps=steps)
        assert found.gap is not None
        assert found.baseline_score is not None
        gaps.append(float((found.gap.abs() / (found.score - found.baseline_score).abs()).max()))
    assert gaps[2] < 2e-3
    assert gaps[2] < gaps[1] < gaps[0]


def test_rows_per_pass_and_company_change_nothing_and_every_row_is_counted() -> None:
    net, x = mlp(64, 24, 10).double(), drawn(9, 1, 8, 8).double()
    net.train()
    whole = ib.attribute(net, x, 3, against=4, steps=20)
    parts = torch.cat(
        [ib.attribute(net, x[at], 3, against=4, steps=20, rows=2).values for at in (slice(0, 1), slice(1, 9))]
    )
    torch.testing.assert_close(whole.values, parts)
    assert (whole.forward, whole.backward) == (9 * 22, 9 * 20)
    assert ib.attribute(net, x, method="gradient").forward == 18  # which class is asked first
    assert net.training
    assert all(weight.requires_grad and weight.grad is None for weight in net.parameters())
    assert whole.values.shape == x.shape


def test_each_input_has_its_own_classes() -> None:
    net, x = linear(), drawn(3, 5)
    w = net.weight.detach()
    found = ib.attribute(net, x, [0, 1, 2], against=torch.tensor([1, 2, 0]), method="gradient").values
    torch.testing.assert_close(found, torch.stack([w[0] - w[1], w[1] - w[2], w[2] - w[0]]))
    answers = net(x).argmax(1)
    torch.testing.assert_close(ib.attribute(net, x, method="gradient").values, w[answers])


# ----------------------------------------------------------------------------------------------------------- Captum
def test_parity_with_captum() -> None:
    attr = pytest.importorskip("captum.attr")
    net, x, y = convolutional().eval(), drawn(6, 3, 8, 8), torch.tensor([0, 1, 2, 3, 4, 0])
    leaf = x.clone().requires_grad_(True)
    torch.testing.assert_close(
        ib.attribute(net, x, y, method="gradient").values, attr.Saliency(net).attribute(leaf, target=y, abs=False)
    )
    for steps, baseline in ((32, 0.0), (7, 0.5)):
        mine = ib.attribute(net, x, y, steps=steps, baseline=baseline)
        theirs, delta = attr.IntegratedGradients(net).attribute(
            x, baselines=baseline, target=y, n_steps=steps, return_convergence_delta=True
        )
        torch.testing.assert_close(mine.values, theirs.to(x.dtype), atol=1e-6, rtol=1e-4)
        torch.testing.assert_close(mine.gap, delta.double(), atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("name", ["IntegratedGradients", "Saliency", "InputXGradient", "GuidedBackprop", "Deconvolution",
                                  "DeepLift", "Occlusion", "FeatureAblation"])  # fmt: skip
def test_captums_algorithms_go_through_the_door(name: str) -> None:
    """The values are Captum's own of the same score, the model is left as it was, and no class goes to another's row."""
    attr = pytest.importorskip("captum.attr")
    net, x = convolutional(), drawn(4, 3, 8, 8)
    net.train()
    extra = {"sliding_window_shapes": (3, 2, 2), "strides": (3, 2, 2)} if name == "Occlusion" else {}
    found = ib.attribute(net, x, [0, 1, 0, 3], method=f"captum:{name}", **extra)
    assert net.training
    assert all(weight.requires_grad and weight.grad is None for weight in net.parameters())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in net.modules())
    assert found.forward > 0
    theirs = getattr(attr, name)(net.eval())
    given: dict[str, Any] = {"abs": False} if name == "Saliency" else {"n_steps": 32} if "Integrated" in name else {}
    expected = _quietly(theirs, x, torch.tensor([0, 1, 0, 3]), given | extra)
    torch.testing.assert_close(found.values, expected.detach().to(x.dtype), atol=1e-6, rtol=1e-4)
    assert bool((found.values != 0).any())
    assert (found.gap is None) == (name not in ("IntegratedGradients", "DeepLift"))


def _quietly(algorithm: Any, x: Tensor, y: Tensor, given: dict[str, Any]) -> Tensor:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return algorithm.attribute(x.clone().requires_grad_(True), target=y, **given)


def test_captum_speaks_for_a_margin_too() -> None:
    pytest.importorskip("captum.attr")
    net, x = linear(), drawn(3, 5)
    weight = (net.weight[[2, 1, 2]] - net.weight[[0, 0, 1]]).detach()
    found = ib.attribute(net, x, [2, 1, 2], against=[0, 0, 1], method="captum:inputxgradient")
    assert found.method == "captum:InputXGradient"
    torch.testing.assert_close(found.values, weight * x)


def test_a_missing_captum_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(UsageError, match=r"pip install 'ironbound\[captum\]'"):
        ib.attribute(linear(), drawn(2, 5), method="captum:Saliency")


def test_what_captum_refuses_is_said() -> None:
    pytest.importorskip("captum.attr")
    with pytest.raises(UsageError, match="captum:Saliency does not go with this model or these options"):
        ib.attribute(linear(), drawn(2, 5), method="captum:Saliency", nonsense=1)


# ---------------------------------------------------------------------------------------------------------- refusals
def test_what_has_no_gradient_is_refused() -> None:
    x = drawn(3, 5)
    with pytest.raises(ModelError, match="decisions"):
        ib.attribute(Wrap(linear(), lambda out: out.argmax(1)), x)
    with pytest.raises(ModelError, match="no path of the graph"):
        ib.attribute(Wrap(linear(), lambda out: out.detach()), x)
    with pytest.raises(ModelError, match="anything"):
        ib.attribute(ib.Model(linear(), outputs="anything"), x)
    with pytest.raises(InputError, match="real numbers"):
        ib.attribute(ib.Model(linear(), range=None), torch.zeros(2, 5, dtype=torch.int64))


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"method": "integratd"}, UnknownName, "Did you mean 'integrated'"),
        ({"method": "captum:Shapley"}, UnknownName, "captum:Saliency"),
        ({"steps": 0}, UsageError, "steps is a whole number"),
        ({"classes": 3}, InputError, "classes"),
        ({"classes": 1, "against": 1}, InputError, "against itself"),
        ({"classes": 0.5}, UsageError, "one class an input"),
        ({"baseline": torch.zeros(4)}, InputError, "does not fit"),
        ({"abs": True}, UsageError, "takes no options"),
    ],
)
def test_wrong_arguments_are_named(options: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        ib.attribute(linear(), drawn(2, 5), **options)


def test_classes_are_checked_where_the_model_has_no_range() -> None:
    with pytest.raises(InputError, match="class 7 was named, and the model has 3"):
        ib.attribute(ib.Model(linear(), range=None), drawn(2, 5), 7)


# -------------------------------------------------------------------------------------------------------- likenesses
def test_likeness_in_closed_form() -> None:
    a = torch.tensor([[1.0, 2.0, 3.0, -4.0], [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    b = torch.tensor([[2.0, 4.0, 6.0, -8.0], [-1.0, 0.0, 0.0, 0.0], [1.0, 2.0, 3.0, 4.0]])
    assert cosine(a, b)[:2].tolist() == pytest.approx([1.0, -1.0])
    assert rank_correlation(a, b)[:2].tolist() == pytest.approx([1.0, 1.0])  # the sign is not what is ranked
    assert bool(cosine(a, b)[2].isnan())
    assert bool(rank_correlation(a, b)[2].isnan())
    assert float(rank_correlation(a[:1], a[:1].flip(1))) == pytest.approx(-1.0)


def test_ranks_are_scipys() -> None:
    from scipy.stats import spearmanr

    a, b = ((drawn(5, 40, seed=seed) * 8).round() - 4 for seed in (0, 1))  # with many ties
    expected = [spearmanr(one.abs(), other.abs()).statistic for one, other in zip(a, b, strict=True)]
    assert rank_correlation(a, b).tolist() == pytest.approx(expected)
