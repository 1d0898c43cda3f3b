"""The code on the pages runs: every Python block of README and docs, page by page, on a small net and digits."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest
import torch

from ironbound.core.rng import forked
from ironbound.data import load
from ironbound.models.zoo import digits_cnn
from ironbound.recipes import ENTRIES
from ironbound.testing import Conformance

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", "docs/start.md", "docs/extend.md"]


def blocks(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def net():
    data, model = load("digits:train"), digits_cnn()
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    with forked(0):
        for _ in range(4):
            for batch in torch.arange(len(data)).split(64):
                optimiser.zero_grad()
                torch.nn.functional.cross_entropy(model(data.x[batch]), data.y[batch]).backward()
                optimiser.step()
    return model.eval()


@pytest.mark.parametrize("page", PAGES)
def test_the_code_on_the_page_runs(page, net, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = load("digits:test", samples=40)
    names = {"net": net, "x": data.x, "y": data.y, "__name__": "page"}
    found = blocks(page)
    assert found, f"{page} has no code"
    for block in found:
        exec(compile(block, page, "exec", dont_inherit=True), names)
    assert "ib" in names
    for kit in [value for value in names.values() if isinstance(value, type) and issubclass(value, Conformance)]:
        for parameter in kit()._parameters():  # the tests that are named on the page
            promise, subject = parameter.values
            promise(subject)


def test_the_table_of_attacks_is_the_catalogues(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    tables = importlib.import_module("tables")
    page = (ROOT / "docs/choose-an-attack.md").read_text(encoding="utf-8")
    guide, _, rest = page.partition(tables.BEGIN)
    shown = rest.partition(tables.END)[0].strip()
    assert shown == tables.table(), "run python docs/tables.py"
    untold = [entry.name for entry in ENTRIES if f"`{entry.name}`" not in guide]
    assert not untold, f"the guide says nothing of {', '.join(untold)}"
