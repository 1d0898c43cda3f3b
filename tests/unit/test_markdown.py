"""The model card of a run: what it says, and that names of others stay text in every dialect that is tried."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from form_samples import HOSTILE, Html, gate
from ironbound.auditing.forms.markdown import JOINER, code, markdown, words
from ironbound.core.text import shown
from report_samples import audit, check, group

MIXED = [check(1), check(2, "fail", "red"), check(3, "cannot tell"), check(4, "not applicable")]
OURS = {"h2", "h3", "p", "strong", "ul", "li", "code", "pre", "table", "thead", "tbody", "tr", "th", "td"}


RENDERERS = [MarkdownIt("commonmark"), MarkdownIt("commonmark").enable(["table", "strikethrough"])]
"""HTML let through, which is what a hostile name would want; without and with what GitHub has beyond CommonMark."""


def rendered(text: str) -> list[Html]:
    return [Html(renderer.render(text)) for renderer in RENDERERS]


def plain(text: str) -> str:
    """The words without joiners, blanks as one: renderers do with blanks what they like."""
    return " ".join(text.replace(JOINER, "").split())


def test_it_has_the_parts_of_a_model_card():
    text = markdown(audit(checks=MIXED), gate())
    heads = re.findall(r"^#+ .*", text, re.MULTILINE)
    assert heads == [
        "## Adversarial robustness", "### Gate: not passed", "### Testing data", "### Metrics", "### Results", "### Factors",
        "### Limitations", "### How to reproduce",
    ]  # fmt: skip
    assert "### Gate" not in markdown(audit())
    assert "### Gate: passed" in markdown(audit(), gate(True))


def test_no_figure_stands_without_threat_count_interval_and_checks():
    text = markdown(audit(checks=MIXED))
    state = "L-inf 0.3; 1 of 3 checks failed and 1 could not tell"
    assert f"| Not broken, attacked so far | 70.1% | 701 of 1,000 | 67.1% to 73.0% | {state} |" in text
    assert f"| Certified | 61.2% | 612 of 1,000 | 58.1% to 64.3% | {state} |" in text
    assert "evaluation itself is in doubt" in text
    sound = markdown(audit())
    assert "| Not broken by any attack that was run | 70.1% |" in sound
    assert "in doubt" not in sound
    assert "compliant" not in text
    assert "| 2 name-2 | fail (red) | Measured 2 of 64 samples. | Do 2 next. |" in text


def test_the_weakest_groups_come_first_and_are_at_most_ten():
    facts = audit()
    facts["classes"] = [group(f"c{i}", 10, 10, i % 11, 0) for i in range(30)] + [group("none", 0, 0, 0, 0)]
    text = markdown(facts)
    named = re.findall(r"^\| `(c\d+)` \|", text, re.MULTILINE)
    assert len(named) == 10
    assert named[:3] == ["c0", "c11", "c22"]
    assert "The 10 of 30 that hold least under attack." in text


def test_what_is_pending_and_noted_is_said():
    facts = audit(checks=[])
    facts["confidence"] = {"grade": "none", "text": "This is shard 1 of 2."}
    facts["shard"], facts["pending"], facts["notes"] = (
        {"number": 1, "of": 2},
        ["square on all"],
        ["Only 4.0% are right."],
    )
    text = markdown(facts)
    assert "This is shard 1 of 2 alone." in text
    assert "- Not run yet: square on all." in text
    assert "- Note: Only 4.0% are right." in text
    assert "checks pending" in text


def everywhere(hostile: str) -> str:
    facts = audit(
        checks=[check(1, "fail", evidence=hostile, name=hostile, next=hostile), check(2, "cannot tell")], title=hostile
    )
    facts["model"]["name"] = facts["data"]["name"] = facts["threat"]["spec"] = facts["threat"]["text"] = hostile
    facts["data"]["fingerprint"] = facts["plan"]["name"] = facts["created"] = hostile
    facts["classes"][0] = group(hostile, 100, 90, 0, 0)
    facts["slices"] = [
        {"column": hostile, "groups": [group(hostile, 9, 9, 9, 0), group("b", 9, 9, 9, 9)], "note": hostile}
    ]
    facts["notes"] = facts["pending"] = [hostile]
    facts["environment"] = facts["fingerprints"] = {hostile or "a": hostile}
    made = gate()
    made["reason"] = made["conditions"][1]["name"] = made["conditions"][1]["reason"] = hostile
    return markdown(facts, made)


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
def test_hostile_texts_stay_text_wherever_they_stand(hostile):
    text, harmless = everywhere(hostile), everywhere("harmless")
    assert all(char.isprintable() or char in f"\n{JOINER}" for char in text)
    for mine, same in zip(rendered(text), rendered(harmless), strict=True):
        assert set(mine.tags) <= OURS
        assert mine.attributes == []
        count = lambda page: [page.tags.count(tag) for tag in sorted(OURS - {"code"})]
        more = [a - b for a, b in zip(count(mine), count(same), strict=True)]
        assert min(more) >= -1 if not hostile.strip() else not any(more), more  # no cell, line or heading more
        assert max(more) <= 0
    cells = [len(re.findall(r"(?<!\\)\|", line)) for line in text.splitlines() if line.startswith("|")]
    assert cells == [len(re.findall(r"(?<!\\)\|", line)) for line in harmless.splitlines() if line.startswith("|")]


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.text(max_size=30) | st.text(alphabet="`*_[]()<>|~&#!\\-+=:@/. 1ab\n", max_size=12))
def test_any_text_is_rendered_as_itself(text):
    said = plain(shown(text))
    for page in rendered(f"- {words(text)}\n"):
        assert set(page.tags) <= {"ul", "li"}
        assert plain(page.words) == said
    for page in rendered(f"| a |\n| --- |\n| {code(text)} |\n")[1:]:
        assert set(page.tags) <= {"table", "thead", "tbody", "tr", "th", "td", "code"}
        assert page.tags.count("td") == 1
        assert plain(page.words) == plain(f"a {said or '(no name)'}")


def test_nothing_is_mentioned_or_linked():
    """Renderers make links and mentions of the text that is left after Markdown: joiners part what would become one."""
    linking = MarkdownIt("commonmark", {"linkify": False})
    for text in ("@team", "see a@x.test", "https://x.test", "WWW.x.test", "#123"):
        page = Html(linking.render(words(text)))
        assert plain(page.words) == text
        assert not re.search(r"@\w|://|www\.|#\d", page.words, re.IGNORECASE)
