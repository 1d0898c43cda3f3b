"""Rows of every kind behave alike: tensors, lists, dicts and tuples of them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from ironbound.core import rows
from ironbound.core.errors import InputError
from ironbound.core.pairing import Pairing
from ironbound.testing.tables import same

TENSOR = torch.arange(12.0).view(4, 3)
TEXTS = ["a", "b", "c", "d"]
WORDS = [("a", "b"), ("c",), (), ("d", "e", "f")]
RAGGED = [torch.arange(float(n)) for n in (3, 1, 4, 2)]
TREE = {"x": TENSOR, "deep": (TENSOR + 1, {"t": TEXTS})}
KINDS = [TENSOR, TEXTS, WORDS, RAGGED, TREE, (TENSOR, RAGGED)]
IDS = ["tensor", "texts", "words", "ragged", "tree", "tuple"]
EACH = pytest.mark.parametrize("table", KINDS, ids=IDS)


def row(table: Any, i: int) -> Any:
    """One row, by other means."""
    if isinstance(table, dict):
        return {name: row(branch, i) for name, branch in table.items()}
    return tuple(row(branch, i) for branch in table) if isinstance(table, tuple) else table[i]


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(equal(*pair) for pair in zip(a, b, strict=True))
    if isinstance(a, dict):
        return all(equal(a[name], b[name]) for name in a)
    return same(a, b)


@EACH
def test_taken_rows_are_those_asked_for(table: Any) -> None:
    index = torch.tensor([2, 0, 2])
    taken = rows.take(table, index)
    assert rows.count(table) == 4
    assert rows.count(taken) == 3
    assert all(equal(row(taken, k), row(table, int(i))) for k, i in enumerate(index))


@EACH
def test_put_rows_are_there_and_the_others_stay(table: Any) -> None:
    index, new = torch.tensor([3, 1]), rows.take(table, torch.tensor([0, 2]))
    out = rows.put(table, index, new)
    assert all(equal(row(out, i), row(table, {3: 0, 1: 2}.get(i, i))) for i in range(4))
    assert equal(rows.take(table, torch.arange(4)), table)  # which was not written to


@EACH
def test_parts_join_to_the_whole(table: Any) -> None:
    parts = [rows.part(table, slice(0, 1)), rows.part(table, slice(1, 3)), rows.part(table, slice(3, 4))]
    assert [rows.count(part) for part in parts] == [1, 2, 1]
    assert equal(rows.join(parts), table)
    assert equal(rows.join([table]), table)


@EACH
def test_spread_rows_stand_at_their_places(table: Any) -> None:
    index = torch.tensor([1, 4, 5, 7])
    out = rows.spread(table, index, 9, 0)
    assert rows.count(out) == 9
    assert all(equal(row(out, int(at)), row(table, k)) for k, at in enumerate(index))
    assert equal(rows.spread(table, None, 4, 0), table)


def test_spread_fills_the_rest() -> None:
    out = rows.spread(TENSOR[:1], torch.tensor([1]), 3, -torch.inf)
    assert out.tolist() == [[-torch.inf] * 3, [0, 1, 2], [-torch.inf] * 3]
    assert rows.spread(TEXTS[:1], torch.tensor([1]), 2, 0) == [None, "a"]


def test_each_reaches_every_tensor_and_nothing_else() -> None:
    doubled = rows.each(lambda t: 2 * t, TREE)
    assert torch.equal(doubled["deep"][0], 2 * (TENSOR + 1))
    assert doubled["deep"][1]["t"] == TEXTS
    assert [len(t) for t in rows.leaves({"a": RAGGED, "b": (TENSOR, TEXTS)})] == [3, 1, 4, 2, 4]
    added = rows.each(lambda a, b: a + b, RAGGED, RAGGED)
    assert torch.equal(added[2], 2 * RAGGED[2])
    assert rows.to(TREE, "cpu")["deep"][1]["t"] == TEXTS


@pytest.mark.parametrize("middle", [(), (2,)])
def test_zeros_have_the_shape_of_each_row(middle: tuple[int, ...]) -> None:
    assert rows.zeros(TENSOR, *middle).shape == (4, *middle, 3)
    assert [tuple(z.shape) for z in rows.zeros(RAGGED, *middle)] == [(*middle, n) for n in (3, 1, 4, 2)]
    assert rows.zeros({"x": TENSOR}, *middle)["x"].shape == (4, *middle, 3)


def test_tables_beside_each_other_get_a_dimension() -> None:
    both = rows.beside([TENSOR, 2 * TENSOR])
    assert both.shape == (4, 2, 3)
    assert torch.equal(both[:, 1], 2 * TENSOR)
    assert [tuple(r.shape) for r in rows.beside([RAGGED, RAGGED])] == [(2, n) for n in (3, 1, 4, 2)]
    assert rows.beside([{"x": TENSOR}, {"x": TENSOR}])["x"].shape == (4, 2, 3)


def test_nothing_stays_nothing() -> None:
    assert rows.take(None, torch.tensor([0])) is None
    assert rows.spread(None, torch.tensor([0]), 3, 0) is None
    assert rows.count({}) == 0
    assert rows.count(()) == 0
    assert rows.count([]) == 0


@pytest.mark.parametrize(
    "function", [lambda: rows.part(3, slice(0, 1)), lambda: rows.put({1, 2}, torch.tensor([0]), {3})]
)
def test_other_containers_are_refused_with_a_fix(function: Any) -> None:
    with pytest.raises(InputError, match="one object a row"):
        function()


def test_what_brings_its_own_take_is_taken_by_it() -> None:
    class Mine:
        def take(self, index: Tensor) -> str:
            return f"rows {index.tolist()}"

    assert rows.take(Mine(), torch.tensor([2, 1])) == "rows [2, 1]"


def test_columns_choices_and_vectors() -> None:
    x = torch.zeros(2, 3, 4, 5, dtype=torch.float32)
    assert rows.column(torch.tensor([1.0, 2.0], dtype=torch.float64), x).shape == (2, 1, 1, 1)
    assert rows.column(torch.tensor([1.0, 2.0], dtype=torch.float64), x).dtype == torch.float32
    which = torch.tensor([True, False])
    assert rows.column(which, x).dtype == torch.bool
    assert rows.choose(which, x + 1, x).flatten(1).amax(1).tolist() == [1, 0]
    assert rows.flat(x).shape == (2, 60)
    assert rows.flat(x.to(memory_format=torch.channels_last)).shape == (2, 60)
    assert rows.flat(x[:0]).shape == (0, 60)
    assert rows.flat(torch.zeros(4)).shape == (4, 1)


def test_pairs_of_groups_of_different_sizes() -> None:
    pairing = Pairing(torch.tensor([1, 0, 1, 1, 0, 2]), 3)
    assert pairing.sizes.tolist() == [2, 3, 1]
    assert [pairing.members(g).tolist() for g in range(3)] == [[1, 4], [0, 2, 3], [5]]
    assert pairing.place.tolist() == [0, 0, 1, 2, 1, 0]
    pairs = pairing.of(torch.tensor([2, 1, 1]), None)
    assert pairs.row.tolist() == [0, 1, 1, 1, 2, 2, 2]
    assert pairs.item.tolist() == [5, 0, 2, 3, 0, 2, 3]
    assert pairs.counts.tolist() == [1, 3, 3]
    assert pairs.width is None
    assert pairs.grouped(torch.arange(7)) is None
    assert pairs.mean(torch.tensor([6.0, 1, 2, 3, 4, 5, 9])).tolist() == [6, 2, 6]
    some = pairing.of(torch.tensor([1, 0]), torch.tensor([[0, 3], [4, 4]]))
    assert some.width == 2
    assert some.grouped(torch.arange(4)).tolist() == [[0, 1], [2, 3]]
    assert len(some) == 4
