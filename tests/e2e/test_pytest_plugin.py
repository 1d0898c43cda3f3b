"""The pytest plugin as a user meets it: real sessions of pytest, in this process and in others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from ironbound.asserting import session

pytest_plugins = ["pytester"]
ROOT = Path(__file__).parents[2]
MODULE = """
    import pytest, torch
    import ironbound as ib

    class Halves(torch.nn.Module):
        # class 1 where the first feature is above a half: x is robust where it is farther away than the radius
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.tensor(4.0))

        def forward(self, x):
            return self.scale * torch.stack([0.5 - x[:, 0], x[:, 0] - 0.5], 1)

    def data(robust, n=200):
        u = torch.arange(n) / n
        x = torch.stack([torch.where(u < robust, 0.9, 0.55), u], 1)
        return x, torch.ones(n, dtype=torch.long)

    how = {"threat": "linf:0.1", "method": "fgsm"}
"""
TESTS = """
    def test_pass(assert_robust):
        found = assert_robust(Halves(), data(1.0), attacked_at_least=0.45, **how)
        assert found.passed and found.used == 7

    def test_below(assert_robust):
        assert_robust(Halves(), data(0.0), attacked_at_least=0.45, **how)

    def test_out_of_samples():
        ib.assert_robust(Halves(), data(0.5, 20), attacked_at_least=0.45, **how)

    def test_two_in_one(assert_robust):
        for share in (0.9, 0.3):
            with pytest.raises(AssertionError) as failure:
                assert_robust(Halves(), data(0.0), attacked_at_least=share, **how)
            print("page", failure.value.found.page.name)
            assert failure.value.found.page.exists()
"""


class Kept:
    """The modules that a session in this process imported: pytester forgets them, and torch cannot be imported twice."""

    def __init__(self) -> None:
        self.modules: dict[str, Any] = {}

    def pytest_unconfigure(self) -> None:
        self.modules |= {name: module for name, module in sys.modules.items() if not name.startswith("test_")}

    def give_back(self) -> None:
        sys.modules.update({name: module for name, module in self.modules.items() if name not in sys.modules})


class Sandbox:
    """Sessions with this plugin alone, whatever is installed."""

    def __init__(self, pytester: pytest.Pytester, kept: Kept) -> None:
        self.pytester, self.path, self.kept = pytester, pytester.path, kept

    def ini(self, text: str = "") -> None:
        self.pytester.makeini(f"[pytest]\naddopts = -p ironbound.asserting.plugin\nfilterwarnings = error\n{text}")

    def module(self, tests: str) -> None:
        self.pytester.makepyfile(test_it=dedent(MODULE) + dedent(tests))

    def run(self, *arguments: str) -> pytest.RunResult:
        result = self.pytester.runpytest_inprocess(*arguments, plugins=[self.kept])
        self.kept.give_back()
        return result


@pytest.fixture
def kept() -> Iterator[Kept]:
    """Set up before pytester, and so torn down after it, when it has forgotten what this test imported."""
    modules = Kept()
    yield modules
    modules.give_back()


@pytest.fixture
def sandbox(kept: Kept, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    made = Sandbox(pytester, kept)
    made.ini()
    return made


def test_what_passes_fails_and_runs_out(sandbox: Sandbox) -> None:
    sandbox.module(TESTS)
    result = sandbox.run("-rP", "--junitxml=junit.xml", "--basetemp=tmp")
    result.assert_outcomes(passed=2, failed=2)
    result.stdout.fnmatch_lines([
        "E * attacked accuracy under L-inf 0.1 is below 0.45: 0 of 9 samples are right and not broken (0.0%; *",
        "E *   sample *, truly 1: answered 0 (* sure), size 0.1 in L-inf, margin 0.4 (fgsm)",
        "E *The worst 9 as a page: *tmp*test_below0*found.html",
        "E * ran out of samples: whether attacked accuracy under L-inf 0.1 is at least 0.45 cannot be told from *",
    ])  # fmt: skip
    result.stdout.fnmatch_lines(["page found.html", "page found-2.html"])
    result.stdout.fnmatch_lines_random(["ironbound: 5 assertions, * samples of 820 used"])
    assert "asserting/robust.py" not in result.stdout.str()  # the traceback ends at the user's own line
    folders = [path for path in (sandbox.path / "tmp").iterdir() if not path.is_symlink() and any(path.iterdir())]
    assert {path.name for path in folders} == {"test_below0", "test_out_of_samples0", "test_two_in_one0"}
    assert len(session._current) <= 1  # what the session entered it has left
    facts = properties(sandbox.path / "junit.xml")
    assert [one["result"] for one in facts["test_below"]] == ["below"]
    assert [one["result"] for one in facts["test_out_of_samples"]] == ["cannot tell"]
    assert len(facts["test_two_in_one"]) == 2
    figure = facts["test_pass"][0]["figures"][0]
    assert (figure["requirement"], figure["at_least"], figure["count"], figure["total"]) == ("attacked", 0.45, 7, 7)
    assert facts["test_pass"][0]["threat"] == "L-inf 0.1"
    assert 0.45 < figure["low"] < figure["high"] == 1.0


def properties(path: Path) -> dict[str, list[dict]]:
    found: dict[str, list[dict]] = {}
    for case in ET.parse(path).iter("testcase"):
        values = [one.get("value") for one in case.iter("property") if one.get("name") == "ironbound"]
        found[str(case.get("name"))] = [json.loads(str(value)) for value in values]
    return found


def test_options_and_ini_say_what_calls_do_not(sandbox: Sandbox) -> None:
    sandbox.module("""
        def test_it(assert_robust):
            found = assert_robust(Halves(), data(1.0), attacked_at_least=0.45, **how)
            own = assert_robust(Halves(), data(1.0), attacked_at_least=0.45, confidence=0.8, seed=9, samples=50, **how)
            print("said", found.confidence, found.seed, found.available, own.confidence, own.seed, own.available)
    """)  # fmt: skip
    result = sandbox.run("-rP", "-v", "--ironbound-confidence=0.99", "--ironbound-samples=100")
    result.stdout.fnmatch_lines(["said 0.99 0 100 0.8 9 50"])
    result.stdout.fnmatch_lines(
        ["test_it.py::test_it: pass: attacked accuracy under L-inf 0.1 at least 0.45? 9 of 9 (99% *"]
    )
    sandbox.ini("ironbound_seed = 4\nironbound_confidence = 0.9")
    sandbox.run("-rP").stdout.fnmatch_lines(["said 0.9 4 200 0.8 9 50"])


@pytest.mark.parametrize(
    ("arguments", "ini", "message"),
    [
        (["--ironbound-confidence=95"], "", "*--ironbound-confidence: invalid _share value*"),
        (["--ironbound-samples=0"], "", "*--ironbound-samples: invalid*"),
        ([], "ironbound_confidence = high", "*ironbound_confidence in the ini file*"),
        ([], "ironbound_seed = x", "*ironbound_seed in the ini file*"),
    ],
)
def test_bad_options_stop_the_session(sandbox: Sandbox, arguments: list[str], ini: str, message: str) -> None:
    sandbox.ini(ini)
    result = sandbox.run(*arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])


def test_bad_calls_are_errors_and_no_findings(sandbox: Sandbox) -> None:
    sandbox.module("""
        def test_none(assert_robust):
            assert_robust(Halves(), data(1.0), **how)

        def test_percent(assert_robust):
            assert_robust(Halves(), data(1.0), attacked_at_least=45, **how)
    """)  # fmt: skip
    result = sandbox.run()
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["E *UsageError: nothing is required*", "E *UsageError: attacked_at_least is a share*"])
    result.stdout.no_fnmatch_line("ironbound: *")


def test_assertions_while_fixtures_are_made_and_outside_of_functions(sandbox: Sandbox) -> None:
    sandbox.module("""
        import unittest

        @pytest.fixture(scope="module")
        def checked():
            return ib.assert_robust(Halves(), data(1.0), attacked_at_least=0.45, **how)

        def test_fixture(checked):
            assert checked.passed

        class TestOld(unittest.TestCase):
            def test_method(self):
                with self.assertRaises(AssertionError) as failure:
                    ib.assert_robust(Halves(), data(0.0), attacked_at_least=0.45, **how)
                assert failure.exception.found.page.exists()
    """)  # fmt: skip
    result = sandbox.run()
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["ironbound: 2 assertions, 16 samples of 400 used"])


def test_the_example_runs(sandbox: Sandbox) -> None:
    sandbox.pytester.makepyfile(test_robustness=(ROOT / "examples" / "pytest" / "test_robustness.py").read_text())
    result = sandbox.run()
    result.assert_outcomes(passed=2, xfailed=1)
    result.stdout.fnmatch_lines(["ironbound: 4 assertions, * samples of 1,106 used"])


def test_in_several_processes_and_by_its_entry_point(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """As pip leaves it: pytest finds the plugin by what pyproject.toml says, and so do xdist's workers."""
    entry = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["pytest11"]
    assert entry == {"ironbound": "ironbound.asserting.plugin"}
    installed = sandbox.path / "site" / "ironbound_here-1.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: ironbound-here\nVersion: 1\n")
    (installed / "entry_points.txt").write_text(f"[pytest11]\nironbound = {entry['ironbound']}\n")
    monkeypatch.delenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(sandbox.path / "site"), *sys.path]))
    sandbox.pytester.makeini("[pytest]\nfilterwarnings = error")
    sandbox.module(TESTS)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-n",
        "2",
        "-v",
        "--junitxml=junit.xml",
        f"--basetemp={sandbox.path / 'tmp'}",
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=sandbox.path, timeout=240, check=False)
    assert done.returncode == 1, done.stderr
    assert "2 failed, 2 passed" in done.stdout
    assert "ironbound: 5 assertions, " in done.stdout
    assert "test_it.py::test_below: below: attacked accuracy under L-inf 0.1 at least 0.45? 0 of 9 (95% " in done.stdout
    assert len(list((sandbox.path / "tmp").glob("popen-gw*/test_below0/found.html"))) == 1
    assert {name: len(found) for name, found in properties(sandbox.path / "junit.xml").items()} == {
        "test_pass": 1, "test_below": 1, "test_out_of_samples": 1, "test_two_in_one": 2,
    }  # fmt: skip


def test_the_plugin_imports_nothing_that_takes_time() -> None:
    code = "import pytest, sys; before = set(sys.modules); import ironbound.asserting.plugin; print(set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    new = set(eval(done.stdout))
    assert "ironbound.asserting.plugin" in new
    assert {name.split(".")[0] for name in new} == {"ironbound"} | ({"json"} & {name.split(".")[0] for name in new})
    assert len(new) < 20
