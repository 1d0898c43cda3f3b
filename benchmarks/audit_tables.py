"""The audit's comparison as text: what is printed of each net, and the tables of docs/numbers.md."""

from __future__ import annotations

from typing import Any

HEAD = (
    "| net, radius (Linf) | images | clean | certified <= true <= attacked (95% interval) | AutoAttack | only we broke "
    "| only AutoAttack broke | verdict stages, CPU s | AutoAttack, CPU s | ratio | checks; curve; all else, CPU s |"
)
NETS = "| net | weights | training | CPU s of it | right when clean |"
STAGES = "| net | stage | kind | entered | decided | rows forward | rows backward | CPU s |"
ALARMS = "| net | grade | red | amber and info | cannot tell |"


def told(line: dict[str, Any]) -> str:
    """What is printed when a net is done."""
    rows = [
        f"  {one['name']:18} {one['kind']:7} entered {one['entered']:5} decided {one['decided']:5}  "
        f"rows {one['forward']:8}/{one['backward']:<8} {one['cpu']:8.2f} CPU s"
        for one in line["stages"]
    ]
    end = f"  verdict stages {line['verdict seconds']:.1f} CPU s; checks; curve; all else: {_apart(line)}; {_bracket(line)}"
    peer = line.get("peer")
    if peer is None:
        return "\n".join([f"\n{line['case']}", *rows, end, "  pyautoattack: no result is kept and it is not installed"])
    beside = (
        f"  {peer['name']}: {peer['robust']} robust, {peer['seconds']:.1f} CPU s; only ours broke {peer['only ours']}, only "
        f"theirs {peer['only theirs']}; ratio {peer['ratio']:.3f}; us a gradient row, ours {_row(line)}, theirs {_row(peer)}"
    )
    return "\n".join([f"\n{line['case']}", *rows, end, beside])


def page(lines: list[dict[str, Any]]) -> str:
    """All tables, in Markdown."""
    days = ", ".join(sorted({line["machine"]["date"] for line in lines}))
    commits = ", ".join(sorted({line["machine"]["commit"] for line in lines}))
    plans = ", ".join(sorted({line["plan"]["name"] for line in lines}))
    parts = [
        f"Plan `{plans}`, measured {days} at {commits}.",
        _table(NETS, [_net(line) for line in lines]),
        _table(HEAD, [_main(line) for line in lines]), _sentence(lines),
        "Checks that did not pass, by number (docs/checks.md): red ones on robust nets are false alarms.",
        _table(ALARMS, [_alarms(line) for line in lines]),
        "What each stage decided, and its cost:",
        _table(STAGES, [row for line in lines for row in _stages(line)]),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _table(head: str, rows: list[str]) -> str:
    return "\n".join([head, "|" + "---|" * (head.count("|") - 1), *rows])


def _net(line: dict[str, Any]) -> str:
    net, clean = line["net"], line["clean"]
    cpu = "-" if net["cpu"] is None else f"{net['cpu']:.0f}"
    return f"| {line['case']} | {net['weights']:,} | {net['training']} | {cpu} | {clean['count']} of {clean['total']} |"


def _main(line: dict[str, Any]) -> str:
    peer, samples = line.get("peer"), line["clean"]["total"]
    beside = ("-",) * 5
    if peer:
        beside = (
            f"{100 * peer['robust'] / samples:.1f}%", str(peer["only ours"]), str(peer["only theirs"]),
            f"{peer['seconds']:.1f}", f"**{peer['ratio']:.2f}**",
        )  # fmt: skip
    robust, ours, theirs, seconds, ratio = beside
    cells = (
        line["case"], str(samples), f"{100 * line['clean']['fraction']:.1f}%", _bracket(line), robust, ours, theirs,
        f"{line['verdict seconds']:.1f}", seconds, ratio, _apart(line),
    )  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def _bracket(line: dict[str, Any]) -> str:
    bracket = line["bracket"]
    low, high = bracket["interval"]
    return f"{100 * bracket['low']:.1f}% to {100 * bracket['high']:.1f}% ({100 * low:.1f}% to {100 * high:.1f}%)"


def _sentence(lines: list[dict[str, Any]]) -> str:
    """What the comparison comes to."""
    compared = [line for line in lines if "peer" in line]
    if not compared:
        return "The peer was not compared."
    samples = sum(line["clean"]["total"] for line in compared)
    higher = [line["case"] for line in compared if line["attacked"]["count"] > line["peer"]["robust"]]
    missed, won = (sum(line["peer"][key] for line in compared) for key in ("only theirs", "only ours"))
    wrong = sum(line["peer"]["certified but broken"] for line in compared)
    ours, theirs = sum(line["verdict seconds"] for line in compared), sum(line["peer"]["seconds"] for line in compared)
    rest = sum(line["apart"]["all"] for line in compared)
    return (
        f"Of {samples:,} samples AutoAttack alone broke {missed} ({100 * missed / samples:.2f}%), the audit alone {won}. Its "
        f"attacked accuracy is higher than AutoAttack's on {', '.join(higher) if higher else 'no net'}. AutoAttack broke "
        f"{wrong} of the samples that the audit certified. CPU time of the verdict stages over AutoAttack's, all nets "
        f"together: {ours / theirs:.2f}; checks, curve and all else took {rest / ours:.2f} times the verdict stages."
    )


def _alarms(line: dict[str, Any]) -> str:
    def numbers(result: str, *severities: str) -> str:
        some = [c for c in line["checks"] if c["result"] == result and c["severity"] in severities]
        return ", ".join(str(c["number"]) for c in some) or "none"

    red = numbers("fail", "red") + (" (soundness alarm)" if line["alarm"] else "")
    unsure = numbers("cannot tell", "red", "amber", "info")
    return f"| {line['case']} | {line['grade']} | {red} | {numbers('fail', 'amber', 'info')} | {unsure} |"


def _stages(line: dict[str, Any]) -> list[str]:
    rows, name = [], line["case"]
    for one in line["stages"]:
        counts = (f"{one[key]:,}" for key in ("entered", "decided", "forward", "backward"))
        rows.append("| " + " | ".join((name, one["name"], one["kind"], *counts, f"{one['cpu']:.2f}")) + " |")
        name = ""
    return rows


def _apart(line: dict[str, Any]) -> str:
    each = (line["apart"][key] for key in ("checks", "curve", "rest"))
    return "; ".join("-" if seconds is None else f"{seconds:.1f}" for seconds in each)


def _row(measured: dict[str, Any]) -> str:
    return f"{(measured['row']['before']['gradient'] + measured['row']['after']['gradient']) / 2:.0f}"
