"""What all tests share: audits that ask little where it is not the question how much they ask."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ironbound.auditing.checks import blackbox


@pytest.fixture(scope="session", autouse=True)
def few_queries() -> Iterator[None]:
    """The checks without gradients cost a second or two an audit, and most tests run audits for something else."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blackbox, "QUERIES", 20)
        patch.setattr(blackbox, "DECISIONS", 20)
        yield


@pytest.fixture
def every_query(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many queries as users get."""
    monkeypatch.setattr(blackbox, "QUERIES", 1000)
    monkeypatch.setattr(blackbox, "DECISIONS", 500)
