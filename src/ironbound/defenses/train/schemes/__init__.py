"""Trainings named after their papers, with settings that do for small problems; what they minimise is in objectives/."""

from ironbound.core.catalogue import Entry
from ironbound.defenses.train.schemes import basic, fast, helped, regularised, several

ENTRIES: tuple[Entry, ...] = (
    *basic.ENTRIES,
    *fast.ENTRIES,
    *regularised.ENTRIES,
    *several.ENTRIES,
    *helped.ENTRIES,
)
