"""Robustness among the tests of a project: pytest examples/pytest/test_robustness.py

The fixture `assert_robust` comes with Ironbound; no conftest.py is needed. On failure the message lists the worst witnesses,
and a page of them lies in the test's tmp_path.
"""

import pytest
import torch

import ironbound as ib
from ironbound.data import load
from ironbound.defenses.train import train, training_named

METHOD = "quick"  # for a pull request; without method= it is the plan "standard", which finds more and takes longer


@pytest.fixture(scope="session")
def model():
    """Yours would be: ib.load("net.safetensors", architecture="zoo.py:net", mean=0.5, std=0.25)."""
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    return train(ib.Model(net), load("digits:train"), None, training_named("standard", epochs=4)).model


def test_it_is_right_and_withstands_small_changes(assert_robust, model):
    assert_robust(model, "digits:test", threat="linf:0.02", clean_at_least=0.6, attacked_at_least=0.45, method=METHOD)


def test_every_class_by_itself(model):
    data = load("digits:test")
    for digit in (0, 6):
        mine = data.take((data.y == digit).nonzero().flatten())
        ib.assert_robust(model, mine, threat="linf:0.02", attacked_at_least=0.2, method=METHOD, name=f"digit {digit}")


@pytest.mark.xfail(raises=ib.NotRobust, strict=True, reason="known: it was trained without attacks")
def test_it_withstands_an_attacker(assert_robust, model):
    assert_robust(model, "digits:test", threat="linf:0.3", attacked_at_least=0.45, method=METHOD)
