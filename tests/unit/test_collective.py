"""Universal perturbations and patches: closed forms, what they make of other inputs, what is measured, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import ironbound as ib
from cli_samples import model_of, write_zoo
from ironbound.cli import run
from ironbound.core.errors import CompositionError, InputError, UsageError
from ironbound.core.rng import Rng
from ironbound.searches.moves import Step
from ironbound.searches.universal import Minibatches

COLOURS = torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.9, 0.1, 0.2], [0.1, 0.3, 0.8]])


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.empty(*shape).uniform_(generator=torch.Generator().manual_seed(seed))


class Linear(nn.Module):
    """Logits that are linear in the input, of any shape."""

    def __init__(self, values: int, classes: int, seed: int = 0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(classes, values).normal_(generator=torch.Generator().manual_seed(seed)))

    def forward(self, x: Tensor) -> Tensor:
        return (x.flatten(1) - 0.5) @ self.weight.T.to(x.dtype)


def images(n: int = 40, seed: int = 1) -> tuple[nn.Module, Tensor, Tensor]:
    net, x = Linear(3 * 8 * 8, 4), 0.3 + 0.4 * noise(n, 3, 8, 8, seed=seed)
    with torch.no_grad():
        return net, x, net(x).argmax(1)


# ------------------------------------------------------------------------------------------------- closed forms
@pytest.mark.parametrize("ball", [ib.Linf(0.05), ib.L2(0.5), ib.L1(3.0)])
def test_on_a_linear_model_the_best_perturbation_for_a_target_is_the_support_of_the_weights_difference(ball) -> None:
    """With two classes the mean margin is linear in the change: its largest value is the support of w_t - w_y."""
    net, x = Linear(3 * 8 * 8, 2, seed=3), 0.3 + 0.4 * noise(24, 3, 8, 8)
    search = Minibatches(60, Step(0.1, relative=True), batch=8, looks=4)
    attack = ib.recipes.universal().replace(objective=ib.Margin(), search=search)
    found = ib.attack(ib.Model(net, range=None), x, threat=ball, method=attack, target=1)
    weight = (net.weight[1] - net.weight[0]).detach().view(1, 3, 8, 8)
    best = ball.at(torch.zeros(1, 3, 8, 8), None).support(weight)[1]
    reached = (weight.double() * found.points.double()).sum()
    assert float(reached) >= 0.975 * float(best)
    assert float(reached) <= float(best) * (1 + 1e-6)


def test_on_a_linear_model_a_patch_at_its_place_takes_the_end_that_each_weight_points_to() -> None:
    net, x = Linear(3 * 8 * 8, 2, seed=5), 0.3 + 0.4 * noise(16, 3, 8, 8)
    attack = ib.recipes.patch(steps=40, batch=8, step=0.2).replace(objective=ib.Margin())
    found = ib.attack(net, x, threat=ib.Patch(size=(3, 4), place=(2, 1)), method=attack, target=1)
    weight = (net.weight[1] - net.weight[0]).detach().view(3, 8, 8)[:, 2:5, 1:5]
    assert torch.equal(found.points[0], (weight > 0).float())


def test_deepfool_in_turn_fools_its_share_and_sgd_at_least_as_many() -> None:
    net, x, y = images(60)
    slow = ib.attack(net, x, y, threat="linf:0.05", method=ib.recipes.universal(by="deepfool", share=0.6))
    fast = ib.attack(net, x, y, threat="linf:0.05", method=ib.recipes.universal(steps=60, batch=16))
    assert bool(slow.success[0])
    assert slow.config["collective"]["works_on"][0] >= 36
    assert fast.config["collective"]["works_on"][0] >= slow.config["collective"]["works_on"][0]
    with torch.no_grad():
        fooled = int((net(slow.adversarial).argmax(1) != y).sum())
    assert slow.config["collective"]["works_on"] == [fooled]
    assert float(slow.points.abs().max()) <= 0.05


# ------------------------------------------------------------------------------------------------- lifted sets
def test_a_ball_is_lifted_and_the_result_says_how_many_inputs_it_works_on() -> None:
    net, x, y = images()
    found = ib.attack(net, x, y, threat="linf:0.03", method="uap")
    same = ib.attack(net, x, y, threat=ib.Universal(ib.Linf(0.03)), method="universal")
    assert torch.equal(found.points, same.points)
    assert len(found) == 1
    assert found.adversarial.shape == x.shape
    assert f"works on {found.config['collective']['works_on'][0]} of 40 inputs" in repr(found)
    with torch.no_grad():
        assert found.config["collective"]["works_on"] == [int((net(found.adversarial).argmax(1) != y).sum())]


def test_one_perturbation_a_class() -> None:
    net, x, y = images()
    threat = ib.Universal(ib.Linf(0.03), groups=y)
    found = ib.attack(net, x, y, threat=threat, method=ib.recipes.universal(steps=40))
    names = y.unique().tolist()
    assert len(found) == len(names)
    assert found.config["collective"]["inputs"] == [int((y == name).sum()) for name in names]
    row = torch.tensor([names.index(int(label)) for label in y])
    assert torch.allclose(found.adversarial, (x + found.points[row]).clamp(0, 1), atol=1e-6)
    assert torch.allclose(ib.apply(found, x, groups=y), found.adversarial)
    with pytest.raises(UsageError, match="say groups="):
        ib.apply(found, x)


@pytest.mark.parametrize(
    ("method", "threat", "said"),
    [
        ("patch", "linf:0.1", "such as Patch"),
        ("universal", "linf:0.1|l2:1", "attack each part by itself|needs a ball"),
        ("autoattack", ib.Patch(area=0.1), "What fits this threat: .*patch"),
        ("universal", ib.Finite((torch.zeros(3, 8, 8),)), "needs a ball"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_does(method, threat, said) -> None:
    net, x, y = images(4)
    with pytest.raises(CompositionError, match=said):
        ib.attack(net, x, y, threat=threat, method=method)


def test_an_audit_of_one_point_for_all_is_refused_kindly(tmp_path: Path) -> None:
    net, x, y = images(4)
    with pytest.raises(CompositionError, match=r"ironbound\.measure"):
        ib.audit(net, (x, y), threat="linf:0.1", method="universal", out=tmp_path / "a")
    with pytest.raises(CompositionError, match=r"ironbound\.measure"):
        ib.audit(net, (x, y), threat=ib.Universal(ib.Linf(0.1)), method="pgd", out=tmp_path / "b")
    with pytest.raises(CompositionError, match="per sample"):
        ib.certify(net, x, y, threat=ib.Universal(ib.Linf(0.1)))
    with pytest.raises(UsageError, match="one class"):
        ib.attack(net, x, y, threat="linf:0.1", method="universal", target="random")


# ------------------------------------------------------------------------------------------------- applied and measured
@pytest.mark.parametrize("ball", [ib.Linf(0.05), ib.L2(0.5), ib.L1(3.0)])
def test_applied_to_other_inputs_it_is_the_clamped_sum_within_the_ball(ball, tmp_path: Path) -> None:
    net, x, y = images()
    found = ib.attack(net, x, y, threat=ball, method=ib.recipes.universal(steps=20))
    found.save(tmp_path / "it.safetensors")
    new = noise(9, 3, 8, 8, seed=9)
    made = ib.apply(tmp_path / "it.safetensors", new)
    assert torch.equal(made, ib.apply(found, new))
    assert torch.allclose(made, (new + found.points).clamp(0, 1), atol=1e-6)
    assert bool(ball.at(new, (0.0, 1.0)).contains(made).all())
    assert np.array_equal(ib.apply(found, new.numpy()), made.numpy())
    with pytest.raises(InputError, match="made for"):
        ib.apply(found, new[:, :, :4])
    with pytest.raises(InputError, match=r"\[0.0, 1.0\]"):
        ib.apply(found, new * 255)


def test_a_patch_from_a_file_is_pasted_as_the_result_pastes_it(tmp_path: Path) -> None:
    net, x, y = images()
    threat = ib.Patch(area=0.2, shape="circle", scale=(0.8, 1.1), rotation=(-30, 30), brightness=(-0.1, 0.1),
                      contrast=(0.8, 1.2), colours=COLOURS)  # fmt: skip
    found = ib.attack(net, x, y, threat=threat, method=ib.recipes.patch(steps=6, batch=8))
    found.save(tmp_path / "patch.safetensors")
    new = noise(9, 3, 8, 8, seed=9)
    made = ib.apply(tmp_path / "patch.safetensors", new, seed=4)
    assert torch.equal(made, ib.apply(found, new, seed=4))
    assert not torch.equal(made, ib.apply(found, new, seed=5))
    assert torch.equal(made[3:5], ib.apply(found, new[3:5], seed=4)), "places depend on the company"
    assert bool((made != new).any(1).flatten(1).any(1).all())


def test_what_is_measured_is_what_is_counted_by_hand() -> None:
    net, x, y = images()
    found = ib.attack(net, x, y, threat="linf:0.03", method=ib.recipes.universal(steps=40))
    _, new, right = images(50, seed=11)
    wrong = right.clone()
    wrong[:7] = (wrong[:7] + 1) % 4
    seen = ib.measure(net, found, new, wrong)
    with torch.no_grad():
        each = net(ib.apply(found, new)).argmax(1) != wrong
    assert torch.equal(seen.each, each)
    assert (seen.works.count, seen.works.total, seen.before) == (int(each[7:].sum()), 43, 7)
    assert seen.works.low < seen.works.fraction < seen.works.high
    assert seen.random.count < seen.works.count
    assert f"{seen.works.count:,} of 43" in str(seen)


def test_a_targeted_result_is_measured_by_its_target() -> None:
    net, x, _ = images()
    found = ib.attack(net, x, threat="linf:0.05", method=ib.recipes.universal(steps=30), target=2)
    _, new, y = images(50, seed=11)
    seen = ib.measure(net, found, new, y, target=2)
    assert seen.before == int((y == 2).sum())
    assert seen.works.fraction > 0.9
    other = y.clone()
    other[:9] = 2
    assert ib.measure(net, found, new, other, target=2).before == int(((y == 2) | (other == 2)).sum())
    with pytest.raises(UsageError, match="say which, target="):
        ib.measure(net, found, new, y)


def test_results_of_single_inputs_cannot_be_applied() -> None:
    net, x, y = images(4)
    with pytest.raises(UsageError, match="a point of its own"):
        ib.apply(ib.attack(net, x, y, threat="linf:0.1", method="fgsm"), x)


# ------------------------------------------------------------------------------------------------- patches
def region_of(n: int = 6, **given: object) -> object:
    return ib.Patch(**given).at(noise(n, 3, 8, 10), (0.0, 1.0))


def streams(n: int, seed: int = 0) -> Rng:
    return Rng.of(seed, torch.arange(n))


def test_at_a_fixed_place_each_pixel_covers_a_pixel() -> None:
    region = region_of(size=(3, 4), place=(5, 2))
    p = noise(6, 3, 3, 4, seed=2)
    wanted = region.x.clone()
    wanted[:, :, 5:8, 2:6] = p
    assert torch.equal(region.apply(p, streams(6)), wanted)


def test_stickers_cover_what_their_mask_says_and_nothing_else() -> None:
    mask = torch.zeros(8, 10, dtype=torch.bool)
    mask[1:3, 2:4] = mask[6, 7:] = True
    region = region_of(shape=mask)
    p = region.project(noise(6, 3, 8, 10, seed=2))
    made = region.apply(p, streams(6))
    assert torch.equal(made[:, :, mask], p[:, :, mask])
    assert torch.equal(made[:, :, ~mask], region.x[:, :, ~mask])
    moved = p.clone()
    moved[:, 0, 0, 0] += 0.1
    assert not bool(region.contains(moved[:1]).any())


def test_every_place_in_the_picture_is_drawn_as_often() -> None:
    region = ib.Patch(size=(6, 8)).at(noise(1, 3, 8, 10), (0.0, 1.0))
    n = 3600
    made = region.apply(torch.full((n, 3, 6, 8), 2.0), streams(n), torch.zeros(n, dtype=torch.int64))
    corner = (made[:, 0] == 2.0).flatten(1).int().argmax(1)
    counts = torch.stack([(corner == row * 10 + col).sum() for row in range(3) for col in range(3)])
    assert int(counts.sum()) == n
    assert 320 < int(counts.min()) <= int(counts.max()) < 480  # 400 each, and four standard deviations


@pytest.mark.parametrize("shape", ["square", "circle"])
def test_the_area_is_the_largest_that_fits(shape: str) -> None:
    mask = ib.Patch(area=0.1, shape=shape).mask(32, 32)
    assert 0.075 < int(mask.sum()) / 1024 <= 0.1
    assert mask.all() == (shape == "square")


def test_a_half_turn_and_twice_the_size_are_what_they_say() -> None:
    p = noise(6, 3, 3, 4, seed=2)
    turned = region_of(size=(3, 4), place=(2, 3), rotation=(180.0, 180.0)).apply(p, streams(6))
    assert torch.allclose(turned[:, :, 2:5, 3:7], p.flip(2, 3), atol=1e-5)
    large = region_of(size=(3, 4), place=(2, 3), scale=(2.0, 2.0))
    made = large.apply(torch.ones(6, 3, 3, 4), streams(6))
    covered = (made == 1.0).all(1)
    assert bool((covered.flatten(1).sum(1) == 6 * 8).all())
    assert torch.equal(covered[0], covered[5])


def test_light_is_what_it_says() -> None:
    p = noise(6, 3, 3, 4, seed=2)
    made = region_of(size=(3, 4), place=(0, 0), brightness=(0.2, 0.2), contrast=(0.5, 0.5)).apply(p, streams(6))
    assert torch.allclose(made[:, :, :3, :4], (0.5 + 0.5 * (p - 0.5) + 0.2).clamp(0, 1))


def test_printable_colours_are_exact() -> None:
    region = region_of(size=(3, 4), colours=COLOURS)
    p = region.project(noise(1, 3, 3, 4, seed=2))
    assert bool(region.contains(p).all())
    pixels = p[0].flatten(1).T
    assert {tuple(row) for row in pixels.tolist()} <= {tuple(row) for row in COLOURS.tolist()}
    assert not bool(region.contains(torch.nextafter(p, torch.full_like(p, 0.5))).any())
    assert float(region.unprintable(p)) == 0.0
    assert float(region.unprintable(p + 0.1)) > 0.0
    for other in (region.sample(streams(1)), region.support(noise(1, 3, 3, 4, seed=8) - 0.5)[0], region.identity()):
        assert bool(region.contains(other).all())


def test_a_patch_of_given_colours_is_found_among_them() -> None:
    net, x, y = images()
    threat = ib.Patch(area=0.2, colours=COLOURS)
    found = ib.attack(net, x, y, threat=threat, method=ib.recipes.patch(steps=30, batch=16, printable=1.0))
    assert bool(threat.at(x, (0.0, 1.0)).contains(found.points).all())
    assert float(found.size[0]) > 0


@pytest.mark.parametrize(
    "given",
    [{}, {"area": 0.1, "size": (2, 2)}, {"area": 1.5}, {"size": (2, 2), "shape": "star"}, {"area": 0.1, "scale": (0.0, 1.0)},
     {"area": 0.1, "rotation": (20, -20)}, {"area": 0.1, "colours": torch.zeros(3)}],
)  # fmt: skip
def test_patches_that_mean_nothing_are_refused(given) -> None:
    with pytest.raises(UsageError):
        ib.Patch(**given)


def test_patches_that_do_not_fit_the_picture_are_refused() -> None:
    for given in ({"size": (9, 2)}, {"size": (2, 2), "place": (7, 0)}):
        with pytest.raises(InputError, match="does not fit"):
            region_of(**given)
    with pytest.raises(InputError, match="colours have 3 channels"):
        region_of(size=(2, 2), colours=COLOURS * 255)


# ------------------------------------------------------------------------------------------------- at the prompt
def test_at_the_prompt_it_is_found_on_one_half_and_measured_on_the_other(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    flags = [*model_of(write_zoo(tmp_path)), "--data", "digits", "--samples", "60", "--quiet"]
    assert run(["attack", *flags, "--threat", "linf:0.2", "--method", "uap", "--out", "x", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["fitted"]["inputs"] == 30
    assert facts["works"]["total"] + facts["before"] == 30
    assert facts["works"]["count"] > facts["random"]["count"]
    assert ib.Result.load("x/found.safetensors").points.shape == (1, 1, 8, 8)
    assert run(["attack", *flags, "--threat", "patch:0.2", "--method", "patch", "--out", "y"]) == 0
    said = capsys.readouterr().out
    assert "a random one on" in said
    assert "ironbound.apply('y/found.safetensors', x)" in said
    for wrong, why in (
        (["--threat", "patch:2", "--method", "patch"], "patch:0.1"),
        (["--threat", "linf:0.2", "--method", "universal,pgd"], "run it alone"),
        (["--threat", "linf:0.2", "--method", "patch"], "such as Patch"),
        (["--threat", "patch:0.1", "--method", "pgd"], "ironbound.measure"),
    ):
        assert run(["attack", *flags, *wrong, "--out", "z"]) == 2
        assert why in " ".join(capsys.readouterr().err.split())
    assert run(["audit", *flags, "--threat", "linf:0.2", "--method", "universal", "--out", "z"]) == 2
    assert "ironbound attack --method universal" in " ".join(capsys.readouterr().err.split())
