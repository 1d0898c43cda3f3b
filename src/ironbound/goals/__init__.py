"""Goals: did it work? Success is margin > 0 and nothing else."""

from ironbound.goals.boxes import Hide, Phantom, intersection_over_union
from ironbound.goals.classes import Confident, Targeted, TopK, Untargeted
from ironbound.goals.dense import Pixels, PixelsTo, pixel_share
from ironbound.goals.distance import Dodge, Impersonate
from ironbound.goals.joint import Above, Below, Both, Joinable, Part, energy, margins_of, max_softmax

__all__ = [
    "Above",
    "Below",
    "Both",
    "Confident",
    "Dodge",
    "Hide",
    "Impersonate",
    "Joinable",
    "Part",
    "Phantom",
    "Pixels",
    "PixelsTo",
    "Targeted",
    "TopK",
    "Untargeted",
    "energy",
    "intersection_over_union",
    "margins_of",
    "max_softmax",
    "pixel_share",
]
