"""Every source that is no file: arrays, data sets, loaders; and which rows a subset holds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from data_samples import grey, made
from ironbound.core.errors import DataError, InputError, UsageError
from ironbound.data import load


# ------------------------------------------------------------------------------------------------------------- Data
def test_data_takes_rows_with_everything_that_belongs_to_them() -> None:
    data = made(index=torch.arange(6) + 10).take([4, 1, 4])
    assert data.x.tolist() == [[8.0, 9.0], [2.0, 3.0], [8.0, 9.0]]
    assert (data.y.tolist(), data.index.tolist()) == ([1, 1, 1], [14, 11, 14])
    assert data.columns == {"group": ["g4", "g1", "g4"]}
    assert len(data) == 3
    assert "rows=3" in repr(data)


@pytest.mark.parametrize("index", [[6], [-1], torch.tensor([True] * 6), torch.tensor([0.5]), torch.tensor([[1]])])
def test_places_outside_are_refused(index: object) -> None:
    with pytest.raises(InputError, match="take expects places"):
        made().take(index)


def test_data_of_no_rows_is_refused_however_it_comes_about() -> None:
    for build in (lambda: made().take([]), lambda: made(0), lambda: load(([], []))):
        with pytest.raises(InputError, match="holds no rows"):
            build()


@pytest.mark.parametrize(
    "y", [np.array([0, 1, 2], "uint8"), np.array([0, 1, 2], "int32"), [0.0, 1.0, 2.0], [[0], [1], [2]]]
)
def test_whole_labels_of_any_dtype_become_int64(y: object) -> None:
    data = load((torch.zeros(3, 2), y))
    assert data.y.dtype == torch.int64
    assert data.y.tolist() == [0, 1, 2]
    assert load((torch.zeros(2, 2), torch.tensor([True, False]))).y.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("y", "words"),
    [
        ([0.5, 1.0, 2.0], r"\[0.5\] in rows \[0\]"),
        ([0.0, float("nan"), 1.0], r"rows \[1\]"),
        ([0, -1, -2], r"\[-1, -2\] in rows \[1, 2\]"),
        (np.eye(3), r"argmax\(1\)"),
        (torch.zeros(3, 1, 1), "shape"),
        (torch.zeros(3, dtype=torch.complex64), "complex64"),
        (torch.tensor(1), "shape"),
        (object(), "expected"),
        ([0, 1], "y has 2"),
    ],
)
def test_labels_that_are_no_classes_are_refused(y: object, words: str) -> None:
    with pytest.raises(InputError, match=words):
        load((torch.zeros(3, 2), y))


def test_numbers_that_are_not_finite_are_refused_with_their_rows() -> None:
    x = torch.zeros(5, 2)
    x[1, 0], x[3, 1] = float("nan"), float("inf")
    with pytest.raises(InputError, match=r"2 of 5 rows, first in rows \[101, 103\]"):
        made(5, x, index=torch.arange(100, 105))
    with pytest.raises(InputError, match=r"rows \[1\]"):
        made(2, [torch.zeros(1), torch.tensor([1.0, float("inf")])])
    with pytest.raises(InputError, match=r"rows \[1, 3\]"):
        made(5, {"a": torch.zeros(5), "b": x})


def test_parts_of_different_lengths_are_refused() -> None:
    for fields, words in (
        ({"columns": {"g": [1]}}, "column 'g' has 1"),
        ({"index": torch.arange(2)}, "index has 2"),
        ({"classes": ("a", "b")}, "row 2 is of class 2"),
        ({"x": {"a": torch.zeros(6), "b": torch.zeros(5)}}, "different numbers of rows"),
        ({"x": torch.tensor(1.0)}, "without dimensions"),
        ({"x": 3}, "got int"),
        ({"x": torch.eye(6).to_sparse()}, "to_dense"),
    ):
        with pytest.raises(InputError, match=words):
            made(**fields)


# ---------------------------------------------------------------------------------------------------------- subsets
@given(count=st.integers(1, 40), samples=st.integers(1, 50), seed=st.integers(-(2**70), 2**70))
def test_a_subset_is_ascending_without_repeats_and_holds_the_smaller_ones(count: int, samples: int, seed: int) -> None:
    data = made(count)
    index = data.subset(samples, seed).index.tolist()
    assert index == sorted(set(index))
    assert len(index) == min(samples, count)
    assert set(data.subset(max(1, samples - 1), seed).index.tolist()) <= set(index)
    assert data.take(list(range(count))[::-1]).subset(samples, seed).index.tolist() == index[::-1]


def test_subsets_are_by_seed_alone_and_leave_the_global_generators_alone() -> None:
    torch.manual_seed(1)
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first = load("digits", samples=20, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    assert (np.random.get_state()[1] == numpy_before).all()  # noqa: NPY002
    torch.manual_seed(2)
    assert load("digits", samples=20, seed=3).index.equal(first.index)
    assert not load("digits", samples=20, seed=4).index.equal(first.index)
    assert load(load("digits"), samples=20, seed=3).x.equal(first.x)


def test_every_row_is_as_likely_as_another() -> None:
    counts = torch.zeros(30)
    for seed in range(600):
        counts[made(30).subset(10, seed).index] += 1
    assert counts.min() > 150  # 200 expected, standard deviation 11.5
    assert counts.max() < 250


@pytest.mark.parametrize(("samples", "seed"), [(0, 0), (-1, 0), (1.5, 0), (True, 0), ("3", 0), (3, 0.5), (3, None)])
def test_samples_and_seed_are_whole_numbers(samples: object, seed: object) -> None:
    with pytest.raises(UsageError, match="whole number"):
        load("digits", samples=samples, seed=seed)


# ------------------------------------------------------------------------------------------------------------ arrays
def test_pairs_keep_their_values_and_dtypes() -> None:
    pixels = np.arange(12, dtype="uint8").reshape(3, 2, 2)
    assert load((pixels, [0, 1, 2])).x.equal(torch.arange(12, dtype=torch.uint8).reshape(3, 2, 2))
    assert load((np.ones((2, 3)), [0, 1])).x.dtype == torch.float64
    assert load(([[1.5, 2.0], [3.0, 4.0]], (0, 1))).x.tolist() == [[1.5, 2.0], [3.0, 4.0]]
    assert load((np.arange(4, dtype=">f4")[::-1], [0] * 4)).x.tolist() == [3.0, 2.0, 1.0, 0.0]
    assert load((torch.zeros(2, 2, requires_grad=True), [0, 1])).x.requires_grad is False


def test_pairs_of_text_ragged_rows_and_trees() -> None:
    assert load((["a", "b c"], ["spam", "ham"])).x == ["a", "b c"]
    named = load((np.array(["a", "b", "c"]), np.array(["spam", "ham", "spam"])))
    assert (named.x, named.y.tolist(), named.classes) == (["a", "b", "c"], [1, 0, 1], ("ham", "spam"))
    ragged = load(([torch.zeros(2), np.ones(3)], [0, 1]))
    assert [len(row) for row in ragged.x] == [2, 3]
    tree = load(({"ids": np.arange(4).reshape(2, 2), "mask": torch.ones(2, 2)}, [0, 1]), samples=1)
    assert tree.x["ids"].shape == tree.x["mask"].shape == (1, 2)


@pytest.mark.parametrize(
    "pair",
    [
        (1,),
        (torch.zeros(2), [0, 1], 3),
        (np.array([1j, 2]), [0, 1]),
        (np.array([1, 1 << 63], "uint64"), [0, 1]),
        ("text", [0]),
        ([[1], [None]], [0, 1]),
    ],
)
def test_tuples_that_are_no_pairs_of_data_are_refused(pair: tuple[object, ...]) -> None:
    with pytest.raises(InputError, match=r"pair|expected|numbers or words"):
        load(pair)


@pytest.mark.parametrize("source", [3, None, {"x": 1}, torch.zeros(3), iter([1])])
def test_what_is_no_data_is_refused(source: object) -> None:
    with pytest.raises(InputError, match=r"data is a pair \(x, y\)"):
        load(source)


# -------------------------------------------------------------------------------------------- data sets and loaders
class Fetched(Dataset):
    classes = ("zero", "one", "two")

    def __init__(self, items: list[object]) -> None:
        self.items, self.fetched = items, []

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, number: int) -> object:
        self.fetched.append(number)
        return self.items[number]


def test_of_a_data_set_only_the_rows_of_the_subset_are_fetched() -> None:
    source = Fetched([(torch.full((1, 2), float(i)), i % 3) for i in range(50)])
    data = load(source, samples=5, seed=1)
    assert source.fetched == data.index.tolist() == made(50).subset(5, 1).index.tolist()
    assert data.x[:, 0, 0].tolist() == [float(i) for i in source.fetched]
    assert (data.classes, data.name) == (("zero", "one", "two"), "Fetched")


def test_items_may_be_dicts_pictures_or_ragged() -> None:
    items = [
        {"img": Image.fromarray(grey(51 * i)), "target": i, "site": "ab"[i], "w": np.float32(i), "v": [1]}
        for i in range(2)
    ]
    data = load(items)
    assert data.x.equal(torch.tensor([0.0, 0.2]).view(2, 1, 1, 1).expand(2, 1, 4, 4))
    assert data.columns == {"site": ["a", "b"], "w": [0.0, 1.0]}
    assert load(items, input="w", label="target").x.tolist() == [0.0, 1.0]
    ragged = load([("words", 0), ("more words", 1)])
    assert ragged.x == ["words", "more words"]
    assert [len(x) for x in load([(torch.ones(2), 0), (torch.ones(3), 1)]).x] == [2, 3]


def test_what_transforms_draw_depends_on_the_row_alone() -> None:
    class Noisy(Fetched):
        def __getitem__(self, number: int) -> object:
            return torch.rand(2), number % 3

    torch.manual_seed(5)
    before = torch.get_rng_state()
    whole, few = load(Noisy([0] * 30)), load(Noisy([0] * 30), samples=4)
    assert few.x.equal(whole.x[few.index])
    assert torch.equal(torch.get_rng_state(), before)


def test_loaders_are_read_in_their_order() -> None:
    x, y = torch.arange(20.0).reshape(10, 2), torch.arange(10) % 3
    whole = load(DataLoader(TensorDataset(x, y), batch_size=4))
    assert whole.x.equal(x)
    assert whole.y.equal(y)
    assert load(DataLoader(TensorDataset(x, y), batch_size=3), samples=4, seed=2).index.equal(whole.subset(4, 2).index)
    texts = load(DataLoader([{"text": t, "label": i} for i, t in enumerate("abc")], batch_size=2), samples=2)
    assert texts.x == [["a", "b", "c"][i] for i in texts.index.tolist()]


def test_a_shuffling_loader_draws_by_our_seed_and_the_global_generator_stays() -> None:
    loader = DataLoader(TensorDataset(torch.arange(10.0), torch.zeros(10)), batch_size=4, shuffle=True)
    before = torch.get_rng_state()
    assert load(loader, seed=1).x.equal(load(loader, seed=1).x)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_loader_of_an_iterable_data_set_is_read_too() -> None:
    class Stream(IterableDataset):
        def __iter__(self) -> object:
            return iter([(torch.tensor([float(i)]), i) for i in range(5)])

    assert load(DataLoader(Stream(), batch_size=2)).y.tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(InputError, match="DataLoader"):
        load(Stream())


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ([(1, 2, 3)], "3 parts"),
        ([torch.zeros(2)], "got Tensor"),
        ([{"label": 1, "z": 2}], "no input column was found; it has 'label', 'z'"),
        ([{"x": 1.0, "z": 2}], "no label column"),
        ([{"x": 1.0, "y": 2}, {"x": 1.0}], "has the keys"),
        (Fetched([]), "holds no rows"),
        (DataLoader([(1, 2, 3)]), "pairs"),
        (DataLoader(TensorDataset(torch.zeros(3), torch.tensor([0, -1, 0]))), "rows"),
    ],
)
def test_items_that_are_no_rows_are_refused(source: object, words: str) -> None:
    with pytest.raises((InputError, DataError), match=words):
        load(source)


def test_errors_of_a_users_data_set_name_the_item() -> None:
    class Broken(Fetched):
        def __getitem__(self, number: int) -> object:
            raise KeyError("lost")

    with pytest.raises(InputError, match=r"Broken\[0\] raised KeyError: 'lost'"):
        load(Broken([1]))
    with pytest.raises(InputError, match="batch 0 of the loader raised KeyError"):
        load(DataLoader(Broken([1])))


def test_columns_are_named_only_where_there_are_some() -> None:
    for source in ("digits", made(), (torch.zeros(2), [0, 1]), [(1.0, 0)]):
        with pytest.raises(UsageError, match="input= and label="):
            load(source, label="y")
