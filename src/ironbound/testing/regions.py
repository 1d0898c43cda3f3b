"""What every set promises of its points: identity, edges, projections, draws, radii, lists."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ironbound.core import rows
from ironbound.core.describe import described
from ironbound.core.protocols import Can, PerturbationSet
from ironbound.core.rows import column, flat
from ironbound.testing.around import Around
from ironbound.testing.promise import require
from ironbound.testing.tables import noise, same

CLAMP = (
    "compute edges once in float64, round them inwards (ironbound.sets.bounds.edges), clamp to them, compare with them."
)


def it_is_a_description(around: Around) -> None:
    """A set is a frozen description that the engine can fingerprint: `can`, `at`, and fields of plain data."""
    require(isinstance(around.set, PerturbationSet), "it has no `can` or no `at`.", "give it both: see docs/extend.md.")
    ours = described(around.set)
    require(
        ours == described(around.set),
        "two descriptions of one set differ.",
        "make it a frozen dataclass of plain data.",
    )


def the_identity_changes_nothing(around: Around) -> None:
    """apply(identity()) is x to the last bit, contained, of size 0 and distance 0."""
    region = around.region
    p = region.identity()
    given = around.x if region.items is None else rows.take(around.x, torch.arange(rows.count(around.x)))
    if region.items is None:
        require(
            same(region.apply(p, around.streams), given),
            "apply(identity()) is not x.",
            "let it be the change of nothing.",
        )
    require(
        region.contains(p), "x itself is not contained.", "x belongs to every set around it, at any radius: " + CLAMP
    )
    require(region.size(p) == 0, "the size of no change is not 0.", "measure p less x in float64.")
    require(region.distance(p) == 0, "the distance of x is not 0.", "points of the set have distance 0.")


def answers_have_shapes(around: Around) -> None:
    """Points keep shape and type; contains is bool, sizes, distances, radii and values of support are float64, (n,)."""
    region, p = around.region, around.region.identity()
    require(
        len(region) > 0 and rows.count(p) == len(region),
        "len(region) is not the number of points.",
        "one row a problem.",
    )
    numbers = {"size": region.size(p), "distance": region.distance(p)}
    made: dict[str, Any] = {}
    if around.continuous:
        made |= {"project": region.project(p)} if Can.PROJECT in around.can else {}
        made |= {"steepest": region.steepest(around.gradients["dense"])} if Can.STEER in around.can else {}
    made |= {"sample": region.sample(around.streams)} if Can.SAMPLE in around.can else {}
    if Can.SUPPORT in around.can:
        made["support"], numbers["support"] = region.support(around.gradients["dense"])
    if Can.SCALE in around.can:
        numbers["radius"] = region.radius
    for name, value in numbers.items():
        right = value.shape == (len(region),) and value.dtype == torch.float64
        require(right, f"{name} gives {value.dtype} {tuple(value.shape)}.", f"one float64 a problem: ({len(region)},).")
    for name, value in made.items():
        if isinstance(p, Tensor):
            right = value.shape == p.shape and value.dtype == p.dtype
            require(
                right,
                f"{name} gives {value.dtype} {tuple(value.shape)}.",
                f"as the points: {p.dtype} {tuple(p.shape)}.",
            )
    inside = region.contains(p)
    require(
        inside.dtype == torch.bool and inside.shape == (len(region),), "contains gives no bools (n,).", "one a problem."
    )


def not_a_number_is_in_no_set(around: Around) -> None:
    """A point with NaN or infinity in it is not contained."""
    if not around.continuous or around.region.identity()[0].numel() == 0:
        return
    for bad in (float("nan"), float("inf")):
        if bad == float("inf") and around.box is None:
            continue
        p = around.region.identity().clone()
        p.view(len(p), -1)[0, -1] = bad
        require(
            ~around.region.contains(p)[:1], f"{bad} is contained.", "compare so that NaN fails: (p >= lo) & (p <= hi)."
        )


def contains_and_distance_agree(around: Around) -> None:
    """A point is contained exactly when its distance is 0; distances are never negative."""
    for name, p in (around.points | around.inside).items():
        inside, distance = around.region.contains(p), around.region.distance(p)
        require(distance >= 0, f"{name}: a negative distance.", "measure in float64 from the nearest point of the set.")
        require(
            (distance == 0) == inside,
            f"{name}: contains and distance == 0 differ.",
            "let both compare with the same edges.",
        )


def projections_are_inside(around: Around) -> None:
    """project(p) is contained without tolerance, projecting again changes no bit, and points of the set stay as they are."""
    if not around.continuous:
        return
    region = around.region
    for name, p in around.points.items():
        q = around.projections[name]
        around.require_inside(q, f"the projection of {name}", CLAMP)
        require(
            same(region.project(q), q),
            f"projecting {name} twice is not as once.",
            "leave contained points as they are.",
        )
        stays = region.contains(p)
        require(
            same(q[stays], p[stays]), f"{name}: project moves points of the set.", "leave contained points as they are."
        )


def projections_are_nearest(around: Around) -> None:
    """No point of the set that is known is nearer to p, in Euclidean distance, than project(p)."""
    if not around.continuous:
        return
    for name, p in around.points.items():
        q = around.projections[name]
        ours = _length(p.double() - q.double())
        rounding = 16 * around.eps * (flat(p.double()).abs().sum(1) + _length(around.region.identity().double()) + ours)
        for rival, z in _rivals(around, p, q).items():
            known = around.region.contains(z)
            gain = torch.where(known, ours - _length(p.double() - z.double()), 0.0)
            require(
                gain <= rounding, f"{rival} is nearer to {name} than its projection, by {float(gain.max()):.3g}.",
                "project onto ball and box together; clamping after scaling is not the nearest point.",
            )  # fmt: skip


def _rivals(around: Around, p: Tensor, q: Tensor) -> dict[str, Tensor]:
    """Points of the set that might be nearer: those it gave, its farthest one along p - q, and points between them and q."""
    found = dict(around.inside)
    if Can.SUPPORT in around.can:
        away = p.double() - q.double()
        unit = away / column(_length(away).clamp_min(torch.finfo(torch.float64).tiny), away)
        found["the support along p - project(p)"] = around.region.support(unit.to(p.dtype))[0]
    between = {f"a point between {name} and it": q + 0.05 * (z - q) for name, z in found.items()}
    return found | between


def draws_are_inside(around: Around) -> None:
    """Every draw is contained; the same streams draw the same points, others draw others."""
    region = around.region
    draws = [region.sample(around.streams.fold(i)) for i in range(4)]
    for draw in draws:
        around.require_inside(draw, "a draw", "project what was drawn: rounding may have put it outside.")
    again = region.sample(around.streams.fold(0))
    require(same(draws[0], again), "the same streams draw other points.", "draw from the Rng given and nothing else.")
    if bool(torch.stack([region.size(draw) for draw in draws]).amax(0).gt(0).any()):
        require(
            not all(same(draws[0], draw) for draw in draws[1:]), "all streams draw alike.", "draw from the Rng given."
        )


def other_radii_are_the_same_set(around: Around) -> None:
    """scaled(radius) is the region itself, scaled(0) holds x alone, and what a smaller radius holds a larger one holds too."""
    region, points = around.region, around.points | around.inside
    alike, none = region.scaled(region.radius), region.scaled(torch.zeros_like(region.radius))
    small = region.scaled(torch.where(torch.isfinite(region.radius), region.radius / 2, 1.0))
    require(same(alike.radius, region.radius), "scaled(radius) has another radius.", "keep radii in float64.")
    for name, p in points.items():
        require(same(alike.contains(p), region.contains(p)), f"scaled(radius) holds other points: {name}.",
                "build scaled and at by the same code, masks and all.")  # fmt: skip
        require(~small.contains(p) | region.contains(p), f"half the radius holds {name}, all of it does not.", CLAMP)
        if around.continuous and not getattr(around.set, "parts", ()):
            still = flat(p == region.identity()).all(1)
            require(none.contains(p) == still, f"radius 0 holds another point than x: {name}.", CLAMP)
            if Can.PROJECT in around.can:
                require(same(none.project(p), region.identity()), f"radius 0 does not project {name} to x.", CLAMP)
    if Can.SAMPLE in around.can:
        require(region.contains(small.sample(around.streams)), "draws of half the radius are outside.", CLAMP)


def a_radius_beyond_the_box_is_the_box(around: Around) -> None:
    """Far more than the box changes nothing any more: nothing overflows, and projections, draws and support stay inside."""
    if around.box is None:
        return
    width, values = around.width, flat(around.region.identity()).shape[1]
    large = around.region.scaled(torch.full_like(around.region.radius, max(1.0, 1000 * width * values)))
    larger = around.region.scaled(torch.full_like(around.region.radius, max(1e6, 1e6 * width * values)))
    for name, p in around.points.items():
        require(same(large.contains(p), larger.contains(p)), f"two such radii differ on {name}.", CLAMP)
        if Can.PROJECT in around.can:
            q = large.project(p)
            require(torch.isfinite(q) & column(large.contains(q), q), f"the projection of {name} is outside.", CLAMP)
    if Can.SAMPLE in around.can:
        require(
            larger.contains(larger.sample(around.streams)),
            "draws are outside.",
            "let draws reach no further than the box.",
        )
    if Can.SUPPORT in around.can:
        require(larger.contains(larger.support(around.gradients["dense"])[0]), "the support is outside.", CLAMP)


def lists_are_complete(around: Around) -> None:
    """enumerate() gives each problem's points once, each contained; the identity and every draw are among them."""
    points, owner = around.region.enumerate()
    mend = "list every point of every problem once, with the problem's row."
    require((owner >= 0) & (owner < around.n), "owners are row numbers.", mend)
    require(around.region.take(owner).contains(points), "a listed point is not contained.", mend)
    found = [around.region.identity()] + ([around.region.sample(around.streams)] if Can.SAMPLE in around.can else [])
    for i in range(around.n):
        mine = (owner == i).nonzero()[:, 0]
        listed = [rows.take(points, mine[j : j + 1]) for j in range(len(mine))]
        require(len(listed) > 0, f"problem {i} has no points.", mend)
        twice = any(same(a, b) for j, a in enumerate(listed) for b in listed[:j])
        require(not twice, f"problem {i} has a point twice.", mend)
        for p in found:
            here = rows.take(p, torch.tensor([i]))
            require(any(same(here, a) for a in listed), f"a point of problem {i} is missing in the list.", mend)


def neighbours_are_inside(around: Around) -> None:
    """Neighbours are contained, differ from the point, and those of a row do not depend on its company."""
    region, p = around.region, around.region.identity()
    q, owner = region.neighbours(p, around.streams)
    require(region.take(owner).contains(q), "a neighbour is not contained.", "leave out moves that lead outside.")
    for i in range(around.n):
        index, mine = torch.tensor([i]), (owner == i).nonzero()[:, 0]
        alone, whose = region.take(index).neighbours(rows.take(p, index), around.streams.take(index))
        require(bool((whose == 0).all()), "owners are row numbers.", "give the row that each neighbour belongs to.")
        require(
            same(rows.take(q, mine), alone), f"problem {i} has other neighbours when alone.", "look at the row only."
        )
        listed = [rows.take(q, mine[j : j + 1]) for j in range(len(mine))]
        here = rows.take(p, index)
        require(
            not any(same(here, a) for a in listed), "a point is its own neighbour.", "leave out the move of nothing."
        )


def gradients_reach_the_leaf(around: Around) -> None:
    """apply is differentiable at the leaf, where that is a tensor of floats, and the gradient there is finite."""
    leaf = around.region.leaf(around.region.identity())
    if not (isinstance(leaf, Tensor) and leaf.is_floating_point()) or not isinstance(around.x, Tensor):
        return
    at = leaf.detach().clone().requires_grad_(True)
    out = around.applied(at)
    (grad,) = torch.autograd.grad((out * noise(out.detach(), 4)).sum(), at)
    require(torch.isfinite(grad), "the gradient is not finite.", "apply must be differentiable at the leaf.")


def _length(change: Tensor) -> Tensor:
    return torch.linalg.vector_norm(flat(change), dim=1)
