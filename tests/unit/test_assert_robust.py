"""assert_robust on models of which the answer is known: how many samples, which, in what order, and what it says."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import ironbound as ib
from audit_samples import data_of, drawn
from ironbound.asserting import robust, session
from ironbound.asserting import samples as samples_
from ironbound.asserting.found import Found, badness
from ironbound.asserting.samples import Case, order_of
from ironbound.asserting.sequential import Sequential, interval
from ironbound.auditing.passing import surveyed
from ironbound.auditing.plan import Attacking, Plan
from ironbound.core.errors import UsageError
from ironbound.data import load
from ironbound.recipes import fgsm, pgd

EPS = 0.1


class Halves(nn.Module):
    """Class 1 where the first feature is above a half: within Linf(EPS) robust exactly where it is farther away than that."""

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(2, 2)
        with torch.no_grad():
            self.line.weight.copy_(torch.tensor([[-4.0, 0.0], [4.0, 0.0]]))
            self.line.bias.copy_(torch.tensor([2.0, -2.0]))

    def forward(self, x: Tensor) -> Tensor:
        return self.line(x)


def made(robust_share: float, samples: int = 400, wrong: float = 0.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Samples of which this share is robust, and this share wrong when clean, each by a draw of its own."""
    u = drawn(samples, 4, seed=seed)
    far = torch.where(u[:, 0] < robust_share + wrong, 0.2 + 0.2 * u[:, 1], 0.01 + 0.08 * u[:, 1])
    up = u[:, 2] < 0.5
    x = torch.stack([torch.where(up, 0.5 + far, 0.5 - far), u[:, 3]], 1)
    return x, torch.where(u[:, 0] < wrong, ~up, up).long()


def truth(x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """By formulas: which samples are right, and robust."""
    right = (x[:, 0] > 0.5).long() == y
    return {"clean": right, "attacked": right & ((x[:, 0] - 0.5).abs() > EPS)}


def ask(data: Any, **options: Any) -> Found:
    """What was found, whether it passed or not."""
    try:
        return robust.assert_robust(Halves(), data, **{"threat": ib.Linf(EPS), "method": "fgsm", **options})
    except ib.NotRobust as failure:
        return failure.found


@pytest.fixture(autouse=True)
def outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where no pytest runs, so that the plugin changes nothing here."""
    monkeypatch.setattr(session, "_current", [])


# ------------------------------------------------------------------------------------------------------------- figures
@pytest.mark.parametrize("share", [0.0, 0.2, 0.35, 0.55, 0.7, 1.0])
def test_it_stops_at_the_sample_that_decides(share: float) -> None:
    x, y = made(share)
    order = order_of(surveyed(load((x, y))), 0)
    robust_ = truth(x, y)["attacked"][order].cumsum(0).tolist()
    test = Sequential.at(0.45, 0.95)
    expected = next(
        ((n, test.decide(k, n)) for n, k in enumerate(robust_, 1) if test.decide(k, n)), (400, "cannot tell")
    )
    found = ask((x, y), attacked_at_least=0.45)
    figure = found.figures[0]
    assert (figure.total, figure.result) == expected
    assert figure.count == robust_[figure.total - 1]
    assert (figure.low, figure.high) == interval(figure.count, figure.total)
    assert (found.used, found.available) == (figure.total, 400)
    assert found.passed == (figure.result == "pass")
    assert sum(found.kinds.values()) == (0 if found.passed else figure.total - figure.count)


def test_neither_batches_nor_the_order_of_the_data_change_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = made(0.56)
    found = ask((x, y), attacked_at_least=0.45)
    assert 40 < found.used < 400
    for few in (1, 7, 400):
        monkeypatch.setattr(robust, "FEW", few)
        assert ask((x, y), attacked_at_least=0.45).figures == found.figures
    mixed = torch.tensor(np.random.Generator(np.random.Philox(1)).permutation(400))
    assert ask((x[mixed], y[mixed]), attacked_at_least=0.45, rows=3).figures == found.figures
    assert ask((x, y), attacked_at_least=0.45, seed=1).figures != found.figures


def test_nor_do_batches_where_samples_run_out(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = made(0.56)
    found = []
    for few in (1, 100):
        monkeypatch.setattr(robust, "FEW", few)
        found.append(ask((x[:100], y[:100]), attacked_at_least=0.56))
    assert found[0].result == "cannot tell"
    assert found[0].used < 100
    assert found[1].figures == found[0].figures


def test_equal_samples_are_not_neighbours() -> None:
    """Planted before: by content alone the first samples would all be copies of one."""
    x = torch.tensor([[0.1, 0.5], [0.55, 0.5]]).repeat_interleave(torch.tensor([120, 280]), 0)
    data = load((x, (x[:, 0] > 0.5).long()))
    order = order_of(surveyed(data), 0)
    assert sorted(order.tolist()) == list(range(400))
    first = sum(int((x[order[:50], 0] < 0.5).sum()) for order in (order_of(surveyed(data), seed) for seed in range(8)))
    assert abs(first - 0.3 * 400) < 4 * math.sqrt(0.3 * 0.7 * 400)
    assert ask((x, data.y), attacked_at_least=0.6).result == "below"


def test_all_three_are_decided_each_by_its_own_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = made(0.9, wrong=0.05)
    seen = list[tuple[int, set[str]]]()
    whole = robust.Stream.cases

    def spied(self: Any, start: int, count: int, requirements: set[str]) -> Any:
        seen.append((start, requirements))
        return whole(self, start, count, requirements)

    monkeypatch.setattr(robust.Stream, "cases", spied)
    found = ask((x, y), method="quick", clean_at_least=0.85, attacked_at_least=0.5, certified_at_least=0.4)
    assert found.passed
    assert [figure.requirement for figure in found.figures] == ["clean", "attacked", "certified"]
    clean, attacked, certified = found.figures
    assert clean.total > attacked.total >= certified.total
    assert found.used == clean.total
    assert seen[0][1] == {"clean", "attacked", "certified"}
    assert seen[-1][1] == {"clean"}
    order = order_of(surveyed(load((x, y))), 0)
    for figure in (clean, attacked):
        assert figure.count == int(truth(x, y)[figure.requirement][order[: figure.total]].sum())
    assert certified.count == int(
        truth(x, y)["attacked"][order[: certified.total]].sum()
    )  # a linear net: bounds are exact
    assert "sequential test" in str(found)


def test_one_that_fails_ends_it() -> None:
    found = ask(made(0.05), clean_at_least=0.9, attacked_at_least=0.45)
    assert [figure.result for figure in found.figures] == ["open", "below"]
    assert found.used == found.figures[1].total < 15
    assert str(found).startswith("attacked accuracy under L-inf 0.1 is below 0.45: ")
    assert "clean accuracy, at least 0.9: not decided yet when this was: " in str(found)


def test_a_model_that_is_worse_when_clean_is_told_so() -> None:
    found = ask(made(0.2, wrong=0.7), clean_at_least=0.8)
    assert found.result == "below"
    assert "clean accuracy is below 0.8: " in str(found)
    assert "when clean" in str(found)
    assert "method" not in str(found)  # no attack has run
    assert found.method == ""


# -------------------------------------------------------------------------------------------------- running out, the ends
def test_running_out_of_samples_is_a_failure_that_says_so() -> None:
    x, y = made(0.5, 40, seed=3)
    with pytest.raises(
        AssertionError, match=r"^ran out of samples: whether attacked accuracy under L-inf 0\.1 is at least 0\.45"
    ):
        robust.assert_robust(Halves(), (x, y), threat="linf:0.1", method="fgsm", attacked_at_least=0.45)
    found = ask((x, y), attacked_at_least=0.45)
    assert found.result == "cannot tell"
    assert found.used <= 40
    assert "samples more would tell, if they were like these." in str(found) or "would hardly help" in str(found)


def test_it_stops_where_no_sample_that_is_left_could_decide() -> None:
    data = made(1.0, 5)
    found = ask(data, attacked_at_least=0.45)
    assert found.used == 0
    assert "it takes 7 at least" in str(found)
    assert ask(made(1.0, 7), attacked_at_least=0.45).passed


def test_a_share_of_one_and_of_nothing() -> None:
    assert ask(made(0.0), attacked_at_least=0.0).used == 0
    assert ask(made(0.0), attacked_at_least=0).passed
    found = ask(made(1.0, 60), attacked_at_least=1)
    assert found.used == 60
    assert "No number of samples can show a share of 1." in str(found)
    found = ask(made(0.5, 60), attacked_at_least=1.0)
    assert (found.result, found.figures[0].total - found.figures[0].count) == ("below", 1)


def test_at_most_so_many_samples() -> None:
    x, y = made(0.5)
    found = ask((x, y), attacked_at_least=0.45, samples=30)
    assert found.available == 30
    assert found.result == "cannot tell"


# ------------------------------------------------------------------------------------------------------------ bad input
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "nothing is required"),
        ({"attacked_at_least": 45}, r"attacked_at_least is a share from 0 to 1, such as 0\.45 for 45%; got 45"),
        ({"attacked_at_least": -0.1}, "attacked_at_least is a share"),
        ({"clean_at_least": math.nan}, "clean_at_least is a share"),
        ({"certified_at_least": "0.5"}, "certified_at_least is a share"),
        ({"attacked_at_least": True}, "attacked_at_least is a share"),
        ({"attacked_at_least": 0.5, "confidence": 95}, "confidence is a share from 0.5 to below 1"),
        ({"attacked_at_least": 0.5, "confidence": 1.0}, "confidence is a share"),
        ({"attacked_at_least": 0.5, "samples": 0}, "samples is a whole number"),
        ({"attacked_at_least": 0.5, "threat": "linf:1000"}, "radius 1000"),
        ({"attacked_at_least": 0.5, "method": "apdg"}, "Did you mean"),
        ({"certified_at_least": 0.5}, "certified_at_least needs bounds, and the plan fgsm has none"),
    ],
)
def test_bad_input_is_refused_before_the_first_pass(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ask(made(0.5, 20), **options)


def test_inputs_outside_the_models_range_are_named() -> None:
    x, y = made(0.5, 20)
    with pytest.raises(ib.IronboundError, match="range"):
        ask((255 * x, y), attacked_at_least=0.5)


# --------------------------------------------------------------------------------------------------------------- words
def test_the_worst_come_first() -> None:
    base = Case(0, 0, "broken", "pgd", 1, 0.5, 1.0, 0.1, None, None)
    small, sure = replace(base, index=1, size=0.01), replace(base, index=2, margin=3.0, size=0.09999999)
    wrong, unproved = (
        replace(base, index=3, verdict="wrong", size=None),
        replace(base, index=4, verdict="undecided", margin=-5.0),
    )
    nearer = replace(unproved, index=5, margin=-9.0)
    ordered = sorted([unproved, wrong, base, nearer, sure, small], key=badness)
    assert [case.index for case in ordered] == [1, 2, 0, 3, 5, 4]


def test_the_message_lists_witnesses_that_are_real() -> None:
    x, y = made(0.1, wrong=0.05)
    found = ask((x, y), attacked_at_least=0.45)
    lines = [line for line in str(found).splitlines() if line.startswith("  sample ")]
    assert len(lines) == 5
    for case in found.against:
        if case.verdict == "broken":
            assert bool((x[case.index] == case.clean[0]).all())
            assert float((case.witness[0] - case.clean[0]).double().abs().max()) <= EPS
            assert int(Halves()(case.witness).argmax()) == case.prediction != case.label == int(y[case.index])
        else:
            assert case.witness is None
    assert "No checks were made of the attacks: ironbound audit makes them." in str(found)


def test_hostile_names_stay_text(tmp_path: Any) -> None:
    x, y = made(0.0, 60)
    data = data_of(x, y, classes=("<script>alert(1)</script>", "b\x1b[31m"), name="x\x1b[2J")
    found = ask(data, attacked_at_least=0.45, name="mine\x1b[31m\n<b>")
    assert "\x1b" not in str(found)
    assert "truly b\\x1b[31m: answered <script>alert(1)</script> (" in str(found)
    assert str(found).startswith("mine\\x1b[31m\\n<b>: attacked accuracy")
    page = ask(data, attacked_at_least=0.45, name="mine\x1b[31m\n<b>", out=tmp_path / "found.html").page
    assert page is not None
    text = page.read_text()
    assert "<script" not in text
    assert "<b>" not in text
    assert "&lt;script&gt;" in text


def test_weak_attacks_that_find_what_strong_ones_left_are_told() -> None:
    """Planted: a strong attack without a step. The witness breaks the samples all the same."""
    idle = pgd(steps=1, step=1e-9)
    plan = Plan("idle", (Attacking("idle", idle), Attacking("fgsm", fgsm(), witness=True)))
    found = ask(made(0.0), method=plan, attacked_at_least=0.45)
    assert found.result == "below"
    assert "gradients may be masked" in str(found)
    honest = Plan("honest", (Attacking("pgd", pgd(steps=3)), Attacking("fgsm", fgsm(), witness=True)))
    assert "masked" not in str(ask(made(0.0), method=honest, attacked_at_least=0.45))


def test_a_stage_that_waits_for_all_samples_does_not_wait() -> None:
    """A sample's verdict hangs on it alone, or the samples would not be independent."""
    waits = Plan("waits", (Attacking("fgsm", fgsm(), most=1), Attacking("again", pgd(steps=1), after="fgsm")))
    found = ask(made(0.0), method=waits, attacked_at_least=0.45)
    assert found.kinds == {("broken", "fgsm"): 9}


def test_the_standard_plan_goes_without_a_pilot_and_without_bounds_it_needs_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = list[Plan]()
    whole = samples_.audit_pool
    monkeypatch.setattr(
        samples_, "audit_pool", lambda evaluation, *a: (seen.append(evaluation.plan), whole(evaluation, *a))[1]
    )
    found = ask(made(0.0), method="standard", attacked_at_least=0.45)
    assert (found.result, found.used, found.method) == ("below", 9, "standard")
    stages = {stage.name: stage for stage in seen[0].stages}
    assert {stage.kind for stage in stages.values()} == {"attack"}
    assert {"pma", "apgd_narrowed", "fab", "fgsm", "square"} <= set(stages)
    assert "square on all" not in stages
    assert not any(stage.last for stage in stages.values())


# --------------------------------------------------------------------------------------------------------------- pages
def test_nothing_is_written_unless_the_user_says_where(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert ask(made(0.0), attacked_at_least=0.45).page is None
    assert list(tmp_path.iterdir()) == []
    found = ask(made(0.0), attacked_at_least=0.45, out="pages")
    assert found.page is not None
    assert found.page.resolve() == tmp_path / "pages" / "found.html"
    assert f"as a page: {found.page}" in str(found)
    page = found.page.read_text()
    assert "is below 0.45" in page
    assert page.count("broken") >= 9
    assert ask(made(0.0), attacked_at_least=0.45, out="own.html").page == type(found.page)("own.html")
    assert ask(made(1.0), attacked_at_least=0.45, out="none.html").page is None
    assert not (tmp_path / "none.html").exists()


def test_inputs_that_no_page_shows_are_no_reason_to_fail_otherwise(tmp_path: Any) -> None:
    class Longer(Halves):
        def forward(self, x: Tensor) -> Tensor:
            return self.line(x[:, 0, :, 0, 0])

    x, y = made(0.0, 60)
    with pytest.raises(ib.NotRobust, match="no page was written: inputs are shown where they are pictures") as caught:
        robust.assert_robust(
            Longer(),
            (x[:, None, :, None, None], y),
            threat="linf:0.1",
            method="fgsm",
            attacked_at_least=0.45,
            out=tmp_path,
        )
    assert caught.value.found.page is None
    assert str(caught.value) == str(caught.value.found)


def test_pages_of_one_test_have_names_of_their_own(tmp_path: Any) -> None:
    where = session.Session(folder=lambda: tmp_path)
    assert [path.name for path in (where.page(None), where.page(None), where.page("mine")) if path] == [
        "found.html", "found-2.html", "found.html",
    ]  # fmt: skip


def test_streamed_data_give_the_same(tmp_path: Any) -> None:
    x, y = made(0.3)
    np.save(tmp_path / "x.npy", x.numpy())
    streamed = load((np.load(tmp_path / "x.npy", mmap_mode="r"), y), stream=True)
    assert streamed.streamed
    assert ask(streamed, attacked_at_least=0.45).figures == ask((x, y), attacked_at_least=0.45).figures
