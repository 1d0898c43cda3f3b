"""How a batch is divided over processes, and in each of them over parts that run one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from safetensors.torch import load, save
from torch import Tensor

from ironbound.core.errors import UsageError
from ironbound.defenses.train.objective import Scene
from ironbound.defenses.train.place import Place

Tables = dict[str, dict[str, Tensor]]


class Shares:
    """The parts of a batch that this process runs, and what the objective carries for each of them.

    Parts are numbered through all processes; part 0 of a whole batch is the batch.
    """

    def __init__(self, scene: Scene, place: Place, accumulate: int, smallest: int) -> None:
        """`smallest` is the size of the smallest batch."""
        if smallest < place.world * accumulate:
            raise UsageError(
                f"a batch of {smallest} samples cannot be divided into {accumulate} parts{_of_each(place.world)}. "
                "Give a larger batch, or a smaller accumulate."
            )
        self.scene, self.place, self.accumulate = scene, place, accumulate
        self.numbers = range(place.rank * accumulate, (place.rank + 1) * accumulate)
        self.common, own = self._divided(scene.state)
        self.own = {number: {name: tensor.clone() for name, tensor in own.items()} for number in self.numbers}

    def _divided(self, state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """What has a row for each sample of the data, and what belongs to a part of a batch."""
        rows = {name for name, tensor in state.items() if tensor.ndim and len(tensor) == len(self.scene.y)}
        return {n: t for n, t in state.items() if n in rows}, {n: t for n, t in state.items() if n not in rows}

    def of(self, index: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Number and rows of each part of this batch that is run here."""
        return zip(self.numbers, index[self.place.rank :: self.place.world].tensor_split(self.accumulate), strict=True)

    @contextmanager
    def state(self, number: int) -> Iterator[None]:
        """Inside, the scene's state is that of one part."""
        state = self.scene.state
        state.clear()
        state.update({**self.common, **self.own[number]})
        yield
        self.common, self.own[number] = self._divided(state)

    @contextmanager
    def untouched(self) -> Iterator[None]:
        """Inside, objectives may change what they carry; afterwards it is as it was."""
        common = {name: tensor.clone() for name, tensor in self.common.items()}
        own = {number: {n: t.clone() for n, t in state.items()} for number, state in self.own.items()}
        yield
        self.common, self.own = common, own

    def join(self, index: Tensor) -> None:
        """After an update on a batch: tables of all samples hear what other processes wrote of theirs."""
        if self.place.world == 1:
            return
        for _, table in sorted(self.common.items()):
            at = index.to(table.device)
            block = torch.zeros_like(table[at], dtype=torch.uint8 if table.dtype is torch.bool else None)
            here = slice(self.place.rank, None, self.place.world)
            block[here] = table[at[here]].to(block.dtype)
            table[at] = self.place.sum(block).to(table.dtype)

    def tables(self) -> Tables:
        """All of it for a checkpoint, of all processes."""
        own = {f"{number}/{name}": tensor for number in self.numbers for name, tensor in self.own[number].items()}
        if self.place.world > 1:
            content = save({name: tensor.cpu().contiguous() for name, tensor in own.items()}) if own else b""
            own = {name: t for part in self.place.gathered(content) if part for name, t in load(part).items()}
        tables: Tables = {"objective": dict(self.common)}
        for name, tensor in own.items():
            number, _, rest = name.partition("/")
            tables.setdefault("objective" if number == "0" else f"objective {number}", {})[rest] = tensor
        return tables

    def load(self, tables: Tables) -> None:
        """Take up what `tables` gave, in tensors of its own."""
        device = self.scene.model.device
        there = lambda state: {name: tensor.to(device, copy=True) for name, tensor in state.items()}
        self.common, first = self._divided(there(tables.get("objective", {})))
        self.own = {n: first if n == 0 else there(tables.get(f"objective {n}", {})) for n in self.numbers}


def _of_each(world: int) -> str:
    return "" if world == 1 else f" in each of {world} processes"
