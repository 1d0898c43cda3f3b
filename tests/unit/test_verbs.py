"""The four verbs: names and objects, tensors and arrays, one row in and one row out."""

from __future__ import annotations

import inspect
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import ironbound as ib
from audit_samples import Wrap, data_of, digits, digits_net, drawn, labelled, mlp
from ironbound.auditing.audit import Audit
from ironbound.auditing.plan import Plan
from ironbound.auditing.run import tried
from ironbound.core.errors import (
    CompositionError,
    DataError,
    FingerprintMismatch,
    InputError,
    RunError,
    UnknownName,
    UnsupportedOperation,
    UsageError,
)
from ironbound.data import load
from ironbound.defenses.train import Adversarial, Steps, Training
from ironbound.hardening import parted
from ironbound.names import attack_of, catalogue, fits, plan_of, set_of
from recipe_samples import small

LABELS = {"found", "not found", "already wrong", "non finite", "budget"}


@pytest.fixture(scope="module")
def net() -> nn.Module:
    return digits_net()


@pytest.fixture(scope="module")
def right(net: nn.Module) -> tuple[Tensor, Tensor]:
    """Sixteen digits with the net's own answers."""
    x = digits(16).x
    return x, labelled(net, x)


# ----------------------------------------------------------------------------------------------------------- attack
def test_attack_answers_row_by_row(net: nn.Module, right: tuple[Tensor, Tensor]) -> None:
    x, y = right
    found = ib.attack(net, x, y, threat="linf:0.1", method="pgd")
    assert 0 < int(found.success.sum()) <= len(found) == 16
    assert torch.equal(labelled(net, found.adversarial) != y, found.success)
    assert bool(ib.Linf(0.1).at(x, (0, 1)).contains(found.adversarial).all())
    order = torch.randperm(16, generator=torch.Generator().manual_seed(3))
    again = ib.attack(net, x[order], y[order], threat="linf:0.1", method="pgd")
    assert torch.equal(again.success, found.success[order])
    torch.testing.assert_close(again.adversarial, found.adversarial[order], atol=1e-6, rtol=0)
    assert found.config["seed"] == 0
    assert set(found.status_names) <= LABELS


@pytest.mark.parametrize("threat", ["linf:0.1", ib.Linf(0.1)])
@pytest.mark.parametrize("method", ["pgd", ib.recipes.pgd()])
def test_names_and_objects_are_the_same(net: nn.Module, right: Any, threat: Any, method: Any) -> None:
    first = ib.attack(net, *right, threat="linf:0.1", method="pgd")
    other = ib.attack(ib.Model(net), *right, threat=threat, method=method)
    assert torch.equal(first.adversarial, other.adversarial)


class Grey(nn.Module):
    """The mean over channels, so that a net for one takes images of three."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1, keepdim=True)


CHANGES = (ib.Rotation(1), ib.Translation(1), ib.Flow(1), ib.ColorShift(1), ib.Brightness(1), ib.Blur(1), ib.Patch(0.1))


def test_every_attack_of_the_catalogue_runs(net: nn.Module, right: tuple[Tensor, Tensor]) -> None:
    x, y = right[0][:4].repeat(1, 3, 1, 1), right[1][:4]
    threats = (ib.L2(1), ib.L1(1), ib.L0(1), ib.Finite((0.5 * torch.ones_like(x[0]),)), *CHANGES)
    for entry in (e for e in catalogue() if e.verb == "attack"):
        method = small(entry.make)()
        threat = next(threat for threat in threats if fits(method, threat))
        found = ib.attack(nn.Sequential(Grey(), net), x, y, threat=threat, method=method)
        assert len(found) == (1 if entry.name in ("universal", "patch") else 4)
        assert found.adversarial.shape == x.shape
        assert bool((found.size <= 1).all())
        for alias in entry.aliases:
            assert attack_of(alias.replace("_", "-").upper()) == attack_of(entry.name)


def test_what_is_wrong_already_is_not_attacked(net: nn.Module, right: tuple[Tensor, Tensor]) -> None:
    x, y = right
    wrong = y.clone()
    wrong[[2, 5]] = (y[[2, 5]] + 1) % 10
    found = ib.attack(net, x, wrong, threat="linf:0.0001")
    assert [i for i, name in enumerate(found.status_names) if name == "already wrong"] == [2, 5]
    assert found.success.nonzero().flatten().tolist() == [2, 5]
    assert torch.equal(found.adversarial[[2, 5]], x[[2, 5]])
    assert found.size[[2, 5]].tolist() == [0, 0]
    assert (found.forward[2], found.backward[2]) == (1, 0)
    assert int(found.backward[0]) > 0


class Tied(nn.Module):
    """Two logits that differ by a millionth, which is what another batch may round them by."""

    def forward(self, x: Tensor) -> Tensor:
        score = 1 + x.flatten(1).sum(1)
        return torch.stack([score, score * (1 + 1e-6)], 1)


def test_a_clean_input_wins_by_as_much_as_any_other_claim() -> None:
    x, y = digits(3).x, torch.zeros(3, dtype=torch.int64)
    found = ib.attack(Tied(), x, y, threat="linf:0", method="pgd")
    assert not bool(found.success.any())
    assert found.status_names == ["not found"] * 3


def test_samples_that_the_model_answers_with_nan(right: tuple[Tensor, Tensor], net: nn.Module) -> None:
    x, y = right
    nan = Wrap(net, lambda z: z, lambda v: torch.where(v[:, :, :1, :1] > 0.99, torch.nan, v))
    x = x.clone()
    x[:, 0, 0, 0] = 0.0
    y = labelled(net, x)
    x[3, 0, 0, 0] = 1.0
    found = ib.attack(nan, x, y, threat="linf:0.1")
    assert found.status_names[3] == "non finite"
    assert not bool(found.success[3])
    assert "non finite" not in [name for i, name in enumerate(found.status_names) if i != 3]
    alone = ib.attack(nan, x[3:4], y[3:4], threat="linf:0.1")
    assert alone.status_names == ["non finite"]


def test_arrays_in_arrays_out(net: nn.Module, right: tuple[Tensor, Tensor]) -> None:
    x, y = (part.numpy() for part in right)
    found = ib.attack(net, x, y, threat="linf:0.1")
    expected = ib.attack(net, *right, threat="linf:0.1")
    for name in ("adversarial", "success", "size", "margin", "status", "forward"):
        assert isinstance(getattr(found, name), np.ndarray), name
        assert np.array_equal(getattr(found, name), getattr(expected, name).numpy())
    assert found.adversarial.dtype == np.float32
    assert ib.attack(net, x, y.tolist(), threat="linf:0.1").success.tolist() == found.success.tolist()


@pytest.mark.parametrize("target", [3, torch.full((16,), 3), np.full(16, 3), [3] * 16])
def test_targets(net: nn.Module, right: tuple[Tensor, Tensor], target: Any) -> None:
    x, y = right
    found = ib.attack(net, x, y, threat="linf:0.3", target=target)
    answers = labelled(net, found.adversarial)
    assert bool((answers[found.success] == 3).all())
    assert bool(found.success.any())
    already = y == 3
    assert [name == "already wrong" for name in found.status_names] == already.tolist()
    without = ib.attack(net, x, threat="linf:0.3", target=target)
    assert without.success.tolist() == found.success.tolist()


def test_a_target_that_is_no_class(net: nn.Module, right: tuple[Tensor, Tensor]) -> None:
    with pytest.raises(InputError, match="label 10 in row 0; classes are 0 to 9"):
        ib.attack(net, *right, threat="linf:0.3", target=10)


def test_without_labels_the_models_own_answers_are_kept_from(net: nn.Module, right: tuple[Tensor, Tensor]) -> None:
    x, y = right
    found = ib.attack(net, x, threat="linf:0.1")
    assert "already wrong" not in found.status_names
    assert torch.equal(labelled(net, found.adversarial) != y, found.success)


def test_a_seed_gives_the_same_and_another_one_not(net: nn.Module, right: tuple[Tensor, Tensor]) -> None:
    first, again, other = (ib.attack(net, *right, threat="linf:0.02", seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.adversarial, again.adversarial)
    assert not torch.equal(first.adversarial, other.adversarial)


def test_a_result_is_saved_and_loaded_without_loss(net: nn.Module, right: Any, tmp_path: Path) -> None:
    found = ib.attack(net, *right, threat="linf:0.1")
    found.save(tmp_path / "found.safetensors")
    again = ib.Result.load(tmp_path / "found.safetensors")
    assert again.config == found.config
    for name in ("points", "adversarial", "success", "size", "margin", "status", "forward", "backward", "refused"):
        assert torch.equal(getattr(again, name), getattr(found, name))
    with pytest.raises(DataError, match="is missing"):
        ib.Result.load(tmp_path / "none")


def test_progress_and_rows_change_no_answer(net: nn.Module, right: tuple[Tensor, Tensor]) -> None:
    heard: list[Any] = []
    first = ib.attack(net, *right, threat="linf:0.1", progress=heard.append, rows=7)
    second = ib.attack(net, *right, threat="linf:0.1", reproducible=True)
    assert heard
    assert first.success.tolist() == second.success.tolist()


def test_a_model_that_draws_is_attacked_with_votes(right: tuple[Tensor, Tensor]) -> None:
    class Dropping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = digits_net()

        def forward(self, x: Tensor) -> Tensor:
            return self.net(nn.functional.dropout(x, 0.1, training=True))

    model = ib.Model(Dropping(), random=True)
    state = torch.get_rng_state()
    found = ib.attack(model, *right, threat="linf:0.2", method=ib.recipes.pgd(steps=5))
    assert bool(found.success.any())
    assert found.config["attack"]["votes"] == 20
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(("options", "error", "said"), [
    ({"threat": "linf:0.1", "method": "pgdd"}, UnknownName, "Did you mean 'pgd'"),
    ({"threat": "linf:0.1", "method": 3}, UsageError, "a name of the catalogue or an Attack"),
    ({"threat": 0.1}, UsageError, r"a threat is a set such as Linf\(8/255\)"),
    ({"threat": "l7:0.1"}, UnknownName, "no threat is called 'l7'"),
    ({"threat": "linf:8"}, UsageError, "radius 8 on a range of"),
    ({"threat": "linf:-1"}, UsageError, "a radius is a number >= 0"),
    ({"threat": "linf"}, UsageError, "has no radius"),
])  # fmt: skip
def test_what_does_not_make_sense(net: nn.Module, right: Any, options: Any, error: Any, said: str) -> None:
    with pytest.raises(error, match=said):
        ib.attack(net, *right, **options)


# ---------------------------------------------------------------------------------------------------------- certify
def test_certify_by_name_and_by_object(net: nn.Module, right: tuple[Tensor, Tensor]) -> None:
    x, y = right
    proof = ib.certify(net, x, y, threat="linf:0.03")
    assert 0 < int(proof.certified.sum()) < 16
    assert repr(proof) == f"Certificates({int(proof.certified.sum())} of 16 certified by ibp)"
    assert proof.method == ["ibp" if yes else "" for yes in proof.certified.tolist()]
    assert proof.radius[proof.certified].tolist() == [0.03] * int(proof.certified.sum())
    assert bool((proof.radius[~proof.certified] < 0.03).all())
    assert bool((proof.margin[proof.certified] > 0).all())
    entry = next(e for e in catalogue() if e.full_name == "certify:ibp")
    same = ib.certify(ib.Model(net), x, y, threat=ib.Linf(0.03), method=entry.make(), rows=5)
    assert same.certified.tolist() == proof.certified.tolist()
    assert ib.certify(net, x, y, threat="linf:0.03", radii=False).radius[~proof.certified].sum() == 0
    broken = ib.attack(net, x, y, threat="linf:0.03", method="apgd").success
    assert not bool((broken & proof.certified).any())


def test_certify_takes_arrays(net: nn.Module, right: tuple[Tensor, Tensor]) -> None:
    x, y = right
    proof = ib.certify(net, x.numpy(), y.numpy(), threat="linf:0.03")
    assert proof.certified.tolist() == ib.certify(net, x, y, threat="linf:0.03").certified.tolist()


def test_certify_refuses_what_it_cannot_prove(net: nn.Module, right: tuple[Tensor, Tensor]) -> None:
    x, y = right
    with pytest.raises(UsageError, match="about the label y"):
        ib.certify(net, x, None, threat="linf:0.1")
    with pytest.raises(UsageError, match="draws"):
        ib.certify(ib.Model(net, random=True), x, y, threat="linf:0.1")
    with pytest.raises(UnknownName, match="certify knows no method 'crwn'"):
        ib.certify(net, x, y, threat="linf:0.1", method="crwn")
    with pytest.raises(UsageError, match="radius 8"):
        ib.certify(net, x, y, threat="linf:8")
    with pytest.raises(UnsupportedOperation):
        ib.certify(Wrap(net, lambda z: torch.special.bessel_j0(z)), x, y, threat="linf:0.1")


# ------------------------------------------------------------------------------------------------------------ audit
def test_an_audit_without_a_folder_makes_its_own(net: nn.Module, right: tuple[Tensor, Tensor]) -> None:
    report = ib.audit(net, right, threat="linf:0.1", method=ib.recipes.fgsm())
    assert report.folder.name.startswith("ironbound-")
    assert (report.folder / "audit.json").exists()
    assert len(report.verdicts) == 16
    assert report.to_html().startswith("<!DOCTYPE html>")
    assert Audit.load(report.folder).to_json() == report.to_json()
    assert report.facts["plan"]["stages"] == ["clean", "attack"]


def test_data_of_all_kinds_gives_the_same_verdicts(net: nn.Module, right: tuple[Tensor, Tensor]) -> None:
    x, y = right
    pairs = TensorDataset(x, y)
    kinds = [(x, y), (x.numpy(), y.numpy()), (x, y.tolist()), pairs, DataLoader(pairs, batch_size=5), load((x, y))]
    found = [ib.audit(net, data, threat="linf:0.1", method=ib.recipes.pgd(steps=5)).verdicts for data in kinds]
    assert "broken" in found[0]
    assert all(verdicts == found[0] for verdicts in found)


def test_some_samples_by_a_seed(net: nn.Module) -> None:
    report = ib.audit(net, "digits:test", threat="linf:0.1", method=ib.recipes.fgsm(), samples=9, seed=4)
    assert report.details.index.tolist() == load("digits:test", samples=9, seed=4).index.tolist()
    assert report.facts["data"]["samples"] == 9


def test_how_to_load_again_is_kept(net: nn.Module, right: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    origin = {"model": {"architecture": "zoo.py:net"}}
    ib.audit(net, right, threat="linf:0.1", method=ib.recipes.fgsm(), out=tmp_path / "run", origin=origin)
    assert '"architecture": "zoo.py:net"' in (tmp_path / "run" / "manifest.json").read_text()


def test_plans_by_name(net: nn.Module, right: tuple[Tensor, Tensor]) -> None:
    assert [s.name for s in plan_of("attack", ["fgsm", "pgd"]).stages] == ["fgsm", "pgd"]
    assert plan_of("certify", ["ibp"]).stages[0].kind == "bound"
    assert plan_of("audit", ["quick"]).name == "quick"
    with pytest.raises(UsageError, match="an audit has one plan"):
        plan_of("audit", ["quick", "standard"])
    with pytest.raises(UnknownName, match=r"audit knows no method 'standart'\. Did you mean 'standard'"):
        ib.audit(net, right, threat="linf:0.1", method="standart")
    with pytest.raises(UsageError, match="the name of a plan, a Plan or an Attack; got int"):
        ib.audit(net, right, threat="linf:0.1", method=3)  # type: ignore[arg-type]
    alone = ib.audit(net, right, threat="linf:0.1", method="fgsm")
    assert alone.facts["plan"] == {"name": "fgsm", "stages": ["clean", "fgsm"], "last": []}
    assert set_of("l2:1") == ib.L2(1)


def test_an_attack_that_the_model_cannot_answer_is_refused_at_once(right: tuple[Tensor, Tensor]) -> None:
    class Decides(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x.flatten(1).mean(1) > 0.3).long()

    model = ib.Model(Decides())
    data = data_of(right[0], Decides()(right[0]))
    with pytest.raises(CompositionError, match="this model gives DECISIONS"):
        tried(model, data, ib.Linf(0.1), plan_of("audit", ["standard"]).against(ib.Linf(0.1)))
    with pytest.raises(CompositionError, match="this model gives DECISIONS"):
        ib.attack(Decides(), right[0], threat="linf:0.1")


# ----------------------------------------------------------------------------------------------------------- harden
FAST: dict[str, Any] = {
    "threat": "linf:0.05",
    "epochs": 2,
    "steps": 2,
    "rate": 0.02,
    "batch": 32,
    "audit": Plan("one", plan_of("attack", ["fgsm"]).stages),
}


def test_harden_gives_model_before_after_and_history(tmp_path: Path) -> None:
    net = mlp(64, 24, 10).train()
    net[1].weight.grad = torch.ones_like(net[1].weight)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    data = load("digits:train", samples=400)
    robust = ib.harden(net, data, method="pgd", samples=20, out=tmp_path / "run", **FAST)
    assert isinstance(robust.model, ib.Model)
    assert [row["epoch"] for row in robust.history] == [1, 2]
    assert robust.before is not None
    assert robust.after is not None
    assert robust.after.clean_accuracy > 0.5 > robust.before.clean_accuracy
    assert net.training
    assert torch.equal(net[1].weight.grad, torch.ones_like(net[1].weight))
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    left = {"before", "after", "training", "model.safetensors", "harden.json", "report.html"}
    assert {path.name for path in (tmp_path / "run").iterdir()} == left
    unaudited = {**FAST, "audit": None, "out": tmp_path / "run", "resume": True}
    again = ib.harden(net, data, method="pgd", samples=20, **unaudited)  # forgets nothing
    assert again.after is not None
    assert again.after.facts == robust.after.facts
    fit, held_out = parted(data, None, 20, 0)
    assert robust.after.details.index.tolist() == held_out.index.tolist()
    assert not set(fit.index.tolist()) & set(held_out.index.tolist())

    again = ib.harden(net, data, method="pgd", samples=20, out=tmp_path / "run", resume=True, **FAST)
    assert again.history == robust.history
    weights = zip(again.model.net.state_dict().values(), robust.model.net.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in weights)
    assert ib.verify(tmp_path / "run" / "after", again.model, held_out).holds
    with pytest.raises(RunError, match="is no empty folder"):
        ib.harden(net, data, method="pgd", out=tmp_path / "run", **FAST)
    with pytest.raises(FingerprintMismatch):
        ib.harden(mlp(64, 24, 10, seed=1), data, method="pgd", samples=20, out=tmp_path / "run", resume=True, **FAST)


def test_harden_trains_only_where_no_audit_is_wanted() -> None:
    net = mlp(64, 10)
    robust = ib.harden(
        net, load("digits:train", samples=200), threat="linf:0.1", method="standard", epochs=1, audit=None
    )
    assert (robust.before, robust.after) == (None, None)
    assert len(robust.history) == 1
    assert not torch.equal(robust.model.net[1].weight, net[1].weight)


def test_harden_takes_a_training_and_data_to_measure_on() -> None:
    training = Training(Adversarial(Steps(1)), epochs=1)
    options: dict[str, Any] = {**FAST, "method": training, "test": "digits:test", "samples": 12}
    for name in ("epochs", "steps", "rate", "batch"):
        del options[name]
    robust = ib.harden(mlp(64, 10), load("digits:train", samples=100), **options)
    assert robust.before is not None
    assert robust.before.facts["data"]["name"] == "digits:test"
    assert len(robust.before.verdicts) == 12


def test_harden_splits_a_tenth_off_that_it_does_not_train_on() -> None:
    data = load("digits:train")
    fit, held_out = parted(data, None, None, 0)
    assert (len(fit), len(held_out)) == (1168, 129)
    assert set(fit.index.tolist()) | set(held_out.index.tolist()) == set(data.index.tolist())
    other = parted(data, None, None, 1)[1]
    assert set(other.index.tolist()) != set(held_out.index.tolist())
    with pytest.raises(UsageError, match="too little to measure on; pass test="):
        ib.harden(mlp(64, 10), data.take(list(range(19))), threat="linf:0.1")


def test_harden_refuses_settings_there_are_not() -> None:
    with pytest.raises(UsageError, match="pgd has no setting 'stepz'"):
        ib.harden(mlp(64, 10), "digits:train", threat="linf:0.1", stepz=3)
    with pytest.raises(UsageError, match="Did you mean 'step"):
        ib.harden(mlp(64, 10), "digits:train", threat="linf:0.1", stepz=3)
    with pytest.raises(UsageError, match=r"pgd has no setting 'gamma'.* of awp"):
        ib.harden(mlp(64, 10), "digits:train", threat="linf:0.1", gamma=0.1)
    with pytest.raises(UsageError, match=r"settings of schedule=.step. .*'cosine'"):
        ib.harden(mlp(64, 10), "digits:train", threat="linf:0.1", milestones=(0.4,))
    with pytest.raises(UnknownName, match=r"no method 'pdg'. Did you mean 'pgd'"):
        ib.harden(mlp(64, 10), "digits:train", threat="linf:0.1", method="pdg")


# --------------------------------------------------------------------------------------------------------- in common
def test_a_module_is_a_model_with_inputs_in_0_1(net: nn.Module, right: tuple[Tensor, Tensor]) -> None:
    x, y = right
    bare, wrapped = (ib.attack(m, x, y, threat="linf:0.1") for m in (net, ib.Model(net, range=(0, 1))))
    assert torch.equal(bare.adversarial, wrapped.adversarial)
    scaled = ib.Model(Wrap(net, lambda z: z, lambda v: v / 2), range=(0, 2))
    twice = ib.attack(scaled, 2 * x, y, threat=ib.Linf(0.2), method="i_fgsm")
    once = ib.attack(net, x, y, threat=ib.Linf(0.1), method="i_fgsm")
    assert twice.success.tolist() == once.success.tolist()
    with pytest.raises(UsageError, match=r"Model wraps a torch\.nn\.Module; got str"):
        ib.attack("net", x, y, threat="linf:0.1")


def test_normalisation_belongs_inside(net: nn.Module, right: tuple[Tensor, Tensor]) -> None:
    x, y = right
    inside = ib.Model(Wrap(net, lambda z: z, lambda v: v * 0.3 + 0.1), mean=0.1, std=0.3)
    assert (
        ib.attack(inside, x, y, threat="linf:0.1").success.tolist()
        == ib.attack(net, x, y, threat="linf:0.1").success.tolist()
    )


def test_the_verbs_have_one_shape() -> None:
    for verb in (ib.attack, ib.certify, ib.audit, ib.harden):
        parameters = inspect.signature(verb).parameters
        assert next(iter(parameters)) == "model"
        assert parameters["threat"].kind is inspect.Parameter.KEYWORD_ONLY
        assert parameters["method"].kind is inspect.Parameter.KEYWORD_ONLY
        assert verb.__doc__
        assert f"{verb.__name__}(net" in verb.__doc__


def test_vectors_are_inputs_too() -> None:
    net, x = mlp(5, 8, 3), drawn(12, 5)
    found = ib.attack(net, x, threat=ib.L2(math.sqrt(5)), method="pgd")
    assert bool(found.success.any())
    assert found.adversarial.shape == (12, 5)
