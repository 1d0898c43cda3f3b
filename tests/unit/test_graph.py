"""The traced graph: says what the module says, for any batch, leaves the module alone, refuses what it cannot bound."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ironbound.certification.graph import evaluate, trace
from ironbound.certification.interval import bounds
from ironbound.core.errors import InputError, ModelError, UnsupportedOperation, UsageError


class Of(nn.Module):
    """A module from a function and parts."""

    def __init__(self, function, *parts):
        super().__init__()
        self.function, self.parts = function, nn.ModuleList(parts)

    def forward(self, x):
        return self.function(self, x)


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.second, self.act, self.head = nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(inplace=True), nn.Linear(4, 3)
        self.register_buffer("mean", torch.tensor([0.4, 0.5]).view(2, 1, 1))
        self.register_buffer("std", torch.tensor([0.2, 0.3]).view(2, 1, 1))

    def forward(self, x):
        x = self.act(self.norm(self.first((x - self.mean) / self.std)))
        x = F.adaptive_avg_pool2d(F.relu(self.second(x) + x), 1)
        return self.head(F.dropout(torch.flatten(x, 1), training=self.training))


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(scope="module")
def residual():
    torch.manual_seed(0)
    module = Residual()
    module(draw(8, 2, 6, 6).float())  # running statistics of its own
    return module


@pytest.fixture(scope="module")
def graph(residual):
    return trace(residual, draw(1, 2, 6, 6).float())


@pytest.mark.parametrize("n", [1, 3, 17])
def test_graph_answers_what_the_module_answers(graph, residual, n):
    x = draw(n, 2, 6, 6).float()
    residual.eval()
    torch.testing.assert_close(evaluate(graph, x), residual(x))
    assert (graph.shape, graph.out_shape) == ((2, 6, 6), (3,))


def test_bounds_of_a_row_do_not_depend_on_the_batch(graph):
    x = draw(17, 2, 6, 6)
    whole = bounds(graph, x - 0.1, x + 0.1)
    for part in (slice(0, 1), slice(4, 7)):
        for some, all_ in zip(bounds(graph, x[part] - 0.1, x[part] + 0.1), whole, strict=True):
            torch.testing.assert_close(some, all_[part], rtol=0, atol=1e-12)


def test_one_row_and_a_squeezed_batch():
    module = Of(lambda s, x: s.parts[0](x.squeeze()), nn.Linear(4, 2))  # on one row the module itself would lose it
    x = draw(1, 4, 1)
    lower, _ = bounds(trace(module, torch.zeros(2, 4, 1)), x, x)
    torch.testing.assert_close(lower[0], module.double()(x))


def test_the_module_is_left_as_it_was():
    torch.manual_seed(0)
    module = Residual().train()
    module.norm.eval()
    module.first.weight.requires_grad_(False)
    module.head.weight.grad = torch.ones_like(module.head.weight)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    held = [(name, id(tensor)) for name, tensor in (*module.named_parameters(), *module.named_buffers())]
    graph = trace(module, torch.zeros(1, 2, 6, 6))
    bounds(graph, torch.zeros(2, 2, 6, 6), torch.ones(2, 2, 6, 6))
    assert [part.training for part in module.modules()] == [part is not module.norm for part in module.modules()]
    assert [p.requires_grad for p in module.parameters()] == [False] + [True] * (len(list(module.parameters())) - 1)
    assert bool((module.head.weight.grad == 1).all())
    assert module.head.bias.grad is None
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert held == [(name, id(tensor)) for name, tensor in (*module.named_parameters(), *module.named_buffers())]


def test_weights_are_read_anew_and_can_be_replaced():
    module = nn.Sequential(nn.Linear(3, 2))
    graph, x = trace(module, torch.zeros(1, 3)), draw(4, 3)
    with torch.no_grad():
        module[0].weight.mul_(3)
    torch.testing.assert_close(bounds(graph, x, x)[0], module.double()(x))
    module[0].bias = nn.Parameter(torch.full((2,), 7.0, dtype=torch.float64))
    torch.testing.assert_close(bounds(graph, x, x)[0], module(x))
    other = {"0.weight": torch.zeros(2, 3, dtype=torch.float64)}
    torch.testing.assert_close(bounds(graph, x, x, weights=other)[0], torch.full((4, 2), 7.0, dtype=torch.float64))
    with pytest.raises(UsageError, match="no parameter or buffer called 'weight'"):
        bounds(graph, x, x, weights={"weight": torch.zeros(2, 3)})


def test_a_fixed_graph_keeps_its_weights():
    module = nn.Linear(3, 2)
    fixed = trace(module, torch.zeros(1, 3)).fixed(torch.float64, torch.device("cpu"))
    expected = module.double()(draw(4, 3)).detach()
    with torch.no_grad():
        module.weight.zero_()
    torch.testing.assert_close(bounds(fixed, draw(4, 3), draw(4, 3))[0], expected)


REFUSED = {
    "hard shrink": (
        nn.Sequential(nn.Linear(4, 4), nn.Hardshrink()),
        r"no bounds are known for le\.Scalar at 1 \(Hardshrink\).*Supported: .*conv",
    ),
    "largest few": (
        nn.Sequential(nn.Linear(4, 4), Of(lambda s, x: x.topk(2).values)),
        r"topk\.default at 1 \(Of\)\. Replace.*audits",
    ),
    "Fourier transform": (Of(lambda s, x: torch.fft.rfft(x).abs()), "no bounds are known for _fft"),
    "complex numbers": (Of(lambda s, x: x.to(torch.complex64).abs()), "it makes complex numbers"),
    "batch behind the tokens": (Of(lambda s, x: s.parts[0](x[None]), nn.TransformerEncoderLayer(4, 2)), "batch"),
    "batch statistics": (
        nn.BatchNorm1d(4, track_running_stats=False),
        "no bounds are known for _native_batch_norm_legit",
    ),
    "dropout": (Of(lambda s, x: F.dropout(x, training=True)), "draws random numbers"),
    "coin": (Of(lambda s, x: x + torch.rand(4)), "draws random numbers"),
    "mean of the batch": (Of(lambda s, x: x - x.mean(0, keepdim=True)), "along dimension 0"),
    "softmax over the batch": (Of(lambda s, x: x.softmax(0)), "along dimension 0"),
    "transposed batch": (Of(lambda s, x: x.T), "moves dimension 0"),
    "reversed batch": (Of(lambda s, x: x.flip(0)), "along dimension 0"),
    "row against row": (Of(lambda s, x: (x[:, None] - x[None]).amax(1)), "dimension 0"),
    "fixed batch": (Of(lambda s, x: x.view(2, 4)), r"cannot be traced for a batch of any size.*len\(x\)"),
    "branch": (Of(lambda s, x: x if x.sum() > 0 else -x), "cannot be traced for a batch of any size"),
    "half": (Of(lambda s, x: x.half().float()), "rounding to torch.float16"),
    "softplus of no sign": (nn.Softplus(-0.5), "beta = -0.5 is not a number > 0"),
    "attention": (Of(lambda s, x: x @ (x[0, :, None] * x[0])), "bounds|dimension 0|batch"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_bounds_is_refused(name):
    module, match = REFUSED[name]
    with pytest.raises(UnsupportedOperation, match=match):
        trace(module, torch.zeros(1, 4))


def test_a_module_that_writes_to_its_buffers_is_refused():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x):
            self.calls += 1
            return x + self.calls

    module = Counting()
    with pytest.raises(UnsupportedOperation, match="writes to its buffer 'calls'"):
        trace(module, torch.zeros(1, 4))
    assert float(module.calls) == 0


def test_answers_other_than_one_tensor_are_refused():
    with pytest.raises(ModelError, match="answers 2 values"):
        trace(Of(lambda s, x: (x, x + 1)), torch.zeros(1, 4))
    with pytest.raises(ModelError, match="answers with dict"):
        trace(Of(lambda s, x: {"logits": x + 1}), torch.zeros(1, 4))
    with pytest.raises(UnsupportedOperation, match="computed from each input"):
        trace(Of(lambda s, x: torch.ones_like(x)), torch.zeros(1, 4))


def test_a_module_with_a_memory_is_refused():
    calls = []
    with pytest.raises(ModelError, match="answers differently when called again"):
        trace(Of(lambda s, x: calls.append(0) or x + len(calls)), torch.zeros(1, 4))


def test_wrong_inputs_are_refused():
    graph = trace(nn.Linear(3, 2), torch.zeros(1, 3))
    with pytest.raises(InputError, match=r"lo must be floats of shape \(n, 3\)"):
        bounds(graph, torch.zeros(2, 4), torch.zeros(2, 4))
    with pytest.raises(InputError, match="got 2 and 1 rows"):
        bounds(graph, torch.zeros(2, 3), torch.zeros(1, 3))
    with pytest.raises(InputError, match="example must be a batch of floats"):
        trace(nn.Linear(3, 2), torch.zeros(1, 3, dtype=torch.int64))
    with pytest.raises(UsageError, match='"batch" with clean='):
        bounds(graph, torch.zeros(1, 3), torch.zeros(1, 3), stats="batch")
