"""The page itself: a text that stands alone, in a notebook or in a file."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from ironbound.core.store import write_text
from ironbound.core.text import shown
from ironbound.core.version import __version__
from ironbound.showing import words
from ironbound.showing.contents import headings
from ironbound.showing.images import Picture, figures, tables

IMAGE_BYTES = 4_000_000
"""For all pictures of a page, encoded; what does not fit is left out and counted."""
_HIGH = 620  # pixels of the frame in a notebook


@cache
def environment(*packages: str) -> Environment:
    """Jinja with escaping on for everything, over the templates of these packages and of this one."""
    loaders = [PackageLoader(package, "") for package in (*packages, "ironbound.showing")]
    made = Environment(
        loader=ChoiceLoader(loaders), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        finalize=_legible,
    )  # fmt: skip
    made.filters.update(count=words.count, percent=words.percent, number=words.number)
    made.globals.update(plural=words.plural, version=__version__, headings=headings)
    return made


def _legible(value: Any) -> Any:
    """Texts without what HTML cannot hold (NUL, halves of characters) and what turns the direction of writing."""
    return shown(value, "\n") if type(value) is str else value  # our own markup is of another type


@dataclass(frozen=True)
class Page:
    """An HTML page that stands alone. A notebook displays it; elsewhere `path` says where it was written."""

    text: str
    words: str
    """What it shows, in a sentence."""
    path: Path | None = None

    def save(self, path: str | Path) -> Page:
        """Write it. Raises RunError where that cannot be."""
        target = Path(path).expanduser()
        write_text(target, self.text)
        return replace(self, path=target)

    def _repr_html_(self) -> str:
        framed = html.escape(self.text, quote=True)
        return f'<iframe srcdoc="{framed}" title="Ironbound" style="width:100%;height:{_HIGH}px;border:0"></iframe>'

    def __repr__(self) -> str:
        return self.words if self.path is None else f"{self.words} Written to {self.path}"


def page_of(
    title: str, lead: str, shown: Sequence[Picture], threat: Any, features: Sequence[str] | None = None
) -> Page:
    """Pictures or vectors as a page."""
    drawn = bool(shown) and shown[0].clean.ndim == 3
    made = figures(shown, IMAGE_BYTES) if drawn else list(tables(shown, features))
    for one in made:
        one["size"] = words.size_in(threat, one["picture"].size)
    text = environment().get_template("found.html.j2").render(
        title=title, lead=lead, figures=made if drawn else [], tables=[] if drawn else made, left_out=len(shown) - len(made)
    )  # fmt: skip
    return Page(text, lead)
