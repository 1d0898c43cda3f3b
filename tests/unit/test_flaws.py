"""Models and attacks with a known flaw, and for each the one answer that is expected; sound nets raise no red check."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import ironbound as ib
from audit_samples import Turned, Wrap, digits, digits_net, labelled, mlp
from ironbound.auditing.audit import Audit
from ironbound.auditing.plan import Attacking, Plan
from ironbound.auditing.plans import quick
from ironbound.core.errors import InputError, UsageError
from ironbound.core.protocols import Answer, Ask, Can, Task
from ironbound.data import load
from ironbound.defenses.train import Adversarial, Ibp, Steps, Training, train

SAMPLES = 24


class Drops(nn.Module):
    """Dropout that does not know that it is evaluated."""

    def __init__(self) -> None:
        super().__init__()
        self.net = digits_net()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(nn.functional.dropout(x, 0.2, training=True))


class Resizes(nn.Module):
    """The image is drawn smaller or larger by chance, and padded or cropped to its size again."""

    def __init__(self) -> None:
        super().__init__()
        self.net = digits_net()

    def forward(self, x: Tensor) -> Tensor:
        size = int(torch.randint(6, 11, ()))
        small = nn.functional.interpolate(x, size=(size, size), mode="bilinear", align_corners=False)
        return self.net(nn.functional.interpolate(small, size=x.shape[-2:], mode="bilinear", align_corners=False))


class Normalises(nn.Module):
    """Batch statistics taken anew in the forward pass, in no module that could be seen."""

    def __init__(self) -> None:
        super().__init__()
        self.net = digits_net()

    def forward(self, x: Tensor) -> Tensor:
        mean, std = x.new_full((1,), 0.3), x.new_full((1,), 0.35)
        return self.net(nn.functional.batch_norm(x, None, None, std, mean, training=True).clamp(0, 1))


class Trains(nn.Sequential):
    """A module that stays in training mode, whatever it is told."""

    def train(self, mode: bool = True) -> Any:
        return super().train(True)


def in_training() -> nn.Module:
    net = nn.Sequential(nn.BatchNorm2d(1), nn.Dropout(0.5), digits_net())
    net[0].running_mean, net[0].running_var = torch.zeros(1), torch.ones(1)
    return net.train()


def own_statistics() -> nn.Module:
    return nn.Sequential(nn.BatchNorm2d(1, track_running_stats=False), digits_net())


@dataclass(frozen=True)
class LastPoint:
    """Steps that are far too long, and an answer from the last of them alone: what was found on the way is not said."""

    steps: int = 20

    needs = Can.GRADIENT | Can.PROJECT | Can.STEER

    def run(self, task: Task) -> Generator[Ask, Answer, None]:
        """Forth and back over the boundary, ending where it began."""
        region, x = task.region, task.region.identity()
        p = x
        for step in range(self.steps):
            grad = (yield Ask(p, grad=True)).grad
            p = (
                x
                if step % 2
                else region.project(x + region.radius.to(x.dtype).view(-1, 1, 1, 1) * region.steepest(grad))
            )
            task.compact()
            region, x = task.region, task.region.identity()
            p = p if len(p) == len(x) else x
        yield Ask(x)


def wrong_sign() -> Plan:
    return Plan("wrong sign", (Attacking("pgd", ib.recipes.pgd(steps=10, step=-0.02)),))


def last_point() -> Plan:
    attack = ib.recipes.pgd(steps=5).replace(search=LastPoint())
    return Plan("last point", (Attacking("last", attack),))


def audit(net: Any, plan: Plan | None = None, threat: str = "linf:0.1", x: Tensor | None = None) -> Audit:
    x = digits(SAMPLES).x if x is None else x
    y = labelled(digits_net(), digits(SAMPLES).x)
    return ib.audit(net, (x, y), threat=threat, method=plan or quick())


def failed(report: Audit, severity: str) -> set[int]:
    return {c["number"] for c in report.checks if c["result"] == "fail" and c["severity"] == severity}


@dataclass(frozen=True)
class Flaw:
    """What is wrong, and the one answer: the checks that fail, of which `red` ones take the word robust away."""

    name: str
    run: Callable[[], Audit]
    red: frozenset[int] = frozenset()
    amber: frozenset[int] = frozenset()


FLAWS = [
    Flaw("gradients zero behind a quantiser", lambda: audit(Wrap(digits_net(), lambda z: (z * 4).round() / 4)), frozenset({4})),
    Flaw("dropout alive when evaluated", lambda: audit(Drops()), frozenset({1})),
    Flaw("random resizing", lambda: audit(Resizes()), frozenset({1})),
    Flaw("batch statistics when evaluated", lambda: audit(own_statistics()), frozenset({19})),
    Flaw("batch statistics in the forward pass", lambda: audit(Normalises()), frozenset({19})),
    Flaw("a module that does not leave training mode", lambda: audit(Trains(nn.Dropout(0.3), digits_net())), frozenset({1})),
    Flaw("an attack with the wrong sign", lambda: audit(digits_net(), wrong_sign()), frozenset({11, 13})),
    Flaw("gradients with the wrong sign", lambda: audit(Wrap(digits_net(), lambda z: z, Turned.apply)), frozenset({6, 23})),
    Flaw("logits times 10^4", lambda: audit(Wrap(digits_net(), lambda z: z * 1e4)), amber=frozenset({26})),
    Flaw("probabilities for logits", lambda: audit(nn.Sequential(digits_net(), nn.Softmax(1))), amber=frozenset({2})),
    Flaw(
        "a radius for [0, 1] on inputs in [0, 255]",
        lambda: audit(
            ib.Model(Wrap(digits_net(), lambda z: z, lambda v: v / 255), range=(0, 255)), threat="linf:8/255",
            x=digits(SAMPLES).x * 255,
        ),
        frozenset({31}),
    ),
]  # fmt: skip


@pytest.mark.parametrize("flaw", FLAWS, ids=lambda flaw: flaw.name)
def test_a_flaw_has_its_one_answer(flaw: Flaw) -> None:
    report = flaw.run()
    assert flaw.red <= failed(report, "red")
    assert flaw.amber <= failed(report, "amber")
    assert report.facts["confidence"]["grade"] == ("low" if flaw.red else "moderate")
    assert ("attacked so far" in str(report)) == bool(flaw.red)
    assert bool(failed(report, "red")) == bool(flaw.red)


def test_a_module_in_training_mode_is_corrected() -> None:
    """It is held in evaluation mode, the figures are those of the evaluated net, and the report says how it came."""
    net = in_training()
    report = audit(net)
    assert net.training
    assert report.verdicts == audit(in_training().eval()).verdicts
    said = next(c for c in report.checks if c["number"] == 19)
    assert said["result"] == "pass"
    assert "training mode" in said["evidence"]
    assert not failed(report, "red")


def test_a_normalisation_outside_is_an_error_at_the_start() -> None:
    with pytest.raises(InputError, match="look normalised outside the model"):
        audit(digits_net(), x=(digits(SAMPLES).x - 0.1307) / 0.3081)


def test_a_radius_in_the_wrong_unit_is_an_error_at_the_start() -> None:
    with pytest.raises(UsageError, match="Did you mean 8/255"):
        audit(digits_net(), threat="linf:8")


def test_an_attack_that_answers_with_its_last_point_is_corrected() -> None:
    """The engine keeps what was met on the way, so that the attack breaks as much as one long step does."""
    report = audit(digits_net(), last_point())
    single = audit(digits_net(), Plan("one", (Attacking("fgsm", ib.recipes.fgsm()),)))
    broken = {i for i, verdict in enumerate(report.verdicts) if verdict == "broken"}
    assert broken >= {i for i, verdict in enumerate(single.verdicts) if verdict == "broken"}
    assert len(broken) > 5
    assert next(c for c in report.checks if c["number"] == 8)["result"] == "pass"


@pytest.fixture(scope="module", params=["ibp", "pgd"])
def robust(request: pytest.FixtureRequest) -> nn.Module:
    """A small net that was trained to be robust."""
    data, net = load("digits:train", samples=600), mlp(64, 32, 10)
    objective = Ibp(warmup=0.3, ramp=3, init="ibp") if request.param == "ibp" else Adversarial(Steps(4))
    training = Training(objective, epochs=8, batch=64, rate=0.005)
    return train(ib.Model(net), data, ib.Linf(0.1), training).model.net


def test_robust_nets_raise_no_red_check(robust: nn.Module, every_query: None) -> None:
    report = ib.audit(robust, digits(60), threat="linf:0.08", method="standard")
    assert failed(report, "red") == set()
    assert report.clean_accuracy > 0.6
    assert report.attacked_accuracy > 0.3
    assert "attacked so far" not in str(report)
