"""Wherever a weight is kept and however it is read: it is trained, and written back to where it was."""

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from pruning.errors import RejectedModel
from pruning.onnx.agree import compare
from pruning.onnx.analyse import analyse
from pruning.onnx.unshare import unshare
from pruning.onnx.vet import vet
from pruning.onnx.writeback import write_back

RNG = np.random.default_rng(0)


def tensor(name, *shape, dtype: type = np.float32):
    return numpy_helper.from_array((RNG.standard_normal(shape) / 2).astype(dtype), name)


def ints(name, *values):
    return numpy_helper.from_array(np.array(values, np.int64), name)


def port(name, *shape, dtype=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, dtype, shape)


def made(nodes, tensors, inputs, outputs, opset=17):
    graph = helper.make_graph(nodes, "g", inputs, outputs, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def node(op, inputs, outputs, **attributes):
    return helper.make_node(op, inputs, outputs, outputs[0], **attributes)


X = port("x", "N", 6)
Y = port("y", "N", 4)
PLACES = {
    "transposed by a node": made(
        [node("Transpose", ["w"], ["t"], perm=[1, 0]), node("MatMul", ["x", "t"], ["y"])], [tensor("w", 4, 6)], [X], [Y]
    ),
    "reshaped": made(
        [node("Reshape", ["w", "s"], ["r"]), node("MatMul", ["x", "r"], ["y"])],
        [tensor("w", 2, 3, 4), ints("s", 6, 4)],
        [X],
        [Y],
    ),
    "in half, cast": made(
        [node("Cast", ["w"], ["c"], to=TensorProto.FLOAT), node("MatMul", ["x", "c"], ["y"])],
        [tensor("w", 6, 4, dtype=np.float16)],
        [X],
        [Y],
    ),
    "in double": made(
        [node("MatMul", ["x", "w"], ["y"])],
        [tensor("w", 6, 4, dtype=np.float64)],
        [port("x", "N", 6, dtype=TensorProto.DOUBLE)],
        [port("y", "N", 4, dtype=TensorProto.DOUBLE)],
    ),
    "slices of one tensor": made(
        [
            node("Split", ["w"], ["a", "b"], axis=1),
            node("MatMul", ["x", "a"], ["p"]),
            node("MatMul", ["x", "b"], ["q"]),
            node("Sub", ["p", "q"], ["y"]),
        ],
        [tensor("w", 6, 8)],
        [X],
        [Y],
    ),
    "from the left": made(
        [
            node("Transpose", ["x"], ["t"], perm=[1, 0]),
            node("MatMul", ["w", "t"], ["u"]),
            node("Transpose", ["u"], ["y"], perm=[1, 0]),
        ],
        [tensor("w", 4, 6)],
        [X],
        [Y],
    ),
    "tied to an embedding": made(
        [
            node("Gather", ["w", "i"], ["e"]),
            node("MatMul", ["e", "v"], ["h"]),
            node("Transpose", ["w"], ["t"], perm=[1, 0]),
            node("MatMul", ["h", "t"], ["y"]),
        ],
        [tensor("w", 9, 5), tensor("v", 5, 5)],
        [port("i", "N", 3, dtype=TensorProto.INT64)],
        [port("y", "N", 3, 9)],
    ),
    "shared by two layers": made(
        [node("MatMul", ["x", "w"], ["h"]), node("Relu", ["h"], ["r"]), node("MatMul", ["r", "w"], ["y"])],
        [tensor("w", 6, 6)],
        [X],
        [port("y", "N", 6)],
    ),
    "in a bidirectional LSTM": made(
        [node("LSTM", ["x", "W", "R", "B"], ["Y", "y"], hidden_size=3, direction="bidirectional")],
        [tensor("W", 2, 12, 5), tensor("R", 2, 12, 3), tensor("B", 2, 24)],
        [port("x", 7, "N", 5)],
        [port("y", 2, "N", 3)],
    ),
}
PLACES["in a local function"] = made([], [tensor("w", 6, 4)], [X], [Y])
PLACES["in a local function"].graph.node.append(helper.make_node("Dense", ["x", "w"], ["y"], "call", domain="mine"))
PLACES["in a local function"].functions.append(
    helper.make_function(
        "mine",
        "Dense",
        ["a", "b"],
        ["c"],
        [helper.make_node("MatMul", ["a", "b"], ["m"]), helper.make_node("Relu", ["m"], ["c"])],
        [helper.make_opsetid("", 17)],
    )
)
PLACES["in a local function"].opset_import.append(helper.make_opsetid("mine", 1))
TYPES = {"float": np.float32, "double": np.float64}
BATCH_SECOND = {"in a bidirectional LSTM"}


def example(analysis, examples=5):
    rng = np.random.default_rng(1)
    found = {}
    for p in analysis.inputs:
        shape = (examples, *(d or 8 for d in p.example_shape))
        whole = p.dtype.startswith("int")
        found[p.name] = rng.integers(0, 9, shape) if whole else rng.random(shape).astype(TYPES[p.dtype])
    return found


@pytest.mark.parametrize("place", [p for p in PLACES if p not in BATCH_SECOND])
def test_it_is_trained_and_written_back(place):
    model = unshare(vet(PLACES[place].SerializeToString()))
    analysis, network = analyse(model)
    assert write_back(model, network).SerializeToString() == model.SerializeToString()
    before = [w.detach().clone() for w in network.module.parameters()]
    feeds = example(analysis)
    x = {k: torch.from_numpy(v) for k, v in feeds.items()}
    optimizer = torch.optim.SGD(network.module.parameters(), 0.1)
    network.module.train()
    network(x)["y"].square().mean().backward()
    optimizer.step()
    assert all(not torch.equal(a, b) for a, b in zip(before, network.module.parameters(), strict=True))
    written = write_back(model, network)
    agreement = compare(written.SerializeToString(), network, feeds)
    assert agreement is not None and agreement.relative < (1e-3 if "half" in place else 1e-5)
    assert [n.SerializeToString() for n in written.graph.node] == [n.SerializeToString() for n in model.graph.node]
    assert {t.name: t.data_type for t in written.graph.initializer} == {
        t.name: t.data_type for t in model.graph.initializer
    }


@pytest.mark.parametrize(
    ("place", "layers"),
    [
        ("transposed by a node", {"w": (4, 6)}),
        ("slices of one tensor", {"w": (4, 6), "w'": (4, 6)}),
        ("from the left", {"w": (4, 6)}),
        ("tied to an embedding", {"v": (5, 5), "w": (9, 5)}),
        ("shared by two layers", {"w": (6, 6)}),
        ("in a local function", {"w": (4, 6)}),
    ],
)
def test_layers_are_dense_whatever_the_file_says(place, layers):
    analysis, _ = analyse(vet(PLACES[place].SerializeToString()))
    assert {layer.name: layer.shape for layer in analysis.layers} == layers


def test_matrices_of_recurrent_layers_are_pruned():
    """With the batch at axis 1, as ONNX has it, a Transpose before and after."""
    lstm = PLACES["in a bidirectional LSTM"]
    nodes = [
        node("Transpose", ["s"], ["x"], perm=[1, 0, 2]),
        *lstm.graph.node,
        node("Transpose", ["y"], ["z"], perm=[1, 0, 2]),
    ]
    model = made(nodes, lstm.graph.initializer, [port("s", "N", 7, 5)], [port("z", "N", 2, 3)])
    analysis, network = analyse(vet(model.SerializeToString()))
    assert [(x.kind, x.shape) for x in analysis.layers] == [("recurrent", (12, 5)), ("recurrent", (12, 3))] * 2
    assert analysis.multiply_adds == 7 * analysis.weights == 7 * 2 * 12 * 8
    with torch.no_grad():
        for W in network.W().values():
            W.mul_(torch.rand(W.shape, generator=torch.Generator().manual_seed(0)) > 0.5)
    written = write_back(model, network)
    feeds = example(analysis)
    agreement = compare(written.SerializeToString(), network, feeds)
    assert agreement is not None and agreement.relative < 1e-5
    zeros = sum(int((numpy_helper.to_array(t) == 0).sum()) for t in written.graph.initializer)
    assert zeros == sum(int((W == 0).sum()) for W in network.W().values())


def test_a_weight_that_is_used_otherwise_too_stays_as_it_is():
    nodes = [
        node("MatMul", ["x", "w"], ["h"]),
        node("ReduceSum", ["w"], ["total"]),
        node("Add", ["h", "total"], ["g"]),
        node("MatMul", ["g", "v"], ["y"]),
    ]
    model = made(nodes, [tensor("w", 6, 5), tensor("v", 5, 4)], [X], [Y])
    analysis, network = analyse(vet(model.SerializeToString()))
    assert [layer.name for layer in analysis.layers] == ["v"]
    network.module.train()
    network({"x": torch.ones(2, 6)})["y"].sum().backward()
    assert [p.requires_grad for p in network.module.parameters()].count(False) == 1


def test_a_model_of_constant_weights_has_nothing_to_prune():
    nodes = [node("ConstantOfShape", ["s"], ["w"]), node("MatMul", ["x", "w"], ["y"])]
    with pytest.raises(RejectedModel, match="nothing to prune"):
        analyse(vet(made(nodes, [ints("s", 6, 4)], [X], [Y]).SerializeToString()))


def reshaped_through(shape, back, batch=1):
    """A literal batch in two Reshapes around a product."""
    nodes = [
        node("Reshape", ["x", "there"], ["r"]),
        node("MatMul", ["r", "w"], ["h"]),
        node("Reshape", ["h", "back"], ["y"]),
    ]
    tensors = [ints("there", *shape), ints("back", *back), tensor("w", shape[-1], shape[-1])]
    return made(nodes, tensors, [port("x", batch, 4, 6)], [port("y", batch, 4, 6)])


@pytest.mark.parametrize(
    ("shape", "back", "batch"),
    [
        ((1, 4, 6), (1, 4, 6), 1),
        ((4, 6), (1, 4, 6), 1),
        ((-1, 6), (1, 4, 6), 1),
        ((1, 2, 2, 6), (1, 4, -1), 1),
        ((2, 4, 6), (2, 4, 6), 2),
        ((8, 6), (2, 4, 6), 2),
        ((0, 8, 3), (-1, 4, 6), 2),
    ],
)
def test_a_literal_batch_is_freed(shape, back, batch):
    analysis, network = analyse(vet(reshaped_through(shape, back, batch).SerializeToString()))
    assert network.frame is None
    assert network({"x": torch.rand(7, 4, 6)})["y"].shape == (7, 4, 6)
    assert any("the batch is fixed" in warning for warning in analysis.warnings)


def test_a_batch_that_cannot_be_freed_is_trained_in_pieces():
    """Expand to a literal batch of 2."""
    nodes = [
        node("Expand", ["one", "s"], ["e"]),
        node("Concat", ["x", "e"], ["c"], axis=1),
        node("MatMul", ["c", "w"], ["y"]),
    ]
    tensors = [tensor("one", 1, 2), ints("s", 2, 2), tensor("w", 8, 4)]
    model = made(nodes, tensors, [port("x", 2, 6)], [port("y", 2, 4)])
    analysis, network = analyse(vet(model.SerializeToString()))
    assert network.frame == 2
    assert any("could not be freed" in warning for warning in analysis.warnings)
    agreement = compare(model.SerializeToString(), network, {"x": np.random.default_rng(0).random((7, 6), np.float32)})
    assert agreement is not None and agreement.relative < 1e-5


def test_a_vector_without_a_batch_axis_is_trained_example_by_example():
    model = made([node("MatMul", ["w", "x"], ["y"])], [tensor("w", 4, 6)], [port("x", 6)], [port("y", 4)])
    analysis, network = analyse(vet(model.SerializeToString()))
    assert network.frame == 0 and analysis.outputs[0].shape == (4,)
    assert network({"x": torch.rand(3, 6)})["y"].shape == (3, 4)


def test_opset_6_is_raised_for_conversion_alone():
    nodes = [
        node("MatMul", ["x", "w"], ["h"]),
        node("Elu", ["h"], ["y"]),
    ]
    model = made(nodes, [tensor("w", 6, 4)], [X, port("w", 6, 4)], [Y], opset=6)
    model.ir_version = 3
    analysis, network = analyse(vet(model.SerializeToString()))
    assert analysis.opset == 6
    assert write_back(model, network).opset_import[0].version == 6


def test_two_inputs_and_two_outputs():
    nodes = [
        node("Concat", ["a", "b"], ["c"], axis=1),
        node("MatMul", ["c", "w"], ["h"]),
        node("Relu", ["h"], ["y"]),
        node("Sigmoid", ["h"], ["z"]),
    ]
    inputs, outputs = [port("a", "N", 2), port("b", "N", 3)], [port("y", "N", 4), port("z", "N", 4)]
    analysis, network = analyse(vet(made(nodes, [tensor("w", 5, 4)], inputs, outputs).SerializeToString()))
    assert network.inputs == ("a", "b") and network.outputs == ("y", "z")
    assert [p.name for p in analysis.outputs] == ["y", "z"]
    assert analysis.multiply_adds == 20
