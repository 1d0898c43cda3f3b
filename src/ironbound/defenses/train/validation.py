"""Robust accuracy on rows that are not trained on: after each epoch, to keep the best weights and to stop in time.

Adversarial training overfits: robust accuracy on other data falls while that on the training data goes on to rise (Rice,
Wong, Kolter 2020, arXiv 2002.11569). The rows are held out by their content, never test data. The attack on them is
projected gradient with more steps than training usually takes, at the full radius, in evaluation mode; its draws are the
same in each epoch. What it gives is an upper bound of robust accuracy for choosing weights, not a result: the audit's is.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from ironbound.core import rows
from ironbound.core.errors import CompositionError, UsageError
from ironbound.core.rng import Rng, content_keys
from ironbound.defenses.train.checkpoint import Position, Tables, copied, named
from ironbound.defenses.train.inner import Steps
from ironbound.defenses.train.objective import Batch, Scene, answers, correct, cross_entropy
from ironbound.defenses.train.place import Place
from ironbound.defenses.train.training import Training

MOST, SHARE = 1000, 0.1
"""Rows that are held out where nothing else is said."""


@dataclass(frozen=True, eq=False)
class Probe:
    """Rows that are attacked now and then."""

    x: Any
    y: Int[Tensor, " n"]
    keys: Int[Tensor, " n"]
    steps: int
    batch: int

    def check(self, scene: Scene) -> None:
        """Refuse sets in which projected gradient cannot look; without a set only clean accuracy is measured."""
        for part in _parts(scene.threat):
            try:
                Steps(self.steps).check(scene, part)
            except CompositionError as error:
                raise CompositionError(f"validation and recovery attack by projected gradient: {error}") from None

    def measure(self, scene: Scene, strength: float = 1.0, place: Place | None = None) -> Measured:
        """How many rows are right as they are, and under attack at this share of the radius: of a union, by all parts.

        Each of several processes attacks its share of the rows.
        """
        place = place or Place(scene.model.device)
        clean = attacked = 0
        for index in torch.arange(place.rank, len(self.y), place.world).split(self.batch):
            device = scene.model.device
            x, y = (
                rows.to(rows.take(self.x, index.to(self.y.device)), device),
                self.y[index.to(self.y.device)].to(device),
            )
            rng = Rng.of(scene.seed, self.keys[index].to(device)).fold("probe")
            batch = Batch(x, y, rng, at=0.0, index=index, strength=strength)
            right = correct(answers(scene, x, rng), y)
            clean += int(right.sum())
            attacked += int((right & self._withstood(scene, batch)).sum())
        counts = place.sum(torch.tensor([clean, attacked], device=scene.model.device)).tolist()
        return Measured(counts[0], None if scene.threat is None else counts[1], len(self.y))

    def _withstood(self, scene: Scene, batch: Batch) -> Bool[Tensor, " n"]:
        labelled = scene.replace(criterion=cross_entropy)
        right = torch.ones_like(batch.y, dtype=torch.bool)
        for part in _parts(scene.threat):
            found = Steps(self.steps).inputs(labelled, batch, scene.region(batch, part))
            right &= correct(answers(scene, found, batch.rng), batch.y)
        return right


@dataclass(frozen=True)
class Measured:
    """Counts of rows."""

    clean: int
    attacked: int | None
    """None without a set."""
    of: int

    @property
    def rank(self) -> tuple[int, int]:
        """More is better: robust accuracy first."""
        return (self.attacked or 0, self.clean)


class Validation:
    """The rows that are held out, and the best weights by them."""

    def __init__(self, probe: Probe, training: Training, begins: float) -> None:
        self.probe, self.patience, self.begins = probe, training.patience, begins
        self.best: Tables = {}

    def judged(self, scene: Scene, at: Position, place: Place | None = None) -> Measured:
        """The net as it is, measured after an epoch; kept where it is the best so far.

        Epochs before the full radius is trained at are no candidates: patience counts from there on.
        """
        found = self.probe.measure(scene, place=place)
        if at.epoch + 1 < self.begins:
            return found
        if at.best is None or found.rank > Measured(**at.best["result"]).rank:
            self.best = copied(dict(named(scene.model.net)))
            at.best, at.stale = {"epoch": at.epoch + 1, "result": asdict(found)}, 0
            return found
        if (
            at.best["epoch"] > at.epoch
        ):  # after a recovery: an epoch up to the best one again, which is no epoch since then
            at.stale = 0
            return found
        at.stale += 1
        if self.patience is not None and at.stale >= self.patience:
            epochs = "epoch" if at.stale == 1 else "epochs"
            attacked = "" if found.attacked is None else f"{at.best['result']['attacked']} right under attack and "
            at.stopped = (
                f"no better result on the {found.of} validation rows in {at.stale} {epochs}: the weights are those of epoch "
                f"{at.best['epoch']}, with {attacked}{at.best['result']['clean']} right without one"
            )
        return found


def parted(x: Any, y: Tensor, training: Training) -> tuple[Any, Tensor, Probe | None]:
    """What to train on, and what is held out of it: which rows is a function of the seed and of their content.

    Equal rows are on the same side. Raises UsageError where nothing would be left to train on.
    """
    wanted = held_out(training, len(y))
    if wanted == 0:
        return x, y, None
    keys = content_keys(x, y)
    draws = Rng.of(training.seed, keys).fold("validation").unit()
    out = draws <= draws.sort().values[min(wanted, len(y)) - 1]
    fit, held = (~out).nonzero()[:, 0], out.nonzero()[:, 0]
    if len(fit) < 2:
        raise UsageError(
            f"validation holds {len(held)} of {len(y)} rows out, and leaves {len(fit)} to train on. Give a smaller share, "
            "or more data."
        )
    there = y.device
    take = lambda index: (rows.take(x, index.to(there)), y[index.to(there)])
    return *take(fit), Probe(*take(held), keys[held], training.validation_steps, training.batch)


def held_out(training: Training, count: int) -> int:
    """How many rows are held out of so many."""
    rows_ = training.validation
    if rows_ is None:
        return 0 if training.patience is None else max(1, min(MOST, int(SHARE * count)))
    return max(1, round(rows_ * count)) if rows_ < 1 else int(rows_)


def _parts(threat: Any) -> tuple[Any, ...]:
    return () if threat is None else tuple(getattr(threat, "parts", ()) or (threat,))
