"""What was found on some inputs, applied to others and measured there: universal perturbations and patches."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ironbound.auditing.intervals import Share
from ironbound.core.errors import DataError, InputError, UsageError
from ironbound.core.predict import predict
from ironbound.core.protocols import Goal
from ironbound.core.result import Result
from ironbound.core.rng import Rng, content_keys
from ironbound.goals import Targeted, Untargeted
from ironbound.models.model import Model
from ironbound.sets.patch import Patch
from ironbound.sets.threat import BALLS
from ironbound.sets.universal import Universal


def apply(found: Result | str | Path, x: Any, *, groups: Any = None, seed: int = 0) -> Any:
    """What a universal perturbation or a patch makes of other inputs, in the range of the model it was made for.

    Parameters
    ----------
    found: the result of an attack, or the file that `result.save` wrote.
    x: inputs (n, ...) in that range; of a perturbation in the shape of those it was fitted on.
    groups: which of several (one a group) each input gets, by the names the groups had (n,); not needed for one.
    seed: where a patch is pasted, scaled, turned and lit is drawn for each image from its own content and this.

    Returns inputs like x, a tensor or a NumPy array. Raises InputError for inputs that do not fit, UsageError for results
    that have a point of its own for each input.

    >>> patched = apply("patch.safetensors", x_new)  # doctest: +SKIP
    """
    import numpy as np

    given = torch.as_tensor(x)
    points, region = _on(_loaded(found), given, groups)
    every = torch.arange(len(given), device=given.device)
    made: Tensor = region.apply(points, _placing(given, seed), every)
    return made.cpu().numpy() if isinstance(x, np.ndarray) else made


@dataclass(frozen=True)
class Transfer:
    """On how many inputs something works that was found on others, and beside it a random one of the same kind."""

    works: Share
    """Of the inputs that are not left out (see `before`), with the exact 95% interval (Clopper, Pearson 1934)."""
    random: Share
    """The same of random ones, another for each input: a direction of full length, or a patch of random colours."""
    before: int
    """Inputs left out: the model is wrong about them, or gives the target, as they are, or the target is their label."""
    goal: str
    each: Tensor = field(repr=False)
    """Bool (n,): whether the goal is met on each input, those before included."""

    def __str__(self) -> str:
        worked, chance = (
            f"{share.count:,} of {share.total:,} ({share.fraction:.1%}, 95% interval {share.low:.1%} to {share.high:.1%})"
            for share in (self.works, self.random)
        )
        left = f"; {self.before:,} left out where the goal is met as they are" if self.before else ""
        return f"works on {worked}; a random one on {chance}{left}"


def measure(
    model: Any, found: Result | str | Path, x: Any, y: Any = None, *, target: int | None = None, groups: Any = None,
    seed: int = 0, rows: int | None = None,
) -> Transfer:  # fmt: skip
    """On how many of these inputs a universal perturbation or a patch works: inputs other than it was found on.

    Parameters
    ----------
    model, x, y, rows: as for `attack`; without labels, the model's own answers are to be lost.
    found, groups, seed: as for `apply`.
    target: the class that was the target, where the attack had one.

    Cost: three forward rows an input, for the clean answer, for what was found and for a random one of the same kind.

    >>> print(measure(net, found, x_test, y_test))  # doctest: +SKIP
    """
    wrapped, result = Model.of(model), _loaded(found)
    inputs, labels = wrapped.admit(x, y)
    aimed = result.config.get("attack", {}).get("goal", {}).get("", "") == "Targeted"
    if aimed and target is None:
        raise UsageError("what was found has a target: say which, target=3.")
    streams = _placing(inputs, seed)
    clean = predict(wrapped, inputs, streams.fold("clean"), rows=rows)
    goal: Goal = Untargeted() if target is None else Targeted(target)
    if labels is None:
        labels = clean.argmax(1) if clean.is_floating_point() else clean
    points, region = _on(result, inputs, groups)
    every = torch.arange(len(inputs), device=inputs.device)
    won = []
    for p, draws in ((points, streams), (region.rival(streams.fold("random")), streams.fold("another place"))):
        out = predict(wrapped, region.apply(p, draws, every), streams.fold("seen"), rows=rows)
        won.append(goal.margin(out, labels) > 0)
    met = goal.margin(clean, labels) > 0
    if target is not None:
        met |= labels == target  # an input of that class for which the model gives it is no feat of an attack
    total = int((~met).sum())
    works, chance = (Share.of(int((one & ~met).sum()), total) for one in won)
    return Transfer(works, chance, int(met.sum()), repr(goal), won[0])


def _loaded(found: Result | str | Path) -> Result:
    if isinstance(found, (str, Path)):
        found = Result.load(found)
    if not isinstance(found, Result):
        raise UsageError(f"what is applied is the result of an attack, or a file of one; got {type(found).__name__}.")
    if "set" not in found.config.get("collective", {}):
        raise UsageError(
            "this result has a point of its own for each input, which says nothing about others. What can be applied is "
            'made by method="universal" or "patch".'
        )
    return found


def _on(found: Result, x: Tensor, groups: Any) -> tuple[Tensor, Any]:
    """The point of each input, and the region of as many problems, row by row."""
    record = found.config["collective"]["set"]
    names, box = record["groups"], None if record["box"] is None else tuple(record["box"])
    mine = [names[0]] * len(x) if groups is None else [int(g) for g in groups]
    if groups is None and len(names) > 1:
        raise UsageError(f"there is one a group, {names}: say groups=, the group of each input.")
    if len(mine) != len(x) or not set(mine) <= set(names):
        raise InputError(
            f"groups has one of {names} for each of {len(x)} inputs; got {len(mine)}, {sorted(set(mine))}."
        )
    if box is not None and len(x) and not bool(((x >= box[0]) & (x <= box[1])).all()):
        raise InputError(
            f"inputs lie in [{float(x.min()):.4g}, {float(x.max()):.4g}], and this was made for {list(box)}."
        )
    points = torch.as_tensor(found.points).to(x)
    region = _set_of(record, tuple(mine)).at(x, box)
    if region.identity().shape[1:] != points.shape[1:]:
        raise InputError(
            f"it was made for inputs of the shape (n, {', '.join(map(str, points.shape[1:]))}); got {tuple(x.shape)}."
        )
    row = torch.tensor([names.index(name) for name in mine], device=x.device)
    return points.index_select(0, row), region.take(region.items)


def _set_of(record: dict[str, Any], groups: tuple[int, ...]) -> Any:
    """The set that a region recorded, for inputs of these groups. Raises DataError where it is none of ours."""
    if record["set"] == "universal":
        more = {} if "of" not in record else {"of": record["of"]}
        return Universal(BALLS[record["norm"]](record["eps"], **more), groups)
    if record["set"] != "patch":
        raise DataError(f"the result says that it is a {record['set']!r}, which this version does not know.")
    ranges: dict[str, Any] = {name: tuple(record[name]) for name in ("scale", "rotation", "brightness", "contrast")}
    colours = None if record["colours"] is None else torch.tensor(record["colours"], dtype=torch.float64)
    place = None if record["place"] is None else tuple(record["place"])
    mask = torch.tensor(record["mask"]).bool()
    return Patch(shape=mask, place=place, colours=colours, groups=groups, **ranges)


def _placing(x: Tensor, seed: int) -> Rng:
    return Rng.of(seed, content_keys(x, None).to(x.device)).fold("applied")
