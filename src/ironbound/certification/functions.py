"""The smooth functions of one argument that bounds know, as `Curve`s; every number in here is checked by the tests."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ironbound.certification.curves import Curve

FAR = 50.0
"""Beyond this the slopes of GELU, SiLU and Mish are those of their asymptotes, in every digit."""


# ------------------------------------------------------------------------------------------- convex, then concave
def _sigmoid_slope(z: Tensor) -> Tensor:
    return torch.sigmoid(z) * torch.sigmoid(-z)


def _logarithmic(distance: Tensor) -> Tensor:
    return torch.minimum(distance / 2, torch.log1p(distance))


SIGMOID = Curve(torch.sigmoid, _sigmoid_slope, bends=(0.0,), guess=_logarithmic)
TANH = Curve(torch.tanh, lambda z: 4 * _sigmoid_slope(2 * z), bends=(0.0,), guess=lambda d: _logarithmic(2 * d) / 2)
ERF = Curve(
    torch.erf,
    lambda z: 2 / math.sqrt(math.pi) * torch.exp(-z.square()),
    bends=(0.0,),
    guess=lambda d: torch.minimum(d / 2, torch.log1p(d).sqrt()),
)
ERFC = Curve(torch.erfc, lambda z: -ERF.slope(z), convex=False, bends=(0.0,), guess=ERF.guess)
ATAN = Curve(
    torch.atan, lambda z: 1 / (1 + z.square()), bends=(0.0,), guess=lambda d: torch.minimum(d / 2, (d / math.pi).sqrt())
)
ASINH = Curve(torch.asinh, lambda z: 1 / (1 + z.square()).sqrt(), bends=(0.0,))


# ------------------------------------------------------------------------------- concave, convex around 0, concave
def _gelu_slope(z: Tensor) -> Tensor:
    z = z.clamp(-FAR, FAR)
    density = torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)
    return torch.special.ndtr(z) + z * density


def _gelu_tanh_slope(z: Tensor) -> Tensor:
    """Of z sigmoid(2 w), which it is, with w = sqrt(2 / pi) (z + 0.044715 z^3)."""
    z, root = z.clamp(-FAR, FAR), 2 * math.sqrt(2 / math.pi)
    inner = root * (z + 0.044715 * z**3)
    return torch.sigmoid(inner) + z * _sigmoid_slope(inner) * root * (1 + 3 * 0.044715 * z.square())


def _silu_slope(z: Tensor) -> Tensor:
    z = z.clamp(-FAR, FAR)
    return torch.sigmoid(z) + z * _sigmoid_slope(z)


def _mish_slope(z: Tensor) -> Tensor:
    z = z.clamp(-FAR, FAR)
    soft = F.softplus(z)
    return torch.tanh(soft) + z * TANH.slope(soft) * torch.sigmoid(z)


GELU = Curve(
    F.gelu, _gelu_slope, convex=False, bends=(-math.sqrt(2), math.sqrt(2)), turns=((-0.7517915247, -0.1699712075),)
)
GELU_TANH = Curve(
    lambda z: F.gelu(z, approximate="tanh"),
    _gelu_tanh_slope,
    convex=False,
    bends=(-1.4185040087908284, 1.4185040087908284),
    turns=((-0.7524614221, -0.1700407506),),
)
SILU = Curve(
    F.silu,
    _silu_slope,
    convex=False,
    bends=(-2.3993572805154677, 2.3993572805154677),
    turns=((-1.2784645428, -0.2784645428),),
)
MISH = Curve(
    F.mish,
    _mish_slope,
    convex=False,
    bends=(-2.2563763963607931, 1.4905711794854285),
    turns=((-1.1924312145, -0.3088434131),),
)
HARDSWISH = Curve(
    F.hardswish,
    lambda z: torch.where(z < -3, 0, torch.where(z > 3, 1, (2 * z + 3) / 6)),
    convex=False,
    bends=(-3.0, 3.0),
    kinked=True,
    turns=((-1.5, -0.375),),
)

# ------------------------------------------------------------------------------------------------ convex or concave
EXP = Curve(torch.exp, torch.exp, reach=1.0)
EXPM1 = Curve(torch.expm1, torch.exp, reach=1.0)
EXP2 = Curve(torch.exp2, lambda z: math.log(2) * torch.exp2(z), reach=1.0 / math.log(2))
LOG = Curve(torch.log, torch.reciprocal, convex=False, start=0.0)
LOG1P = Curve(torch.log1p, lambda z: 1 / (1 + z), convex=False, start=-1.0)
LOG2 = Curve(torch.log2, lambda z: 1 / (z * math.log(2)), convex=False, start=0.0)
LOG10 = Curve(torch.log10, lambda z: 1 / (z * math.log(10)), convex=False, start=0.0)
LOGSIGMOID = Curve(F.logsigmoid, lambda z: torch.sigmoid(-z), convex=False)
COSH = Curve(torch.cosh, torch.sinh, turns=((0.0, 1.0),))
SINH = Curve(torch.sinh, torch.cosh, convex=False, bends=(0.0,), guess=_logarithmic)


def softplus(beta: float, threshold: float) -> Curve:
    """log(1 + exp(beta z)) / beta, beta > 0; PyTorch leaves it at z where beta z > threshold, which is a little less."""
    drop = math.log1p(math.exp(-threshold)) / beta
    return Curve(
        lambda z: -F.logsigmoid(-beta * z) / beta, lambda z: torch.sigmoid(beta * z), drop=(threshold / beta, drop)
    )


def elu(alpha: float, scale: float, input_scale: float) -> Curve:
    """scale z above 0, scale alpha (exp(input_scale z) - 1) below, for numbers of any sign."""

    def value(z: Tensor) -> Tensor:
        below = alpha * torch.expm1(input_scale * z.clamp(max=0))
        return scale * torch.where(z > 0, z, below)

    def slope(z: Tensor) -> Tensor:
        below = alpha * input_scale * torch.exp(input_scale * z.clamp(max=0))
        return scale * torch.where(z > 0, 1, below)

    convex, kink = scale * alpha >= 0, scale * (1 - alpha * input_scale)  # how it bends below 0, and at 0
    turns = ((0.0, 0.0),) if alpha * input_scale < 0 else ()
    if kink == 0 or convex == (kink > 0):
        return Curve(value, slope, convex=convex, turns=turns)
    return Curve(value, slope, convex=convex, bends=(0.0,), kinked=True, turns=turns)


def power(exponent: float) -> Curve:
    """z^p: for whole p on either side of 0, for others from 0 on."""
    p = float(exponent)

    def value(z: Tensor) -> Tensor:
        if not 0 < p < 1:
            return torch.pow(z, p)
        return torch.where(z == 0, 0, torch.pow(torch.where(z == 0, 1, z), p))  # the gradient at 0 is infinite

    def slope(z: Tensor) -> Tensor:
        return p * torch.pow(z, p - 1) if p else torch.zeros_like(z)

    if not p.is_integer():
        return Curve(value, slope, convex=not 0 < p < 1, start=0.0)
    if p % 2 and p != 1:
        return Curve(value, slope, convex=False, bends=(0.0,), pole=p < 0)
    turns = ((0.0, 0.0),) if p > 0 and p != 1 else ()
    return Curve(value, slope, pole=p < 0, turns=turns)


def exponential(base: float) -> Curve:
    """base^z, base > 0."""
    rate = math.log(base)
    return Curve(lambda z: torch.pow(base, z), lambda z: rate * torch.pow(base, z), reach=1.0 if rate > 0 else math.inf)
