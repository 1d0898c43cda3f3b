"""The cost of training: its passes alone are the passes that it makes, and passes are told apart."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
import torch

from training_samples import images, same, small_net, state_of

FOLDER = Path(__file__).parents[2] / "benchmarks"
MODULES = ("training", "training_loops", "bare", "cases", "nets", "pages", "timing")


@pytest.fixture
def module(monkeypatch):
    """A module of the benchmarks by its name; none stays imported."""
    monkeypatch.syspath_prepend(str(FOLDER))
    yield importlib.import_module
    for name in MODULES:
        sys.modules.pop(name, None)


def test_the_passes_alone_are_those_of_each_training(module):
    training, loops = module("training"), module("training_loops")
    x, y = images(24)
    task = loops.Task("small", small_net(), x, y, 0.1, 12)
    before = state_of(task.net)
    for name, way in training.WAYS.items():
        rows = loops.counted(task.net, training.ours(task, way))
        floor = loops.Floor(task, way.passes)
        assert rows["gradient"] == 24 * way.passes.steps, name
        assert rows["update"] == 24, name
        assert {kind: rows[kind] for kind in floor.rows()} == floor.rows()
        twin = floor.net if not way.passes.steps else floor.attacked
        assert loops.counted(twin, floor)["gradient" if way.passes.steps else "update"] == 24 * max(way.passes.steps, 1)
    assert same(before, state_of(task.net))


def test_passes_that_differ_are_refused(module):
    training, loops = module("training"), module("training_loops")
    rows = loops.Counter({"update": 24, "gradient": 168, "forward": 5})
    training._must_be_same("pgd", rows, loops.Counter({"update": 24, "gradient": 168}))
    with pytest.raises(SystemExit, match="168 rows of gradient passes, but 144"):
        training._must_be_same("pgd", rows, loops.Counter({"update": 24, "gradient": 144}))


def test_kinds_of_passes_are_told_apart(module):
    loops, net = module("training_loops"), small_net()
    x, _ = images(6)

    def work():
        net(x).sum().backward()
        with torch.no_grad():
            net(x[:4])
        net.requires_grad_(False)
        net(x[:5].clone().requires_grad_()).sum().backward()

    assert loops.counted(net, work) == {"update": 6, "forward": 4, "gradient": 5}
