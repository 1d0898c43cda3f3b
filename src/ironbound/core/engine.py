"""The one attack loop: ask; reserve and grant; chunk and pad; oracle; counted model; judge the claims; answer.

Budgets, restarts, early dropping, determinism, judging and progress live here, once; an attack is only its mathematics.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ironbound.core import rows
from ironbound.core.answers import added, averaged, refused, scattered
from ironbound.core.attack import Attack, Options
from ironbound.core.door import Door
from ironbound.core.errors import CompositionError
from ironbound.core.incumbents import Candidates, Incumbents
from ironbound.core.judge import LOOKS, SLACK, convincing, ranks, scale_of, wins_beyond_chance
from ironbound.core.ledger import Ledger
from ironbound.core.memory import Chunks
from ironbound.core.pairing import Pairing, Pairs
from ironbound.core.passes import Chunk, Heard, hear, per_row, points_of, works_on_more
from ironbound.core.progress import Event
from ironbound.core.protocols import Answer, Ask, Model, Rows, Status, Want
from ironbound.core.rng import Rng
from ironbound.core.task import Task

IDLE = 1000  # asks in a row that nobody could pay: then the search will not find out by itself that it is over


class Run:
    """One attack on one set of problems."""

    def __init__(self, attack: Attack, model: Model, region: Any, y: Any, rng: Rng, options: Options) -> None:
        self.attack, self.region, self.y, self.rng, self.options = attack, region, y, rng, options
        self.n, self.device = len(self.region), model.device
        self.collective = self.region.items is not None
        self.random = model.random or getattr(self.region, "random", False)
        self.compaction = options.compaction
        if self.collective:
            self.pairing = Pairing(self.region.items, self.n)
        self.ledger = Ledger(self.n, attack.budget, self.device)
        self.door = Door(model, self.ledger, attack.cheap, options.pad)
        self.chunks = Chunks(options.rows, self.device)
        self.closed, self.closed_count = torch.zeros(self.n, dtype=torch.bool, device=self.device), 0
        self.short = torch.zeros_like(self.closed)
        self.nans = torch.zeros(self.n, dtype=torch.int64, device=self.device)
        self.scale = torch.zeros(self.n, dtype=torch.float64, device=self.device)
        """The largest logit heard of each problem so far: rounding is of its size, also where a row's own are all small."""
        self.best = Incumbents(attack.want, self.region, self.device)
        start = self.region.identity()
        self.relaxed = self.region.leaf(start) is not start
        self.wins = wins_beyond_chance(attack.votes)
        self._all = torch.ones(self.n, dtype=torch.bool, device=self.device)
        self._like: Any = None

    def finish(self) -> None:
        """Run the attack with all its restarts."""
        with self.door.opened():
            for restart in range(self.attack.restarts):
                if self.closed_count < self.n:
                    self._search(restart)

    def status(self, size: Tensor) -> Tensor:
        """How each problem ended, see Status, with an answer of this size; to be asked when the run has finished."""
        status = torch.full((self.n,), int(Status.NOT_FOUND), device=self.device)
        status[self.short] = int(Status.BUDGET)
        status[self.nans > 0] = int(Status.NON_FINITE)
        status[self.best.found] = int(Status.FOUND)
        if not getattr(self.region, "covers", False):
            status[self.best.found & (size == 0)] = int(Status.ALREADY_WRONG)
        return status

    def notes(self) -> list[str]:
        """What the attack did otherwise than its name says, because of the number of classes; known once it has run."""
        out = self._like
        return self.attack.notes(out.shape[1]) if isinstance(out, Tensor) and out.ndim == 2 else []

    def _search(self, restart: int) -> None:
        rng = self.rng.fold("restart").fold(restart)
        task = Task(self, (~self.closed).nonzero()[:, 0], rng, restart)
        asks, answer, idle = self.attack.search.run(task), None, 0
        while self.closed_count < self.n and idle < IDLE:
            try:
                ask = asks.send(answer)  # type: ignore[arg-type]  # a generator is started with None
            except StopIteration:
                break
            answer, heard = self._answer(task, ask)
            idle = 0 if heard else idle + 1
        asks.close()

    # ------------------------------------------------------------------------------------------------ the cycle
    def _answer(self, task: Task, ask: Ask) -> tuple[Answer, bool]:
        """Grant, run pass by pass, judge the claims, scatter back; and whether anything was granted."""
        count = ask.points.count if isinstance(ask.points, Rows) else rows.count(ask.points)
        if ask.owner is None and count != task.n:
            raise CompositionError(
                f"{type(self.attack.search).__name__} asks {count} points for {task.n} open problems without saying whose "
                "they are. Give Ask.owner, or call task.compact() before the points are made and keep them in task.state."
            )
        problem = task.problems if ask.owner is None else task.problems[ask.owner]
        pairs = self.pairing.of(problem, ask.items) if self.collective else None
        rank = None if ask.owner is None else ranks(problem, self.n)
        granted, index = self._grant(task, ask, problem, rank, pairs)
        if index is not None and len(index) == 0:
            return refused(task, ask, granted, self._like, self.collective), False
        if pairs is not None and index is not None:
            pairs = self.pairing.of(problem[index], None if ask.items is None else ask.items[index])
        pairwise = self._passes(task, ask, problem, rank, pairs, index)
        whose = problem if index is None else problem[index]
        self._note_scale(pairwise.outputs, whose if pairs is None else whose[pairs.row])
        heard, rate, enough = (pairwise, None, None) if pairs is None else per_row(pairwise, pairs, self.attack.share)
        if pairs is None or ask.items is None:  # on part of the data set it is an estimate, never a claim
            self._claims(task, ask, pairwise, heard, rate, enough, problem, pairs, index)
            if self.attack.want is Want.FIRST:
                self._failures(task, ask, heard.margin, heard.margin if rate is None else rate, problem, index)
        self.ledger.asked[whose] += 1  # once a problem, however many rows
        self.nans.index_add_(0, whose, heard.margin.isnan().long())
        self._like = None if heard.outputs is None else rows.part(heard.outputs, slice(0, 1))
        return scattered(task, ask, heard, rate, enough, granted, index), True

    def _note_scale(self, out: Any, whose: Tensor) -> None:
        largest = scale_of(out, self.attack.goal)
        if largest is not None:
            self.scale.scatter_reduce_(0, whose, largest, "amax")

    def _grant(
        self, task: Task, ask: Ask, problem: Tensor, rank: Tensor | None, pairs: Pairs | None
    ) -> tuple[Tensor, Tensor | None]:
        """Which rows are run, and their numbers (None: all): those of open problems that can pay for all they ask.

        Prices are the oracle's; the judge's rows are kept back.
        """
        if self.ledger.unlimited and task.seen == self.closed_count and ask.owner is None:
            return self._all[: len(problem)], None
        granted = ~self.closed[problem]
        if not self.ledger.unlimited:
            counts = torch.bincount(problem, minlength=self.n)
            affordable = self._affordable(ask, problem, counts, pairs)
            if ask.partial:
                paid = (0 if rank is None else rank) < affordable[problem]
            else:
                paid = (counts <= affordable)[problem]
            self.short[problem[granted & ~paid]] = True
            granted &= paid & ~self.closed[problem]
        index = granted.nonzero()[:, 0]
        return granted, None if len(index) == len(granted) else index

    def _affordable(self, ask: Ask, problem: Tensor, counts: Tensor, pairs: Pairs | None) -> Tensor:
        """How many rows of this ask each problem can pay; those asking that could pay for no row at all are closed."""
        cost, items = self.attack.oracle.cost, self.pairing.sizes if self.collective else 1
        price: Any = cost
        if pairs is not None:
            price = torch.ones_like(self.ledger.forward).index_put((problem,), pairs.counts) * cost
        wanted = (0 if ask.jac is None else ask.jac.shape[1]) + int(ask.grad)
        judge = items * self.attack.votes
        kept = 0 if self._free(ask) else judge
        poor = self.ledger.poor(cost + (0 if self.attack.oracle.exact and not self.random else judge))
        self._close(poor & (counts > 0))  # the others' own asks decide, or it would matter who else is in the run
        return self.ledger.affordable(price, price * wanted if wanted else None, kept)

    def _free(self, ask: Ask) -> bool:
        """Whether the search's own pass is as good as the judge's: the model itself, no draws, full precision."""
        other = (self.attack.cheap or self.relaxed) and (ask.grad or ask.jac is not None)
        return self.attack.oracle.exact and not self.random and not other

    def _passes(
        self, task: Task, ask: Ask, problem: Tensor, rank: Tensor | None, pairs: Pairs | None, index: Tensor | None
    ) -> Heard:
        """Run the granted rows, as many at a time as memory allows. What a row hears does not depend on the chunks."""
        total = len(pairs) if pairs is not None else len(problem) if index is None else len(index)
        sums: list[Any] = []

        def job(at: slice) -> Heard:
            heard = hear(self.attack, self.door, ask, self._chunk(task, ask, problem, rank, pairs, index, at, total))
            self.ledger.settle()
            if pairs is not None:
                old = sums or (None, None)
                sums[:] = [added(new, o, pairs, at) for new, o in zip((heard.grad, heard.jac), old, strict=True)]
                heard.grad = heard.jac = None
            self.options.progress(Event(self.options.stage, self.closed_count, self.n, self.ledger.ran))
            return heard

        heard = Heard.joined(self._run_chunks(total, job, self.attack.oracle.cost))
        if pairs is not None:
            heard.grad, heard.jac = (averaged(v, pairs, self.region) for v in sums)
        return heard

    def _run_chunks(self, total: int, job: Any, price: int) -> list[Any]:
        def clean(at: slice) -> Any:
            self.ledger.forget()  # of a chunk that broke off for want of memory
            return job(at)

        return self.chunks.run(total, clean, price)

    def _chunk(
        self, task: Task, ask: Ask, problem: Tensor, rank: Tensor | None, pairs: Pairs | None,
        index: Tensor | None, at: slice, total: int,
    ) -> Chunk:  # fmt: skip
        """The rows (or pairs) of one slice with everything that belongs to them, nothing copied where all are there."""
        whole = index is None and at == slice(0, total) and pairs is None
        item = None if pairs is None else pairs.item[at]
        place = (
            None if whole else torch.arange(at.start, at.stop, device=self.device) if pairs is None else pairs.row[at]
        )
        row = place if index is None or place is None else index[place]  # among the rows of the ask
        whose = problem if row is None else problem[row]
        owner = row if ask.owner is None else ask.owner if row is None else ask.owner[row]
        if ask.owner is None and index is None and pairs is None:
            region = task.region if owner is None else task.part(at)
        else:
            region = task.region.take(owner)
        y = rows.take(self.y, item) if item is not None else task.y if owner is None else rows.take(task.y, owner)
        pick = lambda table: table if row is None else rows.take(table, row)
        draws = self._draws(whose, None if rank is None else pick(rank), item)
        jac, less = (None if table is None else pick(table) for table in (ask.jac, ask.less))
        args = tuple(pick(arg) for arg in ask.args)
        return Chunk(region, y, points_of(ask, row), draws, whose, item, jac, less, args)

    def _draws(self, problem: Tensor, rank: Tensor | None, item: Tensor | None) -> Rng:
        """The oracle's streams: keyed by the problem, its own count of asks, the row's rank in this ask and the item."""
        draws = self.rng.take(problem)
        if self.attack.oracle.exact and not self.random:
            return draws
        draws = draws.fold("oracle").fold(self.ledger.asked[problem]).fold(0 if rank is None else rank)
        return draws if item is None else draws.fold(self.pairing.place[item])

    # ------------------------------------------------------------------------------------------------ claims
    def _claims(
        self, task: Task, ask: Ask, pairwise: Heard, heard: Heard, rate: Tensor | None, enough: Tensor | None,
        problem: Tensor, pairs: Pairs | None, index: Tensor | None,
    ) -> None:  # fmt: skip
        """At most one point a problem and ask goes to the judge: the best contained one that would be the incumbent."""
        free = self._free(ask)
        claimed = heard.margin > 0 if enough is None else enough
        strongest = self.attack.want is Want.STRONGEST
        if free and not strongest and not bool(claimed.any()):
            return
        if free:
            whose = problem if index is None else problem[index]
            hopes = convincing(pairwise.margin, self.scale[whose if pairs is None else whose[pairs.row]])
        else:
            hopes = pairwise.margin > 0
            if self.attack.cheap:
                whose = problem if index is None else problem[index]
                looks = self.ledger.asked[whose if pairs is None else whose[pairs.row]] % LOOKS == LOOKS - 1
                hopes |= (pairwise.margin > -SLACK) & looks
        hopeful = hopes if pairs is None else pairs.mean(hopes.double()) >= self.attack.share
        place = torch.arange(len(claimed), device=self.device) if strongest else (claimed | hopeful).nonzero()[:, 0]
        if len(place) == 0:
            return
        value, share = (heard.value, heard.margin) if rate is None else (works_on_more(heard.value, rate, pairs), rate)
        if 2 * len(place) >= len(claimed) and index is None and not isinstance(ask.points, Rows):
            place = torch.arange(len(claimed), device=self.device)  # looking at all costs no more than copying most
        parts, slices = [], place.split(self._at_once(ask))
        for at in slices:
            row = at if index is None else index[at]
            every = len(row) == len(problem)
            owner = row if ask.owner is None else ask.owner[row]
            region = task.region if every and ask.owner is None else task.region.take(owner)
            table = heard.margin[at], value[at], share[at], claimed[at], hopeful[at]
            parts.append(self.best.candidates(region, problem[row], points_of(ask, None if every else row), *table))
        self._decide(Candidates.best(parts), free)

    def _at_once(self, ask: Ask) -> int:
        """How many points are looked at together. Of lazy ones only some exist at a time."""
        return self.chunks.limit if isinstance(ask.points, Rows) else max(1, self.n, rows.count(ask.points))

    def _decide(self, table: Candidates, free: bool) -> None:
        """The candidates become incumbents, where the judge agrees; the problems of those that suffice are finished."""
        self.ledger.refused[table.lost] += 1  # won by too little
        if (named := table.whose) is not None:
            table, won = (table, table.hopeful) if free else self._judged(table)
            self.best.accept(table, won)
            if self.attack.want is Want.FIRST:
                closing = torch.zeros_like(self.closed)
                closing[named[won]] = True
                self._close(closing)

    def _judged(self, table: Candidates) -> tuple[Candidates, Tensor]:
        """Which hopeful candidates win before the judge, and the margins that it saw; the other claims are refused."""
        whose, hopeful = table.whose, table.hopeful
        assert whose is not None  # the caller has looked
        won, margin, rate = torch.zeros_like(hopeful), table.margin.clone(), table.rate.clone()
        at = hopeful.nonzero()[:, 0]
        if len(at):
            share, seen = self._judge(whose[at], rows.take(table.points, at))
            won[at], rate[at] = share >= self.attack.share, share.to(rate.dtype)
            known = ~seen.isnan()  # the mean of bare decisions for and against is no number
            margin[at] = torch.where(known, seen.to(margin.dtype), margin[at])
        self.ledger.refused[whose[table.claimed & ~won]] += 1
        return replace(table, margin=margin, rate=rate), won

    def _judge(self, problem: Tensor, points: Any) -> tuple[Tensor, Tensor]:
        """The model itself, in full precision, on the points as stored, on fresh draws where it draws, on every item.

        Returns on which share of its items each wins (1 or 0 of a single input), float64, and the mean margin.
        """
        votes, oracle_free = self.attack.votes, self.rng.take(problem).fold("judge").fold(self.ledger.tried[problem])
        pairs = self.pairing.of(problem, None) if self.collective else None
        each = torch.arange(len(problem), device=self.device) if pairs is None else pairs.row
        owner, vote = each.repeat_interleave(votes), torch.arange(votes, device=self.device).repeat(len(each))
        item = None if pairs is None else pairs.item.repeat_interleave(votes)

        def job(at: slice) -> tuple[Tensor, Tensor]:
            row, here = owner[at], None if item is None else item[at]
            draws = oracle_free.take(row).fold(vote[at])
            draws = draws if here is None else draws.fold(self.pairing.place[here])
            inputs = self.region.take(problem[row]).apply(rows.take(points, row), draws, here)
            out = self.door.rows(inputs, draws, problem[row], 0)
            margin = self.attack.goal.margin(out, rows.take(self.y, problem[row] if here is None else here))
            self.ledger.settle()
            largest = scale_of(out, self.attack.goal)
            return margin.double(), torch.zeros_like(margin).double() if largest is None else largest

        with torch.no_grad():
            margin, largest = rows.join(self._run_chunks(len(owner), job, 1))
        whose = problem[owner]
        self.scale.scatter_reduce_(0, whose, largest, "amax")
        ok = margin > 0 if self.random else convincing(margin, self.scale[whose])
        self.ledger.tried[problem] += 1
        self.ledger.judged.index_add_(0, problem, torch.bincount(owner, minlength=len(problem)))
        wins, margin = (ok.view(-1, votes).sum(1) >= self.wins).double(), margin.view(-1, votes).mean(1)
        return (wins, margin) if pairs is None else (pairs.mean(wins), pairs.mean(margin))

    def _close(self, which: Tensor) -> None:
        self.closed |= which
        self.closed_count = int(self.closed.sum())

    def _failures(
        self, task: Task, ask: Ask, margin: Tensor, rate: Tensor, problem: Tensor, index: Tensor | None
    ) -> None:
        """A problem without a witness answers with the contained point that came nearest to one, of all that were asked."""
        whose = problem if index is None else problem[index]
        better = (margin > self.best.margin[whose]) & ~self.best.found[whose]
        place = better.nonzero()[:, 0]
        if len(place) == 0:
            return
        for at in place.split(self.chunks.limit) if isinstance(ask.points, Rows) else [place]:
            row = at if index is None else index[at]
            every = len(row) == len(problem)
            owner = row if ask.owner is None else ask.owner[row]
            region = task.region if every and ask.owner is None else task.region.take(owner)
            self.best.keep_failures(region, problem[row], points_of(ask, None if every else row), margin[at], rate[at])
