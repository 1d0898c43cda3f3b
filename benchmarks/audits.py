"""The audit beside pyautoattack, net by net: outcome by sample, CPU seconds of the verdict stages, and what checks cost.

The peer's results are those that peer.py keeps. Ours are kept too, as JSON in the same cache, so that the tables can be
made again without running anything (`--shown`).
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import audit_tables
import numpy as np
import peer
from cases import Chosen
from nets import NAMES, cache, case, described, slug
from pages import into
from timing import machine
from torch import Tensor, nn

import ironbound as ib
from ironbound.auditing.audit import Audit
from ironbound.core.errors import SoundnessAlarm
from ironbound.data import load
from ironbound.models.zoo import digits_cnn

CHECK = ("number", "name", "result", "severity", "evidence", "forward", "backward", "cpu")


def run(chosen: Chosen) -> list[dict[str, Any]]:
    """One line a net; prints the tables, writes them to the cache and, where asked, into a page between two marks."""
    lines = []
    if not chosen.shown:
        _warm()
    for name in (name for name in NAMES if chosen.keeps(name)):
        line = _kept(name) if chosen.shown else _compared(name, chosen)
        if line is None:
            print(f"{name}: nothing is kept; run without --shown", flush=True)
            continue
        lines.append(line)
        print(audit_tables.told(line), flush=True)
    if not lines:
        return []
    text = audit_tables.page(lines)
    print("\n" + text)
    (cache() / "audit.md").write_text(text)
    if chosen.page is not None:
        into(chosen.page, "audit", text)
    return lines


def _warm() -> None:
    """A small audit before the clock runs, so that what is imported and compiled once counts for no net."""
    net, data = digits_cnn().eval(), load("digits:test", samples=40)
    with tempfile.TemporaryDirectory() as folder:
        ib.audit(net, (data.x, data.y), threat=ib.Linf(0.1), method="standard", out=Path(folder) / "run")


def _kept(name: str) -> dict[str, Any] | None:
    path = cache() / f"{slug(name)}.audit.json"
    return json.loads(path.read_text()) if path.exists() else None


def _compared(name: str, chosen: Chosen) -> dict[str, Any]:
    theirs = peer.cached(name)
    if theirs is None and importlib.util.find_spec("pyautoattack"):
        print(f"{name}: the peer runs first, once", flush=True)
        theirs = peer.measured(name)
    net, x, y, eps = case(name)
    line = {"case": name, "eps": eps, "net": described(name, net), **_audited(name, net, x, y, eps, chosen)}
    broken = np.isin(line.pop("verdict"), ("wrong", "broken"))
    if theirs is not None:
        proven = line.pop("proven")
        line["peer"] = {
            "robust": int((~theirs.broken).sum()), "seconds": theirs.facts["total"], "stages": theirs.facts["cpu"],
            "row": theirs.facts["row"], "machine": theirs.facts["machine"], "name": theirs.facts["peer"],
            "only ours": int((broken & ~theirs.broken).sum()), "only theirs": int((theirs.broken & ~broken).sum()),
            "certified but broken": int((proven & theirs.broken).sum()),
            "ratio": line["verdict seconds"] / theirs.facts["total"],
        }  # fmt: skip
    line.pop("proven", None)
    (cache() / f"{slug(name)}.audit.json").write_text(json.dumps(line, indent=1))
    return line


def _audited(name: str, net: nn.Module, x: Tensor, y: Tensor, eps: float, chosen: Chosen) -> dict[str, Any]:
    """What the audit says and costs. `verdict` and `proven` are arrays (n,)."""
    out = cache() / "audits" / slug(name)
    shutil.rmtree(out, ignore_errors=True)
    before, alarm, start = peer.row_costs(net, x, y), False, time.process_time()
    try:
        found = ib.audit(net, (x, y), threat=ib.Linf(eps), method=chosen.plan, out=out, curve=chosen.curve)
    except SoundnessAlarm:
        found, alarm = Audit.load(out), True
    total = time.process_time() - start
    facts, verdict = found.facts, np.array(found.verdicts)
    stages = [_stage(one) for one in (*_pilot(facts), *facts["stages"])]
    spent = sum(one["cpu"] for one in stages)
    return {
        "stages": stages, "total seconds": total, "verdict seconds": spent, "apart": _apart(facts, total, spent),
        "clean": facts["clean"], "attacked": facts["attacked"], "certified": facts["certified"],
        "bracket": facts["bracket"], "grade": facts["confidence"]["grade"], "alarm": alarm,
        "checks": [{key: c.get(key) for key in CHECK} for c in facts["checks"]],
        "notes": facts["notes"],
        "row": {"before": before, "after": peer.row_costs(net, x, y)}, "plan": facts["plan"], "machine": machine(),
        "verdict": verdict, "proven": verdict == "certified",
    }  # fmt: skip


def _pilot(facts: dict[str, Any]) -> list[dict[str, Any]]:
    """What the pilot cost, as a stage that decides nothing."""
    if not (pilot := facts.get("pilot")):
        return []
    return [{"name": "pilot", "kind": "pilot", "entered": pilot.get("samples", 0), "decided": 0, **pilot}]


def _stage(one: dict[str, Any]) -> dict[str, Any]:
    counts = {key: one.get(key, 0) for key in ("entered", "decided", "forward", "backward")}
    return {"name": one["name"], "kind": one["kind"], **counts, "cpu": one.get("cpu", one.get("seconds", 0.0))}


def _apart(facts: dict[str, Any], total: float, verdict: float) -> dict[str, float | None]:
    """CPU seconds beside the verdict stages: of checks and of the curve where the audit says so, and of all else."""
    checks = facts["cost"].get("checks", {}).get("cpu")
    curve = ((facts.get("curve") or {}).get("cost") or {}).get("cpu")
    rest = total - verdict - (checks or 0.0) - (curve or 0.0)
    return {"checks": checks, "curve": curve, "rest": rest, "all": total - verdict}
