"""Commands to find one's way: what there is, where it comes from, and a demonstration."""

from __future__ import annotations

import inspect
from typing import Annotated

import typer

from ironbound.cli.completing import completes
from ironbound.cli.flags import Debug, Json, Quiet, with_flags
from ironbound.cli.settings import ProbeSettings
from ironbound.cli.stopping import Interrupted
from ironbound.cli.terminal import Terminal

Probed = Annotated[
    str | None,
    typer.Argument(
        metavar="MODEL", autocompletion=completes("files"),
        help="the network: file.py:function, or package.module:function (needed, here, as --model, or in --config)",
    ),
]  # fmt: skip


@with_flags(ProbeSettings, inspect.Parameter("model", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Probed))
def probe(settings: ProbeSettings, terminal: Terminal) -> int:
    """Look at a model and its data: range, preprocessing, outputs, determinism, speed, what applies, what to mend."""
    from ironbound.cli.probing import run_probe

    return run_probe(settings, terminal)


def list_(
    kind: Annotated[
        str | None,
        typer.Argument(
            metavar="[KIND]", autocompletion=completes("kind"),
            help="attacks, sets, bounds, defenses or plans; or the verb that they are for (default: all)",
        ),
    ] = None,
    norm: Annotated[
        str | None,
        typer.Option(metavar="NAME", autocompletion=completes("norm"), rich_help_panel="What is listed",
                     help="only what goes with this kind of threat: linf, l2, l1, l0, rotation, .. (default: any)"),
    ] = None,
    access: Annotated[
        str | None,
        typer.Option(metavar="NAME", autocompletion=completes("access"), rich_help_panel="What is listed",
                     help="only attacks that see so much: white-box, scores or decisions (default: any)"),
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:  # fmt: skip
    """List what has a name: what it sees of a model, on which threats it runs, what it costs, its paper."""
    from ironbound.cli.listing import run_list

    raise typer.Exit(run_list(kind, norm, access, Terminal(json=json)))


def cite(
    names: Annotated[
        list[str],
        typer.Argument(metavar="NAME...", help="names, verb:name, or run folders", autocompletion=completes("cite")),
    ],
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Print the papers behind methods, or behind all that a run used, as BibTeX."""
    from ironbound.cli.citing import run_cite

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
