"""The verifiers' nets beside the checkout: as many proofs as CROWN and alpha-CROWN are known to give on them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import ironbound as ib
from ironbound.certification.catalogue import alpha_crown
from onnx_samples import VERIFY, centre_of, module_of, property_of

pytestmark = pytest.mark.real


def real(name: str) -> Path:
    path = VERIFY / name
    if not path.exists():
        pytest.skip(f"the real data {name} is not beside the checkout, in ../shared/data/verify")
    return path


class Normalised(nn.Module):
    def __init__(self, net: nn.Module, notes: dict[str, list[float]]) -> None:
        super().__init__()
        self.net = net
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(notes[name]).view(-1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.net((x - self.mean) / self.std)


def convolutional(name: str) -> tuple[nn.Module, Tensor, Tensor]:
    """Net and its 200 images."""
    notes = json.loads(real(f"sdp/{name}.json").read_text())
    net = Normalised(module_of(real(f"sdp/{name}.onnx")), notes["normalisation"])
    arrays = np.load(real(f"sdp/{notes['files']['data']}"))
    return net.eval(), torch.from_numpy(arrays["X"]), torch.from_numpy(arrays["y"])


def proved(net: nn.Module, x: Tensor, y: Tensor, eps: float, method: object) -> list[int]:
    found = ib.certify(net, x, y, threat=ib.Linf(eps), method=method, radii=False)
    return found.certified.nonzero()[:, 0].tolist()


@pytest.mark.parametrize(("name", "right"), [("mnist_cnn_a_adv", 195), ("cifar_cnn_a_adv", 140)])
def test_the_files_of_a_net_say_the_same(name: str, right: int) -> None:
    net, x, y = convolutional(name)
    with torch.no_grad():
        assert int((net(x).argmax(1) == y).sum()) == right
    weights = load_file(real(f"sdp/{name}.safetensors"))
    assert all(torch.equal(weights[n.removeprefix("m.")], getattr(net.net, p)) for n, p in net.net.constants.items())


def test_fully_connected_net_of_the_competition() -> None:
    """The net with two layers of 256 at 0.03: 7 of 15 by CROWN, none by intervals (vnncomp 2021)."""
    boxes = [property_of(real(f"mnistfc/prop_{i}_0.03.vnnlib")) for i in range(15)]
    x = torch.stack([centre_of(box, 0.03) for box in boxes]).float().unsqueeze(2)
    y = torch.tensor([box.label for box in boxes])
    net = module_of(real("mnistfc/mnist-net_256x2.onnx"))
    assert proved(net, x, y, 0.03, "ibp") == []
    assert len(proved(net, x, y, 0.03, "crown")) == 7


def test_crown_on_convolutions() -> None:
    """Of the first 40 images those that auto_LiRPA's CROWN proves; on the whole of the 200 that are 71."""
    net, x, y = convolutional("cifar_cnn_a_adv")
    found = proved(net, x[:40], y[:40], 2 / 255, "crown")
    assert found == [2, 8, 14, 17, 20, 21, 22, 23, 26, 27, 28, 30, 31, 33, 37, 39]


def test_slopes_prove_what_crown_does_not() -> None:
    """Images that auto_LiRPA proves with 20 steps on the last layer (61), or on all of them (6 and 14), and not without."""
    net, x, y = convolutional("mnist_cnn_a_adv")
    some = torch.tensor([6, 14, 61])
    assert proved(net, x[some], y[some], 0.3, "crown") == []
    assert 2 in proved(net, x[some], y[some], 0.3, alpha_crown(layers="last"))
    assert proved(net, x[some], y[some], 0.3, alpha_crown(layers="all")) == [0, 1, 2]
