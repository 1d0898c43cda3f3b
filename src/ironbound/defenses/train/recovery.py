"""Catastrophic overfitting: training with a single-step attack suddenly learns to withstand that step and nothing else.

Within some updates the accuracy under attacks of many steps falls to 0 while that under the single step rises (Wong et al.
2020, arXiv 2001.03994, section 5.4; Andriushchenko, Flammarion 2020, arXiv 2007.02617). Some times an epoch a few rows
are attacked with several steps. Where that accuracy has fallen, the training goes back to the last moment at which it had
not, weights and optimiser and all, and goes on with the next stronger inner attack, as long as the training lasts.

Paper: Li et al. 2020 (arXiv 2006.03089), who also look at the multi-step accuracy while they train.
Differs: they train some updates with many steps and return to the single one; here the state itself goes back.
"""

from __future__ import annotations

import copy
from dataclasses import asdict
from math import sqrt
from typing import Any

from torch import Tensor

from ironbound.core import rows
from ironbound.core.errors import CompositionError, UsageError
from ironbound.core.rng import Rng
from ironbound.defenses.train.checkpoint import Position, Tables, copied
from ironbound.defenses.train.objective import Scene
from ironbound.defenses.train.place import Place
from ironbound.defenses.train.training import Training
from ironbound.defenses.train.validation import Probe

STEPS = 7
FEWEST, MOST = 64, 256
"""Rows that are looked at."""
LOOKS = 4
"""An epoch, at most, and so that all of them cost about a tenth of a single-step training."""
RECOVERIES = 4
"""At most: the inner attack then has sixteen times the steps."""


class Recovery:
    """When to look, what is seen, and the state to go back to."""

    def __init__(self, training: Training, probe: Probe, updates: int, samples: int) -> None:
        self.probe, self.updates = probe, updates
        price = len(probe.y) * (STEPS + 1)
        looks = min(LOOKS, max(1, int(0.1 * 2 * samples / price)))
        self.every = training.watch or max(1, -(-updates // looks))
        self.good: Tables = {}

    def due(self, at: Position) -> bool:
        """Whether it is time, after an update."""
        return at.batch % self.every == 0 or at.batch == self.updates

    def fallen(self, scene: Scene, at: Position, now: Tables, strength: float, place: Place | None = None) -> bool:
        """Look: whether the training has overfitted catastrophically. A state that has not, `now`, is kept as good."""
        found = self.probe.measure(scene, strength, place)
        seen, held = at.watched, (found.attacked or 0) / found.of
        trained = seen.get("attacked", 0.0) / max(seen.get("attacked of", 0.0), 1.0)
        best = (
            seen.get("best", 0.0) if seen.get("strength", strength) == strength else 0.0
        )  # of this radius, as it rises
        noise = 3 * sqrt(0.5 / found.of)  # three standard errors of the difference of two shares, at most
        gap = trained - held > noise and held < trained / 2
        fallen = gap and (held < trained / 4 or (best - held > noise and held < best / 2))
        at.watched = {"best": max(best, held), "last": held, "trained": trained, "strength": strength}
        if not fallen and held >= 0.8 * best:
            self.keep(at, now)
        return fallen

    def keep(self, at: Position, now: Tables) -> None:
        """This is a state to go back to."""
        self.good = copied(now)
        at.good = {name: value for name, value in asdict(at).items() if name not in ("history", "good", "recoveries")}

    def back(self, at: Position) -> Position:
        """Where the training goes on: the good position, with the time that is lost, and what was found noted."""
        assert at.good is not None
        spent = lambda history, sums: sum(row["seconds"] for row in history) + sums.get("seconds", 0.0)
        kept = copy.deepcopy(at.good)
        history = at.history[: kept["epoch"]]
        lost = spent(at.history, at.sums) - spent(history, kept["sums"])
        kept["sums"]["seconds"] = kept["sums"].get("seconds", 0.0) + lost
        note = {
            "epoch": at.epoch + at.batch / self.updates,
            "back to": kept["epoch"] + kept["batch"] / self.updates,
            "multi-step accuracy": at.watched["last"],
            "best before": at.watched["best"],
            "training accuracy": at.watched["trained"],
            "rows": len(self.probe.y),
            "seconds lost": lost,
        }
        again = {"best": at.best, "rows": at.rows, "good": at.good, "recoveries": [*at.recoveries, note]}
        return Position(**{**kept, "history": history, **again})


def recovery_of(scene: Scene, training: Training, held: Probe | None, keys: Tensor, updates: int) -> Recovery | None:
    """What watches this training; None where that is not wanted or has nothing to see.

    The rows are some of those held out, or, where none are, of those trained on: catastrophic overfitting shows on both.
    """
    if not wanted(training) or not _can(scene):
        return None
    x, y, keys = (scene.x, scene.y, keys) if held is None else (held.x, held.y, held.keys)
    count = min(len(y), MOST, max(FEWEST, len(scene.y) // 50))
    index = Rng.of(training.seed, keys).fold("watched").unit().argsort(stable=True)[:count]
    there = index.to(y.device)
    probe = Probe(rows.take(x, there), y[there], keys[index], STEPS, training.batch)
    return Recovery(training, probe, updates, len(scene.y))


def must_be_possible(scene: Scene, training: Training) -> None:
    """Raise UsageError or CompositionError where recovery is asked for and cannot be."""
    if wanted(training) and training.recover:
        _probed(scene)


def _can(scene: Scene) -> bool:
    try:
        _probed(scene)
    except CompositionError:
        return False
    return True


def _probed(scene: Scene) -> None:
    none = scene.y[:0]
    Probe(None, none, none, STEPS, 1).check(scene)


def wanted(training: Training) -> bool:
    """Whether catastrophic overfitting is looked for."""
    can = callable(getattr(training.objective, "stronger", None))
    if training.recover and not can:
        raise UsageError(
            f"recover needs an objective with an inner attack that can be made stronger; {training.objective.name} has none."
        )
    single = getattr(getattr(training.objective, "inner", None), "rows", None) == 1
    return can and (single if training.recover is None else training.recover)


def strengthened(objective: Any, times: int) -> Any:
    """The objective with its inner attack made stronger so many times."""
    for _ in range(times):
        objective = objective.stronger()
    return objective


def said(note: dict[str, Any], objective: Any) -> str:
    """A recovery in words."""
    attack = getattr(objective, "inner", None)
    steps = getattr(attack, "rows", None)
    return (
        f"catastrophic overfitting at epoch {note['epoch']:.2f}: {note['multi-step accuracy']:.1%} of {note['rows']} rows "
        f"withstand {STEPS} steps, after {note['best before']:.1%}; went back to epoch {note['back to']:.2f}, inner attack now "
        f"{steps} steps"
    )
