"""Lines and intervals of functions of one argument: no point crosses them, they touch, and no line is better at the middle."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from ironbound.certification.graph import Node
from ironbound.certification.intervals import Interval
from ironbound.certification.operations import OPERATIONS

TOLERANCE = {torch.float64: 1e-12, torch.float32: 4e-6}
"""Of what the values, and the products of slope and argument, measure on the interval."""
INF = math.inf
WHOLE, POSITIVE = ((-INF, INF),), ((0.0, INF),)
EITHER = ((0.0, INF), (-INF, 0.0))
SELU = (1.6732632423543772, 1.0507009873554805)
SIMPLE = (
    "relu sigmoid tanh erf erfc atan asinh silu mish hardswish exp expm1 exp2 log_sigmoid cosh sinh abs hardsigmoid square"
)
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
    marks = torch.tensor([-3.0, -2.3993572805154677, -math.sqrt(2), -0.75179, 0.0, math.sqrt(2), 1.4905711794854285, 3.0])
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
