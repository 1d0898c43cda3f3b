"""What bounds save an audit: `standard` with its bounds and without, beside AutoAttack, net by net and stage by stage.

The peer's results are those that peer.py keeps, on the same images. "Without" is the same plan with no bounds, whose attacks
start at random corners instead of the bounds' vertices. Both are made in turn, net by net, and kept in the cache. `--images`
takes the first so many; where the peer ran on more, its seconds are shared out among its robust samples, which take nearly all.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import audits
import numpy as np
import peer
from audit_tables import STAGES, _stages, _table
from cases import Chosen
from nets import NAMES, cache, case, slug
from pages import into

from ironbound.auditing.plan import Plan
from ironbound.auditing.plans import standard

HEAD = (
    "| net, radius (Linf) | images | right when clean | certified, by what | attacked, with and without bounds | AutoAttack | "
    "AutoAttack, CPU s | without bounds | with bounds | with over without | of AutoAttack's time never spent |"
)


def run(chosen: Chosen) -> list[dict[str, Any]]:
    """One line a net; prints the tables, and writes them into a page where asked."""
    lines = []
    if not chosen.shown:
        audits._warm()
    for name in (name for name in NAMES if chosen.keeps(name)):
        path = cache() / f"{slug(name)}.cascade.json"
        if not chosen.shown:
            path.write_text(json.dumps(_compared(name, chosen), indent=1))
        if path.exists():
            lines.append(json.loads(path.read_text()))
            print("\n".join([f"\n{name}", *_stages(_told(lines[-1])), _main(lines[-1])]), flush=True)
    text = page(lines) if lines else ""
    if chosen.page is not None and lines:
        into(chosen.page, "cascade", text)
    return lines


def bare() -> Plan:
    """The plan `standard` without its bounds."""
    plan = standard()
    return replace(plan, stages=tuple(stage for stage in plan.stages if stage.kind != "bound"))


def _compared(name: str, chosen: Chosen) -> dict[str, Any]:
    net, x, y, eps = case(name)
    theirs = peer.cached(name)
    total, x, y = len(x), x[: chosen.images], y[: chosen.images]
    line: dict[str, Any] = {"case": name, "eps": eps, "peer": None}
    verdicts = {}
    for kind, plan in (("with", standard()), ("without", bare())):
        made = audits._audited(f"{name} {kind}", net, x, y, eps, replace(chosen, plan=plan, curve=False))  # type: ignore[arg-type]
        verdicts[kind] = made.pop("verdict")
        made.pop("proven")
        line[kind] = made
    both = (verdicts["with"] == "certified") & np.isin(verdicts["without"], ("wrong", "broken"))
    line["certified and broken"] = int(both.sum())
    if theirs is not None:
        broken = theirs.broken[: len(x)]
        share = (~broken).sum() / (~theirs.broken).sum()
        line["peer"] = {"robust": int((~broken).sum()), "seconds": theirs.facts["total"] * share, "of": total}
        line["certified and broken"] += int(((verdicts["with"] == "certified") & broken).sum())
    return line


def page(lines: list[dict[str, Any]]) -> str:
    """Both tables, in Markdown."""
    machine = lines[0]["with"]["machine"]
    wrong = sum(line["certified and broken"] for line in lines)
    parts = [
        f"Measured {machine['date']} at {machine['commit']}.", _table(HEAD, [_main(line) for line in lines]),
        f"Of the certified samples the audit without bounds and AutoAttack broke {wrong}. What each stage of the audit with "
        "bounds decided, and its cost:",
        _table(STAGES, [row for line in lines for row in _stages(_told(line))]),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _told(line: dict[str, Any]) -> dict[str, Any]:
    return {"case": line["case"], "stages": line["with"]["stages"]}


def _main(line: dict[str, Any]) -> str:
    made, bare_, peer_ = line["with"], line["without"], line["peer"]
    proofs = [f"{one['decided']} {one['name']}" for one in made["stages"] if one["kind"] == "bound" and one["decided"]]
    ours, without = made["verdict seconds"], bare_["verdict seconds"]
    theirs = "-" if peer_ is None else f"{peer_['seconds']:.1f}"
    if peer_ is not None and peer_["of"] > made["clean"]["total"]:
        theirs = f"about {theirs}"
    spared = "-" if peer_ is None else f"**{1 - ours / peer_['seconds']:.0%}**"
    cells = (
        line["case"], str(made["clean"]["total"]), str(made["clean"]["count"]),
        f"{made['certified']['count']}" + (f": {', '.join(proofs)}" if proofs else ""),
        f"{made['attacked']['count']}, {bare_['attacked']['count']}", "-" if peer_ is None else str(peer_["robust"]),
        theirs, f"{without:.1f}", f"{ours:.1f}", f"{ours / without:.2f}", spared,
    )  # fmt: skip
    return "| " + " | ".join(cells) + " |"
