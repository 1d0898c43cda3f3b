"""Evidence for public texts: lines only for what a run did, with its state, and no word that claims more."""

from __future__ import annotations

import re
from typing import Any

import pytest

from ironbound.auditing.forms.junit import junit
from ironbound.auditing.forms.markdown import markdown
from ironbound.auditing.forms.sarif import sarif
from ironbound.auditing.report import wording
from ironbound.auditing.report.evidence import evidence
from ironbound.auditing.report.render import render
from report_samples import audit, check, group, share

CLAIMS = re.compile(
    r"\b(compl(y|ies|iant|iance)|conform|safe|certificate of|satisf|fulfil|meets?\b|guarantee)", re.IGNORECASE
)
RED = [check(1), check(11, "fail", "red")]


def without(*kinds: str, **counts: int) -> Any:
    """An audit whose plan had no stages of these kinds."""
    sample: Any = audit(**counts)
    sample["stages"] = [stage for stage in sample["stages"] if stage["kind"] not in kinds]
    return sample


def queried(sample: Any, name: str) -> Any:
    stage = {
        "name": name,
        "kind": "attack",
        "entered": 89,
        "decided": 2,
        "forward": 9_000,
        "backward": 0,
        "seconds": 1.0,
        "cpu": 1.0,
    }
    sample["stages"].append(stage)
    return sample


def only_clean() -> Any:
    return without("attack", "bound", wrong=20, broken=0, certified=0, undecided=80)


ATTACKED = {"wrong": 20, "broken": 30, "certified": 0, "undecided": 50}
BOUNDED = {"wrong": 20, "broken": 0, "certified": 30, "undecided": 50}
SAMPLES = {
    "both": audit(),
    "red": audit(checks=RED),
    "queries": queried(audit(), "square"),
    "attacks": without("bound", **ATTACKED),
    "bounds": without("attack", **BOUNDED),
    "bounds in vain": without("attack", wrong=20, broken=0, certified=0, undecided=80),
    "clean": only_clean(),
    "nothing": audit(0, 0, 0, 0),
}


def points(sample: Any) -> set[str]:
    return {line.point for source in evidence(sample) for line in source.lines}


@pytest.mark.parametrize("name", SAMPLES)
def test_no_word_claims_more_than_evidence(name: str) -> None:
    said = [word for s in evidence(SAMPLES[name]) for line in s.lines for word in vars(line).values()]
    assert not [word for word in said if CLAIMS.search(word)]
    page = render(SAMPLES[name], [])
    section = re.sub(r"<[^>]+>", " ", page[page.index(">Evidence for<") : page.index("<footer>")])
    assert not CLAIMS.search(section)
    for words in ("compliant", "conformity"):
        assert words not in page.lower()


def test_a_claim_would_be_seen() -> None:
    for words in ("is compliant", "in conformity with", "safe against", "meets 15(5)", "satisfies"):
        assert CLAIMS.search(words)


def test_lines_are_of_what_the_run_did() -> None:
    attacks = {"AML.T0015", "AML.T0043.000", "2.2.1"}
    queries = {"AML.T0043.001", "2.2.2, NISTAML.025"}
    formal = {"2.2.5", "TR 24029-1 and 24029-2, 5.2 and 5.3"}
    always = {"TR 24029-1", "15(1)", "15(3)"}
    either = {"AML.M0008", "2.2, NISTAML.022", "15(4)", "15(5)"}
    assert points(SAMPLES["both"]) == attacks | formal | always | either
    assert points(SAMPLES["queries"]) == attacks | queries | formal | always | either
    assert points(SAMPLES["attacks"]) == attacks | always | either
    assert points(SAMPLES["bounds"]) == formal | always | either
    assert points(SAMPLES["bounds in vain"]) == always  # no certificate, no line about formal methods
    assert points(SAMPLES["clean"]) == always
    assert queries & points(queried(audit(), "noise")) == set()


def test_figures_have_their_context_and_the_state_of_checks() -> None:
    clean, upper, lower = (audit()[kind] for kind in ("clean", "attacked", "certified"))  # type: ignore[literal-required]
    for name, sample in (("both", SAMPLES["both"]), ("red", SAMPLES["red"])):
        for source in evidence(sample):
            for line in source.lines:
                assert line.state.startswith("Weak evidence: a red check failed (name-11)") == (name == "red")
                for figure in (clean, upper, lower):
                    said = wording.percent(figure["fraction"])
                    if said in line.measured:
                        assert (
                            f"{said} ({figure['count']:,} of 1,000, 95% interval {wording.span(figure['low'], figure['high'])})"
                            in (line.measured)
                        )
    pending: Any = audit(checks=[])
    pending["confidence"]["grade"] = "none"
    assert all(line.state == "Weak evidence: the checks are pending." for s in evidence(pending) for line in s.lines)


def test_hostile_names_stay_text() -> None:
    sample: Any = audit(checks=[check(1, "fail", "red", name="<script>x</script>")])
    sample["stages"][2]["name"] = "<img src=x>"
    page = render(sample, [])
    assert "<script>" not in page
    assert "<img src=x>" not in page


# ------------------------------------------------------------------------------------- runs without attacks or bounds
def test_what_was_not_attacked_is_never_called_attacked() -> None:
    sample = SAMPLES["bounds"]
    assert wording.sentence(sample).startswith(
        "Of 100 test samples under L-inf 0.3: 30.0% certified, 80.0% right when clean, and no attack was run (95% interval"
    )
    page = render(sample, [])
    text = re.sub(r"<[^>]+>", " ", page)
    assert "No attack was run: the upper end is what is right when clean" in text
    assert "Right under attack" not in text
    assert "under attack" not in text.replace("and says nothing about attacks", "")
    red = without("attack", **BOUNDED)
    red["checks"] = RED
    assert "attacked so far" not in wording.sentence(red)


def test_what_had_no_bounds_says_so() -> None:
    sample = SAMPLES["attacks"]
    assert "at most 50.0% stay right, and no bound was run" in wording.sentence(sample)
    assert "No bound was run" in render(sample, [])
    assert share(50, 100)["fraction"] == sample["attacked"]["fraction"]
    assert "no bound was run" not in wording.sentence(SAMPLES["both"])
    neither = wording.sentence(SAMPLES["clean"])
    assert "80.0% right when clean, and no attack was run" in neither


def test_other_forms_do_not_call_it_attacked_either() -> None:
    sample: Any = {**SAMPLES["bounds"], "classes": [group("a", 90, 90, 90, 0), group("b", 90, 90, 0, 0)]}
    card, cases, log = markdown(sample), junit(sample), sarif(sample)
    assert "Not broken" not in card
    assert "No attack was run" in card
    assert "under attack" not in card.replace("says nothing about attacks", "").split("### Factors")[1].split("###")[0]
    assert "no attack was run" in cases
    assert "are right under attack, of all" not in log
    assert "are right under attack, of all" in sarif({**SAMPLES["both"], "classes": sample["classes"]})
