"""A run sent to MLflow: to the URI that was named, by a client of its own, with nothing of MLflow's global state touched."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ironbound.core.errors import RunError, UsageError
from ironbound.core.text import shown
from ironbound.tracking.entries import Entries
from ironbound.tracking.naming import clean, named

VARIABLE = "MLFLOW_TRACKING_URI"
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""While MLflow works for us: it reports its use to nobody, gives up after seconds, not minutes, and leaves printing to us."""
BATCH = {"metrics": 1000, "params": 100, "tags": 100}
"""Of a request, at most (MLflow's REST API, runs/log-batch)."""
LONGEST = {"params": 6000, "tags": 5000}


def send(entries: Entries, uri: str, experiment: str) -> str:
    """Make a run in the experiment (a new one where there is none) and give back its id.

    Raises UsageError where the extra is missing or nothing says where to send, RunError where MLflow does not take it; a run
    that was begun is then marked as failed.
    """
    place = _place(uri)
    with _quiet():
        try:
            from mlflow.exceptions import MlflowException
            from mlflow.tracking import MlflowClient
        except ImportError as error:
            raise UsageError(
                f"logging to MLflow needs its client: pip install 'ironbound[mlflow]' ({error})."
            ) from None
        try:
            client = MlflowClient(tracking_uri=place)
            run_id = _begun(client, entries, experiment, place)
            try:
                _send_all(client, run_id, entries)
            except BaseException:
                with suppress(Exception):
                    client.set_terminated(run_id, status="FAILED")
                raise
            client.set_terminated(run_id)
        except (MlflowException, OSError, ImportError) as error:
            raise RunError(f"MLflow at {_told(place)} did not take the run: {_brief(error, place)}") from error
    return run_id


def _place(uri: str) -> str:
    """The tracking URI that is meant. Raises UsageError where there is none."""
    if uri != "env":
        if not urlsplit(uri).scheme:
            raise UsageError(
                f"a tracking URI begins with its kind: http://127.0.0.1:5000, sqlite:////home/me/mlflow.db; got {shown(uri)!r}."
            )
        return uri
    found = os.environ.get(VARIABLE, "").strip()
    if not found:
        raise UsageError(f"--mlflow env takes the URI from {VARIABLE}, which is not set.")
    return _place(found)


def _begun(client: Any, entries: Entries, experiment: str, place: str) -> str:
    """A run that has begun, in the experiment of that name."""
    found = client.get_experiment_by_name(experiment)
    if found is not None and found.lifecycle_stage != "active":
        raise UsageError(
            f"the experiment {shown(experiment)!r} was deleted in MLflow: restore it, or name another one."
        )
    number = client.create_experiment(experiment, _artifacts(place)) if found is None else found.experiment_id
    tags = {"mlflow.runName": entries.name, "mlflow.note.content": f"    {shown(entries.sentence)}"}
    return str(client.create_run(number, run_name=entries.name, tags=tags).info.run_id)


def _artifacts(place: str) -> str | None:
    """Where a new experiment keeps files: a server knows; beside a database, for MLflow would take the working folder."""
    kind = urlsplit(place).scheme
    if kind in ("http", "https", "file", "databricks"):
        return None
    path = place.partition(":///")[2].partition("?")[0]
    if kind == "sqlite" and path:
        return Path(path).resolve().with_suffix(".artifacts").as_uri()
    raise UsageError(
        f"an experiment in a {shown(kind)} database has to say where it keeps files: make it by mlflow experiments create "
        "--artifact-location first, or log to a server."
    )


def _send_all(client: Any, run_id: str, entries: Entries) -> None:
    from mlflow.entities import Metric, Param, RunTag

    now = int(1000 * time.time())
    metrics = [Metric(name, value, now, 0) for name, value in named(entries.metrics).items()]
    for name, steps in named(entries.series).items():
        metrics += [Metric(name, value, now, step) for step, value in steps]
    cut = lambda value, kind: shown(value)[: LONGEST[kind]]
    params = [Param(name, cut(value, "params")) for name, value in named(entries.params).items()]
    tags = [RunTag(f"ironbound.{name}", cut(value, "tags")) for name, value in named(entries.tags).items()]
    for kind, all_ in {"params": params, "tags": tags, "metrics": metrics}.items():
        most = BATCH[kind]
        for start in range(0, len(all_), most):
            client.log_batch(run_id, **{kind: all_[start : start + most]})
    for file, folder in entries.files:
        if file.is_file():
            client.log_artifact(run_id, str(file), clean(folder) if folder else None)


@contextmanager
def _quiet() -> Iterator[None]:
    """The environment as we want MLflow to see it, and afterwards as it was."""
    was = {name: os.environ.get(name) for name in QUIET}
    os.environ.update(QUIET)
    try:
        yield
    finally:
        for name, value in was.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _told(place: str) -> str:
    """A URI without the password that may stand in it."""
    parts = urlsplit(place)
    host = parts.netloc.rpartition("@")[2]
    return shown(parts._replace(netloc=host, query="").geturl())


def _brief(error: BaseException, place: str) -> str:
    """What went wrong in one line, without the password."""
    password = urlsplit(place).password
    text = " ".join(str(error).split())
    return shown(text.replace(password, "***") if password else text)[:500]
