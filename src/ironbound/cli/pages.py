"""`ironbound report`: the page of one run again, or of several side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ironbound.cli.checking import runs_in
from ironbound.cli.settings.fields import parts
from ironbound.cli.terminal import Terminal
from ironbound.core.errors import BROKEN, RunError, UsageError

WITNESSES = 24
"""Inputs that found.html shows, at most."""


FORMS = {"html": "html", "json": "json", "markdown": "md", "junit": "xml", "sarif": "sarif", "csv": "csv"}
"""The forms of a report, and how the names of their files end."""


def run_report(
    places: list[str], out: str | None, terminal: Terminal, form: str = "html", source: str | None = None,
    slice_by: list[str] | None = None,
) -> int:  # fmt: skip
    """Write the page, or another form, and say where it is.

    slice_by: columns, or several between commas. The run's own report.html and audit.json are both written anew with them, so
    that they say the same; a page elsewhere, or another form, leaves the run as it is.
    """
    columns = None if slice_by is None else parts(slice_by)
    if form not in FORMS:
        raise UsageError(f"--form {form} is none of {', '.join(FORMS)}.")
    if form != "html":
        return _other_form(places, out, terminal, form, source, columns)
    return _pages(places, out, terminal, columns)


def _other_form(
    places: list[str], out: str | None, terminal: Terminal, form: str, source: str | None, columns: list[str] | None
) -> int:
    """One run in another form: into a file, or to standard output where there is none."""
    from ironbound.auditing.forms.verdicts_csv import csv_blocks
    from ironbound.core.store import write_text

    folders = [folder for place in places for folder in runs_in(place)]
    if len(folders) != 1:
        named = ", ".join(str(folder) for folder in folders)
        raise UsageError(f"--form {form} is of one run, and this is {len(folders)} ({named}). Name one of them.")
    audit = _opened(folders[0], columns)
    path = None if out is None else _page(Path(out).expanduser(), f"report.{FORMS[form]}")
    if form == "csv" and path is not None:
        audit.to_csv(path)
    elif form == "csv":
        for block in csv_blocks(audit.run):
            terminal.text(block)
    else:
        text = _text_of(audit, form, source)
        terminal.text(text) if path is None else write_text(path, text)
    if path is not None:
        terminal.data({"report": str(path)}) if terminal.json else terminal.say(f"Report: {path}")
    return 0


def _text_of(audit: Any, form: str, source: str | None) -> str:
    """A form in text. Raises RunError where audit.json was altered."""
    make = {
        "json": lambda: audit.to_json() + "\n",
        "markdown": audit.to_markdown,
        "junit": audit.to_junit,
        "sarif": lambda: audit.to_sarif(source=source),
    }[form]
    try:
        return str(make())
    except BROKEN as error:
        raise RunError(f"{audit.folder}: audit.json is not what an audit writes ({error}); it was altered.") from None


def _page(path: Path, example: str) -> Path:
    if path.is_dir():
        raise UsageError(f"--out {path} is a folder; name the file: --out {path / example}.")
    return path


def _pages(places: list[str], out: str | None, terminal: Terminal, columns: list[str] | None) -> int:
    """The page of one run, or of several side by side."""
    from ironbound.auditing.reslicing import keep
    from ironbound.hardening.record import RECORD
    from ironbound.hardening.record import write_page as write_hardening

    folders = [folder for place in places for folder in runs_in(place)]
    if out is None and len(folders) > 1 and len(places) > 1:
        raise UsageError("several runs make one page: say where it belongs with --out page.html.")
    path = Path(places[0] if out is None else out).expanduser()
    path = path / "report.html" if out is None else path
    path = _page(path, "report.html")
    if out is None and (path.parent / RECORD).exists():
        if columns is not None:
            raise UsageError(
                f"{places[0]} is a hardening; slices are of its audits: {places[0]}/before, {places[0]}/after."
            )
        write_hardening(path.parent)
    elif out is None and len(folders) == 1 and columns is not None:
        keep(_opened(folders[0], columns))
    else:
        write_page(folders, path, "Audits side by side", columns=columns)
    terminal.data({"report": str(path)}) if terminal.json else terminal.say(f"Report: {path}")
    return 0


def write_page(
    folders: list[Path], path: Path, title: str, names: list[str] | None = None, columns: list[str] | None = None
) -> None:
    """One page for one run or several. Raises RunError where one is not finished or was altered."""
    from jinja2 import TemplateError

    from ironbound.auditing.report.render import render_many
    from ironbound.core.store import write_text

    unreadable: tuple[type[Exception], ...] = (*BROKEN, TemplateError)
    audits = [_opened(folder, columns) for folder in folders]
    try:
        if len(audits) == 1:
            page = audits[0].to_html()
        else:
            named = names or _names(folders, audits)
            shown = [(name, a.facts, a.pictures) for name, a in zip(named, audits, strict=True)]
            page = render_many(title, shown, [a.attributed for a in audits])
    except unreadable as error:
        places = ", ".join(str(folder) for folder in folders)
        raise RunError(f"{places}: audit.json is not what an audit writes ({error}); it was altered.") from None
    write_text(path, page)


def write_found(audit: Any, model: Any, data: Any, threat: Any, seed: int, rows: int | None) -> Path:
    """found.html of a run: the first of its witnesses, each beside its clean input, with the model's answers.

    Raises InputError for inputs that are neither pictures nor vectors.
    """
    import torch

    from ironbound.auditing.inside import around, points_of
    from ironbound.core import rows as rows_
    from ironbound.core.store import write_text
    from ironbound.showing.page import page_of
    from ironbound.showing.seen import pictures
    from ironbound.showing.words import plural

    numbers, adversarial = audit.witnesses()
    numbers = numbers[:WITNESSES]
    broken = int(audit.facts["verdicts"]["broken"])
    shown = []
    if len(numbers):
        where = {int(number): place for place, number in enumerate(data.index)}
        places = torch.tensor([where[int(number)] for number in numbers])
        x, y = model.admit(rows_.take(data.x, places), data.y[places])
        made = rows_.to(rows_.part(adversarial, slice(0, len(numbers))), model.device)
        region = around(threat, places, x, model.box)
        shown = pictures(
            model, x, y, made, index=numbers, verdicts=["found"] * len(numbers), size=region.size(points_of(region, made)).cpu(),
            names=audit.facts["data"]["classes"], seed=seed, rows=rows,
        )  # fmt: skip
    lead = f"Of {plural(audit.facts['clean']['count'], 'input')} right when clean: {broken} broken, {len(shown)} of them shown."
    path: Path = audit.folder / "found.html"
    write_text(path, page_of("What the attack found", lead, shown, threat, None).text)
    return path


def _opened(folder: Path, columns: list[str] | None = None) -> Any:
    from ironbound.auditing.audit import Audit

    audit = Audit.load(folder)
    return audit if columns is None else audit.sliced_by(*columns)


def _names(folders: list[Path], audits: list[Any]) -> list[str]:
    """The models' names where they differ, with the folders' where they do not."""
    models = [str(audit.facts["model"]["name"]) for audit in audits]
    if len(set(models)) == len(models):
        return models
    return [f"{model} ({folder.name})" for model, folder in zip(models, folders, strict=True)]
