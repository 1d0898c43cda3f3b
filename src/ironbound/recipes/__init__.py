"""Recipes: attacks named after their papers, as functions that return a composition."""

from ironbound.recipes import ensembles, linear, vision
from ironbound.recipes.ensembles import apgd_narrowed, autoattack, malt, pma
from ironbound.recipes.gradient import (
    adam_pgd,
    apgd,
    apgd_targeted,
    fgsm,
    frank_wolfe,
    gama_pgd,
    i_fgsm,
    mi_fgsm,
    ni_fgsm,
    pgd,
    pgd_kl,
    r_fgsm,
)
from ironbound.recipes.linear import deepfool, sparsefool, superdeepfool, trust_region
from ironbound.recipes.vision import exhaustive, fab, fab_targeted, hopskipjump, noise, square

ENTRIES = (*vision.ENTRIES, *ensembles.ENTRIES, *linear.ENTRIES)
"""All attacks of the catalogue."""

__all__ = [
    "ENTRIES",
    "adam_pgd",
    "apgd",
    "apgd_narrowed",
    "apgd_targeted",
    "autoattack",
    "deepfool",
    "exhaustive",
    "fab",
    "fab_targeted",
    "fgsm",
    "frank_wolfe",
    "gama_pgd",
    "hopskipjump",
    "i_fgsm",
    "malt",
    "mi_fgsm",
    "ni_fgsm",
    "noise",
    "pgd",
    "pgd_kl",
    "pma",
    "r_fgsm",
    "sparsefool",
    "square",
    "superdeepfool",
    "trust_region",
]
