"""An invented audit and its pictures, for the tests of the report."""

from __future__ import annotations

from typing import Any

import torch
from scipy.stats import beta

from ironbound.auditing.report.schema import Audit, Check, Curve, GroupFacts, Result, Severity, Share, Stage
from ironbound.showing.images import Picture


def share(count: int, total: int) -> Share:
    low = float(beta.ppf(0.025, count, total - count + 1)) if count else 0.0
    high = float(beta.ppf(0.975, count + 1, total - count)) if count < total else 1.0
    fraction = count / total if total else 0.0
    return {"count": count, "total": total, "fraction": fraction, "low": low, "high": high}


def check(number: int, result: Result = "pass", severity: Severity = "amber", **words: str) -> Check:
    facts: dict[str, Any] = {
        "name": f"name-{number}",
        "question": f"Does question {number} hold?",
        "evidence": f"Measured {number} of 64 samples.",
        "meaning": f"What {number} means.",
        "next": "" if result == "pass" else f"Do {number} next.",
    }
    return {"number": number, "result": result, "severity": severity, **(facts | words)}  # type: ignore[typeddict-item]


def group(name: str, total: int, clean: int, attacked: int, certified: int) -> GroupFacts:
    """A class or slice with these counts."""
    shares = {"clean": share(clean, total), "attacked": share(attacked, total), "certified": share(certified, total)}
    return {"name": name, "total": total, **shares}  # type: ignore[typeddict-item]


def classes(names: list[str], total: int, certified: float, attacked: float, clean: float) -> list[GroupFacts]:
    each = total // len(names)
    held = [round(each * max(0.0, attacked - 0.02 * i)) for i in range(len(names))]
    return [group(n, each, round(each * clean), h, round(each * certified)) for n, h in zip(names, held, strict=True)]


def audit(
    wrong: int = 18,
    broken: int = 281,
    certified: int = 612,
    undecided: int = 89,
    *,
    checks: list[Check] | None = None,
    names: list[str] | None = None,
    title: str = "Digits under L-inf 0.3",
) -> Audit:
    total = wrong + broken + certified + undecided
    names = list("0123456789") if names is None else names
    bottom, top, clean = share(certified, total), share(certified + undecided, total), share(total - wrong, total)
    chosen = [check(n) for n in range(1, 11)] + [check(n, "cannot tell") for n in (11, 12)]
    stages: list[Stage] = [
        {"name": n, "kind": k, "entered": e, "decided": d, "forward": f, "backward": b, "seconds": s, "cpu": 2 * s}  # type: ignore[typeddict-item]
        for n, k, e, d, f, b, s in [
            ("clean", "clean", total, wrong, total, 0, 0.21),
            ("ibp", "bound", total - wrong, certified // 2, 2 * total, 0, 0.9),
            ("apgd-margin", "attack", total - wrong - certified // 2, broken, 61_420, 60_710, 48.3),
            ("crown", "bound", undecided + certified - certified // 2, certified - certified // 2, 9_000, 9_000, 212.0),
        ]
    ]
    return {
        "schema": 2,
        "ironbound": "0.1.0",
        "created": "2026-11-02T09:30:00Z",
        "title": title,
        "model": {
            "name": "small-cnn",
            "fingerprint": "sha256:" + "4f" * 32,
            "parameters": 1_663_370,
            "outputs": "logits",
            "range": [0.0, 1.0],
        },
        "data": {
            "name": "mnist-test",
            "fingerprint": "sha256:" + "a1" * 32,
            "rows": 10_000,
            "samples": total,
            "classes": names,
        },
        "threat": {
            "spec": "linf:0.3",
            "norm": "linf",
            "radius": 0.3,
            "text": "each input value may change by at most 0.3, within [0, 1]",
        },
        "plan": {"name": "standard", "stages": [stage["name"] for stage in stages]},
        "clean": clean,
        "attacked": top,
        "certified": bottom,
        "bracket": {
            "low": bottom["fraction"],
            "high": top["fraction"],
            "interval": [bottom["low"], top["high"]],
        },
        "verdicts": {"wrong": wrong, "broken": broken, "certified": certified, "undecided": undecided},
        "stages": stages,
        "classes": classes(names, total, bottom["fraction"], top["fraction"], clean["fraction"]),
        "slices": [
            {"column": "hospital", "groups": [group("north", 60, 59, 41, 20), group("south", 9, 8, 1, 0)], "note": ""},
            {"column": "patient", "groups": [], "note": "It has 1,000 values, too many for slices."},
        ],
        "checks": chosen if checks is None else checks,
        "confidence": {"grade": "moderate", "text": "Most questions were answered; two need more samples."},
        "cost": {"forward": 73_420, "backward": 69_710, "seconds": 4_261.4, "cpu": 8_522.8},
        "seed": 0,
        "environment": {"python": "3.11.7", "torch": "2.13.0", "device": "cpu"},
        "fingerprints": {"plan": "sha256:" + "09" * 32, "code": "sha256:" + "7c" * 32},
    }


def curve(attacked: list[int], certified: list[int], total: int = 1000, samples: int | None = None) -> Curve:
    """A curve with these counts at the radii 0, 0.1, 0.2, ..., the fourth of which is the threat's."""
    samples = total if samples is None else samples
    return {
        "radii": [round(0.1 * k, 1) for k in range(len(attacked))],
        "own": 3,
        "steps": 10,
        "samples": samples,
        "total": total,
        "attacked": [share(count, samples) for count in attacked],
        "certified": [share(count, samples) for count in certified],
        "cost": {"forward": 12_345, "backward": 11_111, "cpu": 7.5},
    }


def picture(index: int = 0, shape: tuple[int, int, int] = (3, 32, 32), **facts: Any) -> Picture:
    generator = torch.Generator().manual_seed(index)
    clean = torch.empty(shape).uniform_(0, 1, generator=generator)
    change = torch.empty(shape).uniform_(-0.1, 0.1, generator=generator)
    chosen: dict[str, Any] = {
        "index": index,
        "label": "7",
        "clean_answer": "7",
        "adversarial_answer": "3",
        "clean_confidence": 0.998,
        "adversarial_confidence": 0.871,
        "verdict": "broken",
        "size": 0.1,
        "clean": clean,
        "adversarial": (clean + change).clamp(0, 1),
    }
    return Picture(**(chosen | facts))
