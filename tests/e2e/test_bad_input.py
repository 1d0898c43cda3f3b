"""What users get wrong, at the verbs themselves: the right answer, or one clear error before anything is written."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import ironbound as ib
from audit_samples import Wrap, digits, digits_net, drawn, labelled, mlp
from ironbound.core.errors import DataError, InputError, IronboundError, ModelError, UsageError
from ironbound.data import load

SHORT = ib.recipes.pgd(steps=5)


def both(net: Any, x: Any, y: Any, folder: Path, **options: Any) -> tuple[ib.Result, Any]:
    """The same problem given to `attack` and to `audit`."""
    chosen = {"threat": "linf:0.1", "method": SHORT, **options}
    return ib.attack(net, x, y, **chosen), ib.audit(net, (x, y), out=folder, **chosen)


def refused(error: type[IronboundError], said: str, net: Any, x: Any, y: Any, folder: Path, **options: Any) -> None:
    """Both verbs say the same thing at the start, and no folder is made."""
    chosen = {"threat": "linf:0.1", "method": SHORT, **options}
    for verb in (lambda: ib.attack(net, x, y, **chosen), lambda: ib.audit(net, (x, y), out=folder, **chosen)):
        with pytest.raises(error, match=said) as caught:
            verb()
        assert len(str(caught.value)) < 700
        assert not folder.exists()


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture(scope="module")
def x() -> Tensor:
    return digits(10).x


# --------------------------------------------------------------------------------------------- the right answer at once
def test_a_net_in_training_mode(out: Path, x: Tensor) -> None:
    class Net(nn.Sequential):
        pass

    net = Net(nn.BatchNorm2d(1), nn.Dropout(0.5), digits_net())
    y = labelled(net.eval(), x)
    calm = both(net, x, y, out)
    net.train()
    restless = both(net, x, y, out.with_name("other"))
    assert torch.equal(calm[0].adversarial, restless[0].adversarial)
    assert calm[1].verdicts == restless[1].verdicts
    assert all(part.training for part in (net, net[0], net[1]))
    assert int(net[0].num_batches_tracked) == 0


@pytest.mark.parametrize("classes", [2, 3])
def test_few_classes(out: Path, x: Tensor, classes: int) -> None:
    net = mlp(64, 16, classes)
    found, report = both(net, x, labelled(net, x), out, method="apgd", threat="linf:0.2")
    assert bool(found.success.any())
    assert report.verdicts == ["broken" if yes else "undecided" for yes in found.success.tolist()]


@pytest.mark.parametrize("shape", ["column", "vector"])
def test_one_logit(out: Path, x: Tensor, shape: str) -> None:
    shift = float(mlp(64, 1)(x).detach().median()) + 1e-3
    net = Wrap(mlp(64, 1), (lambda z: 50 * (z - shift)) if shape == "column" else (lambda z: 50 * (z[:, 0] - shift)))
    y = (net(x).reshape(-1) > 0).long()
    found, report = both(net, x, y, out, threat="linf:0.2")
    assert bool(found.success.any())
    assert report.clean_accuracy == 1
    assert report.facts["model"]["outputs"] == "logit"
    assert ((net(found.adversarial).reshape(-1) > 0).long() != y).tolist() == found.success.tolist()


def test_probabilities_are_attacked_by_their_logarithm_and_named(out: Path, x: Tensor) -> None:
    logits, y = digits_net(), labelled(digits_net(), x)
    found, report = both(nn.Sequential(digits_net(), nn.Softmax(1)), x, y, out)
    plain = ib.attack(logits, x, y, threat="linf:0.1", method=SHORT)
    assert found.success.tolist() == plain.success.tolist()
    assert report.facts["model"]["outputs"] == "probabilities"
    assert next(c for c in report.checks if c["number"] == 2)["result"] == "fail"


def test_labels_of_other_types(out: Path, x: Tensor) -> None:
    net = digits_net()
    y = labelled(net, x)
    expected = both(net, x, y, out)[1].verdicts
    kinds: list[Any] = [y.to(torch.uint8), y.float(), y[:, None], y.numpy().astype(np.int32), y.tolist()]
    for i, labels in enumerate(kinds):
        found, report = both(net, x, labels, out.with_name(f"run{i}"))
        assert report.verdicts == expected
        assert found.success.tolist() == [v == "broken" for v in expected]


def test_integers_in_their_own_range(out: Path, x: Tensor) -> None:
    net = ib.Model(Wrap(digits_net(), lambda z: z, lambda v: v / 255), range=(0, 255))
    whole = (x * 255).round().to(torch.uint8)
    y = labelled(digits_net(), whole.float() / 255)
    _, report = both(net, whole, y, out, threat="linf:25")
    assert report.clean_accuracy == 1
    assert "broken" in report.verdicts
    assert ib.verify(out, net, (whole, y)).holds


def test_a_net_that_answers_some_inputs_with_nan(out: Path, x: Tensor) -> None:
    net = Wrap(digits_net(), lambda z: torch.where(z.amax(1, keepdim=True) > 6, torch.nan, z))
    y = labelled(digits_net(), x)
    found, report = both(net, x, y, out)
    nan = net(x).isnan().any(1).tolist()
    assert any(nan)
    assert not all(nan)
    for i, hopeless in enumerate(nan):
        assert (found.status_names[i] == "non finite") == hopeless
        assert (report.verdicts[i] == "wrong") == hopeless  # NaN is no right answer
    assert not bool(found.success[torch.tensor(nan)].any())


# ------------------------------------------------------------------------------------------ one clear error at the start
def test_a_net_that_answers_nothing_but_nan(out: Path, x: Tensor) -> None:
    net = Wrap(digits_net(), lambda z: z * torch.nan)
    refused(ModelError, "answers NaN or infinity to every input", net, x, torch.zeros(10), out)


def test_integers_for_a_net_of_real_numbers(out: Path, x: Tensor) -> None:
    net, whole = digits_net(), (x * 255).to(torch.uint8)
    y = labelled(net, x)
    refused(InputError, r"ironbound\.Model\(net, range=\(0, 255\)\)", net, whole, y, out)
    refused(
        InputError, r"inputs are torch\.uint8 in \[0, 1\].*range=\(0, 255\)", net, (x > 0.5).to(torch.uint8), y, out
    )


@pytest.mark.parametrize(("mean", "std", "said"), [
    ((0.1307,), (0.3081,), r"of MNIST\) inside: ironbound\.Model\(net, range=\(0, 1\), mean=\(0\.1307,\), std=\(0\.3081,\)\)"),
    ((0.5,), (0.5,), r"fit that of \[-1, 1\]\) inside: ironbound\.Model\(net, range=\(0, 1\), mean=\(0\.5,\), std=\(0\.5,\)\)"),
    ((0.3,), (0.05,), r"ironbound\.Model\(net, range=\(0, 1\), mean=\(0\.3,\), std=\(0\.05,\)\)"),
])  # fmt: skip
def test_inputs_normalised_outside(out: Path, x: Tensor, mean: Any, std: Any, said: str) -> None:
    """The line that is printed is the one that mends it."""
    net = digits_net()
    outside = (x - mean[0]) / std[0]
    refused(InputError, said, net, outside, labelled(net, x), out)
    model = ib.Model(net, range=(0, 1), mean=mean, std=std)
    assert ib.attack(model, outside * std[0] + mean[0], threat="linf:0.1", method=SHORT).adversarial.max() <= 1


def test_inputs_from_0_to_255_for_a_net_from_0_to_1(out: Path, x: Tensor) -> None:
    refused(InputError, r"lie in \[0, 255\].*divide them by 255, or say ironbound\.Model\(net, range=\(0, 255\)\)",
            digits_net(), x * 255, torch.zeros(10), out)  # fmt: skip


@pytest.mark.parametrize(("threat", "said"), [
    ("linf:8", r"radius 8 on a range of \[0\.0, 1\.0\].*Did you mean 8/255 = 0\.03137"),
    ("linf:1", "radius 1 on a range of"),
    ("linf:nan", "is no number"),
    ("linf:8/0", "is no number"),
    ("8/255", "no threat is called"),
])  # fmt: skip
def test_a_radius_in_the_wrong_unit(out: Path, x: Tensor, threat: str, said: str) -> None:
    refused(UsageError, said, digits_net(), x, torch.zeros(10), out, threat=threat)


@pytest.mark.parametrize(("shape", "said"), [
    ((10, 1, 7, 7), r"fails on inputs of shape \(15, 1, 7, 7\).*Rows are samples"),
    ((10, 3, 8, 8), r"fails on inputs of shape \(15, 3, 8, 8\)"),
    ((8, 8), r"fails on inputs of shape \(15, 8\).*whether a batch dimension is missing"),
])  # fmt: skip
def test_inputs_of_the_wrong_shape(out: Path, shape: tuple[int, ...], said: str) -> None:
    refused(ModelError, said, digits_net(), drawn(*shape), torch.zeros(shape[0]), out)


@pytest.mark.parametrize(("y", "said"), [
    (torch.full((10,), 10), r"(?s)label 10 in row 0; classes are 0 to 9|classes"),
    (torch.arange(10) - 1, r"label -1|whole numbers from 0 up; got \[-1\]"),
    (torch.full((10,), 0.5), "whole numbers"),
    (torch.eye(10), r"one-hot|One-hot"),
    (torch.zeros(9), r"one an input|give one value a row"),
    (torch.zeros(()), r"one an input|one class number a row|give one value"),
    (["seven"] * 9 + [None], "expected an array of numbers or text|labels are"),
])  # fmt: skip
def test_labels_that_are_none(out: Path, x: Tensor, y: Any, said: str) -> None:
    refused(InputError, said, digits_net(), x, y, out)


@pytest.mark.parametrize(("bad", "said"), [(torch.nan, "NaN or infinity"), (torch.inf, "NaN or infinity")])
def test_inputs_that_are_not_finite(out: Path, x: Tensor, bad: float, said: str) -> None:
    broken = x.clone()
    broken[4, 0, 2, 2] = bad
    refused(InputError, said, digits_net(), broken, torch.zeros(10), out)


def test_no_data_at_all(out: Path) -> None:
    refused(InputError, "no rows|no inputs", digits_net(), torch.zeros(0, 1, 8, 8), torch.zeros(0), out)
    with pytest.raises(UsageError, match="samples is a whole number of at least 1"):
        ib.audit(digits_net(), "digits", threat="linf:0.1", samples=0, out=out)
    assert not out.exists()


def test_more_classes_than_outputs(out: Path) -> None:
    with pytest.raises(UsageError, match=r"has 10 classes .* but the model has 3 outputs"):
        ib.audit(mlp(64, 3), load("digits").take(_of_three_classes()), threat="linf:0.1", out=out)
    assert not out.exists()


def _of_three_classes() -> Tensor:
    return (load("digits").y < 3).nonzero().flatten()[:10]


@pytest.mark.parametrize("make", [lambda: object(), lambda: len, lambda: "resnet18", lambda: [digits_net()]])
def test_things_that_are_no_model(out: Path, x: Tensor, make: Callable[[], Any]) -> None:
    refused(UsageError, r"Model wraps a torch\.nn\.Module", make(), x, torch.zeros(10), out)


@pytest.mark.parametrize("data", [None, 7, torch.zeros(3, 1, 8, 8), {"x": 1}, (1, 2, 3), iter([])])
def test_things_that_are_no_data(out: Path, data: Any) -> None:
    with pytest.raises(IronboundError):
        ib.audit(digits_net(), data, threat="linf:0.1", out=out)
    assert not out.exists()


# ----------------------------------------------------------------------------------------------------- files of others
ZOO = "import torch\nfrom torch import nn\n\ndef net():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"


class Evil:
    """An object whose unpickling creates a folder."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.marker),)


def test_hostile_weights_run_nothing(tmp_path: Path) -> None:
    (tmp_path / "zoo.py").write_text(ZOO)
    marker = tmp_path / "was-here"
    for name, write in (("a.pt", torch.save), ("b.pth", lambda thing, path: path.write_bytes(pickle.dumps(thing)))):
        write({"0.weight": Evil(marker)}, tmp_path / name)
        with pytest.raises(DataError, match="safetensors"):
            ib.load(tmp_path / name, architecture=f"{tmp_path / 'zoo.py'}:net")
    assert not marker.exists()


def test_weights_that_do_not_fit_or_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "zoo.py").write_text(ZOO)
    architecture = f"{tmp_path / 'zoo.py'}:net"
    torch.save(nn.Linear(3, 2).state_dict(), tmp_path / "other.pt")
    with pytest.raises(ModelError, match="do not fit Sequential: 2 missing in the file"):
        ib.load(tmp_path / "other.pt", architecture=architecture)
    (tmp_path / "torn.safetensors").write_bytes(b"\x10\x00\x00")
    with pytest.raises(DataError, match="not a complete safetensors file"):
        ib.load(tmp_path / "torn.safetensors", architecture=architecture)
    with pytest.raises(DataError, match="no such file"):
        ib.load(tmp_path / "none.pt", architecture=architecture)
    fits = mlp(64, 10)
    torch.save(fits.state_dict(), tmp_path / "fits.pt")
    model = ib.load(tmp_path / "fits.pt", architecture=architecture)
    assert torch.equal(model.net[1].weight, fits[1].weight)


@pytest.mark.parametrize("name", ["none.parquet", "torn.parquet", "torn.npz", "empty", "text.txt"])
def test_data_that_cannot_be_read(tmp_path: Path, out: Path, name: str) -> None:
    path = tmp_path / name
    if name == "empty":
        path.mkdir()
    elif name != "none.parquet":
        path.write_bytes(b"PAR1 this is no table")
    with pytest.raises((DataError, UsageError), match=name.split(".")[0]):
        ib.audit(digits_net(), path, threat="linf:0.1", out=out)
    assert not out.exists()
