"""The readers of .onnx and .vnnlib files that tests of real nets rely on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from onnx_samples import Property, centre_of, module_of, property_of

LAYERS = {
    "Sub": ({}, [(1, 2, 1, 1)]),
    "Add": ({}, [(3, 1)]),
    "Relu": ({}, []),
    "MatMul": ({}, [(5, 4)]),
    "Flatten": ({"axis": 1}, []),
    "Transpose": ({"perm": [0, 2, 3, 1]}, []),
    "Conv": ({"pads": [1, 2, 1, 2], "strides": [2, 1], "group": 2, "kernel_shape": [3, 2]}, [(4, 1, 3, 2), (4,)]),
}


def of_nodes(nodes, weights, shape=(2, 3, 5)):
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *shape])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "g", [given], [out], [numpy_helper.from_array(w, n) for n, w in weights.items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def agree(model, n=3, shape=(2, 3, 5)):
    x = np.random.default_rng(1).standard_normal((n, *shape)).astype(np.float32)
    (expected,) = ReferenceEvaluator(model).run(None, {"x": x})
    np.testing.assert_allclose(module_of(model)(torch.from_numpy(x)).numpy(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_answers_as_the_format_says(name):
    settings, shapes = LAYERS[name]
    random = np.random.default_rng(0)
    weights = {f"w{i}": random.standard_normal(shape).astype(np.float32) for i, shape in enumerate(shapes)}
    agree(of_nodes([helper.make_node(name, ["x", *weights], ["y"], **settings)], weights))


def test_reshape_and_gemm_as_the_format_says():
    random = np.random.default_rng(0)
    weights = {
        "shape": np.array([1, 30]), "w": random.standard_normal((4, 30)).astype(np.float32),
        "b": random.standard_normal(4).astype(np.float32),
    }  # fmt: skip
    nodes = [
        helper.make_node("Reshape", ["x", "shape"], ["flat"]),
        helper.make_node("Constant", [], ["shift"], value=numpy_helper.from_array(np.full((1, 30), 0.5, np.float32))),
        helper.make_node("Add", ["flat", "shift"], ["shifted"]),
        helper.make_node("Gemm", ["shifted", "w", "b"], ["y"], transB=1, alpha=0.5, beta=2.0),
    ]
    agree(of_nodes(nodes, weights), n=1)  # the file says one input; ours takes any number
    net, x = module_of(of_nodes(nodes, weights)), torch.rand(3, 2, 3, 5)
    torch.testing.assert_close(net(x), torch.cat([net(row[None]) for row in x]))


def test_other_layers_are_refused():
    for node in (
        helper.make_node("Sin", ["x"], ["y"]),
        helper.make_node("Flatten", ["x"], ["y"], axis=0),
        helper.make_node("Transpose", ["x"], ["y"], perm=[1, 0, 2, 3]),
    ):
        with pytest.raises(NotImplementedError, match=node.op_type):
            module_of(of_nodes([node], {}))(torch.zeros(1, 2, 3, 5))


PROPERTY = """; label 1
(declare-const X_0 Real)
(declare-const X_1 Real)
(declare-const Y_0 Real)
(declare-const Y_1 Real)
(declare-const Y_2 Real)
(assert (<= X_0 0.25))
(assert (>= X_0 -1e-3))
(assert (<= X_1 1))
(assert (>= X_1 0.5)) ; the last
(assert (or
    (and (>= Y_0 Y_1))
    (and (>= Y_2 Y_1))
))
"""


def test_a_property_is_a_box_and_a_label(tmp_path):
    path = tmp_path / "p.vnnlib"
    path.write_text(PROPERTY)
    found = property_of(path)
    assert (found.lo.tolist(), found.hi.tolist(), found.label) == ([-1e-3, 0.5], [0.25, 1.0], 1)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("(assert (<= X_1 1))\n", ""),
        ("    (and (>= Y_2 Y_1))\n", ""),
        ("(>= Y_2 Y_1)", "(<= Y_2 Y_1)"),
        ("(>= Y_2 Y_1)", "(>= Y_2 Y_0)"),
        ("(assert (or", "(assert (<= Y_0 3.0))\n(assert (or"),
    ],
)
def test_other_properties_are_refused(tmp_path, old, new):
    path = tmp_path / "p.vnnlib"
    path.write_text(PROPERTY.replace(old, new))
    with pytest.raises(ValueError, match="must win"):
        property_of(path)


def test_a_box_has_the_centre_it_was_made_from():
    x = torch.tensor([0.0, 0.01, 0.5, 0.98, 1.0], dtype=torch.float64)
    box = Property((x - 0.03).clamp(0, 1), (x + 0.03).clamp(0, 1), 0)
    torch.testing.assert_close(centre_of(box, 0.03), x)
    with pytest.raises(ValueError, match="none of radius"):
        centre_of(box, 0.05)
