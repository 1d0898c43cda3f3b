"""Rotations, translations, flows, colours and blurs: closed forms, gradients, the grid, and what inputs they refuse."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import ironbound as ib
from ironbound.core.rng import Rng
from ironbound.searches.smooth_flow import roughness
from ironbound.sets.spatial import moved
from ironbound.sets.warp import bilinear
from ironbound.testing.tables import noise

BOX = (0.0, 1.0)


def images(n: int = 3, channels: int = 1, high: int = 6, wide: int = 6) -> Tensor:
    return noise(torch.empty(n, channels, high, wide, dtype=torch.float64), 1).sigmoid()


def applied(threat: object, p: Tensor, x: Tensor) -> Tensor:
    return threat.at(x, BOX).apply(p, Rng.of(0, torch.arange(len(x))))  # type: ignore[attr-defined]


# ------------------------------------------------------------------------------------------------- closed forms
@pytest.mark.parametrize("quarters", [-2, -1, 1, 2])
def test_quarters_of_a_turn_are_exact(quarters: int) -> None:
    x = images()
    p = torch.full((3, 1), 90.0 * quarters, dtype=torch.float64)
    torch.testing.assert_close(applied(ib.Rotation(180), p, x), torch.rot90(x, quarters, (2, 3)), rtol=0, atol=1e-12)


@given(down=st.integers(-3, 3), right=st.integers(-3, 3))
@settings(max_examples=20, deadline=None)
def test_whole_pixels_are_exact_shifts(down: int, right: int) -> None:
    x = images(2, 3, 5, 7)
    p = torch.tensor([[down, right]] * 2, dtype=torch.float64)
    expected = torch.zeros_like(x)
    to, fro = slice(max(0, down), 5 + min(0, down)), slice(max(0, -down), 5 + min(0, -down))
    across, back = slice(max(0, right), 7 + min(0, right)), slice(max(0, -right), 7 + min(0, -right))
    expected[:, :, to, across] = x[:, :, fro, back]
    assert torch.equal(applied(ib.Translation(3), p, x), expected)


def test_beyond_the_image_lies_black_or_its_edge() -> None:
    x = images(1)
    p = torch.tensor([[2.0, 0.0]], dtype=torch.float64)
    low = ib.Translation(2).at(x, (-0.5, 1.0)).apply(p)
    assert torch.equal(low[:, :, :2], torch.full_like(low[:, :, :2], -0.5))
    edge = ib.Translation(2, outside="edge").at(x, BOX).apply(p)
    assert torch.equal(edge[:, :, :2], x[:, :, :1].expand_as(edge[:, :, :2]))


def test_first_the_turn_then_the_shift() -> None:
    x = images()
    p = torch.tensor([[90.0, 1.0, -2.0]] * 3, dtype=torch.float64)
    turned = torch.rot90(x, 1, (2, 3))
    expected = applied(ib.Translation(2), p[:, 1:], turned)
    torch.testing.assert_close(applied(ib.Spatial(90, 2), p, x), expected, rtol=0, atol=1e-12)


def test_between_pixels_it_is_torchs_bilinear_interpolation() -> None:
    x = images(2, 3, 5, 7)
    angle, down, right = (torch.tensor(value, dtype=torch.float64) for value in ([17.0, -33], [0.3, 1], [-1.2, 0.5]))
    ours = moved(x, angle, down, right, 0.0)
    turn = angle * math.pi / 180
    i, j = torch.meshgrid(torch.arange(5.0).double() - 2, torch.arange(7.0).double() - 3, indexing="ij")
    y, z = i - down[:, None, None], j - right[:, None, None]
    cos, sin = turn.cos()[:, None, None], turn.sin()[:, None, None]
    place = torch.stack([(cos * z - sin * y) / 3, (sin * z + cos * y) / 2], -1)
    theirs = torch.nn.functional.grid_sample(x, place, align_corners=True)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


def test_a_constant_flow_is_a_shift() -> None:
    x = images(2, 1, 6, 8)
    flow = torch.zeros(2, 2, 6, 8, dtype=torch.float64)
    flow[:, 0], flow[:, 1] = -1.25, 0.5
    p = torch.tensor([[1.25, -0.5]] * 2, dtype=torch.float64)
    assert torch.allclose(applied(ib.Flow(2), flow, x), applied(ib.Translation(2, outside="edge"), p, x), atol=1e-14)


def test_roughness_counts_each_pair_of_neighbours_from_both_sides() -> None:
    flow = torch.zeros(1, 2, 3, 3, dtype=torch.float64)
    assert float(roughness(flow)) == pytest.approx(0, abs=0.01)
    flow[0, :, 1, 1] = torch.tensor([3.0, 4.0])
    assert float(roughness(flow)) == pytest.approx(2 * 4 * 5, abs=0.01)


def test_hue_goes_round_the_circle_of_colours() -> None:
    red = torch.zeros(1, 3, 2, 2, dtype=torch.float64)
    red[:, 0] = 0.8
    third = applied(ib.ColorShift(0.5), torch.tensor([[1 / 3, 0.0]], dtype=torch.float64), red)
    torch.testing.assert_close(third, red[:, [1, 0, 2]], rtol=0, atol=1e-6)
    grey = applied(ib.ColorShift(1.0), torch.tensor([[0.2, -1.0]], dtype=torch.float64), images(1, 3))
    torch.testing.assert_close(grey, images(1, 3).amax(1, keepdim=True).expand_as(grey), rtol=0, atol=1e-6)


def test_a_blur_keeps_the_mean_and_spreads_a_point_as_a_gaussian_does() -> None:
    x = torch.zeros(1, 1, 21, 21, dtype=torch.float64)
    x[0, 0, 10, 10] = 1.0
    out = applied(ib.Blur(2), torch.tensor([[1.5]], dtype=torch.float64), x)[0, 0]
    assert float(out.sum()) == pytest.approx(1, abs=1e-9)
    step = torch.arange(-10, 11).double()
    assert float((out.sum(0) * step**2).sum()) == pytest.approx(1.5**2, rel=1e-4)


# ------------------------------------------------------------------------------------------------- gradients
@pytest.mark.parametrize(
    ("threat", "p"),
    [
        (ib.Rotation(60), [17.3]),
        (ib.Translation(3), [0.4, -1.7]),
        (ib.Spatial(60, 3), [-21.0, 0.35, 1.2]),
        (ib.Brightness(0.4), [0.05]),
        (ib.Blur(2), [0.9]),
        (ib.ColorShift(0.3), [0.07, -0.11]),
    ],
    ids=lambda value: getattr(value, "norm", None),
)
def test_gradients_are_those_of_finite_differences(threat: object, p: list[float]) -> None:
    x = images(2, 3, 6, 7) * 0.6 + 0.1
    weights = noise(x, 4)
    at = torch.tensor([p] * 2, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda q: (applied(threat, q, x) * weights).sum(), at.requires_grad_(True), eps=1e-6
    )


def test_gradients_of_flows_are_those_of_finite_differences() -> None:
    x = images(1, 2, 4, 4)
    at = (0.3 * noise(torch.empty(1, 2, 4, 4, dtype=torch.float64), 2)).requires_grad_(True)
    assert torch.autograd.gradcheck(lambda q: applied(ib.Flow(5), q, x), at, eps=1e-6)


def test_bilinear_reads_each_row_by_itself() -> None:
    x = images(4, 2)
    place = 6 * images(8, 1)[:, 0]
    whole = bilinear(x, place[:4], place[4:], 0.3)
    for i in range(4):
        assert torch.equal(whole[i], bilinear(x[i : i + 1], place[i : i + 1], place[4 + i : 5 + i], 0.3)[0])


# ------------------------------------------------------------------------------------------------- the searches
class Bars(torch.nn.Module):
    """Which quarter of the image is brightest."""

    def __init__(self, scale: float = 5.0) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * torch.nn.functional.adaptive_avg_pool2d(x.mean(1, keepdim=True), 2).flatten(1)


X = images(40, 1, 8, 8)
Y = Bars()(X).argmax(1)


def test_the_grid_equals_brute_force_over_its_lattice() -> None:
    threat, model = ib.Spatial(6, 0.4), ib.Model(Bars().double())
    found = ib.attack(model, X, Y, threat=threat, method=ib.recipes.rotation(angles=7, shifts=3))
    broken = torch.zeros(len(X), dtype=torch.bool)
    for angle, down, right in itertools.product(torch.linspace(-6, 6, 7), (-0.4, 0.0, 0.4), (-0.4, 0.0, 0.4)):
        p = torch.tensor([[float(angle), down, right]] * len(X), dtype=torch.float64)
        broken |= Bars()(applied(threat, p, X)).argmax(1) != Y
    assert torch.equal(found.success, broken)
    assert 0 < int(broken.sum()) < len(X)
    assert int(found.forward.max()) <= 7 * 9 + 1
    assert "no proof" in found.config["notes"][0]


def test_the_answer_of_a_failed_grid_is_its_strongest_point() -> None:
    threat, model = ib.Rotation(4), ib.Model(Bars().double())
    found = ib.attack(model, X, Y, threat=threat, method=ib.recipes.rotation(angles=5))
    lost = ~found.success
    assert bool(lost.any())
    margins = []
    for angle in torch.linspace(-4, 4, 5).double():
        out = Bars()(applied(threat, angle.view(1, 1).expand(len(X), 1), X))
        margins.append(ib.Untargeted().margin(out, Y))
    torch.testing.assert_close(found.margin[lost], torch.stack(margins).amax(0)[lost], rtol=0, atol=1e-5)


def test_stadv_bends_where_random_flows_do_not() -> None:
    threat, model = ib.Flow(0.15), ib.Model(Bars(1000).double())
    ours = ib.attack(model, X, Y, threat=threat, method=ib.recipes.stadv(steps=60))
    chance = ib.attack(model, X, Y, threat=threat, method="noise")
    assert ours.success.double().mean() > chance.success.double().mean() + 0.2
    smooth = ib.attack(model, X, Y, threat=threat, method=ib.recipes.stadv(steps=60, tau=1.0))
    both = ours.success & smooth.success & (ours.size > 0)
    assert roughness(smooth.points)[both].mean() < roughness(ours.points)[both].mean()


# ------------------------------------------------------------------------------------------------- refusals and words
def test_what_is_no_picture_is_refused() -> None:
    with pytest.raises(ib.IronboundError, match="channels, height, width"):
        ib.attack(torch.nn.Linear(6, 2), torch.ones(3, 6), threat=ib.Rotation(30))
    with pytest.raises(ib.IronboundError, match="3 channels; got 1"):
        ib.attack(Bars().double(), X, Y, threat=ib.ColorShift(0.1))


def test_what_does_not_fit_is_refused_with_what_does() -> None:
    with pytest.raises(ib.IronboundError, match="of the kind Rotation, Spatial"):
        ib.attack(Bars().double(), X, Y, threat="linf:0.1", method="rotation")
    with pytest.raises(ib.IronboundError, match="kind L2, Linf, L1"):
        ib.attack(Bars().double(), X, Y, threat="rotation:30", method="hopskipjump")
    with pytest.raises(ib.IronboundError, match="parameters of a change"):
        ib.Linf(0.1) | ib.Rotation(30)
    with pytest.raises(ib.IronboundError, match="mode is"):
        ib.recipes.blur("sideways")  # type: ignore[arg-type]
    for wrong in (lambda: ib.Rotation(-1), lambda: ib.Flow(math.nan), lambda: ib.Translation(3, of="miles")):  # type: ignore[arg-type]
        with pytest.raises(ib.IronboundError):
            wrong()


def test_no_bounds_are_given_for_parameters() -> None:
    tiny = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(1, 2))
    for threat in (ib.Flow(0.1), ib.Rotation(1)):  # whose ends would have the shape of such an input
        with pytest.raises(ib.IronboundError, match="stand for changed inputs and are none"):
            ib.certify(tiny, torch.full((2, 1, 1, 1), 0.5), torch.tensor([0, 1]), threat=threat)
