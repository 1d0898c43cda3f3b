"""What an attack found: one row a problem, in the order given; self-describing, saved and loaded without pickle."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ironbound.core import rows
from ironbound.core.errors import DataError, UsageError
from ironbound.core.protocols import Inputs, Points, Status
from ironbound.core.store import read_tensors, write_tensors

if TYPE_CHECKING:
    from ironbound.core.engine import Run


COUNTS = ("forward", "backward", "refused", "judged")
"""Tables that add up over the parts of an attack."""


@dataclass(frozen=True)
class Result:
    """One row a problem.

    `adversarial` is what the model was fed: the witness where `success`, else the best point that was kept. `size` is its
    size in the set's own unit, re-measured in float64 (0 where nothing was found and the input stands). `margin` is the
    goal's margin at it, in logits, -inf where none was heard.
    """

    points: Points
    adversarial: Inputs
    success: Bool[Tensor, " n"]
    size: Float[Tensor, " n"]
    margin: Float[Tensor, " n"]
    status: Int[Tensor, " n"]
    forward: Int[Tensor, " n"]
    backward: Int[Tensor, " n"]
    refused: Int[Tensor, " n"]
    """Claims that the judge turned down: many are a sign of masking."""
    judged: Int[Tensor, " n"]
    """Forward rows spent on the judge, a part of `forward`."""
    config: dict[str, Any] = field(default_factory=dict)
    """The attack and the seed. Where problems have many inputs each, `collective` says how many, on how many of them the
    answer works, and how to apply it to others (ironbound.apply)."""
    view: Any = field(default=None, repr=False, compare=False)
    """What it can be shown with: the model and the clean inputs, by reference. Set by the verb `attack`; not saved."""

    @staticmethod
    def of(run: Run, seed: int) -> Result:
        """The result of a finished run, every witness measured and checked once more in float64."""
        region, best, ledger = run.region, run.best, run.ledger
        inside = region.contains(best.points)
        best.found &= inside
        every = torch.arange(len(region.items), device=run.device) if run.collective else None
        size = region.size(best.points)
        notes = run.notes()
        config = {"attack": run.attack.describe(), "seed": seed, **({"notes": notes} if notes else {})}
        points, draws, shown = best.points, run.rng, region
        if every is not None:
            points, shown = rows.take(points, region.items), region.take(region.items)
            draws = draws.take(region.items).fold("shown").fold(run.pairing.place)
            config["collective"] = _collective(run)
        return Result(
            points=best.points,
            adversarial=shown.apply(points, draws, every),
            success=best.found, size=size, margin=best.margin, status=run.status(size),
            forward=ledger.forward, backward=ledger.backward, refused=ledger.refused, judged=ledger.judged,
            config=config,
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.success)

    @property
    def status_names(self) -> list[str]:
        """The status of each row in words."""
        return [Status(int(code)).name.lower().replace("_", " ") for code in self.status]

    def to(self, device: torch.device | str) -> Self:
        """The same rows on another device."""
        return self._each(lambda table: rows.to(table, device))

    def take(self, index: Tensor) -> Self:
        """Some rows. (Of ordinary problems: those of collective ones have other numbers than their inputs.)"""
        taken = self._each(lambda table: rows.take(table, index))
        return taken if self.view is None else replace(taken, view=self.view.take(index))

    def with_rows(self, index: Tensor, other: Result) -> Self:
        """These rows replaced by those of another result; passes are added up."""
        passes = {name: getattr(other, name) + getattr(self, name)[index] for name in COUNTS}
        return self.put(index, replace(other, **passes))

    def put(self, index: Tensor, other: Result) -> Self:
        """These rows replaced by those of another result."""
        return replace(self, **{name: rows.put(getattr(self, name), index, getattr(other, name)) for name in TABLES})

    def numpy(self) -> Self:
        """The same with NumPy arrays instead of tensors."""
        return self._each(lambda table: rows.each(lambda leaf: leaf.cpu().numpy(), table))

    def _each(self, function: Any) -> Self:
        return replace(self, **{name: function(getattr(self, name)) for name in TABLES})

    def show(
        self, path: str | Path | None = None, *, names: Sequence[str] | None = None, features: Sequence[str] | None = None,
        most: int = 24,
    ) -> Any:  # fmt: skip
        """A page of clean inputs, adversarial ones, magnified differences and the model's answers with its confidence.

        The last expression of a notebook's cell is displayed; elsewhere the page is written, to a temporary file where no
        `path` is given, and `print(found.show())` says where. Inputs may be pictures (n, 1 or 3 channels, height, width) or
        vectors (n, features), of which the features that changed most are listed.

        names: the names of the classes; features: those of the features; most: how many inputs, those found first.

        Confidence is the softmax of a pass in the model's own precision. Raises UsageError where the result does not know
        its clean inputs (it was loaded, or comes of an Attack called by itself): `ironbound.show(found, model, x, y)`.
        """
        if self.view is None:
            raise UsageError(
                "this result does not hold the model and the clean inputs: show it by ironbound.show(found, model, x, y), "
                "with the inputs that were attacked."
            )
        return self.view.show(self, path, names, features, most)

    def save(self, path: str | Path) -> None:
        """Write a safetensors file that holds everything, the configuration too."""
        write_tensors(Path(path), {name: getattr(self, name) for name in TABLES}, {"config": json.dumps(self.config)})

    @staticmethod
    def load(path: str | Path) -> Result:
        """Read what `save` wrote. Raises DataError where the file is something else."""
        tables, notes = read_tensors(Path(path))
        try:
            return Result(**tables, config=json.loads(notes["config"]))
        except (TypeError, KeyError, ValueError) as error:
            raise DataError(f"{path} holds tensors, but not a result of an attack ({error}).") from None

    def __repr__(self) -> str:
        found, shared = int(self.success.sum()), self.config.get("collective")
        if shared:
            works = f"works on {sum(shared['works_on'])} of {sum(shared['inputs'])} inputs"
            return (
                f"Result({len(self)} for all, {works})"
                if len(self) == 1
                else f"Result({len(self)} for groups, {works})"
            )
        forward, backward = int(self.forward.sum()), int(self.backward.sum())
        return f"Result({found} of {len(self)} found, {forward} rows forward, {backward} backward)"


TABLES = tuple(f.name for f in fields(Result) if f.name not in ("config", "view"))
"""What has one row a problem."""


def _collective(run: Run) -> dict[str, Any]:
    """What a run of collective problems leaves beside its tables, as plain data: a file needs it to apply what was found."""
    sizes = run.pairing.sizes
    works = (run.best.rate * sizes).round().long()
    record = getattr(run.region, "record", None)
    return {"inputs": sizes.tolist(), "works_on": works.tolist(), **({} if record is None else {"set": record()})}
