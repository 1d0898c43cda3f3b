"""Draws as a function of seed, key, purpose and count: the same everywhere, and as random as they need to be."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from ironbound.core.rng import Rng, combined_key, content_digests, content_keys, forked

N = 20_000


def streams(n: int = N, seed: int = 0) -> Rng:
    return Rng.of(seed, torch.arange(n))


DRAWS = {
    "unit": lambda rng: rng.unit(),
    "integers": lambda rng: rng.integers(0, 1000),
    "normal": lambda rng: rng.normal((2, 3), torch.float32),
    "uniform": lambda rng: rng.uniform((3,), torch.float64, -1, 1),
    "sign": lambda rng: rng.sign((4,), torch.float32),
    "permutation": lambda rng: rng.permutation(7),
}
EACH = pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)


@EACH
def test_a_row_draws_alike_in_any_company(draw: Any) -> None:
    rng, index = streams(50), torch.tensor([49, 3, 3, 17])
    whole = draw(rng)
    assert torch.equal(draw(rng), whole)
    assert torch.equal(draw(rng.take(index)), whole[index])
    assert torch.equal(draw(Rng.of(0, index)), whole[index])


@EACH
def test_seed_purpose_and_count_each_change_the_draws(draw: Any) -> None:
    rng = streams(40)
    others = [
        streams(40, seed=1),
        rng.fold("a"),
        rng.fold("b"),
        rng.fold(0),
        rng.fold(1),
        rng.fold("a").fold("b"),
        rng.fold("b").fold("a"),
    ]
    drawn = [draw(rng), *map(draw, others)]
    assert all(not torch.equal(a, b) for a, b in itertools.combinations(drawn, 2))


def test_a_number_a_row_folds_as_the_number_does() -> None:
    rng = streams(5)
    counts = torch.tensor([0, 1, 2, 2, -7])
    folded = rng.fold(counts)
    for i in range(5):
        alone = rng.take(torch.tensor([i])).fold(counts[i : i + 1])
        assert torch.equal(alone.keys, folded.keys[i : i + 1])
    assert len(rng.take(torch.zeros(5, dtype=torch.int64)).fold(counts).keys.unique()) == 4


def test_repeated_streams_are_all_different_and_next_to_each_other() -> None:
    rng = streams(100)
    many = rng.repeat(30)
    assert len(many) == 3000
    assert len(many.keys.unique()) == 3000
    assert torch.equal(many.take(torch.arange(30, 60)).keys, rng.take(torch.tensor([1])).repeat(30).keys)


def test_no_keys_of_many_purposes_meet() -> None:
    rng = streams(2000)
    keys = [
        rng.fold(tag).fold(torch.full((2000,), count)).keys
        for tag in ("oracle", "judge", "fresh")
        for count in range(20)
    ]
    assert len(torch.cat(keys).unique()) == 2000 * 60


# ------------------------------------------------------------------------------------------------- distributions
def test_units_are_uniform_for_neighbouring_keys_and_counts() -> None:
    for rng in (streams(), streams().fold("x"), Rng.of(0, torch.zeros(N, dtype=torch.int64)).fold(torch.arange(N))):
        u = rng.unit()
        assert stats.kstest(u.numpy(), "uniform").pvalue > 0.001
        assert abs(np.corrcoef(u[1:].numpy(), u[:-1].numpy())[0, 1]) < 0.03
        assert float(u.min()) >= 0
        assert float(u.max()) < 1
    low_bits = (streams().keys & 0xFF).numpy()
    assert stats.chisquare(np.bincount(low_bits, minlength=256)).pvalue > 0.001


def test_integers_are_even_and_in_range() -> None:
    k = streams().integers(3, 10)
    assert stats.chisquare(np.bincount(k.numpy() - 3, minlength=7)).pvalue > 0.001
    assert (int(k.min()), int(k.max())) == (3, 9)
    assert streams(5).integers(4, 5).tolist() == [4] * 5


def test_normals_are_normal_within_and_across_rows() -> None:
    block = streams(300).normal((50,), torch.float64)
    assert stats.kstest(block.flatten().numpy(), "norm").pvalue > 0.001
    assert stats.kstest(block[:, 0].numpy(), "norm").pvalue > 0.001
    assert np.abs(np.corrcoef(block[:, :5].T.numpy()) - np.eye(5)).max() < 0.2


def test_signs_and_permutations_are_fair() -> None:
    signs = streams(4000).sign((1,), torch.float32)
    assert set(signs.flatten().tolist()) == {-1.0, 1.0}
    assert abs(float(signs.mean())) < 0.06
    orders = streams(6000).permutation(3)
    assert orders.sort(1).values.unique(dim=0).tolist() == [[0, 1, 2]]
    counts = orders.unique(dim=0, return_counts=True)[1]
    assert stats.chisquare(counts.numpy()).pvalue > 0.001


def test_uniform_keeps_its_bounds_and_type() -> None:
    u = streams(50).uniform((20,), torch.float32, -2.0, 3.0)
    assert u.dtype == torch.float32
    assert -2 <= float(u.min()) < -1.9
    assert 2.9 < float(u.max()) <= 3
    assert streams(0).normal((3,), torch.float32).shape == (0, 3)


# ------------------------------------------------------------------------------------------------- keys of content
X = torch.rand(6, 1, 4, 4, generator=torch.Generator().manual_seed(0))
Y = torch.tensor([0, 1, 0, 1, 2, 2])


def test_keys_belong_to_the_content_wherever_it_stands() -> None:
    keys, order = content_keys(X, Y), torch.tensor([5, 0, 3, 3])
    assert len(keys.unique()) == 6
    assert torch.equal(content_keys(X[order], Y[order]), keys[order])
    assert torch.equal(content_keys(X[2:3], Y[2:3]), keys[2:3])


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (X.double(), Y), (X, Y.int()), (X.to(memory_format=torch.channels_last), Y), (X.clone().requires_grad_(), Y),
        (X, Y.to(torch.uint8)),
    ],
    ids=["float64", "int32 labels", "channels last", "grad", "uint8 labels"],
)  # fmt: skip
def test_the_type_and_layout_of_the_data_change_no_key(x: Tensor, y: Tensor) -> None:
    assert torch.equal(content_keys(x, y), content_keys(X, Y))


def test_a_change_of_one_number_or_label_changes_the_key() -> None:
    other, label = X.clone(), Y.clone()
    other[1, 0, 2, 2] += 1e-6
    label[4] = 0
    assert (content_keys(other, Y) != content_keys(X, Y)).tolist() == [False, True, False, False, False, False]
    assert (content_keys(X, label) != content_keys(X, Y)).tolist() == [False, False, False, False, True, False]
    assert not torch.equal(content_keys(X, None), content_keys(X, Y))


@pytest.mark.parametrize(
    "x",
    [["a", "b", "a"], [("a", "b"), ("ab",), ("a", "b")], [torch.ones(2), torch.ones(3), torch.ones(2)],
     {"a": torch.tensor([[1.0], [2.0], [1.0]]), "b": ["x", "x", "x"]}, (torch.tensor([1, 2, 1]), ["u", "u", "u"])],
    ids=["texts", "words", "ragged", "dict", "tuple"],
)  # fmt: skip
def test_other_rows_have_keys_too(x: Any) -> None:
    keys = content_keys(x, torch.zeros(3, dtype=torch.int64))
    assert keys[0] == keys[2]
    assert keys[0] != keys[1]
    assert all(len(digest) == 16 for digest in content_digests(x, None))


def test_the_branches_of_a_dict_are_told_apart() -> None:
    one, two = torch.tensor([[1.0]]), torch.tensor([[2.0]])
    assert content_digests({"a": one, "b": two}, None) != content_digests({"a": two, "b": one}, None)


def test_a_collective_key_is_of_all_rows_in_their_order() -> None:
    keys = content_keys(X, Y)
    assert combined_key(keys) == combined_key(keys.clone())
    assert combined_key(keys) != combined_key(keys.flip(0))
    assert combined_key(keys) != combined_key(keys[:5])


def test_known_values_stay() -> None:
    """Recorded once: other numbers would make every stored run irreproducible."""
    rng = Rng.of(0, torch.tensor([0, 1, -1])).fold("start")
    assert rng.keys.tolist() == [6933584580104253550, 5832977658200600806, -6213614349821326207]
    assert rng.integers(0, 1_000_000).tolist() == [571331, 673736, 744534]
    assert rng.normal((2,), torch.float64)[0].tolist() == pytest.approx([-1.0836357784, -1.1313649208])
    assert content_keys(torch.arange(4.0)[None], torch.tensor([3])).tolist() == [4899538158193898684]


# ------------------------------------------------------------------------------------------------- the global generator
def test_forked_generators_are_seeded_inside_and_given_back() -> None:
    before = torch.random.get_rng_state()
    with forked(5):
        one = torch.rand(3)

    def fails() -> None:
        with forked(5):
            assert torch.equal(torch.rand(3), one)
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert torch.equal(before, torch.random.get_rng_state())


@EACH
def test_no_draw_touches_the_global_generators(draw: Any) -> None:
    before, numpys = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    draw(streams(10))
    assert torch.equal(before, torch.random.get_rng_state())
    assert np.array_equal(numpys, np.random.get_state()[1])  # noqa: NPY002
