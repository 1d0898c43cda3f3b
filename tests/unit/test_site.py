"""The site: it builds without a warning, its pages fetch nothing, and the reference has every public name."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from pkgutil import resolve_name
from types import ModuleType
from typing import Any

import pytest

import ironbound as ib
from ironbound import testing
from ironbound.cli.app import app

ROOT = Path(__file__).parents[2]
BUILT_BY = ("mkdocs", "material", "mkdocstrings_handlers")
pytestmark = pytest.mark.skipif(any(find_spec(name) is None for name in BUILT_BY), reason="needs the extra docs")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    place = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(place)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return place


class Fetched(HTMLParser):
    """What a browser would ask for when it opens a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag == "link" and given.get("rel") in ("canonical", "prev", "next", "edit"):
            return
        if tag != "a":
            self.found += [given[name] for name in ("src", "href", "data", "poster", "srcset") if given.get(name)]


def foreign(address: str) -> bool:
    return re.match(r"(?:https?:)?//", address) is not None


def test_what_a_browser_would_ask_for_is_found():
    page = """<link rel="stylesheet" href="//a.org/x.css"><script src="https://b.org/y.js"></script><img src="z.png">
    <link rel="canonical" href="https://c.org"><a href="https://d.org">d</a>"""
    assert [address for address in Fetched(page).found if foreign(address)] == ["//a.org/x.css", "https://b.org/y.js"]


def test_no_page_fetches_anything(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 30
    asked = {address: page.name for page in pages for address in Fetched(page.read_text(encoding="utf-8")).found}
    assert not {address: page for address, page in asked.items() if foreign(address)}
    styles = {
        path: re.findall(r"url\(\s*[\"']?([^\"')]+)", path.read_text(encoding="utf-8")) for path in site.rglob("*.css")
    }
    assert styles
    assert not [(path.name, address) for path, found in styles.items() for address in found if foreign(address)]
    # the theme's script asks the host of a repository for its stars, and a host of scripts for diagrams, where a page has any
    assert not [
        page.name for page in pages if re.search('data-md-component="source"|class="mermaid"', page.read_text())
    ]


def public() -> list[tuple[str, Any]]:
    """Every public name of the package and of what it names, with what stands behind it."""
    modules = (ib, ib.recipes, ib.goals, ib.objectives, ib.oracles, ib.bounds, testing)
    named = [(f"{module.__name__}.{name}", getattr(module, name)) for module in modules for name in _names(module)]
    return [(name, found) for name, found in named if callable(found)]


def _names(module: ModuleType) -> list[str]:
    """What a module says that it offers, or all that it defines itself."""
    own = [name for name, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__]
    return list(getattr(module, "__all__", [name for name in own if not name.startswith("_")]))


def test_the_reference_has_every_public_name(site):
    pages = "".join(
        (site / f"{name}.html").read_text(encoding="utf-8") for name in ("python", "recipes", "parts", "testing")
    )
    anchors = set(re.findall(r'id="(ironbound\.[\w.]+)"', pages))
    told = {id(_named(anchor)) for anchor in anchors}
    assert len(public()) > 150
    assert not [name for name, found in public() if id(found) not in told]


def _named(anchor: str) -> Any:
    """What an anchor is about: of the fields of classes, which are no objects of their own, None."""
    try:
        return resolve_name(anchor)
    except AttributeError:
        return None


def test_every_command_and_every_example_has_its_place(site):
    commands = (site / "commands.html").read_text(encoding="utf-8")
    named = [command.name or command.callback.__name__ for command in app.registered_commands]
    assert len(named) > 8
    assert not [name for name in named if f'id="ironbound-{name}"' not in commands]
    examples = sorted((ROOT / "examples").glob("*.py"))
    guide = (site / "examples.html").read_text(encoding="utf-8")
    for path in examples:
        assert "<pre" in (site / "examples" / f"{path.stem}.html").read_text(encoding="utf-8")
        assert f"examples/{path.stem}.html" in guide


def test_links_between_pages_also_work_where_the_repository_shows_them():
    for page in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")):
        targets = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text(encoding="utf-8"))
        assert not [target for target in targets if not (page.parent / target).exists()], page.name
