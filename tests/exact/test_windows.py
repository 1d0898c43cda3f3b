"""Windows of coefficients say what whole planes would: where they lie, what lies under them, and through convolutions."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ironbound.certification.coefficients import Patches, Spots, Window, plus
from ironbound.certification.functionals import Known, Rows
from ironbound.certification.graph import Node, Ref
from ironbound.certification.transposes import _by_phases, convolved

PLANE = (3, 5, 7)


def windows(high: int, across: int, stride=(2, 1), offset=(-2, -3)) -> Patches:
    """A window at every place of a base plane of 6 x 9, some of them wholly outside; 0 beyond the plane."""
    random = torch.Generator().manual_seed(high + across)
    base = torch.cartesian_prod(torch.arange(6), torch.arange(9))
    values = torch.randn(len(base), 3, high, across, generator=random, dtype=torch.float64)
    return Patches.cut(values, Window(base, (6, 9), stride, offset, (high, across), PLANE))


def by_hand(a: Patches, plane: Tensor, owner: Tensor) -> Tensor:
    """What lies under each window, 0 beyond the plane."""
    (_, height, width), found, at = PLANE, torch.zeros_like(a.values), a.window
    for row, (i, j) in enumerate(at.base.tolist()):
        for u in range(at.size[0]):
            for v in range(at.size[1]):
                down, right = i * at.stride[0] + at.offset[0] + u, j * at.stride[1] + at.offset[1] + v
                if 0 <= down < height and 0 <= right < width:
                    found[row, :, u, v] = plane[owner[row], :, down, right]
    return found


@pytest.mark.parametrize("offset", [(-2, -3), (1, 0)])
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (4, 2), (6, 9)])
def test_what_lies_under_a_window(size, offset):
    a = windows(*size, offset=offset)
    plane = torch.randn(4, *PLANE, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    owner = torch.arange(len(a.values)) % 4
    for given_ in (plane, plane.contiguous(memory_format=torch.channels_last)):
        assert torch.equal(a.window.taken(a.window.cuts(given_), owner), by_hand(a, plane, owner))
        assert torch.equal(a.window.picked(given_, owner), by_hand(a, plane, owner))
        assert torch.equal(a.under(given_[2:3]), by_hand(a, plane, torch.full_like(owner, 2)))
    torch.testing.assert_close(
        (a.dense() * plane[owner]).sum((1, 2, 3)), (a.values * by_hand(a, plane, owner)).sum((1, 2, 3))
    )


def test_windows_of_one_origin_add_up():
    a = windows(2, 3)
    b = Patches.cut(torch.randn(54, 3, 4, 1, dtype=torch.float64), replace(a.window, offset=(-1, 2), size=(4, 1)))
    together = plus(a, b)
    assert isinstance(together, Patches)
    torch.testing.assert_close(together.dense(), a.dense() + b.dense())


@pytest.mark.parametrize(
    ("stride", "padding", "kernel"), [((2, 2), (1, 1), (4, 4)), ((3, 2), (0, 2), (3, 5)), ((2, 4), (1, 0), (2, 3))]
)
def test_a_strided_transposed_convolution_goes_by_phases(stride, padding, kernel):
    layer = nn.Conv2d(3, 6, kernel, stride, padding)
    x = torch.randn(2, 3, 13, 17)
    out = layer(x)
    a = torch.randn_like(out)
    expected = torch.autograd.grad(layer(x.requires_grad_()), x, a)[0]
    torch.testing.assert_close(_by_phases(a, layer.weight, stride, padding, x.shape[2:]), expected)


def node_of(layer: nn.Conv2d, name: str, x: Tensor, out: Tensor) -> Node:
    """The layer as a node of a graph, of the value `name`."""
    ref = Ref(name, True, (1, *x.shape[1:]))
    constants = [Ref(f"{name}.{part}", False, None) for part in ("weight", "bias")]
    args = (ref, *constants, layer.stride, layer.padding, layer.dilation, False, (0, 0), layer.groups)
    return Node(f"{name}!", "convolution.default", torch.convolution, args, {}, "", True, (1, *out.shape[1:]))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data())
def test_two_convolutions_as_windows_are_those_of_the_net(data):
    """Of the places of the second layer, through both: coefficients times the input is the value itself."""
    layers = []
    for given_, made in ((2, 4), (4, 2)):
        kernel, stride, dilation = (data.draw(st.tuples(st.integers(1, k), st.integers(1, k))) for k in (3, 2, 2))
        edge = data.draw(st.tuples(st.integers(0, 2), st.integers(0, 2)))
        groups = data.draw(st.sampled_from((1, 2)))
        layers.append(nn.Conv2d(given_, made, kernel, stride, edge, dilation, groups))
    net = nn.Sequential(*layers).double().requires_grad_(False)
    x = torch.randn(1, 2, 11, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    between, out = net[0](x), net(x)
    first, second = node_of(net[0], "x", x, between), node_of(net[1], "z", between, out)
    values = {
        f"{name}.{part}": value for name, of in (("x", net[0]), ("z", net[1])) for part, value in of.named_parameters()
    }
    place = torch.arange(out[0].numel())
    rows = Rows(Known(SimpleNamespace(batched=()), values, x.dtype, x.device, 1), torch.zeros_like(place))
    a = Spots(place, torch.linspace(-1, 1, len(place), dtype=x.dtype), second.shape)
    back = convolved(second, a, rows)
    last = convolved(first, back.parts[0][1], rows)
    found = (last.parts[0][1].dense() * x).sum((1, 2, 3)) + back.bias + last.bias
    torch.testing.assert_close(found, a.scale * out.flatten(), rtol=1e-9, atol=1e-9)


def test_a_window_that_is_moved_is_caught():
    a = windows(2, 3)
    plane = torch.randn(1, *PLANE, dtype=torch.float64)
    moved = Patches(a.values, replace(a.window, offset=(a.window.offset[0] + 1, a.window.offset[1])))
    assert not torch.allclose((moved.dense() * plane).sum((1, 2, 3)), (a.values * a.under(plane)).sum((1, 2, 3)))
