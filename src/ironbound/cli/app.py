"""The commands and where each stands in the help. What they do is in commands/; their flags are the fields of settings/."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from ironbound.cli.commands import finished, knowing, pipeline, verbs
from ironbound.cli.stopping import stoppable
from ironbound.cli.terminal import Terminal

app = typer.Typer(
    name="ironbound", no_args_is_help=True, add_completion=True, pretty_exceptions_enable=False,
    help="Find out how robust a machine-learning model really is: attack it, certify it, audit it, harden it.",
    context_settings={"help_option_names": ["-h", "--help"]},
)  # fmt: skip

PANELS: dict[str, dict[str, Callable[..., Any]]] = {
    "The four verbs": {
        "audit": verbs.audit, "attack": verbs.attack, "certify": verbs.certify, "harden": verbs.harden,
    },
    "Finished runs": {
        "verify": finished.verify, "merge": finished.merge, "compare": finished.compare, "report": finished.report,
        "gate": pipeline.gate, "log": pipeline.log,
    },
    "Finding one's way": {"probe": knowing.probe, "list": knowing.list_, "cite": knowing.cite, "demo": knowing.demo},
}  # fmt: skip

for _panel, _commands in PANELS.items():
    for _name, _command in _commands.items():
        app.command(_name, rich_help_panel=_panel)(stoppable(_command))


def _version(asked: bool) -> None:
    if asked:
        from ironbound import __version__

        Terminal().say(f"ironbound {__version__}")
        raise typer.Exit(0)


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="print the version")
    ] = False,
) -> None:
    """Takes the flags that belong to no command."""
