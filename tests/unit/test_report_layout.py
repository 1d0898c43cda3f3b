"""What holds a report together: contents, the strips by stage, the table of costs, words for beginners."""

from __future__ import annotations

import re
from typing import Any

import pytest
from markupsafe import Markup

from ironbound.auditing.report import wording
from ironbound.auditing.report.closing import closing
from ironbound.auditing.report.render import render, render_many
from ironbound.showing.contents import headings
from report_samples import audit


def rectangles(strip: str) -> list[tuple[float, float, str, str]]:
    found = re.findall(
        r'<rect x="([\d.]+)%" width="([\d.]+)%" height="22" class="(\w+)"(?: fill="url\(#a1-(\w+)\))?', strip
    )
    return [(float(x), float(width), age, part) for x, width, age, part in found]


def test_the_strips_close_the_bracket_stage_by_stage() -> None:
    steps = closing(audit(), "a1")
    assert [step["left"] for step in steps] == [982, 676, 395, 89]
    assert [step["gives"] for step in steps] == ["wrong", "certified", "broken", "certified"]
    assert rectangles(steps[0]["strip"]) == [(0, 98.2, "open", ""), (98.2, 1.8, "new", "wrong")]
    assert rectangles(steps[2]["strip"]) == [
        (0, 30.6, "old", "certified"), (30.6, 39.5, "open", ""), (70.1, 28.1, "new", "broken"), (98.2, 1.8, "old", "wrong"),
    ]  # fmt: skip
    last = rectangles(steps[3]["strip"])
    assert [(x, part) for x, _, age, part in last if age != "open"] == [
        (0, "certified"), (30.6, "certified"), (70.1, "broken"), (98.2, "wrong"),
    ]  # fmt: skip
    for step in steps:
        assert sum(width for _, width, *_ in rectangles(step["strip"])) == pytest.approx(100)


def test_stages_that_claim_more_than_there_is_never_leave_the_strip() -> None:
    sample = audit(0, 5, 5, 0)
    sample["stages"][2]["decided"] = 1_000
    for step in closing(sample, "a1"):
        assert step["left"] >= 0
        assert all(x + width <= 100 + 1e-6 for x, width, *_ in rectangles(step["strip"]))


def test_a_run_of_no_samples_has_no_strip() -> None:
    assert [step["strip"] for step in closing(audit(0, 0, 0, 0), "a1")] == [""] * 4


def test_contents_are_the_headings_of_the_page() -> None:
    page = render(audit(), [])
    side = re.findall(r'<nav class="side".*?</nav>', page, re.DOTALL)[0]
    linked = re.findall(r'href="#([^"]+)">([^<]+)<', side)
    assert linked == re.findall(r'<h2 id="([^"]+)">([^<]+)</h2>', page)
    assert {"a1-verdicts", "a1-stages", "a1-costs", "a1-facts"} <= {name for name, _ in linked}


def test_contents_of_several_audits_have_those_of_each_below() -> None:
    page = render_many("t", [("<b>one", audit(), []), ("two", audit(), [])])
    side = re.findall(r'<nav class="side".*?</nav>', page, re.DOTALL)[0]
    assert "&lt;b&gt;one" in side
    assert side.index("#a1-verdicts") < side.index('"#a2"') < side.index("#a2-verdicts")
    assert re.findall(r'<section[^>]* aria-labelledby="a\d-', page) == []  # each is named after its audit too
    assert '<section aria-labelledby="a2 a2-verdicts">' in page


def test_a_page_of_few_headings_needs_no_contents() -> None:
    two = Markup('<h2 id="a">A</h2><h3 id="b">B</h3><h2 id="c">C</h2>')
    assert headings(two) == []
    assert [entry["id"] for entry in headings(two + Markup('<h2 id="d"><em>D</em></h2>'))] == ["a", "c", "d"]


@pytest.mark.parametrize(
    ("created", "said"),
    [
        ("2026-11-02T09:30:00Z", "2 November 2026, 09:30 UTC"),
        ("2026-01-31T23:05:59+00:00", "31 January 2026, 23:05 UTC"),
        ("2026-11-02T09:30:00", "2 November 2026, 09:30"),
        ("<yesterday>", "<yesterday>"),
    ],
)
def test_the_moment_is_written_for_people(created: str, said: str) -> None:
    assert wording.moment(created) == said


def test_costs_stand_by_stage_with_their_sums_and_what_ran_beside() -> None:
    sample: Any = audit()
    sample["pilot"] = {"samples": 16, "forward": 160, "backward": 140}
    page = re.sub(r"\s+", " ", render(sample, []))
    assert "73,420 forward and 69,710 backward passes of one sample, 73.4 and 69.7 a sample" in page
    assert re.search(r"Pilot</th>.{0,200}>160<.{0,200}>140<.{0,200}>not measured<", page)


def test_the_words_of_a_report_are_explained_once() -> None:
    for page in (render(audit(), []), render_many("t", [("a", audit(), []), ("b", audit(), [])])):
        assert page.count("How to read this report") == 1
        for word in ("Bracket", "Verdict", "Witness", "Certificate"):
            assert f"<dt>{word}</dt>" in page
