"""Writes the tables of these pages that are made of the catalogue: `python docs/tables.py`. A test holds them to it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import ironbound as ib
from ironbound.core.catalogue import Entry
from ironbound.names import fits
from ironbound.probing.access import access_of
from ironbound.recipes import ENTRIES

PAGE = Path(__file__).with_name("choose-an-attack.md")
BEGIN, END = "<!-- attacks: begin -->", "<!-- attacks: end -->"
HEAD = "| name | what it is for | threats | sees | cost | paper |\n|---|---|---|---|---|---|"
BALLS = {"Linf": ib.Linf(0.1), "L2": ib.L2(1.0), "L1": ib.L1(1.0), "L0": ib.L0(3)}
CHANGES = {
    "Rotation": ib.Rotation(30), "Translation": ib.Translation(3), "Spatial": ib.Spatial(30, 3), "Flow": ib.Flow(1.0),
    "ColorShift": ib.ColorShift(0.1), "Brightness": ib.Brightness(0.1), "Blur": ib.Blur(1.0),
}  # fmt: skip
LISTS = {"Finite": ib.Finite([lambda x: x.flip(-1)], names=["mirrored"])}


def table() -> str:
    """All attacks of the catalogue in Markdown, by name."""
    return "\n".join([HEAD, *(_row(entry) for entry in sorted(ENTRIES, key=lambda entry: entry.name))])


def _row(entry: Entry) -> str:
    attack, words = entry.make(), " ".join((entry.make.__doc__ or "").split())
    cost = re.search(r"Cost[^:]*: (.*?)(?: Paper:|$)", words)
    assert cost is not None, f"{entry.name}: its docstring names no cost"
    said = cost[1].removesuffix(".").replace("|", "\\|")
    cells = (f"`{entry.name}`", entry.summary.removesuffix("."), _threats(attack), _sees(attack), said, _paper(entry))
    return "| " + " | ".join(cells) + " |"


def _threats(attack: Any) -> str:
    """The sets that it can run on."""
    groups = {"balls": BALLS, "changes": CHANGES, "lists": LISTS}
    fitting = {key: [name for name, threat in group.items() if fits(attack, threat)] for key, group in groups.items()}
    said = [*fitting["balls"]]
    all_changes = len(fitting["changes"]) == len(CHANGES)
    said += ["changes of images"] if all_changes else fitting["changes"]
    return ", ".join([*said, *fitting["lists"]])


def _sees(attack: Any) -> str:
    access = access_of(attack)
    return "gradients" if access == "white-box" else access


def _paper(entry: Entry) -> str:
    if entry.paper is None:
        return ""
    link = f"[{entry.paper.arxiv}](https://arxiv.org/abs/{entry.paper.arxiv})" if entry.paper.arxiv else ""
    return entry.paper.short.replace(f"arXiv {entry.paper.arxiv}", link) if link else entry.paper.short


def main() -> None:
    """Put the table between the marks of the page."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{table()}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
