"""Which pools belong to which shard: each to one, and none to nobody."""

from __future__ import annotations

import pytest

from ironbound.auditing.shards import Shard, pools_of, samples_of, size_of
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
