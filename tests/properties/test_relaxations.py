"""Lines and intervals of functions of one argument: no point crosses them, they touch, and no line is better at the middle."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ironbound.certification import curves, functions
from ironbound.certification.graph import Node, Ref, trace
from ironbound.certification.interval import bounds
from ironbound.certification.intervals import Interval
from ironbound.certification.lines import Lines
from ironbound.certification.operations import OPERATIONS

TOLERANCE = {torch.float64: 1e-12, torch.float32: 4e-6}
"""Of what the values, and the products of slope and argument, measure on the interval."""
INF = math.inf
WHOLE, POSITIVE = ((-INF, INF),), ((0.0, INF),)
EITHER = ((0.0, INF), (-INF, 0.0))
SELU = (1.6732632423543772, 1.0507009873554805)
SIMPLE = "relu sigmoid tanh erf erfc atan asinh silu mish hardswish exp expm1 exp2 log_sigmoid cosh sinh abs hardsigmoid square"
CASES: dict[str, list[tuple[tuple[Any, ...], dict[str, Any], tuple[tuple[float, float], ...]]]] = {
    **{f"{name}.default": [((), {}, WHOLE)] for name in SIMPLE.split()},
    **{f"{name}.default": [((), {}, POSITIVE)] for name in ("log", "log2", "log10", "sqrt", "rsqrt")},
    "log1p.default": [((), {}, ((-1.0, INF),))],
    "reciprocal.default": [((), {}, EITHER)],
    "gelu.default": [((), {}, WHOLE), ((), {"approximate": "tanh"}, WHOLE)],
    "pow.Tensor_Scalar": [((p,), {}, WHOLE) for p in (0, 1, 2, 3, 4, 5)] + [((p,), {}, EITHER) for p in (-1, -2, -3)]
        + [((p,), {}, POSITIVE) for p in (0.5, 1.5, -0.5)],
    "softplus.default": [((), {}, WHOLE), ((2.0, 5.0), {}, WHOLE), ((0.5, 1.0), {}, WHOLE)],
    "elu.default": [(args, {}, WHOLE) for args in ((), (0.5,), (2.5,), SELU, (-1.0,), (1.0, -1.0), (1.0, 1.0, -0.5),
                                                  (-0.5, 1.0, -0.5), (-3.0, 1.0, -0.5), (0.0,), (1.0, 1.0, 0.5))],
    "celu.default": [((0.7,), {}, WHOLE), ((-0.7,), {}, WHOLE)],
    "leaky_relu.default": [(args, {}, WHOLE) for args in ((), (-0.5,), (1.0,), (2.0,))],
    "prelu.default": [((torch.tensor([0.1, -0.2, 1.5]),), {}, WHOLE)],
    "hardtanh.default": [((), {}, WHOLE), ((0.0, 6.0), {}, WHOLE)],
    "clamp.default": [(args, {}, WHOLE) for args in ((0.0, 1.0), (-0.3,), (None, 0.4), (1.0, 0.5))],
    "clamp.Tensor": [((torch.tensor([0.1, -0.2, 0.5]), torch.tensor([0.5, -0.1, 0.5])), {}, WHOLE)],
    "clamp_min.default": [((0.1,), {}, WHOLE)],
    "clamp_max.default": [((0.1,), {}, WHOLE)],
}  # fmt: skip
ALL = [(name, *case) for name, cases in CASES.items() for case in cases]
NAMES = [f"{name}{args or ''}{named or ''}" for name, args, named, _ in ALL]


def test_every_relaxation_is_tested():
    assert {name for name, operation in OPERATIONS.items() if operation.relax is not None} == set(CASES)


# ------------------------------------------------------------------------------------------------------- intervals
def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def many() -> tuple[Tensor, Tensor]:
    """Lower ends and widths: around every bend, tiny to wide, and none."""
    centres = torch.cat([6 * random(180) - 3, 40 * random(40, seed=1) - 20, 0.02 * random(20, seed=2) - 0.01])
    radii = 10 ** (5.5 * random(240, seed=3) - 4)
    marks = torch.tensor(
        [-3.0, -2.3993572805154677, -math.sqrt(2), -0.75179, 0.0, math.sqrt(2), 1.4905711794854285, 3.0]
    )
    marks = marks.double()
    tiny = torch.cat([torch.zeros(8), torch.full((8,), 1e-30), torch.full((8,), 1e-9), torch.full((8,), 1.0)]).double()
    lower = torch.cat([centres - radii, marks.repeat(4), marks.repeat(4) - tiny, torch.tensor([-1e4, -1.0, -1e4, 0.0])])
    width = torch.cat([2 * radii, tiny, 2 * tiny, torch.tensor([2e4, 1e4, 1e4, 40.0])])
    return lower, width


def ends_in(low: float, high: float, lower: Tensor, width: Tensor) -> tuple[Tensor, Tensor]:
    """The intervals, mirrored and moved to where the function is defined."""
    if low == -INF and high == INF:
        return lower, lower + width
    if low == -INF:
        return tuple(-end for end in ends_in(-high, INF, lower, width))[::-1]  # type: ignore[return-value]
    lower = low + (lower - low).abs().clamp_min(1e-3)
    return lower, lower + width


def node_of(name: str, args: tuple[Any, ...], named: dict[str, Any]) -> Node:
    operation, overload = name.split(".")
    target = getattr(getattr(torch.ops.aten, operation), overload)
    return Node("node", name, target, (None, *args), named, "", True, (1, 3))


def crossing(case: Any, lower: Tensor, upper: Tensor, free: Tensor | None, grid: int = 129) -> tuple[float, float]:
    """By how much values cross the lines, and the interval, relative to their size; ends (m, 3)."""
    name, args, named, _ = case
    args = tuple(arg.to(lower.dtype) if isinstance(arg, Tensor) else arg for arg in args)
    node, operation, x = node_of(name, args, named), OPERATIONS[name], Interval(lower, upper)
    z = torch.lerp(lower, upper, torch.linspace(0, 1, grid, dtype=lower.dtype)[:, None, None]).clamp(lower, upper)
    y = node.target(z.reshape(-1, 3), *args, **named).reshape(z.shape)
    lines = operation.relax(node, x, *args, free=free, **named)
    image = operation.interval(node, x, *args, **named)
    below, above = z * lines.lower_slope, z * lines.upper_slope
    size = 1 + y.abs().amax(0) + below.abs().amax(0) + above.abs().amax(0)
    worst = torch.maximum(below + lines.lower_bias - y, y - above - lines.upper_bias) / size
    outside = torch.maximum(image.lower - y, y - image.upper) / size
    finite = (image.lower.isfinite() & image.upper.isfinite()).expand_as(worst)  # of the others see the test of poles
    return float(worst[finite].max()), float(outside[finite].max())


def on(case: Any, dtype: torch.dtype) -> list[tuple[Tensor, Tensor]]:
    """The intervals of a case, (m, 3) each."""
    found = []
    for low, high in case[3]:
        lower, upper = (end.to(dtype).view(-1, 3) for end in ends_in(low, high, *(part[:306] for part in many())))
        found.append((lower, upper))
    return found


def worst_of(case: Any, dtype: torch.dtype = torch.float64, frees: Any = (None, 0.0, 1.0, -1.0)) -> tuple[float, float]:
    found = []
    for lower, upper in on(case, dtype):
        for free in frees:
            some = random(*lower.shape, seed=7) if free == -1 else torch.full_like(lower, free or 0)
            found.append(crossing(case, lower, upper, None if free is None else some.to(dtype)))
    return max(line for line, _ in found), max(interval for _, interval in found)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("case", ALL, ids=NAMES)
def test_no_value_crosses(case, dtype):
    lines, interval = worst_of(case, dtype)
    assert lines <= TOLERANCE[dtype]
    assert interval <= TOLERANCE[dtype]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(case=st.sampled_from(ALL), data=st.data())
def test_no_value_crosses_on_any_interval(case, data):
    whole = st.floats(-60, 60) | st.sampled_from([0.0, -0.0, 1e-30, 1.0, -3.0, 3.0])
    width = st.floats(0, 80) | st.sampled_from([0.0, 1e-30, 1e-16, 1e-12, 1e-7])
    ends = [(data.draw(whole), data.draw(width)) for _ in range(3)]
    lower, wide = torch.tensor(ends, dtype=torch.float64).unbind(1)
    low, high = data.draw(st.sampled_from(case[3]))
    free = data.draw(st.none() | st.floats(0, 1))
    lower, upper = (end[None] for end in ends_in(low, high, lower, wide))
    found = crossing(case, lower, upper, None if free is None else torch.full_like(lower, free))
    assert max(found) <= TOLERANCE[torch.float64]


# ------------------------------------------------------------------------------------------------------- tightness
MARKS = torch.tensor([-3.0, -1.0, -0.3, -0.2, -0.1, 0.0, 0.1, 0.4, 0.5, 1.0, 2.5, 3.0, 6.0]).double()
"""Where some function of the cases has a kink, or jumps."""


def values_of(case: Any, z: Tensor) -> Tensor:
    """At points (grid, m, 3)."""
    name, args, named, _ = case
    args = tuple(arg.double() if isinstance(arg, Tensor) else arg for arg in args)
    return node_of(name, args, named).target(z.reshape(-1, 3), *args, **named).reshape(z.shape)


def envelope(case: Any, lower: Tensor, upper: Tensor, sign: int) -> Tensor:
    """The convex envelope of sign f on [lower, upper] in the middle of it, from all pairs of points around that."""
    middle, grid = (lower + upper) / 2, torch.linspace(0, 1, 61, dtype=torch.float64)[:, None, None]
    marks = MARKS[:, None, None].expand(-1, *lower.shape)
    left = torch.cat([torch.lerp(lower, middle, grid), marks.clamp(lower, middle)])
    right = torch.cat([torch.lerp(middle, upper, grid), marks.clamp(middle, upper)])
    at_left, at_right = (sign * values_of(case, side) for side in (left, right))
    share = (middle - left)[:, None] / (right[None] - left[:, None])
    lines = torch.lerp(at_left[:, None].expand_as(share), at_right[None].expand_as(share), share)
    return torch.where(share.isfinite(), lines, INF).amin((0, 1))


def jump(case: Any) -> float:
    """By how much the function may fall suddenly: PyTorch's softplus does."""
    return functions.softplus(*case[1]).drop[1] if case[0] == "softplus.default" and case[1] else 0.0


def usual(case: Any) -> tuple[Tensor, Tensor]:
    """Ordinary intervals of a case, (m, 3)."""
    low, high = case[3][0]
    centre, width = 8 * random(90, seed=4) - 4, 10 ** (2 * random(90, seed=5) - 1)
    lower, upper = ends_in(low, high, centre - width / 2, width)
    return lower.view(-1, 3), upper.view(-1, 3)


def lines_of(case: Any, lower: Tensor, upper: Tensor, free: Tensor | None = None) -> Lines:
    name, args, named, _ = case
    args = tuple(arg.to(lower.dtype) if isinstance(arg, Tensor) else arg for arg in args)
    found = OPERATIONS[name].relax(node_of(name, args, named), Interval(lower, upper), *args, free=free, **named)
    return Lines(*[torch.as_tensor(part, dtype=lower.dtype).expand_as(lower) for part in found])


@pytest.mark.parametrize("case", ALL, ids=NAMES)
def test_no_lines_are_better_at_the_middle(case):
    """There the best a line can do is the convex envelope of the function, and so the least area."""
    lower, upper = usual(case)
    lines, middle = lines_of(case, lower, upper), (lower + upper) / 2
    size = 1e-3 * (values_of(case, lower[None])[0] - values_of(case, upper[None])[0]).abs() + 1e-4 * (upper - lower)
    size = size + jump(case)
    if case[0] not in (
        "exp.default",
        "expm1.default",
        "exp2.default",
    ):  # where tangents far up would fall deep below zero
        best = envelope(case, lower, upper, 1)
        assert float((best - middle * lines.lower_slope - lines.lower_bias - size).max()) <= 0
    assert float((middle * lines.upper_slope + lines.upper_bias + envelope(case, lower, upper, -1) - size).max()) <= 0


@pytest.mark.parametrize("case", ALL, ids=NAMES)
def test_lines_touch_for_every_choice(case):
    lower, upper = usual(case)
    z = torch.lerp(lower, upper, torch.linspace(0, 1, 2001, dtype=torch.float64)[:, None, None])
    y = values_of(case, z)
    size = 1e-3 * (upper - lower + y.amax(0) - y.amin(0)) + 1.1 * jump(case)
    for free in (torch.zeros_like(lower), random(*lower.shape), torch.ones_like(lower)):
        lines = lines_of(case, lower, upper, free)
        assert bool(((y - z * lines.lower_slope - lines.lower_bias).amin(0) <= size).all())
        assert bool(((z * lines.upper_slope + lines.upper_bias - y).amin(0) <= size).all())


@pytest.mark.parametrize("case", ALL, ids=NAMES)
def test_the_start_of_free_gives_the_default_lines(case):
    """Of one function at least: one number serves both lines, and they may want different ones."""
    lower, upper = usual(case)
    name, args, named, _ = case
    node = node_of(name, () if name in ("prelu.default", "clamp.Tensor") else args, named)
    if name in ("prelu.default", "clamp.Tensor"):
        node = replace(node, args=(None, Ref("weight", False, None)))
    start, x = OPERATIONS[name].start(node, Interval(lower, upper)), Interval(lower, upper)
    assert start.shape == lower.shape
    assert bool(((start >= 0) & (start <= 1)).all())
    if name.startswith(("prelu", "clamp", "hard")):
        return
    for default, chosen in zip(lines_of(case, lower, upper), lines_of(case, x.lower, x.upper, start), strict=True):
        torch.testing.assert_close(default, chosen)


def assert_near(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_closed_forms():
    """Tangents of a cubic touch at minus half of the end that they pass through; a parabola's stand in the middle."""
    lower, upper = torch.tensor([[-2.0, -2.0, -1.0]]).double(), torch.tensor([[3.0, 0.5, 2.5]]).double()
    below, at_below, above, at_above = lines_of(("pow.Tensor_Scalar", (3,), {}, WHOLE), lower, upper)
    assert_near(below[0], torch.tensor([3.0, 3.25, 0.75**2 * 3]).double())  # of [-2, 0.5] it is the chord
    assert_near(at_below[0], torch.tensor([-2.0, -1.5, -2 * 0.75**3]).double())
    assert_near(above[0], torch.tensor([6.75, 1.6875, 4.75]).double())
    assert_near(at_above[0], torch.tensor([6.75, 0.84375, 3.75]).double())
    below, at_below, above, at_above = lines_of(("square.default", (), {}, WHOLE), lower, upper)
    assert_near(below, lower + upper)
    assert_near(at_below, -((lower + upper) ** 2) / 4)
    assert_near(above, lower + upper)
    assert_near(at_above, -lower * upper)


# ------------------------------------------------------------------------------------------- gradients and extremes
@pytest.mark.parametrize("case", ALL, ids=NAMES)
def test_gradients_are_finite(case):
    for lower, upper in on(case, torch.float64):
        lower, upper = lower.clone().requires_grad_(), upper.clone().requires_grad_()
        free = random(*lower.shape).requires_grad_()
        for choice in (None, free):
            lines = lines_of(case, lower, upper, choice)
            wanted = [lower, upper] if choice is None else [lower, upper, free]
            total = sum(part.clamp(-1e6, 1e6).sum() for part in lines)  # an infinite line has none
            for gradient in torch.autograd.grad(total, wanted, allow_unused=True):
                assert gradient is None or bool(gradient.isfinite().all())


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "gelu", "silu", "softplus", "square"])
def test_gradients_are_those_of_the_lines(name):
    """Also where a line is a tangent through an end, which the search has found and autograd cannot see."""
    case = (f"{name}.default", (), {}, WHOLE)
    ends = torch.tensor([[-1.0, 4.0], [-5.0, 1.0], [-3.0, 2.5], [0.2, 3.0], [-7.0, 0.5], [-0.5, 0.9]]).double()

    def at(lower: Tensor, upper: Tensor, free: Tensor) -> Tensor:
        lines = lines_of(case, lower, upper, free)
        return torch.stack([lines.lower_slope * 0.3 + lines.lower_bias, lines.upper_slope * 0.3 + lines.upper_bias])

    for free in (0.0, 0.2, 0.8, 1.0):
        given = (*ends.T.contiguous(), torch.full((6,), free).double())
        exact = torch.autograd.functional.jacobian(lambda *parts: at(*parts).sum(1), given)
        for place in (0, 1):
            step = [torch.zeros(6).double() for _ in given]
            step[place] += 1e-5
            up, down = (at(*[part + sign * s for part, s in zip(given, step, strict=True)]) for sign in (1, -1))
            torch.testing.assert_close(exact[place], (up - down) / 2e-5, rtol=2e-2, atol=2e-2)


def test_poles_and_what_is_not_defined():
    lower, upper = torch.tensor([[-1.0, 0.0, 0.5]]).double(), torch.tensor([[1.0, 2.0, 2.0]]).double()
    lines = lines_of(("reciprocal.default", (), {}, EITHER), lower, upper)
    assert lines.lower_slope.tolist()[0][:2] == [0, 0]
    assert (lines.lower_bias.tolist()[0][:2], lines.upper_bias.tolist()[0][:2]) == ([-INF] * 2, [INF] * 2)
    assert float(lines.upper_slope[0, 2]) == pytest.approx(-1)
    lines = lines_of(("log.default", (), {}, POSITIVE), lower, upper)
    assert bool(lines.upper_bias[0, 0].isnan())  # nothing may follow from what has no value
    assert (float(lines.lower_bias[0, 1]), float(lines.upper_bias[0, 1])) == (-INF, pytest.approx(math.log(2)))
    lines = lines_of(("exp.default", (), {}, WHOLE), lower, upper + 1e4)
    assert bool((lines.upper_bias == INF).all() & (lines.upper_slope == 0).all())
    torch.testing.assert_close(lines.lower_bias, lower.exp())


# ---------------------------------------------------------------------------------------------- the search, and bugs
SMOOTH = ("sigmoid", "erfc", "gelu", "silu", "hardswish", "sinh")


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_lines_are_sound_however_little_is_searched(steps, monkeypatch):
    monkeypatch.setattr(curves, "STEPS", steps)
    for name in SMOOTH:
        assert max(worst_of((f"{name}.default", (), {}, WHOLE))) <= TOLERANCE[torch.float64]


def swapped(node: Node, x: Interval, *args: Any, **named: Any) -> Lines:
    lines = functions.SIGMOID
    found = curves.relaxed(lines, x, named.get("free"))
    return Lines(found.upper_slope, found.upper_bias, found.lower_slope, found.lower_bias)


def always_tangent(side: Any) -> Any:
    return side.l, side.u, torch.zeros_like(side.l, dtype=torch.bool), []


def planted_curve(**changes: Any) -> Any:
    describe = OPERATIONS["gelu.default"].interval.__self__
    return replace(describe, describe=lambda node: replace(functions.GELU, **changes))


BUGS = {
    "chords everywhere": lambda patch: patch.setattr(curves._Side, "_clamped", lambda side, *_: (side.u, side.u)),
    "tangents where it bends the other way": lambda patch: patch.setattr(curves._Side, "_tangents", always_tangent),
    "the lines change places": lambda patch: patch.setitem(
        OPERATIONS, "sigmoid.default", replace(OPERATIONS["sigmoid.default"], relax=swapped)
    ),
    "a bend is misplaced": lambda patch: patch.setitem(
        OPERATIONS, "gelu.default", replace(OPERATIONS["gelu.default"], relax=planted_curve(bends=(-1.8, 1.8)).relax)
    ),
    "a slope is wrong": lambda patch: patch.setitem(
        OPERATIONS,
        "gelu.default",
        replace(OPERATIONS["gelu.default"], relax=planted_curve(slope=torch.special.ndtr).relax),
    ),
    "the minimum is forgotten": lambda patch: patch.setitem(
        OPERATIONS, "gelu.default", replace(OPERATIONS["gelu.default"], interval=planted_curve(turns=()).interval)
    ),
}


@pytest.mark.parametrize("name", BUGS)
def test_planted_bugs_are_caught(name, monkeypatch):
    BUGS[name](monkeypatch)
    assert max(max(worst_of((f"{function}.default", (), {}, WHOLE))) for function in ("sigmoid", "gelu")) > 1e-4


# --------------------------------------------------------------------------------------------------- in a user's net
ACTIVATIONS = (
    nn.GELU(), nn.GELU("tanh"), nn.SiLU(), nn.Mish(), nn.Hardswish(), nn.Hardsigmoid(), nn.Softplus(2.0), nn.LogSigmoid(),
    nn.CELU(0.5), nn.SELU(), nn.ELU(-0.5), nn.PReLU(3, 0.2), nn.LeakyReLU(-0.1), nn.ReLU6(), nn.Tanhshrink(),
)  # fmt: skip


def test_modules_come_out_of_the_export_whole():
    net = nn.Sequential(nn.Linear(4, 3), *[layer for part in ACTIVATIONS for layer in (part, nn.Linear(3, 3))])
    graph = trace(net, torch.zeros(1, 4))
    x = random(20, 4)
    low, high = bounds(graph, x.amin(0, keepdim=True), x.amax(0, keepdim=True))
    y = net.double()(x)
    assert bool(((low <= y + 1e-9) & (y <= high + 1e-9)).all())
    names = [node.op for node in graph.nodes]
    assert not {"where.self", "gt.Scalar", "log1p.default", "sigmoid.default"} & set(names)
