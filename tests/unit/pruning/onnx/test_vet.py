"""Hostile and broken files: each is refused by the rule that it breaks, in words."""

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from pruning.errors import RejectedModel
from pruning.onnx.analyse import analyse
from pruning.onnx.vet import Limits, vet
from tests.conftest import tiny_model


def changed(change) -> bytes:
    model = tiny_model()
    change(model)
    return model.SerializeToString()


def external(model: ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


def external_in_attribute(model: ModelProto) -> None:
    hidden = TensorProto(name="hidden", data_type=1, dims=[1], data_location=TensorProto.EXTERNAL)
    hidden.external_data.add(key="location", value="../../secret")
    model.graph.node.append(helper.make_node("Constant", [], ["k"], "const", value=hidden))


def nan(model: ModelProto) -> None:
    tensor = model.graph.initializer[0]
    values = numpy_helper.to_array(tensor).copy()
    values[0] = np.nan
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def shadowing(model: ModelProto) -> None:
    model.functions.add(name="Relu", domain="")


def recursive(model: ModelProto) -> None:
    model.functions.add(name="f", domain="d", output=["y"], input=["x"]).node.add(op_type="f", domain="d")


def training(model: ModelProto) -> None:
    model.training_info.add()


def loop(model: ModelProto) -> None:
    body = helper.make_graph([], "b", [], [])
    model.graph.node.append(helper.make_node("Loop", ["", ""], ["k"], "again", body=body))


def subgraph(model: ModelProto) -> None:
    body = helper.make_graph([], "b", [], [])
    model.graph.node.append(helper.make_node("If", ["image"], ["k"], "branch", then_branch=body, else_branch=body))


def domain(model: ModelProto) -> None:
    model.graph.node[2].domain = "com.microsoft"


def unknown(model: ModelProto) -> None:
    model.graph.node[2].op_type = "NonMaxSuppression"


def short(model: ModelProto) -> None:
    model.graph.initializer[0].raw_data = b"\0" * 8


def short_typed(model: ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.float_data.extend([1.0])


def huge(model: ModelProto) -> None:
    model.graph.initializer[0].dims[0] = 2**40


def negative(model: ModelProto) -> None:
    model.graph.initializer[0].dims[0] = -1


def old(model: ModelProto) -> None:
    model.opset_import[0].version = 0


def new(model: ModelProto) -> None:
    model.opset_import[0].version = 27


def new_ir(model: ModelProto) -> None:
    model.ir_version = 14


def sparse(model: ModelProto) -> None:
    model.graph.sparse_initializer.add()


def dangling(model: ModelProto) -> None:
    model.graph.node[2].input[0] = "nowhere"


def two_inputs(model: ModelProto) -> None:
    model.graph.input.add().CopyFrom(helper.make_tensor_value_info("other", TensorProto.FLOAT, [1]))


def no_layers(model: ModelProto) -> None:
    del model.graph.node[:]
    model.graph.node.append(helper.make_node("Relu", ["image"], ["logits"]))
    del model.graph.output[0].type.tensor_type.shape.dim[:]
    for _ in range(4):
        model.graph.output[0].type.tensor_type.shape.dim.add()


CASES = [
    (b"", "not an ONNX model"),
    (b"GIF89a, no model at all", "not an ONNX file"),
    (tiny_model().SerializeToString()[:-200], "not an ONNX file, or a truncated one"),
    (changed(external), "'conv1.weight' is kept in another file; save the model as one file"),
    (changed(external_in_attribute), "'hidden' of Constant 'const' is kept in another file"),
    (changed(nan), "'conv1.weight' holds NaN"),
    (changed(shadowing), "bears the name of a standard operator"),
    (changed(recursive), "function 'f' calls itself"),
    (changed(training), "training graphs are not taken"),
    (changed(loop), "Loop 'again': control flow is not taken"),
    (changed(subgraph), "If 'branch'"),
    (changed(domain), "Relu 'relu': domain 'com.microsoft' is not taken"),
    (changed(unknown), "NonMaxSuppression 'relu': this operator is not supported"),
    (changed(short), "8 bytes do not fill dimensions"),
    (changed(short_typed), "do not fill dimensions"),
    (changed(huge), "dimensions"),
    (changed(negative), "dimensions"),
    (changed(old), "opset 0: only 1 to 26 are taken; export with opset 17"),
    (changed(new), "opset 27"),
    (changed(new_ir), "IR version 14"),
    (changed(sparse), "sparse initializers"),
    (changed(dangling), "checker"),
    (changed(two_inputs), "input 'other' has no batch axis"),
    (changed(no_layers), "nothing to prune"),
]


@pytest.mark.parametrize(("content", "says"), CASES, ids=[says[:30] for _, says in CASES])
def test_is_refused_in_words(content, says):
    with pytest.raises(RejectedModel, match=says):
        analyse(vet(content))


def test_size_is_the_first_rule():
    with pytest.raises(RejectedModel, match="9 bytes; at most 8"):
        vet(b"not onnx!", Limits(bytes=8))


def test_every_cut_of_a_file_is_refused_or_whole():
    whole = tiny_model().SerializeToString()
    for cut in range(0, len(whole), 97):
        with pytest.raises(RejectedModel):
            analyse(vet(whole[:cut]))


def test_a_good_file_is_taken_unchanged():
    content = tiny_model().SerializeToString()
    assert vet(content).SerializeToString() == content


def chain(operator: str, times: int, side: int, **attributes: Any) -> bytes:
    """The same again and again, on values of N x 1 x side x side."""
    nodes = [helper.make_node("Expand", ["one", "s"], ["v0"])]
    for i in range(times):
        inputs = {"MatMul": [f"v{i}"] * 2, "Conv": [f"v{i}", "w"]}.get(operator, [f"v{i}"])
        nodes.append(helper.make_node(operator, inputs, [f"v{i + 1}"], **attributes))
    model = tiny_model()
    model.graph.node.extend(nodes)
    sizes, window = np.array([1, 1, side, side]), np.zeros((1, 1, 9, 9), np.float32)
    for name, values in {"one": np.float32(1), "s": sizes, "w": window}.items():
        model.graph.initializer.append(numpy_helper.from_array(np.array(values), name))
    return model.SerializeToString()


def one(operator: str, *shapes: tuple[int, ...], opset: int = 17, **attributes: Any) -> bytes:
    """A node that reads values of these shapes, which are not stored; its result is not used."""
    model = tiny_model(opset=opset)
    for i, shape in enumerate(shapes):
        model.graph.initializer.append(numpy_helper.from_array(np.array(shape), f"s{i}"))
        model.graph.node.append(helper.make_node("ConstantOfShape", [f"s{i}"], [f"i{i}"]))
    names = [f"i{i}" for i in range(len(shapes))]
    model.graph.node.append(helper.make_node(operator, names, ["o"], operator, **attributes))
    return model.SerializeToString()


def within_a_function(content: bytes) -> bytes:
    """The same, with the last two nodes called by the name of a function."""
    model = ModelProto.FromString(content)
    constant, last = model.graph.node[-2:]
    opset = [helper.make_opsetid("", model.opset_import[0].version)]
    model.functions.append(helper.make_function("d", "f", ["s"], ["t"], [constant, last], opset))
    del model.graph.node[-2:]
    function = model.functions[0]
    function.node[0].input[0], function.node[1].output[0] = "s", "t"
    model.graph.node.append(helper.make_node("f", ["s0"], ["o"], domain="d"))
    model.opset_import.append(helper.make_opsetid("d", 1))
    return model.SerializeToString()


def within_a_branch(content: bytes) -> bytes:
    """The same, with the last two nodes in a branch."""
    model = ModelProto.FromString(content)
    output = [helper.make_tensor_value_info("o", TensorProto.FLOAT, None)]
    body = helper.make_graph(model.graph.node[-2:], "body", [], output)
    del model.graph.node[-2:]
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    model.graph.node.append(helper.make_node("If", ["yes"], ["chosen"], then_branch=body, else_branch=body))
    return model.SerializeToString()


def unrolled(steps: int, hidden: int) -> bytes:
    return one("LSTM", (steps, 2, 8), (1, 4 * hidden, 8), (1, 4 * hidden, hidden), hidden_size=hidden)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (chain("Relu", 1000, 4096), "elements together; at most 8,589,934,592 are taken: export a smaller model"),
        (chain("MatMul", 20, 4096), "multiply-adds for 2 examples; at most 549,755,813,888 are taken: export a smal"),
        (chain("Conv", 500, 4096, pads=[4] * 4), "multiply-adds"),
        (chain("AveragePool", 2, 4096, kernel_shape=[513, 513], pads=[256] * 4), "multiply-adds"),
        (one("Einsum", (2**14, 2**14), (2**14, 2**14), equation="ij,jk->ik"), "multiply-adds"),
        (one("Einsum", *[(2**14, 2**14)] * 3, equation="...ij,...jk,...kl"), "multiply-adds"),
        (one("Einsum", *[(256,)] * 8, equation="a,b,c,d,a,b,c,d->"), "4,294,967,296 elements between its inputs and"),
        (unrolled(2**15, 2**12), "multiply-adds"),
        (unrolled(2**20, 1), "1,048,576 steps one after the other; at most 65,536 are taken"),
        (one("LRN", (1, 2**20, 2, 2), size=2**20), "multiply-adds"),
        (one("Det", (2**14, 2**14)), "multiply-adds"),
        (one("Attention", *[(1, 1, 2**16, 4)] * 3, opset=23), "4,294,967,296 elements between its inputs"),
        (within_a_branch(one("Det", (2**14, 2**14))), "multiply-adds"),
        (within_a_function(one("Det", (2**14, 2**14))), "multiply-adds"),
    ],
)
def test_hours_of_work_are_refused_before_any_is_done(content, says):
    """No value is too large, each operator is quick, and all of them kept a machine busy until its limit."""
    with pytest.raises(RejectedModel, match=says):
        vet(content)


def test_small_work_is_taken():
    for operator in ("Relu", "MatMul"):
        vet(chain(operator, 20, 64))
    vet(one("Einsum", (2**12, 2), (2**12, 2), (2, 9), equation="aj, bj, jk -> k"))
    vet(one("Einsum", *[(2**20,)] * 2, equation="a,b->"))
    vet(unrolled(2**12, 64))
