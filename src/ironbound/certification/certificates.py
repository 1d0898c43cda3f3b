"""Certificates: for which inputs the prediction at every point of P(x) is the label, and up to what radius."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ironbound.certification.graph import Graph, trace
from ironbound.certification.margins import Margins
from ironbound.core.errors import InputError, ModelError, UsageError
from ironbound.core.judge import TAU
from ironbound.core.protocols import PerturbationSet
from ironbound.core.rows import flat, of_rows
from ironbound.models.model import Model

SLACK = 1e-2
"""Rows whose float32 margin is within this share of zero go to float64 too, so that the screen loses no certificate."""
ROWS = 256
STEPS = 12
"""Halvings in the search for a radius: to 1/4096 of the set's own; twice as many where that is infinite."""


class Method(Protocol):
    """A way to bound margins from below (Ibp)."""

    @property
    def name(self) -> str:
        """What certificates name as their proof."""
        ...

    def margins(self, graph: Graph, region: Any, y: Tensor, dtype: torch.dtype, learned: Any = None) -> Margins:
        """Lower bounds of z_y - z_j over the region, computed in `dtype`, with the logits' scale.

        `learned` is what an earlier call for the same rows found out (`Margins.learned`), to be used as it is.
        """
        ...


@runtime_checkable
class Boxed(Protocol):
    """A region that lies in a box of inputs: what bounds start from. Also needed: take, scaled."""

    lo: Tensor
    hi: Tensor
    radius: Tensor


@runtime_checkable
class Whole(Protocol):
    """A method that decides sets without bounds over boxes (Exhaustive)."""

    @property
    def name(self) -> str:
        """What certificates name as their proof."""
        ...

    def decide(self, model: Model, x: Tensor, y: Tensor, set_: PerturbationSet, rows: int | None) -> Certificates:
        """The certificates of admitted inputs. Raises UsageError for sets that it cannot decide."""
        ...


@dataclass(frozen=True, eq=False)
class Certificates:
    """One row an input; made by `prove`."""

    certified: Bool[Tensor, " n"]
    """Whether the prediction at every point of the set around x, within the model's box, is y."""
    radius: Float[Tensor, " n"]
    """Up to what radius that is proved, float64, in the set's unit: the set's own where certified, else the largest found
    by bisection; 0 where there is none, or with radii=False."""
    method: list[str]
    """By what it is proved; "" where it is not."""
    margin: Float[Tensor, " n"]
    """The least lower bound of z_y - z_j over the set, float64 for all rows that were near to being certified."""

    def __len__(self) -> int:
        return len(self.certified)

    def __repr__(self) -> str:
        by = ", ".join(sorted({name for name in self.method if name}))
        return f"Certificates({int(self.certified.sum())} of {len(self)} certified{f' by {by}' if by else ''})"

    def take(self, index: Int[Tensor, " r"]) -> Certificates:
        """The certificates of some rows."""
        method = [self.method[i] for i in index.tolist()]
        return Certificates(self.certified[index], self.radius[index], method, self.margin[index])

    def to(self, device: torch.device | str) -> Certificates:
        """The same on another device."""
        return Certificates(
            self.certified.to(device), self.radius.to(device), list(self.method), self.margin.to(device)
        )


@torch.no_grad()
def prove(
    method: Method | Whole,
    model: Model,
    x: Float[Tensor, "n ..."],
    y: Int[Tensor, " n"],
    set_: PerturbationSet,
    *,
    rows: int | None = None,
    radii: bool = True,
    graph: Graph | None = None,
) -> Certificates:
    """Try to prove, for each input, that no point of the set around it changes the prediction from its label.

    Parameters
    ----------
    rows: inputs a pass, 256 by default; it changes no verdict.
    radii: for rows that are not certified, find by bisection the largest radius below the set's that is.
    graph: the trace of `model.module`, where the caller has one; weights are read from the model in any case.

    A row is certified if its margin in float64, over the region around x in float64, exceeds TAU times the largest
    absolute logit bound. A pass in float32 merely screens. NaN, and inputs outside of the model's box, never certify.
    What is proved is about the model in exact arithmetic, with that tolerance for rounding; see docs/architecture.md.

    Of a union every part must be proved; radii are in units of the parts' own, up to 1.

    Raises UsageError for sets that have no box, InputError, UnsupportedOperation.
    """
    _checked(model, x, y, rows)
    if getattr(set_, "collective", False):  # whose region may well have a box: that of the change, not of the inputs
        raise UsageError(
            f"bounds are about each input by itself, and {set_!r} is about one change for all of them. Certify the inputs "
            "against a ball of that radius: what holds for every change holds for a shared one."
        )
    parts = getattr(set_, "parts", ())
    if parts:
        proofs = [prove(method, model, x, y, part, rows=rows, radii=radii, graph=graph) for part in parts]
        return _of_all(proofs, [getattr(part.at(x, model.box), "radius", torch.ones(len(x))) for part in parts])
    if not len(x):
        nothing = torch.zeros(0, dtype=torch.float64, device=x.device)
        return Certificates(nothing.bool(), nothing, [], nothing)
    model.settle(x[:15].to(model.device, model.dtype))
    if model.outputs == "decisions":
        raise ModelError("the model answers with decisions alone; bounds need its logits.")
    if graph is not None and graph.module is not model.module:
        raise UsageError("graph is the trace of another module; pass trace(model.module, x) of this model, or none.")
    if isinstance(method, Whole):
        return method.decide(model, x.to(model.device), y.to(model.device), set_, rows).to(x.device)
    graph = graph or trace(model.module, x[:1].to(model.device, model.dtype))
    _labelled(graph, x, y)
    exact, size = graph.fixed(torch.float64, model.device), rows or ROWS
    chunks = []
    for at in torch.arange(len(x)).split(size):
        prover = _Prover(method, model, of_rows(set_, at), graph, exact)
        chunks.append(prover.chunk(x[int(at[0]) : int(at[-1]) + 1], y[int(at[0]) : int(at[-1]) + 1], radii))
    joined = {name: torch.cat([getattr(part, name) for part in chunks]) for name in ("certified", "radius", "margin")}
    return Certificates(method=[name for part in chunks for name in part.method], **joined).to(x.device)


def _of_all(proofs: list[Certificates], radii: list[Tensor]) -> Certificates:
    """What is proved of a union, whose radius is 1: what is proved of all parts."""
    certified = torch.stack([proof.certified for proof in proofs]).all(0)
    shares = [
        torch.where(p.certified, 1.0, (p.radius / r.to(p.radius.device)).nan_to_num(nan=0.0))
        for p, r in zip(proofs, radii, strict=True)
    ]
    named = [proofs[0].method[i] if yes else "" for i, yes in enumerate(certified.tolist())]
    margin = torch.stack([proof.margin for proof in proofs]).amin(0)
    return Certificates(certified, torch.stack(shares).amin(0), named, margin)


@dataclass(frozen=True, eq=False)
class _Prover:
    """What all chunks share; `exact` is the graph with float64 weights."""

    method: Method
    model: Model
    set_: PerturbationSet
    graph: Graph
    exact: Graph

    def chunk(self, x: Tensor, y: Tensor, radii: bool) -> Certificates:
        x, y = x.to(self.model.device), y.to(self.model.device)
        margin, scale, learned = self._screened(x, y)
        near = (~(margin < -SLACK * scale)).nonzero()[:, 0]  # NaN is near: float64 may know
        region = self._region(x.double())
        if len(near):
            mine = None if learned is None else learned.take(near)
            found, wide, _ = self._bounded(self.exact, region.take(near), y[near], torch.float64, mine)
            margin, scale = margin.index_copy(0, near, found), scale.index_copy(0, near, wide)
        certified = torch.zeros_like(margin, dtype=torch.bool)
        certified[near] = (margin > TAU * scale)[near]
        radius = torch.where(certified, region.radius, 0.0)
        rest = (~certified).nonzero()[:, 0]
        if radii and len(rest):
            some = region.take(rest)
            radius[rest] = some.scaled(self._largest(some, y[rest])).radius  # of L0 a whole number
        return Certificates(certified, radius, [self.method.name if yes else "" for yes in certified.tolist()], margin)

    def _screened(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Any]:
        """Margins and scales by a float32 pass; none, which screens nothing, where that would be as dear, or too coarse."""
        if self.model.dtype == torch.float64 or not getattr(self.method, "screens", True):
            unknown = torch.full((len(x),), math.nan, dtype=torch.float64, device=x.device)
            return unknown, unknown.clone(), None
        return self._bounded(self.graph, self._region(x.float()), y, torch.float32)

    def _bounded(
        self, graph: Graph, region: Any, y: Tensor, dtype: torch.dtype, learned: Any = None
    ) -> tuple[Tensor, Tensor, Any]:
        """The least margin and the logits' scale a row, as float64, and what was learned; -inf where the region is empty."""
        answer = self.method.margins(graph, region, y, dtype, learned)
        empty = flat(region.lo > region.hi).any(1)
        return answer.least.amin(1).double().masked_fill(empty, -math.inf), answer.scale.double(), answer.learned

    def _largest(self, region: Any, y: Tensor) -> Tensor:
        """The largest radius, below that of the region, that float64 proves; 0 where the clean prediction is not y."""
        most = self._ceiling(region)
        least = torch.zeros_like(most)
        open_ = self._holds(region.scaled(least), y).nonzero()[:, 0]
        for _ in range(STEPS if bool(region.radius.isfinite().all()) else 2 * STEPS):
            if not len(open_):
                break
            middle = (least[open_] + most[open_]) / 2
            holds = self._holds(region.take(open_).scaled(middle), y[open_])
            least[open_], most[open_] = (
                torch.where(holds, middle, least[open_]),
                torch.where(holds, most[open_], middle),
            )
        return least

    def _holds(self, region: Any, y: Tensor) -> Tensor:
        margin, scale, _ = self._bounded(self.exact, region, y, torch.float64)
        return margin > TAU * scale

    def _ceiling(self, region: Any) -> Tensor:
        """The radius, or where that is infinite one beyond which the set does not grow."""
        if bool(region.radius.isfinite().all()):
            return region.radius.clone()
        if self.model.box is None:
            raise UsageError(
                "the set and the model's range are both infinite, and bounds need an end. Give the set an eps."
            )
        low, high = self.model.box
        diagonal = (high - low) * math.sqrt(flat(region.lo).shape[1])
        return region.radius.clamp_max(getattr(region, "widest", diagonal))

    def _region(self, x: Tensor) -> Any:
        region = self.set_.at(x, self.model.box)
        if not isinstance(region, Boxed):
            raise UsageError(
                f"{type(self.set_).__name__} has no box around its points, which bounds need; Linf, L2, L1 and "
                'L0 have. Finite sets are decided by method="exhaustive".'
            )
        return region


def _checked(model: Model, x: Any, y: Any, rows: int | None) -> None:
    if model.random:
        raise UsageError(
            "bounds are of deterministic models, and this one is random=True. Make it deterministic, or attack it."
        )
    if model.dtype not in (torch.float32, torch.float64):
        raise UsageError(
            f"the tolerance for rounding covers float32 and float64; the model is {model.dtype}. Convert it."
        )
    if rows is not None and rows < 1:
        raise UsageError(f"rows is the number of inputs a pass, >= 1; got {rows}.")
    if not isinstance(x, Tensor) or not x.is_floating_point():
        raise InputError(
            f"x must be a tensor of floats (n, ...); got {x.dtype if isinstance(x, Tensor) else type(x).__name__}."
        )
    if not isinstance(y, Tensor) or y.dtype != torch.int64 or tuple(y.shape) != (len(x),):
        got = f"{y.dtype} {tuple(y.shape)}" if isinstance(y, Tensor) else type(y).__name__
        raise InputError(f"y must be int64 labels of shape ({len(x)},), one an input; got {got}.")


def _labelled(graph: Graph, x: Tensor, y: Tensor) -> None:
    graph.checked(x, "x")
    if len(graph.out_shape) == 1 and bool(((y < 0) | (y >= graph.out_shape[0])).any()):
        raise InputError(f"labels must be classes 0 to {graph.out_shape[0] - 1}; got {int(y.min())} to {int(y.max())}.")
