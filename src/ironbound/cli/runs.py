"""What the four verbs do at the prompt: settings in, a run folder and a summary out."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

from ironbound.cli.opening import data_origin, open_data, open_given, open_model, origin_of, training_origins
from ironbound.cli.settings import CertifySettings, HardenSettings, RunSettings
from ironbound.cli.summary import compared, summarise
from ironbound.cli.terminal import Terminal
from ironbound.core.errors import UsageError
from ironbound.core.rank import Rank
from ironbound.reopening import load_data

RUNS = Path("runs")


def place_of(verb: str, out: str | None, resume: bool) -> Path:
    """The run folder: the one that is named, or a new one."""
    if out is not None:
        return Path(out).expanduser()
    if Rank.of().world > 1:
        raise UsageError("several processes need one folder: say which one with --out.")
    if resume:
        raise UsageError("--resume goes on with a run that is there: say which one with --out.")
    return RUNS / f"{date.today().isoformat()}-{verb}-{uuid.uuid4().hex[:6]}"


def run_audit(verb: str, settings: RunSettings, terminal: Terminal, folder: Path) -> int:
    """`audit`, `attack` and `certify`: stages over a data set, into a run folder."""
    from ironbound import verbs
    from ironbound.auditing.folder import usable
    from ironbound.auditing.shards import Shard
    from ironbound.names import plan_of, set_of

    usable(folder, settings.resume)
    shard = None if settings.shard is None else Shard.parse(settings.shard)
    given = settings.of_bounds() if isinstance(settings, CertifySettings) else None
    threat, plan = set_of(settings.threat), plan_of(verb, settings.method, given)
    model, data = open_model(settings), open_data(settings)
    origin = origin_of(settings, data_origin(settings))
    part = "" if shard is None else f", {shard}"
    terminal.note(f"{model.name} on {len(data):,} samples of {data.name}{part}, into {folder}")
    with terminal.progress() as display:
        audit = verbs.audit(
            model, data, threat=threat, method=plan, out=folder, seed=settings.seed, rows=settings.rows,
            pool=settings.pool, shard=settings.shard, resume=settings.resume, checks=settings.checks, curve=settings.curve,
            attributions=settings.attributions, slice_by=settings.slice_by, progress=display.listener(), origin=origin,
        )  # fmt: skip
    page = _shown(audit, model, data, threat, settings) if getattr(settings, "show", False) else None
    if terminal.json:
        terminal.data({"folder": str(folder), **({"shown": str(page)} if page else {}), **audit.facts})
    else:
        summarise(terminal, audit.facts, folder)
        if page:
            terminal.say(f"Shown: {page}")
    return 0


def _shown(audit: Any, model: Any, data: Any, threat: Any, settings: RunSettings) -> Path:
    """Write the page of the run's witnesses into its folder."""
    from ironbound.cli.pages import write_found

    return write_found(audit, model, data, threat, settings.seed, settings.rows)


def run_harden(settings: HardenSettings, terminal: Terminal, folder: Path) -> int:
    """`harden`: a training between two audits."""
    from ironbound.hardening import harden
    from ironbound.names import set_of

    if len(settings.method) != 1:
        raise UsageError(f"--method names one training; got {', '.join(settings.method)}.")
    ranked = Rank.of()
    if ranked.rank:  # one of several speaks for all
        terminal = replace(terminal, quiet=True)
    threat, model = set_of(settings.threat), open_model(settings)
    fit, measured = training_origins(settings)
    data, test = load_data(fit), None if measured.get("held_out") else load_data(measured)
    said = "a tenth of them held out" if test is None else f"{len(test):,} samples of {test.name}"
    processes = "" if ranked.world == 1 else f" in {ranked.world} processes"
    terminal.note(
        f"{model.name}: {len(data):,} samples of {data.name} to train on{processes}, {said} to measure on, into {folder}"
    )
    plan = None if settings.audit == "none" else settings.audit
    if settings.tune is not None:
        from ironbound.cli.tuning import run_tune

        return run_tune(
            settings, terminal, folder, model, data, test, plan, origin_of(settings, measured), open_given(settings)
        )
    with terminal.progress() as display:
        robust = harden(
            model, data, threat=threat, method=settings.method[0], test=test, audit=plan, out=folder,
            samples=settings.samples, seed=settings.seed, resume=settings.resume, progress=display.listener(),
            origin=origin_of(settings, measured), **open_given(settings), **settings.of_training(),
        )  # fmt: skip
    if ranked.rank:
        return 0
    say_hardened(terminal, settings, robust, folder)
    return 0


def say_hardened(
    terminal: Terminal, settings: HardenSettings, robust: Any, folder: Path, further: dict[str, Any] | None = None
) -> None:
    """What a hardening gave, as text or as JSON (there with what is `further` known)."""
    weights = folder / "model.safetensors"
    brackets = {"before": robust.before, "after": robust.after}
    if terminal.json:
        found = {name: None if audit is None else audit.facts for name, audit in brackets.items()}
        facts = {"folder": str(folder), "weights": str(weights), **found, "history": robust.history}
        facts |= {"best": robust.best, "stopped": robust.stopped, "recoveries": robust.recoveries}
        terminal.data({**facts, **(further or {})})
        return
    _say_hardened(terminal, settings, brackets, robust, folder)
    terminal.say(f"Weights: {weights}")


def _say_hardened(
    terminal: Terminal, settings: HardenSettings, brackets: dict[str, Any], robust: Any, folder: Path
) -> None:
    from ironbound.auditing.report import wording

    history = robust.history
    seconds = sum(row["seconds"] for row in history)
    terminal.say(
        f"Trained by {settings.method[0]} for {wording.plural(len(history), 'epoch')}, {wording.duration(seconds)}.",
        style="bold",
    )
    for note in (*(_went_back(recovery) for recovery in robust.recoveries), robust.stopped):
        if note:
            terminal.say(f"{note[:1].upper()}{note[1:]}.", style="yellow")
    terminal.say(f"Report of the training: {folder}/report.html")
    if brackets["before"] is None or brackets["after"] is None:
        terminal.say("Not audited: no figure of this training is evidence of robustness.")
        return
    rows = [(name, audit.facts, "") for name, audit in brackets.items()]
    compared(terminal, rows, wording.comparison([(name, audit.facts) for name, audit in brackets.items()]))
    for name in brackets:
        terminal.say(f"Report {name}: {folder / name}/report.html")


def _went_back(note: dict[str, Any]) -> str:
    """A recovery in words."""
    return (
        f"catastrophic overfitting at epoch {note['epoch']:.2f}: the training went back to epoch {note['back to']:.2f} and on "
        "with twice the steps of the inner attack"
    )
