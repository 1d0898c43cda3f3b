"""Settings are searched: what can be, in which order, what is chosen, and that a killed search goes on as it was."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import ironbound as ib
from audit_samples import mlp
from ironbound.auditing.plan import Plan
from ironbound.core.errors import FingerprintMismatch, ModelError, RunError, UsageError
from ironbound.core.progress import Event
from ironbound.defenses.train import Adversarial, Standard, Training, training_named
from ironbound.defenses.train.catalogue import with_settings
from ironbound.defenses.train.schemes import ENTRIES
from ironbound.defenses.train.space import Range, space_of, values_of
from ironbound.hardening.record import read_record
from ironbound.names import plan_of
from ironbound.tuning.study import Trial, chosen, front, next_settings
from training_samples import Stop, images

QUICK = Plan("one", plan_of("attack", ["fgsm"]).stages)
DATA = images(90)


@pytest.fixture(scope="module", autouse=True)
def _without_checks() -> Iterator[None]:
    """The checks take a hundred times as long as these audits, and have no say in a search."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ironbound.auditing.audit.run_checks", lambda *_: [])
        yield


def of(number: int, clean: float, attacked: float, rows: int = 10) -> Trial:
    share = lambda fraction: {
        "count": round(100 * fraction),
        "total": 100,
        "fraction": fraction,
        "low": 0.0,
        "high": 1.0,
    }
    return Trial(number, {"x": 0.5}, share(clean), share(attacked), "all passed", rows)


FAILED = Trial(9, {"x": 0.5}, error="the loss is nan")


# ------------------------------------------------------------------------------------------------------------ choice
def test_the_front_and_the_choice() -> None:
    trials = [
        of(0, 0.90, 0.40),
        of(1, 0.86, 0.60),
        of(2, 0.80, 0.70),
        of(3, 0.86, 0.60, rows=20),
        of(4, 0.85, 0.55),
        FAILED,
    ]
    assert front(trials) == [0, 1, 2]
    assert chosen(trials, 5.0).number == 1
    assert chosen(trials, 0.0).number == 0
    assert chosen(trials, 4.0).number == 1  # exactly so many points below
    assert chosen(trials, 3.9).number == 0
    assert chosen(trials, 100.0).number == 2
    assert chosen(list(reversed(trials)), 5.0).number == 1  # of equals the cheaper one
    with pytest.raises(ModelError, match=r"all 1 trials failed. The first: the loss is nan"):
        chosen([FAILED], 5.0)


# ------------------------------------------------------------------------------------------------------------- search
SPACE = {"x": Range(0.0, 1.0, 0.5), "waste": Range(0.01, 10.0, 1.0, log=True), "steps": Range(1, 9, 4, whole=True)}


def searched(count: int, seed: int) -> list[Trial]:
    """A study whose front is known: clean falls from x = 0.2 on, robust rises up to 0.5; all waste costs both."""
    done: list[Trial] = []
    while len(done) < count:
        found = next_settings(SPACE, done, seed)
        x, waste = found["x"], 0.02 * found["waste"]
        point = of(len(done), 1 - abs(x - 0.2) - waste, 1 - abs(x - 0.5) - waste, 10 * int(found["steps"]))
        done.append(Trial(**{**{field.name: getattr(point, field.name) for field in fields(Trial)}, "settings": found}))
    return done


def test_the_search_comes_to_a_front_that_is_known() -> None:
    trials = [trial.settings for seed in range(3) for trial in searched(30, seed)[15:]]
    near = sum(0.15 <= found["x"] <= 0.55 and found["waste"] <= 1.0 for found in trials)
    drawn = len(trials) * 0.4 * 2 / 3  # of settings that are drawn
    assert near > 1.4 * drawn
    assert sum(found["steps"] for found in trials) / len(trials) < 4  # of those drawn 5


def test_settings_are_a_function_of_the_seed_and_of_the_trials_before() -> None:
    done = searched(9, 0)
    assert done[0].settings == {"x": 0.5, "waste": 1.0, "steps": 4}
    assert next_settings(SPACE, done, 0) == next_settings(SPACE, done, 0) != next_settings(SPACE, done, 1)
    assert next_settings(SPACE, done[:8], 0) == done[8].settings
    assert len({str(trial.settings) for trial in done}) == 9
    for trial in done:
        assert all(SPACE[name].low <= value <= SPACE[name].high for name, value in trial.settings.items())
        assert type(trial.settings["steps"]) is int
    json.dumps([trial.settings for trial in done])


def test_failed_trials_teach_to_go_elsewhere() -> None:
    good, bad = of(0, 0.9, 0.6), FAILED
    done = [
        Trial(n, {"x": x, "waste": 1.0, "steps": 4}, *((good.clean, good.attacked) if x < 0.5 else ()), error=bad.error)
        for n, x in enumerate([0.1, 0.9, 0.2, 0.8, 0.3, 0.7, 0.4, 0.6, 0.25, 0.95])
    ]
    asked = [next_settings(SPACE, done, seed)["x"] for seed in range(12)]
    assert sum(x < 0.5 for x in asked) >= 10


def test_without_optuna_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UsageError, match=r"pip install 'ironbound\[tune\]'"):
        ib.tune(mlp(36, 3), DATA, threat="linf:0.1", trials=2, out=tmp_path / "t")
    assert not (tmp_path / "t").exists()


# -------------------------------------------------------------------------------------------------------------- space
@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_every_training_has_a_space_of_its_own_settings(entry: Any) -> None:
    training = training_named(entry.name)
    space = space_of(training)
    assert "rate" in space
    for name, range_ in space.items():
        usual = values_of(training)[name]
        assert usual is None or usual == range_.usual
        for end in (range_.low, range_.high):
            value = int(end) if range_.whole else end
            assert values_of(with_settings(training, {name: value}))[name] == value
    assert "rate" not in space_of(training, ["rate"])


def test_strength_step_and_mix() -> None:
    assert set(space_of(training_named("standard"))) == {"rate"}
    assert set(space_of(training_named("pgd"))) == {"rate", "steps", "share", "strength"}
    assert set(space_of(training_named("pgd", step=0.02))) == {"rate", "steps", "step", "strength"}
    assert set(space_of(training_named("fgsm-rs"))) == {"rate", "share", "strength"}
    assert set(space_of(training_named("trades"))) == {"rate", "steps", "share", "strength", "beta"}
    assert "beta" in space_of(training_named("awp", base="trades"))  # of a part of a part
    assert set(space_of(training_named("ibp"))) == {"rate", "kappa_end", "strength"}

    class Own(Adversarial):
        def space(self) -> dict[str, Range]:
            return {"steps": Range(2, 3, 2, whole=True)}

    class Wrong(Adversarial):
        def space(self) -> dict[str, Range]:
            return {"beta": Range(1, 2, 1)}

    Own.__module__ = Wrong.__module__ = Adversarial.__module__  # settings are looked for in Ironbound's own parts
    assert space_of(Training(Own(), 1))["steps"].high == 3
    with pytest.raises(UsageError, match="its space names 'beta'"):
        space_of(Training(Wrong(), 1))
    with pytest.raises(UsageError, match="low <= usual <= high"):
        Range(1.0, 2.0, 3.0)


@pytest.mark.parametrize("method", ["pgd", "ibp"])
def test_the_radius_trained_at_is_a_setting(method: str) -> None:
    robust = ib.harden(
        mlp(36, 3), DATA, threat="linf:0.1", method=method, epochs=2, strength=1.5, audit=None,
        **({"warmup": 0.0, "ramp": 0.5} if method == "ibp" else {}),
    )  # fmt: skip
    assert robust.history[-1]["eps"] == pytest.approx(0.15)
    with pytest.raises(UsageError, match="strength is a number of radii > 0; got 0"):
        Training(Standard(), 1, strength=0)


# --------------------------------------------------------------------------------------------------------------- tune
ASKED: dict[str, Any] = {
    "threat": "linf:0.3", "method": "pgd", "trials": 2, "quick": QUICK, "audit": QUICK, "clean_loss": 10.0,
    "settings": {"batch": 16, "epochs": 2, "steps": 1}, "space": {"rate": Range(1e-3, 1e-1, 1e-2, log=True)},
}  # fmt: skip


def _lasting(facts: dict[str, Any]) -> dict[str, Any]:
    """Without what another day takes another time for."""
    trials = [{**trial, "seconds": 0} for trial in facts["trials"]]
    return {**facts, "trials": trials, "cost": facts["cost"]["rows"]}


def test_a_search_ends_with_the_chosen_training_and_goes_on_where_it_was_killed(tmp_path: Path) -> None:
    net = mlp(36, 12, 3)
    whole = ib.tune(net, DATA, out=tmp_path / "whole", **ASKED)
    facts = json.loads((tmp_path / "whole" / "tune.json").read_text())
    assert facts == whole.facts
    assert facts["epochs"] == {"trial": 1, "full": 2}
    assert facts["measured_on"]["samples"] == 8  # a tenth of what is left of 90 when a tenth is held out for the audits
    assert [trial["clean"]["total"] for trial in facts["trials"]] == [8, 8]
    assert [trial["rows"] for trial in facts["trials"]] == [73 * 2] * 2
    assert facts["trials"][0]["settings"] == {"rate": 1e-2}
    assert whole.settings == facts["trials"][facts["chosen"]]["settings"]
    record = read_record(tmp_path / "whole")
    assert record["training"]["rate"] == whole.settings["rate"]
    assert (record["took"]["epochs"], record["trained_on"]["data"]["rows"]) == (2, 81)
    assert whole.hardened.after is not None
    assert whole.hardened.after.facts["attacked"]["total"] == 9
    trials = ib.compare([tmp_path / "whole" / "tune"])
    assert [row["attacked"] for row in trials.scopes[0]["models"]] == [trial["attacked"] for trial in facts["trials"]]

    def stops(event: Event) -> None:
        if (tmp_path / "killed" / "tune" / "trial-001" / "training").exists():
            raise Stop

    with pytest.raises(Stop):
        ib.tune(net, DATA, out=tmp_path / "killed", progress=stops, **ASKED)
    assert not (tmp_path / "killed" / "tune.json").exists()
    with pytest.raises(RunError, match="is no empty folder"):
        ib.tune(net, DATA, out=tmp_path / "killed", **ASKED)
    with pytest.raises(FingerprintMismatch, match="another search: its threat"):
        ib.tune(net, DATA, out=tmp_path / "killed", resume=True, **{**ASKED, "threat": "linf:0.2"})
    again = ib.tune(net, DATA, out=tmp_path / "killed", resume=True, **{**ASKED, "audit": None})
    assert _lasting(again.facts) == _lasting(facts)
    weights = zip(again.model.net.parameters(), whole.model.net.parameters(), strict=True)
    assert all((a == b).all() for a, b in weights)


def test_a_training_that_diverges_is_a_failed_trial(tmp_path: Path) -> None:
    asked = {**ASKED, "audit": None, "trials": 3, "space": {"rate": Range(1e-2, 1e30, 1e-2, log=True)}}
    found = ib.tune(
        mlp(36, 12, 3), DATA, out=tmp_path / "t", **{**asked, "settings": {"batch": 16, "epochs": 1, "steps": 1}}
    )
    failed = [trial for trial in found.facts["trials"] if trial["error"]]
    assert failed
    assert all("diverged" in trial["error"] and trial["clean"] is None for trial in failed)
    assert not set(found.facts["front"]) & {trial["number"] for trial in failed}
    assert found.settings["rate"] < 1e10


def test_what_cannot_be_searched(tmp_path: Path) -> None:
    tune = lambda **other: ib.tune(mlp(36, 3), DATA, out=tmp_path / "t", **{**ASKED, **other})
    with pytest.raises(UsageError, match="trials is a number >= 1"):
        tune(trials=0)
    with pytest.raises(UsageError, match="there is no setting 'beta'"):
        tune(space={"beta": Range(1, 2, 1)})
    with pytest.raises(UsageError, match="nothing is left to search of standard"):
        tune(method="standard", space=None, settings={"rate": 0.1})
    assert not (tmp_path / "t").exists()
