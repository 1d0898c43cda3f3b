"""Progress at the prompt: what bars and plain lines say, of what was found so far and of the time that is left."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

import ironbound as ib
from audit_samples import digits, digits_net
from ironbound.auditing.plan import Attacking, Plan
from ironbound.cli.progress import SETTLED, Bars, Hidden, Lines, Track, display, time_left
from ironbound.cli.terminal import console
from ironbound.core.progress import Event


def test_progress_is_for_terminals(capsys, monkeypatch):
    assert isinstance(display(console(), quiet=True), Hidden)
    assert isinstance(display(console(), quiet=False), Lines)
    lines = Lines(console(stderr=True))
    monkeypatch.setattr("ironbound.cli.progress.EVERY", 0.0)
    lines.listener("a")(Event("pgd\x1b", 1, 2))
    assert capsys.readouterr().err == "a: pgd\\x1b: 1 of 2\n"


def test_bars_follow_the_events():
    with Bars(Console(file=StringIO(), force_terminal=True)) as bars:
        listen = bars.listener("x")
        for event in (Event("ibp", 1, 2), Event("pgd", 1, 9, 30), Event("samples", 5, 10), Event("checks", 1, 3)):
            listen(event)
        tasks = {task.description: task for task in bars.bars.tasks}
        assert tasks["x: pgd"].completed == 1
        assert tasks["x: pgd"].fields["note"] == "30 rows"
        assert not tasks["x: pgd"].visible
        assert tasks["x: samples"].total == 10
    assert set(tasks) == {"x: pgd", "x: samples", "x: checks"}


class Clock:
    """A clock that goes as it is told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_lines_say_what_was_found_and_the_time_that_is_left(capsys):
    clock = Clock()
    listen = Lines(console(stderr=True), clock).listener()
    counts = {"broken": 31, "certified": 12, "wrong": 7}
    for now, event in (
        (1, Event("samples", 200, 1000, counts={"broken": 0})),  # an earlier run had these: they took no time
        (31, Event("samples", 500, 1000, counts=counts)),
        (40, Event("apgd", 5, 60)),
        (61, Event("apgd", 7, 60)),
        (90, Event("train pgd", 3, 9, note="epoch 2, loss 0.5")),
        (190, Event("train pgd", 6, 9, note="epoch 3, loss 0.4")),
    ):
        clock.now = float(now)
        listen(event)
    assert capsys.readouterr().err.splitlines() == [
        "samples: 500 of 1,000, 31 broken, 12 certified, 7 wrong, about 50 s left",
        "apgd: 7 of 60 (samples: 500 of 1,000, 31 broken, 12 certified, 7 wrong, about 2 min left)",
        "train pgd: 3 of 9, epoch 2, loss 0.5",
        "train pgd: 6 of 9, epoch 3, loss 0.4, about 2 min left",
    ]


def test_the_time_that_is_left_is_a_guess_from_what_was_done_since():
    clock = Clock()
    track = Track(clock)
    track.hear(Event("samples", 100, 200))
    clock.now = 100.0
    assert track.left() is None  # nothing was done since
    assert track.hear(Event("samples", 150, 200)).left() == 100.0
    clock.now += SETTLED
    assert track.hear(Event("checks", 1, 9)).left() is None  # another stage begins anew
    clock.now += SETTLED / 2
    assert track.hear(Event("checks", 2, 9)).left() is None  # too early to say
    assert track.hear(Event("checks", 9, 9)).left() is None  # it is over
    assert (time_left(None), time_left(3.4), time_left(100), time_left(7200)) == (
        [], ["about 3 s left"], ["about 2 min left"], ["about 2.0 h left"],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("environment", "kind"),
    [
        ({}, Bars),
        ({"TERM": "dumb"}, Lines),
        ({"TERM": "unknown"}, Lines),
        ({"CI": "true"}, Lines),
        ({"NO_COLOR": "1"}, Bars),
    ],
)
def test_bars_are_for_terminals_that_move_their_cursor(environment, kind, monkeypatch):
    for name in ("CI", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert isinstance(display(Console(file=StringIO(), force_terminal=True), quiet=False), kind)
    assert isinstance(display(Console(file=StringIO()), quiet=False), Lines)


def test_an_audit_tells_what_was_found_so_far(tmp_path):
    heard = []
    plan = Plan("p", (Attacking("fgsm", ib.recipes.fgsm()), Attacking("pgd", ib.recipes.pgd(3))))
    told = {"threat": "linf:0.06", "method": plan, "out": tmp_path / "x", "curve": False, "pool": 8}
    found = ib.audit(digits_net(), digits(20), **told, progress=heard.append)
    samples = [event for event in heard if event.stage == "samples"]
    verdicts = found.facts["verdicts"]
    assert samples[-1].done == samples[-1].total == 20
    assert samples[-1].counts == {name: verdicts[name] for name in ("broken", "certified", "wrong")}
    assert len(samples) == 3 * 3  # three pools, each before both stages and when it is finished: nothing a chunk
    for name in ("broken", "certified", "wrong"):
        assert [event.counts[name] for event in samples] == sorted(event.counts[name] for event in samples)
    assert [event.done for event in samples] == sorted(event.done for event in samples)
    again = []
    ib.audit(digits_net(), digits(20), **told, resume=True, progress=again.append)
    assert [event for event in again if event.stage == "samples"][-1] == samples[-1]
