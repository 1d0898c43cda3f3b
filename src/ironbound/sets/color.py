"""Colours, brightness and blur: changes of a whole image by one or two numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from jaxtyping import Float
from torch import Tensor

from ironbound.core.errors import UsageError
from ironbound.core.protocols import Box
from ironbound.sets.bounds import inner_box
from ironbound.sets.parameters import ParameterRegion, Parametric, checked, images, span, written

REACH = 6
"""Standard deviations after which a Gaussian kernel is cut: what lies beyond weighs 1.5e-8 of its middle."""


# ------------------------------------------------------------------------------------------------- brightness
@dataclass(frozen=True)
class Brightness(Parametric):
    """All images with the same number added to every value, at most `eps` up or down, cut at the model's range.

    Points are these numbers in input units, shape (n, 1), float64; their absolute value is the size.
    Paper: Mohapatra, Weng, Chen, Liu, Daniel 2020, Towards Verifying Robustness of Neural Networks Against A Family of
    Semantic Perturbations, arXiv 1912.09533, section 3.
    """

    eps: float

    norm = "brightness"

    def __post_init__(self) -> None:
        object.__setattr__(self, "eps", checked(self.eps, "Brightness", "eps is the largest change in input units"))

    @property
    def spec(self) -> str:
        return f"brightness:{written(self.eps)}"

    @property
    def sentence(self) -> str:
        return f"all values of an image may rise or fall together by at most {self.eps:g}"

    def at(self, x: Float[Tensor, "n c h w"], box: Box) -> BrightnessRegion:
        """The region around x. Raises InputError for what is no batch of images."""
        return BrightnessRegion.around(images(x, "Brightness"), box, self.eps, (1.0,), (span(box),))


@dataclass(frozen=True)
class BrightnessRegion(ParameterRegion):
    """Images with a number added."""

    norm = "brightness"
    axes = ("brightness",)

    def changed(self, x: Tensor, p: Tensor) -> Tensor:
        return x + p.to(x.dtype)[:, :, None, None]


# ------------------------------------------------------------------------------------------------- colour
@dataclass(frozen=True)
class ColorShift(Parametric):
    """All shifts of hue and saturation by at most `eps`, the same at every pixel; images have three channels, R, G and B.

    Points are (hue, saturation), shape (n, 2), float64: hue in turns of the colour circle (0.5 is the complementary
    colour, and there is nothing beyond), saturation as a share of what there may be. The larger of both is the size. Hue
    and saturation are those of HSV in the model's range taken as [0, 1]; brightness (V) stays. Needs Kornia:
    pip install 'ironbound[images]'.
    Paper: Hosseini, Poovendran 2018, Semantic Adversarial Examples, arXiv 1804.00499, section 3.
    """

    eps: float

    norm = "color"

    def __post_init__(self) -> None:
        object.__setattr__(self, "eps", checked(self.eps, "ColorShift", "eps is the largest shift in turns and shares"))

    @property
    def spec(self) -> str:
        return f"color:{written(self.eps)}"

    @property
    def sentence(self) -> str:
        turn = min(self.eps, 0.5)
        return f"hue may shift by at most {turn:g} turns and saturation by {min(self.eps, 1.0):g}, alike at all pixels"

    def at(self, x: Float[Tensor, "n c h w"], box: Box) -> ColorRegion:
        """The region around x. Raises InputError for what is no batch of images of three channels, or without a range."""
        if box is None:
            raise UsageError("ColorShift needs the model's range, which says where black and white are: Model(range=).")
        return ColorRegion.around(images(x, "ColorShift", 3), box, self.eps, (1.0, 1.0), (0.5, 1.0))


@dataclass(frozen=True)
class ColorRegion(ParameterRegion):
    """Images with other hue and saturation."""

    norm = "color"
    axes = ("hue", "saturation")

    def changed(self, x: Tensor, p: Tensor) -> Tensor:
        low, high = inner_box(self.box, x.dtype)
        colors = hsv((x.detach() - low) / (high - low))
        shifted = turned(colors, p[:, 0], p[:, 1])
        same = rgb(colors)  # but for rounding x, which is taken off again, so that no shift is no change
        return x + (shifted - same) * (high - low)


def hsv(x: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
    """Hue in turns, saturation and value of images in [0, 1]. Raises UsageError where Kornia is missing."""
    colors = kornia_color().rgb_to_hsv(x)
    hue = colors[:, :1] / (2 * math.pi)
    return torch.cat([hue, colors[:, 1:]], 1)


def rgb(colors: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
    """The images of these colours."""
    return kornia_color().hsv_to_rgb(torch.cat([colors[:, :1] * (2 * math.pi), colors[:, 1:]], 1))


def turned(colors: Tensor, hue: Tensor, saturation: Tensor) -> Tensor:
    """The images of colours with hue and saturation shifted, one of each an image."""
    wide = lambda value: value.to(colors.dtype)[:, None, None]
    turn = (colors[:, 0] + wide(hue)).remainder(1.0)
    shade = (colors[:, 1] + wide(saturation)).clamp(0, 1)
    return rgb(torch.stack([turn, shade, colors[:, 2]], 1))


def kornia_color() -> Any:
    """Kornia's conversions of colours. Raises UsageError with how to install it."""
    try:
        import kornia.color as color
    except ImportError as error:
        raise UsageError("hue and saturation need Kornia: pip install 'ironbound[images]'.") from error
    return color


# ------------------------------------------------------------------------------------------------- blur
@dataclass(frozen=True)
class Blur(Parametric):
    """All Gaussian blurs of an image with a standard deviation of at most `sigma` pixels; beyond the image lies its edge.

    Points are standard deviations in pixels, shape (n, 1), float64, from 0, which is no blur, to `sigma`, and are their
    own size; beyond the image's longer side there is nothing new. The kernel is sampled at whole pixels and cut after 6
    standard deviations. Near 0 nothing changes at all, and neither does the gradient tell anything: start elsewhere.
    """

    sigma: float

    norm = "blur"
    flat_at_x = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "sigma", checked(self.sigma, "Blur", "sigma is in pixels"))

    @property
    def eps(self) -> float:
        """The largest standard deviation in pixels."""
        return self.sigma

    @property
    def spec(self) -> str:
        return f"blur:{written(self.sigma)}"

    @property
    def sentence(self) -> str:
        return f"an image may be blurred by a Gaussian of at most {self.sigma:g} pixels"

    def at(self, x: Float[Tensor, "n c h w"], box: Box) -> BlurRegion:
        """The region around x. Raises InputError for what is no batch of images."""
        side = float(max(images(x, "Blur").shape[2:]))
        return BlurRegion.around(x, box, self.sigma, (1.0,), (side,), taps=_taps(min(self.sigma, side), x))


@dataclass(frozen=True)
class BlurRegion(ParameterRegion):
    """Images blurred."""

    taps: int = 0
    """Pixels to either side that the widest kernel sees."""

    norm = "blur"
    axes = ("sigma",)
    one_sided = True

    def scaled(self, radius: Float[Tensor, " n"]) -> Self:
        wide = float(radius.amax().clamp_max(self.limit[0])) if len(radius) else 0.0
        return replace(super().scaled(radius), taps=_taps(wide, self.x))

    def changed(self, x: Tensor, p: Tensor) -> Tensor:
        return gaussian(gaussian(x, p[:, 0], self.taps, 2), p[:, 0], self.taps, 3)


def gaussian(x: Float[Tensor, "n c h w"], sigma: Float[Tensor, " n"], taps: int, axis: int) -> Tensor:
    """x blurred along one axis, each image by its own standard deviation in pixels; with 0 exactly x.

    Summed shift by shift, so that no image feels the others; weights beyond 6 standard deviations are exactly 0.
    """
    step = torch.arange(-taps, taps + 1, dtype=torch.float64, device=x.device)
    spread = sigma.double().abs()[:, None]
    weight = torch.exp(-(step**2) / (2 * spread**2 + 1e-12))
    weight = torch.where(step.abs() <= REACH * spread.detach(), weight, 0.0)
    total = torch.zeros_like(spread[:, 0])
    for k in range(len(step)):  # in this order whatever the number of taps: the outer ones add exact zeros
        total = total + weight[:, k]
    place = torch.arange(x.shape[axis], device=x.device)
    out: Tensor | None = None
    for k in range(len(step)):
        share = (weight[:, k] / total).to(x.dtype)[:, None, None, None]
        part = share * x.index_select(axis, (place + k - taps).clamp(0, x.shape[axis] - 1))
        out = part if out is None else out + part
    assert out is not None
    return out


def _taps(sigma: float, x: Tensor) -> int:
    return min(math.ceil(REACH * sigma), max(x.shape[2:]) - 1) if math.isfinite(sigma) else max(x.shape[2:]) - 1
