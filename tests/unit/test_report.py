"""The report of an audit: what it says, that nothing in it can break out, and that its pictures are right."""

from __future__ import annotations

import itertools
import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest
import torch

from ironbound.auditing.report import pictures, wording
from ironbound.auditing.report.pictures import PARTS
from ironbound.auditing.report.render import render, render_many
from ironbound.showing.images import magnified
from report_samples import audit, check, curve, group, picture, share

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "]]>",
    "{{ 7 * 7 }}",
    "</style></title>",
    "' & \"",
]
VOID = {"meta", "link", "img", "br", "hr", "input", "path", "rect", "circle", "line"}


class Tree(HTMLParser):
    """Reads a document, refuses tags that do not balance, and keeps what the tests ask for."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> closes another tag"

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


def red() -> list:
    return [check(1), check(11, "fail", "red", next="Run BPDA."), check(12, "fail", "amber"), check(9, "cannot tell")]


def test_opens_with_one_sentence_that_says_what_was_found() -> None:
    sample = audit()
    low, high = wording.ends(*sample["bracket"]["interval"])
    said = f"Of 1,000 test samples under L-inf 0.3: between 61.2% and 70.1% stay right (95% interval {low} to {high})"
    tree = Tree(render(sample, [picture()]))
    assert wording.sentence(sample) == f"{said}; 2 of 12 checks could not tell."
    start = tree.text.index(sample["title"], tree.text.index("Ironbound robustness audit"))
    assert tree.text[start:].removeprefix(sample["title"]).strip().startswith(said)


def test_every_section_is_there_and_in_order() -> None:
    text = render(audit(checks=red()), [picture()])
    headings = [int(tag[1]) for tag, _ in Tree(text).tags if re.fullmatch("h[1-6]", tag)]
    assert headings[0] == 1
    assert headings.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(headings))
    titles = ["Verdicts", "Verdicts by stage", "Gallery", "Classes", "Can this evaluation be believed?", "What it cost"]
    titles.append("What was measured")
    found = [text.index(f">{title}</h2>") for title in titles]
    assert found == sorted(found)


def test_failed_checks_come_first_and_red_before_amber() -> None:
    text = Tree(render(audit(checks=red()), [])).text
    order = [text.index(f"Does question {n} hold?") for n in (11, 12, 9, 1)]
    assert order == sorted(order)
    assert "Run BPDA." in text


def test_a_failed_red_check_changes_the_wording() -> None:
    calm, doubted = render(audit(), []).lower(), render(audit(checks=red()), []).lower()
    assert "robust accuracy" in calm
    assert "attacked so far" not in calm
    assert "robust accuracy" not in doubted
    assert "attacked so far" in doubted
    assert "61.2% certified and 70.1% still right, attacked so far" in doubted


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_strings_are_text_everywhere(hostile: str) -> None:
    sample = audit(
        names=[hostile, "b"], title=hostile, checks=[check(1, "fail", "red", name=hostile, question=hostile)]
    )
    for facts in (sample["model"], sample["data"], sample["plan"]):
        facts["name"] = hostile  # type: ignore[index]
    sample["model"]["outputs"] = sample["model"]["fingerprint"] = sample["created"] = sample["ironbound"] = hostile
    sample["threat"] = {"spec": hostile, "norm": hostile, "radius": 0.3, "text": hostile}
    sample["stages"][0]["name"] = sample["confidence"]["text"] = hostile
    sample["environment"] = sample["fingerprints"] = {hostile: hostile}
    shown = picture(label=hostile, clean_answer=hostile, adversarial_answer=hostile, verdict=hostile)
    tree = Tree(render_many(hostile, [(hostile, sample, [shown]), ("b", audit(), [])]))
    assert tree.all("script") == []
    assert [image for image in tree.all("img") if not str(image["src"]).startswith("data:image/png;base64,")] == []
    assert not any(name.startswith("on") for _, attrs in tree.tags for name in attrs)
    assert tree.text.count(re.sub(r"\s+", " ", hostile)) >= 12


def test_svg_parts_are_not_escaped_twice() -> None:
    text = render(audit(), [])
    assert "&lt;rect" not in text
    assert "&lt;svg" not in text
    assert "&amp;lt;" not in text


def test_nothing_is_loaded_from_elsewhere() -> None:
    text = render(audit(), [picture()])
    tree = Tree(text)
    assert tree.all("link") == tree.all("script") == tree.all("iframe") == []
    assert re.findall(r"""(?:src|href)\s*=\s*["']?\s*(?:https?:)?//""", text) == []
    assert re.findall(r"@import|url\((?!#)", text) == []


def test_ids_are_unique_and_links_and_labels_lead_somewhere() -> None:
    tree = Tree(render_many("Two", [("a", audit(checks=red()), [picture()]), ("b", audit(), [])]))
    ids = [attrs["id"] for _, attrs in tree.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    links = [str(attrs["href"]).removeprefix("#") for attrs in tree.all("a")]
    named = [
        n for _, a in tree.tags for k in ("aria-labelledby", "aria-describedby") for n in str(a.get(k, "")).split()
    ]
    fills = re.findall(r"url\(#([^)]*)\)", " ".join(str(attrs.get("fill")) for _, attrs in tree.tags))
    assert set(links + named + fills) <= set(ids)
    assert links
    assert fills


def test_readable_by_ear() -> None:
    tree = Tree(render(audit(), [picture()]))
    assert tree.all("html")[0]["lang"] == "en"
    assert all(attrs.get("scope") in ("col", "row") for attrs in tree.all("th"))
    assert all(attrs.get("alt") for attrs in tree.all("img"))
    assert all(attrs.get("role") == "img" or attrs.get("aria-hidden") == "true" for attrs in tree.all("svg"))
    assert len(tree.all("title")) == 2  # the document's and the bracket's
    assert "A bar of all samples from left to right: certified 61.2%" in tree.text


def test_small_enough_with_many_pictures_and_large_figures() -> None:
    sample = audit(231, 4_469, 3_003, 2_297, names=[f"class {i}" for i in range(100)])
    text = render(sample, [picture(i) for i in range(64)])
    tree = Tree(text)
    assert len(text.encode()) < 5_000_000
    assert len(tree.all("img")) == 3 * 64
    assert "Of 10,000 test samples" in tree.text
    assert "4,469" in tree.text


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ((10, 100, 0, 890), "between 0.0% and 89.0% stay right"),
        ((1_000, 0, 0, 0), "0.0% stay right, with no sample undecided"),
        ((0, 0, 1_000, 0), "100.0% stay right, with no sample undecided"),
        ((0, 0, 0, 1), "between 0.0% and 100.0% stay right"),
        ((0, 0, 0, 0), "0.0% stay right"),
    ],
)
def test_the_edges_render(counts: tuple[int, int, int, int], said: str) -> None:
    tree = Tree(render(audit(*counts), []))
    assert said in tree.text
    assert "No pictures were kept." in tree.text
    widths = [float(str(a["width"]).rstrip("%")) for a in tree.all("rect") if str(a.get("fill")).startswith("url(#a1-")]
    assert all(0 < width <= 100 for width in widths)


def test_one_class_is_never_called_the_worst() -> None:
    sample = audit(names=["only"])
    sample["slices"] = []
    assert ">worst<" not in render(sample, [])


def test_the_worst_class_is_the_one_that_holds_least_and_has_samples() -> None:
    sample = audit(names=["cat", "dog", "ghost"])
    sample["classes"][2], sample["slices"] = group("ghost", 0, 0, 0, 0), []
    text = render(sample, [])
    assert re.search(r'dog <span class="tag">worst</span>', text)
    assert text.count(">worst<") == 1


def test_many_classes_show_the_weakest_first() -> None:
    sample = audit(names=[f"class-{i}" for i in range(30)])
    text = Tree(render(sample, [])).text
    shown = [name for name in re.findall(r"class-\d+", text) if name]
    assert shown == [f"class-{i}" for i in sorted(range(30), key=lambda i: sample["classes"][i]["attacked"]["count"])]
    assert "The other 10" in text


def test_class_intervals_are_exact() -> None:
    sample = audit(names=["only"])
    sample["classes"] = [group("only", 50, 49, 30, 0)]
    text = Tree(render(sample, [])).text
    for count in (49, 30, 0):
        exact = share(count, 50)
        assert wording.span(exact["low"], exact["high"]) in text


def test_slices_have_counts_and_intervals_and_say_what_was_left_out() -> None:
    text = Tree(render(audit(), [])).text
    for count, total in ((41, 60), (1, 9)):
        exact = share(count, total)
        assert f"{count} of {total}" in text
        assert wording.span(exact["low"], exact["high"]) in text
    assert re.search(r"south\s*worst", text)
    assert "It has 1,000 values, too many for slices." in text
    alone = audit()
    alone["slices"] = []
    assert "Slices" not in Tree(render(alone, [])).text


def test_both_times_of_every_stage_are_shown() -> None:
    text = re.sub(r"\s+", " ", Tree(render(audit(), [])).text)
    assert "48.3 s 1 min 37 s" in text
    assert "1 h 11 min 2 h 22 min" in text


def test_several_audits_share_one_page() -> None:
    audits = [("standard", audit(12, 988, 0, 0), []), ("hard", audit(checks=red()), [picture()]), ("sure", audit(), [])]
    tree = Tree(render_many("Three", audits))
    assert sum(attrs.get("class") == "bracket" for attrs in tree.all("svg")) == 6
    for name, sample, _ in audits:
        assert f"{name}: {wording.found(sample)}" in tree.text
        assert wording.sentence(sample) in tree.text
    assert tree.text.index("3 models, each on 1,000 test samples under L-inf 0.3") < tree.text.index("Side by side")


def test_audits_under_different_threats_name_each() -> None:
    other = audit(1, 2, 3, 4)
    other["threat"] = {"spec": "l2:0.5", "norm": "l2", "radius": 0.5, "text": "at most 0.5"}
    said = wording.comparison([("a", audit()), ("b", other)])
    assert "a: of 1,000 test samples under L-inf 0.3 between" in said
    assert "b: of 10 test samples under L2 0.5 between" in said


def test_no_audit_is_refused() -> None:
    with pytest.raises(ValueError, match="expected at least one"):
        render_many("Nothing", [])


def test_renders_what_came_back_from_json() -> None:
    sample = audit()
    assert render(json.loads(json.dumps(sample)), []) == render(sample, [])


def test_no_change_is_grey_and_said() -> None:
    clean = torch.full((3, 2, 2), 0.25)
    change, factor = magnified(clean, clean)
    assert factor == 1.0
    assert bool((change == 0.5).all())
    assert "signed change: none" in render(audit(), [picture(clean=clean, adversarial=clean)])


def test_the_factor_is_stated() -> None:
    clean = torch.full((1, 4, 4), 0.5)
    text = render(audit(), [picture(clean=clean, adversarial=clean + 8 / 255)])
    assert "\u00d715.9" in text
    assert "magnified 15.9375 times" in text


def test_bars_fill_the_width_in_order() -> None:
    tree = Tree(render(audit(), []))
    bars = [attrs for attrs in tree.all("rect") if attrs.get("height") == "46"]
    assert [re.findall(r"#a1-(\w+)", str(bar["fill"]))[0] for bar in bars] == list(PARTS)
    ends = [float(str(bar["x"])[:-1]) + float(str(bar["width"])[:-1]) for bar in bars]
    assert ends == pytest.approx([61.2, 70.1, 98.2, 100.0], abs=0.01)


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_contrast_is_at_least_four_and_a_half(mode: str) -> None:
    style = render(audit(), [])
    blocks = re.findall(r":root \{(.*?)\}", style, flags=re.DOTALL)
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", blocks[0 if mode == "light" else 1]))
    pairs = [
        (text, ground) for text in ("ink", "quiet", "accent", "red", "amber", "green") for ground in ("paper", "card")
    ]
    pairs += [(f"on-{part}", part) for part in PARTS]
    for text, ground in pairs:
        low, high = sorted(_luminance(colours[name]) for name in (text, ground))
        assert (high + 0.05) / (low + 0.05) >= 4.5, (mode, text, ground)


def test_what_was_left_out_is_said_and_escaped():
    facts = audit()
    facts["notes"] = ["Bounds were left out: <b>features.3</b> (GELU) has no bound."]
    page = render(facts, [])
    assert "Bounds were left out: &lt;b&gt;features.3&lt;/b&gt; (GELU) has no bound." in page


DOWN, UP = [982, 900, 800, 701, 500], [982, 800, 700, 612, 100]


def test_a_curve_is_drawn_said_and_tabled() -> None:
    sample: Any = {**audit(), "curve": curve(DOWN, UP)}
    text = render(sample, [picture()])
    tree = Tree(text)
    assert text.index(">Verdicts</h2>") < text.index(">Against radius</h2>") < text.index(">Verdicts by stage</h2>")
    assert "On 1,000 of 1,000 samples. The upper line" in tree.text
    assert "12,345 forward and 11,111 backward rows, 7.5 s of the processor" in tree.text
    heard = (
        "0: 98.2% and 98.2%; 0.1: 90.0% and 80.0%; 0.2: 80.0% and 70.0%; 0.3: 70.1% and 61.2%; 0.4: 50.0% and 10.0%."
    )
    assert heard in tree.text
    assert re.search(r"0\.3\s*the threat's\s*70\.1%\s*701 of 1,000", tree.text)


def test_a_curve_lies_where_its_figures_say() -> None:
    drawn = pictures.curve({**audit(), "curve": curve(DOWN, UP)}, "a1")  # type: ignore[typeddict-item]
    top, height, left, right = pictures.FIELD
    dots = re.findall(r'cx="([\d.]+)%" cy="([\d.]+)" r="4" class="dot attacked"', drawn)
    assert [float(x) for x, _ in dots] == pytest.approx([left + (right - left) * k / 4 for k in range(5)], abs=1e-3)
    assert [float(y) for _, y in dots] == pytest.approx([top + height * (1 - n / 1000) for n in DOWN], abs=1e-2)
    assert len(re.findall('class="way certified"', drawn)) == 4
    assert len(re.findall('class="span attacked"', drawn)) == 5


def test_a_curve_of_some_samples_says_so_and_one_in_doubt_says_so_far() -> None:
    sample: Any = {**audit(checks=red()), "curve": curve([64, 60, 50, 40, 20], [64, 50, 40, 30, 0], samples=64)}
    text = Tree(render(sample, [])).text
    assert "On 64 of 1,000 samples, those with the smallest keys" in text
    assert "not broken so far at that radius" in text


def test_where_there_is_no_curve_the_report_says_why_or_nothing() -> None:
    assert "Against radius" not in render(audit(), [])
    sample: Any = {**audit(), "curve": {"left_out": "No curve of <this>."}}
    text = render(sample, [])
    assert ">Against radius</h2>" in text
    assert "No curve of &lt;this&gt;." in text
    assert '<svg class="curve"' not in text
