"""What a page contains, found by its headings, so that a section need not be listed anywhere to be linked."""

from __future__ import annotations

import re
from typing import Any

from markupsafe import Markup

FEWEST = 3
"""Headings below which a page needs no contents."""
_HEADING = re.compile(r'<h([23]) id="([^"]+)">(.*?)</h\1>', re.DOTALL)


def headings(body: Markup) -> list[dict[str, Any]]:
    """The sections of a page: id, title, and those below, which only an audit among several has.

    Titles are markup already: they were escaped where they were written.
    """
    found = list[dict[str, Any]]()
    parts = set(re.findall(r'<section class="audit" aria-labelledby="([^" ]+)', body))
    for level, name, title in _HEADING.findall(body):
        entry = {"id": name, "title": Markup(re.sub("<[^>]*>", "", title).strip()), "below": []}
        if level == "2":
            found.append(entry)
        elif found and found[-1]["id"] in parts:
            found[-1]["below"].append(entry)
    return found if len(found) >= FEWEST else []
