"""Bounds with a bug in them: an attack that breaks what they certified raises the alarm, and verify does not confirm it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import ironbound as ib
from audit_samples import mlp
from cli_samples import ZOO
from ironbound.auditing.audit import Audit
from ironbound.auditing.plan import Attacking, Bounds, Plan
from ironbound.certification.graph import Graph, Node
from ironbound.certification.ibp import Ibp
from ironbound.certification.intervals import Interval
from ironbound.certification.margins import Margins
from ironbound.certification.operations import OPERATIONS
from ironbound.cli import run
from ironbound.core.errors import SoundnessAlarm
from ironbound.data import Data, load
from ironbound.models.weights import save_weights

EPS, SAMPLES = 0.1, 600
LAYER = "addmm.default"
Rule = Callable[[Node, Tensor, Interval, Tensor], Interval]


def dropped_bias(node: Node, bias: Tensor, x: Interval, weight: Tensor) -> Interval:
    """x W, and no b."""
    return Interval.around(x.centre @ weight, x.radius @ weight.abs())


def swapped_sign(node: Node, bias: Tensor, x: Interval, weight: Tensor) -> Interval:
    """Lower ends from lower ends, also where the weight is negative."""
    return Interval(torch.addmm(bias, x.lower, weight), torch.addmm(bias, x.upper, weight))


PLANTED: list[Rule] = [dropped_bias, swapped_sign]


@contextmanager
def planted(rule: Rule) -> Iterator[None]:
    """The interval rule of linear layers has the bug."""
    honest = OPERATIONS[LAYER]
    OPERATIONS[LAYER] = dataclasses.replace(honest, interval=rule)
    try:
        yield
    finally:
        OPERATIONS[LAYER] = honest


@dataclass(frozen=True)
class Planted(Ibp):
    """Interval bounds by that rule."""

    rule: Rule

    def margins(self, graph: Graph, region: Any, y: Tensor, dtype: torch.dtype, learned: Any = None) -> Margins:
        with planted(self.rule):
            return super().margins(graph, region, y, dtype)


@cache
def _weights() -> dict[str, Tensor]:
    """Trained on centred digits, with the centring folded into the first bias: a bias that is missed."""
    net, data = mlp(64, 24, 10), load("digits:train")
    optimiser = torch.optim.Adam(net.parameters(), 2e-2, weight_decay=1e-3)
    for _ in range(150):
        optimiser.zero_grad()
        nn.functional.cross_entropy(net(data.x - 0.5), data.y).backward()
        optimiser.step()
    with torch.no_grad():
        net[1].bias -= 0.5 * net[1].weight.sum(1)
    return net.state_dict()


def folded_net() -> nn.Sequential:
    net = mlp(64, 24, 10)
    net.load_state_dict(_weights())
    return net.eval()


def samples() -> Data:
    return load("digits:train", samples=SAMPLES)


def audited(method: Any, out: Path) -> Audit:
    """Bounds and one weak attack on what they leave: the plan itself never attacks what is certified."""
    plan = Plan("bounds", (Bounds("ibp", method), Attacking("fgsm", ib.recipes.fgsm())))
    return ib.audit(folded_net(), samples(), threat=ib.Linf(EPS), method=plan, out=out)


def alarm(audit: Audit) -> dict[str, Any]:
    return next(check for check in audit.checks if check["number"] == 28)


@pytest.mark.parametrize("rule", PLANTED, ids=lambda rule: rule.__name__)
def test_a_bug_in_the_bounds_raises_the_alarm(rule: Rule, tmp_path: Path) -> None:
    with pytest.raises(SoundnessAlarm, match=r"certified samples were broken: no certificate of .*run can be believed"):
        audited(Planted(rule), tmp_path / "run")
    kept = Audit.load(tmp_path / "run")  # as evidence
    assert alarm(kept)["result"] == "fail"
    assert kept.facts["verdicts"]["certified"] > 0
    assert kept.facts["confidence"]["grade"] == "low"
    assert "attacked so far" in kept.to_html()
    found = ib.verify(tmp_path / "run", folded_net(), samples())
    assert any("its certificate by ibp cannot be confirmed" in failure for failure in found.failures)


def test_honest_bounds_raise_none(tmp_path: Path) -> None:
    report = ib.audit(folded_net(), samples(), threat=ib.Linf(EPS / 5), method="quick", out=tmp_path / "run")
    assert report.facts["verdicts"]["certified"] > 100
    assert alarm(report)["result"] == "pass"


def test_the_alarm_at_the_prompt(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "zoo.py").write_text(ZOO)
    save_weights(folded_net(), tmp_path / "net.safetensors")
    model = ["--model", f"{tmp_path / 'zoo.py'}:net", "--weights", str(tmp_path / "net.safetensors")]
    data = ["--data", "digits:train", "--samples", str(SAMPLES), "--threat", f"linf:{EPS}"]
    with planted(swapped_sign):
        assert run(["audit", *model, *data, "--method", "quick", "--out", str(tmp_path / "run"), "--quiet"]) == 1
    said = capsys.readouterr()
    assert "certified samples were broken" in said.err
    assert "Traceback" not in said.err
    assert run(["verify", str(tmp_path / "run")]) == 1  # by honest bounds again
    assert "its certificate by ibp cannot be confirmed" in capsys.readouterr().out
