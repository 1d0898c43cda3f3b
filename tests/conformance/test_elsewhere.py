"""The kit in somebody else's project: plain pytest, no conftest; and without pytest it says what to install."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PAGE = """
from dataclasses import dataclass

from ironbound import Can, InputRegion, testing


@dataclass(frozen=True)
class Shaded(InputRegion):
    def contains(self, p):
        return ((p >= 0.5 * self.x) & (p <= self.x)).flatten(1).all(1)

    def project(self, p):
        return p.clamp(0.5 * self.x, self.x)


@dataclass(frozen=True)
class Careless(Shaded):
    def project(self, p):
        return p.clamp(0.5 * self.x, 1.0001 * self.x)


@dataclass(frozen=True)
class Shade:
    can = Can.PROJECT
    at = Shaded


@dataclass(frozen=True)
class CarelessShade:
    can = Can.PROJECT
    at = Careless


class TestMine(testing.SetConformance):
    sets = [Shade(), CarelessShade()]
    boxes = [(0.0, 1.0)]
    but = {"projections_are_nearest": "shown elsewhere"}
"""


def test_inherited_tests_run_where_they_are_named(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(PAGE)
    command = [sys.executable, "-m", "pytest", "-rA", "-p", "no:cacheprovider", "test_mine.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout
    assert "PASSED test_mine.py::TestMine::test_keeps[projections_are_inside-Shade()]" in done.stdout
    assert "FAILED test_mine.py::TestMine::test_keeps[projections_are_inside-CarelessShade()]" in done.stdout
    assert "In the case inputs (4, 2, 3, 4) of torch.float64, box (0.0, 1.0)" in done.stdout
    assert "How to mend it: " in done.stdout
    assert "exempt: shown elsewhere" in done.stdout
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
    assert all("CarelessShade" in line for line in failed)


def test_without_pytest_it_says_what_to_install() -> None:
    code = "import sys; sys.modules['pytest'] = None; import ironbound.testing"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pip install 'ironbound[testing]'" in done.stderr
