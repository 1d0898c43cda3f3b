"""Texts whose words may be exchanged: inputs are strings, points are tuples of words, and nothing is a tensor."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ironbound.core import rows
from ironbound.core.protocols import Box, Can
from ironbound.core.rng import Rng

Words = tuple[str, ...]


@dataclass(frozen=True)
class Substitutions:
    """At most `edits` words exchanged, each for one of its substitutes."""

    table: dict[str, Words]
    edits: int

    can = Can.NEIGHBOURS

    def at(self, x: list[str], box: Box) -> SubstitutionsRegion:
        return SubstitutionsRegion(self, [tuple(text.split()) for text in x])


@dataclass(frozen=True)
class SubstitutionsRegion:
    set: Substitutions
    words: list[Words]

    items = None

    def __len__(self) -> int:
        return len(self.words)

    def take(self, index: Tensor) -> SubstitutionsRegion:
        return SubstitutionsRegion(self.set, rows.take(self.words, index))

    def identity(self) -> list[Words]:
        return self.words

    leaf = staticmethod(lambda p: p)
    apply = staticmethod(lambda p, rng, items=None: [" ".join(words) for words in p])

    def contains(self, p: list[Words]) -> Tensor:
        return torch.tensor([self._valid(a, b) for a, b in zip(self.words, p, strict=True)], dtype=torch.bool)

    def size(self, p: list[Words]) -> Tensor:
        return torch.tensor([float(_exchanged(a, b)) for a, b in zip(self.words, p, strict=True)], dtype=torch.float64)

    def neighbours(self, p: list[Words], rng: Rng) -> tuple[list[Words], Tensor]:
        near = [
            [q for q in self._next_to(a, b) if q != b and self._valid(a, q)] for a, b in zip(self.words, p, strict=True)
        ]
        owner = torch.arange(len(p)).repeat_interleave(torch.tensor([len(mine) for mine in near]))
        return [q for mine in near for q in mine], owner

    def _next_to(self, words: Words, point: Words) -> list[Words]:
        return [(*point[:i], new, *point[i + 1 :]) for i, old in enumerate(words) for new in self._may(old)]

    def _may(self, word: str) -> Words:
        return (word, *self.set.table.get(word, ()))

    def _valid(self, a: Words, b: Words) -> bool:
        allowed = len(a) == len(b) and all(new in self._may(old) for old, new in zip(a, b, strict=True))
        return allowed and _exchanged(a, b) <= self.set.edits


def _exchanged(a: Words, b: Words) -> int:
    return sum(old != new for old, new in zip(a, b, strict=True))
