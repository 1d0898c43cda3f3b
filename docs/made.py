"""Pages of the site that are made of something else, so that none of them can be out of date (a hook of MkDocs).

index.md is README.md, changelog.md and contributing.md are the files of the repository, examples/NAME.md shows
examples/NAME.py (or .yml), and the commands in commands.md come from the command line itself. Links keep working in both
places: a page says `../examples/x.py`, which a repository shows as the file and the site as its page.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
WHOLE = {"README.md": "index.md", "CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
KINDS = {".py": "python", ".yml": "yaml", ".yaml": "yaml"}
COMMANDS = "<!-- commands -->"
SOURCE = "https://github.com/ironbound/ironbound/blob/main/"


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that have no file of their own below docs/."""
    for source, page in WHOLE.items():
        files.append(File.generated(config, page, content=_moved((ROOT / source).read_text(encoding="utf-8"))))
    for path in sorted((ROOT / "examples").rglob("*.*")):
        if path.suffix in KINDS and "__pycache__" not in path.parts:
            page = path.relative_to(ROOT).with_suffix(".md").as_posix()
            files.append(File.generated(config, page, content=example(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Fill in the commands, and lead what leaves docs/ to the page that shows it."""
    if COMMANDS in markdown:
        markdown = markdown.replace(COMMANDS, commands())
    above = "../" * page.file.src_uri.count("/")
    return re.sub(
        r"\]\(\.\./([^)#\s]+)(#[^)\s]*)?\)", lambda link: f"]({above}{_shown(link[1])}{link[2] or ''})", markdown
    )


def example(path: Path) -> str:
    """An example as a page: its first sentence, or its name, as the title, then all of it."""
    code, kind = path.read_text(encoding="utf-8"), KINDS[path.suffix]
    said = (ast.get_docstring(ast.parse(code)) if kind == "python" else None) or path.name
    title, _, _ = said.partition("\n")
    return f"# {title.rstrip('.')}\n\n`{path.relative_to(ROOT).as_posix()}`\n\n```{kind}\n{code.rstrip()}\n```\n"


def commands() -> str:
    """Every command with its options, as Typer documents them."""
    from typer import Context
    from typer.cli import get_docs_for_click
    from typer.main import get_command

    from ironbound.cli.app import app

    command = get_command(app)
    said = get_docs_for_click(obj=command, ctx=Context(command, info_name="ironbound"), name="ironbound")
    return said[said.index("## `") :].strip()  # the list of commands is the page's own


def _moved(text: str) -> str:
    """Links of a file at the top of the repository, as seen from docs/."""
    return re.sub(r"\]\((?!https?:|#|mailto:)([^)\s]+)\)", lambda link: f"]({_from_docs(link[1])})", text)


def _from_docs(target: str) -> str:
    return target.removeprefix("docs/") if target.startswith("docs/") else f"../{target}"


def _shown(target: str) -> str:
    """Where the site shows a file that lies outside docs/: in a page of its own, or at the repository."""
    if target in WHOLE:
        return WHOLE[target]
    if target.startswith("examples/") and Path(target).suffix in KINDS:
        return Path(target).with_suffix(".md").as_posix()
    if not (ROOT / target).exists():
        raise FileNotFoundError(f"a page links to {target}, which is not in the repository")
    return SOURCE + target
