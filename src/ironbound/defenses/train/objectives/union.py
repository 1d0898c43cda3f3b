"""Adversarial training against several sets at once."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from ironbound.core.errors import CompositionError, UsageError
from ironbound.core.rows import choose
from ironbound.defenses.train.inner import Steps
from ironbound.defenses.train.msd import Msd
from ironbound.defenses.train.objective import Batch, Outcome, Scene, answers
from ironbound.defenses.train.objectives.adversarial import Adversarial
from ironbound.defenses.train.objectives.wrapped import Wrapped, must_attack
from ironbound.searches.norms import norm_of

HOW = ("worst", "average", "msd", "e-at")
MEMORY = 0.9
"""How much of the running error rates is kept at a batch."""


@dataclass(frozen=True)
class MultiNorm(Wrapped):
    """Training against a union of sets, such as Linf(0.3) | L2(2) | L1(20).

    how="worst": each part is attacked, and each sample is trained on where its loss is largest. "average": the mean of the
    losses at all parts' attacked inputs. "msd": one attack that looks at each step which part leads furthest (msd.py).
    "e-at": each batch is attacked in one part, drawn by the running error rates under attack; of the parts between an Linf
    and an L1 ball none, since the two hold what lies between them. It costs what training against one set does.

    Paper: Tramer, Boneh 2019 (arXiv 1904.13000), section 4 ("max" and "avg"); Maini, Wong, Kolter 2020 (arXiv
    1909.04068), section 4 (MSD); Croce, Hein 2022 (arXiv 2105.12508), section 4 (E-AT).
    Differs: E-AT's error rates are running means over batches, theirs over an epoch; "worst" compares losses in evaluation
    mode, as a later attacker would.
    """

    base: Any = field(default_factory=Adversarial)
    """Adversarial, Trades, Mart or Alp."""
    how: Literal["worst", "average", "msd", "e-at"] = "worst"

    name: ClassVar[str] = "multi-norm"

    def __post_init__(self) -> None:
        must_attack(self.base, "multi-norm")
        if self.how not in HOW:
            raise UsageError(f"how of multi-norm is one of {', '.join(HOW)}; got {self.how!r}.")
        if getattr(self.base.inner, "step", None) is not None:
            raise UsageError("step is in the units of one norm; with multi-norm give share, in radii of each.")
        if self.how == "msd" and not isinstance(self.base.inner, Steps):
            raise UsageError(f"msd makes steps of its own; got inner={self.base.inner!r}. Use Steps, or another how.")

    def check(self, scene: Scene) -> None:
        """The threat must be a union, and the base go with each part."""
        parts = getattr(scene.threat, "parts", ())
        if len(parts) < 2:
            raise CompositionError(
                f"multi-norm trains against several sets; got {scene.threat!r}. Join some by |, as in linf:8/255|l2:0.5, or "
                "train with pgd."
            )
        for part in parts:
            self.base.check(scene.replace(threat=part))

    def loss(self, scene: Scene, batch: Batch) -> Outcome:
        """What is minimised, after `how`."""
        ways = {"worst": self._worst, "average": self._average, "msd": self._msd, "e-at": self._drawn}
        return replace(ways[self.how](scene, batch), eps=batch.strength)

    def _attacked(self, scene: Scene, batch: Batch, part: Any) -> Tensor:
        return self.base.attacked(scene, batch, scene.region(batch, part))

    def _worst(self, scene: Scene, batch: Batch) -> Outcome:
        points, most, parts = batch.x, None, scene.threat.parts
        for part in parts:
            found = self._attacked(scene, batch, part)
            value = scene.criterion(answers(scene, found, batch.rng), batch.y)
            points = found if most is None else choose(value > most, found, points)
            most = value if most is None else torch.maximum(value, most)
        return self._counted(self.base.outcome(scene, batch, points), batch, len(parts) * (self.base.inner.rows + 1))

    def _average(self, scene: Scene, batch: Batch) -> Outcome:
        parts = scene.threat.parts
        found = [self.base.outcome(scene, batch, self._attacked(scene, batch, part)) for part in parts]
        attacked = [one.attacked for one in found if one.attacked is not None]
        rows = sum(one.rows for one in found)
        outcome = Outcome(
            losses=torch.stack([one.losses for one in found]).mean(0),
            clean=found[0].clean,
            attacked=torch.stack(attacked).all(0) if attacked else None,
            rows=rows,
        )
        return self._counted(outcome, batch, len(parts) * self.base.inner.rows)

    def _msd(self, scene: Scene, batch: Batch) -> Outcome:
        inner = Msd(self.base.inner)
        points = replace(self.base, inner=inner).attacked(scene, batch, scene.region(batch))
        outcome = self.base.outcome(scene, batch, points)
        return self._counted(outcome, batch, inner.rows * (1 + len(scene.threat.parts)))

    def _drawn(self, scene: Scene, batch: Batch) -> Outcome:
        parts = extremes(scene.threat.parts)
        errors = scene.state.get("errors")
        errors = torch.ones(len(parts), dtype=torch.float64, device=batch.y.device) if errors is None else errors
        edges = errors.clamp_min(1e-6).cumsum(0)
        number = int((batch.rng.fold("part").unit()[0] * edges[-1] >= edges).sum())
        outcome = self.base.outcome(scene, batch, self._attacked(scene, batch, parts[number]))
        if outcome.attacked is not None:
            rate = 1 - outcome.attacked.double().mean()
            errors = errors.clone()
            errors[number] = MEMORY * errors[number] + (1 - MEMORY) * rate
            scene.state["errors"] = errors
        return self._counted(outcome, batch, self.base.inner.rows)

    def _counted(self, outcome: Outcome, batch: Batch, passes: int) -> Outcome:
        return replace(outcome, rows=outcome.rows + passes * len(batch.y))


def extremes(parts: tuple[Any, ...]) -> tuple[Any, ...]:
    """The Linf and L1 balls where there are both, else all parts."""
    outer = tuple(part for part in parts if norm_of(part) in ("linf", "l1"))
    return outer if {norm_of(part) for part in outer} == {"linf", "l1"} else parts
