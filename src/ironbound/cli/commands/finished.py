"""Commands about runs that are finished: check them again, put them together, put them side by side, write their pages."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated

import typer

from ironbound.cli.completing import completes
from ironbound.cli.flags import Debug, Json, Runs, with_flags
from ironbound.cli.settings import CompareSettings, MergeSettings, VerifySettings
from ironbound.cli.stopping import Interrupted
from ironbound.cli.terminal import Terminal

Compared = Annotated[
    list[str],
    typer.Argument(metavar="RUN...", help="folders of harden and audit, or of these", autocompletion=completes("runs")),
]
Shards = Annotated[
    list[str],
    typer.Argument(
        metavar="RUN...", help="the folders of all shards, or one that holds them", autocompletion=completes("runs")
    ),
]


@with_flags(VerifySettings, inspect.Parameter("runs", inspect.Parameter.KEYWORD_ONLY, annotation=Runs))
def verify(settings: VerifySettings, terminal: Terminal, runs: list[str]) -> int:
    """Check every witness, certificate and count of finished runs again. Exit code 1 where one does not hold."""
    from ironbound.cli.checking import run_verify

    return run_verify(runs, settings, terminal)


@with_flags(MergeSettings, inspect.Parameter("runs", inspect.Parameter.KEYWORD_ONLY, annotation=Shards))
def merge(settings: MergeSettings, terminal: Terminal, runs: list[str]) -> int:
    """Put all shards of an audit together into one run, and make its checks."""
    from ironbound.cli.merging import run_merge

    try:
        return run_merge(runs, settings, terminal)
    except KeyboardInterrupt:
        raise Interrupted(Path(settings.out)) from None


@with_flags(CompareSettings, inspect.Parameter("runs", inspect.Parameter.KEYWORD_ONLY, annotation=Compared))
def compare(settings: CompareSettings, terminal: Terminal, runs: list[str]) -> int:
    """Put hardened models side by side: clean, attacked, certified, worst class, attacks not trained on, cost."""
    from ironbound.cli.comparing import place_of_comparison, run_compare

    folder = place_of_comparison(settings)
    try:
        return run_compare(runs, settings, terminal, folder)
    except KeyboardInterrupt:
        if folder is None:  # nothing is kept
            raise
        raise Interrupted(folder) from None


def report(
    runs: Runs,
    out: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="where it goes (default: report.html of the run; other forms to standard output)"
        ),
    ] = None,
    form: Annotated[
        str,
        typer.Option(
            metavar="FORM",
            help="html, json, markdown, junit, sarif or csv (default: html)",
            show_default=False,
            autocompletion=completes("form"),
        ),
    ] = "html",
    source: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="of sarif: the file of the repository to show findings at (default: the model's)"
        ),
    ] = None,
    slice_by: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COL,..",
            help="further columns of the data by whose values samples are told apart (default: as the run)",
        ),
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Write the report of a run again, in another form, or one page for several runs."""
    from ironbound.cli.pages import run_report

    raise typer.Exit(run_report(runs, out, Terminal(json=json), form, source, slice_by))
