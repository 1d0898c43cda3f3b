"""Re-checking a curve: every witness in the ball of its radius, every certificate, and what the report counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ironbound.auditing.curve import parts
from ironbound.auditing.curve.draw import REASONS, Grid, of_pool, sampled
from ironbound.auditing.curve.parts import Reached, curve_facts
from ironbound.auditing.folder import RunFolder
from ironbound.auditing.inside import points_of
from ironbound.auditing.manifest import bound_of
from ironbound.auditing.shards import pools_of
from ironbound.auditing.verdicts import Places, Verdicts
from ironbound.certification.certificates import prove
from ironbound.certification.graph import Graph, trace
from ironbound.core import rows as rows_
from ironbound.core.errors import RunError
from ironbound.core.store import read_json
from ironbound.data.dataset import Data
from ironbound.models.model import Model

ROUNDING = 1e-9
"""Sizes measured again in another batch may differ by so much, relatively."""

Good = Callable[[Any, Any, Any, Any], list[str]]
"""From (threat, x, y, adversarial inputs) to why each is no witness; "" where it is one."""


@dataclass(frozen=True)
class Recheck:
    """A finished run whose curve is looked at again, from model and data."""

    folder: RunFolder
    model: Model
    data: Data
    threat: Any
    verdicts: Verdicts
    place: Places
    """From a sample's number to its place in the data."""
    good: Good

    def failures(self) -> list[str]:
        """What does not hold of the curve; nothing where the run has none, or is not finished."""
        path = self.folder.path / "audit.json"
        if not path.exists():
            return []
        said, there = read_json(path).get("curve"), parts.numbers(self.folder)
        if said is None or "left_out" in said:
            known = said is None or said in [{"left_out": why} for why in REASONS.values()]
            found = [] if known else ["audit.json: 'curve' gives a reason that there is not"]
            return found + [f"curve/ holds part {number}, and audit.json has no curve" for number in there]
        try:
            again = curve_facts(self.folder, len(self.verdicts))
        except RunError as error:
            return [str(error)]
        if said != again:
            return ["audit.json: 'curve' does not follow from the parts in curve/"]
        grid = Grid.of(self.threat, self.model.box, self.model.admit(self.data.take([0]).x)[0])
        if again["radii"] != grid.radii or again["own"] != grid.own:
            return ["the radii of the curve are not those of the threat"]
        places = sampled(self.verdicts, grid)
        return [failure for number in pools_of(self.folder.manifest) for failure in self._part(number, grid, places)]

    def _part(self, number: int, grid: Grid, places: Tensor) -> list[str]:
        """One pool's rows."""
        rows, _ = parts.read(self.folder, number)
        at = of_pool(self.folder, number, places).numpy()
        same = len(rows) == len(at) and (rows.index == self.verdicts.index[at]).all()
        if not same or not (rows.key == self.verdicts.key_of(at)).all():
            return [f"curve part {number} is not of the samples that the curve is of"]
        verdict = self.verdicts.verdict[at]
        found = _against_verdicts(rows, verdict, grid)
        return found + self._witnesses(number, rows, grid) + self._certificates(rows, verdict, grid)

    def _witnesses(self, number: int, rows: Reached, grid: Grid) -> list[str]:
        """Everything between 0 and infinity is the size of a witness, the curve's own or that of the verdict."""
        own = parts.witnesses(self.folder, number)
        mine = {int(i): (number, row) for row, i in enumerate(own.get("index", ()))}
        wanted = np.flatnonzero((rows.broken > 0) & np.isfinite(rows.broken))
        names = [int(i) for i in rows.index[wanted]]
        if set(mine) - set(names) or len(mine) < len(own.get("index", ())):
            return [f"curve part {number} holds witnesses of samples that it does not say are broken"]
        missing = [i for i in names if i not in mine and i not in self._where]
        if missing:
            return [f"sample {i} is broken on the curve, but there is no witness" for i in missing]
        places = [(i in mine, *(mine if i in mine else self._where)[i]) for i in names]
        level = np.searchsorted(grid.radii, rows.broken[wanted])
        found = [
            f"sample {names[n]}: its radius lies beyond the curve's end"
            for n in np.flatnonzero(level >= len(grid.radii))
        ]
        for k, ours, part in sorted({(int(k), *place[:2]) for k, place in zip(level, places, strict=True)}):
            some = [n for n in range(len(names)) if (level[n], *places[n][:2]) == (k, ours, part)]
            if k < len(grid.radii):
                table = own if ours else self.folder.witnesses(part)
                taken = rows_.take(table["adversarial"], torch.tensor([places[n][2] for n in some]))
                found += self._sized(taken, rows, wanted[some], grid.ball(k))
        return found

    @cached_property
    def _where(self) -> dict[int, tuple[int, int]]:
        """Part and row of each witness of the verdicts; survivors of all pools have theirs in later parts."""
        tables = ((number, self.folder.witnesses(number)) for number in self.folder.finished())
        return {int(i): (number, row) for number, table in tables for row, i in enumerate(table.get("index", ()))}

    def _sized(self, adversarial: Any, rows: Reached, some: Any, ball: Any) -> list[str]:
        """Witnesses inside a ball that fool the model, of the size that the curve says."""
        places = self._places(rows.index[some])
        x, y = self.model.admit(rows_.take(self.data.x, places), self.data.y[places])
        adversarial, ball = rows_.to(adversarial, self.model.device), rows_.of_rows(ball, places)
        why = self.good(ball, x, y, adversarial)
        region = ball.at(x, self.model.box)
        size = region.size(points_of(region, adversarial)).cpu().numpy()
        said = rows.broken[some]
        other = np.abs(size - said) > ROUNDING * said
        sentences = [
            w or ("has another size than the curve says" if o else "") for w, o in zip(why, other, strict=True)
        ]
        return [
            f"sample {i}: its witness on the curve {w}" for i, w in zip(rows.index[some], sentences, strict=True) if w
        ]

    def _certificates(self, rows: Reached, verdict: Any, grid: Grid) -> list[str]:
        """What the curve proved itself; the verdicts' own certificates are looked at elsewhere."""
        own, found = grid.radii[grid.own], list[str]()
        proved = (rows.certified > 0) & ~((verdict == "certified") & (rows.certified == own))
        for name in np.unique(rows.method[proved]):
            for radius in np.unique(rows.certified[proved & (rows.method == name)]):
                some = np.flatnonzero(proved & (rows.method == name) & (rows.certified == radius))
                method = bound_of(self.folder.manifest, str(name))
                if method is None or radius not in grid.radii:
                    found += [f"sample {i}: its certificate on the curve is by {name!r}" for i in rows.index[some]]
                    continue
                places = self._places(rows.index[some])
                x, y = self.model.admit(rows_.take(self.data.x, places), self.data.y[places])
                ball = rows_.of_rows(grid.ball(grid.radii.index(radius)), places)
                proof = prove(method, self.model, x, y, ball, radii=False, graph=self._graph)
                holds = proof.certified.tolist()
                found += [
                    f"sample {i}: its certificate up to {radius:.6g} cannot be confirmed"
                    for i, yes in zip(rows.index[some], holds, strict=True)
                    if not yes
                ]
        return found

    @cached_property
    def _graph(self) -> Graph:
        return trace(self.model.module, self.model.admit(self.data.take([0]).x)[0])

    def _places(self, index: Any) -> Any:
        return torch.from_numpy(self.place.of(index))


def _against_verdicts(rows: Reached, verdict: Any, grid: Grid) -> list[str]:
    """The curve passes through the bracket at the threat's own radius."""
    own = grid.radii[grid.own]
    low, high = rows.certified, rows.broken
    holds = {
        "wrong": (high == 0) & (low == 0), "broken": (high > 0) & (high <= own) & (low < high),
        "certified": (low >= own) & (low < high), "undecided": (low < own) & (high > own),
    }  # fmt: skip
    bad = ~np.select([verdict == name for name in holds], list(holds.values()), False)
    bad |= ~np.isin(low, grid.radii)
    return [f"sample {i}: its radii on the curve contradict its verdict" for i in rows.index[bad]]
