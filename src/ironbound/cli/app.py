"""The commands. Flags are the fields of settings.py; what a command does is in the module that it imports when it runs."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import typer

from ironbound.cli.settings import (
    AttackSettings,
    CertifySettings,
    CompareSettings,
    HardenSettings,
    MergeSettings,
    RunSettings,
    Settings,
    VerifySettings,
    settings_of,
)
from ironbound.cli.terminal import Terminal

app = typer.Typer(
    name="ironbound", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="Find out how robust a machine-learning model really is: attack it, certify it, audit it, harden it.",
    context_settings={"help_option_names": ["-h", "--help"]},
)  # fmt: skip


class Interrupted(Exception):
    """Ctrl-C, with the folder in which things can be gone on with."""

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder))
        self.folder = folder


Json = Annotated[bool, typer.Option("--json", help="print the result as JSON")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="show no progress")]
Debug = Annotated[bool, typer.Option("--debug", help="show the traceback of an error")]
Config = Annotated[str | None, typer.Option("--config", "-c", metavar="FILE", help="the same keys in a YAML file")]
_COMMON = [
    inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint)
    for name, default, hint in (
        ("config", None, Config), ("json", False, Json), ("quiet", False, Quiet), ("debug", False, Debug),
    )
]  # fmt: skip
Runs = Annotated[list[str], typer.Argument(metavar="RUN...", help="run folders, or folders of runs")]
Compared = Annotated[list[str], typer.Argument(metavar="RUN...", help="folders of harden and audit, or of these")]


Shards = Annotated[
    list[str], typer.Argument(metavar="RUN...", help="the folders of all shards, or one that holds them")
]


def _flag(name: str, kind: type[Settings]) -> inspect.Parameter:
    """A field as a flag: text, read by the settings, so that a file and a flag are told the same."""
    field = kind.model_fields[name]
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    either = field.annotation == (bool | None)
    switch = either or field.annotation is bool
    words, long = _with_default(field.description or "", field, switch), name.replace("_", "-")
    flag = f"--{long}/--no-{long}" if either else f"--{long}"
    option = typer.Option(flag, help=words, metavar=None if switch else str(extra["metavar"]))
    text: Any = list[str] if extra.get("several") else str
    hint: Any = Annotated[bool | None if switch else text | None, option]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=hint)


def _with_default(words: str, field: Any, switch: bool) -> str:
    """What a flag means, with its choices and what holds without it."""
    choices = next(
        (get_args(part) for part in (field.annotation, *get_args(field.annotation)) if get_origin(part) is Literal), ()
    )
    said = f"{words}: {', '.join(choices)}" if choices and not any(choice in words for choice in choices) else words
    if field.is_required():
        return f"{said} (needed)"
    if switch or field.default is None:
        return said
    several = field.default if isinstance(field.default, tuple) else (field.default,)
    if not several:
        return said
    return f"{said} (default: {','.join(f'{part:g}' if isinstance(part, float) else str(part) for part in several)})"


def with_flags(kind: type[Settings], *first: inspect.Parameter) -> Callable[[Callable[..., int]], Callable[..., None]]:
    """Turn a function of (settings, terminal, further arguments) into a command whose flags are the settings' fields."""

    def decorate(command: Callable[..., int]) -> Callable[..., None]:
        def call(**given: Any) -> None:
            further = {parameter.name: given[parameter.name] for parameter in first}
            terminal = Terminal(json=given["json"], quiet=given["quiet"])
            flags = {name: given[name] for name in kind.model_fields if given[name] is not None}
            settings = settings_of(kind, flags, given["config"])
            raise typer.Exit(command(settings, terminal, **further))

        parameters = [*first, *(_flag(name, kind) for name in kind.model_fields), *_COMMON]
        call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        call.__doc__, call.__name__ = command.__doc__, command.__name__
        return call

    return decorate


def _stages(verb: str, settings: RunSettings, terminal: Terminal) -> int:
    from ironbound.cli.runs import place_of, run_audit

    folder = place_of(verb, settings.out, settings.resume)
    try:
        return run_audit(verb, settings, terminal, folder)
    except KeyboardInterrupt:
        raise Interrupted(folder) from None


@app.command()
@with_flags(RunSettings)
def audit(settings: RunSettings, terminal: Terminal) -> int:
    """Bracket the true robust accuracy: certified <= true <= attacked, with checks and a report."""
    return _stages("audit", settings, terminal)


@app.command()
@with_flags(AttackSettings)
def attack(settings: AttackSettings, terminal: Terminal) -> int:
    """Search for adversarial examples: an audit of attacks alone, or one change for all samples (universal, patch)."""
    from ironbound.cli.collective import for_many, run_for_many
    from ironbound.cli.runs import place_of

    if for_many(settings):
        return run_for_many(settings, terminal, place_of("attack", settings.out, settings.resume))
    return _stages("attack", settings, terminal)


@app.command()
@with_flags(CertifySettings)
def certify(settings: CertifySettings, terminal: Terminal) -> int:
    """Prove that samples cannot be broken: an audit of bounds alone."""
    return _stages("certify", settings, terminal)


@app.command()
@with_flags(HardenSettings)
def harden(settings: HardenSettings, terminal: Terminal) -> int:
    """Train a copy of the model so that its bracket rises, and audit it before and after."""
    from ironbound.cli.runs import place_of, run_harden

    folder = place_of("harden", settings.out, settings.resume)
    try:
        return run_harden(settings, terminal, folder)
    except KeyboardInterrupt:
        raise Interrupted(folder) from None


@app.command()
@with_flags(VerifySettings, inspect.Parameter("runs", inspect.Parameter.KEYWORD_ONLY, annotation=Runs))
def verify(settings: VerifySettings, terminal: Terminal, runs: list[str]) -> int:
    """Check every witness, certificate and count of finished runs again. Exit code 1 where one does not hold."""
    from ironbound.cli.checking import run_verify

    return run_verify(runs, settings, terminal)


@app.command()
@with_flags(MergeSettings, inspect.Parameter("runs", inspect.Parameter.KEYWORD_ONLY, annotation=Shards))
def merge(settings: MergeSettings, terminal: Terminal, runs: list[str]) -> int:
    """Put all shards of an audit together into one run, and make its checks."""
    from ironbound.cli.merging import run_merge

    try:
        return run_merge(runs, settings, terminal)
    except KeyboardInterrupt:
        raise Interrupted(Path(settings.out)) from None


@app.command()
@with_flags(CompareSettings, inspect.Parameter("runs", inspect.Parameter.KEYWORD_ONLY, annotation=Compared))
def compare(settings: CompareSettings, terminal: Terminal, runs: list[str]) -> int:
    """Put hardened models side by side: clean, attacked, certified, worst class, attacks not trained on, cost."""
    from ironbound.cli.comparing import place_of_comparison, run_compare

    folder = place_of_comparison(settings)
    try:
        return run_compare(runs, settings, terminal, folder)
    except KeyboardInterrupt:
        raise Interrupted(folder or Path("compare.json")) from None


@app.command()
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
            metavar="FORM", help="html, json, markdown, junit, sarif or csv (default: html)", show_default=False
        ),
    ] = "html",
    source: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="of sarif: the file of the repository to show findings at (default: the model's)"
        ),
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Write the report of a run again, in another form, or one page for several runs."""
    from ironbound.cli.pages import run_report

    raise typer.Exit(run_report(runs, out, Terminal(json=json), form, source))


@app.command("list")
def list_(
    verb: Annotated[str | None, typer.Argument(metavar="[VERB]", help="attack, certify, audit or harden")] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """List every method that has a name, with its paper."""
    from ironbound.cli.listing import run_list

    raise typer.Exit(run_list(verb, Terminal(json=json)))


@app.command()
def cite(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="a name, or verb:name")],
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Print the papers behind methods as BibTeX."""
    from ironbound.cli.listing import run_cite

    raise typer.Exit(run_cite(names, Terminal(json=json)))


@app.command()
def demo(
    out: Annotated[str | None, typer.Option(metavar="FOLDER", help="where it goes; runs/demo")] = None,
    fast: Annotated[bool, typer.Option("--fast", help="fewer epochs, fewer samples, a shorter plan")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="go on with a demo that was interrupted")] = False,
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
