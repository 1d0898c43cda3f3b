"""The verb `log`: a finished run into MLflow, into event files of TensorBoard, or both."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ironbound.core.errors import UsageError
from ironbound.tracking.entries import entries_of

if TYPE_CHECKING:
    from ironbound.auditing.audit import Audit

EXPERIMENT = "ironbound"


@dataclass(frozen=True)
class Logged:
    """Where a run was logged; None where it was not."""

    mlflow: str | None
    """The id of the MLflow run."""
    tensorboard: Path | None
    """The folder of the event files."""


def log(
    run: str | Path | Audit,
    *,
    mlflow: str | None = None,
    experiment: str = EXPERIMENT,
    tensorboard: str | Path | None = None,
) -> Logged:
    """Write what a finished audit or hardening found into a tracker: figures with the ends of their intervals, verdicts, costs,
    the curve, the history of a training, settings, fingerprints, the state of the checks, and the reports as files.

    Parameters
    ----------
    run: an audit, or the folder of an audit or a hardening.
    mlflow: the tracking URI, such as "http://127.0.0.1:5000" or "sqlite:////home/me/mlflow.db"; "env" for what the
        environment variable MLFLOW_TRACKING_URI says, which is not looked at otherwise. Needs the extra mlflow.
    experiment: its name in MLflow; a new one where there is none.
    tensorboard: the log folder; the run goes into a new folder of its own name there. Needs the extra tensorboard.

    Raises UsageError where no place is named, or its extra is missing; RunError where the run is not finished or was altered,
    or the tracker does not take it.

    >>> log("runs/x", mlflow="http://127.0.0.1:5000", tensorboard="logs")  # doctest: +SKIP
    """
    if not mlflow and not tensorboard:
        raise UsageError(
            "say where the run is logged: --mlflow URI, --tensorboard FOLDER, or both. Nothing is assumed."
        )
    entries = entries_of(run if isinstance(run, (str, Path)) else run.folder)
    events = run_id = None
    if tensorboard:
        from ironbound.tracking.to_tensorboard import write_events

        events = write_events(entries, Path(tensorboard).expanduser())
    if mlflow:
        from ironbound.tracking.to_mlflow import send

        run_id = send(entries, mlflow, experiment)
    return Logged(run_id, events)
