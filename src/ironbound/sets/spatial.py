"""Rotations and translations of images: points are an angle and a shift."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ironbound.core.errors import UsageError
from ironbound.core.protocols import Box
from ironbound.sets.parameters import ParameterRegion, Parametric, checked, images, written
from ironbound.sets.warp import bilinear

Outside = Literal["black", "edge"]


@dataclass(frozen=True)
class Rotation(Parametric):
    """All rotations of an image about its centre by at most `degrees` in either direction, with bilinear interpolation.

    Points are angles in degrees, shape (n, 1), float64, counter-clockwise; their absolute value is the size. Beyond the
    image lies black, the lower end of the model's range (0 without one), or with outside="edge" its nearest pixel.
    More than 180 degrees is 180. Paper: Engstrom, Tran, Tsipras, Schmidt, Madry 2019, Exploring the Landscape of Spatial
    Robustness, arXiv 1712.02779, section 3.

    >>> Rotation(30)
    Rotation(degrees=30.0, outside='black')
    """

    degrees: float
    outside: Outside = "black"

    norm = "rotation"

    def __post_init__(self) -> None:
        object.__setattr__(self, "degrees", checked(self.degrees, "Rotation", "degrees is the largest angle"))
        _check_outside(self.outside)

    @property
    def eps(self) -> float:
        """The largest angle in degrees."""
        return self.degrees

    @property
    def spec(self) -> str:
        return f"rotation:{written(self.degrees)}" if self.outside == "black" else ""

    @property
    def sentence(self) -> str:
        return f"an image may be turned by at most {self.degrees:g} degrees in either direction{_edge(self.outside)}"

    def at(self, x: Float[Tensor, "n c h w"], box: Box) -> RotationRegion:
        """The region around x. Raises InputError for what is no batch of images."""
        return RotationRegion.around(
            images(x, "Rotation"), box, self.degrees, (1.0,), (180.0,), fill=_fill(self.outside, box)
        )


@dataclass(frozen=True)
class Translation(Parametric):
    """All shifts of an image by at most `shift` pixels downwards or upwards, and to the right or left.

    Points are (down, right) in pixels, shape (n, 2), float64, fractions by bilinear interpolation; the larger of both is
    the size. of="side": the shift, and the size, are shares of the image's height and width. `outside` as for Rotation.
    Paper: Engstrom et al. 2019, arXiv 1712.02779, section 3.

    >>> Translation(0.1, of="side").spec
    'translation:10%'
    """

    shift: float
    of: Literal["pixels", "side"] = "pixels"
    outside: Outside = "black"

    norm = "translation"

    def __post_init__(self) -> None:
        object.__setattr__(self, "shift", checked(self.shift, "Translation", "shift is the largest shift"))
        _check_outside(self.outside)
        if self.of not in ("pixels", "side"):
            raise UsageError(f'Translation: of is "pixels" or "side" (a share of it); got {self.of!r}.')

    @property
    def eps(self) -> float:
        """The largest shift."""
        return self.shift

    @property
    def spec(self) -> str:
        if self.outside != "black":
            return ""
        if self.of == "pixels":
            return f"translation:{written(self.shift)}"
        return f"translation:{_percent(self.shift)}"

    @property
    def sentence(self) -> str:
        much = f"{self.shift:g} pixels" if self.of == "pixels" else f"{100 * self.shift:g}% of its sides"
        return f"an image may be shifted by at most {much} along each axis{_edge(self.outside)}"

    def at(self, x: Float[Tensor, "n c h w"], box: Box) -> TranslationRegion:
        """The region around x. Raises InputError for what is no batch of images."""
        high, wide = (float(side) for side in images(x, "Translation").shape[2:])
        unit = (1.0, 1.0) if self.of == "pixels" else (high, wide)
        return TranslationRegion.around(x, box, self.shift, unit, (high, wide), fill=_fill(self.outside, box))


@dataclass(frozen=True)
class Spatial(Parametric):
    """Rotations by at most `rotation` degrees followed by shifts of at most `translation` pixels along each axis.

    Points are (angle, down, right), shape (n, 3), float64. The size is the largest of the three as a share of what is
    allowed, so that the radius is 1. `outside` as for Rotation.
    Paper: Engstrom et al. 2019, arXiv 1712.02779, section 3; there 30 degrees and 3 pixels on MNIST and CIFAR-10.
    """

    rotation: float
    translation: float
    outside: Outside = "black"

    norm = "spatial"

    def __post_init__(self) -> None:
        object.__setattr__(self, "rotation", checked(self.rotation, "Spatial", "rotation is the largest angle"))
        object.__setattr__(self, "translation", checked(self.translation, "Spatial", "translation is in pixels"))
        _check_outside(self.outside)

    @property
    def spec(self) -> str:
        return f"spatial:{written(self.rotation)}:{written(self.translation)}" if self.outside == "black" else ""

    @property
    def sentence(self) -> str:
        return (
            f"an image may be turned by at most {self.rotation:g} degrees and shifted by at most {self.translation:g} "
            f"pixels along each axis{_edge(self.outside)}"
        )

    def at(self, x: Float[Tensor, "n c h w"], box: Box) -> SpatialRegion:
        """The region around x. Raises InputError for what is no batch of images."""
        high, wide = (float(side) for side in images(x, "Spatial").shape[2:])
        unit = (self.rotation, self.translation, self.translation)
        return SpatialRegion.around(x, box, 1.0, unit, (180.0, high, wide), fill=_fill(self.outside, box))


@dataclass(frozen=True)
class SpatialRegion(ParameterRegion):
    """Images turned about their centre and then shifted."""

    axes: ClassVar[tuple[str, ...]] = ("angle", "down", "right")

    fill: float | None = None
    """What lies beyond the image; None: its edge."""

    norm = "spatial"

    def changed(self, x: Tensor, p: Tensor) -> Tensor:
        return moved(x, p[:, 0], p[:, 1], p[:, 2], self.fill)


@dataclass(frozen=True)
class RotationRegion(SpatialRegion):
    """Images turned about their centre."""

    norm = "rotation"
    axes = ("angle",)

    def changed(self, x: Tensor, p: Tensor) -> Tensor:
        return moved(x, p[:, 0], None, None, self.fill)


@dataclass(frozen=True)
class TranslationRegion(SpatialRegion):
    """Images shifted."""

    norm = "translation"
    axes = ("down", "right")

    def changed(self, x: Tensor, p: Tensor) -> Tensor:
        return moved(x, None, p[:, 0], p[:, 1], self.fill)


def moved(
    x: Float[Tensor, "n c h w"], angle: Tensor | None, down: Tensor | None, right: Tensor | None, fill: float | None
) -> Tensor:
    """x turned about its centre by `angle` degrees (n,), counter-clockwise, and then shifted by pixels (n,); float64."""
    high, wide = x.shape[-2:]
    line = lambda length: torch.arange(length, dtype=torch.float64, device=x.device)
    row = line(high)[None, :, None].expand(len(x), high, wide)
    column = line(wide)[None, None, :].expand(len(x), high, wide)
    row = row if down is None else row - down.double()[:, None, None]
    column = column if right is None else column - right.double()[:, None, None]
    if angle is not None:
        turn = angle.double()[:, None, None] * (math.pi / 180)
        cos, sin = turn.cos(), turn.sin()
        y, z = (high - 1) / 2, (wide - 1) / 2
        row, column = y + sin * (column - z) + cos * (row - y), z + cos * (column - z) - sin * (row - y)
    return bilinear(x, row, column, fill)


def _fill(outside: Outside, box: Box) -> float | None:
    return None if outside == "edge" else 0.0 if box is None else float(box[0])


def _edge(outside: Outside) -> str:
    return "" if outside == "black" else " (beyond it lies its edge)"


def _percent(share: float) -> str:
    """A share in percent, exactly."""
    if math.isinf(share):
        return "inf%"
    plain = f"{100 * share:.6g}"
    return f"{plain if float(Fraction(plain) / 100) == share else format(Decimal(share) * 100, 'f')}%"


def _check_outside(outside: str) -> None:
    if outside not in ("black", "edge"):
        raise UsageError(f'outside is "black" or "edge"; got {outside!r}.')
