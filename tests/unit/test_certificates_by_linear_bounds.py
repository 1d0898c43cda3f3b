"""Certificates: what is bounded and in which type, radii by root finding, chunks and memory, progress, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import ironbound as ib
from ironbound.certification import bounder
from ironbound.certification.alpha import AlphaCrown
from ironbound.certification.certificates import Certificates, prove
from ironbound.certification.crown import Crown
from ironbound.certification.graph import Graph, trace
from ironbound.certification.ibp import Ibp
from ironbound.certification.margins import Margins
from ironbound.certification.radius import Bracket, narrowed
from ironbound.core.catalogue import find
from ironbound.core.errors import InputError, ModelError, UsageError
from ironbound.core.progress import Event
from ironbound.models.model import Model
from ironbound.names import catalogue


class Spy:
    """A method that remembers what it was asked."""

    def __init__(self, inner: Any = None, change: Callable[[Margins, torch.dtype], Margins] = lambda m, _: m) -> None:
        self.inner, self.change = inner or Crown(), change
        self.calls: list[tuple[torch.dtype, int]] = []

    name = "spy"

    def margins(self, graph: Graph, region: Any, y: Tensor, dtype: torch.dtype, learned: Any = None) -> Margins:
        self.calls.append((dtype, len(y)))
        return self.change(self.inner.margins(graph, region, y, dtype, learned), dtype)

    def passes(self, dtype: torch.dtype) -> int:
        return sum(kind == dtype for kind, _ in self.calls)


@cache
def sample() -> tuple[Model, Graph, Tensor, Tensor]:
    torch.manual_seed(3)
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 4)
    )
    x = torch.rand(24, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for layer in (net[0], net[3], net[5]):
            layer.weight *= 1.5
        net[5].bias -= net(x).mean(0)  # so that it answers with several classes
    model = Model(net)
    y = net(x).argmax(1)
    y[::6] = (y[::6] + 1) % 4
    return model, trace(model.module, x[:1]), x, y


def proved(method: Any, set_: Any, **settings: Any) -> Certificates:
    model, graph, x, y = sample()
    return prove(method, model, x, y, set_, graph=graph, **settings)


# --------------------------------------------------------------------------------------------------------------- radii
def test_radii_are_the_largest_that_are_proved() -> None:
    found = proved(Crown(), ib.Linf(0.03))
    model, graph, x, y = sample()
    assert 0 < int(found.certified.sum()) < 20
    some = ((found.radius > 0) & ~found.certified).nonzero()[:, 0]
    assert len(some) > 3
    for radius, holds in ((found.radius, True), (found.radius + 0.03 / 4096 + 1e-6, False)):
        again = prove(Crown(), model, x[some], y[some], ib.Linf(radius[some]), graph=graph, radii=False)
        assert bool((again.certified == holds).all())


def test_a_radius_costs_few_passes_and_one_in_float64() -> None:
    spy = Spy()
    found = proved(spy, ib.Linf(0.03))
    rows = {kind: sum(n for dtype, n in spy.calls if dtype == kind) for kind in (torch.float32, torch.float64)}
    assert spy.passes(torch.float32) <= 9  # halving takes 12, and the screen is one
    assert spy.passes(torch.float64) <= 4
    assert rows[torch.float64] <= 20 + len(found) // 4
    assert spy.calls[0] == (torch.float32, 20)  # 4 of 24 are wrong, and nobody is asked about them


def test_what_float32_finds_must_hold_in_float64() -> None:
    """A screen that is wrong by far finds radii too large; what is answered holds in float64 all the same."""

    def hopeful(found: Margins, dtype: torch.dtype) -> Margins:
        return found if dtype == torch.float64 else Margins(found.least + 0.05, found.scale)

    honest, wrong = proved(Crown(), ib.Linf(0.03)), proved(Spy(change=hopeful), ib.Linf(0.03))
    assert torch.equal(honest.certified, wrong.certified)
    torch.testing.assert_close(honest.radius, wrong.radius, rtol=0, atol=2 * 0.03 / 4096)

    def blind(found: Margins, dtype: torch.dtype) -> Margins:
        return found if dtype == torch.float64 else Margins(found.least * math.nan, found.scale)

    dark = proved(Spy(change=blind), ib.Linf(0.03))
    assert torch.equal(honest.certified, dark.certified)
    assert bool((dark.radius <= honest.radius + 0.03 / 4096).all())


def test_what_a_method_learns_at_a_radius_confirms_that_radius() -> None:
    kinds: list[tuple[torch.dtype, bool]] = []

    class Seen(AlphaCrown):
        def margins(self, graph: Graph, region: Any, y: Tensor, dtype: torch.dtype, learned: Any = None) -> Margins:
            kinds.append((dtype, learned is not None))
            return super().margins(graph, region, y, dtype, learned)

    model, graph, x, y = sample()
    some = torch.arange(1, 9)[torch.arange(1, 9) % 6 != 0]
    settings: dict[str, Any] = {"graph": graph}
    plain = prove(Crown(), model, x[some], y[some], ib.Linf(0.03), **settings)
    best = prove(Seen(layers="last", steps=5), model, x[some], y[some], ib.Linf(0.03), **settings)
    assert all(learned == (dtype == torch.float64) for dtype, learned in kinds)
    assert bool((best.radius >= plain.radius - 0.03 / 2048).all())


def stepped(edge: Tensor, steep: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda rows, radius: steep(edge[rows] - radius)


CURVES: dict[str, Callable[[Tensor], Tensor]] = {
    "a line": lambda t: 3 * t,
    "a parabola": lambda t: t * (1.2 - t),
    "nearly a step": lambda t: torch.where(t > 0, 1e-6 + t, -1e6 + t),
    "flat": lambda t: t**5,
    "steep beyond": lambda t: torch.where(t > 0, t, 1e9 * t**3),
    "NaN beyond": lambda t: torch.where(t > 0, t, math.nan),
}


@pytest.mark.parametrize("name", CURVES)
def test_brackets_close_around_the_root(name: str) -> None:
    edge = torch.linspace(0.001, 0.999, 57, dtype=torch.float64)
    asked: list[int] = []
    curve = stepped(edge, CURVES[name])

    def gap(rows: Tensor, radius: Tensor) -> Tensor:
        asked.append(len(rows))
        return curve(rows, radius)

    every, zero = torch.arange(57), torch.zeros(57, dtype=torch.float64)
    width = torch.full_like(edge, 2.0**-12)
    start = Bracket(zero, zero + 1, curve(every, zero), curve(every, zero + 1))
    found = narrowed(gap, start, width)
    assert bool((found.high - found.low <= width).all())
    if name != "flat":  # of which rounding finds another root
        assert bool(((found.low <= edge) & (found.high >= edge)).all())
    assert sum(asked) <= 57 * (6 if name in ("a line", "a parabola") else 24)


def test_an_infinite_set_has_radii_and_unions_have_shares() -> None:
    finite, infinite = proved(Crown(), ib.Linf(0.03)), proved(Crown(), ib.Linf())
    near = ~finite.certified & (finite.radius > 0)
    torch.testing.assert_close(infinite.radius[near], finite.radius[near], rtol=0, atol=0.03 / 2048)
    parts = (ib.Linf(0.02), ib.L2(0.15))
    union = proved(Crown(), parts[0] | parts[1])
    each = [proved(Crown(), part) for part in parts]
    assert torch.equal(union.certified, each[0].certified & each[1].certified)
    assert torch.equal(union.radius, torch.minimum(each[0].radius / 0.02, each[1].radius / 0.15))
    assert torch.equal(union.margin, torch.minimum(each[0].margin, each[1].margin))


# --------------------------------------------------------------------------------------------------- which pass for whom
def test_inputs_that_are_wrong_have_the_margin_of_their_answer() -> None:
    model, _, x, y = sample()
    found = proved(Crown(), ib.Linf(0.01))
    z = model.net(x).double()
    clean = (z.gather(1, y[:, None]) - z.scatter(1, y[:, None], -math.inf)).amin(1)
    torch.testing.assert_close(found.margin[::6], clean[::6].detach(), rtol=0, atol=1e-5)
    assert bool((found.margin <= clean + 1e-5).all())
    assert not bool(found.certified[::6].any())
    assert found.radius[::6].tolist() == [0.0] * 4


def test_a_wrong_answer_is_not_saved_by_a_method_that_proves_everything() -> None:
    always = Spy(change=lambda found, _: Margins(found.least.abs() + 100, found.scale))
    found = proved(always, ib.Linf(0.01))
    assert found.certified.tolist() == [i % 6 != 0 for i in range(24)]


def test_float64_is_asked_about_no_more_than_it_can_change() -> None:
    spy = Spy()
    found = proved(spy, ib.Linf(0.02), radii=False)
    asked = sum(n for dtype, n in spy.calls if dtype == torch.float64)
    assert int(found.certified.sum()) <= asked <= int(found.certified.sum()) + 3


@pytest.mark.parametrize("method", [Ibp(), Crown(), Crown(intermediate="ibp")], ids=lambda method: method.name)
def test_nothing_is_certified_that_is_not_finite_or_not_in_the_range(method: Any) -> None:
    model, graph, x, y = sample()
    x = x[1:6].clone()
    x[0, 0, 0, 0], x[1, 0, 3, 3], x[2, 0, 7, 7], x[3, 0, 1, 1] = math.nan, math.inf, 1.001, -1e-3
    for set_ in (ib.Linf(1e-4), ib.L2(1e-4), ib.L1(1e-4), ib.Linf(1e-4, mask=torch.zeros(8, 8, dtype=torch.bool))):
        found = prove(method, model, x, y[1:6], set_, graph=graph)
        assert found.certified.tolist() == [False] * 4 + [True]
        assert found.radius[:4].tolist() == [0.0] * 4
        assert found.margin[:4].tolist() == [-math.inf] * 4


def test_logits_without_end_prove_nothing() -> None:
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
    net[2].weight.data.fill_(0.0)
    net[2].bias.data.copy_(torch.tensor([math.inf, 0.0]))
    for bias in (math.inf, 3e38):
        net[2].bias.data[0] = bias
        net[0].weight.data.fill_(3e38)
        found = prove(
            Crown(), Model(net, range=None, outputs="logits"), torch.ones(2, 2), torch.zeros(2).long(), ib.Linf(0.1)
        )
        assert not bool(found.certified.any())
        assert not bool(found.radius.any())


def test_models_of_float64_give_the_same() -> None:
    model, _, x, y = sample()
    single = proved(Crown(), ib.Linf(0.03))
    double = nn.Sequential(*model.net).double()
    try:
        spy = Spy()
        found = prove(spy, Model(double), x.double(), y, ib.Linf(0.03))
    finally:
        double.float()
    assert spy.passes(torch.float32) == 0
    assert torch.equal(found.certified, single.certified)
    torch.testing.assert_close(found.radius, single.radius, rtol=0, atol=2 * 0.03 / 4096)
    torch.testing.assert_close(found.margin[single.certified], single.margin[single.certified], rtol=0, atol=1e-9)


# ------------------------------------------------------------------------------------------------------ chunks, memory
@pytest.mark.parametrize("set_", [ib.Linf(0.02), ib.L2(0.2), ib.Linf(torch.linspace(0.001, 0.03, 24))], ids=str)
def test_chunks_change_nothing(set_: Any) -> None:
    whole = proved(Crown(), set_)
    for rows in (1, 7):
        parts = proved(Crown(), set_, rows=rows)
        assert torch.equal(parts.certified, whole.certified)
        torch.testing.assert_close(parts.radius, whole.radius, rtol=0, atol=1e-5)
        torch.testing.assert_close(parts.margin, whole.margin, rtol=0, atol=1e-4)
        sure = whole.certified
        torch.testing.assert_close(parts.margin[sure], whole.margin[sure], rtol=0, atol=1e-10)


@pytest.mark.parametrize("most", [1, 13])
def test_out_of_memory_halves_and_goes_on(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = proved(Crown(), ib.Linf(0.02), radii=False)
    honest, refused = bounder.pulled, []

    def narrow(start: str, a: Any, rows: Any) -> Any:
        if len(rows) > most:
            refused.append(len(rows))
            raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return honest(start, a, rows)

    monkeypatch.setattr(bounder, "pulled", narrow)
    found = proved(Crown(), ib.Linf(0.02), radii=False)
    assert refused
    assert torch.equal(found.certified, whole.certified)
    torch.testing.assert_close(found.margin[whole.certified], whole.margin[whole.certified], rtol=0, atol=1e-10)
    torch.testing.assert_close(found.margin, whole.margin, rtol=0, atol=1e-4)


def test_out_of_memory_for_many_inputs_takes_fewer() -> None:
    whole, sizes = proved(Ibp(), ib.Linf(0.02)), list[int]()

    class Small(Ibp):
        def margins(self, graph: Graph, region: Any, y: Tensor, dtype: torch.dtype, learned: Any = None) -> Margins:
            if len(y) > 5:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
            sizes.append(len(y))
            return super().margins(graph, region, y, dtype, learned)

    found = proved(Small(), ib.Linf(0.02))
    assert max(sizes) == 5
    assert torch.equal(found.certified, whole.certified)
    assert torch.equal(found.radius > 0, whole.radius > 0)


def test_other_errors_are_not_taken_for_memory() -> None:
    class Broken(Ibp):
        def margins(self, *_: Any, **__: Any) -> Margins:
            raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        proved(Broken(), ib.Linf(0.02))


# ------------------------------------------------------------------------------------------------------------ progress
def test_every_chunk_is_told_and_may_interrupt() -> None:
    model, _, x, y = sample()
    heard: list[Event] = []
    ib.certify(model, x, y, threat=ib.Linf(0.01), method="ibp", rows=10, radii=False, progress=heard.append)
    assert [(event.stage, event.done, event.total) for event in heard] == [
        ("certify", 8, 24), ("certify", 16, 24), ("certify", 24, 24)
    ]  # fmt: skip
    heard.clear()
    proved(Ibp(), ib.Linf(0.01) | ib.L2(0.1), rows=12, radii=False, progress=heard.append, stage="ibp")
    assert [(event.stage, event.done, event.total) for event in heard] == [
        ("ibp", 12, 48), ("ibp", 24, 48), ("ibp", 36, 48), ("ibp", 48, 48)
    ]  # fmt: skip

    def stop(event: Event) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        proved(Ibp(), ib.Linf(0.01), rows=12, progress=stop)


def test_a_pool_of_an_audit_moves(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from ironbound.auditing.plan import Bounds, Plan

    monkeypatch.setattr("ironbound.certification.certificates.ROWS", 8)
    model, _, x, y = sample()
    heard: list[Event] = []
    plan = Plan("bounds", (Bounds("ibp", Ibp()),))
    ib.audit(model, (x, y), threat="linf:0.01", method=plan, out=tmp_path / "run", progress=heard.append, curve=False)
    assert len([event for event in heard if event.stage == "ibp" and event.done < event.total]) >= 2


# ------------------------------------------------------------------------------------------------------------- refused
def test_sets_whose_points_are_no_inputs_are_refused() -> None:
    for threat in (ib.Rotation(10), ib.Brightness(0.1)):
        with pytest.raises(UsageError, match="stand for changed inputs and are none"):
            proved(Crown(), threat)
        with pytest.raises(UsageError, match="this one can be attacked"):
            proved(Ibp(), threat)
    with pytest.raises(UsageError, match='method="exhaustive"'):
        proved(Crown(), ib.Finite([torch.zeros(1, 8, 8)]))


def test_other_shapes_labels_and_outputs_are_refused() -> None:
    model, graph, x, y = sample()
    with pytest.raises(InputError, match=r"classes 0 to 3; got \d to 4"):
        prove(Crown(), model, x, torch.where(y == 3, 4, y), ib.Linf(0.1), graph=graph)
    with pytest.raises(InputError, match="classes 0 to 3; got -1 to"):
        prove(Crown(), model, x, y - 1, ib.Linf(0.1), graph=graph)
    single = Model(nn.Sequential(nn.Flatten(), nn.Linear(64, 1)), outputs="logits")
    with pytest.raises(ModelError, match=r"two or more classes; the model answers \(n, 1\)"):
        prove(Crown(), single, x, torch.zeros_like(y), ib.Linf(0.1))
    maps = Model(nn.Conv2d(1, 3, 1), outputs="logits")
    with pytest.raises(ModelError, match="two or more classes"):
        prove(Crown(), maps, x, torch.zeros_like(y), ib.Linf(0.1))
    nothing = prove(Crown(), model, x[:0], y[:0], ib.Linf(0.1), graph=graph)
    assert len(nothing) == 0


# -------------------------------------------------------------------------------------------------------------- devices
@pytest.mark.parametrize("set_", [ib.Linf(0.02), ib.L2(0.2), ib.L1(0.5), ib.L0(1)], ids=str)
@pytest.mark.parametrize("method", [Crown(), Crown(intermediate="ibp"), AlphaCrown(steps=2)], ids=str)
def test_passes_make_nothing_on_another_device(method: Any, set_: Any) -> None:
    """What says no device is made on the default one, here on one that has no numbers: it could not go unseen."""
    _, graph, x, y = sample()
    region = set_.at(x[:4], (0.0, 1.0))
    with torch.no_grad():
        plain = method.margins(graph, region, y[:4], torch.float32)
        with torch.device("meta"):
            found = method.margins(graph, region, y[:4], torch.float32)
    torch.testing.assert_close(found.least, plain.least)


def test_the_tolerance_is_of_logits_as_linear_bounds_see_them() -> None:
    """Of a deep net intervals allow logits of any size, and a share of that would be more than any margin."""
    torch.manual_seed(0)
    hidden = [layer for _ in range(12) for layer in (nn.Linear(24, 24), nn.ReLU())]
    net = nn.Sequential(*hidden, nn.Linear(24, 4))
    for layer in net[::2]:
        nn.init.kaiming_normal_(layer.weight)
    x = torch.rand(6, 24)
    model, y = Model(net, outputs="logits"), net(x).argmax(1)
    graph, region = trace(model.module, x[:1]), ib.Linf(1e-3).at(x, (0.0, 1.0))
    with torch.no_grad():
        loose, found = (m.margins(graph, region, y, torch.float32) for m in (Ibp(), Crown()))
    sure = found.least.amin(1) > 0.01
    assert bool(sure.any())
    assert bool((loose.scale > 20 * found.scale)[sure].all())
    assert bool((found.scale >= net(x).abs().amax(1) - 1e-4).all())
    assert bool(prove(Crown(), model, x, y, ib.Linf(1e-3), graph=graph, radii=False).certified[sure].all())


@pytest.mark.parametrize("method", ["ibp", "crown", "alpha-crown", "milp"])
def test_only_some_classes_are_asked_about(method: str) -> None:
    """What is proved of one class at a time is proved of all of them together."""
    torch.manual_seed(4)
    net, x = nn.Sequential(nn.Linear(5, 9), nn.ReLU(), nn.Linear(9, 3)).eval(), torch.rand(7, 5)
    with torch.no_grad():  # so that not all have one label
        net[0].bias.copy_(-net[0].weight.sum(1) / 2)
        net[2].bias.zero_()
    y = net(x).argmax(1)
    model, chosen = Model(net), find(catalogue(), "certify", method).make()
    model.settle(x)
    graph = trace(model.module, x[:1])

    def proved(rows: Tensor, against: Any = None) -> Certificates:
        return prove(chosen, model, x[rows], y[rows], ib.Linf(0.07), radii=False, graph=graph, against=against)

    whole, margins = proved(torch.arange(7)), []
    for other in range(3):
        mine = (y != other).nonzero()[:, 0]
        assert len(mine)
        proof = proved(mine, other)
        margins.append(torch.full((7,), torch.inf, dtype=torch.float64).index_copy(0, mine, proof.margin))
    table = torch.zeros(len(mine), 3, dtype=torch.bool)
    table[:, other] = True
    assert torch.equal(proved(mine, table).margin, proof.margin)
    together = torch.stack(margins).amin(0)
    assert bool((together >= whole.margin - 1e-5).all())  # those far from proved are left in float32
    assert bool((together > 0)[whole.certified].all())
    if method != "alpha-crown":  # whose slopes are climbed for all of them together
        near = together > -1e-3
        torch.testing.assert_close(together[near], whole.margin[near], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("against", [7, torch.tensor([0]), torch.zeros(2, 3, dtype=torch.bool), 1.5, True])
def test_classes_that_make_no_sense_are_refused(against: Any) -> None:
    net = nn.Linear(4, 3).eval()
    x = torch.rand(2, 4)
    with pytest.raises(InputError, match="against"):
        ib.certify(net, x, net(x).argmax(1), threat="linf:0.1", method="crown", against=against)
