"""`probe`: what the library sees of a model and its data, and what to mend before figures are believed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ironbound.auditing.intervals import Share
from ironbound.core.errors import IronboundError, ModelError, UsageError
from ironbound.data.dataset import Data
from ironbound.models.model import Model
from ironbound.names import set_of
from ironbound.probing import applies, looks
from ironbound.probing.findings import MIXED, Finding, Seen

SAMPLES = 256
"""How many samples are looked at unless more are wanted."""


@dataclass(frozen=True)
class Probe:
    """What was seen. `bool(probe)` is whether nothing has to be mended; `str(probe)` one line for each finding."""

    model: str
    data: str
    samples: int
    """How many were looked at."""
    findings: tuple[Finding, ...]
    clean: Share | None
    """The share of right answers with its 95% interval; None where the model could not be asked."""
    outputs: str
    """logits, probabilities, logit, probability, decisions, anything; auto where nobody could tell."""
    classes: int | None
    speed: dict[str, float | None] = field(default_factory=dict)
    """Forward and backward rows a second, and the bytes that a row keeps between them."""
    attacks: tuple[str, ...] = ()
    """The names of those that go with the threat and see no more than the model shows."""
    bounds: tuple[str, ...] = ()
    estimate: applies.Estimate | None = None
    """Of `audit standard` with all the data."""

    def __bool__(self) -> bool:
        return not any(finding.mend for finding in self.findings)

    def __str__(self) -> str:
        return "\n".join(str(finding) for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        estimate = self.estimate
        return {
            "model": self.model, "data": self.data, "samples": self.samples, "fits": bool(self),
            "clean": None if self.clean is None else self.clean.as_dict(), "outputs": self.outputs,
            "classes": self.classes, "speed": self.speed, "attacks": list(self.attacks), "bounds": list(self.bounds),
            "audit": None if estimate is None else {"samples": estimate.samples, "seconds": estimate.seconds},
            "findings": [finding.as_dict() for finding in self.findings],
        }  # fmt: skip


def probe(
    model: Any, data: Any, *, threat: Any = None, samples: int | None = SAMPLES, total: int | None = None, seed: int = 0,
    rows: int | None = None,
) -> Probe:  # fmt: skip
    """Look at a model and its data before anything is attacked: what fits, what does not, and the line that mends it.

    Parameters
    ----------
    model: a torch.nn.Module (inputs in [0, 1]), or a Model. It is left as it was.
    data: a pair (x, y), a Dataset, a DataLoader, Data, a path or a name, as for `audit`.
    threat: a set or its text; with it, the attacks and bounds that go with it are named, and the time of an audit is guessed.
    samples: how many are looked at, chosen by `seed`; None: all. total: of how many the audit would be, by default all.
    rows: model rows in one pass.

    Nothing is raised for what does not fit: it is what a probe is for. Raises DataError or InputError for data that cannot
    be read, UsageError for a threat there is not.

    >>> print(probe(net, (x, y), threat="linf:8/255"))  # doctest: +SKIP
    """
    from ironbound.data import load

    wrapped, whole = Model.of(model), load(data, seed=seed)
    chosen = None if threat is None else set_of(threat)
    loaded = whole.subset(samples, seed)
    loaded = loaded.take(range(len(loaded))) if loaded.streamed else loaded
    seen = Seen()
    seen.inputs(wrapped, loaded)
    x = _admitted(wrapped, loaded, seen)
    clean, fast = None, dict[str, float | None]()
    if x is not None:
        clean, fast = _tried(wrapped, loaded, x, seen, rows)
    elif isinstance(loaded.x, Tensor):
        seen.guessed(None, _guesses(wrapped, loaded, rows))
    applying: tuple[tuple[str, ...], tuple[str, ...], applies.Estimate | None] = ((), (), None)
    if chosen is not None and x is not None:
        count = len(whole) if total is None else min(total, len(whole))
        applying = _applying(wrapped, loaded, chosen, seen, (clean, fast, count))
    return Probe(
        wrapped.name, loaded.name, len(loaded), tuple(seen.found), clean, wrapped.outputs, wrapped.classes, fast,
        *applying,
    )  # fmt: skip


def _admitted(model: Model, data: Data, seen: Seen) -> Any:
    """Inputs as the model takes them; None where it takes none of them."""
    try:
        x, _ = model.admit(data.x)
    except (IronboundError, RuntimeError) as error:
        seen.refused(model, error)
        return None
    seen.answers(model, data)
    if model.classes is not None and int(data.y.max()) >= model.classes:
        return None
    return x if model.outputs != "anything" and isinstance(x, Tensor) else None


def _tried(
    model: Model, data: Data, x: Tensor, seen: Seen, rows: int | None
) -> tuple[Share | None, dict[str, float | None]]:
    """What passes show: accuracy, steadiness, gradients, speed."""
    y = data.y.to(model.device)
    try:
        clean = looks.right(model, x, y, rows)
        seen.accuracy(model, data, clean)
        seen.guessed(clean, _guesses(model, data, rows))
        again, alone = (0.0, 0.0) if model.random else looks.unsteady(model, x)
        seen.steady(model, again, alone)
        if again <= MIXED:  # else two passes differ in any mode
            seen.modes(model, *looks.moody(model, x))
        some = slice(0, min(len(x), 128))
        seen.gradients(model, looks.dead_gradients(model, x[some], y[some], rows) if again < 1e-4 else None)
        fast = looks.speed(model, x[:SAMPLES], y[:SAMPLES], rows)
        seen.speed(model, fast)
    except (ModelError, UsageError) as error:
        seen.failed(error)
        return None, {}
    return clean, fast


def _guesses(model: Model, data: Data, rows: int | None) -> list[looks.Guess]:
    return (
        looks.guesses(model, data.x, data.y, rows) if isinstance(data.x, Tensor) and data.x.is_floating_point() else []
    )


def _applying(
    model: Model, data: Data, threat: Any, seen: Seen, known: tuple[Share | None, dict[str, float | None], int]
) -> tuple[tuple[str, ...], tuple[str, ...], applies.Estimate | None]:
    """Attacks, bounds and time for the threat."""
    clean, fast, count = known
    seen.radius(model, data, threat)
    attacks = applies.attacks_for(model, threat)
    bounds, why = applies.bounds_for(model, data, threat)
    seen.applies(attacks, bounds, why)
    estimate = None
    if clean is not None and fast.get("forward"):
        estimate = applies.audit_time(count, clean.fraction, fast["forward"] or 1.0, fast.get("backward"))
        seen.time(estimate)
    return attacks, bounds, estimate
