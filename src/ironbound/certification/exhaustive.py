"""Finite sets decided point by point: the one method that is exact for every model."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ironbound.certification.certificates import ROWS, Certificates
from ironbound.core.errors import ModelError, UsageError
from ironbound.core.judge import TAU, scale_of
from ironbound.core.protocols import Can, PerturbationSet
from ironbound.core.rng import Rng
from ironbound.core.rows import flat, of_rows
from ironbound.goals import Untargeted
from ironbound.models.held import held
from ironbound.models.model import Model
from ironbound.sets.bounds import inner_box


@dataclass(frozen=True)
class Exhaustive:
    """Every point of a finite set, by a pass in float64 weights: certified where the label wins at all of them.

    As for other certificates, the least margin must exceed TAU times the largest logit. Points are made in the model's
    own precision, as attacks make them.

    >>> Exhaustive().name
    'exhaustive'
    """

    name = "exhaustive"

    def decide(
        self,
        model: Model,
        x: Float[Tensor, "n ..."],
        y: Int[Tensor, " n"],
        set_: PerturbationSet,
        rows: int | None = None,
    ) -> Certificates:
        """One row an input; the radius is 1, the size of every change, where all points are right. Raises UsageError."""
        if Can.FINITE not in set_.can:
            raise UsageError(
                f"{type(set_).__name__} has no end of points; to try them all, the set must be finite: Finite(changes)."
            )
        exact = copy.deepcopy(model.module).double()
        pieces = [
            _least(
                exact,
                x[int(at[0]) : int(at[-1]) + 1],
                y[int(at[0]) : int(at[-1]) + 1],
                of_rows(set_, at),
                model,
                rows or ROWS,
            )
            for at in torch.arange(len(x)).split(rows or ROWS)
        ]
        margin, scale = (torch.cat(column) for column in zip(*pieces, strict=True))
        certified = margin > TAU * scale
        return Certificates(
            certified, certified.double(), [self.name if yes else "" for yes in certified.tolist()], margin
        )


def _least(
    exact: torch.nn.Module, x: Tensor, y: Tensor, set_: PerturbationSet, model: Model, rows: int
) -> tuple[Tensor, Tensor]:
    """The least margin of the label over all points of each input, and the largest logit.

    The margin is -inf where a logit is NaN, and for inputs that are not in the model's box.
    """
    x, (low, high) = x.to(model.dtype), inner_box(model.box, model.dtype)
    region, valid = set_.at(x, model.box), flat((x >= low) & (x <= high)).all(1)
    points, owner = region.enumerate()
    least = torch.full((len(x),), torch.inf, dtype=torch.float64, device=x.device)
    scale = torch.zeros_like(least)
    with held(exact):
        for at in torch.arange(len(owner), device=x.device).split(rows):
            whose = owner[at]
            inputs = region.take(whose).apply(points[at], Rng(whose))
            try:
                out = exact(inputs.double())
            except (RuntimeError, TypeError) as error:
                raise ModelError(
                    f"the model cannot be run in float64, which the proof needs ({str(error).splitlines()[0]}). "
                    "Let it take its dtype from its input."
                ) from error
            won = -Untargeted().margin(out, y[whose])
            least.scatter_reduce_(0, whose, won.nan_to_num(nan=-torch.inf), "amin")
            scale.scatter_reduce_(0, whose, scale_of(out), "amax")  # type: ignore[arg-type]
    return least.masked_fill(~valid, -torch.inf), scale
