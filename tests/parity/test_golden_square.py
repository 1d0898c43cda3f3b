"""Square's schedule against its authors' code: how large a window is at which query."""

from __future__ import annotations

import pytest

from ironbound.searches.square import Square
from parity.hearing import golden


@pytest.mark.parametrize(("name", "rescaled"), [("share_rescaled", True), ("share", False)])
def test_windows_shrink_as_published(name: str, rescaled: bool) -> None:
    g = golden("square_schedule")
    ours = [Square(queries=5000, rescaled=rescaled).share(int(query)) for query in g["queries"]]
    assert ours == g[name].tolist()
    assert len(set(ours)) == (10 if rescaled else 8)
