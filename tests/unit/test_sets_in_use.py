"""Sets in the house: exhaustive verdicts, radii and masks by row, unions and finite sets through attack, proof and audit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import ironbound as ib
from ironbound.auditing.manifest import threat_facts
from ironbound.certification.certificates import prove
from ironbound.certification.exhaustive import Exhaustive as AllPoints
from ironbound.certification.ibp import Ibp
from ironbound.core.errors import InputError, RunError, UsageError
from ironbound.core.protocols import Can, Status
from ironbound.names import plan_of
from ironbound.searches.exhaustive import Exhaustive

BOX = (0.0, 1.0)


def mirrored(x: Tensor) -> Tensor:
    return x.flip(-1)


def dimmed(x: Tensor) -> Tensor:
    return 0.8 * x


def linear(seed: int = 0) -> nn.Module:
    """A linear net that looks at differences between pixels, so that its margins on noise are small."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    weight = torch.randn(3, 16, generator=torch.Generator().manual_seed(seed))
    net[1].weight.data, net[1].bias.data = weight - weight.mean(1, keepdim=True), torch.zeros(3)
    return net


NET = linear()
X = torch.rand(24, 1, 4, 4, generator=torch.Generator().manual_seed(1))
Y = NET(X).argmax(1)
MANY = ib.Finite((dimmed, *(0.4 * torch.eye(16)[i].view(1, 4, 4) for i in range(16))))


def by_hand() -> Tensor:
    """Which samples every one of the changes leaves right."""
    every = [X, dimmed(X), *((X + 0.4 * torch.eye(16)[i].view(1, 4, 4)).clamp(0, 1) for i in range(16))]
    return torch.stack([NET(x).argmax(1) == Y for x in every]).all(0)


# ------------------------------------------------------------------------------------------------- finite sets
@pytest.mark.parametrize("block", [1, 5, 32])
def test_exhaustive_search_finds_every_witness_there_is(block: int) -> None:
    found = ib.attack(NET, X, Y, threat=MANY, method=ib.recipes.exhaustive(block))
    robust = by_hand()
    assert 3 < int(robust.sum()) < 21
    assert torch.equal(found.success, ~robust)
    assert bool((found.status[robust] == Status.NOT_FOUND).all())
    assert bool((NET(found.adversarial).argmax(1) != Y)[~robust].all())
    region = MANY.at(X, BOX)
    assert torch.equal(region.apply(found.points)[~robust], found.adversarial[~robust])
    assert bool((found.forward[robust] == 1 + 18).all())  # the clean pass, x again and 17 changes
    assert bool((found.forward[~robust] <= 1 + block * -(-18 // block) + 1).all())


def test_a_budget_that_ends_the_search_is_said() -> None:
    few = ib.recipes.exhaustive().replace(budget=ib.Budget(forward=6))
    found = ib.attack(NET, X, Y, threat=MANY, method=few)
    assert bool((found.status[by_hand()] == Status.BUDGET).all())
    with pytest.raises(UsageError, match="at least 1"):
        Exhaustive(0)


def test_an_audit_of_a_finite_set_leaves_nothing_undecided() -> None:
    report = ib.audit(NET, (X, Y), threat=MANY, method="exhaustive", pool=16)
    robust = by_hand()
    assert report.verdicts == ["certified" if yes else "broken" for yes in robust.tolist()]
    assert report.certified_accuracy == report.attacked_accuracy == float(robust.double().mean())
    assert {check["result"] for check in report.checks} <= {"pass", "not applicable"}
    again = ib.verify(report.folder, NET, (X, Y), threat=MANY)
    assert again.holds
    assert (again.witnesses, again.certificates) == (int((~robust).sum()), int(robust.sum()))
    with pytest.raises(UsageError, match=r"threat=\.\.\."):
        ib.verify(report.folder, NET, (X, Y))
    with pytest.raises(RunError, match="another threat"):
        ib.verify(report.folder, NET, (X, Y), threat=ib.Finite((mirrored,)))


def test_proofs_of_finite_sets() -> None:
    proof = ib.certify(NET, X, Y, threat=MANY, method="exhaustive", rows=7)
    assert torch.equal(proof.certified, by_hand())
    assert torch.equal(proof.radius, by_hand().double())
    assert torch.equal(proof.margin > 0, by_hand())
    with pytest.raises(UsageError, match="must be finite"):
        ib.certify(NET, X, Y, threat="linf:0.1", method="exhaustive")
    with pytest.raises(UsageError, match='method="exhaustive"'):
        ib.certify(NET, X, Y, threat=MANY, method="ibp")


def test_inputs_beyond_the_range_prove_nothing() -> None:
    """Also where a mask does not let the value beyond it change, or all points of the set are tried."""
    model, x = ib.Model(NET), X[:4].clone()
    x[0, 0, 0, 0], x[1, 0, 0, 0], x[2, 0, 0, 0] = 1.5, -0.5, float("nan")
    y, still = NET(x).argmax(1), torch.zeros(4, 4, dtype=torch.bool)
    proofs = [
        prove(Ibp(), model, x, y, ib.Linf(0.1, mask=still)),
        prove(Ibp(), model, x, y, ib.L0(1, mask=still)),
        prove(AllPoints(), model, x, y, ib.Finite([torch.zeros(1, 4, 4)])),
    ]
    for proof in proofs:
        assert proof.certified.tolist() == [False, False, False, True]
        assert proof.radius[:3].tolist() == [0.0, 0.0, 0.0]


def in_company(x: Tensor) -> Tensor:
    """A change whose last bits depend on how many rows there are, as those of matrix products do."""
    new = mirrored(x)
    return torch.nextafter(new, torch.ones(())) if len(x) % 2 else new


def test_rounding_puts_no_witness_outside_of_a_finite_set() -> None:
    many = ib.Finite([in_company, dimmed])
    report = ib.audit(NET, (X, Y), threat=many, method="exhaustive", pool=5)
    assert report.verdicts.count("broken") > 5
    assert ib.verify(report.folder, NET, (X, Y), threat=many).holds
    region = many.at(X, BOX)
    made = torch.cat([in_company(X[i : i + 1]) for i in range(len(X))])
    assert region.locate(made).tolist() == [1] * len(X)
    assert region.locate(X).tolist() == [0] * len(X)
    assert region.locate(made + 1e-4).tolist() == [-1] * len(X)
    assert region.locate(torch.full_like(X, torch.nan)).tolist() == [-1] * len(X)


class Sharp(nn.Module):
    """Large logits with a tiny margin at the mirrored input: right by less than rounding can tell."""

    def forward(self, x: Tensor) -> Tensor:
        left = x.flatten(1)[:, :1]
        return 100 + torch.cat([1e-4 + 0 * left, torch.where(left > 0.5, 0.0, -1.0)], 1)


def test_margins_within_rounding_prove_nothing() -> None:
    x = torch.tensor([[[[0.0, 1.0]]], [[[0.0, 0.2]]]])
    model, labels = ib.Model(Sharp(), outputs="logits"), torch.zeros(2).long()
    proof = ib.certify(model, x, labels, threat=ib.Finite((mirrored,)), method="exhaustive")
    assert bool((proof.margin > 0).all())
    assert proof.certified.tolist() == [False, True]


# ------------------------------------------------------------------------------------------------- rows
def test_an_audit_gives_each_row_of_the_data_its_own_radius() -> None:
    """Also where only some rows are drawn: the radii are of the rows of the data, whichever are looked at."""
    radii = torch.where(torch.arange(24) % 2 == 0, 0.0, 0.4)
    threat = ib.Linf(radii, mask=torch.eye(4, dtype=torch.bool))
    report = ib.audit(NET, (X, Y), threat=threat, method="quick", pool=16, samples=15)
    verdicts = dict(zip(report.details.index.tolist(), report.verdicts, strict=True))
    assert {verdicts[i] for i in verdicts if i % 2 == 0} == {"certified"}
    rows, adversarial = report.witnesses()
    assert len(rows) > 1
    assert bool((rows % 2 == 1).all())
    moved = (adversarial - X[rows]).abs()
    assert not bool(moved[:, :, ~torch.eye(4, dtype=torch.bool)].any())
    assert float(moved.max()) <= 0.4 + 1e-7
    assert ib.verify(report.folder, NET, _drawn(15), threat=threat).holds
    with pytest.raises(InputError, match="row 23 was asked for"):
        ib.audit(NET, (X, Y), threat=ib.Linf(radii[:23]), method="quick")


def _drawn(samples: int) -> Any:
    from ironbound.data import load

    return load((X, Y), samples=samples, seed=0)


def test_attacks_and_proofs_of_rows_equal_those_of_each_alone() -> None:
    radii = torch.linspace(0, 0.3, 24)
    for norm, method in ((ib.Linf, "pgd"), (ib.L2, "pgd"), (ib.L1, "noise")):
        together = ib.attack(NET, X, Y, threat=norm(radii * 3), method=method)
        for i in (0, 23):
            alone = ib.attack(NET, X[i : i + 1], Y[i : i + 1], threat=norm(float(radii[i] * 3)), method=method)
            assert bool(alone.success) == bool(together.success[i])
            assert torch.allclose(alone.adversarial[0], together.adversarial[i], atol=1e-6)
    proof = ib.certify(NET, X, Y, threat=ib.Linf(radii), rows=7)
    for i in (0, 23):
        alone = ib.certify(NET, X[i : i + 1], Y[i : i + 1], threat=ib.Linf(float(radii[i])))
        assert torch.allclose(alone.radius, proof.radius[i : i + 1])
        assert bool(alone.certified) == bool(proof.certified[i])


# ------------------------------------------------------------------------------------------------- unions
def test_a_union_is_certified_where_every_part_is() -> None:
    parts = (ib.Linf(0.04), ib.L2(0.1), ib.L1(0.12))
    model = ib.Model(NET)
    union = prove(Ibp(), model, X, Y, parts[0] | parts[1] | parts[2])
    alone = [prove(Ibp(), model, X, Y, part) for part in parts]
    every = torch.stack([proof.certified for proof in alone]).all(0)
    assert 2 < int(every.sum()) < 22
    assert torch.equal(union.certified, every)
    shares = torch.stack([proof.radius / part.eps for proof, part in zip(alone, parts, strict=True)]).amin(0)
    assert torch.allclose(union.radius, shares)
    assert union.radius[every].tolist() == [1.0] * int(every.sum())
    assert torch.equal(union.margin, torch.stack([proof.margin for proof in alone]).amin(0))


def test_an_audit_of_a_union_verifies_from_its_text() -> None:
    report = ib.audit(NET, (X, Y), threat="linf:0.05|l2:0.25", method="quick")
    assert report.facts["threat"]["spec"] == "linf:0.05|l2:0.25"
    broken = ib.attack(NET, X, Y, threat="linf:0.05", method="pgd").success
    assert {v for v, b in zip(report.verdicts, broken.tolist(), strict=True) if b} == {"broken"}
    assert ib.verify(report.folder, NET, (X, Y)).holds


def test_certified_counts_of_pixels_are_whole() -> None:
    small = linear()
    small[1].weight.data *= 0.05
    small[1].bias.data = torch.tensor([1.0, 0.0, 0.0])
    proof = ib.certify(small, X, torch.zeros(24).long(), threat=ib.L0(1))
    assert set(proof.radius.tolist()) <= {0.0, 1.0}
    everything = ib.certify(NET, X, Y, threat=ib.L1())
    assert 0 < float(everything.radius[~everything.certified].max()) <= 16


# ------------------------------------------------------------------------------------------------- words and units
def test_threats_in_words() -> None:
    said = lambda threat: threat_facts(threat, BOX)
    assert said(ib.L0(1))["text"] == "at most 1 pixel of an input may change, by any amount, within [0, 1]"
    assert said(ib.L0(3, of="coordinates"))["text"].startswith("at most 3 coordinates of an input")
    assert said(ib.L1(12))["text"] == "the values of an input may change by at most 12 in sum, within [0, 1]"
    union = said(ib.Linf(8 / 255) | ib.L2(0.5))
    assert union["spec"] == "linf:8/255|l2:0.5"
    assert union["norm"] == "union"
    assert union["text"].count("; or ") == 1
    masked = said(ib.Linf(0.1, mask=torch.ones(2).bool()))
    assert masked["spec"] == "linf:0.1 (masked)"
    assert "where a mask allows it" in masked["text"]
    own = said(ib.L2(torch.tensor([0.1, 0.25])))
    assert own["spec"] == "l2:0.1 to 0.25"
    assert own["radius"] is None
    assert said(ib.Finite((mirrored,)))["spec"] == "Finite('mirrored')"


@pytest.mark.parametrize("threat", ["linf:1", "l2:4.01", "l1:16.1", "l0:17", "linf:0.1|l2:9"])
def test_a_radius_beyond_the_range_is_refused_in_its_own_norm(threat: str) -> None:
    for call in (
        lambda: ib.attack(NET, X, Y, threat=threat, method="noise"),
        lambda: ib.certify(NET, X, Y, threat=threat),
    ):
        with pytest.raises(UsageError, match=r"covers the whole range|fewer than the radius"):
            call()


@pytest.mark.parametrize("threat", ["linf:0.99", "l2:4", "l1:16", "l0:16", "linf:inf"])
def test_a_radius_within_the_range_is_taken(threat: str) -> None:
    assert ib.attack(NET, X, Y, threat=threat, method="noise").success.shape == (24,)


# ------------------------------------------------------------------------------------------------- a set of one's own
@dataclass(frozen=True)
class DarkerRegion(ib.InputRegion):
    """No value may rise, and none may fall below half of what it was."""

    def contains(self, p: Tensor) -> Tensor:
        return ((p <= self.x) & (p >= self.x / 2)).flatten(1).all(1)

    def project(self, p: Tensor) -> Tensor:
        return torch.clamp(p, self.x / 2, self.x)

    def sample(self, rng: Any) -> Tensor:
        return self.x * (1 - rng.uniform(tuple(self.x.shape[1:]), self.x.dtype, 0, 0.5))


@dataclass(frozen=True)
class Darker:
    can = Can.PROJECT | Can.SAMPLE

    def at(self, x: Tensor, box: Any) -> DarkerRegion:
        return DarkerRegion(x, box)


def test_a_set_of_two_functions_works_throughout() -> None:
    report = ib.audit(NET, (X, Y), threat=Darker(), method="noise")
    assert 0 < report.attacked_accuracy <= 1
    assert ib.verify(report.folder, NET, (X, Y), threat=Darker()).holds
    region = Darker().at(X, BOX)
    assert region.distance(X + 0.5).tolist() == pytest.approx([2.0] * 24)
    assert region.size(X * 0.75).tolist() == pytest.approx((X / 4).flatten(1).amax(1).tolist())
    assert torch.equal(region.take(torch.tensor([3, 3])).identity(), X[[3, 3]])
    assert replace(region, box=None).box is None


class Free:
    """A set that can be projected onto and no more: every input of the range is in it."""

    can = Can.PROJECT | Can.STEER

    def at(self, x: Tensor, box: Any) -> Any:
        return ib.Linf(0.2).at(x, box)

    key = "free"


@pytest.mark.parametrize("threat", [Free(), ib.L2()], ids=["no draws", "no end"])
def test_an_audit_of_a_set_that_one_cannot_draw_from_ends(threat: Any) -> None:
    model = ib.Model(NET, range=None, outputs="logits")
    search = ib.Ascent(2, ib.Step(0.05))
    report = ib.audit(model, (X, Y), threat=threat, method=ib.recipes.pgd().replace(search=search))
    found = {check["name"]: check for check in report.checks}
    assert found["gradients"]["result"] == "pass"
    assert "random point" not in found["gradients"]["evidence"]
    assert found["beats noise"]["result"] == "not applicable"


def test_an_audit_of_proofs_without_end_ends() -> None:
    """PGD's steps are shares of a radius; the check of the certificates goes on with draws alone."""
    still = torch.zeros(4, 4, dtype=torch.bool)
    report = ib.audit(NET, (X, Y), threat=ib.Linf(mask=still), method=plan_of("certify", ["ibp"]))
    found = {check["name"]: check for check in report.checks}
    assert found["certificates hold"]["result"] == "pass"
    assert found["certificates hold"]["evidence"].startswith("noise against")
