"""Certified training: the loss at bounds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from ironbound.certification.interval import propagate
from ironbound.certification.margins import margins_of
from ironbound.core.errors import CompositionError, UsageError
from ironbound.defenses.train.batchnorm import frozen, moved
from ironbound.defenses.train.initial import initialise
from ironbound.defenses.train.inner import must_leave_room
from ironbound.defenses.train.objective import Batch, Objective, Outcome, Scene, correct
from ironbound.sets.linf import LinfRegion


@dataclass(frozen=True)
class Ibp(Objective):
    """Certified training by interval bounds: kappa CE(clean) + (1 - kappa) CE(worst-case logits).

    The worst-case logits are the label's own at 0 and the others at minus their margins' lower bounds, with the last
    layer elided (certification/margins.py). For `warmup` epochs the loss is the clean one; over the next `ramp` epochs
    the radius rises linearly from 0 to that of the set, and kappa falls from 1 to `kappa_end`. Dropout is off.

    Batch normalisation: with stats="batch" clean inputs and bounds are normalised by the statistics of the clean batch,
    which also move the running statistics; with "running" by the running statistics, which stay as they are. Layers that
    are in evaluation mode (frozen features) always use their running statistics.

    Paper: Gowal et al. 2018 (arXiv 1810.12715), section 3 (the loss with kappa, the schedule); Shi et al. 2021
    (arXiv 2103.17268) for the rule of batch normalisation and init="ibp".
    Differs: without Shi et al.'s regularisers, which are for long nets.
    """

    warmup: float
    ramp: float
    kappa_end: float = 0.5
    stats: Literal["batch", "running"] = "batch"
    init: Literal["ibp"] | None = None
    """ "ibp" draws the weights anew before training (initial.py); None trains on from the weights there are."""

    name: ClassVar[str] = "ibp"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.warmup) and self.warmup >= 0 and math.isfinite(self.ramp) and self.ramp >= 0):
            raise UsageError(f"Ibp: warmup and ramp are epochs >= 0; got {self.warmup!r} and {self.ramp!r}.")
        if not 0 <= self.kappa_end <= 1:
            raise UsageError(f"Ibp: kappa_end is a weight in [0, 1]; got {self.kappa_end!r}.")
        if self.stats not in ("batch", "running") or self.init not in (None, "ibp"):
            raise UsageError(
                f'Ibp: stats is "batch" or "running" and init is "ibp" or None; got {self.stats!r} and {self.init!r}.'
            )

    @property
    def lasts(self) -> float:
        """Epochs until the full radius is reached."""
        return self.warmup + self.ramp

    def share(self, at: float) -> float:
        """How far the ramp has come after `at` epochs, in [0, 1]."""
        after = at - self.warmup
        return min(1.0, after / self.ramp) if after >= 0 and self.ramp > 0 else float(after >= 0)

    def check(self, scene: Scene) -> None:
        """The set must be an L-infinity ball, and every operation of the model must have bounds."""
        region = None if scene.threat is None else scene.threat.at(scene.example, scene.model.box)
        if not isinstance(region, LinfRegion):
            raise CompositionError(
                f"interval bounds are for boxes around the input, Linf(eps); got {scene.threat!r}. "
                "Train with pgd for other sets."
            )
        must_leave_room(region, scene)
        if scene.precision != "32":
            raise UsageError(
                f"bounds are computed in the model's own type: in {scene.precision} rounding would be wider than they are. "
                'Train with precision="32".'
            )
        _ = scene.graph

    def prepare(self, scene: Scene) -> None:
        """Weights that bounds can be trained from."""
        if self.init == "ibp":
            initialise(scene.model.net, scene.seed)

    def loss(self, scene: Scene, batch: Batch) -> Outcome:
        """The weighted sum at the present radius and kappa."""
        share = self.share(batch.at)
        full = scene.threat.at(batch.x, scene.model.box)
        region = full.scaled(full.radius * share * batch.strength)
        kappa = 1 - share * (1 - self.kappa_end)
        fixed = frozen(scene.model.module)
        passed = propagate(scene.graph, region.lo, region.hi, stats=self.stats, clean=batch.x, frozen=fixed)
        moved(scene.model.module, passed.statistics)
        least = margins_of(passed, batch.y)
        worst = -least.scatter(1, batch.y[:, None], 0.0)
        assert passed.clean is not None
        clean = scene.criterion(passed.clean, batch.y)
        return Outcome(
            losses=kappa * clean + (1 - kappa) * scene.criterion(worst, batch.y),
            clean=correct(passed.clean, batch.y),
            certified=(least > 0).all(1),
            eps=region.radius.max(),
            kappa=kappa,
            rows=3 * len(batch.y),
        )
