"""What people hand over as models and data: each gets the right answer or one clear error."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ironbound.core.errors import InputError, IronboundError, ModelError, UsageError
from ironbound.core.protocols import WHITE_BOX, Can
from ironbound.core.rng import Rng
from ironbound.goals import Untargeted
from ironbound.models.model import Model
from ironbound.models.outputs import LogitsOf, kind_of, probes
from ironbound.recipes import fgsm, hopskipjump, pgd
from ironbound.sets import L2, Linf
from probes.cases import digits, net_of, trained


def linear(classes: int, inputs: int = 12) -> nn.Linear:
    layer = nn.utils.skip_init(nn.Linear, inputs, classes)
    with torch.no_grad():
        for weight in layer.parameters():
            weight.normal_(0, 3, generator=torch.Generator().manual_seed(classes))
    return layer


class Then(nn.Module):
    """A linear layer and a function of its answer."""

    def __init__(self, classes: int, function: Any) -> None:
        super().__init__()
        self.layer, self.function = linear(classes), function

    def forward(self, x: Tensor) -> Any:
        return self.function(self.layer(x.flatten(1)))


def answers(raw: Tensor, kind: str) -> Tensor:
    """The classes that a net's own answers mean."""
    if kind == "decisions":
        return raw
    if kind in ("logit", "probability"):
        return (raw.flatten() > (0.5 if kind == "probability" else 0.0)).long()
    return raw.argmax(1)


def inputs(n: int = 9) -> Tensor:
    return torch.rand(n, 3, 2, 2, generator=torch.Generator().manual_seed(0))


# ------------------------------------------------------------------------------------------------- kinds of output
OUTPUTS = [
    ("two classes", Then(2, lambda z: z), "logits", 2),
    ("three classes", Then(3, lambda z: z), "logits", 3),
    ("a thousand classes", Then(1000, lambda z: z), "logits", 1000),
    ("softmax inside", Then(3, lambda z: z.softmax(1)), "probabilities", 3),
    ("two probabilities", Then(2, lambda z: z.softmax(1)), "probabilities", 2),
    ("log-softmax inside", Then(3, lambda z: z.log_softmax(1)), "logits", 3),
    ("non-negative logits", Then(3, lambda z: z.relu()), "logits", 3),
    ("one logit", Then(1, lambda z: z[:, 0]), "logit", 2),
    ("one logit in a column", Then(1, lambda z: z), "logit", 2),
    ("a sigmoid", Then(1, lambda z: z.sigmoid()[:, 0]), "probability", 2),
    ("a sigmoid in a column", Then(1, lambda z: z.sigmoid()), "probability", 2),
    ("a sigmoid a class", Then(3, lambda z: z.sigmoid()), "logits", 3),
    ("decisions", Then(4, lambda z: z.argmax(1)), "decisions", None),
]


@pytest.mark.parametrize(("net", "kind", "classes"), [case[1:] for case in OUTPUTS], ids=[case[0] for case in OUTPUTS])
def test_the_kind_of_output_is_found_out(net: nn.Module, kind: str, classes: int | None) -> None:
    model, x = Model(net), inputs()
    x, _ = model.admit(x)
    assert model.outputs == kind
    assert model.classes == classes
    assert model.gives == (Can.DECISIONS if kind == "decisions" else WHITE_BOX)
    with torch.no_grad(), model.opened() as call:
        out = call(x, Rng.of(0, torch.arange(len(x))))
        raw = net(x)
    assert torch.equal(out if kind == "decisions" else out.argmax(1), answers(raw, kind))


@pytest.mark.parametrize(("net", "kind", "classes"), [case[1:] for case in OUTPUTS], ids=[case[0] for case in OUTPUTS])
def test_every_kind_of_output_is_attacked(net: nn.Module, kind: str, classes: int | None) -> None:
    model, x = Model(net), inputs()
    x, _ = model.admit(x)
    with torch.no_grad():
        y = answers(net(x), kind)
    attack = hopskipjump(300, 3).replace(set=L2()) if kind == "decisions" else pgd(10).replace(set=Linf(0.4))
    result = attack(model, x, y)
    assert int(result.success.sum()) >= 5
    assert model.classes == classes
    with torch.no_grad():
        assert bool((answers(net(result.adversarial), kind) != y)[result.success].all())


def test_probabilities_become_logits_that_compare_alike() -> None:
    z = torch.tensor([[2.0, -1.0, 0.5], [60.0, -60.0, 0.0]])
    log = LogitsOf("probabilities")(z.softmax(1))
    assert torch.allclose(log[0], z[0].log_softmax(0))
    assert bool(torch.isfinite(log).all())
    margin, y = Untargeted().margin, torch.tensor([1])
    assert torch.allclose(margin(log[:1], y), margin(z[:1], y))
    two = LogitsOf("probability")(torch.tensor([0.25, 1.0, 0.0]))
    assert torch.allclose(two[0], torch.tensor([0.75, 0.25]).log())
    assert bool(torch.isfinite(two).all())
    assert LogitsOf("logit")(torch.tensor([[3.0], [-1.0]])).tolist() == [[0, 3], [0, -1]]


def test_probabilities_have_gradients_where_they_are_not_zero() -> None:
    model, x = Model(Then(3, lambda z: z.softmax(1))), inputs()
    y = model.net(x).argmax(1)
    plain = Model(Then(3, lambda z: z))
    attack = fgsm().replace(set=Linf(0.1))
    assert torch.allclose(attack(model, x, y).adversarial, attack(plain, x, y).adversarial)


def test_the_kind_may_be_said_and_is_then_not_guessed() -> None:
    net = Then(3, lambda z: z.softmax(1))
    model = Model(net, outputs="logits")
    model.admit(inputs())
    assert model.outputs == "logits"


@pytest.mark.parametrize(
    ("out", "said"),
    [
        ({"logits": torch.zeros(3, 2)}, "dict"), ((torch.zeros(3, 2),), "tuple"), (torch.zeros(3, 2, 4), r"shape \(3, 2, 4\)"),
        (None, "NoneType"),
    ],
)  # fmt: skip
def test_what_is_no_answer_is_explained(out: Any, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        kind_of(out)


def test_probe_inputs_are_the_same_everywhere_and_in_the_box() -> None:
    x = probes(torch.zeros(4, 3, 5), (-1.0, 2.0))
    assert x.shape == (15, 3, 5)
    assert -1 <= float(x.min()) < -0.8
    assert 1.8 < float(x.max()) <= 2
    assert torch.equal(x, probes(torch.ones(1, 3, 5), (-1.0, 2.0)))
    assert len(x.flatten().unique()) > 200


# ------------------------------------------------------------------------------------------------- the module
def test_a_net_in_train_mode_is_run_in_eval_mode_and_left_in_train_mode() -> None:
    net = net_of(torch.float32).train()
    net[1].eval()
    x, y = digits()
    result = pgd(5).replace(set=Linf(0.08))(Model(net), x[:16], y[:16])
    again = pgd(5).replace(set=Linf(0.08))(Model(net.eval()), x[:16], y[:16])
    assert torch.equal(result.adversarial, again.adversarial)
    net.train()
    net[1].eval()
    Model(net).admit(x[:4])
    assert [part.training for part in net.modules()] == [True, True, False, True, True, True, True]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_nan_logits_everywhere_are_an_error(bad: float) -> None:
    with pytest.raises(ModelError, match="NaN or infinity"):
        Model(Then(3, lambda z: z * bad)).admit(inputs())


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (torch.rand(4, 1, 6, 6), "shape"), (torch.rand(4, 3, 8, 8), "channels"), (torch.rand(8, 8), "batch dimension"),
        (torch.rand(4, 64), "fails on inputs of shape"),
    ],
)  # fmt: skip
def test_a_wrong_shape_is_explained(x: Tensor, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        Model(trained()).admit(x)


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: Model(lambda x: x), "torch.nn.Module; got function"),
        (lambda: Model(trained(), range=(1, 0)), "range is"),
        (lambda: Model(trained(), range=(0.5, 0.5)), "range is"),
        (lambda: Model(trained(), range=(float("nan"), 1)), "range is"),
        (lambda: Model(trained(), outputs="logit probabilities"), "outputs is one of auto, logits"),
        (lambda: Model(trained(), std=0.0), "std must be positive"),
        (lambda: Model(trained(), mean=(0.1, 0.2, 0.3)).admit(torch.rand(2, 1, 8, 8)), "3 channels"),
    ],
)
def test_a_wrong_model_is_explained(build: Any, said: str) -> None:
    with pytest.raises(IronboundError, match=said):
        build()


def test_normalisation_is_part_of_the_model() -> None:
    net, x = Then(3, lambda z: z), inputs()
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)
    model = Model(net, mean=mean, std=std)
    with torch.no_grad(), model.opened() as call:
        out = call(model.admit(x)[0], Rng.of(0, torch.arange(len(x))))
        assert torch.allclose(
            out, net((x - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)), atol=1e-6
        )
    y = out.argmax(1)
    result = pgd(5).replace(set=Linf(0.1))(model, x, y)
    assert float((result.adversarial - x).abs().max()) <= 0.1 + 1e-6


def test_a_range_is_that_of_the_models_own_numbers() -> None:
    net = Then(3, lambda z: z)
    x = (inputs() * 8 - 4).clamp(-1.7, 2.3)
    assert float(x.min()) < -1.7  # as float64 sees float32's -1.7
    model = Model(net, range=(-1.7, 2.3))
    y = net(x).argmax(1)
    result = pgd(5).replace(set=Linf(0.3))(model, x, y)
    assert float(result.adversarial.min()) >= model.box[0]
    assert float(result.adversarial.max()) <= model.box[1]
    assert Model(net.double(), range=(-1.7, 2.3)).box == (-1.7, 2.3)


# ------------------------------------------------------------------------------------------------- inputs
def test_integer_images_belong_to_their_range() -> None:
    x = (inputs() * 255).round().to(torch.uint8)
    net = Then(3, lambda z: z)
    model = Model(net, range=(0, 255))
    admitted, _ = model.admit(x)
    assert admitted.dtype == torch.float32
    assert torch.equal(admitted, x.float())
    with pytest.raises(InputError, match=r"divide them by 255, or say .*range=\(0, 255\)"):
        Model(net).admit(x)
    with pytest.raises(InputError, match="uint8"):
        Model(net).admit((x > 100).to(torch.uint8))
    with pytest.raises(InputError, match="real numbers"):
        Model(net).admit(x > 100)


@pytest.mark.parametrize(
    "as_given", [lambda x: x.numpy(), lambda x: x.double(), lambda x: x.half(), lambda x: x.numpy().astype("f8")]
)
def test_other_floats_and_arrays_are_taken(as_given: Any) -> None:
    x, _ = Model(Then(3, lambda z: z)).admit(as_given(inputs()))
    assert x.dtype == torch.float32
    assert torch.allclose(x, inputs(), atol=1e-3)


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (torch.zeros(0, 3, 2, 2), "no inputs"), ([], "no inputs"), ({}, "no inputs"),
        (torch.full((4, 3, 2, 2), float("nan")), r"4 of 4 inputs hold NaN"),
        (torch.full((4, 3, 2, 2), float("inf")), "NaN or infinity"),
        (torch.full((4, 3, 2, 2), 1.5), r"\[0, 1\]|\[0.0, 1.0\]"), (torch.full((4, 3, 2, 2), -0.5), "lie in"),
        ("a text", "got str"), (3, "got int"), (None, "got NoneType"), (np.array([object(), object()]), "Python objects"),
        (torch.zeros(2, 3, dtype=torch.complex64), "real numbers"),
    ],
)  # fmt: skip
def test_wrong_inputs_are_explained(x: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        Model(Then(3, lambda z: z)).admit(x)


NORMALISATIONS = {
    "ImageNet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "CIFAR-10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "a user's own": ((0.31, 0.52, 0.77), (0.11, 0.4, 0.33)),
    "to [-1, 1]": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}


@pytest.mark.parametrize("name", NORMALISATIONS)
def test_data_normalised_outside_get_the_line_that_mends_it(name: str) -> None:
    mean, std = NORMALISATIONS[name]
    x = torch.rand(64, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    x[0], x[1] = 0, 1  # pictures use the whole range
    channel = lambda numbers: torch.tensor(numbers).view(-1, 1, 1)
    normalised = (x - channel(mean)) / channel(std)
    with pytest.raises(InputError) as caught:
        Model(nn.Flatten()).admit(normalised)
    said = str(caught.value)
    assert "ironbound.Model(net, range=(0, 1), mean=" in said
    found = said.split("mean=", 1)[1]
    within = lambda mark: found.split(mark, 1)[1].split(")", 1)[0].split(",")
    numbers = [tuple(float(part) for part in within(mark) if part.strip()) for mark in ("(", "std=(")]
    undone = normalised * channel(numbers[1]) + channel(numbers[0])
    assert torch.allclose(undone, x, atol=0.02)
    mended = Model(nn.Flatten(), mean=numbers[0], std=numbers[1])
    admitted, _ = mended.admit(x)
    with torch.no_grad():
        assert torch.allclose(mended.module.raw(admitted), normalised.flatten(1), atol=0.1)


def test_data_of_another_scale_get_a_hint() -> None:
    with pytest.raises(InputError, match=r"range=\(0, 255\)"):
        Model(Then(3, lambda z: z)).admit(inputs() * 255)
    with pytest.raises(InputError, match=r"range=\(-3, 2\.9"):
        Model(Then(3, lambda z: z), range=(-1, 1)).admit(torch.tensor([[-3.0, 2.9]]).repeat(2, 6).view(2, 3, 2, 2))


# ------------------------------------------------------------------------------------------------- labels
@pytest.mark.parametrize(
    "y",
    [
        [0, 1, 2, 0], (0, 1, 2, 0), np.array([0, 1, 2, 0]), torch.tensor([0, 1, 2, 0], dtype=torch.int32),
        torch.tensor([0, 1, 2, 0], dtype=torch.uint8), torch.tensor([0.0, 1.0, 2.0, 0.0]), torch.tensor([[0], [1], [2], [0]]),
        np.array([0, 1, 2, 0], dtype=np.uint16), np.array([0, 1, 2, 0], dtype=np.int8),
    ],
    ids=["list", "tuple", "array", "int32", "uint8", "whole floats", "column", "uint16", "int8"],
)  # fmt: skip
def test_labels_of_many_kinds_are_taken(y: Any) -> None:
    _, labels = Model(Then(3, lambda z: z)).admit(inputs(4), y)
    assert labels.dtype == torch.int64
    assert labels.tolist() == [0, 1, 2, 0]


@pytest.mark.parametrize(
    ("y", "said"),
    [
        ([0, 1, 3, 0], r"label 3 in row 2; classes are 0 to 2 \(the model has 3 outputs\)\.$"),
        ([1, 3, 2, 1], r"label 3 in row 1; .* begin at 1: subtract 1"), ([0, -1, 2, 0], "label -1 in row 1"),
        ([0, 1, 2], r"shape \(4,\).*got \(3,\)"), (np.eye(3)[[0, 1, 2, 0]], r"argmax\(1\)"),
        ([0.5, 1, 2, 0], "whole numbers.*0.5"), ([float("nan"), 1, 2, 0], "whole numbers"),
        (["a", "b", "a", "b"], "labels are integers"),
        (torch.tensor(3), r"got \(\)"), ([float("inf"), 0, 1, 2], "label|whole"), ([[0, 1], [2]], "labels are integers|shape"),
    ],
)  # fmt: skip
def test_wrong_labels_are_explained(y: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        Model(Then(3, lambda z: z)).admit(inputs(4), y)


def test_labels_of_other_shapes_pass_where_they_are_trees() -> None:
    y = {"class": torch.tensor([0, 1]), "box": torch.zeros(2, 4)}
    _, labels = Model(Then(3, lambda z: z)).admit(inputs(2), y)
    assert labels.keys() == y.keys()


# ------------------------------------------------------------------------------------------------- random models
def test_keyed_modules_get_one_stream_a_row() -> None:
    class Keyed(nn.Module):
        def forward(self, x: Tensor, rng: Rng) -> Tensor:
            return x.flatten(1)[:, :3] + rng.normal((3,), x.dtype)

    model, x = Model(Keyed(), random=True), inputs(4)
    x, _ = model.admit(x)
    streams = Rng.of(0, torch.arange(4))
    with model.opened() as call:
        out = call(x, streams)
        assert torch.equal(call(x[2:3], streams.take(torch.tensor([2]))), out[2:3])
    assert not torch.equal(out, x.flatten(1)[:, :3])


# ------------------------------------------------------------------------------------------------- cheap passes
@pytest.mark.parametrize("layer", [nn.Linear(12, 3), nn.Conv1d(12, 3, 1)], ids=["linear", "convolution"])
def test_cheap_passes_run_weights_that_hooks_make(layer: nn.Module) -> None:
    """A spectral norm of the older kind multiplies its own weight by float32 buffers in a hook."""
    net = nn.Sequential(
        nn.Flatten(), nn.Unflatten(1, (12, 1)), nn.utils.spectral_norm(copy.deepcopy(layer)), nn.Flatten()
    )
    if isinstance(layer, nn.Linear):
        net[1] = nn.Identity()
    model, x = Model(net), inputs()
    model.settle(x)
    with model.opened() as exact, model.opened(cheap=True) as cheap:
        rng = Rng.of(0, torch.arange(len(x)))
        torch.testing.assert_close(cheap(x, rng), exact(x, rng), atol=0.05, rtol=0.05)


def test_representation_and_of() -> None:
    model = Model(trained(), name="mine")
    assert "mine" in repr(model)
    assert Model.of(model) is model
    assert Model.of(trained()).box == (0.0, 1.0)
    with pytest.raises(UsageError):
        Model.of("resnet")
