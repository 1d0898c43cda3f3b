"""Catastrophic overfitting: seen, gone back from, and resumed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from ironbound import recipes
from ironbound.core.errors import CompositionError, UsageError
from ironbound.core.progress import Event
from ironbound.defenses.train import Adversarial, Composed, Ibp, Standard, Steps, Training, train
from ironbound.defenses.train.checkpoint import Position
from ironbound.defenses.train.recovery import Recovery, strengthened, wanted
from ironbound.defenses.train.validation import Measured, Probe
from ironbound.models.model import Model
from ironbound.sets import L0
from training_samples import EPS, Stop, images, same, small_net, state_of

SINGLE = Adversarial(Steps(1, share=1.25))
TRAINING = Training(SINGLE, 3, batch=30, rate=0.01, watch=1)


class Script:
    """A probe that says what it is told, by the update and the number of recoveries."""

    def __init__(self, monkeypatch: Any, falls: set[tuple[int, int]]) -> None:
        self.falls, self.nets = falls, {}  # type: ignore[var-annotated]
        script = self

        def fallen(self: Recovery, scene: Any, at: Position, now: Any, strength: float, place: Any) -> bool:
            key = (at.epoch * self.updates + at.batch, len(at.recoveries))
            script.nets[key] = state_of(scene.model.net)
            at.watched = {"best": 0.6, "last": 0.0, "trained": 0.9}
            if key in script.falls:
                return True
            if key[0] % 2 == 0:
                self.keep(at, now)
            return False

        monkeypatch.setattr(Recovery, "fallen", fallen)


def test_it_goes_back_to_the_good_state_with_a_stronger_attack(monkeypatch: Any) -> None:
    script, notes = Script(monkeypatch, {(5, 0), (8, 1)}), []
    result = train(
        Model(small_net()),
        images(),
        EPS,
        TRAINING,
        progress=lambda e: notes.append(e.note) if "overfit" in e.note else None,
    )
    assert [round(3 * row[key]) for row in result.recoveries for key in ("epoch", "back to")] == [5, 4, 8, 6]
    assert [row["epoch"] for row in result.history] == [1, 2, 3]
    assert [row["recoveries"] for row in result.history] == [0, 2, 2]  # the second goes back into epoch 2
    assert len(notes) == 2
    assert "at epoch 1.67" in notes[0]
    assert "went back to epoch 1.33, inner attack now 2 steps" in notes[0]
    assert "inner attack now 4 steps" in notes[1]
    assert not same(script.nets[5, 0], script.nets[5, 1])  # the same update from the same state, another attack
    # what a training does that takes two steps from update 4 on, and four from 6 on
    monkeypatch.undo()
    assert same(state_of(_stepwise({4: 1, 6: 2})), state_of(result.model.net))


def _stepwise(stronger_from: dict[int, int]) -> torch.nn.Module:
    """The training without recovery, its attack made stronger after so many updates."""
    from ironbound.defenses.train import loop, trainer

    class Scheduled(loop.Run):
        def _update(self, index: Any) -> Any:
            done = self.position.epoch * self.updates + self.position.batch
            times = max([0, *(level for start, level in stronger_from.items() if done >= start)])
            self.objective = strengthened(self.training.objective, times)
            return super()._update(index)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "Run", Scheduled)
        return train(Model(small_net()), images(), EPS, TRAINING.replace(recover=False)).model.net


@pytest.mark.parametrize("parts", [{}, {"average": 0.9}, {"optimiser": "sgd"}])
def test_a_recovery_is_resumed_bit_by_bit(parts: dict[str, Any], monkeypatch: Any, tmp_path: Path) -> None:
    Script(monkeypatch, {(5, 0), (7, 1)})
    training = TRAINING.replace(**parts)
    whole = train(Model(small_net()), images(), EPS, training)
    for count in range(2, 30):
        heard: list[Event] = []

        def listener(event: Event, heard: list[Event] = heard) -> None:
            heard.append(event)
            if len(heard) == 2:
                raise Stop

        try:
            broken = train(
                Model(small_net()), images(), EPS, training, folder=tmp_path, resume=True, every=1, progress=listener
            )
            break
        except Stop:
            assert count < 29
    assert same(state_of(whole.model.net), state_of(broken.model.net))
    timeless = lambda rows: [{k: v for k, v in row.items() if "seconds" not in k} for row in rows]
    assert timeless(whole.history) == timeless(broken.history)
    assert timeless(whole.recoveries) == timeless(broken.recoveries)


@pytest.mark.parametrize(
    ("best", "trained", "held", "fallen", "kept"),
    [
        (0.4, 0.5, 0.02, True, False),  # the classic
        (0.4, 0.5, 0.38, False, True),
        (0.4, 0.45, 0.25, False, False),  # lower, but no collapse: nothing to go back to
        (0.6, 0.9, 0.28, True, False),  # less than half of its best
        (0.0, 0.9, 0.05, True, False),  # never robust at all
        (0.4, 0.05, 0.02, False, False),  # all of it fell: not this, but a training that diverges
        (0.0, 0.12, 0.08, False, True),  # the beginning
    ],
)
def test_what_counts_as_fallen(best: float, trained: float, held: float, fallen: bool, kept: bool) -> None:
    probe = Probe(torch.zeros(200, 1), torch.zeros(200, dtype=torch.long), torch.zeros(200), 7, 200)
    recovery = Recovery(TRAINING, probe, 10, 5000)
    object.__setattr__(probe, "measure", lambda scene, strength, place: Measured(200, round(200 * held), 200))
    at = Position(watched={"best": best, "attacked": 1000 * trained, "attacked of": 1000.0})
    assert recovery.fallen(None, at, {"net": {}}, 1.0) is fallen  # type: ignore[arg-type]
    assert (at.good is not None) is kept
    assert at.watched["best"] == max(best, held)


def test_results_at_smaller_radii_are_no_measure_while_the_radius_rises() -> None:
    probe = Probe(torch.zeros(200, 1), torch.zeros(200, dtype=torch.long), torch.zeros(200), 7, 200)
    recovery, at = Recovery(TRAINING, probe, 10, 5000), Position()
    for strength, held in ((0.1, 0.95), (0.5, 0.7), (1.0, 0.5)):
        object.__setattr__(
            probe, "measure", lambda scene, strength, place, held=held: Measured(200, int(200 * held), 200)
        )
        at.watched |= {"attacked": 55, "attacked of": 100}
        assert not recovery.fallen(None, at, {"held": torch.tensor(held)}, strength)  # type: ignore[arg-type]
        assert float(recovery.good["held"]) == pytest.approx(held)
    assert at.watched["best"] == 0.5


def test_where_it_is_looked_for() -> None:
    assert wanted(TRAINING)
    assert not wanted(TRAINING.replace(recover=False))
    assert not wanted(Training(Adversarial(Steps(2)), 1))
    assert wanted(Training(Adversarial(Steps(2)), 1, recover=True))
    assert not wanted(Training(Standard(), 1))
    for objective in (Standard(), Ibp(0, 1)):
        with pytest.raises(UsageError, match="recover needs"):
            wanted(Training(objective, 1, recover=True))
    inner = Composed(recipes.jsma())
    with pytest.raises(CompositionError, match="projected gradient"):
        train(Model(small_net()), images(), L0(2), Training(Adversarial(inner), 1, recover=True))


def test_looks_cost_about_a_tenth() -> None:
    every = lambda samples, rows, updates: (
        Recovery(
            TRAINING.replace(watch=None),
            Probe(None, torch.zeros(rows), None, 7, 64),
            updates,
            samples,  # type: ignore[arg-type]
        ).every
    )
    assert every(60_000, 256, 1000) == 250
    assert every(20_000, 256, 157) == 157
    assert every(500, 64, 8) == 8


def test_a_training_that_goes_well_is_left_alone() -> None:
    training = Training(SINGLE, 3, batch=30, rate=0.01, watch=1)
    result = train(Model(small_net(dropout=0)), images(), EPS, training)
    assert result.recoveries == []
    watched = train(Model(small_net(dropout=0)), images(), EPS, training.replace(recover=False))
    assert same(state_of(result.model.net), state_of(watched.model.net))
