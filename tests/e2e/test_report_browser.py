"""The pages in a real browser: they open alone, say what they should, and fit a desktop and a phone, light and dark."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import ironbound as ib
from browser_samples import NARROW, PAGES, WIDE, launched, opened, report
from ironbound.auditing.report import wording
from ironbound.auditing.report.render import render
from ironbound.testing import fit
from report_samples import audit, picture

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched() as found:
        yield found


def colours(shot: bytes) -> set[tuple[int, ...]]:
    return {colour for _, colour in Image.open(io.BytesIO(shot)).convert("RGB").getcolors(maxcolors=1 << 24)}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_silent_asks_for_nothing_and_fits(browser: Any, tmp_path: Path, name: str) -> None:
    with opened(browser, PAGES[name](), tmp_path) as seen:
        seen.page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        for width in (WIDE, NARROW):
            for scheme in ("light", "dark"):
                seen.turn(width, scheme)
                assert seen.widths == (width, width)
        assert seen.messages == []
        assert [url for url in seen.requests if not url.startswith("data:image/png;")] == [seen.page.url]


def test_a_request_a_message_and_an_overflow_would_be_noticed(browser: Any, tmp_path: Path) -> None:
    bad = "<!DOCTYPE html><img src='gone.png'><div style='width:2000px'>wide</div><script>console.log(1)</script>"
    with opened(browser, bad, tmp_path) as seen:
        assert seen.widths == (WIDE, 2000 + 8)
        assert "1" in seen.messages
        assert any(url.endswith("gone.png") for url in seen.requests)


def test_nothing_that_is_written_into_a_page_runs(browser: Any, tmp_path: Path) -> None:
    planted = report().replace("</main>", "<script>document.title = 'ran'</script></main>")
    with opened(browser, planted, tmp_path) as seen:
        assert seen.page.title() != "ran"
        assert any("Content Security Policy" in message for message in seen.messages)


def test_the_report_says_and_draws_what_was_found(browser: Any, tmp_path: Path) -> None:
    with opened(browser, render(audit(), [picture()]), tmp_path) as seen:
        page = seen.page
        assert page.locator(".lead").inner_text() == wording.sentence(audit())
        assert page.locator("svg.bracket").bounding_box()["width"] > 900
        assert {(0x1D, 0x4E, 0x74), (0xDF, 0xEA, 0xF3), (0xF0, 0xB6, 0x7C), (0xFD, 0xFC, 0xFA)} <= colours(
            page.screenshot()
        )
        # the strip after the last stage is the bracket: what is open lies where the bracket has what is undecided
        outer, strip = (page.locator(f"svg.closing >> nth=-1{part}").bounding_box() for part in ("", " >> rect.open"))
        assert (strip["x"] - outer["x"]) / outer["width"] == pytest.approx(0.612, abs=0.005)
        assert strip["width"] / outer["width"] == pytest.approx(0.089, abs=0.005)


def test_text_is_never_cut_on_a_phone(browser: Any, tmp_path: Path) -> None:
    cut = """[...document.querySelectorAll('.stack td, tbody th, .chip span, figcaption, dd, h1, h2')].filter(e =>
        e.checkVisibility() && getComputedStyle(e).display !== 'inline' && e.scrollWidth > e.clientWidth + 1)
        .map(e => e.outerHTML)"""
    for name in ("report", "several", "vectors"):
        with opened(browser, PAGES[name](), tmp_path, NARROW) as seen:
            assert seen.page.evaluate(cut) == []


def test_print_shows_all_that_is_folded_and_no_controls(browser: Any, tmp_path: Path) -> None:
    with opened(browser, report(), tmp_path, 700, "dark") as seen:
        page = seen.page
        page.emulate_media(media="print")
        for hidden in (".side", ".slim", ".filter", ".skip"):
            assert not page.locator(hidden).first.is_visible()
        assert page.locator("details:not([open])").count() > 3
        assert page.get_by_text("Does question 3 hold?").is_visible()
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert seen.widths[1] == 700
        assert page.pdf(format="A4").startswith(b"%PDF")


def test_forced_colours_keep_the_parts_apart(browser: Any, tmp_path: Path) -> None:
    with opened(browser, report(), tmp_path, forced_colors="active") as seen:
        box = seen.page.locator("svg.bracket").bounding_box()
        shot = Image.open(io.BytesIO(seen.page.screenshot())).convert("RGB")
        row = [
            shot.crop(
                (
                    int(box["x"] + box["width"] * at),
                    int(box["y"]) + 46,
                    int(box["x"] + box["width"] * at) + 16,
                    int(box["y"]) + 62,
                )
            )
            for at in (0.05, 0.62, 0.72, 0.985)
        ]
        assert len({part.tobytes() for part in row}) == 4


def test_motion_is_for_those_who_want_it(browser: Any, tmp_path: Path) -> None:
    for wish, found in (("reduce", "auto"), ("no-preference", "smooth")):
        with opened(browser, report(), tmp_path, reduced_motion=wish) as seen:
            assert seen.page.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == found


def test_a_result_is_shown_alone_and_in_a_notebook(browser: Any, tmp_path: Path) -> None:
    model, x, y = fit((3, 8, 8), 3, 12)
    page = ib.attack(model, x, y, threat="linf:0.1", method="pgd").show(tmp_path / "found.html")
    with opened(browser, page.text, tmp_path) as seen:
        assert seen.page.locator("figure").count() == 12
        assert seen.page.locator("strong", has_text=re.compile("^found$")).count() > 0
    cell = f"<!DOCTYPE html><body style='margin:0'>{page._repr_html_()}</body>"
    with opened(browser, cell, tmp_path) as seen:
        assert len(colours(seen.page.screenshot())) > 100  # pictures, not only paper and ink
        assert seen.messages == []


def test_the_page_of_a_hardening_is_drawn(browser: Any, tmp_path: Path) -> None:
    with opened(browser, PAGES["hardening"](), tmp_path) as seen:
        assert seen.page.locator("svg[role=img].curve").count() == 3
        assert seen.page.locator("svg.bracket").count() == 2
        assert seen.page.locator("[src]").count() == 0
