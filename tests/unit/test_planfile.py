"""Plans from YAML files: what they compose, and for each mistake the line and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

import ironbound as ib
from audit_samples import digits, digits_net
from cli_samples import EPS, model_of, write_zoo
from ironbound import recipes
from ironbound.auditing.audit import Audit
from ironbound.auditing.plan import Attacking, Bounds, Plan
from ironbound.auditing.planfile import read_plan
from ironbound.certification.ibp import Ibp
from ironbound.cli import run
from ironbound.core.describe import fingerprint
from ironbound.core.errors import UsageError

PLAN = """
name: mine
stages:
  - bound: ibp
    radii: true
  - attack: pgd
    name: short
    with: {steps: 5, step: 1e-2, random_start: no}
  - attack: APGD
    with:
      steps: 7
      loss: dlr
  - attack: noise
    witness: true
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_file_is_the_plan_that_one_composes(place: Path) -> None:
    path = place / "p.yaml"
    path.write_text(PLAN)
    attacks = (
        Attacking("short", recipes.pgd(steps=5, step=0.01, random_start=False)),
        Attacking("apgd", recipes.apgd(steps=7, loss="dlr")),
        Attacking("noise", recipes.noise(), witness=True),
    )
    composed = Plan("mine", (Bounds("ibp", Ibp(), radii=True), *attacks))
    assert fingerprint(read_plan(path)) == fingerprint(composed)
    path.write_text("stages: [attack: fgsm]")
    assert fingerprint(read_plan(path)) == fingerprint(Plan("p", (Attacking("fgsm", recipes.fgsm()),)))


def test_a_file_with_a_pilot_and_stages_that_wait(place: Path) -> None:
    (place / "p.yaml").write_text(
        "adaptive: true\nstages:\n- {bound: ibp, optional: true}\n- attack: pgd\n"
        "- {attack: square, most: 64, with: {queries: 9}}\n- {attack: square, name: all, after: square, witness: true}\n"
    )
    stages = (
        Bounds("ibp", Ibp(), optional=True),
        Attacking("pgd", recipes.pgd()),
        Attacking("square", recipes.square(9), most=64),
        Attacking("all", recipes.square(), witness=True, after="square"),
    )
    assert fingerprint(read_plan(place / "p.yaml")) == fingerprint(Plan("p", stages, adaptive=True))


def test_a_file_in_use(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "p.yaml").write_text("stages:\n- bound: ibp\n- attack: pgd\n  name: short\n  with: {steps: 3}\n")
    found = ib.audit(digits_net(), digits(20), threat="linf:0.05", method="p.yaml", out=place / "a")
    assert found.facts["plan"]["name"] == "p"
    assert [stage["name"] for stage in found.facts["stages"]] == ["clean", "ibp", "short"]
    assert ib.audit(digits_net(), digits(20), threat="linf:0.05", method=place / "p.yaml").verdicts == found.verdicts
    flags = [*model_of(write_zoo(place)), "--data", "digits", "--threat", EPS, "--samples", "20", "--method", "p.yaml"]
    for i in (1, 2):
        assert run(["audit", *flags, "--shard", f"{i}/2", "--out", f"s/{i}", "--quiet"]) == 0
    assert run(["merge", "s", "--out", "m", "--quiet"]) == 2
    assert "made by a plan 'p' that has no name" in capsys.readouterr().err
    assert run(["merge", "s", "--out", "m", "--quiet", "--method", "p.yaml"]) == 0
    assert len(Audit.load("m").verdicts) == 20


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", 'line 1: a plan has the keys "stages"'),
        ("- attack: pgd", 'line 1: a plan has the keys "stages"'),
        ("name: x\n", "line 1: the key 'stages' is missing"),
        ("stages: []", "line 1: stages: list should have at least 1 item"),
        ("stages: pgd", "line 1: stages: input should be a valid list; got 'pgd'"),
        ("stagse:\n- attack: pgd\nname: x", "line 1: there is no key 'stagse'. Did you mean 'stages'?"),
        (
            "stages:\n- attack: pgd\n\nnmae: x",
            "line 4: there is no key 'nmae'. Did you mean 'name'? There are: name, adaptive, stages.",
        ),
        (
            "stages:\n- attack: pgd\n- pgd",
            "line 3: keys with values are expected: attack, name, witness, optional, most, after, near, with; got 'pgd'",
        ),
        ("stages:\n- attack: pgd\n- atack: pgd", "line 3: there is no key 'atack'. Did you mean 'attack'?"),
        (
            "stages:\n- attack: pgd\n  steps: 3",
            "line 3: there is no key 'steps'. There are: attack, name, witness, optional, most, after, near, with. Arg",
        ),
        ("stages:\n- attack: pgd\n  witness: perhaps", "line 3: witness: input should be a valid boolean"),
        ("stages:\n- attack: pgd\n- name: x", "line 3: the key 'attack' is missing (or: bound)"),
        (
            "stages:\n- bound: ibp\n  after: x",
            "line 3: there is no key 'after'. There are: bound, name, radii, optional, most,",
        ),
        ("stages:\n- bound: ibp\n- bound: ipb", "line 3: certify knows no method 'ipb'. Did you mean 'ibp'?"),
        ("stages:\n- attack: apdg", "line 2: attack knows no method 'apdg'. Did you mean 'apgd'?"),
        (
            "stages:\n- attack: pgd\n  with:\n    steps: 4\n    stps: 3",
            "line 5: there is no key 'stps'. Did you mean 'steps'?",
        ),
        ("stages:\n- attack: pgd\n  with:\n    steps: few", "line 4: steps: input should be a valid integer"),
        ("stages:\n- attack: pgd\n  with: 3", "line 3: with: input should be a valid dictionary"),
        ("stages:\n- {attack: fgsm, most: 0}", "line 2: most: input should be greater than or equal to 1; got 0."),
        (
            "stages:\n- {attack: fgsm, after: pgd}",
            "line 1: stage 'fgsm' runs after 'pgd', which is no stage before it.",
        ),
        (
            "stages:\n- {attack: fgsm, most: 4}\n- attack: pgd",
            "line 1: stages with `most` or `after` wait for all pools",
        ),
        ("stages:\n- attack: fgsm\n  with: {steps: 3}", "line 3: there is no key 'steps'. There are: none."),
        ("stages:\n- attack: apgd\n  with: {loss: cw}", "line 3: loss is one of ce, dlr"),
        ("stages:\n- attack: pgd\n- attack: pgd", "line 1: stages of a plan have different names"),
        ("stages:\n- attack: pgd\n  with:\n    steps: 4\n    steps: 5", "line 5: the key 'steps' is there twice"),
        (
            "stages: &s\n- *s",
            "line 1: keys with values are expected: attack, name, witness, optional, most, after, near, with; got [[",
        ),
        ("stages: [", "is no YAML"),
        ("a: !!python/object/apply:os.abort []", "is no YAML"),
        ("? [a]\n: b", "is no YAML"),
    ],
)
def test_mistakes_are_told_with_their_line(content: str, said: str, place: Path) -> None:
    (place / "p.yml").write_text(content)
    with pytest.raises(UsageError) as caught:
        read_plan("p.yml")
    assert said in str(caught.value)
    assert "p.yml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there(place: Path) -> None:
    with pytest.raises(UsageError, match=r"the plan x\.yaml cannot be read: No such file"):
        ib.audit(digits_net(), digits(20), threat="linf:0.05", method="x.yaml")
