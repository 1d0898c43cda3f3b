"""How alike two attributions are, row by row."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ironbound.core.rows import flat


def cosine(one: Tensor, other: Tensor) -> Float[Tensor, " n"]:
    """The cosine of the angle between rows, float64: 1 for the same direction, 0 for none in common, -1 for the opposite.

    NaN where a row is all zero.
    """
    a, b = flat(one).double(), flat(other).double()
    return (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))


def rank_correlation(one: Tensor, other: Tensor) -> Float[Tensor, " n"]:
    """Spearman's rank correlation of the magnitudes in each row, float64, equal values sharing their mean rank.

    The measure of Ghorbani, Abid and Zou 2017 (arXiv 1710.10547): whether the same values matter, whatever their sign. NaN
    where all of a row matter alike.
    """
    ranks = [torch.stack([_ranks(row) for row in flat(x).double().abs()]) for x in (one, other)]
    a, b = (rank - rank.mean(1, keepdim=True) for rank in ranks)
    return (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))


def _ranks(values: Tensor) -> Tensor:
    """The rank of each number, from 1 up; equal ones have the mean of their ranks."""
    _, place, counts = values.unique(return_inverse=True, return_counts=True)
    last = counts.cumsum(0).double()
    return (last - (counts.double() - 1) / 2)[place]
