"""The pages by keyboard, by ear and by rule: every control is reached and works without a mouse, axe-core finds nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from browser_samples import NARROW, PAGES, WIDE, axe, launched, opened, report, several

pytestmark = pytest.mark.browser

REACHABLE = "a[href], summary, select, input:checked, [tabindex='0']"
FOCUSED = """(reachable) => { const e = document.activeElement, look = e.matches('input') ? e.nextElementSibling : e;
  const all = [...document.querySelectorAll(reachable)], style = getComputedStyle(look), box = look.getBoundingClientRect();
  const inside = box.top >= -1 && box.bottom <= innerHeight + 1 || box.height > innerHeight;
  return [all.indexOf(e), style.outlineStyle, parseFloat(style.outlineWidth), inside]; }"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched() as found:
        yield found


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_every_control_is_reached_by_tab_in_order_and_shows_it(browser: Any, tmp_path: Path, width: int) -> None:
    with opened(browser, report(), tmp_path, width, reduced_motion="reduce") as seen:
        visible = seen.page.evaluate(
            f"[...document.querySelectorAll({REACHABLE!r})].flatMap((e, i) => e.checkVisibility() ? [i] : [])"
        )
        reached = []
        for _ in visible:
            seen.page.keyboard.press("Tab")
            place, style, thick, inside = seen.page.evaluate(FOCUSED, REACHABLE)
            reached.append(place)
            assert (style, thick >= 2, inside) == ("solid", True, True), seen.page.evaluate(
                "document.activeElement.outerHTML"
            )
        assert reached == visible
        assert len(visible) > 15


def shown(page: Any) -> list[str]:
    return page.evaluate(
        "[...document.querySelectorAll('.sample')].filter(e => e.checkVisibility()).map(e => e.className)"
    )


def heard(page: Any) -> str:
    """The pieces of text that a screen reader is given, one after the other."""
    nodes = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    return " ".join(node["name"]["value"].strip() for node in nodes if node["role"]["value"] == "StaticText")


def test_the_gallery_is_chosen_from_by_keyboard(browser: Any, tmp_path: Path) -> None:
    with opened(browser, report(), tmp_path) as seen:
        page = seen.page
        assert len(shown(page)) == 6
        assert "6 of 10 kept samples shown" in heard(page)
        page.get_by_role("radio", name="broken 6").focus()
        counts = []
        for _ in range(5):
            page.keyboard.press("ArrowRight")
            counts.append((len(shown(page)), page.locator("input:checked").get_attribute("class")))
        assert counts == [(2, "is-undecided"), (1, "is-certified"), (1, "is-wrong"), (10, "is-all"), (6, "is-broken")]
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.tagName") == "SELECT"
        page.keyboard.type("8")
        assert page.locator("select").input_value() == "c1"
        assert shown(page) == ["sample v-broken c1"] * 2
        assert "2 of 10 kept samples shown" in heard(page)
        page.get_by_role("radio", name="wrong 1").press("Space")
        assert shown(page) == []
        assert "0 of 10 kept samples shown" in heard(page)


def test_galleries_of_several_audits_are_chosen_from_apart(browser: Any, tmp_path: Path) -> None:
    with opened(browser, several(), tmp_path) as seen:
        assert len(shown(seen.page)) == 3
        seen.page.locator("select").first.select_option("c1")
        assert len(shown(seen.page)) == 2


def test_contents_lead_to_their_sections_wide_and_narrow(browser: Any, tmp_path: Path) -> None:
    for width, kind in ((WIDE, ".side"), (NARROW, ".slim")):
        with opened(browser, report(), tmp_path, width, reduced_motion="reduce") as seen:
            page = seen.page
            if width == NARROW:
                assert not page.locator(".side").is_visible()
                page.locator(".slim summary").press("Enter")
            page.locator(kind).get_by_role("link", name="What it cost").press("Enter")
            top = page.evaluate("document.getElementById('a1-costs').getBoundingClientRect().top")
            assert 0 <= top < 900


def test_what_is_folded_opens_by_keyboard(browser: Any, tmp_path: Path) -> None:
    with opened(browser, report(), tmp_path) as seen:
        for words, inside in (
            ("How to read this report", "Certificate"),
            ("All figures", "the threat's"),
            ("Passed", "Does question 3 hold?"),
        ):
            told = seen.page.locator(
                "main details:not(nav details)", has=seen.page.locator("summary", has_text=words)
            ).first
            assert not told.get_by_text(inside).first.is_visible()
            told.locator("summary").press("Space")
            assert told.get_by_text(inside).first.is_visible()


@pytest.fixture(scope="module")
def rules() -> str:
    return axe()


def violations(page: Any) -> list[tuple[str, str]]:
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [(rule["id"], rule["nodes"][0]["html"]) for rule in found["violations"]]


@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_no_violation(browser: Any, rules: str, tmp_path: Path, name: str) -> None:
    with opened(browser, PAGES[name](), tmp_path, bypass_csp=True) as seen:
        seen.page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        seen.page.evaluate(rules)
        for width, scheme in ((WIDE, "light"), (NARROW, "dark")):
            seen.turn(width, scheme)
            assert violations(seen.page) == []


def test_axe_would_notice_pale_text_and_a_nameless_control(browser: Any, rules: str, tmp_path: Path) -> None:
    pale = report().replace("--quiet: #575f67", "--quiet: #a0a0a0").replace('<label for="a1-class">', '<label for="b">')
    with opened(browser, pale, tmp_path, bypass_csp=True) as seen:
        seen.page.evaluate(rules)
        assert {"color-contrast", "select-name"} <= {name for name, _ in violations(seen.page)}
