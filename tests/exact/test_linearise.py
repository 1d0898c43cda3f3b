"""DeepFool and its kin on models whose smallest change is known; what they ask, what they leave out, and where they end."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from exact.test_fab import Flat, Linear, attack_on, inputs
from exact.test_hyperplane import smallest
from exact.test_linear import MODELS, Two, problem
from ironbound.core.errors import CompositionError, UsageError
from ironbound.core.protocols import Ask, Budget, Can, Want
from ironbound.goals import Targeted, TopK
from ironbound.models.model import Model
from ironbound.recipes import deepfool, sparsefool, superdeepfool, trust_region
from ironbound.searches.linearise import DeepFool, SuperDeepFool
from ironbound.searches.sparsefool import SparseFool
from ironbound.searches.trust_region import TrustRegion
from ironbound.sets import L0, L1, L2, Linf
from parity.hearing import Overheard
from probes.cases import N, digits, net_of

NORMS = pytest.mark.parametrize("norm", [Linf, L2, L1])
DUAL = {"linf": 1, "l2": 2, "l1": torch.inf}
WALKS = [deepfool, superdeepfool, trust_region]
SURE = 3e-4
"""Of the largest logit: the judge wants 1e-4, the searches aim at half as much again."""


PAIRS = pytest.mark.parametrize(
    ("build", "norm"),
    [(build, norm) for build in WALKS for norm in (Linf, L2, L1) if norm.norm in build().search.norms],
)
"""Each search with the norms it knows."""


def middle(n: int, d: int, seed: int = 1) -> Tensor:
    """Inputs far from the ends of [0, 1]."""
    return 0.4 + 0.2 * torch.rand(n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


# ------------------------------------------------------------------------------------------------- closed forms
@MODELS
@PAIRS
def test_two_classes_are_told_apart_at_the_distance_also_in_the_box(kind: type[Two], norm: Any, build: Any) -> None:
    """Clipped steps along one normal add up to the nearest point within the box."""
    for seed in range(3) if kind is Two else [3]:  # how one logit is read is no matter of which problem it is
        model, x, y, w, b = problem(kind, seed)
        result = build().replace(set=norm())(model, x, y)
        for i in range(len(x)):
            best = smallest(norm.norm, x[i], w, -float(x[i] @ w + b), 0.0, 1.0)
            assert bool(result.success[i]) == (best < float("inf"))
            if result.success[i]:
                assert best * (1 - 1e-9) <= float(result.size[i]) <= 1.025 * best


@NORMS
@pytest.mark.parametrize("classes", [2, 3, 10])
def test_deepfool_ends_after_one_step_on_a_linear_model(norm: Any, classes: int) -> None:
    """The step is to the nearest plane, exactly; what is beyond it is the overshoot, and what the judge wants."""
    net, x = Linear(classes, 14), middle(12, 14)
    z, w = net(x).detach(), net.w.detach()
    y = z.argmax(1)
    result = deepfool().replace(set=norm())(Model(net, range=None, outputs="logits"), x, y)
    assert result.success.all()
    assert result.forward.tolist() == [3] * 12  # x, x with its gradients, and a step away
    assert bool((result.backward >= classes - 1).all())
    for i in range(len(x)):
        others = [k for k in range(classes) if k != y[i]]
        gaps = torch.stack([z[i, y[i]] - z[i, k] for k in others])
        steep = torch.stack([torch.linalg.vector_norm(w[:, k] - w[:, y[i]], ord=DUAL[norm.norm]) for k in others])
        best, sure = (gaps / steep).min(), ((gaps + 1.5e-4 * float(z[i].abs().max()) * 1.01) / steep).min()
        assert 1.02 * float(best) <= float(result.size[i]) * (1 + 1e-9) <= 1.02 * float(sure) * (1 + 2e-9)


@PAIRS
@pytest.mark.parametrize("classes", [3, 10])
def test_the_nearest_of_many_classes_is_found(norm: Any, build: Any, classes: int) -> None:
    """Mostly: they choose the plane that would be nearest if there were no box."""
    net, x = Linear(classes, 14), inputs(5, 14)
    z, w = net(x).detach(), net.w.detach()
    y, far = z.argmax(1), 0
    result = build().replace(set=norm())(Model(net), x, y)
    for i in range(len(x)):
        planes = [(w[:, k] - w[:, y[i]], float(z[i, y[i]] - z[i, k])) for k in range(classes) if k != y[i]]
        sure = SURE * float(z[i].abs().max())
        best = min(smallest(norm.norm, x[i], normal, gap, 0.0, 1.0) for normal, gap in planes)
        worst = min(smallest(norm.norm, x[i], normal, gap + sure, 0.0, 1.0) for normal, gap in planes)
        if result.success[i]:
            assert float(result.size[i]) >= best * (1 - 1e-9)
        far += not result.success[i] or float(result.size[i]) > 1.025 * worst
    assert far <= 1


@pytest.mark.parametrize("seed", range(4))
def test_sparsefool_changes_the_fewest_values_of_a_linear_model(seed: int) -> None:
    """All values have the same way to their edges, so that the steepest are the fewest."""
    net, x = Linear(4, 30, seed), torch.full((1, 30), 0.5, dtype=torch.float64)
    z, w = net(x).detach()[0], net.w.detach()
    net.b.data[0] += z.max() - z[0] + 5
    z = net(x).detach()[0]
    assert int(z.argmax()) == 0
    result = sparsefool(ahead=1.0).replace(set=L0(of="coordinates"))(Model(net), x, torch.tensor([0]))
    gains = [0.5 * (w[:, k] - w[:, 0]).abs().sort(descending=True).values for k in (1, 2, 3)]
    fewest = min(int((gains[k - 1].cumsum(0) < z[0] - z[k]).sum()) + 1 for k in (1, 2, 3))
    assert fewest > 2
    assert result.success.all()
    assert fewest <= int(result.size) <= fewest + 1


@pytest.mark.parametrize("classes", [3, 10])
def test_sparsefool_is_exact_in_l1_on_a_linear_model(classes: int) -> None:
    """Up to the choice of the class, which is DeepFool's, in L2: never below the nearest, mostly at it."""
    net, x = Linear(classes, 14), inputs(8, 14)
    z, w = net(x).detach(), net.w.detach()
    y = z.argmax(1)
    result = sparsefool(ahead=1.0).replace(set=L1())(Model(net), x, y)
    best = torch.tensor(
        [
            sorted(
                smallest("l1", x[i], w[:, k] - w[:, y[i]], float(z[i, y[i]] - z[i, k]), 0.0, 1.0)
                for k in range(classes)
                if k != y[i]
            )
            for i in range(len(x))
        ],
        dtype=torch.float64,
    )
    assert bool((result.size[result.success] >= best[result.success, 0] * (1 - 1e-9)).all())
    near = (result.size[:, None] / best - 1).abs() < 0.06  # the overshoot twice, and what the judge wants
    assert int((near.any(1) & result.success).sum()) >= len(x) - 2


# ------------------------------------------------------------------------------------------------- what is asked
class Watch:
    """A search whose asks are kept."""

    def __init__(self, search: Any) -> None:
        self.search, self.asks = search, []

    @property
    def needs(self) -> Can:
        return self.search.needs

    def run(self, task: Any) -> Any:
        asks, answer = self.search.run(task), None
        while True:
            try:
                ask: Ask = asks.send(answer)
            except StopIteration:
                return
            self.asks.append(ask)
            answer = yield ask


def test_differences_of_outputs_are_a_pass_each() -> None:
    """`Ask.less` takes one output's gradient off: k differences in k passes, and the numbers of k + 1 gradients."""

    heard: list[Any] = []

    class Both:
        needs = Can.GRADIENT

        def run(self, task: Any) -> Any:
            p, jac = task.region.identity(), torch.tensor([[0, 2, 5]]).expand(task.n, 3)
            heard.append((yield Ask(p, jac=jac, less=task.y)))
            heard.append((yield Ask(p, jac=jac)))
            heard.append((yield Ask(p, jac=task.y[:, None])))

    x, y = digits()[0][:6].double(), digits()[1][:6]
    result = attack_on(Both(), L2())(Model(net_of(torch.float64)), x, y)
    less, each, own = (answer.jac for answer in heard)
    torch.testing.assert_close(less, each - own, rtol=0, atol=1e-12)
    assert result.backward.tolist() == [7] * 6


def test_of_a_thousand_classes_ten_are_linearised() -> None:
    net, x = Linear(1000, 30), middle(3, 30)
    y = net(x).argmax(1)
    watch = Watch(DeepFool())
    result = attack_on(watch, L2())(Model(net, range=None, outputs="logits"), x, y)
    assert result.success.all()
    assert next(ask.jac.shape[1] for ask in watch.asks if ask.jac is not None) == 9
    likely = net(x).topk(10).indices[:, 1:]
    assert torch.equal(watch.asks[1].jac.sort(1).values, likely.sort(1).values)


def test_far_planes_are_left_out_and_nothing_changes() -> None:
    """On a net, as on linear models: the same steps, at fewer passes."""
    net, x, y = net_of(torch.float64), digits()[0][:N].double(), digits()[1][:N]
    for norm in (Linf, L2):
        every = attack_on(DeepFool(reach=math.inf), norm())(Model(net), x, y)
        near = attack_on(DeepFool(), norm())(Model(net), x, y)
        assert every.success.all()
        torch.testing.assert_close(near.points, every.points, rtol=0, atol=1e-12)
        assert int(near.backward.sum()) < 0.8 * int(every.backward.sum())


def test_gradients_of_many_classes_come_some_problems_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    net, x, y = net_of(torch.float64), digits()[0][:7].double(), digits()[1][:7]
    for search in (DeepFool(4), SuperDeepFool(2, DeepFool(4)), TrustRegion(6)):
        whole = attack_on(search, L2())(Model(net), x, y)
        with monkeypatch.context() as patch:
            patch.setattr("ironbound.searches.linearise.MOST", 2 * 9 * 64)
            parts = attack_on(search, L2())(Model(net), x, y)
        assert torch.equal(whole.points, parts.points)
        assert torch.equal(whole.backward, parts.backward)


def test_who_has_arrived_is_asked_no_more() -> None:
    net, x, y = net_of(torch.float64), digits()[0][:N].double(), digits()[1][:N]
    result = deepfool().replace(set=L2())(Model(net), x, y)
    alone = [int(deepfool().replace(set=L2())(Model(net), x[i : i + 1], y[i : i + 1]).forward) for i in range(N)]
    assert result.forward.tolist() == alone
    assert len(set(alone)) > 1
    wrong = deepfool().replace(set=L2())(Model(net), x, (net.eval()(x).argmax(1) + 1) % 10)
    assert wrong.forward.tolist() == [1] * N
    assert int(wrong.backward.sum()) == 0


# ------------------------------------------------------------------------------------------------- where they end
@pytest.mark.parametrize("build", [*WALKS, sparsefool])
def test_results_are_beyond_what_the_judge_wants_and_a_failure_is_the_input(build: Any) -> None:
    net, x, y = net_of(torch.float64), digits()[0][:N].double(), digits()[1][:N]
    ball = L1 if build is sparsefool else L2
    found = build().replace(set=ball())(Model(net), x, y)
    assert found.success.all()
    out = net.eval()(found.adversarial)
    margin = out.scatter(1, y[:, None], -math.inf).amax(1) - out.gather(1, y[:, None])[:, 0]
    assert bool((margin >= 1e-4 * out.abs().amax(1) * (1 - 1e-9)).all())
    right = found.size > 0
    none = build().replace(set=ball(float(found.size[right].min()) / 2))(Model(net), x, y)
    assert torch.equal(none.success, ~right)
    assert torch.equal(none.adversarial, x)


def test_superdeepfool_comes_nearer_than_deepfool() -> None:
    net, x, y = net_of(torch.float64), digits()[0][:N].double(), digits()[1][:N]
    for norm in (Linf, L2):
        far = deepfool().replace(set=norm())(Model(net), x, y).size
        near = superdeepfool().replace(set=norm())(Model(net), x, y).size
        bare = attack_on(SuperDeepFool(looks=0), norm())(Model(net), x, y).size
        assert bool((near <= far).all())
        assert bool((near <= bare).all())
        assert float(near.mean()) < 0.99 * float(far.mean())


def test_the_radius_of_trust_grows_where_the_model_is_linear() -> None:
    """From a share of the way, by `growth` at each step: so many steps that their sum is the way."""
    model, x, y, w, b = problem()
    free, watch = Model(model.net, range=None, outputs="logits"), Overheard(TrustRegion(radius=0.1, growth=2.0))
    result = attack_on(watch, L2())(free, x, y)
    assert result.success.all()
    far = (x @ w + b).abs() / w.norm()
    first, second = ((watch.points[k] - x).norm(dim=1) / far for k in (2, 3))
    torch.testing.assert_close(first, torch.full_like(first, 0.102), rtol=1e-2, atol=0)
    torch.testing.assert_close(second, torch.full_like(second, 0.306), rtol=1e-2, atol=0)
    assert len(watch.points) == 2 + 4  # 0.1 + 0.2 + 0.4 + the rest


def test_more_than_one_class_is_overtaken_where_the_goal_wants_it() -> None:
    net, x = Linear(6, 14), middle(10, 14)
    y = net(x).argmax(1)
    once = deepfool().replace(set=L2())(Model(net), x, y)
    thrice = deepfool().replace(set=L2(), goal=TopK(3))(Model(net), x, y)
    assert thrice.success.all()
    assert bool((thrice.size > once.size).all())
    assert bool((net(thrice.adversarial).topk(3).indices != y[:, None]).all())


# ------------------------------------------------------------------------------------------------- where nothing pulls
class Broken(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return torch.zeros_like(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0] * torch.nan


@pytest.mark.parametrize("bend", [lambda x: 0 * x, Broken.apply], ids=["zero", "nan"])
@pytest.mark.parametrize("build", [*WALKS, sparsefool])
def test_without_a_gradient_it_stops_at_once(build: Any, bend: Any) -> None:
    x = inputs(4, 6)
    ball = L0(of="coordinates") if build is sparsefool else L2()
    result = build().replace(set=ball)(Model(Flat(bend)), x, torch.zeros(4, dtype=torch.int64))
    assert not result.success.any()
    assert torch.equal(result.adversarial, x)
    assert result.forward.tolist() == [2] * 4


@pytest.mark.parametrize("build", [*WALKS, sparsefool])
def test_budgets_end_them(build: Any) -> None:
    net, x, y = net_of(torch.float64), digits()[0][:N].double(), digits()[1][:N]
    ball = L1() if build is sparsefool else L2()
    for cap in (0, 1, 3, 12):
        result = build().replace(set=ball, budget=Budget(backward=cap))(Model(net), x, y)
        assert int(result.backward.max()) <= cap
    first = build().replace(set=ball, want=Want.FIRST)(Model(net), x, y)
    assert first.success.all()


def test_what_they_cannot_do_is_refused() -> None:
    net, x, y = nn.Flatten(), torch.rand(2, 4), torch.tensor([0, 1])
    for build, ball in ((deepfool, L0(3)), (trust_region, L1(3.0)), (sparsefool, L2(1.0))):
        with pytest.raises(CompositionError, match="ball"):
            build().replace(set=ball)(Model(net), x, y)
        with pytest.raises(CompositionError, match="leads away from the label"):
            build().replace(set=ball, goal=Targeted(3))
    wrong: list[Any] = [
        lambda: DeepFool(0), lambda: DeepFool(classes=1), lambda: DeepFool(overshoot=-1.0), lambda: DeepFool(reach=-1.0),
        lambda: SuperDeepFool(0), lambda: SuperDeepFool(looks=-1), lambda: TrustRegion(0), lambda: TrustRegion(radius=0.0),
        lambda: TrustRegion(badly=0.95), lambda: SparseFool(0), lambda: SparseFool(ahead=0.5),
    ]  # fmt: skip
    for make in wrong:
        with pytest.raises(UsageError):
            make()
