"""The trainings as text: what is printed of each, and the tables of docs/numbers.md."""

from __future__ import annotations

import math
from typing import Any

HEAD = (
    "method", "net", "images, epochs", "CPU minutes of training", "clean, 10,000 images", "audit at",
    "certified <= true <= attacked", "interval bounds alone, 10,000 images", "checks passed",
)  # fmt: skip


def told(name: str, one: dict[str, Any]) -> str:
    """What is printed when one training is measured."""
    found = f"clean {_share(one['clean'])}; {_bracket(one)}; {checks_of(one['audit']['checks'])}"
    return f"{name}, seed {one['seed']}: {_minutes(one)} CPU minutes; {found}"


def page(lines: list[dict[str, Any]]) -> str:
    """The table and the settings, in Markdown."""
    seeds = [one for line in lines for one in line["seeds"]]
    days, commits = (", ".join(sorted({one["machine"][key] for one in seeds})) for key in ("date", "commit"))
    rows = [_row(line) for line in lines]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in (HEAD, ("---",) * len(HEAD), *rows))
    settings = "\n".join(f"- {line['name']}: {_settings(line['row'])}" for line in lines)
    return f"Measured {days} at {commits}.\n\n{table}\n\nSettings, where they are not the defaults:\n\n{settings}\n"


def _row(line: dict[str, Any]) -> tuple[str, ...]:
    row, seeds = line["row"], line["seeds"]
    epochs = len(seeds[0]["training"]["history"])
    bounds = [f"{several([one['bounds'][threat] for one in seeds])} at {threat}" for threat in row["bounds"]]
    return (
        f"`{line['name']}`" + (f", {len(seeds)} seeds" if len(seeds) > 1 else ""),
        f"{row['net']}, {seeds[0]['training']['weights']:,}",
        f"{seeds[0]['training']['rows']:,}, {epochs}",
        f"{sum(_minutes(one) for one in seeds) / len(seeds):.1f}",
        several([one["clean"] for one in seeds]),
        f"{row['threat']}, {row['images']:,} images",
        _brackets(seeds),
        "; ".join(bounds) or "-",
        "; ".join(dict.fromkeys(checks_of(one["audit"]["checks"]) for one in seeds)),
    )


def _minutes(one: dict[str, Any]) -> float:
    return round(one["training"]["cpu"] / 60, 1)


def _share(share: dict[str, Any]) -> str:
    return f"{share['fraction']:.1%} ({share['low']:.1%} to {share['high']:.1%})"


def several(shares: list[dict[str, Any]]) -> str:
    """One with its exact interval; several as the mean of the seeds with Student's interval over them."""
    return _share(shares[0]) if len(shares) == 1 else _mean([share["fraction"] for share in shares])


def spread(values: list[float]) -> float:
    """Half of Student's interval (95%) of the mean of several values."""
    from scipy.special import stdtrit

    count, mean = len(values), sum(values) / len(values)
    error = math.sqrt(sum((value - mean) ** 2 for value in values) / (count - 1) / count)
    return float(stdtrit(count - 1, 0.975)) * error


def _mean(values: list[float]) -> str:
    mean, half = sum(values) / len(values), spread(values)
    return f"{mean:.1%} ({max(0.0, mean - half):.1%} to {min(1.0, mean + half):.1%})"


def _bracket(one: dict[str, Any]) -> str:
    bracket = one["audit"]["bracket"]
    low, high = bracket["interval"]
    return f"{bracket['low']:.1%} to {bracket['high']:.1%} ({low:.1%} to {high:.1%})"


def _brackets(seeds: list[dict[str, Any]]) -> str:
    if len(seeds) == 1:
        return _bracket(seeds[0])
    low, high = (_mean([one["audit"]["bracket"][end] for one in seeds]) for end in ("low", "high"))
    return f"{low} <= true <= {high}"


def checks_of(found: list[dict[str, Any]]) -> str:
    """How many checks passed, and the numbers of those that did not."""
    checks = [check for check in found if check["result"] != "not applicable"]
    passed = sum(check["result"] == "pass" for check in checks)
    words = [f"{passed} of {len(checks)}"]
    for result, said in (("fail", "failed"), ("cannot tell", "cannot tell")):
        numbers = [str(check["number"]) for check in checks if check["result"] == result]
        words += [f"{said} {', '.join(numbers)}"] if numbers else []
    return "; ".join(words)


def _settings(row: dict[str, Any]) -> str:
    said = ", ".join(f"{key}={value}" for key, value in row["settings"].items())
    return f"`{row['method']}`" + (f", {said}" if said else "")
