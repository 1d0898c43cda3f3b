"""Commands by which a pipeline acts on a finished run."""

from __future__ import annotations

import inspect
from typing import Annotated

import typer

from ironbound.cli.completing import completes
from ironbound.cli.flags import with_flags
from ironbound.cli.settings import GateSettings, LogSettings
from ironbound.cli.terminal import Terminal

Run = Annotated[
    str, typer.Argument(metavar="RUN", help="the folder of a finished run", autocompletion=completes("runs"))
]


@with_flags(GateSettings, inspect.Parameter("run", inspect.Parameter.KEYWORD_ONLY, annotation=Run))
def gate(settings: GateSettings, terminal: Terminal, run: str) -> int:
    """Hold a run against figures and an earlier run, for a pipeline. Exit code 0: it passes, 1: not, 2: nothing can be said."""
    from ironbound.cli.gating import run_gate

    return run_gate(run, settings, terminal)


@with_flags(LogSettings, inspect.Parameter("run", inspect.Parameter.KEYWORD_ONLY, annotation=Run))
def log(settings: LogSettings, terminal: Terminal, run: str) -> int:
    """Log a finished audit or hardening to MLflow or TensorBoard: figures, costs, settings, fingerprints, reports."""
    from ironbound.tracking import log as write

    logged = write(run, mlflow=settings.mlflow, experiment=settings.experiment, tensorboard=settings.tensorboard)
    if terminal.json:
        terminal.data({"mlflow": logged.mlflow, "tensorboard": logged.tensorboard and str(logged.tensorboard)})
        return 0
    if logged.tensorboard:
        terminal.say(f"TensorBoard: {logged.tensorboard}")
    if logged.mlflow:
        terminal.say(f"MLflow: run {logged.mlflow} in the experiment {settings.experiment}")
    return 0
