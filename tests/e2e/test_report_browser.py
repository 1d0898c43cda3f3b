"""The report in a real browser: it opens alone, says what it should, and fits a phone."""

from __future__ import annotations

import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest
from PIL import Image

import ironbound as ib
from ironbound.auditing.report import wording
from ironbound.auditing.report.hardening import render_hardening
from ironbound.auditing.report.render import render, render_many
from ironbound.testing import fit
from report_samples import audit, check, curve, picture

pytestmark = pytest.mark.browser

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
]
PROBE = """<!DOCTYPE html><html><head><title>waiting</title></head><body style="margin:0">
<iframe id="page" style="border:0;width:{width}px;height:800px" srcdoc="{page}"></iframe>
<script>addEventListener("load", () => {{
  const root = document.getElementById("page").contentDocument.documentElement;
  document.title = root.clientWidth + " " + root.scrollWidth;
}});</script></body></html>"""


@pytest.fixture(scope="module")
def browser() -> str:
    for name in NAMES:
        found = shutil.which(name)
        if found:
            return found
    pytest.skip(f"no browser: none of {', '.join(NAMES)} is on the path")


def _run(browser: str, page: Path, *flags: str) -> str:
    command = [browser, *FLAGS, f"--user-data-dir={page.parent / 'profile'}", *flags, page.as_uri()]
    done = subprocess.run(command, capture_output=True, timeout=90, check=True)
    return done.stdout.decode()


def _wide() -> str:
    """A report with everything that could be too wide: long names, long figures, a failed check, three audits."""
    long = "an_unbroken_name_" * 12
    sample = audit(
        231, 4_469, 3_003, 2_297, names=[long, "b"], checks=[check(1, "fail", "red", name=long, evidence=long)]
    )
    sample["model"]["name"] = sample["data"]["name"] = sample["threat"]["text"] = sample["stages"][0]["name"] = long
    sample["curve"] = curve([9_768, 9_000, 7_000, 5_300, 1], [9_768, 5_000, 4_000, 3_003, 0], 10_000)
    sample["cost"]["forward"] = sample["stages"][1]["forward"] = 123_456_789_012
    shown = picture(label=long, clean_answer=long, adversarial_answer=long)
    return render_many(
        long, [(long, sample, [shown]), ("plain", audit(), [picture(1)]), ("all", audit(5, 95, 0, 0), [])]
    )


def test_opens_alone_and_says_what_was_found(browser: str, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    sample = audit()
    sample["curve"] = curve([982, 900, 800, 701, 500], [982, 800, 700, 612, 100])
    page.write_text(render(sample, [picture()]), encoding="utf-8")
    seen = _run(browser, page, "--dump-dom")
    assert '<svg class="curve"' in seen
    assert wording.sentence(audit()) in unescape(seen)
    assert '<svg class="bracket"' in seen
    assert re.findall(r"""\ssrc\s*=\s*["'](?!data:image/png;base64,)""", seen) == []
    assert re.findall(r"""\shref\s*=\s*["'](?!#)""", seen) == []


def test_the_picture_is_drawn(browser: str, tmp_path: Path) -> None:
    page, shot = tmp_path / "report.html", tmp_path / "shot.png"
    page.write_text(render(audit(), [picture()]), encoding="utf-8")
    _run(browser, page, f"--screenshot={shot}", "--window-size=1000,900")
    image = Image.open(shot).convert("RGB")
    colours = {colour for _, colour in image.getcolors(maxcolors=1 << 24)}
    assert image.size == (1000, 900)
    assert {(0x1D, 0x4E, 0x74), (0xDF, 0xEA, 0xF3), (0xF0, 0xB6, 0x7C), (0xFD, 0xFC, 0xFA)} <= colours


def shown(shape: tuple[int, ...] = (3, 8, 8)) -> str:
    """The page of a result with long names."""
    model, x, y = fit(shape, 3, 12)
    names = ["an_unbroken_name_" * 12, "b", "c"]
    features = None if len(shape) == 3 else [f"{'feature' * 20}{i}" for i in range(shape[0])]
    return ib.attack(model, x, y, threat="linf:0.1", method="pgd").show(names=names, features=features).text


def test_a_result_is_shown_alone_and_in_a_notebook(browser: str, tmp_path: Path) -> None:
    model, x, y = fit((3, 8, 8), 3, 12)
    result, page = ib.attack(model, x, y, threat="linf:0.1", method="pgd"), tmp_path / "found.html"
    result.show(page)
    seen = _run(browser, page, "--dump-dom")
    assert seen.count("<figure>") == 12
    assert "<strong>found</strong>" in seen
    assert re.findall(r"""\ssrc\s*=\s*["'](?!data:image/png;base64,)""", seen) == []
    cell, shot = tmp_path / "notebook.html", tmp_path / "shot.png"
    cell.write_text(f"<!DOCTYPE html><body style='margin:0'>{result.show(page)._repr_html_()}</body>", encoding="utf-8")
    _run(browser, cell, f"--screenshot={shot}", "--window-size=1000,700")
    colours = {colour for _, colour in Image.open(shot).convert("RGB").getcolors(maxcolors=1 << 24)}
    assert len(colours) > 100  # pictures, not only paper and ink


@pytest.mark.parametrize("shape", [(3, 8, 8), (20,)])
@pytest.mark.parametrize("width", [390, 1200])
def test_a_shown_result_fits_its_window(browser: str, tmp_path: Path, width: int, shape: tuple[int, ...]) -> None:
    assert _widths(browser, tmp_path, width, shown(shape)) == [width, width]


@pytest.mark.parametrize("width", [390, 1200])
def test_nothing_overflows_sideways(browser: str, tmp_path: Path, width: int) -> None:
    assert _widths(browser, tmp_path, width, _wide()) == [width, width]


def _hardening(name: str = "adversarial") -> str:
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


def test_the_page_of_a_hardening_is_drawn(browser: str, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text(_hardening(), encoding="utf-8")
    seen = _run(browser, page, "--dump-dom")
    assert seen.count('<svg class="curve"') == 3
    assert seen.count('<svg class="bracket"') == 2
    assert re.findall(r"""\ssrc\s*=""", seen) == []


@pytest.mark.parametrize("width", [390, 1200])
def test_the_page_of_a_hardening_fits_its_window(browser: str, tmp_path: Path, width: int) -> None:
    assert _widths(browser, tmp_path, width, _hardening("an_unbroken_name_" * 12)) == [width, width]


def _widths(browser: str, tmp_path: Path, width: int, text: str) -> list[int]:
    """How wide the page's window is, and how wide what it holds."""
    page = tmp_path / "probe.html"  # a copy in a frame of that width, as some browsers refuse a narrow window
    quoted = text.replace("&", "&amp;").replace('"', "&quot;")
    quoted = re.sub(r"&lt;meta http-equiv=[^&]*|<meta http-equiv=[^>]*>", "", quoted)
    page.write_text(PROBE.format(width=width, page=quoted), encoding="utf-8")
    seen = _run(browser, page, "--dump-dom", "--window-size=1300,900")
    title = re.search(r"<title>(\d+) (\d+)</title>", seen)
    assert title is not None
    return [int(part) for part in title.groups()]
