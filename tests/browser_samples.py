"""A real browser for the tests of pages, the pages that it looks at, and axe-core where it can be had."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

import ironbound as ib
from ironbound.auditing.report.hardening import render_hardening
from ironbound.auditing.report.render import render, render_many
from ironbound.comparing.page import render_comparison
from ironbound.showing.attributions import Attributed, Map
from ironbound.showing.images import Picture
from ironbound.testing import fit
from report_samples import audit, check, curve, picture, share

NAMES = ("chromium", "chromium-browser", "google-chrome")
LONG = "an_unbroken_name_" * 12
WIDE, NARROW = 1280, 390
"""Pixels of the two windows that every page must fit."""


@contextmanager
def launched() -> Iterator[Any]:
    """A headless browser; the test is skipped where there is none, or no playwright to lead it."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright")
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is on the path")
    with sync_api.sync_playwright() as lead:
        browser = lead.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Opened:
    """A page in a window, with every message and request that it made."""

    page: Any
    messages: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    @property
    def widths(self) -> tuple[int, int]:
        """Of the window, and of what it holds."""
        root = "document.documentElement"
        found = self.page.evaluate(f"[{root}.clientWidth, {root}.scrollWidth]")
        return found[0], found[1]

    def turn(self, width: int, scheme: str) -> None:
        """Another width of the window, light or dark."""
        self.page.set_viewport_size({"width": width, "height": 900})
        self.page.emulate_media(color_scheme=scheme)


@contextmanager
def opened(
    browser: Any, text: str, place: Path, width: int = WIDE, scheme: str = "light", **options: Any
) -> Iterator[Opened]:
    """A text as a file in a window of its own."""
    path = place / "page.html"
    path.write_text(text, encoding="utf-8")
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **options)
    try:
        page = context.new_page()
        seen = Opened(page)
        page.on("console", lambda message: seen.messages.append(message.text))
        page.on("pageerror", lambda error: seen.messages.append(str(error)))
        page.on("request", lambda request: seen.requests.append(request.url))
        page.goto(path.as_uri())
        yield seen
    finally:
        context.close()


def samples() -> list[Picture]:
    """Pictures of every verdict and of three classes."""
    bare: dict[str, Any] = {"adversarial": None, "adversarial_answer": ""}
    broken = [picture(k, (3, 8, 8), label=str(7 + k % 3)) for k in range(6)]
    others = [("undecided", "7"), ("undecided", "8"), ("certified", "8"), ("wrong", "9")]
    return [*broken, *(picture(9 + k, (1, 8, 8), verdict=v, label=n, **bare) for k, (v, n) in enumerate(others))]


def report() -> str:
    """A report with a curve, a gallery, checks of every result and slices."""
    results = [check(n) for n in range(1, 8)] + [
        check(11, "fail", "red"),
        check(12, "cannot tell"),
        check(9, "not applicable"),
    ]
    sample = audit(checks=results)
    sample["curve"] = curve([982, 900, 800, 701, 500], [982, 800, 700, 612, 100])
    sample["notes"] = ["One thing.", "Another thing.", "A third thing."]
    alike = {name: {"cosine": 0.5, "rank": None} for name in ("gradient", "integrated")}
    said = {
        "methods": list(alike),
        "samples": 1,
        "steps": 32,
        "baseline": 0.0,
        "forward": 71,
        "backward": 66,
        "gap": 0.01,
    }
    maps = tuple(
        Map(name, torch.linspace(-1, 1, 64).reshape(1, 8, 8), torch.ones(1, 8, 8), 0.5, 0.25) for name in alike
    )
    one = Attributed(3, "7", LONG, torch.rand(1, 8, 8), torch.rand(1, 8, 8), (2.5, -0.75), maps)
    return render({**sample, "attributions": {**said, "alike": alike}}, samples(), [one])  # type: ignore[typeddict-item]


def several() -> str:
    """Three audits side by side with everything that could be too wide: long names and figures, a failed check."""
    sample = audit(
        231, 4_469, 3_003, 2_297, names=[LONG, "b"], checks=[check(1, "fail", "red", name=LONG, evidence=LONG)]
    )
    sample["model"]["name"] = sample["data"]["name"] = sample["threat"]["text"] = sample["stages"][0]["name"] = LONG
    sample["curve"] = curve([9_768, 9_000, 7_000, 5_300, 1], [9_768, 5_000, 4_000, 3_003, 0], 10_000)
    sample["cost"]["forward"] = sample["stages"][1]["forward"] = 123_456_789_012
    shown = picture(label=LONG, clean_answer=LONG, adversarial_answer=LONG)
    return render_many(
        LONG, [(LONG, sample, [shown, picture(2)]), ("plain", audit(), [picture(1)]), ("all", audit(5, 95, 0, 0), [])]
    )


def vectors() -> str:
    """A report of tabular data: a gallery of tables."""
    made = []
    for k, verdict in enumerate(("broken", "broken", "wrong", "certified")):
        clean = torch.linspace(-3, 3e4, 9)
        after = clean + torch.linspace(0, 1, 9) if verdict == "broken" else None
        made.append(Picture(k, LONG if k == 0 else "no", "no", "yes", 0.9, 0.8, verdict, 0.5, clean, after))
    return render(audit(names=[LONG, "no"]), made)


def hardening(name: str = LONG) -> str:
    """The page of a training of forty epochs between two audits."""
    rows = [
        {
            "epoch": k + 1, "loss": 2.0 / (k + 1), "clean_accuracy": 0.9, "attacked_accuracy": 0.5, "certified_accuracy": 0.1,
            "rate": 1e-3, "seconds": 12_345.6, "validation_clean": 0.8, "validation_attacked": 0.4, "validation_rows": 500,
        }
        for k in range(40)
    ]  # fmt: skip
    audits = {"before": audit(0, 100, 800, 100), "after": audit(100, 500, 200, 200)}
    return render_hardening(
        name, audits, rows, best=None, stopped="", recoveries=[], settings={"loss": name}, data="trained on 9 rows"
    )


def found(shape: tuple[int, ...] = (3, 8, 8)) -> str:
    """The page of an attack's result, with long names."""
    model, x, y = fit(shape, 3, 12)
    names = [LONG, "b", "c"]
    features = None if len(shape) == 3 else [f"{'feature' * 20}{i}" for i in range(shape[0])]
    return ib.attack(model, x, y, threat="linf:0.1", method="pgd").show(names=names, features=features).text


def comparison() -> str:
    """Two models in a table of their own and a matrix of transfer, one of them with a long name."""
    audits = [audit(0, 100, 800, 100), audit(100, 500, 200, 200)]
    known: dict[str, Any] = {
        "clean_cost": None, "role": "audited", "threat_trained_on": None, "training": None, "front": None, "folder": "x",
        "held_out": {"kinds_trained_on": None, "broken": None, "stages": []}, "gap": {"clean": None, "attacked": None},
        "ran": {"attacks": True, "bounds": True},
        "robust_per_minute": {"unit": "points per minute", "clock": None},
    }  # fmt: skip
    matrix = [[{"of_right": share(90, 100)}, {"of_right": share(5, 100)}] for _ in range(2)]
    transfer = {"way": "Each row is a model.", "from": [LONG, "b"], "to": [LONG, "b"], "cells": matrix}
    models = [{**known, "name": name} for name in (LONG, "b")]
    scope = {"text": "Two models.", "models": models, "transfer": transfer, "notes": ["A note."]}
    skipped = [{"folder": LONG, "why": "It is not finished."}]
    return render_comparison({"scopes": [scope], "skipped": skipped, "ironbound": "0.1.0"}, [audits])


PAGES = {
    "report": report, "several": several, "comparison": comparison, "vectors": vectors, "hardening": hardening, "found": found,
    "found vectors": lambda: found((20,)),
}  # fmt: skip


def axe() -> str:
    """The text of axe-core: from $IRONBOUND_AXE, else from a cache that npm fills once; else the test is skipped."""
    told = os.environ.get("IRONBOUND_AXE")
    if told:
        return Path(told).read_text(encoding="utf-8")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ironbound-tests"
    kept = cache / "axe.min.js"
    if not kept.exists():
        try:
            cache.mkdir(parents=True, exist_ok=True)
            command = ["npm", "pack", "axe-core@4", "--silent", "--fetch-retries=0", f"--pack-destination={cache}"]
            subprocess.run(command, cwd=cache, check=True, capture_output=True, timeout=30)
            packed = max(cache.glob("axe-core-*.tgz"))
            with tarfile.open(packed) as archive:
                file = archive.extractfile("package/axe.min.js")
                assert file is not None
                kept.write_bytes(file.read())
            packed.unlink()
        except (OSError, subprocess.SubprocessError, ValueError, KeyError, tarfile.TarError) as error:
            pytest.skip(f"axe-core cannot be had ({type(error).__name__}); $IRONBOUND_AXE may name its axe.min.js")
    return kept.read_text(encoding="utf-8")
