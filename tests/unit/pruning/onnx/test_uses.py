"""Laws of one tensor that is read in several ways, and of what axis 0 is."""

import itertools

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from pruning.errors import RejectedModel
from pruning.onnx import batchnorm
from pruning.onnx.agree import compare
from pruning.onnx.analyse import analyse
from pruning.onnx.unshare import unshare
from pruning.onnx.vet import vet
from pruning.onnx.writeback import write_back
from tests.unit.pruning.onnx.test_weights import ints, made, node, port, tensor

USES = {
    "product": [("MatMul", ["x", "w"])],
    "transposed": [("Transpose", ["w"]), ("MatMul", ["x", "_"])],
    "gemm": [("Gemm", ["x", "w"])],
    "sliced": [("Slice", ["w", "zero", "six", "one"]), ("MatMul", ["x", "_"])],
    "half": [("Slice", ["w", "zero", "three", "one"]), ("MatMul", ["x", "_"]), ("Concat", ["_", "_"])],
    "reshaped": [("Reshape", ["w", "flat"]), ("Reshape", ["_", "square"]), ("MatMul", ["x", "_"])],
    "embedding": [("Gather", ["w", "i"])],
    "number": [("ReduceSum", ["w"]), ("Mul", ["x", "_"])],
    "squared": [("Mul", ["w", "w"]), ("MatMul", ["x", "_"])],
    "row": [("Slice", ["w", "zero", "one", "zero"]), ("Add", ["x", "_"])],
}
CONSTANTS = [
    ints("zero", 0), ints("one", 1), ints("three", 3), ints("six", 6), ints("flat", -1), ints("square", 6, 6)
]  # fmt: skip


def use(name: str, k: int) -> tuple[list, str]:
    """The nodes of one use, with outputs of their own, and the last one."""
    nodes, value = [], ""
    for step, (op, inputs) in enumerate(USES[name]):
        out = f"{name}_{k}_{step}"
        attributes = {"Concat": {"axis": 1}, "ReduceSum": {"keepdims": 0}}.get(op, {})
        nodes.append(node(op, [value if i == "_" else i for i in inputs], [out], **attributes))
        value = out
    return nodes, value


@pytest.mark.parametrize(("first", "second"), list(itertools.product(USES, USES)))
def test_what_is_trained_is_what_the_file_computes(first, second):
    """Any change of the parameters is seen in the file wherever it reads the tensor."""
    (a, left), (b, right) = use(first, 1), use(second, 2)
    nodes = [*a, *b, node("Add", [left, right], ["s"]), node("MatMul", ["s", "v"], ["y"])]
    inputs = [port("x", "N", 6), port("i", "N", dtype=TensorProto.INT64)]
    inputs = inputs if "embedding" in (first, second) else inputs[:1]
    if {first, second} == {"embedding"}:
        inputs = inputs[1:]
    content = made(nodes, [tensor("w", 6, 6), tensor("v", 6, 3), *CONSTANTS], inputs, [port("y", "N", 3)])
    model = unshare(vet(content.SerializeToString()))
    _, network = analyse(model)
    with torch.no_grad():
        for parameter in network.module.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    feeds = {p.name: FEEDS[p.name] for p in inputs}
    agreement = compare(write_back(model, network).SerializeToString(), network, feeds)
    assert agreement is not None and agreement.relative < 1e-5


RNG_POSITIVE = np.random.default_rng(3).random((2, 4), np.float32) + 0.5
FEEDS = {"x": np.random.default_rng(0).random((5, 6), np.float32), "i": np.array([0, 5, 2, 2, 1])}


@pytest.mark.parametrize("dtype", [TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE])
def test_a_stored_type_is_cast_and_delivered_as_it_came(dtype):
    stored = helper.make_tensor("w", dtype, [6, 4], np.linspace(-1, 1, 24))
    nodes = [node("Cast", ["w"], ["c"], to=TensorProto.FLOAT), node("MatMul", ["x", "c"], ["y"])]
    model = unshare(vet(made(nodes, [stored], [port("x", "N", 6)], [port("y", "N", 4)]).SerializeToString()))
    _, network = analyse(model)
    with torch.no_grad():
        network.W()["w"].mul_(1.5)
    written = write_back(model, network)
    agreement = compare(written.SerializeToString(), network, {"x": FEEDS["x"]})
    assert agreement is not None and agreement.relative < 2e-2
    assert written.graph.initializer[0].data_type == dtype


def shared_head() -> bytes:
    """One convolution with its bias, of different numbers, on two branches."""
    nodes = [
        node("Conv", ["x", "a", "b"], ["h"], pads=[1] * 4),
        node("Conv", ["h", "w", "c"], ["p"], pads=[1] * 4),
        node("Conv", ["x", "w", "c"], ["q"], pads=[1] * 4),
        node("Concat", ["p", "q"], ["r"], axis=1),
        node("Conv", ["r", "d", "b"], ["s"], pads=[1] * 4),
        node("Conv", ["s", "e", "f"], ["t"], pads=[1] * 4),
        node("GlobalAveragePool", ["t"], ["u"]),
        node("Flatten", ["u"], ["y"]),
    ]
    shapes = {"a": (4, 4, 3, 3), "w": (4, 4, 3, 3), "d": (4, 8, 3, 3), "e": (4, 4, 3, 3), "c": (4,), "f": (4,)}
    zeros = numpy_helper.from_array(np.zeros(4, np.float32), "b")
    tensors = [*(tensor(k, *s) for k, s in shapes.items()), zeros]
    return made(nodes, tensors, [port("x", "N", 4, 8, 8)], [port("y", "N", 4)]).SerializeToString()


def test_layers_that_are_applied_twice_stay_one():
    """And equal vectors of two layers, which exporters merge, become two."""
    model = unshare(vet(shared_head()))
    assert [n.input[2] for n in model.graph.node if n.op_type == "Conv"] == ["b", "c", "c", "b__2", "f"]
    _, network = analyse(model)
    assert [layer.weight for layer in network.layers.values()] == ["a", "w", "d", "e"]
    layer = next(name for name, x in network.layers.items() if x.weight == "w")
    assert network.layers[layer].multiply_adds == 2 * 4 * 4 * 9 * 64


def test_scales_of_normalizations_without_any_are_told_apart():
    """affine=False: all of them read the same ones and zeros, beside statistics of their own."""
    ones, zeros = (numpy_helper.from_array(np.full(4, v, np.float32), n) for n, v in (("g", 1), ("b", 0)))
    stats = [tensor(n, 4) for n in ("m1", "m2")] + [
        numpy_helper.from_array(RNG_POSITIVE[i], n) for i, n in enumerate(("v1", "v2"))
    ]
    nodes = [
        node("Conv", ["x", "w"], ["h"]),
        node("BatchNormalization", ["h", "g", "b", "m1", "v1"], ["n"]),
        node("Relu", ["n"], ["r"]),
        node("BatchNormalization", ["r", "g", "b", "m2", "v2"], ["s"]),
        node("BatchNormalization", ["s", "g", "b", "m2", "v2"], ["y"]),
    ]
    content = made(
        nodes, [tensor("w", 4, 2, 1, 1), ones, zeros, *stats], [port("x", "N", 2, 4, 4)], [port("y", "N", 4, 4, 4)]
    )
    model = unshare(vet(content.SerializeToString()))
    assert [list(n.input[1:3]) for n in model.graph.node if n.op_type == "BatchNormalization"] == [
        ["g", "b"],
        ["g__2", "b__2"],
        ["g__2", "b__2"],
    ]
    _, network = analyse(model)
    assert sum(isinstance(m, torch.nn.modules.batchnorm._BatchNorm) for m in network.module.modules()) == 2


def test_folding_leaves_layers_alone_that_are_applied_twice():
    _, network = analyse(unshare(vet(shared_head())))
    x = {"x": torch.randn(8, 4, 8, 8, generator=torch.Generator().manual_seed(0))}
    batchnorm.insert(network, [x])
    assert len(network.inserted) == 3
    trained = [p for p in network.module.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, 0.05)
    network.module.train()
    for _ in range(3):
        optimizer.zero_grad()
        network(x)["y"].square().sum().backward()
        optimizer.step()
    network.module.eval()
    with torch.no_grad():
        before = network(x)["y"]
        batchnorm.fold(network)
        assert torch.allclose(network(x)["y"], before, rtol=1e-4, atol=1e-5)


def test_old_files_get_copies_that_are_inputs_too():
    """Before IR version 4 every initializer had to be an input."""
    nodes = [
        node("Gemm", ["x", "w", "b"], ["h"]),
        node("Relu", ["h"], ["r"]),
        node("Gemm", ["r", "v", "b"], ["y"]),
    ]
    zeros = numpy_helper.from_array(np.zeros(6, np.float32), "b")
    tensors = [tensor("w", 6, 6), tensor("v", 6, 6), zeros]
    stored = [port("w", 6, 6), port("v", 6, 6), port("b", 6)]
    old = made(nodes, tensors, [port("x", "N", 6), *stored], [port("y", "N", 6)], opset=8)
    old.ir_version = 3
    model = unshare(vet(old.SerializeToString()))
    _, network = analyse(model)
    assert vet(write_back(model, network).SerializeToString()).graph.initializer[-1].name == "b__2"


def sequence_first(steps: object, batch: object) -> bytes:
    """Attention over axis 0, as PyTorch has it by default."""
    nodes = [
        node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
        node("Transpose", ["t"], ["u"], perm=[0, 2, 1]),
        node("MatMul", ["t", "u"], ["scores"]),
        node("Softmax", ["scores"], ["p"], axis=-1),
        node("MatMul", ["p", "t"], ["v"]),
        node("Transpose", ["v"], ["back"], perm=[1, 0, 2]),
        node("MatMul", ["back", "w"], ["y"]),
    ]
    ports = [port("x", steps, batch, 4)], [port("y", steps, batch, 3)]
    return made(nodes, [tensor("w", 4, 3)], *ports).SerializeToString()


@pytest.mark.parametrize(("steps", "batch"), [("T", "N"), (7, 1), ("T", 2)])
def test_an_axis_0_that_is_not_the_batch_is_refused(steps, batch):
    with pytest.raises(RejectedModel, match="axis 0 must be the batch"):
        analyse(vet(sequence_first(steps, batch)))


def test_an_output_with_other_rows_is_refused():
    nodes = [node("MatMul", ["x", "w"], ["h"]), node("Transpose", ["h"], ["y"], perm=[1, 0])]
    content = made(nodes, [tensor("w", 6, 4)], [port("x", "N", 6)], [port("y", 4, "N")])
    with pytest.raises(RejectedModel, match="output 'y' has 4 rows for 2 examples"):
        analyse(vet(content.SerializeToString()))


def test_dimensions_known_only_at_run_time_stay_open():
    nodes = [node("Conv", ["x", "w"], ["y"], pads=[1] * 4)]
    content = made(nodes, [tensor("w", 3, 2, 3, 3)], [port("x", "N", 2, "H", "W")], [port("y", "N", 3, "H", "W")])
    analysis, _ = analyse(vet(content.SerializeToString()))
    assert analysis.outputs[0].shape == (None, 3, None, None)
    assert any("taken as 8" in warning for warning in analysis.warnings)
