"""`ironbound harden --tune` at the prompt: the trials, the front and the choice, then what the full training gave."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ironbound.auditing.report import wording
from ironbound.cli.comparing import add_row, new_table
from ironbound.cli.runs import say_hardened
from ironbound.cli.settings import HardenSettings
from ironbound.cli.terminal import Terminal
from ironbound.core.errors import UsageError


def run_tune(
    settings: HardenSettings, terminal: Terminal, folder: Path, model: Any, data: Any, test: Any, plan: str | None,
    origin: dict[str, Any], given: dict[str, Any],
) -> int:  # fmt: skip
    """A search, and the training that it ends with."""
    from ironbound.names import set_of
    from ironbound.tuning import tune

    if settings.tune is None:
        raise UsageError("--tune is the number of trials.")
    with terminal.progress() as display:
        tuned = tune(
            model, data, threat=set_of(settings.threat), trials=settings.tune, method=settings.method[0], out=folder,
            epochs=settings.tune_epochs, clean_loss=settings.clean_loss, test=test, audit=plan, samples=settings.samples,
            seed=settings.seed, resume=settings.resume, progress=display.listener(), origin=origin,
            settings=settings.of_training(), given=given,
        )  # fmt: skip
    if not terminal.json:
        say_tuned(terminal, tuned.facts)
    say_hardened(terminal, settings, tuned.hardened, folder, {"tune": tuned.facts})
    return 0


def say_tuned(terminal: Terminal, facts: dict[str, Any]) -> None:
    """The trials, those on the front, and which one was chosen by what rule."""
    from ironbound.comparing import words

    measured, cost = facts["measured_on"], facts["cost"]
    terminal.say(
        f"{wording.plural(len(facts['trials']), 'trial')} of {facts['method']}, "
        f"{wording.plural(facts['epochs']['trial'], 'epoch')} each, measured on {wording.plural(measured['samples'], 'sample')} "
        f"of {measured['name']} ({measured['part']}) under {facts['threat']['spec']}, plan {facts['plan']}: "
        f"{wording.count(cost['rows'])} model rows, {wording.duration(cost['seconds'])} of training."
    )
    table = new_table("trial", "settings", "clean", "attacked", "rows", "checks", "front")
    for trial in facts["trials"]:
        number = trial["number"]
        searched = "\n".join(
            f"{name} {trial['settings'][name]:.3g}" for name in facts["space"]
        )  # a column each is too wide
        if trial["clean"] is None:
            add_row(table, str(number), searched, "failed", "failed", "", "", "")
            continue
        shares = [words.share(trial[kind]) for kind in ("clean", "attacked")]
        front = "chosen" if number == facts["chosen"] else "yes" if number in facts["front"] else ""
        add_row(table, str(number), searched, *shares, wording.count(trial["rows"]), trial["checks"], front)
    terminal.out.print(table)
    for trial in facts["trials"]:
        if trial["error"]:
            terminal.say(f"Trial {trial['number']} failed: {trial['error']}", style="yellow")
    terminal.say(
        f"Chosen: trial {facts['chosen']}, by {facts['rule']}. The best of several is somewhat too good; what counts is the "
        "audit after the full training."
    )
