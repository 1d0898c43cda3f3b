"""What sets promise of linear functions over them (support, steepest), and that rows, layouts and devices change nothing."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ironbound.core import rows
from ironbound.core.protocols import Can
from ironbound.core.rows import flat
from ironbound.testing.around import Around
from ironbound.testing.promise import require
from ironbound.testing.tables import LAYOUTS, noise, same

_BOTH = "maximise over ball, mask and box together, in float64, and shrink the argmax until it is contained."
_ALONE = (
    "nothing may be summed, sorted or stopped over the batch; let `take` take every table that has a row a problem."
)


def _dot(g: Tensor, p: Tensor) -> Tensor:
    return flat(g.double() * p.double()).sum(1)


def _scale(g: Tensor, p: Tensor) -> Tensor:
    return flat((g.double() * p.double()).abs()).sum(1)


# ------------------------------------------------------------------------------------------------- duality
def support_is_the_largest_value(around: Around) -> None:
    """support(g) gives a contained point and max <g, p> over the set: no known point of the set has more."""
    if not around.continuous:
        return
    region = around.region
    vertices = {f"the support of gradient '{name}'": region.support(g)[0] for name, g in around.gradients.items()}
    for name, g in around.gradients.items():
        p, value = region.support(g)
        around.require_inside(p, f"the support of gradient '{name}'", _BOTH)
        require(torch.isfinite(value), f"gradient '{name}': the value is not finite.", _BOTH)
        slack = 1e-9 * (_scale(g, around.region.identity()) + value.abs())
        for other, z in (around.inside | vertices).items():
            more = _dot(g, z) - value
            require(
                more <= slack, f"gradient '{name}': {other} has {float(more.max()):.3g} more than the support.", _BOTH
            )


def support_is_attained(around: Around) -> None:
    """<g, p> at the point that support(g) gives is the value it gives, up to the rounding of p."""
    if not around.continuous:
        return
    for name, g in around.gradients.items():
        p, value = around.region.support(g)
        size = _scale(g, p - around.region.identity()) + 1e-3 * _scale(g, around.region.identity())
        spread = around.eps * (_scale(g, p) + flat(g.double().abs()).sum(1) * flat(p.double()).abs().amax(1))
        gap = (_dot(g, p) - value).abs()
        require(
            gap <= 1e-9 * size + 8 * spread,
            f"gradient '{name}': <g, p> is {float(gap.max()):.3g} off the value.",
            _BOTH,
        )


def the_steepest_step_is_steepest(around: Around) -> None:
    """<g, steepest(g)> is not less than <g, step> for the unit steps of other gradients; no gradient, no step; no NaN."""
    if not around.continuous:
        return
    region, others = around.region, dict(around.gradients)
    base = around.gradients["dense"]
    others |= {"another": noise(base, 5), "the same with noise": base + 0.3 * noise(base, 6)}
    steps = {name: region.steepest(h) for name, h in others.items()}
    for name, g in around.gradients.items():
        step = region.steepest(g)
        require(
            torch.isfinite(step), f"gradient '{name}': the step is not finite.", "divide by the largest value first."
        )
        for other, rival in steps.items():
            more = _dot(g, rival) - _dot(g, step)
            slack = 16 * around.eps * (_scale(g, step) + _scale(g, rival))
            require(
                more <= slack,
                f"gradient '{name}': the step of '{other}' climbs more.",
                "see Region.steepest: dual norms.",
            )


def steepest_and_support_agree(around: Around) -> None:
    """In the middle of the box a small radius r has the support <g, x> + r <g, steepest(g)>: one norm, told twice."""
    if not around.continuous or around.box is None or not isinstance(around.x, Tensor):
        return
    middle = around.with_inputs(torch.full_like(around.x, (around.box[0] + around.box[1]) / 2).double())
    radius = torch.full_like(middle.region.radius, 1e-3 * around.width)
    region, g = middle.region.scaled(radius), around.gradients["dense"].double()
    start = region.identity()
    gain = region.support(g)[1] - _dot(g, start)
    promised = radius * _dot(g, region.steepest(g))
    slack = 1e-9 * (_scale(g, start) + promised.abs())
    require((gain - promised).abs() <= slack, f"they differ by {float((gain - promised).abs().max()):.3g}.",
            "both follow from the norm: sign(g) and |g|_1 for Linf, g / |g|_2 for L2; neither may leave the mask.")  # fmt: skip


# ------------------------------------------------------------------------------------------------- one answer, whatever the form
def answers(region: Any, can: Can, p: Any, g: Any, streams: Any) -> dict[str, Any]:
    """All that a region says of points p and gradients g, one row a problem, by the name of the method."""
    said: dict[str, Any] = {name: getattr(region, name)(p) for name in ("contains", "size", "distance", "leaf")}
    if region.items is None:
        said["apply"] = region.apply(p, streams)
    continuous = isinstance(p, Tensor) and p.is_floating_point()
    if Can.PROJECT in can:
        said["project"] = region.project(p)
    if Can.SAMPLE in can:
        said["sample"] = region.sample(streams)
    if Can.SUPPORT in can and continuous:
        said["support"], said["support's value"] = region.support(g)
    if Can.STEER in can and continuous:
        said["steepest"] = region.steepest(g)
    if Can.SCALE in can:
        half = region.scaled(torch.where(torch.isfinite(region.radius), region.radius / 2, 1.0))
        said["scaled"] = half.contains(p)
        said["scaled's projection"] = half.project(p) if Can.PROJECT in can else None
    return said


def _alike(ours: dict[str, Any], theirs: dict[str, Any], why: str) -> None:
    """The same but for the rounding of sums, whose order follows the layout: truths are equal, numbers near."""
    for name, value in ours.items():
        if isinstance(value, Tensor):
            near = _near(value, theirs[name], 8 if value.dtype != torch.float64 else 1e3)
            require(near, f"{name} differs {why}.", "use ironbound.core.rows.flat, and reshape instead of view.")


def _compare(ours: dict[str, Any], theirs: dict[str, Any], index: Tensor | None, why: str, mend: str) -> None:
    for name, value in ours.items():
        mine = value if index is None else rows.take(value, index)
        require(same(mine, theirs[name]), f"{name} differs {why}.", mend)


def rows_stand_alone(around: Around) -> None:
    """Row i of every result depends on row i only, to the last bit: in another order, repeated, among fewer, alone."""
    g, n = around.gradients["dense"] if around.continuous else None, around.n
    for name, p in around.some_points.items():
        ours = answers(around.region, around.can, p, g, around.streams)
        for index in (torch.tensor([n - 1, 0, n - 1]), torch.tensor([n // 2])):
            taken = rows.take(p, index), None if g is None else g[index], around.streams.take(index)
            parts = {"region.take": around.region.take(index)}
            if around.region.items is None and len(index) == 1:
                parts["set.at for these inputs alone"] = around.take(index).region
            for how, region in parts.items():
                why = f"for rows {index.tolist()} by {how}, at {name}"
                _compare(ours, answers(region, around.can, *taken), index, why, _ALONE)


def no_rows_are_no_trouble(around: Around) -> None:
    """A region of no problems answers with no rows: the engine may ask when all problems are finished."""
    none = torch.zeros(0, dtype=torch.int64)
    g = around.gradients["dense"][none] if around.continuous else None
    p = rows.take(around.region.identity(), none)
    said = answers(around.region.take(none), around.can, p, g, around.streams.take(none))
    for name, value in said.items():
        require(
            value is None or rows.count(value) == 0, f"{name} answers with rows.", "let every method take zero rows."
        )


def nothing_is_written_to(around: Around) -> None:
    """Methods leave x, points and gradients as they were, and answer the same when asked again."""
    p = around.points.get("noise of 1 widths", around.region.identity())
    g = around.gradients["dense"] if around.continuous else None
    given = (around.x, p) if g is None else (around.x, p, g)
    before = rows.each(lambda leaf: leaf.clone(), given)
    ours = answers(around.region, around.can, p, g, around.streams)
    require(same(before, given), "an argument was written to.", "copy before writing.")
    why = "when asked again"
    _compare(ours, answers(around.region, around.can, p, g, around.streams), None, why, "keep no state in the region.")


def layout_does_not_matter(around: Around) -> None:
    """The same numbers with gaps in memory, batch innermost or channels last have the same answers (sums may round)."""
    if not around.continuous or not isinstance(around.x, Tensor):
        return
    g = around.gradients["dense"]
    for name in ("noise of 0.1 widths", "one value far away"):
        ours = answers(around.region, around.can, around.points[name], g, around.streams)
        for way, layout in LAYOUTS.items():
            other = around.with_inputs(layout(around.x)).region
            theirs = answers(other, around.can, layout(around.points[name]), layout(g), around.streams)
            _alike(ours, theirs, f"{way}, at {name}")


def devices_agree(around: Around) -> None:
    """On another device draws are the same, and what is projected there is contained there (asked where there is one)."""
    for device in accelerators():
        moved = around.with_inputs(rows.to(around.x, device))
        streams = type(around.streams)(around.streams.keys.to(device))
        if Can.SAMPLE in around.can:
            here, there = around.region.sample(around.streams), moved.region.sample(streams)
            near = all(_near(a, b.cpu()) for a, b in zip(rows.leaves(here), rows.leaves(there), strict=True))
            require(near, f"draws differ on {device}.", "draw from the Rng given, which draws alike everywhere.")
            require(
                moved.region.contains(there),
                f"a draw is outside on {device}.",
                "make tensors on the inputs' own device.",
            )
        if Can.PROJECT in around.can and around.continuous:
            for name, p in around.points.items():
                q = moved.region.project(p.to(device))
                require(
                    moved.region.contains(q),
                    f"the projection of {name} is outside on {device}.",
                    "create tensors there.",
                )
                require(
                    _near(around.region.project(p), q.cpu()), f"the projection of {name} differs on {device}.", _BOTH
                )
        if Can.SUPPORT in around.can and around.continuous:
            p, _ = moved.region.support(around.gradients["dense"].to(device))
            require(moved.region.contains(p), f"the support is outside on {device}.", "create tensors there.")


def accelerators() -> list[torch.device]:
    """The devices beside the CPU that can be tried here."""
    return [torch.device("cuda")] if torch.cuda.is_available() else []


def _near(a: Tensor, b: Tensor, roundings: float = 64) -> bool:
    if not a.is_floating_point():
        return torch.equal(a, b)
    spread = roundings * torch.finfo(a.dtype).eps * (1 + a.double().abs().amax() if a.numel() else 1)
    return bool(((a == b) | ((a.double() - b.double()).abs() <= spread)).all())
