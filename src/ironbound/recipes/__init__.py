"""Recipes: attacks named after their papers, as functions that return a composition."""

from ironbound.recipes.vision import ENTRIES, apgd, fgsm, hopskipjump, i_fgsm, mi_fgsm, noise, pgd

__all__ = ["ENTRIES", "apgd", "fgsm", "hopskipjump", "i_fgsm", "mi_fgsm", "noise", "pgd"]
