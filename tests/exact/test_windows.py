"""Windows of coefficients say what whole planes would: where they lie, what lies under them, and through convolutions."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import conv_transpose2d

from ironbound.certification.coefficients import Patches, Spots, Strips
from ironbound.certification.functionals import Known, Rows
from ironbound.certification.graph import Node, Ref
from ironbound.certification.transposes import _spread, convolved

PLANE = (3, 5, 7)


def windows(high: int, across: int, wide: bool, stride=(2, 1), offset=(-2, -3)) -> Patches:
    """A window at every place of a base plane of 6 x 9, some of them wholly outside."""
    random = torch.Generator().manual_seed(high + across)
    base = torch.cartesian_prod(torch.arange(6), torch.arange(9))
    values = torch.randn(len(base), 3, high, across, generator=random, dtype=torch.float64)
    values = values.contiguous(memory_format=torch.channels_last) if wide else values
    return Patches(values, base, stride, offset, PLANE)


def by_hand(a: Patches, plane: Tensor, owner: Tensor) -> Tensor:
    (_, height, width), found = PLANE, torch.empty_like(a.values)
    for row, (i, j) in enumerate(a.base.tolist()):
        for u in range(a.values.shape[2]):
            for v in range(a.values.shape[3]):
                down = min(max(i * a.stride[0] + a.offset[0] + u, 0), height - 1)
                right = min(max(j * a.stride[1] + a.offset[1] + v, 0), width - 1)
                found[row, :, u, v] = plane[owner[row], :, down, right]
    return found


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (4, 2), (6, 9)])
def test_what_lies_under_a_window(size, wide):
    a = windows(*size, wide)
    plane = torch.randn(4, *PLANE, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    owner = torch.arange(len(a.base)) % 4
    inside = a.masked().values != 0
    expected = by_hand(a, plane, owner)
    for given_ in (plane, plane.contiguous(memory_format=torch.channels_last), plane.clone().requires_grad_()):
        assert torch.equal(a.gathered(given_, owner)[inside], expected[inside])
    whole = a.masked().dense()
    torch.testing.assert_close((whole * plane[owner]).sum((1, 2, 3)), (a.masked().values * expected).sum((1, 2, 3)))
    mask = by_hand(a, torch.arange(35.0, dtype=torch.float64).view(1, 1, 5, 7).expand(4, *PLANE), owner * 0)
    places, within = a.places
    assert torch.equal(mask[:, 0].flatten(1).long(), places)
    assert torch.equal(inside.all(1).flatten(1), within)


def test_beyond_the_edge_no_value_is_invented():
    plane = torch.full((1, *PLANE), 5.0)
    assert bool((windows(4, 4, True).gathered(plane, torch.zeros(54, dtype=torch.long)) == 5).all())
    strips = Strips.of(plane, (2, 2), wide=False, edge=False)
    assert strips.taken(*(torch.zeros(1, dtype=torch.long),) * 3).abs().sum() == 0


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize(("stride", "dilation"), [((1, 1), (1, 1)), ((2, 3), (1, 1)), ((2, 1), (2, 3))])
def test_windows_through_a_kernel(stride, dilation, wide):
    values = windows(3, 2, wide).values
    kernel = torch.randn(3, 5, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(
        _spread(values, kernel, stride, dilation, 1), conv_transpose2d(values, kernel, None, stride, 0, 0, 1, dilation)
    )


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
    a = windows(2, 3, False).masked()
    plane = torch.randn(1, *PLANE, dtype=torch.float64)
    moved = replace(a, offset=(a.offset[0] + 1, a.offset[1]))
    owner = torch.zeros(len(a.base), dtype=torch.long)
    assert not torch.allclose(
        (moved.dense() * plane).sum((1, 2, 3)), (a.values * a.gathered(plane, owner)).sum((1, 2, 3))
    )
