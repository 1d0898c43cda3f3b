"""How far a run is, sample by sample: how many are finished, and what has become of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ironbound.auditing.folder import RunFolder
from ironbound.core.progress import Event, Listener, silent

DECIDED = ("broken", "certified", "wrong")


class Tally:
    """Counts verdicts over the pools of a run and tells them, once a stage: an event "samples" with `counts`.

    A sample is finished when it is decided or its pool is; so `done` rises while a pool runs, and by the rest at its end.
    """

    def __init__(self, tell: Listener, total: int) -> None:
        self.tell, self.total = tell, total
        self.past, self.found = 0, Counter[str]()

    def hear(self, verdicts: Sequence[str]) -> None:
        """The verdicts so far of a pool that is running."""
        now = Counter(verdicts)
        self._say(self.past + sum(now[name] for name in DECIDED), self.found + now)

    def count(self, verdicts: Sequence[str]) -> None:
        """The verdicts of a pool that is finished."""
        self.past += len(verdicts)
        self.found.update(verdicts)
        self._say(self.past, self.found)

    def count_part(self, folder: RunFolder, number: int, samples: int) -> None:
        """A pool that was finished before: its decided samples have one such row each."""
        self.past += samples
        if self.tell is not silent:
            self.found.update(folder.read(number)[0]["verdict"].to_pylist())
        self._say(self.past, self.found)

    def _say(self, done: int, found: Counter[str]) -> None:
        self.tell(Event("samples", done, self.total, counts={name: found[name] for name in DECIDED}))
