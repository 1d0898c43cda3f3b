"""The trainings that have a name, with their papers."""

from __future__ import annotations

from ironbound.certification.catalogue import GOWAL
from ironbound.core.catalogue import Entry
from ironbound.defenses.train.catalogue import ibp, pgd, standard
from ironbound.recipes.gradient import MADRY

ENTRIES = (
    Entry("harden", "standard", standard, None),
    Entry("harden", "pgd", pgd, MADRY),
    Entry("harden", "ibp", ibp, GOWAL),
)
