"""`ironbound demo`: three networks for handwritten digits, trained, audited and compared, with nothing but what is installed.

standard/ adversarial/ certified/    one run folder each, as of `ironbound audit`
training/, weights/                  checkpoints and weights of the three
report.html                          the three brackets side by side
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ironbound.cli.pages import write_page
from ironbound.cli.summary import compared
from ironbound.cli.terminal import Terminal
from ironbound.core.errors import RunError, UsageError
from ironbound.core.progress import Listener

if TYPE_CHECKING:
    from ironbound.auditing.audit import Audit

ARCHITECTURE = "ironbound.models.zoo:digits_cnn"
TITLE = "Three trainings of one small network"
HOME = Path("runs")


@dataclass(frozen=True)
class Stop:
    """One of the three networks: how it is trained."""

    name: str
    method: str
    epochs: int
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Tour:
    """What a demo shows."""

    threat: str
    plan: str
    samples: int | None
    stops: tuple[Stop, ...]


WHOLE = Tour(
    "linf:0.15", "standard", None,
    (
        Stop("standard", "standard", 20, {"rate": 2e-3}),
        Stop("adversarial", "pgd", 30, {"rate": 5e-3, "batch": 128}),
        Stop("certified", "ibp", 100, {"rate": 4e-3, "batch": 128, "kappa_end": 0.0}),
    ),
)  # fmt: skip
FAST = Tour(
    "linf:0.15", "standard", 150,
    (
        Stop("standard", "standard", 6, {"rate": 3e-3}),
        Stop("adversarial", "pgd", 6, {"rate": 5e-3, "batch": 128}),
        Stop("certified", "ibp", 30, {"rate": 5e-3, "batch": 128, "kappa_end": 0.0}),
    ),
)  # fmt: skip


def demo_place(out: str | None, resume: bool) -> Path:
    """Where the demo goes: where it is told, else the first runs/demo, runs/demo-2, ... that is free (resumed: the last)."""
    if out is not None:
        return Path(out).expanduser()
    number, place, last = 1, HOME / "demo", HOME / "demo"
    while place.exists():
        number, last = number + 1, place
        place = HOME / f"demo-{number}"
    return last if resume else place


def run_demo(place: Path, resume: bool, fast: bool, terminal: Terminal) -> int:
    """Train, audit, compare."""
    if not resume and place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise RunError(f"{place} is no empty folder. Add --resume to go on with a demo, or give another --out.")
    start, spent = time.perf_counter(), time.process_time()
    tour = FAST if fast else WHOLE
    _announce(terminal, tour, place)
    audits, seconds = {}, {}
    with _one_thread(), terminal.progress() as display:
        for stop in tour.stops:
            audits[stop.name], seconds[stop.name] = _visit(tour, stop, place, display.listener(stop.name))
    names = list(audits)
    write_page([place / name for name in names], place / "report.html", TITLE, names)
    if terminal.json:
        runs = {name: {**audit.facts, "training_seconds": seconds[name]} for name, audit in audits.items()}
        terminal.data({"folder": str(place), "report": str(place / "report.html"), "runs": runs})
        return 0
    _say(terminal, place, audits, seconds)
    took, worked = time.perf_counter() - start, time.process_time() - spent
    terminal.say(f"Took {took:.0f} s ({worked:.0f} s of computing).", style="dim")
    return 0


@contextmanager
def _one_thread() -> Iterator[None]:
    """The networks are too small for a second thread to pay, and threads that wait for each other cost a busy machine."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _announce(terminal: Terminal, tour: Tour, place: Path) -> None:
    terminal.note(
        f"Three networks learn to read digits: one plainly, one attacked while it learns, one made to be provable. "
        f"Then each is audited under {tour.threat}. Results go to {place}."
    )


def _visit(tour: Tour, stop: Stop, place: Path, progress: Listener) -> tuple[Audit, float]:
    """Train one network and audit it, going on where an earlier demo stopped."""
    from ironbound import verbs
    from ironbound.data import load
    from ironbound.defenses.train import train, training_named
    from ironbound.models.model import Model
    from ironbound.models.weights import save_weights
    from ironbound.models.zoo import digits_cnn
    from ironbound.names import plan_named, set_of

    threat, folder, weights = set_of(tour.threat), place / stop.name, place / "weights" / f"{stop.name}.safetensors"
    training = training_named(stop.method, epochs=stop.epochs, **stop.settings)
    checkpoints = place / "training" / stop.name
    started = checkpoints.exists()
    model = Model(digits_cnn(), name=f"digits_cnn ({stop.name})")
    with _another_demo(place):
        trained = train(
            model, load("digits:train"), threat, training, folder=checkpoints, resume=started, progress=progress
        )
        save_weights(trained.model.net, weights)
        audit = verbs.audit(
            trained.model, load("digits:test", samples=tour.samples), threat=threat, method=plan_named(tour.plan),
            out=folder, resume=folder.exists(), progress=progress, origin=_origin(weights, tour.samples),
        )  # fmt: skip
    return audit, sum(row["seconds"] for row in trained.history)


def _origin(weights: Path, samples: int | None) -> dict[str, Any]:
    from ironbound.models.open import origin_of

    data = {"source": "digits:test", "split": "test", "input": None, "label": None, "samples": samples, "seed": 0}
    return {**origin_of(weights, ARCHITECTURE, {}), "data": data}


@contextmanager
def _another_demo(place: Path) -> Iterator[None]:
    """What stands in the folder may be of the other kind of demo, or of another version."""
    from ironbound.core.errors import FingerprintMismatch

    try:
        yield
    except FingerprintMismatch as error:
        raise UsageError(
            f"{place} holds another demo (with or without --fast, or of another version): {error} Give another --out."
        ) from None


def _say(terminal: Terminal, place: Path, audits: dict[str, Audit], seconds: dict[str, float]) -> None:
    from ironbound.auditing.report import wording

    facts = next(iter(audits.values())).facts
    caption = (
        f"Of {wording.plural(facts['attacked']['total'], 'test sample')} under {wording.threat(facts)}, "  # type: ignore[arg-type]
        "below each figure its 95% interval:"
    )
    rows = [(name, audit.facts, wording.duration(seconds[name])) for name, audit in audits.items()]
    compared(terminal, rows, caption, last="training")
    terminal.say("Nobody knows the true figure; it lies between what is certified and what no attack broke.")
    terminal.say(f"Every sample, picture and check: {place / 'report.html'}")
    terminal.say(f"Check it all again: ironbound verify {place}")
