"""Which channels are one, which go together, and who reads them."""

import numpy as np
import onnx
import pytest

from pruning.onnx.analyse import analyse
from pruning.onnx.channels import RULES, label
from pruning.onnx.labels import MOST
from pruning.onnx.ops import CONVERTERS
from pruning.onnx.shrink import readers
from pruning.onnx.unshare import unshare
from pruning.onnx.vet import vet
from tests.conftest import EXAMPLES
from tests.unit.pruning.onnx.test_shrink import CASES, HEAD, IMAGE, conv
from tests.unit.pruning.onnx.test_weights import ints, made, node, port, tensor

READERS = {
    "flatten": {"a": {"b": 1}, "b": {"c": 16}, "c": {"d": 1}, "d": {}},
    "batch norm": {"a": {"b": 1}, "b": {"v": 1}, "v": {}},
    "residual": {"a": {}, "b": {}, "c": {"v": 1}, "v": {}},
    "channels that a shortcut adds": {"a": {}, "b": {}, "c": {"v": 1}, "v": {}},
    "concat": {"a": {"b": 1, "c": 1}, "b": {"c": 1}, "c": {"v": 1}, "v": {}},
    "depthwise": {"a": {}, "d": {}, "b": {"v": 1}, "v": {}},
    "grouped": {"a": {}, "d": {}, "b": {"v": 1}, "v": {}},
    "transposed": {"a": {"t": 1}, "t": {"b": 1}, "b": {"v": 1}, "v": {}},
    "matmul": {"a": {"b": 1}, "b": {}},
    "sigmoid": {"a": {}, "b": {"v": 1}, "v": {}},
    "hard swish in parts": {"a": {"b": 1}, "b": {"v": 1}, "v": {}},
    "split": {"a": {}, "b": {"c": 1}, "c": {"v": 1}, "v": {}},
    "squeeze and excitation": {"a": {}, "e": {"u": 1}, "u": {}, "b": {"v": 1}, "v": {}},
    "channels last": {"a": {"c": 64}, "c": {}},
    "channels that are counted": {"a": {}, "b": {"v": 1}, "v": {}},
    "an operator without a rule": {"a": {}, "b": {"c": 1}, "c": {"v": 1}, "v": {}},
    "a shared weight": {"a": {}, "v": {}},
    "an output": {"a": {}},
}


@pytest.mark.parametrize("name", READERS)
def test_who_reads_the_filters_of_a_layer(name):
    assert readers(CASES[name].model()) == READERS[name]


def test_layers_name_the_layers_that_read_them():
    analysis, _ = analyse(unshare(vet(CASES["flatten"].model().SerializeToString())))
    assert {x.name: x.readers for x in analysis.layers} == {"a": {"b": 1}, "b": {"c": 16}, "c": {"d": 1}, "d": {}}


def test_a_layer_of_a_slice_of_a_tensor_has_no_readers():
    nodes = [
        node("Split", ["w"], ["a", "b"], axis=1),
        node("MatMul", ["x", "a"], ["p"]),
        node("MatMul", ["p", "b"], ["q"]),
        node("MatMul", ["q", "v"], ["y"]),
    ]
    model = made(nodes, [tensor("w", 6, 12), tensor("v", 6, 3)], [port("x", "N", 6)], [port("y", "N", 3)])
    analysis, _ = analyse(vet(model.SerializeToString()))
    assert all(layer.readers == {} for layer in analysis.layers) and len(analysis.layers) == 3


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.onnx")), ids=lambda p: p.stem)
def test_labels_are_as_many_as_channels(path):
    model = onnx.shape_inference.infer_shapes(onnx.load(path))
    values = {v.name: v.type.tensor_type.shape.dim for v in (*model.graph.value_info, *model.graph.output)}
    found = label(model).values
    assert found
    for name, x in found.items():
        assert values[name][len(values[name]) + x.axis].dim_value == len(x.labels)


def test_rules_are_for_operators_that_are_taken():
    assert set(RULES) <= set(CONVERTERS)


def test_what_an_inner_graph_reads_stays():
    branch = [
        onnx.helper.make_graph([node(op, ["h"], [op])], op, [], [port(op, "N", 4, 8, 8)]) for op in ("Relu", "Neg")
    ]
    choice = node("If", ["c"], ["z"], then_branch=branch[0], else_branch=branch[1])
    true = onnx.numpy_helper.from_array(np.array(True), "c")
    weights = [tensor("a", 4, 3, 3, 3), tensor("v", 4, 4), true]
    model = made([conv("x", "a", "h"), choice, *HEAD], weights, [port("x", *IMAGE)], [port("y", "N", 4)])
    labels = label(model)
    assert labels.mask(labels.frozen)[labels.values["h"].labels].all()


def test_a_small_file_cannot_ask_for_any_number_of_labels():
    """Each Concat doubles what came before; past the limit values have no labels."""
    nodes = [conv("x", "a", "h0")]
    nodes += [node("Concat", [f"h{i}", f"h{i}"], [f"h{i + 1}"], axis=1) for i in range(40)]
    nodes += [node("GlobalAveragePool", ["h40"], ["y"])]
    model = made(nodes, [tensor("a", 4, 3, 3, 3)], [port("x", *IMAGE)], [port("y", "N", 4 * 2**40, 1, 1)])
    found = label(model)
    assert sum(len(x.labels) for x in found.values.values()) <= MOST
    assert found.mask(found.frozen).all()


def test_a_form_that_nobody_thought_of_freezes_what_it_reads():
    """A Reshape to a target with a number too many."""
    nodes = [conv("x", "a", "h"), node("Reshape", ["h", "t"], ["i"]), node("Relu", ["i"], ["y"])]
    model = made(nodes, [tensor("a", 4, 3, 3, 3), ints("t", -1, -1, 5)], [port("x", *IMAGE)], [port("y", "N", 4)])
    labels = label(model)
    assert set(labels.values) == {"h"} and labels.mask(labels.frozen).all()
