"""Certificates: for which inputs the prediction at every point of P(x) is the label, and up to what radius."""

from __future__ import annotations

from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ironbound.certification.graph import Graph, trace
from ironbound.certification.margins import Margins, must_have_classes
from ironbound.certification.prover import Labels, Prover
from ironbound.core.errors import InputError, ModelError, UsageError
from ironbound.core.memory import Chunks
from ironbound.core.progress import Event, Listener, silent
from ironbound.core.protocols import PerturbationSet
from ironbound.core.rows import of_rows
from ironbound.models.model import Model

ROWS = 256
"""Inputs a pass, where neither the caller nor the method says."""


class Method(Protocol):
    """A way to bound margins from below (Ibp)."""

    @property
    def name(self) -> str:
        """What certificates name as their proof."""
        ...

    def margins(
        self,
        graph: Graph,
        region: Any,
        y: Tensor,
        dtype: torch.dtype,
        learned: Any = None,
        against: Tensor | None = None,
    ) -> Margins:
        """Lower bounds of z_y - z_j over the region, computed in `dtype`, with the logits' scale.

        `learned` is what an earlier call for the same rows found out (`Margins.learned`), to be used as it is; `against`
        says of which classes j margins are wanted, bool (n, classes): others are +inf. None: of all.
        """
        ...


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
    to 1/4096 of it (of an infinite set to 2^-24 of what its range allows); 0 where there is none, where the set cannot be
    scaled, or with radii=False."""
    method: list[str]
    """By what it is proved; "" where it is not."""
    margin: Float[Tensor, " n"]
    """The least lower bound of z_y - z_j over the set, by a float64 pass for all rows that were near to being certified; of
    inputs that are wrong already the margin of the clean answer; -inf for those not finite or out of the model's range."""
    cost: Float[Tensor, " n"] | None = None
    """Forward passes of one input that the proof was worth, counted from its multiplications, without the search for a
    radius; None where nobody counted."""

    def __len__(self) -> int:
        return len(self.certified)

    def __repr__(self) -> str:
        by = ", ".join(sorted({name for name in self.method if name}))
        return f"Certificates({int(self.certified.sum())} of {len(self)} certified{f' by {by}' if by else ''})"

    def take(self, index: Int[Tensor, " r"]) -> Certificates:
        """The certificates of some rows."""
        method = [self.method[i] for i in index.tolist()]
        cost = None if self.cost is None else self.cost[index]
        return Certificates(self.certified[index], self.radius[index], method, self.margin[index], cost)

    def to(self, device: torch.device | str) -> Certificates:
        """The same on another device."""
        cost = None if self.cost is None else self.cost.to(device)
        certified, radius, margin = (table.to(device) for table in (self.certified, self.radius, self.margin))
        return Certificates(certified, radius, list(self.method), margin, cost)


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
    against: int | Int[Tensor, " n"] | Bool[Tensor, "n classes"] | None = None,
    graph: Graph | None = None,
    progress: Listener = silent,
    stage: str = "certify",
) -> Certificates:
    """Try to prove, for each input, that no point of the set around it changes the prediction from its label.

    Parameters
    ----------
    rows: inputs a pass, 256 by default (linear bounds on a CPU 32); where memory does not suffice, half as many, and so
        on. It changes no verdict.
    radii: for rows that are not certified, find the largest radius below the set's that is.
    against: the classes that must not win over the label: one for all, one a row, or a table; None: all others. What is
        certified is then that no point of the set makes one of these the answer instead of the label; others may win.
    graph: the trace of `model.module`, where the caller has one; weights are read from the model in any case.
    progress, stage: hears of every chunk of inputs, as an event of that name.

    A row is certified if its margin in float64, over the region around x in float64, exceeds TAU times the largest
    absolute logit bound. A pass in float32 merely screens. NaN, and inputs outside of the model's box, never certify.
    What is proved is about the model in exact arithmetic, with that tolerance for rounding; see docs/architecture.md. The
    region is that around x in the model's own type, its radius widened by 1e-12 of itself: it holds every input of that
    type that `contains`, which judges attacks, accepts. Radii are found by float32 passes and each confirmed in float64.

    Of a set of one's own the region needs `support`, and gets its box by it, or `lo` and `hi`; with `radius` and `scaled`
    it has radii. Of a union every part must be proved; radii are in units of the parts' own, up to 1.

    Raises UsageError for sets that have neither box nor support, or whose points are no inputs (angles, patches);
    InputError, ModelError, UnsupportedOperation, OutOfMemory.
    """
    _checked(model, x, y, rows)
    if getattr(set_, "collective", False):  # whose region may well have a box: that of the change, not of the inputs
        raise UsageError(
            f"bounds are about each input by itself, and {set_!r} is about one change for all of them. Certify the inputs "
            "against a ball of that radius: what holds for every change holds for a shared one."
        )
    parts = getattr(set_, "parts", ())
    if parts:
        given: dict[str, Any] = {"rows": rows, "radii": radii, "against": against, "graph": graph, "stage": stage}
        proofs = [
            prove(method, model, x, y, part, progress=_further(progress, i, len(parts)), **given)
            for i, part in enumerate(parts)
        ]
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
        if against is not None:
            raise UsageError(
                f"{method.name} decides about all classes at once; leave out against=, or use linear bounds."
            )
        return method.decide(model, x.to(model.device), y.to(model.device), set_, rows).to(x.device)
    graph = graph or trace(model.module, x[:1].to(model.device, model.dtype))
    _labelled(graph, x, y)
    against = _wanted(graph, y, against)
    prover = Prover(method, model, graph, graph.fixed(torch.float64, model.device))

    def chunk(at: slice) -> dict[str, Tensor]:
        asked = Labels(y[at], None if against is None else against[at])
        found = prover.chunk(x[at], asked, of_rows(set_, torch.arange(at.start, at.stop)), radii)
        progress(Event(stage, at.stop, len(x)))
        return found

    size = getattr(method, "rows", ROWS) if model.device.type == "cpu" else ROWS
    chunks = Chunks(rows or size, model.device).run(len(x), chunk)
    joined = {name: torch.cat([part[name] for part in chunks]) for name in chunks[0]}
    named = [method.name if yes else "" for yes in joined["certified"].tolist()]
    return Certificates(method=named, **joined).to(x.device)


def _further(progress: Listener, part: int, parts: int) -> Listener:
    """The events of one part of a union as those of all of it."""
    return lambda event: progress(replace(event, done=part * event.total + event.done, total=parts * event.total))


def _of_all(proofs: list[Certificates], radii: list[Tensor]) -> Certificates:
    """What is proved of a union, whose radius is 1: what is proved of all parts."""
    certified = torch.stack([proof.certified for proof in proofs]).all(0)
    shares = [
        torch.where(p.certified, 1.0, (p.radius / r.to(p.radius.device)).nan_to_num(nan=0.0))
        for p, r in zip(proofs, radii, strict=True)
    ]
    named = [proofs[0].method[i] if yes else "" for i, yes in enumerate(certified.tolist())]
    margin = torch.stack([proof.margin for proof in proofs]).amin(0)
    costs = [proof.cost for proof in proofs if proof.cost is not None]
    cost = torch.stack(costs).sum(0) if len(costs) == len(proofs) else None
    return Certificates(certified, torch.stack(shares).amin(0), named, margin, cost)


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


def _wanted(graph: Graph, y: Tensor, against: Any) -> Tensor | None:
    """The classes that must not win as a table."""
    if against is None:
        return None
    classes = graph.out_shape[0]
    if isinstance(against, Integral) and not isinstance(against, bool):
        against = torch.full_like(y, int(against))
    if isinstance(against, Tensor) and against.dtype == torch.int64 and tuple(against.shape) == (len(y),):
        numbers = torch.arange(classes, device=against.device)
        against = against[:, None] == numbers
    if not isinstance(against, Tensor) or against.dtype != torch.bool or tuple(against.shape) != (len(y), classes):
        got = f"{against.dtype} {tuple(against.shape)}" if isinstance(against, Tensor) else repr(against)
        raise InputError(
            f"against is the class that must not win, one a row, int64 ({len(y)},), or a table of them, bool "
            f"({len(y)}, {classes}); got {got}."
        )
    own = against.gather(1, y[:, None].to(against.device))[:, 0]
    if bool((own | ~against.any(1)).any()):
        raise InputError(
            "against names in each row classes other than its label, and one at least; leave the others out."
        )
    return against


def _labelled(graph: Graph, x: Tensor, y: Tensor) -> None:
    graph.checked(x, "x")
    must_have_classes(graph)
    if bool(((y < 0) | (y >= graph.out_shape[0])).any()):
        raise InputError(f"labels must be classes 0 to {graph.out_shape[0] - 1}; got {int(y.min())} to {int(y.max())}.")
