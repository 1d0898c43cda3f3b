"""A promise is a function that looks at one case and raises Broken; a Conformance class makes tests of promises and things."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from ironbound.core.errors import UsageError
from ironbound.core.protocols import Can

try:
    import pytest
except ImportError as missing:
    raise ImportError("ironbound.testing needs pytest. Install it with: pip install 'ironbound[testing]'") from missing


NOTHING = Can(0)


class Broken(AssertionError):
    """A promise that does not hold: what was found, and how such things are mended."""


def require(holds: Any, found: str, mend: str) -> None:
    """Raise Broken unless `holds`; a tensor of truths must be true throughout."""
    if not bool(holds.all() if hasattr(holds, "all") else holds):
        raise Broken(f"{found}\nHow to mend it: {mend}")


class Subject(Protocol):
    """What keeps promises, or does not: a thing that was named, and the cases in which it is looked at."""

    @property
    def name(self) -> str:
        """How it is called in the ids of tests."""
        ...

    @property
    def can(self) -> Can:
        """What it offers: promises about other things are not asked of it."""
        ...

    def cases(self) -> Iterator[tuple[str, Any]]:
        """In words, and as what a promise looks at; the simplest first."""
        ...


@dataclass(frozen=True)
class Promise:
    """A check with what it needs of a thing. Its docstring is the promise in words."""

    check: Callable[[Any], None]
    needs: Can = NOTHING

    @property
    def name(self) -> str:
        """As it stands in the ids of tests, and in `but`."""
        return self.check.__name__

    @property
    def words(self) -> str:
        """What is promised."""
        return " ".join((self.check.__doc__ or self.name).split())

    def __call__(self, subject: Subject) -> None:
        """Look at every case. Raises Broken with the promise, the case and the way out; other errors carry both as notes."""
        __tracebackhide__ = True
        for words, case in subject.cases():
            try:
                self.check(case)
            except Broken as broken:
                raise Broken(
                    f"{subject.name}: a promise is broken.\n{self.words}\nIn the case {words}: {broken}"
                ) from None
            except Exception as error:
                error.add_note(f"{subject.name} failed in the case {words}, where this is promised: {self.words}")
                raise


def promises(*checks: Callable[[Any], None] | tuple[Callable[[Any], None], Can]) -> tuple[Promise, ...]:
    """Checks, or pairs of a check with what it needs, as promises."""
    return tuple(Promise(*check) if isinstance(check, tuple) else Promise(check) for check in checks)


class Conformance:
    """Inherit from one of its children in a class that pytest collects (Test...), and name what is to be tested.

    `but` exempts: the names of promises (they stand in the ids of the tests) with the reason, which pytest prints.
    """

    promises: ClassVar[tuple[Promise, ...]] = ()
    named: ClassVar[str] = ""
    but: ClassVar[dict[str, str]] = {}

    def subjects(self) -> Iterable[Subject]:
        """The things that were named."""
        raise NotImplementedError

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """One test for each promise and thing that it applies to."""
        if {"promise", "subject"} <= set(metafunc.fixturenames):
            metafunc.parametrize(("promise", "subject"), self._parameters())

    def test_keeps(self, promise: Promise, subject: Subject) -> None:
        """What is promised holds in every case."""
        __tracebackhide__ = True
        promise(subject)

    def _parameters(self) -> list[Any]:
        subjects, name = list(self.subjects()), type(self).__name__
        if not subjects:
            raise UsageError(f"{name} names nothing to test: write {self.named} = [...] in the class.")
        unknown = set(self.but) - {promise.name for promise in self.promises}
        if unknown:
            known = ", ".join(promise.name for promise in self.promises)
            raise UsageError(f"{name}.but names {', '.join(sorted(unknown))}; the promises are {known}.")
        return [
            pytest.param(promise, subject, id=f"{promise.name}-{subject.name}", marks=self._marks(promise))
            for promise in self.promises
            for subject in subjects
            if promise.needs in subject.can
        ]

    def _marks(self, promise: Promise) -> list[Any]:
        reason = self.but.get(promise.name)
        return [] if reason is None else [pytest.mark.skip(reason=f"exempt: {reason}")]


def ids(things: Sequence[Any]) -> list[str]:
    """A name for each thing: its function's name or its repr, shortened, with its place where two are alike."""
    plain = [getattr(thing, "__name__", None) or " ".join(repr(thing).split()) for thing in things]
    return numbered([text if len(text) <= 80 else f"{text[:60]} ..." for text in plain])


def numbered(names: Sequence[str]) -> list[str]:
    """Names, with their place where two are alike."""
    return [name if names.count(name) == 1 else f"{name} {i}" for i, name in enumerate(names)]
