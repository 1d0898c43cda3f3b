"""Data that stay on disk: the same rows, fingerprints and verdicts as in memory, read a few at a time and once before a run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import ironbound as ib
from audit_samples import digits_net
from data_samples import parquet, png
from ironbound.auditing import verify
from ironbound.auditing.manifest import fingerprints, probe_logits
from ironbound.auditing.passing import surveyed
from ironbound.auditing.plan import Attacking, Plan
from ironbound.auditing.run import run as run_without_checks
from ironbound.auditing.verdicts import Verdicts
from ironbound.core import rows
from ironbound.core.errors import DataError, InputError, RunError, UsageError
from ironbound.core.rng import content_keys
from ironbound.data import Data, dataset, load, stored_table
from ironbound.data.stored import Mapped, Stored
from ironbound.models.model import Model
from ironbound.names import plan_named
from ironbound.recipes import pgd

COUNT = 23
PLAN = Plan("short", (Attacking("pgd", pgd(steps=3)),))


def digits_arrays(count: int = 40) -> tuple[np.ndarray, np.ndarray]:
    whole = load("digits:test", samples=count)
    return whole.x.numpy(), whole.y.numpy()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two dozen digits as arrays on disk."""
    x, y = digits_arrays(24)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", y)
    return tmp_path


# ---------------------------------------------------------------------------------------------------- kinds of sources
def pixels(count: int, channels: int = 3) -> np.ndarray:
    shape = (count, 5, 4, 3) if channels == 3 else (count, 5, 4)
    return np.random.default_rng(0).integers(0, 256, shape, dtype="uint8")


def npy(path: Path) -> Any:
    np.save(path / "x.npy", pixels(COUNT))
    np.save(path / "y.npy", np.arange(COUNT) % 3)
    np.save(path / "group.npy", np.arange(COUNT) // 5)
    return path


def npz(path: Path) -> Any:
    np.savez(path / "d.npz", images=np.random.default_rng(1).normal(size=(COUNT, 6)), labels=np.arange(COUNT) % 2)
    return path / "d.npz"


def mapped_pair(path: Path) -> Any:
    np.save(path / "raw.npy", pixels(COUNT))
    return np.load(path / "raw.npy", mmap_mode="r")[2:], np.arange(COUNT - 2) % 2


def numeric_table(path: Path) -> Any:
    values = np.random.default_rng(2).normal(size=(COUNT, 2))
    columns = {
        "a": values[:, 0],
        "b": values[:, 1].astype("float32"),
        "c": np.arange(COUNT),
        "label": np.arange(COUNT) % 2,
    }
    return parquet(path / "t.parquet", columns)


def list_table(path: Path) -> Any:
    values = np.random.default_rng(3).normal(size=(COUNT, 4))
    fixed = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel(), pa.float32()), 4)
    return parquet(
        path / "t.parquet", {"x": fixed, "label": np.arange(COUNT) % 2, "note": [f"n{i}" for i in range(COUNT)]}
    )


def nested_table(path: Path) -> Any:
    values = np.random.default_rng(4).integers(0, 9, (COUNT, 2, 3)).tolist()
    return parquet(path / "t.parquet", {"x": values, "label": [i % 2 for i in range(COUNT)]})


def picture_table(path: Path) -> Any:
    grey = [{"bytes": png(p), "path": None} for p in pixels(COUNT, 1)]
    grey[17] = {"bytes": png(pixels(1)[0]), "path": None}  # a single one in colour, late
    return parquet(path / "t.parquet", {"image": grey, "label": [i % 3 for i in range(COUNT)]}, ["a", "b", "c"])


def picture_folder(path: Path) -> Any:
    for number, picture in enumerate(pixels(COUNT, 1)):
        place = path / "test" / "abc"[number % 3] / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(png(picture))
    return path


class Pairs(torch.utils.data.Dataset[Any]):
    """A map-style data set that draws from torch's generator, and knows what it was asked for."""

    classes = ("even", "odd")

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, number: int) -> Any:
        self.asked.append(number)
        return torch.rand(3) + number, "even" if number % 2 == 0 else "odd"


class Dicts(Pairs):
    def __getitem__(self, number: int) -> Any:
        x, y = super().__getitem__(number)
        return {"x": x, "label": y, "group": torch.tensor(number // 4), "mask": torch.ones(7)}


SOURCES: list[Callable[[Path], Any]] = [
    npy, npz, mapped_pair, numeric_table, list_table, nested_table, picture_table, picture_folder,
    lambda path: Pairs(), lambda path: Dicts(),
]  # fmt: skip


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("samples", [None, 9])
def test_streamed_rows_are_those_in_memory(tmp_path: Path, source: Any, samples: int | None) -> None:
    there = source(tmp_path)
    whole, streamed = (load(there, samples=samples, seed=3, stream=how) for how in (False, True))
    assert isinstance(whole.x, Tensor)
    assert isinstance(streamed.x, Stored)
    assert streamed.x.shape == whole.x.shape
    assert streamed.x.dtype == whole.x.dtype
    for places in ([0], [3, 1, 3], list(range(len(whole))), list(reversed(range(len(whole)))), []):
        mine = rows.take(streamed.x, torch.tensor(places, dtype=torch.long))
        assert torch.equal(mine, whole.x[places])
        assert mine.dtype == whole.x.dtype
    assert torch.equal(rows.part(streamed.x, slice(2, 7)), whole.x[2:7])
    assert torch.equal(streamed.y, whole.y)
    assert torch.equal(streamed.index, whole.index)
    assert (streamed.columns, streamed.classes, streamed.name) == (whole.columns, whole.classes, whole.name)
    assert surveyed(streamed).fingerprint == surveyed(whole).fingerprint
    some = streamed.subset(4, seed=1)
    assert isinstance(some.x, Stored)
    assert torch.equal(some.take(range(len(some))).x, whole.subset(4, seed=1).x)
    assert torch.equal(load(streamed, stream=False).x, whole.x)


@settings(max_examples=30, deadline=None)
@given(places=st.lists(st.integers(0, 49), max_size=40), group=st.integers(1, 60), batch=st.integers(1, 9))
def test_any_places_of_a_table_in_any_order(tmp_path_factory: Any, places: list[int], group: int, batch: int) -> None:
    path = tmp_path_factory.mktemp("table") / "t.parquet"
    pq.write_table(
        pa.table({"a": np.arange(50.0), "b": -np.arange(50.0), "label": np.zeros(50, int)}), path, row_group_size=group
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stored_table, "BATCH", batch)
        x = load(path, stream=True).x
        for some in (places, places[::-1], sorted(places)):
            wanted = torch.tensor(some, dtype=torch.long)
            assert torch.equal(x.take(wanted), torch.stack([wanted.float(), -wanted.float()], 1))


def test_streaming_is_decided_by_counted_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = npy(tmp_path)
    decoded = COUNT * 5 * 4 * 3 * 4
    assert not load(there).streamed
    for free, streamed in ((4 * decoded, False), (4 * decoded - 8, True)):
        monkeypatch.setattr("ironbound.data.stored.free_bytes", lambda device, free=free: free)
        assert load(there).streamed is streamed
        assert load(there, stream=False).streamed is False
    assert not load(there, samples=2).streamed  # of the rows that are meant, not of the file


def test_what_is_in_memory_stays_there_and_what_cannot_be_streamed_says_so(tmp_path: Path) -> None:
    assert isinstance(load((torch.zeros(3, 2), torch.zeros(3)), stream=True).x, Tensor)
    np.savez_compressed(tmp_path / "c.npz", x=np.zeros((4, 2)), y=np.zeros(4, int))
    text = parquet(tmp_path / "text.parquet", {"text": ["a", "b"], "label": [0, 1]})
    loader = torch.utils.data.DataLoader(Pairs())
    for source, why in ((tmp_path / "c.npz", "compressed"), (text, "is text"), (loader, "pass its dataset")):
        with pytest.raises(UsageError, match=why):
            load(source, stream=True)
        assert len(load(source)) > 0
    with pytest.raises(UsageError, match="stream is True, False"):
        load(text, stream="yes")  # type: ignore[arg-type]


def test_rows_that_differ_are_named_when_they_are_read(tmp_path: Path) -> None:
    ragged = load(parquet(tmp_path / "r.parquet", {"x": [[1.0, 2.0]] * 4 + [[1.0]], "label": [0] * 5}), stream=True)
    with pytest.raises(InputError, match=r"row 4 has shape \(1,\).*stream=False"):
        surveyed(ragged)
    gaps = load(parquet(tmp_path / "g.parquet", {"a": [1.0, None, 2.0], "label": [0] * 3}), stream=True)
    with pytest.raises(DataError, match="column 'a' has no value in row 1"):
        surveyed(gaps)
    pictures = [{"bytes": png(np.zeros((4, 4 + (i == 3)), "uint8"))} for i in range(5)]
    sizes = load(parquet(tmp_path / "p.parquet", {"image": pictures, "label": [0] * 5}), stream=True)
    with pytest.raises(InputError, match="different sizes"):
        surveyed(sizes)


# -------------------------------------------------------------------------------------------------------- the one pass
class Counting(Stored):
    """Rows in memory that pretend to be on disk, and count what is read of them."""

    def __init__(self, x: Tensor) -> None:
        super().__init__(tuple(x.shape), x.dtype)
        self.x, self.at_once, self.total = x, 0, 0

    def read(self, places: Tensor) -> Tensor:
        self.at_once, self.total = max(self.at_once, len(places)), self.total + len(places)
        return self.x[places]


def counting(count: int) -> tuple[Data, Counting]:
    x, y = digits_arrays(count)
    source = Counting(torch.from_numpy(x))
    return Data(source, torch.from_numpy(y), {}, torch.arange(count), None, "counted"), source


def test_an_audit_reads_a_portion_at_a_time_and_all_rows_once_before_its_first_pool(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dataset, "PORTION", 32)
    data, source = counting(150)
    before: list[int] = []

    def listen(event: Any) -> None:
        if event.stage == "samples" and not before:
            before.append(source.total)

    net, threat = digits_net(), ib.Linf(0.05)
    folder = run_without_checks(Model(net), data, threat, PLAN, pool=16, progress=listen)
    few = 16 + 16  # the first pool, the probes, the first row where its kind is asked for
    assert 150 <= before[0] <= 150 + few
    assert source.at_once == 32
    assert source.total <= 300 + few
    source.at_once = 0
    monkeypatch.setattr(verify, "PORTION", 32)
    assert ib.verify(folder.path, net, data).holds
    assert source.at_once <= verify.PORTION


def test_the_smallest_keys_are_those_of_all_rows_together() -> None:
    data, _ = counting(300)
    keys = content_keys(load("digits:test", samples=300).x, data.y)
    assert torch.equal(surveyed(data).keys, keys)
    assert torch.equal(surveyed(data).smallest(16), keys.argsort(stable=True)[:16])


def test_portions_hold_all_rows_in_order_and_no_more_than_their_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    data, source = counting(100)
    monkeypatch.setattr(dataset, "PORTION_BYTES", 7 * 64 * 4)
    parts = list(data.portions())
    assert torch.equal(torch.cat([x for _, x in parts]), source.x)
    assert [at.start for at, _ in parts] == list(range(0, 100, 7))
    assert source.at_once == 7


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_bad_number_far_into_a_mapped_file_is_named_before_the_first_pool(tmp_path: Path, bad: float) -> None:
    file = np.lib.format.open_memmap(tmp_path / "x.npy", mode="w+", dtype="float32", shape=(720_000, 2))
    file[700_000, 1] = bad
    file.flush()
    x, y = np.load(tmp_path / "x.npy", mmap_mode="r"), np.zeros(720_000, int)
    seen: list[Any] = []
    net = nn.Linear(2, 2)
    with pytest.raises(InputError, match=r"NaN or infinity in 1 of \d+ rows, first in rows \[700000\]"):
        ib.audit(
            net, load((x, y), stream=True), threat="linf:0.1", method=PLAN, out=tmp_path / "run", progress=seen.append
        )
    assert seen == []
    assert not (tmp_path / "run").exists()


def test_data_that_change_while_they_are_streamed_stop_the_run(tmp_path: Path) -> None:
    x, y = digits_arrays()
    np.save(tmp_path / "x.npy", x)
    writable = np.load(tmp_path / "x.npy", mmap_mode="r+")
    data = load((writable, y), stream=True)

    def listen(event: Any) -> None:
        if event.stage == "samples":
            writable[30] = 0.0

    with pytest.raises(RunError, match=r"rows \[30\] are not what they were"):
        ib.audit(digits_net(), data, threat="linf:0.05", method=PLAN, pool=8, out=tmp_path / "run", progress=listen)


def test_a_mapping_that_is_copied_on_writing_keeps_its_changes(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((5, 2), "float32"))
    mine = np.load(tmp_path / "x.npy", mmap_mode="c")
    mine[3] = 1.0
    stored = load((mine, np.zeros(5, int)), stream=True).x
    assert isinstance(stored, Mapped)
    for _ in range(2):
        assert stored.take(torch.tensor([3])).tolist() == [[1.0, 1.0]]


# ------------------------------------------------------------------------------------------------------ the same audit
def parts_of(run: Path) -> dict[str, Any]:
    """What a run found, without times: rows of results, bytes of witnesses, fingerprints and probes."""
    manifest = json.loads((run / "manifest.json").read_text())
    return {
        "results": [
            pq.read_table(path, partitioning=None).to_pydict() for path in sorted(run.glob("results/*.parquet"))
        ],
        "witnesses": [path.read_bytes() for path in sorted(run.glob("witnesses/*"))],
        **{key: manifest[key] for key in ("fingerprints", "probes", "data", "pool")},
    }


def test_streamed_and_in_memory_runs_are_one_resumed_merged_and_verified_across(folder: Path, tmp_path: Path) -> None:
    streamed, whole = load(folder, stream=True), load(folder, stream=False)
    net, threat, plan = digits_net(), ib.Linf(0.08), plan_named("quick")

    def run(data: Data, name: str, **options: Any) -> Path:
        return run_without_checks(Model(net), data, threat, plan, tmp_path / name, pool=8, **options).path

    expected = parts_of(run(whole, "memory"))
    assert len(expected["witnesses"]) > 0
    assert parts_of(run(streamed, "stream")) == expected

    class Killed(Exception):
        pass

    def kill(event: Any) -> None:
        if event.stage == "samples" and event.done == 16:
            raise Killed

    for begun, ended in ((whole, streamed), (streamed, whole)):
        place = f"resumed-{begun.streamed}"
        with pytest.raises(Killed):
            run(begun, place, progress=kill)
        assert parts_of(run(ended, place, resume=True)) == expected

    shards = [
        ib.audit(net, data, threat=threat, method=plan, pool=8, shard=f"{i}/2", out=tmp_path / str(i)).folder
        for i, data in ((1, whole), (2, streamed))
    ]
    merged = ib.merge(shards, out=tmp_path / "merged")
    assert parts_of(Path(merged.folder)) == expected
    assert ib.verify(tmp_path / "memory", net, streamed).holds
    assert ib.verify(tmp_path / "stream", net, whole).holds


def test_the_fingerprint_of_data_is_that_of_their_content(folder: Path) -> None:
    model = Model.of(digits_net())
    threat = ib.Linf(0.1)
    whole = load(folder)
    found = [fingerprints(model, data, threat, PLAN, 0)["data"] for data in (whole, load(folder, stream=True))]
    assert found[0] == found[1]
    assert probe_logits(model, whole) == probe_logits(model, load(folder, stream=True))
    grouped = [Data(whole.x, whole.y, {"g": values}, whole.index, None, "g") for values in (list(range(24)), [0] * 24)]
    assert len({surveyed(data).fingerprint for data in (whole, *grouped)}) == 3


def test_training_reads_streamed_data_into_memory(folder: Path) -> None:
    hardened = [
        ib.harden(digits_net(), data, threat="linf:0.02", method="standard", epochs=1, audit=None).history[0]["loss"]
        for data in (load(folder), load(folder, stream=True))
    ]
    assert hardened[0] == hardened[1]


def test_at_the_prompt(folder: Path) -> None:
    from ironbound.cli.opening import data_origin
    from ironbound.cli.settings import DataSettings
    from ironbound.reopening import load_data

    origin = data_origin(DataSettings(data=str(folder), stream=True, samples=5))
    assert load_data(origin).streamed
    assert not load_data(data_origin(DataSettings(data=str(folder), samples=5))).streamed


# ------------------------------------------------------------------------------------------------------------- memory
class Small(nn.Module):
    """A net on a machine where no more than a few rows fit."""

    def __init__(self, net: nn.Module, most: int) -> None:
        super().__init__()
        self.net, self.most, self.refused = net, most, 0

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > self.most:
            self.refused += 1
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return self.net(x)


def test_where_memory_runs_out_within_a_pool_passes_are_halved_and_verdicts_stay(folder: Path) -> None:
    data, threat = load(folder, stream=True), ib.Linf(0.05)
    net = Small(digits_net(), 5)
    small = run_without_checks(Model(net), data, threat, PLAN, pool=16)
    whole = run_without_checks(Model(digits_net()), data, threat, PLAN, pool=16)
    assert net.refused > 0
    assert Verdicts.of(small).verdict.tolist() == Verdicts.of(whole).verdict.tolist()


# ------------------------------------------------------------------------------------------------------------- results
def test_verdicts_take_few_bytes_a_sample_and_read_the_rest_from_the_parts(folder: Path) -> None:
    run = run_without_checks(Model(digits_net()), load(folder), ib.Linf(0.05), plan_named("quick"), pool=8)
    found = Verdicts.of(run)
    fields = (found.index, found.digest, found.label, found.prediction, found.confidence, found.verdict, found.stage)
    assert sum(field.nbytes for field in fields) <= 80 * len(found)
    assert len({id(text) for text in found.stage}) == len(set(found.stage))  # each name is there once
    assert found.key.tolist() == [key.decode() for key in found.digest.tolist()]
    table = found.table.to_pylist()
    for name in found.stages:
        rows_ = found.stage_rows(name)
        expected = [row for row in table if row["stage"] == name]
        assert rows_["index"].tolist() == [row["index"] for row in expected]
        assert rows_["verdict"].tolist() == [row["verdict"] for row in expected]
    assert set(found.stages) == {row["stage"] for row in table}
    last = {row["index"]: (row["verdict"], row["stage"]) for row in table}
    assert list(zip(found.verdict, found.stage, strict=True)) == [last[i] for i in found.index.tolist()]
