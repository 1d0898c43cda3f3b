"""Which pools belong to which shard: each to one, and none to nobody."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ironbound.auditing import sizes
from ironbound.auditing.shards import Shard, pools_of, samples_of, size_of
from ironbound.core import memory
from ironbound.core.errors import UsageError


@pytest.mark.parametrize("text", ["0/3", "4/3", "2", "2:3", "-1/3", "a/b", "", "1/0", "2/3/4"])
def test_what_is_no_shard(text: str) -> None:
    with pytest.raises(UsageError, match="shard"):
        Shard.parse(text)


@pytest.mark.parametrize(("total", "pool"), [(1, 1), (10, 3), (128, 16), (1000, 128), (1001, None), (7, None)])
def test_every_pool_is_in_one_shard(total: int, pool: int | None) -> None:
    for of in range(1, 9):
        try:
            size = size_of(Shard(1, of), total, pool, 128)
        except UsageError:
            assert -(-total // (pool or 1)) < of
            continue
        manifest = {"data": {"rows": total}, "pool": size}
        shards = [{**manifest, "shard": Shard(i, of).facts()} for i in range(1, of + 1)]
        assert sorted(pool for shard in shards for pool in pools_of(shard)) == pools_of(manifest)
        assert sum(map(samples_of, shards)) == samples_of(manifest) == total
        assert min(map(samples_of, shards)) > 0


# ---------------------------------------------------------------------------------------------------- sizes of pools
@settings(deadline=None)
@given(
    total=st.integers(1, 3_000_000), values=st.integers(1, 1_000_000), free=st.integers(0, 1 << 40),
    kind=st.sampled_from(["cpu", "cuda"]),
)  # fmt: skip
def test_the_usual_pool_is_a_power_of_two_that_fits(total: int, values: int, free: int, kind: str) -> None:
    data: Any = _Pretended(total, torch.empty(1, values))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sizes, "free_bytes", lambda device: free)
        alone, shared = (sizes.usual_size(data, torch.device(kind), alone=alone) for alone in (True, False))
    bytes_ = sizes.COPIES * 4 * values
    for size in (alone, shared):
        assert size & (size - 1) == 0
        assert 1 <= size <= sizes.MOST[kind]
        assert size <= max(sizes.LEAST[kind], total / sizes.PARTS)
        assert size == 1 or size * bytes_ <= sizes.ROOM[kind]
    assert alone <= shared
    assert alone == 1 or alone * bytes_ <= sizes.SHARE * free
    if sizes.SHARE * free >= sizes.ROOM[kind]:
        assert alone == shared  # a merge has the parts of an undivided run


@pytest.mark.parametrize(
    ("total", "values", "size"),
    [(1000, 784, 256), (10_000, 3072, 256), (1_000_000, 784, 1024), (1_000_000, 150_528, 128), (50_000, 150_528, 128)],
)
def test_usual_pools_on_a_cpu(total: int, values: int, size: int) -> None:
    assert sizes.usual_size(_Pretended(total, torch.empty(1, values)), torch.device("cpu"), alone=False) == size


class _Pretended:
    """As many rows as it says, all like the first."""

    def __init__(self, count: int, first: torch.Tensor) -> None:
        self.count, self.first = count, first

    def __len__(self) -> int:
        return self.count


@pytest.mark.parametrize("names", memory.GRANTS)
def test_what_a_container_may_take_counts_as_free(tmp_path: Path, names: tuple[str, str, str]) -> None:
    limit, used, files = names
    assert memory._granted(tmp_path) == 1 << 62
    (tmp_path / limit).parent.mkdir(exist_ok=True)
    (tmp_path / limit).write_text("1000\n")
    (tmp_path / used).write_text("700\n")
    (tmp_path / limit).with_name("memory.stat").write_text(f"anon 1\n{files} 200\n")
    assert memory._granted(tmp_path) == 500
    (tmp_path / limit).write_text("max\n")
    assert memory._granted(tmp_path) == 1 << 62
