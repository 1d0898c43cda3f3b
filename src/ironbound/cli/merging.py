"""`ironbound merge`: shards into one run, checked with model and data from where the shards or the user say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ironbound.cli.checking import data_of, model_of, runs_in
from ironbound.cli.settings import MergeSettings
from ironbound.cli.summary import summarise
from ironbound.cli.terminal import Terminal
from ironbound.core.errors import UsageError


def run_merge(places: list[str], settings: MergeSettings, terminal: Terminal) -> int:
    """The shards are compared before anything is loaded or written."""
    from ironbound.auditing.gather import fitting
    from ironbound.merging import merge
    from ironbound.names import plan_of

    folder = Path(settings.out).expanduser()
    inside = [one for place in places for one in runs_in(place)]
    shards = fitting([one for one in inside if one.resolve() != folder.resolve()])  # it may lie among its shards
    model, data = _opened(shards[0], settings, terminal)
    method = None if settings.method is None else plan_of("audit", settings.method)
    terminal.note(f"{len(shards)} shards, into {folder}")
    if len({str(shard.manifest["environment"]) for shard in shards}) > 1:
        terminal.note("The shards were made on different machines or versions; manifest.json lists them.", "yellow")
    with terminal.progress() as display:
        audit = merge(
            [shard.path for shard in shards], model, data, out=folder, method=method, rows=settings.rows,
            resume=settings.resume, checks=settings.checks, curve=settings.curve,
            attributions=settings.attributions, progress=display.listener(),
        )  # fmt: skip
    if terminal.json:
        terminal.data({"folder": str(folder), **audit.facts})
    else:
        summarise(terminal, audit.facts, folder)
    return 0


def _opened(run: Any, settings: MergeSettings, terminal: Terminal) -> tuple[Any, Any]:
    """Model and data; neither where the user names none and the recorded ones cannot be used, which is said."""
    try:
        return model_of(run, settings), data_of(run, settings)
    except UsageError as error:
        if settings.model is not None or settings.data is not None:
            raise
        terminal.note(f"Without the model no checks are made. {error}", "yellow")
        return None, None
