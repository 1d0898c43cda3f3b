"""Bugs planted into linear bounds: the properties that honest bounds have are lost, every time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from bound_samples import crossing, draw, functionals_crossed, net
from ironbound.certification import backward, bounder, lines, transposes
from ironbound.certification.coefficients import Dense, Patches, Spots, Window
from ironbound.certification.functionals import Back, Rows
from ironbound.certification.lines import Lines
from ironbound.certification.operations import OPERATIONS
from ironbound.sets import L1, L2, Linf

TOLERANCE, SEEN = 1e-9, 1e-6
LABELS = torch.tensor([0, 2, 1])
BALLS = (Linf(0.0), Linf(0.1), L2(0.4), L1(0.8))


def worst(names: tuple[str, ...] = ("dense", "conv", "residual"), methods: tuple[str, ...] = ("crown",)) -> float:
    """The first crossing of several nets and sets; what the tests of honest bounds ask, too."""
    found = 0.0
    for name in names:
        graph, x = net(name, 11), draw(3, 11)
        for ball in BALLS:
            own = ball.at(x, (0.0, 1.0))
            found = max(found, functionals_crossed(graph, own, seed=1), crossing(graph, own, LABELS, methods, seed=1))
            if found > SEEN:
                return found
    return found


# --------------------------------------------------------------------------------------- rules, and parts of the engine
def without_constant(node: Any, a: Any, rows: Rows, rule: Any) -> Back:
    return rule(node, a, rows)._replace(bias=None)


def with_sign(node: Any, a: Any, rows: Rows, rule: Any) -> Back:
    """The first argument comes back with its sign swapped."""
    back = rule(node, a, rows)
    (ref, part), *others = back.parts
    return back._replace(parts=[(ref, -part if isinstance(part, torch.Tensor) else part.times(-1.0)), *others])


def one_summand(node: Any, a: Any, rows: Rows, rule: Any) -> Back:
    back = rule(node, a, rows)
    return back._replace(parts=back.parts[:1])


RULES = {
    "the bias of a linear layer is dropped": ("addmm.default", without_constant),
    "the bias of a convolution is dropped": ("convolution.default", without_constant),
    "the shift of batch norm is dropped": ("_native_batch_norm_legit_no_training.default", without_constant),
    "the sign of a linear layer": ("addmm.default", with_sign),
    "the sign of a convolution": ("convolution.default", with_sign),
    "the sign of a sum": ("add.Tensor", with_sign),
    "a sum's second argument is forgotten": ("add.Tensor", one_summand),
}


def slope(free: float) -> Any:
    return lambda node, x, free_=None, **_: lines.relu(node, x, free=torch.full_like(x.lower, free))


def flat_chord(node: Any, x: Any, *, free: Any = None) -> Lines:
    return lines.relu(node, x, free=free)._replace(upper_bias=0.0)


def half_chord(node: Any, x: Any, *, free: Any = None) -> Lines:
    honest = lines.relu(node, x, free=free)
    return honest._replace(upper_bias=honest.upper_bias / 2)


def one_chord(node: Any, x: Any, *, free: Any = None) -> Lines:
    """The chord is taken for the lower line as well."""
    honest = lines.relu(node, x, free=free)
    return honest._replace(lower_slope=honest.upper_slope, lower_bias=honest.upper_bias)


RELAXATIONS = {
    "a slope above 1": slope(1.1),
    "a slope below 0": slope(-0.1),
    "an upper line without its offset": flat_chord,
    "an upper line with half of its offset": half_chord,
    "the chord on both sides": one_chord,
}


def shifted(rows: int, columns: int, stride: int = 0) -> Any:
    honest = transposes._outer

    def outer(*args: Any) -> Window:
        window = honest(*args)
        moved = (window.offset[0] + rows, window.offset[1] + columns)
        return replace(window, offset=moved, stride=(window.stride[0] + stride, window.stride[1] + stride))

    return outer


def other_owner(self: Rows, value: torch.Tensor, rows: bool = True) -> torch.Tensor:
    """The values of the neighbour."""
    count = len(value) // self.known.count
    moved = value.view(self.known.count, count, *value.shape[1:]).roll(1, 0)
    return moved.index_select(0, self.owner).reshape(-1, *value.shape[1:])


def next_place(self: Spots) -> torch.Tensor:
    rows, size = len(self.place), torch.Size(self.shape).numel()
    flat = self.scale.new_zeros(rows, size).scatter(1, (self.place[:, None] + 1) % size, self.scale[:, None])
    return flat.view(rows * self.shape[0], *self.shape[1:])


def wrong_norm(power: float, sets: str) -> Any:
    honest = bounder.least

    def least(region: Any, a: Any, rows: Rows) -> torch.Tensor:
        if a is None or region.norm != sets:
            return honest(region, a, rows)
        flat = a.dense().flatten(1)
        size = torch.linalg.vector_norm(flat, power, dim=1) * region.radius[rows.owner]
        return (flat * region.x.flatten(1)[rows.owner]).sum(1) - size

    return least


def first_only(a: Any, b: Any) -> Any:
    return b if a is None else a


PARTS = {
    "a window one row further down": (transposes, "_outer", shifted(1, 0)),
    "a window one column to the left": (transposes, "_outer", shifted(0, -1)),
    "a stride one too large": (transposes, "_outer", shifted(0, 0, 1)),
    "what lies beyond the plane is not masked": (Patches, "cut", staticmethod(Patches)),
    "the values of another input": (Rows, "gathered", other_owner),
    "a place next to the right one": (Spots, "dense", next_place),
    "a path that joins is lost": (backward, "plus", first_only),
    "the dual of L2 taken for L-infinity's": (bounder, "least", wrong_norm(float("inf"), "l2")),
    "the dual of L1 taken for a smaller one": (bounder, "least", wrong_norm(-float("inf"), "l1")),
}


def test_honest_bounds_have_no_crossing():
    assert worst() <= TOLERANCE


@pytest.mark.parametrize("bug", RULES)
def test_bugs_in_backward_rules_are_caught(bug, monkeypatch):
    name, wrong = RULES[bug]
    operation = OPERATIONS[name]
    rule = operation.backward
    planted = lambda node, a, rows: wrong(node, a if isinstance(a, dict) else Dense(a.dense()), rows, rule)
    monkeypatch.setattr(backward, "SPARSE", {*backward.SPARSE, planted})
    monkeypatch.setitem(OPERATIONS, name, replace(operation, backward=planted))
    assert worst() > SEEN


@pytest.mark.parametrize("bug", RELAXATIONS)
def test_bugs_in_lines_are_caught(bug, monkeypatch):
    monkeypatch.setitem(OPERATIONS, "relu.default", replace(OPERATIONS["relu.default"], relax=RELAXATIONS[bug]))
    assert worst() > SEEN


@pytest.mark.parametrize("bug", PARTS)
def test_bugs_in_the_engine_are_caught(bug, monkeypatch):
    monkeypatch.setattr(*PARTS[bug])
    assert worst() > SEEN
