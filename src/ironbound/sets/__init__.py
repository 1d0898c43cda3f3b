"""Perturbation sets: what the adversary may do to an input."""

from ironbound.sets.color import Blur, Brightness, ColorShift
from ironbound.sets.corruptions import Corruptions
from ironbound.sets.finite import Finite
from ironbound.sets.flow import Flow
from ironbound.sets.l0 import L0
from ironbound.sets.l1 import L1
from ironbound.sets.l2 import L2
from ironbound.sets.linf import Linf
from ironbound.sets.patch import Patch
from ironbound.sets.region import InputRegion
from ironbound.sets.spatial import Rotation, Spatial, Translation
from ironbound.sets.threat import parse_threat
from ironbound.sets.union import Union
from ironbound.sets.universal import Universal

__all__ = [
    "L0",
    "L1",
    "L2",
    "Blur",
    "Brightness",
    "ColorShift",
    "Corruptions",
    "Finite",
    "Flow",
    "InputRegion",
    "Linf",
    "Patch",
    "Rotation",
    "Spatial",
    "Translation",
    "Union",
    "Universal",
    "parse_threat",
]
