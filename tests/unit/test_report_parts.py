"""The words and the pictures that a report is made of, each alone."""

from __future__ import annotations

import base64
import io

import pytest
import torch
from PIL import Image

from ironbound.auditing.report import wording
from ironbound.showing.images import magnified, png
from report_samples import audit, check


@pytest.mark.parametrize("severity", ["amber", "info"])
def test_other_failed_checks_do_not(severity: str) -> None:
    assert wording.accuracy(audit(checks=[check(1, "fail", severity)])) == "robust accuracy"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("results", "state"),
    [
        ([], "no checks were made"),
        (["not applicable"], "no checks were made"),
        (["pass"], "the one check passed"),
        (["fail"], "the one check failed"),
        (["pass", "pass", "not applicable"], "all 2 checks passed"),
        (["pass", "cannot tell"], "1 of 2 checks could not tell"),
        (["pass", "fail"], "1 of 2 checks failed"),
        (["fail", "cannot tell", "pass"], "1 of 3 checks failed and 1 could not tell"),
    ],
)
def test_the_state_of_the_checks(results: list, state: str) -> None:
    assert wording.checks_state(audit(checks=[check(i, r) for i, r in enumerate(results)])) == state


@pytest.mark.parametrize(
    ("spec", "norm", "said"),
    [
        ("linf:8/255", "linf", "L-inf 8/255"),
        ("L2:0.5", "l2", "L2 0.5"),
        ("linf", "linf", "L-inf 0.3"),
        ("rotation:30", "angle", "rotation:30"),
        ("linf:8/255|l2:0.5", "union", "L-inf 8/255 or L2 0.5"),
        ("l1:12 | Shade()", "union", "L1 12 or Shade()"),
        ("l0:1", "l0", "L0 1 pixel"),
        ("l0:3", "l0", "L0 3 pixels"),
        ("l0:3 (masked)", "l0", "L0 3 pixels (masked)"),
        ("l0:5 coordinates", "l0", "L0 5 coordinates"),
        ("l0:1 coordinates", "l0", "L0 1 coordinate"),
        ("l2:0.1 to 0.25", "l2", "L2 0.1 to 0.25"),
        ("Finite('dark')", "Finite", "Finite('dark')"),
    ],
)
def test_the_threat_in_short(spec: str, norm: str, said: str) -> None:
    sample = audit()
    sample["threat"].update(spec=spec, norm=norm)
    assert wording.threat(sample) == said


@pytest.mark.parametrize(
    ("spec", "norm", "value", "said"),
    [
        ("linf:8/255", "linf", 0.03137, "size 0.03137 in L-inf"),
        ("l0:3", "l0", 1.0, "1 pixel"),
        ("l0:3 coordinates", "l0", 2.0, "2 coordinates"),
        ("linf:8/255|l2:0.5", "union", 0.75, "0.75 times the radius of the nearest part"),
        ("Finite('dark')", "Finite", 1.0, "size 1"),
    ],
)
def test_the_size_of_a_change_has_a_unit(spec: str, norm: str, value: float, said: str) -> None:
    sample = audit()
    sample["threat"].update(spec=spec, norm=norm)
    assert wording.size(sample, value) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.0, "0.0%"),
        (1.0, "100.0%"),
        (0.9999, ">99.9%"),
        (0.0001, "<0.1%"),
        (0.6125, "61.3%"),
        (float("nan"), "\u2013"),
    ],
)
def test_percent_never_claims_all_or_nothing_by_rounding(value: float, said: str) -> None:
    assert wording.percent(value) == said


def test_interval_ends_round_outwards() -> None:
    assert wording.ends(0.58149, 0.72911) == ("58.1%", "73.0%")
    assert wording.ends(0.57, 0.581) == ("57.0%", "58.1%")
    assert wording.ends(0.0, 1.0) == ("0.0%", "100.0%")


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.214, "0.21 s"), (48.31, "48.3 s"), (212.0, "3 min 32 s"), (3_599.7, "1 h 00 min"), (4_261.4, "1 h 11 min")],
)
def test_durations(seconds: float, said: str) -> None:
    assert wording.duration(seconds) == said


def test_the_largest_change_fills_the_range() -> None:
    clean = torch.full((1, 2, 2), 0.5)
    change, factor = magnified(clean, clean + torch.tensor([[[0.1, -0.05], [0.0, 0.025]]]))
    assert factor == pytest.approx(5.0)
    assert change.flatten().tolist() == pytest.approx([1.0, 0.25, 0.5, 0.625], abs=1e-6)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_png_keeps_the_pixels(channels: int) -> None:
    image = torch.arange(channels * 6, dtype=torch.float32).reshape(channels, 2, 3) / 255
    kind, _, data = png(image).partition(",")
    back = torch.tensor(list(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB").tobytes())).reshape(2, 3, 3)
    wanted = image if channels in (1, 3) else image.mean(0, keepdim=True)
    assert kind == "data:image/png;base64"
    assert torch.equal(back.permute(2, 0, 1), (wanted * 255).round().long().expand(3, 2, 3))


def test_png_of_numbers_that_are_none() -> None:
    image = torch.tensor([[[float("nan"), 2.0, -1.0]]])
    data = base64.b64decode(png(image).partition(",")[2])
    assert list(Image.open(io.BytesIO(data)).tobytes()) == [0, 255, 0]


def test_what_ran_beside_the_stages_is_listed_apart() -> None:
    sample = audit()
    assert wording.apart(sample) == []
    sample["pilot"] = {"samples": 16, "forward": 160, "backward": 140}
    sample["cost"]["checks"] = {"forward": 7, "backward": 5, "cpu": 0.5}
    assert wording.apart(sample) == [("Pilot", 160, 140, None), ("Checks", 7, 5, 0.5)]


def test_a_stage_that_waited_in_vain_is_named_unless_it_is_pending() -> None:
    sample = audit()
    sample["plan"]["last"] = [
        {"name": "apgd-margin", "most": 64, "after": ""},
        {"name": "square on all", "most": None, "after": "square"},
    ]
    assert wording.not_run(sample) == ["square on all was not needed: square broke no sample."]
    sample["pending"] = ["square on all on all survivors, if square breaks one"]
    assert wording.not_run(sample) == []


def test_the_order_of_an_adaptive_plan_is_explained() -> None:
    sample = audit()
    assert wording.ordering(sample) == ""
    sample["plan"]["pilot"] = {"samples": 16, "right": 13, "forward": 1, "backward": 1, "stages": {}, "left_out": {}}
    assert "16 samples" in wording.ordering(sample)
    assert "13 that were right" in wording.ordering(sample)
