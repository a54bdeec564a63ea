"""Channels are picked once, among the filters that make them, wherever nothing else reads what is between."""

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import ModelProto, numpy_helper

from pruning.onnx.agree import compare
from pruning.onnx.analyse import analyse
from pruning.onnx.columns import layers, rewritten
from pruning.onnx.convert import stored_tensors
from pruning.onnx.gather import shifted
from pruning.onnx.unshare import unshare
from pruning.onnx.upstream import move_gathers
from pruning.onnx.vet import vet
from tests.unit.pruning.onnx.columned import kept, without_columns
from tests.unit.pruning.onnx.test_random_graphs import SMALL, models
from tests.unit.pruning.onnx.test_shrink import TOLERANCE, difference, fed
from tests.unit.pruning.onnx.test_weights import ints, made, node, port, tensor

BETWEEN = {
    "nothing": ([], True),
    "a chain": ([node("LeakyRelu", ["a"], ["r"]), node("MaxPool", ["r"], ["a2"], kernel_shape=[2, 2])], True),
    "pooling with places": ([node("MaxPool", ["a"], ["a2", "at"], kernel_shape=[2, 2])], False),
    "another axis": ([node("Softmax", ["a"], ["a2"], axis=1)], False),
    "two readers": ([node("Relu", ["a"], ["a2"]), node("Relu", ["a"], ["also"])], False),
}


def net(nodes, indices=(3, 0, 3, 1), groups=1, bias=True) -> ModelProto:
    first = node("Conv", ["x", "w", *(["b"] if bias else [])], ["a"], group=groups)
    end = nodes[-1].output[0] if nodes and nodes[-1].output[0] != "also" else ("a2" if nodes else "a")
    picked = node("Gather", [end, "which"], ["y"], axis=1)
    stored = [tensor("w", 4, 2 // groups, 3, 3), tensor("b", 4), ints("which", *indices)]
    ports = [port(name, *[None] * 4) for name in ("y", *(n for n in ("also",) if any(n in m.output for m in nodes)))]
    return made([first, *nodes, picked], stored, [port("x", "N", 2, 6, 6)], ports)


@pytest.mark.parametrize("name", BETWEEN)
def test_known_nets(name):
    nodes, moves = BETWEEN[name]
    model = net(nodes)
    other = move_gathers(model)
    onnx.checker.check_model(other, full_check=True)
    assert difference(model, other) <= TOLERANCE
    axes = [next(a.i for a in n.attribute if a.name == "axis") for n in other.graph.node if n.op_type == "Gather"]
    assert axes == ([0, 0] if moves else [1])


@pytest.mark.parametrize(
    "model",
    [net([], groups=2), net([], indices=(-1, 0)), net([], indices=range(0, 3), bias=True), net([], (0, 1) * 4)],
    ids=["groups", "from the end", "fewer", "many more"],
)
def test_only_where_it_can_and_pays(model):
    other = move_gathers(model)
    assert difference(model, other) <= TOLERANCE
    fewer = len(numpy_helper.to_array(stored_tensors(model)["which"])) == 3
    assert (other.SerializeToString() != model.SerializeToString()) == fewer


def test_weights_stay_as_they_are_stored_and_the_file_is_taken_in_again():
    chain = [node("Relu", ["a"], ["r"]), node("Conv", ["r", "v"], ["c"], pads=[1] * 4)]
    last = [node("GlobalAveragePool", ["c"], ["d"]), node("Flatten", ["d"], ["e"]), node("Gemm", ["e", "g"], ["y"])]
    first = node("Conv", ["x", "w", "b"], ["a"])
    stored = [tensor("w", 64, 3, 3, 3), tensor("b", 64), tensor("v", 8, 64, 3, 3), tensor("g", 8, 4)]
    model = made([first, *chain, *last], stored, [port("x", "N", 3, 8, 8)], [port("y", "N", 4)])
    model = without_columns(model, 0.9)
    gathered = rewritten(model, {layer.weight: r for layer in layers(model) if (r := shifted(layer)) is not None})
    other = move_gathers(gathered)
    assert {n.output[0] for n in other.graph.node if n.op_type == "Gather"} >= {"w.picked", "b.picked"}
    assert kept(other) == kept(gathered)
    _, network = analyse(unshare(vet(other.SerializeToString())))
    agreement = compare(other.SerializeToString(), network, fed(model))
    assert agreement is not None and agreement.relative <= TOLERANCE


@SMALL
@given(models(), st.integers(0, 99))
def test_random_graphs_keep_their_outputs(dense, seed):
    model = without_columns(unshare(dense), 0.6, seed)
    gathered = rewritten(model, {layer.weight: r for layer in layers(model) if (r := shifted(layer)) is not None})
    if np.isfinite(difference(model, gathered)):
        assert difference(model, move_gathers(gathered)) <= TOLERANCE
