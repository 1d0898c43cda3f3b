"""The pytest plugin: a fixture, options, and a line in the summary.

pytest imports this in every session of everybody who has Ironbound, so it imports nothing that takes time: torch comes with
the first assertion.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from ironbound.asserting import session as session_

PROPERTY = "ironbound"
"""The name of the test's property that has the figures of an assertion, as JSON; JUnit's XML has it, too."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """What assertions take where they do not say it themselves: as options, or in the ini file."""
    group = parser.getgroup("ironbound", "robustness (assert_robust)")
    for name, kind, text in (
        ("confidence", _share, f"how sure to be, from 0.5 to below 1 (default {session_.CONFIDENCE})"),
        ("seed", int, "of the order of samples and of the attacks' draws (default 0)"),
        ("samples", _positive, "use a random subset of at most so many samples (default: all)"),
    ):
        group.addoption(
            f"--ironbound-{name}", type=kind, default=None, metavar=name.upper(), help=f"assert_robust: {text}"
        )
        parser.addini(f"ironbound_{name}", f"assert_robust: {text}", default=None)


def pytest_configure(config: pytest.Config) -> None:
    """Read the options once, so that a bad one stops the session at its start."""
    config.pluginmanager.register(Heard(), "ironbound-heard")
    for name, kind in (("confidence", _share), ("seed", int), ("samples", _positive)):
        _option(config, name, kind)


def _option(config: pytest.Config, name: str, kind: Callable[[str], Any]) -> Any:
    given = config.getoption(f"--ironbound-{name}")
    text = config.getini(f"ironbound_{name}")
    if given is not None or not text:
        return given
    try:
        return kind(str(text))
    except ValueError as error:
        raise pytest.UsageError(f"ironbound_{name} in the ini file: {error}") from None


def _share(text: str) -> float:
    value = float(text)
    if not 0.5 <= value < 1:
        raise ValueError(f"a share from 0.5 to below 1 is expected, got {text}")
    return value


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError(f"a whole number of at least 1 is expected, got {text}")
    return value


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    """While a test runs, with what it sets up, assertions know where they are."""
    config = item.config
    session_.enter(
        session_.Session(
            confidence=_option(config, "confidence", _share) or session_.CONFIDENCE,
            seed=_option(config, "seed", int) or 0,
            samples=_option(config, "samples", _positive),
            folder=lambda: _folder(item),
            record=lambda facts: item.user_properties.append((PROPERTY, json.dumps(facts))),
        )
    )
    try:
        return (yield)
    finally:
        session_.leave()


def _folder(item: pytest.Item) -> Path | None:
    """The test's own temporary folder, made when a page is to be written."""
    request = getattr(item, "_request", None)
    if request is None:
        return None
    try:
        folder: Path = request.getfixturevalue("tmp_path")
    except (pytest.FixtureLookupError, AssertionError, RuntimeError):  # a test that is being torn down, or no function
        return None
    return folder


@pytest.fixture
def assert_robust(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """`ironbound.assert_robust`: raises AssertionError unless a model is as robust as is asked for.

    On failure a page of the worst witnesses is in the test's `tmp_path`.
    """
    from ironbound.asserting.robust import assert_robust

    session_.current().folder = lambda: request.getfixturevalue("tmp_path")
    return assert_robust


class Heard:
    """The assertions of all tests, also of those that ran in other processes (xdist): reports bring them along."""

    def __init__(self) -> None:
        self.facts: list[tuple[str, dict[str, Any]]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """The last report of a test has its properties, whatever phase they are of."""
        if report.when == "teardown":
            self.facts += [
                (report.nodeid, json.loads(str(v))) for name, v in report.user_properties if name == PROPERTY
            ]

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """One line about all assertions; with -v one more for each."""
        if not self.facts:
            return
        if terminalreporter.verbosity > 0:
            terminalreporter.section("robustness")
            for nodeid, facts in self.facts:
                for figure in facts["figures"]:
                    terminalreporter.write_line(f"{_clean(nodeid)}: {_line(facts, figure)}")
        used, available = (sum(facts[name] for _, facts in self.facts) for name in ("used", "available"))
        number = len(self.facts)
        noun = "assertion" if number == 1 else "assertions"
        terminalreporter.write_line(f"ironbound: {number} {noun}, {used:,} samples of {available:,} used")


def _line(facts: dict[str, Any], figure: dict[str, Any]) -> str:
    against = "" if figure["requirement"] == "clean" else f" under {facts['threat']}"
    low, high = math.floor(1000 * figure["low"]) / 1000, math.ceil(1000 * figure["high"]) / 1000  # never narrower
    return _clean(
        f"{figure['result']}: {figure['requirement']} accuracy{against} at least {figure['at_least']:g}? "
        f"{figure['count']:,} of {figure['total']:,} ({100 * facts['confidence']:g}% interval {low:.3f} to {high:.3f})"
    )


def _clean(text: str) -> str:
    from ironbound.core.text import shown

    return shown(text)
