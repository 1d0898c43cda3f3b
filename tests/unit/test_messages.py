"""What is said to somebody who asked for something that does not fit: what was wrong, what was expected, what to do."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import ironbound as ib
from ironbound.core.catalogue import find
from ironbound.core.errors import CompositionError, InputError, UnknownName, UsageError
from ironbound.core.rng import forked
from recipe_samples import small

ON_L0 = "What fits this threat: noise, fgsm, frank_wolfe, "


@pytest.fixture(scope="module")
def net() -> nn.Module:
    with forked(0):
        return nn.Sequential(nn.Flatten(), nn.Linear(48, 8), nn.ReLU(), nn.Linear(8, 5)).eval()


X = torch.linspace(0.1, 0.9, 6 * 48).reshape(6, 3, 4, 4)
Y = torch.tensor([0, 1, 2, 3, 4, 0])


def darker(x: torch.Tensor) -> torch.Tensor:
    return 0.5 * x


@pytest.mark.parametrize("method", ["pgd", "apgd", "autoattack", "fab", "square"])
def test_an_attack_that_the_set_cannot_carry_names_those_that_it_can(net: nn.Module, method: str) -> None:
    with pytest.raises(CompositionError) as refused:
        ib.attack(net, X, Y, threat="l0:2", method=method)
    named = str(refused.value)
    assert (ON_L0 in named and "sigma_zero" in named and "greedy_l0" in named) or method in ("fab", "square")


def test_every_attack_that_is_named_does_run(net: nn.Module) -> None:
    finite = ib.Finite([darker])
    for threat in ("l0:2", finite, "l0:2|linf:0.1"):
        with pytest.raises(CompositionError, match="What fits this threat: ") as refused:
            ib.attack(net, X, Y, threat=threat, method="pgd")
        named = str(refused.value).split("What fits this threat: ")[1].split(".")[0].split(", ")
        assert "noise" in named
        for method in named:
            recipe = small(find(ib.recipes.ENTRIES, "attack", method).make)()
            assert len(ib.attack(net, X, Y, threat=threat, method=recipe)) == len(X)


def test_attacks_that_take_a_target_are_named_where_one_does_not(net: nn.Module) -> None:
    with pytest.raises(CompositionError, match="What fits a target: ") as refused:
        ib.attack(net, X, Y, threat="linf:0.1", method="autoattack", target=3)
    named = str(refused.value).split("What fits a target: ")[1].split(".")[0].split(", ")
    assert {"pgd", "apgd", "pma", "square"} <= {*named}
    assert not {"autoattack", "malt", "fab", "apgd_targeted"} & {*named}


def test_an_audit_names_what_fits_too(net: nn.Module) -> None:
    with pytest.raises(CompositionError, match=r"^autoattack: .*What fits this threat: noise, fgsm, frank_wolfe"):
        ib.audit(net, (X, Y), threat="l0:2", method="autoattack")
    with pytest.raises(CompositionError, match="exhaustive"):
        ib.audit(net, (X, Y), threat=ib.Finite([darker]))


@pytest.mark.parametrize(
    ("target", "error", "said"),
    [
        (9, InputError, "target: label 9"),
        (1.5, UsageError, "a target is a class"),
        (torch.tensor([1, 2]), InputError, "target: labels have shape"),
        ("likely", UsageError, "next likely"),
    ],
)
def test_targets_that_are_none(net: nn.Module, target: object, error: type, said: str) -> None:
    with pytest.raises(error, match=said):
        ib.attack(net, X, Y, threat="linf:0.1", target=target)


def test_a_target_may_be_a_numpy_number(net: nn.Module) -> None:
    one, same = (ib.attack(net, X, Y, threat="linf:0.1", target=t) for t in (3, np.int64(3)))
    assert torch.equal(one.adversarial, same.adversarial)


def test_a_target_and_a_goal_of_its_own_are_one_too_many(net: nn.Module) -> None:
    with pytest.raises(UsageError, match="target= sets the goal"):
        ib.attack(net, X, Y, threat="linf:0.1", target=3, method=ib.recipes.pgd().replace(goal=ib.TopK(2)))


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("l0:3px", UsageError, "Example: l0:3 or l0:5 coordinates"),
        ("linf:0.1,l2:0.5", UsageError, "joined by |"),
        ("linf:0.1|", UnknownName, "the text '' names no threat"),
        ("l3:1", UnknownName, "l0, l1, l2, linf"),
        ("l1", UsageError, "Example: l1:12"),
    ],
)
def test_threats_with_slips(text: str, error: type, said: str) -> None:
    with pytest.raises(error) as refused:
        ib.parse_threat(text)
    assert said in str(refused.value)


@pytest.mark.parametrize(("threat", "said"), [("l2:100", "say l2:inf"), ("l0:17", "has 16 pixels.*say l0:inf")])
def test_a_radius_that_covers_all_is_said_in_its_own_norm(net: nn.Module, threat: str, said: str) -> None:
    """Of images of 4 x 4 pixels with three channels."""
    with pytest.raises(UsageError, match=said):
        ib.attack(net, X, Y, threat=threat, method="noise")


def test_coordinates_are_counted_one_by_one(net: nn.Module) -> None:
    ib.attack(net, X, Y, threat="l0:48 coordinates", method="noise")
    with pytest.raises(UsageError, match="has 48 coordinates"):
        ib.attack(net, X, Y, threat="l0:49 coordinates", method="noise")


def test_radii_from_numpy() -> None:
    assert ib.Linf(np.float32(0.25)) == ib.Linf(0.25)
    for radii in (np.full(3, 0.1), [0.1, 0.2]):
        with pytest.raises(UsageError, match=r"torch\.as_tensor"):
            ib.Linf(radii)  # type: ignore[arg-type]


def test_a_set_is_an_instance(net: nn.Module) -> None:
    with pytest.raises(UsageError, match="a threat is a set such as"):
        ib.attack(net, X, Y, threat=ib.Linf)  # type: ignore[arg-type]


@pytest.mark.parametrize("changes", [darker, torch.zeros(3, 4, 4)])
def test_a_single_change_is_a_list_of_one(changes: object) -> None:
    with pytest.raises(UsageError, match="list of changes"):
        ib.Finite(changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(5, 5), (6, 3, 4, 4), (2, 3, 4, 4)])
def test_a_tensor_that_fits_no_sample_is_no_change(net: nn.Module, shape: tuple[int, ...]) -> None:
    """One for each row would be mixed up where some rows are left."""
    with pytest.raises(InputError, match="cannot be added to a sample"):
        ib.attack(net, X, Y, threat=ib.Finite([torch.zeros(shape)]), method="exhaustive")


@pytest.mark.parametrize("shape", [(), (4,), (3, 4, 4), (1, 3, 4, 4), (3, 1, 1)])
def test_tensors_that_are_changes(net: nn.Module, shape: tuple[int, ...]) -> None:
    threat = ib.Finite([torch.full(shape, 0.05)])
    assert torch.equal(threat.at(X, (0.0, 1.0)).apply(torch.ones(6, dtype=torch.int64)), (X + 0.05).clamp(0, 1))


def test_parts_are_instances_and_losses_of_searches_no_objectives() -> None:
    with pytest.raises(UsageError, match="objective is an instance, such as Dlr"):
        ib.recipes.pgd().replace(objective=ib.Dlr)
    with pytest.raises(CompositionError, match=r"search=Aimed\(search, objective\)"):
        ib.recipes.pgd().replace(objective=ib.objectives.TargetDlr())
    with pytest.raises(CompositionError, match=r"search=Away\(search\)"):
        ib.recipes.pgd().replace(objective=ib.objectives.KlToClean())


def test_training_takes_one_radius_for_all_and_no_union(net: nn.Module) -> None:
    many = (X.repeat(5, 1, 1, 1), Y.repeat(5))
    for threat in (ib.Linf(torch.full((30,), 0.1)), ib.Linf(0.1, mask=torch.ones(30, 3, 4, 4, dtype=torch.bool))):
        with pytest.raises(UsageError, match="one radius and one mask for all"):
            ib.harden(net, many, threat=threat, audit=None, epochs=1)
    with pytest.raises(CompositionError, match="against one of its parts"):
        ib.harden(net, many, threat="linf:0.1|l2:0.5", audit=None, epochs=1)
    masked = ib.Linf(0.1, mask=torch.ones(4, 4, dtype=torch.bool))
    assert len(ib.harden(net, many, threat=masked, audit=None, epochs=1).history) == 1


def test_the_kit_is_reached_by_its_name() -> None:
    assert ib.testing.SetConformance.__doc__
    assert "testing" not in ib.__all__


@pytest.mark.parametrize(
    ("method", "threat", "fits", "not_"),
    [("jsma", "l2:1", "deepfool", "sigma_zero"), ("deepfool", "l0:3", "sparsefool", "deepfool"),
     ("autoattack", "rotation:30", "rotation", "fab")],
)  # fmt: skip
def test_an_attack_for_other_sets_is_refused_beforehand_with_those_that_fit(method, threat, fits, not_):
    import ironbound as ib
    from ironbound.names import composed, plan_must_fit, plan_named

    chosen = ib.parse_threat(threat)
    for tried in (lambda: composed(method, chosen), lambda: plan_must_fit(plan_named(method), chosen)):
        with pytest.raises(ib.IronboundError, match=f"^{method}: ") as raised:
            tried()
        names = str(raised.value).partition("What fits this threat: ")[2].partition(".")[0].split(", ")
        assert fits in names
        assert not_ not in names
