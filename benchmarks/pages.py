"""Tables written into a page, between two marks."""

from __future__ import annotations

from pathlib import Path


def into(page: Path, name: str, text: str) -> None:
    """Put a section's tables between `<!-- name: begin -->` and its end, in place of what is there."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, mark, rest = page.read_text().partition(begin)
    _, close, after = rest.partition(end)
    if not mark or not close:
        raise SystemExit(f"{page} has no lines {begin} and {end} to write between")
    page.write_text(f"{before}{begin}\n\n{text}\n{end}{after}")
