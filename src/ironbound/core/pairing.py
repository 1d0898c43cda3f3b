"""Pairs: a point and an input it is tried on. An ordinary problem has one input; a collective one (universal perturbation,
patch) has many, and what a search hears of a point is the mean over them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor


class Pairing:
    """Which inputs belong to which problem; built once a run from `Region.items`."""

    def __init__(self, owner: Int[Tensor, " inputs"], problems: int) -> None:
        self.order = owner.argsort(stable=True)
        self.sizes = torch.bincount(owner, minlength=problems)
        self.starts = self.sizes.cumsum(0) - self.sizes
        self.place = torch.empty_like(self.order)
        """Each input's number among the inputs of its problem."""
        self.place[self.order] = torch.arange(len(owner), device=owner.device) - self.starts[owner[self.order]]

    def members(self, problem: int) -> Tensor:
        """The inputs of one problem."""
        start = int(self.starts[problem])
        return self.order[start : start + int(self.sizes[problem])]

    def of(self, problem: Tensor, items: Int[Tensor, "m b"] | None) -> Pairs:
        """The pairs of rows that belong to these problems: with the items given, or with all of the problem's."""
        if items is not None:
            m, b = items.shape
            row = torch.arange(m, device=problem.device).repeat_interleave(b)
            return Pairs(row, items.flatten(), torch.full((m,), b, device=problem.device), b)
        counts = self.sizes[problem]
        row = torch.arange(len(problem), device=problem.device).repeat_interleave(counts)
        place = torch.arange(len(row), device=problem.device) - (counts.cumsum(0) - counts)[row]
        widths = set(counts.tolist())
        item = self.order[self.starts[problem][row] + place]
        return Pairs(row, item, counts, widths.pop() if len(widths) == 1 else None)


@dataclass(frozen=True)
class Pairs:
    """Row and input of each pair, the pairs of one row next to each other."""

    row: Tensor
    item: Tensor
    counts: Tensor
    width: int | None
    """How many pairs each row has, where all have as many."""

    def __len__(self) -> int:
        return len(self.row)

    def mean(self, values: Tensor) -> Tensor:
        """The mean over each row's pairs, in the values' own type, summed in float64 in the pairs' order."""
        return (self.total(values) / self.counts.double().view(-1, *[1] * (values.ndim - 1))).to(values.dtype)

    def total(self, values: Tensor) -> Tensor:
        """The sum over each row's pairs, float64; one after the other, so that chunks of pairs may be added up."""
        sums = torch.zeros(len(self.counts), *values.shape[1:], dtype=torch.float64, device=values.device)
        return sums.index_add_(0, self.row, values.double())

    def grouped(self, values: Tensor) -> Tensor | None:
        """(rows, width, ...) where all rows have as many pairs."""
        return None if self.width is None else values.unflatten(0, (-1, self.width))
