"""A command's flags: the fields of its settings, and the few that all commands have."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from ironbound.cli.completing import choices_of, completer, completes
from ironbound.cli.settings import Settings, settings_of
from ironbound.cli.settings.fields import panel_of
from ironbound.cli.terminal import Terminal
from ironbound.core.errors import UsageError

WORDS = "Output"
"""The panel of what all commands have."""
Json = Annotated[bool, typer.Option("--json", help="print the result as JSON (default: off)", rich_help_panel=WORDS)]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="show no progress (default: off)", rich_help_panel=WORDS)]
Debug = Annotated[
    bool, typer.Option("--debug", help="show the traceback of an error (default: off)", rich_help_panel=WORDS)
]
Config = Annotated[
    str | None,
    typer.Option(
        "--config", "-c", metavar="FILE", help="the same keys in a YAML file; flags go before it (default: none)",
        rich_help_panel="Run", autocompletion=completes("files"),
    ),
]  # fmt: skip
_COMMON = [
    inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint)
    for name, default, hint in (
        ("config", None, Config), ("json", False, Json), ("quiet", False, Quiet), ("debug", False, Debug),
    )
]  # fmt: skip
FLAG = "_flag"
"""Behind the name of a flag whose field is an argument, too."""
Runs = Annotated[
    list[str],
    typer.Argument(metavar="RUN...", help="run folders, or folders of runs", autocompletion=completes("runs")),
]


def _flag(name: str, kind: type[Settings], argument: bool = False) -> inspect.Parameter:
    """A field as a flag: text, read by the settings, so that a file and a flag are told the same.

    argument: it is an argument, too. The flag is not shown then; it is there for who is used to it from other commands.
    """
    field = kind.model_fields[name]
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    either = field.annotation == (bool | None)
    switch = either or field.annotation is bool
    long = name.replace("_", "-")
    option = typer.Option(
        f"--{long}/--no-{long}" if either else f"--{long}",
        help=_words(field, extra, switch),
        metavar=None if switch else str(extra["metavar"]),
        rich_help_panel=panel_of(kind, name),
        autocompletion=completer(field, extra),
        hidden=argument,
    )
    text: Any = list[str] if extra.get("several") else str
    hint: Any = Annotated[bool | None if switch else text | None, option]
    name = f"{name}{FLAG}" if argument else name
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=hint)


def _words(field: Any, extra: dict[str, Any], switch: bool) -> str:
    """What a flag means, with its choices, its unit and what holds without it."""
    words, choices = field.description or "", choices_of(field)
    if choices and not any(choice in words for choice in choices):
        words = f"{words}: {', '.join(choices)}"
    unit = f"unit: {extra['unit']}" if extra.get("unit") else ""
    return f"{words} ({'; '.join(part for part in (unit, _default(field, extra, switch)) if part)})"


def _default(field: Any, extra: dict[str, Any], switch: bool) -> str:
    if field.is_required():
        return "needed"
    several = field.default if isinstance(field.default, tuple) else (field.default,)
    if field.default is None or not several:
        return f"default: {extra['absent']}"
    if switch:
        return f"default: {'on' if field.default else 'off'}"
    return f"default: {','.join(f'{part:g}' if isinstance(part, float) else str(part) for part in several)}"


def with_flags(kind: type[Settings], *first: inspect.Parameter) -> Callable[[Callable[..., int]], Callable[..., None]]:
    """Turn a function of (settings, terminal, further arguments) into a command whose flags are the settings' fields.

    first: arguments. One that is called as a field is that field; its flag does the same.
    """
    named = [parameter.name for parameter in first]
    both = [name for name in named if name in kind.model_fields]

    def decorate(command: Callable[..., int]) -> Callable[..., None]:
        def call(**given: Any) -> None:
            further = {name: given[name] for name in named if name not in kind.model_fields}
            terminal = Terminal(json=given["json"], quiet=given["quiet"])
            for name in both:
                flag = given.pop(f"{name}{FLAG}")
                if flag is not None and given[name] is not None:
                    raise UsageError(f"{name} is given twice: {given[name]!r}, and --{name} {flag!r}. Leave one out.")
                given[name] = given[name] if flag is None else flag
            flags = {name: given[name] for name in kind.model_fields if given[name] is not None}
            settings = settings_of(kind, flags, given["config"])
            raise typer.Exit(command(settings, terminal, **further))

        flags_of = (_flag(name, kind, name in both) for name in kind.model_fields)
        parameters = [*first, *flags_of, *_COMMON]
        call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        call.__doc__, call.__name__ = command.__doc__, command.__name__
        return call

    return decorate
