"""The judge: what counts as a success, and which point of an ask would become the answer.

A claim is judged when it is made, in the model's full precision, on the point as stored, inside P(x) exactly, with a
margin of at least tau; where the model draws, by the majority of fresh draws beyond chance.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ironbound.core import rows

TAU = 1e-4  # of the logits' scale, for attacks and certificates alike: the batch alone moves logits by 1e-6 of it
SLACK = 0.05  # logits: a cheap pass this close to the boundary may have missed a success
LOOKS = 4  # such a point is judged at every fourth ask of its problem: one that hovers there would be at each
DOUBT = 0.01  # how often chance alone may win the vote over a random model


def scale_of(out: Any, goal: Any = None) -> Tensor | None:
    """The largest logit of each row, float64, NaN left out; None of bare decisions, which know no rounding.

    Of a tree of outputs the largest number in any of its floating parts, unless the goal has a `scale` of its own: the
    size of the numbers that its margin compares.
    """
    own = getattr(goal, "scale", None)
    return _largest(out) if own is None else own(out)


def _largest(out: Any) -> Tensor | None:
    if isinstance(out, Tensor):
        if not out.is_floating_point():
            return None
        values = rows.flat(out).abs()
        largest = values.amax(1) if values.shape[1] else values.sum(1)
        return largest.double().nan_to_num_(nan=0.0)
    if isinstance(out, list):  # one object a row
        each = [[_largest(leaf[None]) for leaf in rows.leaves(row)] for row in out]
        found = [[one for one in row if one is not None] for row in each]
        if not any(found):
            return None
        like = next(row for row in found if row)[0]
        return torch.cat([torch.stack(row).amax(0) if row else torch.zeros_like(like) for row in found])
    parts = list(out.values()) if isinstance(out, dict) else out if isinstance(out, tuple) else ()
    known = [one for one in map(_largest, parts) if one is not None]
    return torch.stack(known).amax(0) if known else None


def convincing(margin: Tensor, scale: Tensor) -> Tensor:
    """Whether each margin is beyond what rounding at this scale of logits can explain, and above zero."""
    return (margin >= TAU * scale) & (margin > 0)


def wins_beyond_chance(votes: int) -> int:
    """The fewest wins of `votes` draws that a fair coin reaches with probability DOUBT at most; 1 where there is but one.

    Raises ValueError where even all votes do not suffice.
    """
    if votes == 1:
        return 1
    chance = 0.0
    for wins in range(votes, -1, -1):
        chance += math.comb(votes, wins) / 2**votes
        if chance > DOUBT:
            if wins == votes:
                raise ValueError(f"{votes} votes cannot tell a majority from chance at {DOUBT}; use 7 or more")
            return wins + 1
    return 0


def one_each(whose: Tensor, key: Tensor, hopeful: Tensor, claimed: Tensor) -> Tensor:
    """One row a problem, in ascending order: claims before near misses, then the highest key, then the earliest."""
    order = torch.arange(len(whose), device=whose.device)
    if bool((whose[1:] > whose[:-1]).all()):  # there is but one of each, mostly
        return order
    for criterion in (-key, -(hopeful.long() + claimed.long()), whose):  # the last sorted by counts most
        order = order[criterion[order].argsort(stable=True)]
    mine = whose[order]
    first = torch.ones_like(mine, dtype=torch.bool)
    first[1:] = mine[1:] != mine[:-1]
    return order[first].sort().values


def ranks(problem: Tensor, problems: int) -> Tensor:
    """Each row's number among the rows of its own problem, in the order asked."""
    order = problem.argsort(stable=True)
    counts = torch.bincount(problem, minlength=problems)
    rank = torch.empty_like(problem)
    rank[order] = torch.arange(len(problem), device=problem.device) - (counts.cumsum(0) - counts)[problem[order]]
    return rank
