"""Adversarial inputs as points of a region: what is inside the threat, and how far it goes."""

from __future__ import annotations

from typing import Any

from ironbound.core.rows import of_rows


def around(threat: Any, places: Any, x: Any, box: Any) -> Any:
    """The region of some samples: those at these places of the data that the threat was made for."""
    return of_rows(threat, places).at(x, box)


def points_of(region: Any, inputs: Any) -> Any:
    """The points that stand for these inputs; the inputs themselves, unless the region says otherwise (`locate`)."""
    locate = getattr(region, "locate", None)
    return inputs if locate is None else locate(inputs)
