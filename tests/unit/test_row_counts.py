"""The engine runs exactly the rows that a loop written by hand runs, no more: counts, never clocks."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch

from ironbound.core.rng import Rng
from ironbound.models.model import Model
from ironbound.models.zoo import digits_cnn, mnist_cnn
from ironbound.recipes.vision import pgd
from ironbound.sets import Linf

STEPS = 40


def by_hand() -> ModuleType:
    """The loops that the benchmarks compare with."""
    path = Path(__file__).parents[2] / "benchmarks" / "by_hand.py"
    spec = importlib.util.spec_from_file_location("by_hand", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(params=["digits", "mnist"])
def problem(request: pytest.FixtureRequest) -> tuple[torch.nn.Module, torch.Tensor, torch.Tensor]:
    """A net of zoo.py in float64, inputs of noise, and its own answers as labels."""
    net, side, count = (digits_cnn(), 8, 48) if request.param == "digits" else (mnist_cnn(), 28, 4)
    net = net.double().eval().requires_grad_(False)
    x = Rng.of(0, torch.arange(count)).uniform((1, side, side), torch.float64, 0.0, 1.0)
    return net, x, net(x).argmax(1)


@pytest.mark.parametrize("rows", [None, 7])
def test_where_nothing_breaks_every_row_is_run_once_a_step(problem, rows: int | None) -> None:
    net, x, y = problem
    found = pgd(STEPS, 1e-10, random_start=False).replace(set=Linf(1e-9))(Model(net), x, y, rows=rows)
    _, ran = by_hand().pgd(net, x, y, 1e-9, 1e-10, STEPS)
    assert not found.success.any()
    assert int(found.forward.sum()) == ran == len(x) * (STEPS + 1)
    assert int(found.backward.sum()) == len(x) * STEPS
    assert int(found.judged.sum()) == 0


@pytest.mark.parametrize("eps", [0.05, 0.1])
def test_where_some_break_the_rows_are_those_of_the_dropping_loop(problem, eps: float) -> None:
    net, x, y = problem
    found = pgd(STEPS, eps / 10, random_start=False).replace(set=Linf(eps))(Model(net), x, y)
    _, ran = by_hand().dropping_pgd(net, x, y, eps, eps / 10, STEPS)
    assert found.success.any()
    assert int(found.refused.sum()) == 0  # none won by so little that rounding might explain it: such a one goes on
    assert int(found.forward.sum()) == ran
    assert int(found.judged.sum()) == 0
