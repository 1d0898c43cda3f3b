"""The search itself: which settings a trial gets, which trials are worth having, and which one is chosen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ironbound.comparing.figures import dominates
from ironbound.core.errors import ModelError, UsageError
from ironbound.defenses.train.randomness import one
from ironbound.defenses.train.space import Range

FIRST = 6
"""Trials before the estimator has enough to go by; the first of them has the training's own settings, the others are drawn."""


@dataclass(frozen=True)
class Trial:
    """One setting of a training, with what came of it."""

    number: int
    settings: dict[str, float | int]
    clean: dict[str, Any] | None = None
    """The share that is right when clean, with count, total and 95% interval; None where the training failed."""
    attacked: dict[str, Any] | None = None
    """The share that no attack of the plan broke."""
    checks: str = ""
    """The state of the audit's checks."""
    rows: int = 0
    """Model rows that the training took."""
    seconds: float = 0.0
    error: str = ""

    @property
    def point(self) -> tuple[float, float, float] | None:
        """Clean accuracy, attacked accuracy and minus the rows: all up is better. None where the training failed."""
        if self.clean is None or self.attacked is None:
            return None
        return float(self.clean["fraction"]), float(self.attacked["fraction"]), -float(self.rows)


def next_settings(space: Mapping[str, Range], done: Sequence[Trial], seed: int) -> dict[str, float | int]:
    """The settings of trial number len(done): a function of the seed and of the trials before, so that a search that was
    killed goes on as if it had not been.

    The first is the training's own; a few are drawn; the others come from a tree-structured Parzen estimator, which draws
    settings that are likelier among the trials of the better fronts than among the rest. Failed trials count as ones that
    classify nothing, at the highest cost.

    Paper: Ozaki et al. 2020 (doi 10.1145/3377930.3389817), by way of Optuna (Akiba et al. 2019, arXiv 1907.10902).
    """
    if not done:
        return {name: _usual(range_) for name, range_ in space.items()}
    optuna = _optuna()
    kinds = {name: _distribution(optuna, range_) for name, range_ in space.items()}
    dearest = max(trial.rows for trial in done)
    draws = int(one(seed, "trial").fold(len(done)).integers(0, 2**31 - 1))
    sampler = optuna.samplers.TPESampler(seed=draws, n_startup_trials=FIRST)
    with _quiet(optuna):
        study = optuna.create_study(directions=["maximize", "maximize", "minimize"], sampler=sampler)
        for trial in done:
            study.add_trial(_told(optuna, trial, kinds, dearest))
        asked = study.ask(kinds).params
    return {name: int(asked[name]) if range_.whole else float(asked[name]) for name, range_ in space.items()}


def front(trials: Sequence[Trial]) -> list[int]:
    """The numbers of the trials that no other one dominates."""
    points = {trial.number: trial.point for trial in trials if trial.point is not None}
    return [n for n, point in points.items() if not any(dominates(other, point) for other in points.values())]


def chosen(trials: Sequence[Trial], clean_loss: float) -> Trial:
    """The most robust of the trials whose clean accuracy is at most `clean_loss` points (of 100) below the best one's; of
    equals the cleaner, then the cheaper one.

    Raises ModelError where all failed.
    """
    finished = {trial.number: point for trial in trials if (point := trial.point) is not None}
    if not finished:
        raise ModelError(f"all {len(trials)} trials failed. The first: {trials[0].error}")
    best = max(clean for clean, _, _ in finished.values())
    near = [n for n, (clean, _, _) in finished.items() if 100 * (best - clean) <= clean_loss + 1e-9]
    number = max(near, key=lambda n: (finished[n][1], finished[n][0], finished[n][2]))
    return next(trial for trial in trials if trial.number == number)


def _usual(range_: Range) -> float | int:
    return int(range_.usual) if range_.whole else float(range_.usual)


def _distribution(optuna: Any, range_: Range) -> Any:
    if range_.whole:
        return optuna.distributions.IntDistribution(int(range_.low), int(range_.high), log=range_.log)
    return optuna.distributions.FloatDistribution(range_.low, range_.high, log=range_.log)


def _told(optuna: Any, trial: Trial, kinds: dict[str, Any], dearest: int) -> Any:
    """A trial as Optuna keeps them. Of one that it calls failed its estimator would learn nothing, and try it again."""
    clean, attacked, saved = trial.point or (0.0, 0.0, -float(dearest))
    return optuna.trial.create_trial(params=trial.settings, distributions=kinds, values=[clean, attacked, -saved])


def must_have_optuna() -> None:
    """Raise UsageError, with what to install, where Optuna is missing: before anything is trained."""
    _optuna()


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise UsageError("tuning needs Optuna, which is not installed: pip install 'ironbound[tune]'.") from None
    return optuna


@contextmanager
def _quiet(optuna: Any) -> Iterator[None]:
    """Optuna prints a line for each study."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(level)
