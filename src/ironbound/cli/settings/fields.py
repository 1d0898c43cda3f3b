"""What every key of the settings is made of: how its text is read, what the help says of it."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from ironbound.core.errors import UsageError


def _listed(value: Any) -> Any:
    """ "a,b" as two parts; a single number or a list as it is."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return [value] if isinstance(value, (int, float)) else value


def _each(value: Any) -> Any:
    """One text, or several: flags that are given several times, or a list in a file."""
    return [value] if isinstance(value, str) else value


def parts(value: Any) -> Any:
    """The same, each with parts between commas."""
    texts = _each(value)
    return [part for text in texts for part in _listed(text)] if isinstance(texts, list) else texts


def _ratio(value: Any) -> Any:
    """2/255, as papers and threats write lengths, as a number; all else as it is."""
    above, slash, below = value.partition("/") if isinstance(value, str) else ("", "", "")
    try:
        return float(above) / float(below) if slash else value
    except (ValueError, ZeroDivisionError):
        return value


def _limits(value: Any) -> Any:
    return None if value == "none" else _listed(value)


def _count(value: Any) -> Any:
    return None if value == "all" else value


def _drops(value: Any) -> Any:
    """0.01 for the attacked fraction, or "attacked=0.01,clean=0.02" as a mapping."""
    parts = _listed(value)
    if not isinstance(parts, list):
        return parts
    pairs = [str(part).partition("=") for part in parts]
    return {name.strip() if equals else "attacked": figure if equals else name for name, equals, figure in pairs}


def key(
    default: Any, words: str, shape: str = "TEXT", *, unit: str = "", absent: str = "", several: bool = False,
    values: str = "",
) -> Any:  # fmt: skip
    """A field of the settings, which is a key of a file and a flag of a command.

    words: what it means. shape: what its value looks like in the help. unit: of a number. absent: what holds without it,
    where the default None says nothing. several: whether its flag may be repeated. values: of what kind values that
    complete themselves are (completing.py): "attack", "threat", "runs", "files".
    """
    extra: Any = {"metavar": shape, "unit": unit, "absent": absent, "several": several, "values": values}
    return Field(default, description=words, json_schema_extra=extra)


Numbers = Annotated[tuple[float, ...], BeforeValidator(_listed)]
Names = Annotated[tuple[str, ...], BeforeValidator(_listed), Field(min_length=1)]
Texts = Annotated[tuple[str, ...], BeforeValidator(_each)]
Lists = Annotated[tuple[str, ...], BeforeValidator(parts)]
Limits = Annotated[tuple[float, float] | None, BeforeValidator(_limits)]
Count = Annotated[Annotated[int, Field(ge=1)] | None, BeforeValidator(_count)]
Drops = Annotated[dict[str, float], BeforeValidator(_drops)]
Positive = Annotated[int, Field(ge=1)]
Length = Annotated[float, BeforeValidator(_ratio)]
ATTRIBUTIONS = "what the report shows of why a few witnesses work: gradient, integrated, captum:NAME; or none"
CHECKS = "budget: they cost about half of what the verdicts do; full: they look at all they would like to"


class Settings(BaseModel):
    """Keys with values; there are no others."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True, frozen=True, defer_build=True)
    panel: ClassVar[str] = "Options"
    """Where its own keys stand in the help."""


def panel_of(kind: type[Settings], name: str) -> str:
    """Where a key stands in the help: with the other keys of the class that has it first."""
    home = next(one for one in reversed(kind.__mro__) if name in getattr(one, "__annotations__", {}))
    return str(getattr(home, "panel", Settings.panel))


def assigned(text: str) -> tuple[str, Any]:
    """name=value as a pair: a number, yes or no, a text, or several of them joined by +. Raises UsageError."""
    name, equals, value = (part.strip() for part in text.partition("="))
    if not (name and equals and value):
        raise UsageError(f"--set is NAME=VALUE,.., such as temperature=40; got {text!r}.")
    found = _value(value)
    if isinstance(found, str) and "+" in found:
        found = tuple(_value(part) for part in found.split("+"))
    return name.replace("-", "_"), found


def _value(text: str) -> Any:
    words = {"true": True, "yes": True, "false": False, "no": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
