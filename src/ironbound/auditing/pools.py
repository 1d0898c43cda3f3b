"""One pool of samples through the stages of a plan: what each stage decided, with witnesses and costs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ironbound.auditing.inside import kept
from ironbound.auditing.plan import Attacking, Bounds, Plan, Stage
from ironbound.auditing.prices import bounding
from ironbound.certification.certificates import prove
from ironbound.certification.worst import COST, worst_points
from ironbound.core import rows as rows_
from ironbound.core.attack import Attack
from ironbound.core.errors import UnsupportedOperation, UsageError
from ironbound.core.predict import majority_margin, predict
from ironbound.core.progress import Listener, silent
from ironbound.core.protocols import PerturbationSet
from ironbound.core.rng import Rng, content_digests, keys_of
from ironbound.data.dataset import Data
from ironbound.goals import Untargeted
from ironbound.models.model import Model
from ironbound.recipes.draws import VOTES, fitted
from ironbound.searches.starts import Vertices

GOAL = Untargeted()
DANGEROUS = 3
"""Classes by the clean answer that linear bounds are asked about."""


Heard = Callable[[Sequence[str]], None]


def ignored(verdicts: Sequence[str]) -> None:
    """Nobody wants to know."""


@dataclass(frozen=True)
class Evaluation:
    """What all pools of a run share."""

    model: Model
    threat: PerturbationSet
    plan: Plan
    seed: int = 0
    rows: int | None = None
    graph: Any = None
    """The traced model, where a bound wants it."""
    bounds: bool = True
    """Whether bounds can be had; else they are left out."""
    progress: Listener = silent


@dataclass
class Pool:
    """The samples of a pool and what is known of them so far; row i of every table is sample i of the pool."""

    x: Any
    y: Tensor
    digests: list[bytes]
    keys: Tensor
    place: Tensor
    """Each sample's place in the data of the run, int64 (n,)."""
    verdict: list[str]
    gap: Tensor
    """The margin of each clean answer, below 0 where it is right, float64 (n,) on the CPU; NaN where it is not known."""
    best: Tensor
    """The largest margin that attacks reached so far, likewise; -inf before the first."""
    likely: Tensor | None = None
    """The likeliest other classes by the clean answers, int64 (n, DANGEROUS at most); None where there are no logits."""
    proven: dict[str, Tensor] = field(default_factory=dict)
    """By stage, the margin of the label that it proved, likewise; NaN where it was not asked."""
    records: list[dict[str, Any]] = field(default_factory=list)
    witnesses: dict[int, Any] = field(default_factory=dict)
    points: dict[int, Any] = field(default_factory=dict)
    """Of witnesses, where the inputs do not tell them."""
    costs: dict[str, dict[str, float]] = field(default_factory=dict)

    def open(self) -> Tensor:
        """The samples that no stage has decided yet."""
        return torch.tensor(
            [i for i, v in enumerate(self.verdict) if v == "undecided"], dtype=torch.long, device=self.y.device
        )


def audit_pool(evaluation: Evaluation, data: Data, places: Tensor, after: Heard = ignored) -> Pool:
    """Run one pool through all stages that do not wait; `places` are those of its samples in the data of the run.

    after: hears the verdicts of the pool's samples so far, after each stage.
    """
    pool = begun(evaluation, data, places)
    clean_pass(evaluation, pool, data)
    for stage in evaluation.plan.pooled:
        after(pool.verdict)
        pass_stage(evaluation, pool, stage)
    return _numbered(pool, data)


def audit_survivors(evaluation: Evaluation, stage: Attacking, data: Data, places: Tensor) -> Pool:
    """Run samples that all pools left through one further stage."""
    pool = begun(evaluation, data, places)
    pass_stage(evaluation, pool, stage)
    return _numbered(pool, data)


def begun(evaluation: Evaluation, data: Data, places: Tensor) -> Pool:
    """A pool of which nothing is known yet."""
    model = evaluation.model
    x, y = model.admit(data.x, data.y)
    digests = content_digests(x, y)
    keys = keys_of(digests).to(model.device)
    unknown = torch.full((len(data),), torch.nan, dtype=torch.float64)
    best = torch.full_like(unknown, -torch.inf)
    return Pool(x, y, digests, keys, places.to(model.device), ["undecided"] * len(data), unknown, best)


def clean_pass(evaluation: Evaluation, pool: Pool, data: Data) -> None:
    """Which samples are wrong without any attack."""
    _timed(pool, "clean", len(data), lambda: _clean(evaluation, pool, data))


def pass_stage(evaluation: Evaluation, pool: Pool, stage: Stage) -> None:
    """One stage on what is open; bounds where they can be had."""
    index = pool.open()
    if isinstance(stage, Attacking):
        near = _near(pool, stage, index)
        _timed(pool, stage.name, len(near), lambda: _attack(evaluation, pool, stage, near))
        for i in _others(index, near):
            pool.records.append(
                _record(i, pool, stage.name, margin=float(pool.best[i]), forward=0, backward=0, refused=0)
            )
    elif evaluation.bounds:
        near = _hopeful(pool, stage, index)
        _timed(pool, stage.name, len(near), lambda: _bound(evaluation, pool, stage, near))
        for i in _others(index, near):
            pool.records.append(_record(i, pool, stage.name, margin=float(pool.proven[stage.of][i]), bounding=0.0))


def _others(index: Tensor, near: Tensor) -> list[int]:
    """Those on which nothing more was tried."""
    return list(index[~torch.isin(index, near)].tolist())


def _near(pool: Pool, stage: Attacking, index: Tensor) -> Tensor:
    """The samples that a stage is for; of those that no attack has been tried on nothing is known, so they are."""
    if stage.near is None:
        return index
    at = index.cpu()
    far = 1 - pool.best[at] / pool.gap[at] < stage.near
    return index[~(far & pool.best[at].isfinite()).to(index.device)]


def _hopeful(pool: Pool, stage: Bounds, index: Tensor) -> Tensor:
    """The samples that a bound is for; those that the stage it goes by was not tried on are."""
    if stage.near is None or stage.of not in pool.proven:
        return index
    at = index.cpu()
    far = pool.proven[stage.of][at] < stage.near * pool.gap[at]  # the gap is below 0
    return index[~far.to(index.device)]


def _numbered(pool: Pool, data: Data) -> Pool:
    """The records with the samples' keys, and their numbers in the data source."""
    numbers = data.index.tolist()
    for record in pool.records:
        record["key"], record["index"] = pool.digests[record["index"]].hex(), numbers[record["index"]]
    return pool


def _timed(pool: Pool, name: str, entered: int, stage: Any) -> None:
    before = sum(v != "undecided" for v in pool.verdict)
    start, cpu = time.perf_counter(), time.process_time()
    forward, backward, bounding = stage() if entered else (0, 0, 0.0)
    pool.costs[name] = {
        "entered": entered,
        "decided": sum(v != "undecided" for v in pool.verdict) - before,
        "forward": forward,
        "backward": backward,
        "bounding": bounding,
        "seconds": time.perf_counter() - start,
        "cpu": time.process_time() - cpu,
    }


Rows = tuple[int, int, float]
"""What a stage ran: forward rows, backward rows, and what bounds cost beside them in forward rows."""


def _clean(evaluation: Evaluation, pool: Pool, data: Data) -> Rows:
    """Wrong when clean: no element of P(x) is needed to fool the model."""
    rng = Rng.of(evaluation.seed, pool.keys)
    margin, wrong, out = wrong_when_clean(evaluation.model, pool.x, pool.y, rng, evaluation.rows)
    answers = _answers(out)
    pool.gap = margin.double().cpu()
    if isinstance(out, Tensor) and out.is_floating_point() and out.ndim == 2:
        others = out.scatter(1, pool.y[:, None].to(out.device), -torch.inf)
        pool.likely = others.argsort(dim=1, descending=True, stable=True)[:, : min(DANGEROUS, out.shape[1] - 1)]
    for i, (bad, (prediction, confidence)) in enumerate(zip(wrong.tolist(), answers, strict=True)):
        pool.verdict[i] = "wrong" if bad else "undecided"
        further = {f"data.{name}": values[i] for name, values in data.columns.items()}
        pool.records.append(
            _record(
                i,
                pool,
                "clean",
                prediction=prediction,
                confidence=confidence,
                margin=float(margin[i]),
                forward=1,
                **further,
            )
        )
    return len(data) * (VOTES + 1 if evaluation.model.random else 1), 0, 0.0


def wrong_when_clean(model: Model, x: Any, y: Tensor, rng: Rng, rows: int | None = None) -> tuple[Tensor, Tensor, Any]:
    """Margin of the first pass, whether the answer is wrong, and the answers. A tie or NaN is no right answer either.

    A model that draws is wrong where another class wins the majority of draws beyond chance.
    """
    margin, wrong, out = majority_margin(model, x, y, GOAL, rng, VOTES, rows=rows)
    return margin, wrong | (margin.isnan() if model.random else ~(margin < 0)), out


def _bound(evaluation: Evaluation, pool: Pool, stage: Bounds, index: Tensor) -> Rows:
    x, y = rows_.take(pool.x, index), pool.y[index]
    proof = prove(
        stage.method, evaluation.model, x, y, rows_.of_rows(evaluation.threat, pool.place[index]),
        rows=evaluation.rows, radii=stage.radii, graph=evaluation.graph, progress=evaluation.progress, stage=stage.name,
    )  # fmt: skip
    at, margin, cost = index.cpu(), proof.margin.double().cpu(), bounding(proof, stage.method)
    pool.proven[stage.name] = torch.full_like(pool.gap, torch.nan).index_copy(0, at, margin)
    for row, i in enumerate(index.tolist()):
        if bool(proof.certified[row]):
            pool.verdict[i] = "certified"
        sought = stage.radii or bool(proof.certified[row])
        radius = float(proof.radius[row]) if sought else None
        found = {"margin": float(margin[row]), "radius": radius, "bounding": float(cost[row])}
        pool.records.append(_record(i, pool, stage.name, **found))
    return 0, 0, float(cost.sum())


def _attack(evaluation: Evaluation, pool: Pool, stage: Attacking, index: Tensor) -> Rows:
    attack, extra = _started(evaluation, pool, stage.single.rows(pool.place[index]), index)
    result = fitted(attack, evaluation.model)(
        evaluation.model, rows_.take(pool.x, index), pool.y[index], seed=evaluation.seed, keys=pool.keys[index],
        rows=evaluation.rows, progress=evaluation.progress, stage=stage.name,
    )  # fmt: skip
    at, margin = index.cpu(), result.margin.double().cpu()
    pool.best[at] = torch.maximum(pool.best[at], margin.nan_to_num(nan=torch.inf))
    won = result.success.nonzero()[:, 0]
    answers = _answers_to(evaluation, rows_.take(result.adversarial, won), pool.keys[index][won]) if len(won) else []
    said = dict(zip(won.tolist(), answers, strict=True))
    for row, i in enumerate(index.tolist()):
        if row in said:
            pool.verdict[i] = "broken"
            at_row = torch.tensor([row], device=index.device)
            pool.witnesses[i] = rows_.take(result.adversarial, at_row)
            if kept(evaluation.threat):
                pool.points[i] = rows_.take(result.points, at_row)
        prediction, confidence = said.get(row, (None, None))
        pool.records.append(
            _record(
                i, pool, stage.name, prediction=prediction, confidence=confidence, margin=float(result.margin[row]),
                size=float(result.size[row]) if row in said else None, forward=int(result.forward[row]),
                backward=int(result.backward[row]), refused=int(result.refused[row]), bounding=extra,
            )
        )  # fmt: skip
    return int(result.forward.sum()), int(result.backward.sum()), extra * len(index)


def _started(evaluation: Evaluation, pool: Pool, attack: Attack, index: Tensor) -> tuple[Attack, float]:
    """An attack that starts where bounds are least, with these points, and what they cost a sample in forward rows.

    Where there are no linear bounds it is left as it is, and starts at corners.
    """
    start, graph, likely = getattr(attack.search, "start", None), evaluation.graph, pool.likely
    if not isinstance(start, Vertices) or graph is None or likely is None or not evaluation.bounds:
        return attack, 0.0
    x, y = rows_.take(pool.x, index), pool.y[index]
    targets = likely[index, : attack.restarts]
    try:
        points = worst_points(graph, evaluation.model, x, y, targets, attack.set)
    except (UnsupportedOperation, UsageError):
        return attack, 0.0
    search: Any = replace(attack.search, start=replace(start, points=points))  # type: ignore[type-var]
    return attack.replace(search=search), COST + targets.shape[1]


def _answers_to(evaluation: Evaluation, x: Any, keys: Tensor) -> list[tuple[int, float | None]]:
    return _answers(predict(evaluation.model, x, Rng.of(evaluation.seed, keys), rows=evaluation.rows))


def _answers(out: Tensor) -> list[tuple[int, float | None]]:
    """The class answered and the probability given to it."""
    if not out.is_floating_point():
        return [(int(answer), None) for answer in out]
    confidence, answer = out.double().softmax(1).nan_to_num(0.0).max(1)
    return list(zip(answer.tolist(), confidence.tolist(), strict=True))


def _record(i: int, pool: Pool, stage: str, **values: Any) -> dict[str, Any]:
    return {"index": i, "label": int(pool.y[i]), "stage": stage, "verdict": pool.verdict[i], **values}
