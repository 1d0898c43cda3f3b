"""The verb `harden`: a training between two audits."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ironbound import verbs
from ironbound.core.attack import Attack
from ironbound.core.errors import RunError, UsageError
from ironbound.core.progress import Listener, silent
from ironbound.core.protocols import PerturbationSet
from ironbound.models.model import Model
from ironbound.models.weights import save_weights, weights_digest
from ironbound.names import radius_must_fit, set_of

if TYPE_CHECKING:
    from ironbound.auditing.audit import Audit
    from ironbound.auditing.plan import Plan
    from ironbound.data.dataset import Data
    from ironbound.defenses.train import Training


@dataclass(frozen=True, eq=False)
class Hardened:
    """A hardened model with what it gained and what it cost."""

    model: Model
    before: Audit | None
    """The bracket of the model as it was; None where audit=None."""
    after: Audit | None
    history: list[dict[str, Any]]
    """A row an epoch."""
    best: dict[str, Any] | None = None
    """The epoch whose weights these are, and its result on the validation rows; None without validation."""
    stopped: str = ""
    """Why the training ended before its last epoch."""
    recoveries: list[dict[str, Any]] = field(default_factory=list)
    """How it went back after catastrophic overfitting, each time."""


def harden(
    model: Any,
    data: Any,
    *,
    threat: PerturbationSet | str,
    method: str | Training = "pgd",
    test: Any = None,
    audit: str | Attack | Plan | None = "standard",
    out: str | Path | None = None,
    samples: int | None = None,
    seed: int = 0,
    resume: bool = False,
    progress: Listener | None = None,
    origin: dict[str, Any] | None = None,
    teacher: Any = None,
    models: Any = (),
    unlabelled: Any = None,
    source: Any = None,
    labelled: int | None = None,
    **settings: Any,
) -> Hardened:
    """Train a copy of the model so that its bracket rises; the bracket is measured before and after.

    Parameters
    ----------
    data: what to train on (see `audit`), read into memory. `test`: what to measure on; without it a tenth of the data,
        which is then not trained on. `samples` of it are audited.
    method: a name of `ironbound list harden` or a Training; `settings` such as epochs=5, rate=1e-3, steps=10 change it.
    audit: the plan of both audits; None trains only.
    teacher, models: other trained models that a method learns from (distill, ensemble), modules or Models of the same inputs
        and classes. `unlabelled`: further inputs without labels (semi-supervised). `source`: a model trained on another
        task, or its weights, to start from (robust-transfer).
    labelled: the number of training rows whose labels are read, chosen by the seed; semi-supervised takes the others as
        unlabelled, where none are given, and other methods leave them out.
    out: folder for before/, after/, training/ (checkpoints, history.parquet), model.safetensors, harden.json and
        report.html; `resume` goes on there.

    Under torchrun every process trains (see `train`), and the first one audits and writes while the others wait: they give
    back the trained model and the history, without brackets.

    >>> robust = harden(net, (x, y), threat="linf:0.1", method="pgd", epochs=5)  # doctest: +SKIP
    """
    from ironbound.auditing.audit import Audit
    from ironbound.data import load
    from ironbound.defenses.train import train, training_named
    from ironbound.defenses.train.giving import given_of
    from ironbound.defenses.train.place import here
    from ironbound.defenses.train.trainer import must_train
    from ironbound.hardening.record import write_page, write_record

    wrapped, chosen = Model.of(model), set_of(threat)
    training = training_named(method, **{"seed": seed, **settings}) if isinstance(method, str) else method
    fit, held_out = parted(load(data, stream=False), test, samples, seed)
    radius_must_fit(chosen, wrapped, fit.x)
    _must_be_one_for_all(chosen, fit.x)
    fit, given = given_of(
        training.objective, fit, seed,
        teacher=teacher, models=models, unlabelled=unlabelled, source=source, labelled=labelled,
    )  # fmt: skip
    must_train(wrapped, fit, chosen, training, given)
    folder, place = None if out is None else Path(out), here(wrapped.device, training.precision)
    if folder is not None and not resume:
        place.first(lambda: _must_be_empty(folder))

    def bracket(name: str, of: Model) -> Audit | None:
        """The audit of a model, by the first process while the others wait."""
        found = None
        where = None if folder is None else folder / name
        if audit is None and resume and where is not None and (where / "audit.json").exists():
            found = Audit.load(where)  # of this very training: what it came to is not forgotten
        if audit is not None and place.rank == 0:
            go_on = resume and where is not None and where.exists()
            own = origin if of is wrapped else _trained(origin, folder)
            options: dict[str, Any] = {"out": where, "resume": go_on, "seed": seed, "progress": progress, "origin": own}
            found = verbs.audit(of, held_out, threat=chosen, method=audit, **options)
        place.wait()
        return found

    before = bracket("before", wrapped)
    training_folder = None if folder is None else folder / "training"
    trained = train(
        wrapped, fit, chosen, training,
        given=given, folder=training_folder, resume=resume, progress=progress or silent, place=place,
    )  # fmt: skip
    if folder is not None:
        place.first(lambda: save_weights(trained.model.net, folder / "model.safetensors"))
    after = bracket("after", trained.model)
    if folder is not None:
        record = wrapped, fit, held_out, chosen, training, trained.history
        place.first(lambda: write_record(folder, *record, before=before, after=after))
        place.first(lambda: write_page(folder))
    return Hardened(trained.model, before, after, trained.history, trained.best, trained.stopped, trained.recoveries)


def _must_be_empty(folder: Path) -> None:
    """Raise RunError for a folder with something in it."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunError(
            f"{folder} is no empty folder. Go on with a hardening by resume=True (--resume), or give another out= (--out)."
        )


def _must_be_one_for_all(threat: Any, x: Any) -> None:
    """Raise UsageError for radii and masks of single samples: training and test samples are others, and drawn."""
    for part in getattr(threat, "parts", (threat,)):
        mask = getattr(part, "mask", None)
        own = mask is not None and isinstance(x, Tensor) and mask.ndim == x.ndim
        if own or isinstance(getattr(part, "eps", None), Tensor):
            raise UsageError(
                f"training takes one radius and one mask for all samples, since it draws them; got {part!r}. "
                "Audit with radii of their own."
            )


def _trained(origin: dict[str, Any] | None, folder: Path | None) -> dict[str, Any] | None:
    """The origin of the trained model: the same code, other weights."""
    if origin is None or folder is None:
        return None
    weights = folder / "model.safetensors"
    return {**origin, "weights": str(weights.resolve()), "weights_digest": weights_digest(weights)}


def parted(data: Data, test: Any, samples: int | None, seed: int) -> tuple[Data, Data]:
    """What to train on and what to measure on, which never overlap by row."""
    from ironbound.data import load
    from ironbound.data.dataset import draws

    if test is not None:
        return data, load(test, samples=samples, seed=seed)
    if len(data) < 20:
        raise UsageError(f"a tenth of {len(data)} rows is too little to measure on; pass test=.")
    order = draws(data.index, seed).argsort(stable=True)
    cut = max(2, len(data) // 10)
    return data.chosen(order[cut:].sort().values), data.chosen(order[:cut].sort().values).subset(samples, seed)
