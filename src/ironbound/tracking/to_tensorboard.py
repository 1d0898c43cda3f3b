"""A run as event files, which TensorBoard reads."""

from __future__ import annotations

from pathlib import Path

from ironbound.core.errors import RunError, UsageError
from ironbound.core.store import explained
from ironbound.core.text import shown
from ironbound.tracking.entries import Entries
from ironbound.tracking.naming import named


def write_events(entries: Entries, folder: Path) -> Path:
    """Scalars of all metrics and series, and the settings as text, in a new folder of the run's name; returns it.

    Raises UsageError where the extra is missing, RunError where the run was logged there already or nothing can be written.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UsageError("event files need TensorBoard: pip install 'ironbound[tensorboard]'.") from None
    path = folder / entries.name
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise RunError(f"{path} is there already. Take it away, or name another folder.")
    metrics, series = named(entries.metrics), named(entries.series)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with SummaryWriter(str(path)) as writer:
            for name, value in metrics.items():
                writer.add_scalar(name, value, 0)
            for name, steps in series.items():
                for step, value in steps:
                    writer.add_scalar(name, value, step)
            writer.add_text("run", _literal(entries.sentence), 0)
            for title, table in (("params", entries.params), ("tags", entries.tags)):
                writer.add_text(title, _literal(*(f"{name}: {value}" for name, value in table.items())), 0)
    except OSError as error:
        raise RunError(explained(path, error)) from error
    return path


def _literal(*lines: str) -> str:
    """Lines as Markdown that shows them as they are: indented, nothing in them is markup."""
    return "\n".join(f"    {shown(line)}" for line in lines)
