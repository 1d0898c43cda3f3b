"""Fingerprints: what changes an answer changes them, and nothing else does."""

from __future__ import annotations

import functools
import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import ironbound as ib
from audit_samples import mlp
from ironbound.core.describe import described, fingerprint, state_digest, tensor_digest
from ironbound.core.errors import UsageError
from ironbound.oracles import Bpda, Direct, Eot


def _shift(by: float) -> Any:
    def shift(x: Tensor, rng: Any) -> Tensor:
        return x + by

    return shift


class Jitter:
    """A transformation with an inside that nobody can see."""

    def __init__(self, by: float) -> None:
        self.by = by

    def __call__(self, x: Tensor, rng: Any) -> Tensor:
        return x + self.by

    def called(self, x: Tensor, rng: Any) -> Tensor:
        return x + self.by


class Keyed(Jitter):
    @property
    def key(self) -> float:
        return self.by


@dataclass(frozen=True)
class Frozen:
    by: float

    def __call__(self, x: Tensor, rng: Any) -> Tensor:
        return x + self.by


def attack(transform: Any) -> ib.Attack:
    return ib.recipes.pgd().replace(oracle=Eot(Direct(), transform, 2), set=ib.Linf(0.1))


DIFFERENT: list[tuple[Any, Any]] = [
    (0.1, 0.2),
    (1, True and "1"),
    (math.inf, -math.inf),
    (torch.zeros(2), torch.zeros(3)),
    (torch.zeros(2), torch.zeros(2, dtype=torch.float64)),
    (torch.zeros(4), torch.zeros(2, 2)),
    (np.zeros(2), np.ones(2)),
    (torch.float32, torch.float64),
    (ib.Linf(0.1), ib.L2(0.1)),
    (ib.recipes.pgd(steps=5), ib.recipes.pgd(steps=6)),
    (ib.recipes.pgd(), ib.recipes.pgd().replace(objective=ib.Margin())),
    (_shift(0.1), _shift(0.2)),
    (functools.partial(_shift, 0.1), functools.partial(_shift, by=0.1)),
    (Keyed(0.1), Keyed(0.2)),
    (Keyed(0.1).called, Keyed(0.2).called),
    (Frozen(0.1), Frozen(0.2)),
    (lambda x: x + 1, lambda x: x - 1),
    (lambda x, by=1: x + by, lambda x, by=2: x + by),
    (torch.relu, torch.sigmoid),
    (np.exp, np.log),
    (Frozen, Keyed),
    ([1, 2], [2, 1]),
    ({"a": 1}, {"b": 1}),
    (nn.Sequential(nn.ReLU()), nn.Sequential(nn.Sigmoid())),
    (nn.Dropout(0.1), nn.Dropout(0.2)),
    (nn.Conv2d(1, 1, 3).requires_grad_(False), nn.Conv2d(1, 1, 3)),
    (ib.Status.FOUND, ib.Status.BUDGET),
    (ib.Want.FIRST, ib.Want.SMALLEST),
]


@pytest.mark.parametrize(("one", "other"), DIFFERENT, ids=range(len(DIFFERENT)))
def test_what_differs_is_told_apart(one: Any, other: Any) -> None:
    assert fingerprint(one) == fingerprint(one)
    assert fingerprint(one) != fingerprint(other)
    assert json.loads(json.dumps(described(one))) == described(one)


def test_equal_things_are_equal_wherever_they_were_made() -> None:
    assert fingerprint(_shift(0.1)) == fingerprint(_shift(0.1))
    assert fingerprint(ib.recipes.pgd()) == fingerprint(ib.recipes.pgd())
    assert fingerprint(mlp(4, 3)) == fingerprint(mlp(4, 3).train())
    assert fingerprint(Frozen(0.1)) == fingerprint(Frozen(0.1))
    assert fingerprint(attack(functools.partial(_shift(0.1)))) == fingerprint(attack(functools.partial(_shift(0.1))))
    assert fingerprint(nn.Sequential(nn.ReLU())) == fingerprint(nn.Sequential(nn.ReLU()))


def test_a_function_that_knows_itself_is_described() -> None:
    def countdown(n: int) -> int:
        return 0 if n == 0 else countdown(n - 1)

    assert fingerprint(countdown) == fingerprint(countdown)


def test_what_nobody_can_look_into_needs_a_key() -> None:
    with pytest.raises(UsageError, match=r"Jitter cannot be fingerprinted.*attribute `key`"):
        fingerprint(attack(Jitter(0.1)))
    for thing in ({1, 2}, object(), Jitter(0.1).called):
        with pytest.raises(UsageError, match="cannot be fingerprinted"):
            fingerprint(thing)
    assert fingerprint(attack(Keyed(0.1))) != fingerprint(attack(Keyed(0.2)))


def test_an_attack_with_such_a_part_still_runs_but_is_not_audited(tmp_path: Any) -> None:
    net, x = mlp(4, 3), torch.full((2, 4), 0.5)
    found = ib.attack(net, x, threat="linf:0.1", method=attack(Jitter(0.0)))
    assert found.config["attack"]["oracle"]["transform"] == {"": "Jitter", "without a key": True}
    with pytest.raises(UsageError, match="Jitter cannot be fingerprinted"):
        ib.audit(net, (x, torch.zeros(2)), threat="linf:0.1", method=attack(Jitter(0.0)), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_digests_of_tensors_and_states() -> None:
    grid = torch.arange(6.0).reshape(2, 3)
    assert tensor_digest(grid) == tensor_digest(grid.T.contiguous().T)
    assert tensor_digest(grid) != tensor_digest(grid.reshape(3, 2))
    assert tensor_digest(torch.zeros(())) != tensor_digest(torch.zeros(1))
    assert tensor_digest(torch.zeros(0)) == tensor_digest(torch.zeros(0))
    assert tensor_digest(torch.tensor([1.0]).bfloat16()) != tensor_digest(torch.tensor([2.0]).bfloat16())
    net = mlp(4, 3)
    before = state_digest(net)
    with torch.no_grad():
        net[1].weight[0, 0] = torch.nextafter(net[1].weight[0, 0], torch.tensor(9.0))
    assert state_digest(net) != before
    statistics = nn.BatchNorm1d(3)
    before = state_digest(statistics)
    statistics.running_mean += 1
    assert state_digest(statistics) != before


class Quantised(nn.Module):
    """A defense with a setting that it does not print."""

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.levels = levels

    def forward(self, x: Tensor) -> Tensor:
        return (x * self.levels).round() / self.levels


def test_settings_of_modules_that_are_not_printed_are_seen():
    assert fingerprint(Bpda(Quantised(8))) == fingerprint(Bpda(Quantised(8).eval()))
    assert fingerprint(Bpda(Quantised(8))) != fingerprint(Bpda(Quantised(4)))
    nested = lambda levels: nn.Sequential(nn.Flatten(), Quantised(levels))
    assert fingerprint(Bpda(nested(8))) != fingerprint(Bpda(nested(4)))
