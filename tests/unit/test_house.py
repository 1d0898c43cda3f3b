"""The house's own rules: what is exported, what importing costs, which way imports go, whose generators are touched."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

import ironbound as ib
from audit_samples import digits, digits_net, labelled, mlp
from ironbound.core.catalogue import find
from ironbound.core.errors import UnknownName
from ironbound.data import load
from ironbound.names import catalogue

ROOT = Path(__file__).parents[2]
HEAVY = ("pyarrow", "scipy", "typer", "rich", "jinja2", "PIL", "pydantic", "yaml", "pandas", "matplotlib",
         "torch.export", "torch._dynamo", "torch._inductor", "sympy")  # fmt: skip


# ----------------------------------------------------------------------------------------------------------- exports
def test_all_is_what_can_be_imported() -> None:
    assert set(ib.__all__) == {*ib._HOME_OF, "__version__"}
    assert set(ib.__all__) <= set(dir(ib))
    with pytest.raises(AttributeError, match="no attribute 'atack'"):
        _ = ib.atack
    assert len(ib.__all__) == len(set(ib.__all__))
    assert all(getattr(ib, name).__doc__ for name in ib.__all__)


# --------------------------------------------------------------------------------------------------------- catalogue
def test_names_are_unique_within_a_verb_and_found() -> None:
    names = Counter((entry.verb, name) for entry in catalogue() for name in (entry.name, *entry.aliases))
    assert max(names.values()) == 1
    for entry in catalogue():
        assert entry.verb in ("attack", "certify", "audit", "harden")
        assert find(catalogue(), entry.verb, entry.name.upper().replace("_", "-")) is entry
        assert entry.make() is not None
        assert entry.summary.endswith((".", ":", "?"))
        assert entry.full_name == f"{entry.verb}:{entry.name}"
    with pytest.raises(UnknownName, match=r"Did you mean 'apgd'\? There are: adam_pgd, alma, apgd, "):
        find(catalogue(), "attack", "apdg")


def test_every_recipe_and_bound_has_a_paper() -> None:
    for entry in (e for e in catalogue() if e.verb in ("attack", "certify") and e.name != "exhaustive"):
        paper = entry.paper
        assert paper is not None, entry.name
        assert paper.arxiv
        assert 2000 < paper.year < 2100
        assert paper.title
        assert all(", " in author for author in paper.authors)
        assert paper.arxiv in paper.short
        assert paper.title in paper.bibtex(entry.name)
        if entry.verb == "attack":
            assert paper.arxiv in (entry.make.__doc__ or ""), f"{entry.name} does not cite its paper"


# ----------------------------------------------------------------------------------------------------------- imports
def test_importing_brings_nothing_heavy_along() -> None:
    code = """if True:
        import json, sys, torch
        torch_alone = set(sys.modules)
        import ironbound
        print(json.dumps(sorted(set(sys.modules) - torch_alone)))"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    new = json.loads(done.stdout)
    assert "ironbound" in new
    heavy = [name for name in new if any(name == h or name.startswith(h + ".") for h in HEAVY)]
    assert heavy == []
    assert not [name for name in new if name.startswith(("ironbound.cli", "ironbound.auditing", "ironbound.defenses"))]


def test_importing_goes_one_way() -> None:
    tool = shutil.which("lint-imports", path=str(Path(sys.executable).parent)) or shutil.which("lint-imports")
    if tool is None:
        pytest.skip("import-linter is not installed")
    done = subprocess.run([tool, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


# -------------------------------------------------------------------------------------------------------- generators
def test_no_verb_touches_a_global_generator(tmp_path: Path) -> None:
    net, x = digits_net(), digits(8).x
    y, small = labelled(net, x), load("digits:train", samples=40)
    before = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002 - the state is the matter
    ib.attack(net, x, y, threat="linf:0.1", method="pgd")
    ib.attack(net, x, y, threat="l2:1", method=ib.recipes.hopskipjump(queries=60))
    ib.certify(net, x, y, threat="linf:0.05")
    ib.audit(net, (x, y), threat="linf:0.1", method="quick", out=tmp_path / "run")
    ib.verify(tmp_path / "run", net, (x, y))
    ib.harden(net, small, threat="linf:0.1", epochs=1, test=(x, y), audit=ib.recipes.fgsm())
    ib.harden(net, small, threat="linf:0.1", method="ibp", epochs=1, audit=None)
    after = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    assert torch.equal(before[0], after[0])
    assert before[1][0] == after[1][0]
    assert np.array_equal(before[1][1], after[1][1])
    assert before[1][2:] == after[1][2:]
    assert before[2] == after[2]


def test_what_global_generators_say_changes_no_answer() -> None:
    net, x = mlp(64, 10), digits(6).x
    first = ib.attack(net, x, threat="linf:0.02", method="pgd")
    torch.manual_seed(12345)
    np.random.seed(7)  # noqa: NPY002
    second = ib.attack(net, x, threat="linf:0.02", method="pgd")
    assert torch.equal(first.adversarial, second.adversarial)
