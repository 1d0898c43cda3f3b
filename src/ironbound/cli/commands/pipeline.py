"""Commands by which a pipeline acts on a finished run."""

from __future__ import annotations

import inspect
from typing import Annotated

import typer

from ironbound.cli.flags import with_flags
from ironbound.cli.settings import GateSettings
from ironbound.cli.terminal import Terminal

Run = Annotated[str, typer.Argument(metavar="RUN", help="the folder of a finished run")]


@with_flags(GateSettings, inspect.Parameter("run", inspect.Parameter.KEYWORD_ONLY, annotation=Run))
def gate(settings: GateSettings, terminal: Terminal, run: str) -> int:
    """Hold a run against figures and an earlier run, for a pipeline. Exit code 0: it passes, 1: not, 2: nothing can be said."""
    from ironbound.cli.gating import run_gate

    return run_gate(run, settings, terminal)
