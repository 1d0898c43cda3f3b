"""The common corruptions: as strong as they say, the same every time, in any range and size; and where they are written."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import ironbound as ib
from ironbound.data import load
from ironbound.sets.corruptions import ALL, COMMON, EXTRA, Corruption
from ironbound.sets.corruptions.constants import LARGE, SMALL, constants
from ironbound.sets.threat import parse_threat, spec_of
from ironbound.testing.tables import noise


def pictures(n: int = 6, channels: int = 3, side: int = 32) -> Tensor:
    """Smooth colourful pictures in [0, 1]."""
    rough = noise(torch.empty(n, channels, 13, 13), 3)
    return torch.nn.functional.interpolate(rough, (side, side), mode="bicubic").mul(1.5).sigmoid()


def away(name: str, severity: int, x: Tensor) -> float:
    return float((Corruption(name, severity)(x) - x).square().mean().sqrt())


ODD = {"saturate", "elastic_transform", "spatter", "glass_blur", "frost"}
"""Whose published severities are not ordered by distance: another kind of change at each, less of one and more of another."""


@pytest.mark.parametrize("name", ALL)
def test_every_corruption_changes_pictures_and_more_with_its_severity(name: str) -> None:
    x = pictures()
    sizes = [away(name, severity, x) for severity in range(1, 6)]
    assert all(0.0005 < size < 0.6 for size in sizes), sizes
    if name not in ODD:
        assert sizes == sorted(sizes), sizes


@pytest.mark.parametrize("name", ["gaussian_noise", "defocus_blur", "fog", "frost", "elastic_transform", "pixelate"])
def test_larger_pictures_take_the_constants_of_imagenet(name: str) -> None:
    x = pictures(2, side=96)
    sizes = [away(name, severity, x) for severity in (1, 5)]
    assert all(0.0005 < size < 0.6 for size in sizes)
    assert constants(name, 3, 224) == LARGE[name][2]
    assert constants(name, 3, 32) == SMALL[name][2]


def test_lengths_grow_with_the_picture_and_amplitudes_do_not() -> None:
    assert constants("gaussian_blur", 5, 64) == (2.0,)
    assert constants("gaussian_noise", 5, 64) == constants("gaussian_noise", 5, 32)


def test_grey_pictures_and_other_ranges() -> None:
    grey = pictures(3, 1, 28)
    for name in ALL:
        out = Corruption(name, 3)(grey)
        wide = Corruption(name, 3).within(grey * 4 - 1, (-1.0, 3.0))
        assert out.shape == grey.shape
        drawn = "noise" in name or name in (
            "snow",
            "spatter",
            "fog",
            "frost",
            "glass_blur",
            "motion_blur",
            "elastic_transform",
        )
        if not drawn:  # what is drawn follows the content, which is another
            torch.testing.assert_close((wide + 1) / 4, out, rtol=0, atol=1e-5 if name != "jpeg_compression" else 0.05)
        assert bool(((wide >= -1) & (wide <= 3)).all())
    assert torch.equal(Corruption("saturate", 3)(grey), grey)


def test_noise_belongs_to_the_picture_and_is_the_same_at_all_severities() -> None:
    x = pictures(2) * 0 + 0.5
    x[1] = x[1] + 0.001
    one, five = (Corruption("gaussian_noise", s)(x) - x for s in (1, 5))
    torch.testing.assert_close(five / 0.10, one / 0.04, rtol=0, atol=1e-4)
    assert not torch.allclose(one[0], one[1], atol=1e-2)
    torch.testing.assert_close(one[0].std(), torch.tensor(0.04), rtol=0.1, atol=0)


def test_shot_noise_has_the_mean_and_variance_of_poisson() -> None:
    x = torch.full((1, 1, 64, 64), 0.4)
    out = Corruption("shot_noise", 5)(x)
    assert float(out.mean()) == pytest.approx(0.4, abs=0.01)
    assert float(out.var()) == pytest.approx(0.4 / 50, rel=0.1)


def test_brightness_and_saturation_keep_the_hue() -> None:
    x = pictures(2) * 0.6 + 0.05
    for name in ("brightness", "saturate"):
        out = Corruption(name, 2)(x)
        spread = lambda image: (
            (image - image.amin(1, keepdim=True)) / (image.amax(1, keepdim=True) - image.amin(1, keepdim=True))
        )
        torch.testing.assert_close(spread(out), spread(x), rtol=0, atol=1e-3)


def test_names_and_severities() -> None:
    assert len(COMMON) == 15
    assert len(EXTRA) == 4
    assert ib.Corruptions("all", 2) == ib.Corruptions.all(2)
    assert len(ib.Corruptions.all(2, extra=True).changes) == 19
    assert ib.Corruptions("frost", 1).names == ("frost (procedural)",)
    with pytest.raises(ib.IronboundError, match="There are all"):
        ib.Corruptions("mist", 3)
    with pytest.raises(ib.IronboundError, match="from 1 to 5"):
        ib.Corruptions("fog", 6)
    with pytest.raises(ib.IronboundError, match="no corruption twice"):
        ib.Corruptions(["fog", "fog"], 3)


TEXTS = (
    "rotation:30", "translation:3", "translation:10%", "translation:12.5%", "spatial:30:3", "brightness:0.2", "blur:1.5",
    "color:0.1", "flow:0.5", "flow:inf", "corruption:fog:3", "corruption:fog,snow:1", "corruption:all:3",
)  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_texts_are_read_and_written(text: str) -> None:
    threat = parse_threat(text)
    assert spec_of(threat) == text
    assert parse_threat(spec_of(threat)) == threat


@pytest.mark.parametrize("share", [1 / 3, 0.07, 0.1, 2 / 28, 1e-7])
def test_shares_are_written_exactly(share: float) -> None:
    for threat in (ib.Translation(share, of="side"), ib.Rotation(share), ib.Flow(share)):
        assert parse_threat(spec_of(threat)) == threat


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("rotation", "has no radius. Example: rotation:30"),
        ("rotation:x", "no number"),
        ("rotation:-3", "in degrees"),
        ("tilt:3", "There are blur, brightness, color, corruption, flow, l0"),
        ("corruption:fog", "a name and a severity"),
        ("corruption:fog:9", "from 1 to 5"),
        ("corruption:rain:3", "no corruption is called 'rain'"),
        ("spatial:30", "an angle and a shift"),
        ("rotation:30|linf:0.1", "parameters of a change"),
    ],
)
def test_what_cannot_be_read_says_what_can(text: str, says: str) -> None:
    with pytest.raises(ib.IronboundError, match=says.replace("(", r"\(")):
        parse_threat(text)


def test_sets_with_another_edge_have_no_text() -> None:
    assert spec_of(ib.Rotation(30, outside="edge")) == ""


def test_a_threat_of_corruptions_is_decided_sample_by_sample() -> None:
    data = load("digits")
    x, y = data.x[:30], data.y[:30]
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    means = torch.stack([data.x[data.y == k].mean(0).flatten() for k in range(10)])
    with torch.no_grad():
        net[1].weight.copy_(means)
        net[1].bias.copy_(-means.square().sum(1) / 2)
    threat = ib.Corruptions(["fog", "contrast"], 4)
    report = ib.audit(net, (x, y), threat=threat, method="exhaustive")
    worst = torch.stack([net(change(x)).argmax(1) == y for change in threat.changes] + [net(x).argmax(1) == y]).all(0)
    assert report.attacked_accuracy == report.certified_accuracy == pytest.approx(float(worst.float().mean()))
    assert ib.verify(report.folder, net, (x, y)).holds  # rebuilt from its text
