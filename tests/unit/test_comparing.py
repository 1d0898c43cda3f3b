"""Models side by side: planted differences show, and what does not belong together stays apart."""

from __future__ import annotations

import html
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import ironbound as ib
from audit_samples import edited, mlp
from form_samples import undescribed
from ironbound.auditing import plans
from ironbound.auditing.plan import Plan
from ironbound.auditing.report import wording
from ironbound.cli import run
from ironbound.comparing.comparison import Comparison
from ironbound.comparing.figures import front
from ironbound.comparing.kinds import held_out, kinds_of, threat_met
from ironbound.core.errors import FingerprintMismatch, RunError, UsageError
from ironbound.hardening.record import CLIMBS, read_record
from ironbound.names import plan_of
from training_samples import images
from unit.test_report import Tree

QUICK = Plan("one", plan_of("attack", ["i_fgsm"]).stages)
THREAT = "linf:0.3"
DATA = images(60, seed=1)


@pytest.fixture(scope="module", autouse=True)
def _without_checks() -> Iterator[None]:
    """The checks take a hundred times as long as these audits; a comparison only repeats what they said."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ironbound.auditing.audit.run_checks", lambda *_: [])
        yield


class Shifted(nn.Module):
    """A net that never answers with one of its classes."""

    def __init__(self, net: nn.Module, never: int) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("shift", -100.0 * nn.functional.one_hot(torch.tensor(never), 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x) + self.shift


def bands(seed: int = 0) -> nn.Sequential:
    """A net that tells the samples apart by the brightness of their bands, and a little by chance."""
    net = mlp(36, 3, seed=seed)
    with torch.no_grad():
        net[1].weight.mul_(0.3)
        for label in range(3):
            net[1].weight[label].view(6, 6)[2 * label : 2 * label + 2] += 0.5
    return net


def audited(net: nn.Module, out: Path, data: Any = DATA, threat: str = THREAT) -> Path:
    ib.audit(net, data, threat=threat, method=QUICK, out=out)
    return out


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two hardenings that begin with one net, and audits of some nets by themselves."""
    place = tmp_path_factory.mktemp("runs")
    fast: dict[str, Any] = {"threat": THREAT, "test": DATA, "audit": QUICK, "batch": 16}
    ib.harden(bands(), images(60), method="pgd", epochs=2, steps=2, out=place / "pgd", **fast)
    ib.harden(bands(), images(60), method="standard", epochs=1, out=place / "plain", **fast)
    audited(Shifted(bands(), 2), place / "blind")
    audited(bands(), place / "alone")
    return place


@pytest.fixture(scope="module")
def compared(runs: Path) -> Comparison:
    return ib.compare([runs])


def named(comparison: Comparison, name: str) -> dict[str, Any]:
    (found,) = [row for scope in comparison.scopes for row in scope["models"] if row["name"] == name]
    return found


# ----------------------------------------------------------------------------------------------------------- figures
def test_every_model_once_with_its_figures(runs: Path, compared: Comparison) -> None:
    (scope,) = compared.scopes
    assert [row["name"] for row in scope["models"]] == ["pgd (start)", "alone", "blind", "pgd", "plain"]
    assert scope["threat"]["spec"] == THREAT
    assert scope["transfer"] is None
    for row in scope["models"]:
        facts = json.loads((Path(row["folder"]) / "audit.json").read_text())
        assert undescribed("audit-2", facts) == []
        assert all(row[kind] == facts[kind] for kind in ("clean", "attacked", "certified"))
        assert row["attacked"]["total"] == 60
        assert row["checks"] == {"state": "checks pending", "grade": "none"}
        assert row["name"] in scope["text"]
    assert json.loads(compared.to_json()) == compared.facts


def test_a_model_that_is_blind_to_a_class_shows(compared: Comparison) -> None:
    for kind in ("clean", "attacked"):
        worst = named(compared, "blind")["worst_class"][kind]
        assert (worst["class"], worst["classes"], worst["count"], worst["total"]) == ("2", 3, 0, 20)
        assert worst["low"] == 0
        assert worst["high"] == pytest.approx(1 - 0.025 ** (1 / 20))  # Clopper-Pearson of 0 of 20
    assert named(compared, "alone")["worst_class"]["clean"]["fraction"] > 0.5


def test_what_a_training_took_is_known_of_its_model_alone(runs: Path, compared: Comparison) -> None:
    record, row = read_record(runs / "pgd"), named(compared, "pgd")
    assert record["method"] == "pgd"
    assert record["took"]["epochs"] == 2
    assert record["took"]["rows"] == 2 * 60 * 3  # two steps and the update
    assert row["seconds"] == record["took"]["seconds"] > 0
    per_minute = row["robust_per_minute"]["clock"]
    for end in ("fraction", "low", "high"):
        assert per_minute[end] * row["seconds"] / 60 == pytest.approx(100 * row["attacked"][end])
    assert named(compared, "pgd (start)")["seconds"] == 0
    assert named(compared, "pgd (start)")["robust_per_minute"]["clock"] is None
    assert named(compared, "alone")["seconds"] is None
    assert named(compared, "alone")["front"] is None
    assert "alone, blind" in compared.scopes[0]["notes"][-1]


POINT = st.tuples(st.integers(0, 3), st.integers(0, 3), st.one_of(st.none(), st.integers(0, 3)))


@given(st.lists(POINT, max_size=8))
def test_the_front_by_brute_force(points: list[tuple[int, int, int | None]]) -> None:
    models = [{"clean": {"fraction": c}, "attacked": {"fraction": a}, "seconds": s} for c, a, s in points]
    for (clean, attacked, seconds), on in zip(points, front(models), strict=True):
        if seconds is None:
            assert on is None
            continue
        better = [
            (c >= clean, a >= attacked, s <= seconds)
            for c, a, s in points
            if s is not None and (c, a, s) != (clean, attacked, seconds)
        ]
        assert on is not any(all(each) for each in better)


# -------------------------------------------------------------------------------------------------- attacks held out
@pytest.mark.parametrize("plan", ["standard", "quick", "thorough"])
@pytest.mark.parametrize("threat", ["linf:0.1", "l0:3", "linf:0.1|l2:1"])
def test_the_stages_of_plans_have_kinds(plan: str, threat: str) -> None:
    made = next(entry for entry in plans.ENTRIES if entry.name == plan).make().against(ib.parse_threat(threat))
    stages = [{"name": stage.name, "kind": stage.kind} for stage in made.stages]
    kinds = kinds_of({"threat": {"spec": threat}, "plan": {"name": plan}, "stages": stages})
    kind = lambda name: {found for stage, found in kinds.items() if stage.partition(":")[0] == name}
    assert kind("noise") == {"random draws"}
    assert kind("square") == (set() if plan == "quick" or threat == "l0:3" else {"queries without gradients"})
    assert not set(kinds) & set(kinds.values())  # no stage is a kind of its own


def test_what_other_kinds_of_attack_broke() -> None:
    stages = [("pgd", 80, 30), ("fgsm", 50, 2), ("square", 48, 7), ("noise", 41, 1), ("mine", 40, 3)]
    facts: dict[str, Any] = {
        "threat": {"spec": "linf:0.1"}, "plan": {"name": "pgd+fgsm+square+noise+mine"}, "attacked": {"total": 100},
        "stages": [{"name": n, "kind": "attack", "entered": e, "decided": d} for n, e, d in stages],
    }  # fmt: skip
    facts["plan"]["name"] = "pgd+fgsm+square+noise"
    found = held_out(facts, {"trained_on": {"attacks": [CLIMBS]}})
    assert [stage["trained_on"] for stage in found["stages"]] == [True, True, False, False, False]
    assert (found["broken"]["count"], found["broken"]["total"]) == (7 + 1 + 3, 100)
    assert found["stages"][2]["broken"]["total"] == 48
    assert held_out(facts, {"trained_on": {"attacks": []}})["broken"]["count"] == 43
    assert held_out(facts, {"trained_on": {"attacks": ["Square"]}})["broken"]["count"] == 36
    assert held_out(facts, None)["broken"] is None


def test_what_a_training_met_is_recorded(runs: Path) -> None:
    met = read_record(runs / "pgd")["trained_on"]
    assert (met["attacks"], met["norms"]) == ([CLIMBS], ["linf"])
    plain = read_record(runs / "plain")["trained_on"]
    assert (plain["attacks"], plain["norms"]) == ([], [])
    under = lambda spec: {"threat": {"spec": spec}, "fingerprints": {"threat": spec}}
    record = {"trained_on": met}
    said = [threat_met(under(spec), record) for spec in (THREAT, "linf:0.1", "l2:1", "linf:0.1|l2:1")]
    assert said == ["same", "other radius", "other norm", "other norm"]
    assert threat_met(under("l2:1"), {"trained_on": plain}) == "none"
    union = {**met, "norms": ["linf", "l2"], "threat": {"spec": "linf:0.1|l2:1", "fingerprint": "u"}}
    assert threat_met(under("l2:1"), {"trained_on": union}) == "same"


# ----------------------------------------------------------------------------------------------------------- scopes
def test_other_samples_threats_and_plans_stand_apart(runs: Path, tmp_path: Path) -> None:
    audited(bands(), tmp_path / "fewer", (DATA[0][:30], DATA[1][:30]))
    audited(bands(), tmp_path / "smaller", threat="linf:0.1")
    ib.audit(bands(), DATA, threat=THREAT, method="fgsm", out=tmp_path / "weaker")
    found = ib.compare([runs / "alone", tmp_path])
    assert [[row["name"] for row in scope["models"]] for scope in found.scopes] == [
        ["alone"], ["fewer"], ["smaller"], ["weaker"],
    ]  # fmt: skip
    assert [scope["data"]["samples"] for scope in found.scopes] == [60, 30, 60, 60]
    assert "30 test samples" in found.scopes[1]["text"]


def test_an_audit_of_a_trained_model_is_of_a_trained_model(runs: Path, tmp_path: Path) -> None:
    model = _after(runs / "pgd")
    audited(model, tmp_path / "l2", threat="l2:0.3")
    row = named(ib.compare([runs / "pgd", tmp_path / "l2"]), "l2")
    assert row["training"]["method"] == "pgd"
    assert row["threat_trained_on"] == "other norm"


def test_further_threats_and_attacks_are_audited_and_kept(runs: Path, tmp_path: Path) -> None:
    models = {"pgd": _after(runs / "pgd"), "pgd (start)": bands()}
    asked: dict[str, Any] = {
        "threats": ["l2:0.3"], "methods": ["fgsm"], "audit": QUICK, "models": models, "data": DATA, "out": tmp_path / "c",
    }  # fmt: skip
    found = ib.compare([runs / "pgd"], **asked)
    said = {(scope["threat"]["spec"], scope["plan"]): scope["models"] for scope in found.scopes}
    assert {key: [row["name"] for row in rows] for key, rows in said.items()} == {
        (THREAT, "one"): ["pgd (start)", "pgd"], (THREAT, "fgsm"): ["pgd (start)", "pgd"],
        ("l2:0.3", "one"): ["pgd (start)", "pgd"],
    }  # fmt: skip
    assert said["l2:0.3", "one"][1]["threat_trained_on"] == "other norm"
    assert json.loads((tmp_path / "c" / "compare.json").read_text()) == found.facts
    with pytest.raises(RunError, match="is no empty folder"):
        ib.compare([runs / "pgd"], **asked)
    again = ib.compare([runs / "pgd", tmp_path / "c"], resume=True, **asked)  # what a comparison left is no run
    pages = sorted((tmp_path / "c" / "audits").rglob("audit.json"))
    assert len(pages) == 4
    for ours, theirs in zip(again.scopes, found.scopes, strict=True):
        assert [row["attacked"] for row in ours["models"]] == [row["attacked"] for row in theirs["models"]]
    with pytest.raises(FingerprintMismatch, match="the model"):
        ib.compare([runs / "pgd"], **{**asked, "models": {**models, "pgd": bands(3)}, "out": tmp_path / "d"})


# --------------------------------------------------------------------------------------------------------- transfer
def test_witnesses_are_tried_on_the_others(runs: Path) -> None:
    nets = {"alone": bands(), "pgd (start)": bands(), "blind": Shifted(bands(), 2), "pgd": _after(runs / "pgd")}
    places = [runs / name for name in ("alone", "blind", "pgd")]
    whole = ib.compare(places, transfer=True, models=nets, data=DATA)
    assert undescribed("compare-1", json.loads(whole.to_json())) == []
    (scope,) = whole.scopes
    matrix, rows = scope["transfer"], {row["name"]: row for row in scope["models"]}
    cell = lambda a, b: matrix["cells"][matrix["from"].index(a)][matrix["to"].index(b)]
    for name, row in rows.items():
        broken = row["clean"]["count"] - row["attacked"]["count"]
        own = cell(name, name)
        assert own["of_witnesses"]["count"] == own["of_witnesses"]["total"] == broken > 0
        assert (own["of_right"]["count"], own["of_right"]["total"]) == (broken, row["clean"]["count"])
    assert cell("alone", "pgd (start)") == cell("alone", "alone")  # its twin
    right = set(_right(runs / "blind")) & set(_broken(runs / "alone"))
    fooled = _fooled(nets["blind"], runs / "alone", right)
    found = cell("alone", "blind")["of_witnesses"]
    assert (found["count"], found["total"]) == (fooled, len(right))
    assert 0 < fooled < len(right)


def _right(folder: Path) -> list[int]:
    details = ib.comparing.found.Audit.load(folder).details
    return details.index[details.verdict != "wrong"].tolist()


def _broken(folder: Path) -> list[int]:
    return ib.comparing.found.Audit.load(folder).witnesses()[0].tolist()


def _fooled(net: nn.Module, folder: Path, samples: set[int]) -> int:
    index, adversarial = ib.comparing.found.Audit.load(folder).witnesses()
    mine = [i for i, number in enumerate(index.tolist()) if number in samples]
    with torch.no_grad():
        answers = net(adversarial[mine]).argmax(1)
    return int((answers != DATA[1][index[mine]]).sum())


def _after(folder: Path) -> nn.Module:
    from safetensors.torch import load_file

    net = bands()
    net.load_state_dict(load_file(folder / "model.safetensors"))
    return net.eval()


# ------------------------------------------------------------------------------------------------------- clean cost
def test_the_clean_cost_is_counted_sample_by_sample(runs: Path) -> None:
    found = ib.compare([runs / "pgd", runs / "blind", runs / "alone"], baseline="alone")
    was, now = set(_right(runs / "alone")), set(_right(runs / "blind"))
    cost = named(found, "blind")["clean_cost"]
    assert (cost["against"], cost["lost"], cost["gained"], cost["total"]) == (
        "alone",
        len(was - now),
        len(now - was),
        60,
    )
    assert cost["low"] <= cost["difference"] == (len(was) - len(now)) / 60 <= cost["high"]
    assert named(found, "alone")["clean_cost"] is None
    with pytest.raises(
        UsageError, match=r"no model 'alon' to compare with\. There are: pgd \(start\), pgd, blind, alone"
    ):
        ib.compare([runs / "pgd", runs / "blind", runs / "alone"], baseline="alon")
    assert len(found.facts["skipped"]) == 0


def test_a_hardened_model_is_held_against_its_own_start(compared: Comparison) -> None:
    for name in ("pgd", "plain"):  # both began with one model, which is there once
        assert named(compared, name)["clean_cost"]["against"] == "pgd (start)"
        cost = named(compared, name)["clean_cost"]
        assert cost["low"] < cost["difference"] < cost["high"]
    assert [named(compared, name)["clean_cost"] for name in ("pgd (start)", "alone", "blind")] == [None] * 3


# ------------------------------------------------------------------------------------------------------------- page
def test_the_page_has_every_model_and_its_figures(runs: Path, compared: Comparison, tmp_path: Path) -> None:
    page = compared.to_html()
    Tree(page)
    assert not re.search(r"<script|<link|src=|https?://", page)
    for row in compared.scopes[0]["models"]:
        assert f">{row['name']}<" in page
        assert html.escape(wording.span(row["clean"]["low"], row["clean"]["high"])) in page
    assert "Transferability" not in page
    ib.compare([runs], out=tmp_path / "c")
    assert (tmp_path / "c" / "compare.html").read_text() == page


def test_unlike_figures_never_stand_in_one_table(runs: Path, tmp_path: Path) -> None:
    audited(bands(), tmp_path / "smaller", threat="linf:0.1")
    audited(bands(), tmp_path / "fewer", (DATA[0][:30], DATA[1][:30]))
    tables = re.findall(
        r'<table class="summary[^>]*>.*?</table>', ib.compare([runs / "alone", tmp_path]).to_html(), re.DOTALL
    )
    assert len(tables) == 6  # two of each scope
    for table in tables:
        assert sum(f">{name}<" in table for name in ("alone", "fewer", "smaller")) == 1
    places = [str(runs / "alone"), str(tmp_path / "fewer"), str(runs / "blind")]
    assert run(["report", *places, "--out", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text()
    Tree(page)
    first, second = re.findall(r'<table class="summary[^>]*>.*?</table>', page, re.DOTALL)
    assert first.count("60 samples") == 2
    assert "30 samples" not in first
    assert "30 samples" in second
    assert "3 audits in 2 tables." in page


def test_the_matrix_is_text_with_counts(runs: Path) -> None:
    nets = {"<b>x": bands(), "blind": Shifted(bands(), 2)}
    (runs / "alone").rename(runs / "<b>x")
    try:
        found = ib.compare([runs / "<b>x", runs / "blind"], transfer=True, models=nets, data=DATA)
    finally:
        (runs / "<b>x").rename(runs / "alone")
    page = found.to_html()
    Tree(page)
    assert "<b>x" not in page
    assert "tried on &lt;b&gt;x" in page
    (table,) = re.findall(r'<table class="heat".*?</table>', page, re.DOTALL)
    cells = re.findall(r'<td class="n s(\d)">(.*?)</td>', table, re.DOTALL)
    wanted = [cell["of_right"] for row in found.scopes[0]["transfer"]["cells"] for cell in row]
    assert len(cells) == len(wanted) == 4
    for (shade, words), share in zip(cells, wanted, strict=True):
        assert int(shade) == min(9, int(10 * share["fraction"]))
        assert f"{share['count']} of {share['total']}" in words
        assert wording.percent(share["fraction"]).replace("<", "&lt;").replace(">", "&gt;") in words
        assert wording.span(share["low"], share["high"]) in words
    assert table.count("its own witnesses") == 2


def test_bounds_alone_are_not_called_attacked(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(runs / "alone", tmp_path / "a")
    edited(tmp_path / "a" / "audit.json", lambda facts: facts["stages"][1].update(kind="bound"))
    found = ib.compare([tmp_path / "a"])
    assert found.scopes[0]["models"][0]["ran"] == {"attacks": False, "bounds": True}
    assert "right when clean, and no attack was run" in str(found)
    assert "no attack was run" in found.to_html()
    assert run(["compare", str(tmp_path / "a")]) == 0
    assert "no attack was run" in capsys.readouterr().out


# ---------------------------------------------------------------------------------------------------------- refusals
def test_what_is_not_usable_is_left_out_where_others_are(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ib.harden(bands(), images(60), threat=THREAT, method="standard", epochs=1, audit=None, out=tmp_path / "bare")
    (tmp_path / "begun" / "training").mkdir(parents=True)
    found = ib.compare([runs / "alone", tmp_path], out=tmp_path / "c")
    assert [row["name"] for row in found.scopes[0]["models"]] == ["alone"]
    bare, begun = found.facts["skipped"]
    assert bare["folder"].endswith("bare")
    assert "no figure of it is evidence" in bare["why"]
    assert "not finished" in begun["why"]
    assert "no figure of it is evidence" in found.to_html()
    assert run(["compare", str(runs / "alone"), str(tmp_path / "bare")]) == 0
    assert "Left out: " in capsys.readouterr().out


def test_what_cannot_be_compared(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is no folder"):
        ib.compare([tmp_path / "nothing"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunError, match="holds no run"):
        ib.compare([tmp_path / "empty"])
    with pytest.raises(UsageError, match="nothing to compare"):
        ib.compare([])
    (tmp_path / "begun" / "training").mkdir(parents=True)
    with pytest.raises(RunError, match="not finished"):
        ib.compare([tmp_path / "begun"])
    ib.harden(bands(), images(60), threat=THREAT, method="standard", epochs=1, audit=None, out=tmp_path / "bare")
    with pytest.raises(RunError, match="no figure of it is evidence"):
        ib.compare([tmp_path / "bare"])
    with pytest.raises(UsageError, match="does not say where"):
        ib.compare([runs / "pgd"], transfer=True)
    ib.audit(bands(), DATA, threat=THREAT, method=QUICK, out=tmp_path / "shard", shard="1/2", pool=10)
    with pytest.raises(RunError, match="is a shard"):
        ib.compare([tmp_path / "shard"])


# -------------------------------------------------------------------------------------------------------- readability
def test_the_darkest_field_of_the_matrix_can_be_read() -> None:
    package = Path(ib.__file__).parent
    style = (package / "showing" / "page.css").read_text()
    shades = re.findall(r"\.s\d { background: color-mix\(in srgb, var\(--broken\) (\d+)%", _style(package))
    light, dark = (
        dict(re.findall(r"--(\w+): #([0-9a-f]{6})", part)) for part in style.split("prefers-color-scheme: dark", 1)
    )
    assert len(shades) == 9
    for colours in (light, dark):
        ink, paper, mark = (_channels(colours[name]) for name in ("ink", "paper", "broken"))
        for shade in map(int, shades):
            field = [(shade * m + (100 - shade) * p) / 100 for m, p in zip(mark, paper, strict=True)]
            assert _contrast(ink, field) >= 4.5


def _style(package: Path) -> str:
    return (package / "auditing" / "report" / "compare.css").read_text()


def _channels(colour: str) -> list[float]:
    return [int(colour[k : k + 2], 16) / 255 for k in (0, 2, 4)]


def _contrast(one: list[float], other: list[float]) -> float:
    """Of two colours, as WCAG 2.1 defines it."""
    linear = lambda c: c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
    dark, light = sorted(0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b) for r, g, b in (one, other))
    return (light + 0.05) / (dark + 0.05)
