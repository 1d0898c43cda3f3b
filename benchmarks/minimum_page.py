"""The parity tables of docs/numbers.md: attacks for the smallest change, each beside the peers that have it."""

from __future__ import annotations

from typing import Any

from minimum_peers import RIVALS, Rival

HEAD = (
    "| attack, norm | who | samples | success | claimed, refused | median | mean | rows a sample, forward + backward "
    "| CPU over the floor | our CPU over theirs |"
)
NORMS = {"l2": "L2", "linf": "Linf", "l1": "L1", "l0": "L0"}


def page(lines: list[dict[str, Any]], pairs: list[tuple[str, str]]) -> str:
    """All tables, in Markdown."""
    parts = []
    for line in lines:
        rows = [row for pair in pairs for row in _rows(line, *pair)]
        if rows:
            parts.append(
                f"### {line['case']}\n\nThe {line['samples']} of its first {line['images']} images that are right when clean.\n"
            )
            parts.append("\n".join([HEAD, "|---" * HEAD.count(" |") + "|", *rows]) + "\n")
    return "\n".join(parts)


def _rows(line: dict[str, Any], attack: str, norm: str) -> list[str]:
    """Ours, then the peers that have it."""
    ours, rows = line["ours"].get(f"{attack} {norm}"), []
    if ours is None:
        return []
    title = f"`{attack}`, {NORMS[norm]}"
    rows.append(
        _row(
            f"**{title}**",
            "**ironbound**",
            ours,
            f"{ours['ratio']:.2f} ({_short(ours['beside'])})" if "ratio" in ours else "",
        )
    )
    for rival in RIVALS.get((attack, norm), []):
        found = line["rivals"].get(rival.words)
        if found is not None:
            rows.append(
                _failed(rival, found) if "failed" in found else _row("", f"{rival.library} `{rival.words}`", found, "")
            )
    return rows


def _row(title: str, who: str, line: dict[str, Any], ratio: str) -> str:
    n = line["samples"]
    refused = f"{line['claimed']}, {line['false']}" if line["false"] or line["claimed"] != line["real"] else "all hold"
    cells = (
        title, who, str(n), f"{100 * line['real'] / n:.1f}%", refused, f"{line['median']:.4g}", f"{line['mean']:.4g}",
        f"{line['forward']:.0f} + {line['backward']:.0f}", f"{line['over']:.2f}", ratio,
    )  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def _failed(rival: Rival, line: dict[str, Any]) -> str:
    return f"|  | {rival.library} `{rival.words}` | {line['samples']} | failed: {line['failed'][:80]} | | | | | | |"


def _short(words: str) -> str:
    return words.partition("(")[0]
