"""Commands to find one's way: what there is, where it comes from, and a demonstration."""

from __future__ import annotations

from typing import Annotated

import typer

from ironbound.cli.flags import Debug, Json, Quiet
from ironbound.cli.stopping import Interrupted
from ironbound.cli.terminal import Terminal


def list_(
    verb: Annotated[str | None, typer.Argument(metavar="[VERB]", help="attack, certify, audit or harden")] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """List every method that has a name, with its paper."""
    from ironbound.cli.listing import run_list

    raise typer.Exit(run_list(verb, Terminal(json=json)))


def cite(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="a name, or verb:name")],
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Print the papers behind methods as BibTeX."""
    from ironbound.cli.listing import run_cite

    raise typer.Exit(run_cite(names, Terminal(json=json)))


def demo(
    out: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="where it goes (default: runs/demo, or the next that is free)")
    ] = None,
    fast: Annotated[
        bool, typer.Option("--fast", help="fewer epochs, fewer samples, a shorter plan (default: off)")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="go on with a demo that was interrupted (default: off)")
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train, attack, certify and harden small networks for handwritten digits; takes a few minutes."""
    from ironbound.cli.demo import demo_place, run_demo

    place = demo_place(out, resume)
    try:
        raise typer.Exit(run_demo(place, resume, fast, Terminal(json=json, quiet=quiet)))
    except KeyboardInterrupt:
        raise Interrupted(place) from None
