"""Tables of rows compared to the last bit, and the same numbers laid out in other ways."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ironbound.core import rows
from ironbound.core.result import Result
from ironbound.testing.promise import require

FIELDS = ("points", "adversarial", "success", "size", "margin", "status", "forward", "backward", "refused", "judged")
ORDERS = ("reversed", "shuffled", "subset", "first", "middle", "last")

_ROWS = (
    "nothing of a row may depend on its company: no sums, means, maxima or stopping rules over the batch, "
    "draws from the row's own stream (task.rng, task.fresh, the Rng given), tables in task.state."
)


def same(a: Any, b: Any) -> bool:
    """Equality to the last bit, for tables of any kind; NaN equals NaN."""
    if isinstance(a, Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and bool(((a == b) | (a.isnan() & b.isnan())).all())
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[name], b[name]) for name in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(same(*pair) for pair in zip(a, b, strict=True))
    return bool(a == b)


def assert_same(
    ours: Result, theirs: Result, index: Tensor | None = None, fields: tuple[str, ...] = FIELDS, why: str = ""
) -> None:
    """All tables of a result equal those of another, or those of its rows `index`, to the last bit."""
    for name in fields:
        mine = getattr(ours, name)
        equal = same(mine if index is None else rows.take(mine, index), getattr(theirs, name))
        require(equal, f"`{name}` of the results differ{why and ': ' + why}.", _ROWS)


def order(n: int, which: str) -> Tensor:
    """The same problems in other ways: reversed, shuffled, some of them, one alone; row numbers, int64."""
    shuffled = torch.arange(n).mul(7919).add(3).remainder(10007).argsort()
    ways = {"reversed": torch.arange(n).flip(0), "shuffled": shuffled, "subset": torch.arange(0, n, 3)}
    return ways.get(which, torch.tensor([{"first": 0, "middle": n // 2, "last": n - 1}.get(which, 0)]))


def strided(rows: Tensor) -> Tensor:
    """The same numbers with gaps between them in memory."""
    wide = torch.stack([rows, torch.zeros_like(rows)], -1)
    return wide[..., 0]


def turned(rows: Tensor) -> Tensor:
    """The same numbers with the batch innermost in memory."""
    return rows.movedim(0, -1).contiguous().movedim(-1, 0)


def channels_last(rows: Tensor) -> Tensor:
    """The same numbers, channels innermost in memory; as they are where there are no images."""
    return rows.contiguous(memory_format=torch.channels_last) if rows.ndim == 4 else rows


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "with gaps in memory": strided,
    "batch innermost": turned,
    "channels last": channels_last,
}


def noise(like: Tensor, seed: int) -> Tensor:
    """Standard normal numbers in the shape and type of `like`, the same in every run."""
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.empty(like.shape, dtype=torch.float64).normal_(generator=generator)
    return numbers.to(device=like.device, dtype=like.dtype)
