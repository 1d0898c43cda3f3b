"""The defenses that have a name, with their papers."""

from __future__ import annotations

from ironbound.defenses.train.schemes import ENTRIES as TRAININGS

ENTRIES = (*TRAININGS,)
