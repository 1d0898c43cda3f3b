"""The code on the pages runs: every Python block of README and docs, page by page, on a small net and digits."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path

import pytest
import torch
from torch import nn

from ironbound.certification import bounds
from ironbound.certification.catalogue import ENTRIES as BOUNDS
from ironbound.certification.operations import OPERATIONS
from ironbound.cli.settings import CertifySettings, HardenSettings, settings_of
from ironbound.core.rng import forked
from ironbound.data import load
from ironbound.defenses.train.catalogue import training_named
from ironbound.defenses.train.schemes import ENTRIES as SCHEMES
from ironbound.names import plan_of
from ironbound.recipes import ENTRIES
from ironbound.testing import Conformance

ROOT = Path(__file__).parents[2]
PAGES = [
    "README.md",
    *(
        f"docs/{name}.md"
        for name in (
            "start",
            "attack",
            "certify",
            "audit",
            "threats",
            "defenses",
            "extend",
            "attributions",
            "pytest",
        )
    ),
]


def blocks(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def net():
    """A small one: what the pages show does not hang on it, and what it costs does."""
    data = load("digits:train")
    with forked(0):
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 24), nn.ReLU(), nn.Linear(24, 10))
        optimiser = torch.optim.Adam(model.parameters(), 1e-2)
        for _ in range(4):
            for batch in torch.arange(len(data)).split(64):
                optimiser.zero_grad()
                nn.functional.cross_entropy(model(data.x[batch]), data.y[batch]).backward()
                optimiser.step()
    return model.eval()


@pytest.mark.parametrize("page", PAGES)
def test_the_code_on_the_page_runs(page, net, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = load("digits:test", samples=20)
    names = {"net": net, "x": data.x, "y": data.y, "__name__": "page"}
    found = blocks(page)
    assert found, f"{page} has no code"
    known = dict(OPERATIONS)
    try:
        for block in found:
            exec(compile(block, page, "exec", dont_inherit=True), names)
    finally:  # without the operation that a page adds
        OPERATIONS.clear()
        OPERATIONS.update(known)
    assert "ib" in names
    for kit in [value for value in names.values() if isinstance(value, type) and issubclass(value, Conformance)]:
        for parameter in kit()._parameters():  # the tests that are named on the page
            promise, subject = parameter.values
            promise(subject)


def test_the_commands_of_the_page_on_training_are_trainings(tmp_path):
    page = (ROOT / "docs/harden.md").read_text(encoding="utf-8")
    shared = re.search(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert shared is not None
    config = tmp_path / "cifar.yaml"
    config.write_text(shared[1], encoding="utf-8")
    lines = re.findall(r"^    (?:torchrun .* -m )?ironbound harden (.*)$", page.replace("\\\n", " "), re.MULTILINE)
    seen = {}
    for words in map(shlex.split, lines):
        file = str(config) if "-c" in words else None
        flags = words[2:] if file else words
        given = {flag[2:].replace("-", "_"): value for flag, value in zip(flags[::2], flags[1::2], strict=True)}
        settings = settings_of(HardenSettings, given, file)
        seen[settings.out] = training_named(settings.method[0], **settings.of_training())
        assert settings.threat == ("linf:8/255" if file else "linf:0.1")
    assert len(seen) == len(lines) == 8
    assert seen["runs/pgd-4"].objective.inner.step == pytest.approx(2 / 255, rel=1e-12)
    assert [seen["runs/trades-wrn"].rate_at(share) for share in (0.7, 0.8, 0.95)] == pytest.approx([0.1, 0.01, 0.001])


def test_the_page_on_training_says_when_to_take_each_scheme():
    page = (ROOT / "docs/harden.md").read_text(encoding="utf-8")
    assert not [entry.name for entry in SCHEMES if f"`{entry.name}`" not in page]


def test_the_page_on_certification_says_when_to_take_each_bound():
    table = (ROOT / "docs/certify.md").read_text(encoding="utf-8").partition("## What is returned")[0]
    assert not [entry.name for entry in BOUNDS if f"| `{entry.name}` |" not in table]


def test_the_command_of_the_page_on_certification_runs_bounds_with_their_arguments():
    page = (ROOT / "docs/certify.md").read_text(encoding="utf-8").replace("\\\n", " ")
    (words,) = [shlex.split(line) for line in re.findall(r"^    ironbound certify (.*)$", page, re.MULTILINE)]
    given = {flag[2:]: value for flag, value in zip(words[::2], words[1::2], strict=True)}
    settings = settings_of(CertifySettings, given)
    plan = plan_of("certify", settings.method, settings.of_bounds())
    assert [stage.name for stage in plan.stages] == ["ibp", "crown", "alpha-crown"]
    assert plan.stages[-1].method == bounds.alpha_crown("last", 10)


def test_the_table_of_attacks_is_the_catalogues(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    tables = importlib.import_module("tables")
    page = (ROOT / "docs/choose-an-attack.md").read_text(encoding="utf-8")
    guide, _, rest = page.partition(tables.BEGIN)
    shown = rest.partition(tables.END)[0].strip()
    assert shown == tables.table(), "run python docs/tables.py"
    untold = [entry.name for entry in ENTRIES if f"`{entry.name}`" not in guide]
    assert not untold, f"the guide says nothing of {', '.join(untold)}"


def test_the_decisions_are_those_of_the_measured_tables():
    page = (ROOT / "docs/choose-an-attack.md").read_text(encoding="utf-8")
    advice, _, rest = page.partition("<!-- costs: begin -->")
    measured = {}
    for table in rest.partition("<!-- costs: end -->")[0].strip().split("\n\n"):
        head, _, *rows = table.splitlines()
        for row in rows:
            name, broken, _, held, _ = (cell.strip() for cell in row.strip("|").split("|"))
            measured[head.strip("| ").partition(" |")[0], name] = broken, held
    cells = [
        (threat, most, *found)
        for row in re.findall(r"^\| ([^|`]+) \|(.*)\|$", advice, re.MULTILINE)
        if (threat := row[0]) in {name for name, _ in measured}
        for most, cell in zip((100, 400, 2000, None), row[1].split("|"), strict=True)
        for found in re.findall(r"(`\w+`) (\d+)", cell)
    ]
    assert len(cells) > 10
    for threat, most, name, broken in cells:
        said, held = measured[threat, name]
        assert said.startswith(f"{broken} of "), (threat, name)
        assert most is None or held == "-" or float(held.replace(",", "")) <= 1.05 * most, (threat, name)
