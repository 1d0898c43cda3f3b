"""What all tests share: audits that ask little where it is not the question how much they ask."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from multiprocessing.util import get_temp_dir

import pytest

import known_graphs
from ironbound.auditing.checks import blackbox
from ironbound.certification import export


@pytest.fixture(scope="session", autouse=True)
def few_queries() -> Iterator[None]:
    """The checks without gradients cost a second or two an audit, and most tests run audits for something else."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blackbox, "QUERIES", 20)
        patch.setattr(blackbox, "DECISIONS", 20)
        yield


@pytest.fixture(scope="session", autouse=True)
def one_trace() -> Iterator[None]:
    """Nets that are built alike of plain modules are traced once a process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "traced", known_graphs.kept(export.traced))
        yield


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_the_disk() -> Iterator[None]:
    """A run waits for the disk some twenty times. That is for machines that lose power: whatever else happens to a process,
    files are what was written; tests of full disks and of kills put their own in its place."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", _looked_at)
        yield


def _looked_at(handle: int) -> None:
    os.fstat(handle)  # as fsync would, it refuses what is no open file


@pytest.fixture(scope="session", autouse=True)
def own_temporaries(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Runs without a folder make one among the temporary files; where a test is killed, it goes away all the same."""
    tmp_path_factory.getbasetemp()  # these two stay where they are: pytest and multiprocessing clear them themselves
    get_temp_dir()
    with (
        tempfile.TemporaryDirectory(prefix="ironbound-tests-", ignore_cleanup_errors=True) as place,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("TMPDIR", place)  # of the processes that tests start
        patch.setattr(tempfile, "tempdir", place)
        yield


@pytest.fixture
def every_query(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many queries as users get."""
    monkeypatch.setattr(blackbox, "QUERIES", 1000)
    monkeypatch.setattr(blackbox, "DECISIONS", 500)
