"""What `ironbound list` says of the parts, held to what they do: access, sets and rows are tried on small nets."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import nn

from ironbound import recipes
from ironbound.certification.catalogue import ENTRIES as BOUND_ENTRIES
from ironbound.certification.certificates import prove
from ironbound.certification.graph import trace
from ironbound.cli import run
from ironbound.core.catalogue import Entry
from ironbound.core.errors import CompositionError, IronboundError
from ironbound.defenses.catalogue import ENTRIES as SCHEMES
from ironbound.models.model import Model
from ironbound.names import composed
from ironbound.objectives import Margin
from ironbound.probing import costs
from ironbound.probing.access import access_of, examples, one_for_all, sets_of
from ironbound.probing.facts import BOUNDED, facts
from ironbound.sets import Linf

DEAR = {"autoattack", "fab_targeted", "square", "hopskipjump", "apgd_targeted", "malt", "sigma_zero", "cw", "lbfgs", "ead",
        "apgd_narrowed", "alma", "pdpgd", "stadv", "gama_pgd", "color_shift", "fab", "superdeepfool", "sparsefool", "vfga",
        "deepfool", "trust_region", "adam_pgd", "ddn", "fmn"}  # fmt: skip
"""Counting these takes too long for a test; `python -m ironbound.probing.costs` does."""
FEW = {"universal": {"steps": 2}, "patch": {"steps": 2}, "square": {"queries": 20}, "hopskipjump": {"queries": 60},
       "apgd_targeted": {"steps": 2, "targets": 1}, "fab_targeted": {"steps": 2}, "malt": {"steps": 2, "targets": 1},
       "sigma_zero": {"steps": 3}, "cw": {"steps": 3, "searches": 1}, "lbfgs": {"steps": 2, "searches": 1},
       "ead": {"steps": 2, "searches": 1}, "apgd_narrowed": {"steps": 2, "short": 2, "targets": 1, "keep": 1},
       "alma": {"steps": 5}, "pdpgd": {"steps": 5}, "stadv": {"steps": 2}, "gama_pgd": {"steps": 4}, "fab": {"steps": 2},
       "apgd": {"steps": 4}, "pma": {"steps": 4}, "pgd": {"steps": 2}, "adam_pgd": {"steps": 2}, "ddn": {"steps": 4},
       "fmn": {"steps": 4}, "noise": {"draws": 3}, "greedy_l0": {"steps": 3}, "vfga": {"steps": 2},
       "convex_surrogate": {"steps": 2}, "frank_wolfe": {"steps": 2}, "color_shift": {"values": 3}}  # fmt: skip


FURTHER = ("translation", "spatial", "flow", "brightness", "blur", "corruption")


class Seen(nn.Module):
    """A net that notes what is asked of it: gradients of its input, and nothing but the numbers of its last layer."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.gradients = net, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.gradients += int(torch.is_grad_enabled() and x.requires_grad)
        return self.net(x)


class Decides(Seen):
    """The same with its class alone as the answer."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x).argmax(1)


def few(entry: Entry) -> Any:
    """The attack with so few steps that a test may run it."""
    return entry.make(**FEW.get(entry.name, {}))


def attacked(entry: Entry, net: nn.Module, threat: Any) -> Any:
    x = costs.pictures(2)
    with torch.no_grad():
        y = costs.small_net()(x).argmax(1)
    return few(entry).against(threat)(Model(net), x, y)


BY_ACCESS = {
    kind: [e for e in recipes.ENTRIES if access_of(e.make()) == kind] for kind in ("white-box", "scores", "decisions")
}


@pytest.mark.parametrize("entry", [*BY_ACCESS["scores"], *BY_ACCESS["decisions"]], ids=lambda entry: entry.name)
def test_what_needs_no_gradient_takes_none(entry: Entry) -> None:
    net = Seen(costs.small_net())
    found = attacked(entry, net, examples()[sets_of(entry.make())[0]])
    assert int(found.forward.sum()) > 0
    assert int(found.backward.sum()) == net.gradients == 0


@pytest.mark.parametrize("entry", BY_ACCESS["decisions"], ids=lambda entry: entry.name)
def test_what_needs_decisions_alone_runs_on_decisions(entry: Entry) -> None:
    found = attacked(entry, Decides(costs.small_net()), examples()[sets_of(entry.make())[0]])
    assert int(found.forward.sum()) > 0


@pytest.mark.parametrize("entry", [*BY_ACCESS["scores"], *BY_ACCESS["white-box"]], ids=lambda entry: entry.name)
def test_what_needs_more_is_refused_where_there_is_less(entry: Entry) -> None:
    threat = examples()[sets_of(entry.make())[0]]
    with pytest.raises(CompositionError):
        attacked(entry, Decides(costs.small_net()), threat)
    if entry in BY_ACCESS["white-box"] and entry.name != "autoattack":
        net = Seen(costs.small_net())
        found = attacked(entry, net, threat)
        assert net.gradients > 0, "it needs no gradient"
        assert int(found.backward.sum()) > 0


@pytest.mark.parametrize("entry", [e for e in recipes.ENTRIES if e.name != "autoattack"], ids=lambda entry: entry.name)
def test_the_sets_are_those_on_which_it_runs(entry: Entry) -> None:
    """Every one that is listed runs, and what is not is refused when the attack is built or when it begins."""
    listed = sets_of(entry.make())
    assert listed
    net = costs.small_net()
    x = costs.pictures(2)
    y = net(x).argmax(1)
    for name, threat in examples().items():
        if name in listed and name in (FURTHER if len(listed) > 5 else ("corruption",)):
            continue  # what goes with all changes of images is tried on two of them
        attack = few(entry)
        if name in listed:
            assert attack.against(threat)(Model(net), x, y).success.shape[0] in (1, 2), name
        elif not one_for_all(attack) and name != "patch":  # which is another kind of threat: one change for all
            with pytest.raises(CompositionError):
                composed(attack, threat)  # as the verbs do


@pytest.mark.parametrize("entry", [e for e in recipes.ENTRIES if e.name in costs.ATTACKS], ids=lambda entry: entry.name)
def test_the_rows_of_attacks_are_counted(entry: Entry) -> None:
    if entry.name not in DEAR:
        assert costs.count_attack(entry.make()) == costs.ATTACKS[entry.name]
    forward, backward = costs.ATTACKS[entry.name]
    assert forward > 0
    assert (backward > 0) == (access_of(entry.make()) == "white-box")


@pytest.mark.parametrize(
    "entry", [e for e in SCHEMES if e.name in ("pgd", "trades", "awp", "distill")], ids=lambda entry: entry.name
)
def test_the_rows_of_trainings_are_counted(entry: Entry) -> None:
    if entry.name in costs.TRAININGS:
        assert costs.count_training(entry) == costs.TRAININGS[entry.name]
        return
    with pytest.raises(IronboundError):
        costs.count_training(entry)


def test_the_sets_of_bounds_are_those_they_prove_something_about() -> None:
    net, x = costs.small_net(), costs.pictures(1)
    model, y = Model(net), net(x).argmax(1)
    x, y = model.admit(x, y)
    graph = trace(model.module, x)
    for entry in BOUND_ENTRIES:
        for name, threat in examples().items():
            if name in BOUNDED[entry.name]:
                proof = prove(entry.make(), model, x, y, threat, radii=False, graph=graph)
                assert proof.certified.shape == (1,), (entry.name, name)
            else:
                with pytest.raises(IronboundError):
                    prove(entry.make(), model, x, y, threat, radii=False, graph=graph)
    assert set(BOUNDED) == {entry.name for entry in BOUND_ENTRIES}
    for name in ("ibp", "crown"):
        entry = next(entry for entry in BOUND_ENTRIES if entry.name == name)
        proof = prove(entry.make(), model, x, y, Linf(0.1), radii=False, graph=graph)
        assert float(proof.cost.mean()) == pytest.approx(costs.BOUNDS[name], abs=0.51)


# ------------------------------------------------------------------------------------------- at the prompt
def test_filters(capsys: Any) -> None:
    assert run(["list", "attacks", "--access", "decisions", "--norm", "linf", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {one["name"] for one in found} == {"noise", "hopskipjump"}
    assert run(["list", "--norm", "l0", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {one["verb"] for one in found} == {"attack", "certify", "set"}
    assert all("l0" in one["sets"] or one["verb"] == "set" for one in found)
    assert run(["list", "attacks", "--norm", "corruption", "--access", "scores"]) == 0
    assert capsys.readouterr().out == "Nothing fits --norm corruption --access scores.\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["atacks"], "no kind and no verb 'atacks'. Did you mean 'attacks'?"),
        (["--norm", "linff"], "--norm is one of linf, l2, l1, l0, rotation"),
        (["--norm", "linff"], "Did you mean 'linf'?"),
        (["--access", "black-box"], "--access is one of white-box, scores, decisions; got 'black-box'"),
        (["\x1b[31m"], "'\\x1b[31m'"),
        ([""], "no kind and no verb ''"),
    ],
)
def test_words_that_nothing_is_called(arguments: list[str], said: str, capsys: Any) -> None:
    assert run(["list", *arguments]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert all(char.isprintable() or char == "\n" for char in err)


def test_every_kind_has_a_table(capsys: Any) -> None:
    assert run(["list"]) == 0
    out = capsys.readouterr().out
    for title in ("Attacks", "Sets", "Bounds", "Defenses", "Plans"):
        assert f"{title}\n" in out
    assert "linf:0.3 or linf:8/255" in out
    assert len({(fact.verb, fact.name) for fact in facts()}) == len(facts())


def test_the_margin_is_not_needed_by_what_sees_decisions() -> None:
    """The planted opposite: an attack that reads scores is not listed as one that needs decisions."""
    assert access_of(recipes.square().replace(objective=Margin())) == "scores"
    assert access_of(recipes.autoattack()) == "white-box"
