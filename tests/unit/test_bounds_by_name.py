"""Bounds by name with arguments: in Python, at the prompt, in shards of a run."""

from __future__ import annotations

import pytest

import ironbound as ib
from audit_samples import digits, labelled, mlp
from ironbound.certification.alpha import AlphaCrown
from ironbound.certification.catalogue import ENTRIES
from ironbound.cli.settings import CertifySettings, settings_of
from ironbound.core.errors import UsageError
from ironbound.names import plan_of


def test_every_bound_is_at_hand_in_python() -> None:
    assert [getattr(ib.bounds, entry.name.replace("-", "_")) for entry in ENTRIES] == [entry.make for entry in ENTRIES]
    assert ib.bounds.alpha_crown(layers="last", steps=3) == AlphaCrown("last", 3)


def test_arguments_at_the_prompt_go_to_the_bounds_that_have_them() -> None:
    given = {"model": "m", "data": "d", "threat": "linf:0.1", "method": "ibp,alpha-crown", "set": "layers=last,steps=3"}
    settings = settings_of(CertifySettings, given)
    plan = plan_of("certify", settings.method, settings.of_bounds())
    assert [stage.method for stage in plan.stages] == [ib.bounds.ibp(), AlphaCrown("last", 3)]
    plain = settings_of(CertifySettings, {name: value for name, value in given.items() if name != "set"})
    assert plan_of("certify", plain.method, plain.of_bounds()).stages[1].method == AlphaCrown()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"layer": "last"},
            r"no argument 'layer' to set\. There are, of crown: none; alpha-crown: layers, steps, rate",
        ),
        ({"steps": "few"}, r"alpha-crown: steps: input should be a valid integer.*got 'few'"),
        ({"layers": "first"}, r"layers is \"all\" or \"last\"; got 'first'"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_with_those_that_do(given, said) -> None:
    with pytest.raises(UsageError, match=said):
        plan_of("certify", ["crown", "alpha-crown"], given)


def test_shards_of_bounds_with_arguments_are_merged_by_name(tmp_path) -> None:
    net, x = mlp(64, 10), digits(12).x
    data = (x, labelled(net, x))
    plan = plan_of("certify", ["alpha-crown"], {"layers": "last", "steps": 2})
    parts = [
        ib.audit(net, data, threat="linf:0.02", method=plan, out=tmp_path / str(i), pool=4, shard=f"{i}/2").folder
        for i in (1, 2)
    ]
    whole = ib.merge(parts, net, data, out=tmp_path / "whole")
    assert whole.certified_accuracy > 0
    assert ib.verify(whole.folder, net, data).holds
