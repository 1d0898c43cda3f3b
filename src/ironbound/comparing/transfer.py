"""Transfer: what was found against one model, tried on the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from ironbound.auditing.folder import RunFolder
from ironbound.auditing.intervals import Share
from ironbound.auditing.verdicts import Places
from ironbound.auditing.verify import refuted, threat_of
from ironbound.comparing.found import Found
from ironbound.core import rows as rows_
from ironbound.core.progress import Event, Listener
from ironbound.data.dataset import Data
from ironbound.models.model import Model

Opened = Callable[[Found], tuple[Model, Data]]
WAY = (
    "Each row is a model whose witnesses were kept, each column a model that they were tried on: the share of what that one "
    "classifies correctly that they break, inside the threat and in the model's own precision."
)


def transfer(models: Sequence[Found], opened: Opened, tell: Listener) -> dict[str, Any]:
    """The matrix of all models of one scope, as JSON data.

    `of_right`: the share of the column's correctly classified samples that the row's witnesses break. `of_witnesses`: the
    share of the row's witnesses, on these samples, that do; on the diagonal it is 1.
    """
    cells = []
    for i, source in enumerate(models):
        row = []
        for j, target in enumerate(models):
            row.append(_tried(source.run, target, *opened(target)))
            tell(Event("transfer", i * len(models) + j + 1, len(models) ** 2))
        cells.append(row)
    names = [one.name for one in models]
    return {"way": WAY, "from": names, "to": names, "cells": cells}


def _tried(source: RunFolder, target: Found, model: Model, data: Data) -> dict[str, Any]:
    """The witnesses of one run on the model of another, of the samples that this one has right."""
    verdicts = target.audit.details
    right, place = verdicts.index[verdicts.verdict != "wrong"], Places(data.index.numpy())
    threat, tried, broken = threat_of(target.run, model, None), 0, 0
    for number in source.finished():
        part = source.witnesses(number)
        if not part:
            continue
        mine = torch.from_numpy(np.isin(part["index"].numpy(), right)).nonzero()[:, 0]
        if not len(mine):
            continue
        here = torch.from_numpy(place.of(part["index"][mine].numpy()))
        x, y = model.admit(rows_.take(data.x, here), data.y[here])
        claimed = [rows_.to(rows_.take(part.get(name), mine), model.device) for name in ("adversarial", "points")]
        why = refuted(target.run, model, rows_.of_rows(threat, here), x, y, *claimed)
        tried, broken = tried + len(why), broken + why.count("")
    return {
        "of_right": Share.of(broken, len(right)).as_dict(),
        "of_witnesses": Share.of(broken, tried).as_dict(),
    }
