"""`tune`: short trainings with searched settings, audited on held-out training data; then the chosen one in full."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ironbound.auditing.report import wording
from ironbound.core.describe import described, fingerprint
from ironbound.core.errors import FingerprintMismatch, ModelError, RunError, UsageError
from ironbound.core.progress import Event, Listener, silent
from ironbound.core.protocols import PerturbationSet
from ironbound.core.rank import Rank
from ironbound.core.store import read_json, write_json
from ironbound.core.version import __version__
from ironbound.data.dataset import Data
from ironbound.hardening import Hardened, harden, parted
from ironbound.hardening.record import WEIGHTS, rows_run, spent, write_record
from ironbound.models.model import Model
from ironbound.models.weights import save_weights
from ironbound.names import set_of
from ironbound.tuning.study import Trial, chosen, front, must_have_optuna, next_settings
from ironbound.verbs import audit

if TYPE_CHECKING:
    from ironbound.auditing.audit import Audit
    from ironbound.defenses.train import Training
    from ironbound.defenses.train.space import Range

SCHEMA = 1
"""Of tune.json, counted up where what stands in it changes its form."""
OUTCOME, STUDY, TRIAL = "tune.json", "study.json", "trial.json"


@dataclass(frozen=True, eq=False)
class Tuned:
    """What a search found, and the training that it ended with."""

    hardened: Hardened
    """The chosen settings, trained and audited in full."""
    facts: dict[str, Any]
    """All trials, the front and the choice as plain data, as tune.json has them."""

    @property
    def model(self) -> Model:
        """The hardened model."""
        return self.hardened.model

    @property
    def settings(self) -> dict[str, float | int]:
        """The chosen settings, which `harden` takes."""
        return dict(self.facts["trials"][self.facts["chosen"]]["settings"])


def tune(
    model: Any,
    data: Any,
    *,
    threat: PerturbationSet | str,
    trials: int,
    out: str | Path,
    method: str | Training = "pgd",
    space: Mapping[str, Range] | None = None,
    epochs: int | None = None,
    clean_loss: float = 5.0,
    quick: Any = "quick",
    test: Any = None,
    audit: Any = "standard",
    samples: int | None = None,
    seed: int = 0,
    resume: bool = False,
    progress: Listener | None = None,
    origin: dict[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    given: Mapping[str, Any] | None = None,
) -> Tuned:
    """Search a training's settings for the front of clean accuracy, attacked accuracy and cost; train the chosen ones in full.

    Parameters
    ----------
    model, data, threat, test, audit, samples, seed, origin: as for `harden`, which the search ends with.
    trials: how many settings are tried, the training's own first.
    given: what else the method learns from, by the names that `harden` has for it: teacher, models, unlabelled, source,
        labelled.
    method, settings: the training, and what of it is fixed and so not searched: {"batch": 128}.
    space: the ranges to search by name; by default those that defenses/train/space.py has for the training.
    epochs: of each trial; by default a quarter of the training's own.
    clean_loss: the chosen trial is the most robust of those at most so many points (of 100) below the best clean accuracy.
    quick: the plan of the trials' audits.
    out: the folder, with tune/ beside what `harden` leaves; `resume` goes on there, also with more trials.

    Trials are measured on a tenth of the training data, which none of them is trained on: what the final audits measure on
    has no say in the choice. Cost is counted in model rows, so that the search is the same on a busy machine. A training
    that diverges is a failed trial. The chosen trial's own figures are the best of several, and so somewhat too good; those
    of the final audits are not.

    Raises ModelError where every trial failed, FingerprintMismatch when resuming another search, UsageError without Optuna.

    >>> tuned = tune(net, (x, y), threat="linf:0.1", trials=20, out="runs/tuned")  # doctest: +SKIP
    """
    from ironbound.data import load
    from ironbound.defenses.train.catalogue import training_named, with_settings
    from ironbound.defenses.train.giving import given_of

    must_have_optuna()
    if Rank.of().world > 1:
        raise UsageError("a search runs in one process: tune first, and give torchrun what was chosen (tune.json).")
    if isinstance(trials, bool) or not isinstance(trials, int) or trials < 1 or not clean_loss >= 0:
        raise UsageError(f"trials is a number >= 1 and clean_loss points >= 0; got {trials!r} and {clean_loss!r}.")
    fixed, folder = {"seed": seed, **(settings or {})}, Path(out).expanduser()
    _must_be_free(folder, resume)
    if isinstance(method, str):
        named = method
        of = lambda epochs, searched: training_named(named, **{**fixed, "epochs": epochs, **searched})
        full = training_named(named, **fixed)
    else:
        full = with_settings(method, fixed) if settings else method
        of = lambda epochs, searched: with_settings(full, {"epochs": epochs, **searched})
    chosen_set, loaded = set_of(threat), load(data, stream=False)
    short = -(-full.epochs // 4) if epochs is None else epochs
    ranges = _space(full, fixed, chosen_set) if space is None else _given(full, space)
    fit, held_out = parted(parted(loaded, test, samples, seed)[0], None, None, seed)
    fit, further = given_of(full.objective, fit, seed, **(given or {}))
    bench = Bench(Model.of(model), fit, further, held_out, chosen_set, quick, seed, folder / "tune", progress or silent)
    bench.begin(of(short, {}), ranges)
    done = list[Trial]()
    while len(done) < trials:
        done.append(bench.trial(len(done), next_settings(ranges, done, seed), lambda searched: of(short, searched)))
        bench.tell(Event("tune", len(done), trials))
    best = chosen(done, clean_loss)
    facts = _facts(full, short, ranges, done, best, clean_loss, bench)
    write_json(folder / OUTCOME, facts)
    hardened = harden(
        model, loaded, threat=chosen_set, method=of(full.epochs, best.settings), test=test, audit=audit, out=folder,
        samples=samples, seed=seed, resume=True, progress=progress, origin=origin,
        **(given or {}),
    )  # fmt: skip
    return Tuned(hardened, facts)


@dataclass(frozen=True, eq=False)
class Bench:
    """Where trials are trained and measured."""

    model: Model
    fit: Data
    given: Any
    held_out: Data
    threat: Any
    plan: Any
    seed: int
    folder: Path
    tell: Listener

    def begin(self, training: Training, space: Mapping[str, Range]) -> None:
        """Note what the search is of. Raises FingerprintMismatch where the folder holds another one."""
        from ironbound.auditing.manifest import model_fingerprint
        from ironbound.auditing.passing import surveyed

        self.model.admit(self.fit.take([0]).x)
        facts = {
            "training": described(training), "space": {name: asdict(range_) for name, range_ in space.items()},
            "threat": fingerprint(self.threat), "model": model_fingerprint(self.model), "plan": described(self.plan),
            "data": surveyed(self.fit).fingerprint, "measured on": surveyed(self.held_out).fingerprint, "seed": self.seed,
        }  # fmt: skip
        path = self.folder / STUDY
        if not path.exists():
            write_json(path, facts)
        elif differ := [name for name, value in read_json(path).items() if value != facts.get(name)]:
            raise FingerprintMismatch(
                f"{self.folder} holds another search: its {', '.join(differ)} differ. Resume with what it was begun with, or "
                "give another folder."
            )

    def trial(self, number: int, settings: dict[str, float | int], training: Any) -> Trial:
        """Train and audit these settings, as far as that is not done yet."""
        place = self.folder / f"trial-{number:03d}"
        if (place / TRIAL).exists():
            found = Trial(**read_json(place / TRIAL))
            if found.settings != settings:
                raise RunError(f"{place / TRIAL} holds other settings than the search comes to. It was altered.")
            return found
        try:
            found = self._measured(number, settings, training(settings), place)
        except ModelError as error:
            found = Trial(number, settings, error=str(error))
        write_json(place / TRIAL, asdict(found))
        return found

    def _measured(self, number: int, settings: dict[str, float | int], training: Training, place: Path) -> Trial:
        from ironbound.defenses.train import train

        trained = train(
            self.model,
            self.fit,
            self.threat,
            training,
            given=self.given,
            folder=place / "training",
            resume=True,
            progress=self.tell,
        )
        save_weights(trained.model.net, place / WEIGHTS)
        after = self._audited(trained.model, place / "after")
        write_record(
            place, self.model, self.fit, self.held_out, self.threat, training, trained.history, before=None, after=after
        )
        facts: Any = after.facts
        return Trial(
            number, settings, facts["clean"], facts["attacked"], wording.checks_state(facts),
            rows_run(place / "training") or 0, spent(trained.history)["seconds"],
        )  # fmt: skip

    def _audited(self, model: Model, place: Path) -> Audit:
        return audit(
            model, self.held_out, threat=self.threat, method=self.plan, out=place, seed=self.seed, curve=False,
            resume=place.exists(), progress=self.tell,
        )  # fmt: skip


def _must_be_free(folder: Path, resume: bool) -> None:
    if not resume and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunError(
            f"{folder} is no empty folder. Go on with a search by resume=True (--resume), or give another out= (--out)."
        )


def _space(training: Training, fixed: Mapping[str, Any], threat: Any) -> dict[str, Range]:
    """The training's own space, without the strength where the set has no radius that could be another."""
    from ironbound.defenses.train.space import space_of

    radii = [getattr(part, "eps", None) for part in getattr(threat, "parts", None) or (threat,)]
    still = () if all(isinstance(radius, float) for radius in radii) else ("strength",)
    space = space_of(training, {*fixed, *still})
    if not space:
        raise UsageError(f"nothing is left to search of {training.label}: every setting that could be is given.")
    return space


def _given(training: Training, space: Mapping[str, Range]) -> dict[str, Range]:
    """A space of the user's own. Raises UsageError for names that are no settings of the training."""
    from ironbound.defenses.train.catalogue import settings_of

    known = settings_of(training)
    if not space or (unknown := sorted(set(space) - known)):
        said = f"there is no setting {unknown[0]!r}" if space else "the space is empty"
        raise UsageError(f"{training.label}: {said}; there are {', '.join(sorted(known))}.")
    return dict(space)


def _facts(
    training: Training, epochs: int, space: Mapping[str, Range], done: Sequence[Trial], best: Trial, clean_loss: float,
    bench: Bench,
) -> dict[str, Any]:  # fmt: skip
    """tune.json."""
    from ironbound.auditing.manifest import threat_facts

    whole = next(trial.clean["total"] for trial in done if trial.clean is not None)
    return {
        "schema": SCHEMA,
        "ironbound": __version__,
        "method": training.label,
        "epochs": {"trial": epochs, "full": training.epochs},
        "threat": threat_facts(bench.threat, bench.model.box),
        "plan": str(getattr(bench.plan, "name", bench.plan)),
        "measured_on": {
            "name": bench.held_out.name,
            "samples": whole,
            "part": "a tenth of the training data, held out",
        },
        "space": {name: asdict(range_) for name, range_ in space.items()},
        "objectives": {"clean": "up", "attacked": "up", "rows": "down"},
        "rule": f"the highest attacked accuracy with a clean accuracy at most {clean_loss:g} points below the best trial's",
        "trials": [asdict(trial) for trial in done],
        "front": front(done),
        "chosen": best.number,
        "cost": {"rows": sum(trial.rows for trial in done), "seconds": sum(trial.seconds for trial in done)},
    }
