"""Every operator that is taken, held against ONNX Runtime; then what training does to the file."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from pruning.analysis import DatasetSummary, Split, check_fit
from pruning.errors import RejectedModel
from pruning.measure import run, session
from pruning.onnx.analyse import analyse, check_agreement
from pruning.onnx.convert import stored_tensors
from pruning.onnx.unshare import unshare
from pruning.onnx.vet import vet
from pruning.onnx.writeback import write_back
from tests.conftest import DATA

CHANNELS = 3


def weight(name, *shape, seed=0, dtype: type = np.float32):
    return numpy_helper.from_array(np.random.default_rng(seed).standard_normal(shape).astype(dtype), name)


def ints(name, *values):
    return numpy_helper.from_array(np.array(values, np.int64), name)


def number(name, value):
    return numpy_helper.from_array(np.array(value, np.float32), name)


def boolean(name, value):
    return numpy_helper.from_array(np.array(value), name)


def model(nodes, tensors=(), shape=("N", CHANNELS, 8, 8), opset=17, output="y"):
    """The nodes between a convolution (something to prune) and the output."""
    first = helper.make_node("Conv", ["x", "conv.weight"], ["h"], "conv", pads=[1, 1, 1, 1])
    graph = helper.make_graph(
        [first, *nodes],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        [weight("conv.weight", 4, CHANNELS, 3, 3), *tensors],
    )
    graph.output[0].type.tensor_type.shape.SetInParent()
    del graph.output[0].type.tensor_type.shape.dim[:]
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    inferred = onnx.shape_inference.infer_shapes(made).graph.output[0]
    for _ in inferred.type.tensor_type.shape.dim:
        made.graph.output[0].type.tensor_type.shape.dim.add()
    return made


def node(op, *inputs, **attributes):
    return helper.make_node(op, inputs or ["h"], ["y"], f"the {op}", **attributes)


def chain(*nodes):
    """Nodes one after the other; `_` is the value before."""
    result, value = [], "h"
    for i, (op, inputs, attributes) in enumerate(nodes):
        out = "y" if i == len(nodes) - 1 else f"v{i}"
        result.append(helper.make_node(op, [value if n == "_" else n for n in inputs], [out], f"{op}{i}", **attributes))
        value = out
    return result


BN = [weight(n, 4, seed=i) for i, n in enumerate("gb")] + [
    weight("m", 4, seed=3),
    numpy_helper.from_array(np.array([0.5, 1, 2, 3], np.float32), "v"),
]
CASES = {
    "Add": model([node("Add", "h", "b")], [weight("b", 4, 1, 1)]),
    "Add of a scalar": model([node("Add", "h", "b")], [weight("b", 1)]),
    "Add of two branches": model([node("Add", "h", "h")]),
    "AveragePool": model([node("AveragePool", kernel_shape=[2, 3], strides=[2, 1])]),
    "AveragePool padded": model([node("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1])]),
    "AveragePool padded counted": model(
        [node("AveragePool", kernel_shape=[3, 3], pads=[0, 1, 1, 1], count_include_pad=1)]
    ),
    "BatchNormalization": model([node("BatchNormalization", *"hgbmv")], BN),
    "Cast": model(chain(("Cast", ["_"], {"to": TensorProto.DOUBLE}), ("Cast", ["_"], {"to": TensorProto.FLOAT}))),
    "Clip": model([node("Clip", "h", "lo", "hi")], [weight("lo"), number("hi", 2)]),
    "Clip one side": model([node("Clip", "h", "", "hi")], [number("hi", 0.3)]),
    "Clip of opset 9": model([node("Clip", min=0.0, max=6.0)], opset=9),
    "Concat": model([node("Concat", "h", "x", axis=1)]),
    "Constant": model(chain(("Constant", [], {"value_float": 2.5}), ("Mul", ["h", "_"], {}))),
    "Constant tensor": model(
        [helper.make_node("Constant", [], ["k"], value=weight("", 4, 1, 1)), node("Mul", "h", "k")]
    ),
    "ConstantOfShape": model(
        [
            helper.make_node("ConstantOfShape", ["s"], ["k"], value=numpy_helper.from_array(np.array([3], np.float32))),
            node("Add", "h", "k"),
        ],
        [ints("s", 1, 4, 1, 1)],
    ),
    "Conv": model(
        [node("Conv", "h", "w", "b", strides=[2, 1], dilations=[1, 2], group=2)],
        [weight("w", 6, 2, 3, 3), weight("b", 6)],
    ),
    "Conv asymmetric": model([node("Conv", "h", "w", pads=[0, 1, 2, 1])], [weight("w", 6, 4, 3, 3)]),
    "Conv SAME_UPPER": model(
        [node("Conv", "h", "w", auto_pad="SAME_UPPER", strides=[2, 2])], [weight("w", 6, 4, 4, 3)]
    ),
    "Conv SAME_LOWER": model(
        [node("Conv", "h", "w", auto_pad="SAME_LOWER", strides=[2, 2])], [weight("w", 6, 4, 4, 3)]
    ),
    "Conv VALID": model([node("Conv", "h", "w", auto_pad="VALID")], [weight("w", 6, 4, 3, 3)]),
    "Div": model([node("Div", "h", "b")], [number("b", 3)]),
    "Dropout": model([node("Dropout")]),
    "Flatten": model([node("Flatten")]),
    "Flatten at 2": model(chain(("Flatten", ["_"], {"axis": 2}), ("Reshape", ["_", "s"], {})), [ints("s", -1, 4, 64)]),
    "Gather": model([node("Gather", "h", "i", axis=1)], [ints("i", 2, -1, 0)]),
    "Gemm": model(
        chain(("Flatten", ["_"], {}), ("Gemm", ["_", "w", "b"], {"transB": 1})), [weight("w", 5, 256), weight("b", 5)]
    ),
    "Gemm not transposed": model(chain(("Flatten", ["_"], {}), ("Gemm", ["_", "w"], {})), [weight("w", 256, 5)]),
    "GlobalAveragePool": model([node("GlobalAveragePool")]),
    "Identity": model([node("Identity")]),
    "LeakyRelu": model([node("LeakyRelu", alpha=0.2)]),
    "LogSoftmax": model([node("LogSoftmax", axis=1)]),
    "MatMul": model(
        chain(("Flatten", ["_"], {}), ("MatMul", ["_", "w"], {}), ("Add", ["b", "_"], {})),
        [weight("w", 256, 5), weight("b", 5)],
    ),
    "MaxPool": model([node("MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])]),
    "MaxPool uneven": model([node("MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1])]),
    "MaxPool ceil": model([node("MaxPool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)]),
    "Mul": model([node("Mul", "h", "b")], [weight("b", 4, 1, 1)]),
    "Pad": model([node("Pad", "h", "p", "c")], [ints("p", 0, 1, 2, 0, 0, 1, 0, 3), number("c", 2)]),
    "Pad with axes": model([node("Pad", "h", "p", "", "a")], [ints("p", 1, 2), ints("a", -1)], opset=18),
    "Pad reflect": model([node("Pad", "h", "p", mode="reflect")], [ints("p", 0, 0, 2, 1, 0, 0, 1, 2)]),
    "Pad of opset 9": model([node("Pad", pads=[0, 0, 1, 1, 0, 0, 1, 1], value=1.0)], opset=9),
    "ReduceMean": model([node("ReduceMean", axes=[2, 3], keepdims=0)]),
    "ReduceMean of opset 18": model([node("ReduceMean", "h", "a")], [ints("a", -1)], opset=18),
    "Relu": model([node("Relu")]),
    "Reshape": model([node("Reshape", "h", "s")], [ints("s", 0, 2, -1)]),
    "Reshape computed": model(
        [
            helper.make_node("Shape", ["h"], ["s"]),
            helper.make_node("Gather", ["s", "zero"], ["n"]),
            helper.make_node("Unsqueeze", ["n", "zeros"], ["n1"]),
            helper.make_node("Concat", ["n1", "rest"], ["target"], axis=0),
            node("Reshape", "h", "target"),
        ],
        [ints("zeros", 0), numpy_helper.from_array(np.array(0, np.int64), "zero"), ints("rest", -1)],
    ),
    "Shape": model([helper.make_node("Shape", ["h"], ["s"], start=1), node("Reshape", "h", "t")], [ints("t", 0, -1)]),
    "Sigmoid": model([node("Sigmoid")]),
    "Slice": model(
        [node("Slice", "h", "s", "e", "a", "p")],
        [ints("s", 1, -1), ints("e", 100, -100), ints("a", 2, 3), ints("p", 2, -2)],
    ),
    "Slice of opset 9": model([node("Slice", starts=[1], ends=[-1], axes=[1])], opset=9),
    "Softmax": model([node("Softmax", axis=1)]),
    "Softmax of opset 11": model([node("Softmax", axis=1)], opset=11),
    "Squeeze": model(
        [helper.make_node("GlobalAveragePool", ["h"], ["p"]), node("Squeeze", "p", "a")], [ints("a", 2, 3)]
    ),
    "Squeeze of opset 11": model(
        [helper.make_node("GlobalAveragePool", ["h"], ["p"]), node("Squeeze", "p", axes=[2, 3])], opset=11
    ),
    "Sub": model([node("Sub", "b", "h")], [weight("b", 4, 1, 1)]),
    "Tanh": model([node("Tanh")]),
    "Transpose": model([node("Transpose", perm=[0, 2, 3, 1])]),
    "Unsqueeze": model([node("Unsqueeze", "h", "a")], [ints("a", 1, -1)]),
}


def network_of(made):
    return analyse(made)[1]


@pytest.mark.parametrize("name", CASES)
def test_agrees_with_onnx_runtime_and_is_written_back_the_same(name, rng):
    made = vet(CASES[name].SerializeToString())
    network = network_of(made)
    x = rng.standard_normal((5, CHANNELS, 8, 8)).astype(np.float32)
    largest = float(np.abs(run(session(made.SerializeToString()), {"x": x})["y"]).max())
    assert check_agreement(made, network, {"x": x}).max_abs < 1e-5 * max(largest, 1)
    assert write_back(made, network).SerializeToString() == made.SerializeToString()


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (model([node("If", "c", then_branch=helper.make_graph([], "t", [], []))], [ints("c", 1)]), "checker"),
        (model([helper.make_node("MaxPool", ["h"], ["y", "places"], "pool", kernel_shape=[2, 2])]), "Indices output"),
        (
            model([node("Dropout", "h", "r", "t")], [number("r", 0.5), boolean("t", True)]),
            "training_mode must be false",
        ),
        (model([node("Cast", to=TensorProto.STRING)]), "element type string is not supported"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_a_form_that_is_not_supported_is_named(made, says):
    with pytest.raises(RejectedModel, match=says):
        analyse(vet(made.SerializeToString()))


def boolean_branches(true, false):
    """If between two graphs of one node each, that read the value h."""
    graphs = [
        helper.make_graph(
            [helper.make_node(op, ["h"], [f"{op}_out"])], op, [], [helper.make_tensor_value_info(f"{op}_out", 1, None)]
        )
        for op in (true, false)
    ]
    return {"then_branch": graphs[0], "else_branch": graphs[1]}


@pytest.mark.parametrize(("condition", "expected"), [(True, "Relu"), (False, "Tanh")])
def test_control_flow_that_folds_away(condition, expected, rng):
    branches = boolean_branches("Relu", "Tanh")
    nodes = [helper.make_node("Not", ["c"], ["d"]), helper.make_node("Not", ["d"], ["e"]), node("If", "e", **branches)]
    made = vet(model(nodes, [boolean("c", condition)]).SerializeToString())
    network = network_of(made)
    x = rng.standard_normal((3, CHANNELS, 8, 8)).astype(np.float32)
    assert check_agreement(made, network, {"x": x}).max_abs < 1e-5
    assert {"Relu": "relu", "Tanh": "tanh"}[expected] in str(network.module.graph)


def test_trained_weights_are_written_where_they_came_from(rng):
    """Transposed, shared, in a Constant node, as a bias added later, as running statistics, in half precision."""
    half = weight("half", 5, 5, dtype=np.float16)
    nodes = [
        helper.make_node("BatchNormalization", list("hgbmv"), ["n"], "bn"),
        helper.make_node("Flatten", ["n"], ["f"]),
        helper.make_node("MatMul", ["f", "w"], ["a"], "first"),
        helper.make_node("Add", ["a", "bias"], ["c"]),
        helper.make_node("Constant", [], ["k"], value=weight("", 5, 5)),
        helper.make_node("Gemm", ["c", "k"], ["d"], "second", transB=1),
        helper.make_node("Gemm", ["d", "k"], ["e"], "third", transB=1),
        helper.make_node("Cast", ["half"], ["single"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["e", "single"], ["y"], "fourth"),
    ]
    made = vet(model(nodes, [*BN, weight("w", 256, 5), weight("bias", 5), half]).SerializeToString())
    network = network_of(made)
    assert list(network.layers) == ["conv", "w", "k", "half"]
    x = torch.from_numpy(rng.standard_normal((16, CHANNELS, 8, 8)).astype(np.float32))
    optimizer = torch.optim.SGD(network.module.parameters(), 1e-4)
    network.module.train()
    for _ in range(3):
        optimizer.zero_grad()
        network.module(x).square().mean().backward()
        optimizer.step()
    written = write_back(made, network)
    network.module.eval()
    with torch.no_grad():
        expected = network.module(x).numpy()
    got = run(session(written.SerializeToString()), {"x": x.numpy()})["y"]
    assert np.allclose(got, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())  # one matrix is kept in half
    before, after = ({t.name: numpy_helper.to_array(t) for t in m.graph.initializer} for m in (made, written))
    changed = {k for k in before if not np.array_equal(before[k], after[k])}
    assert changed == {"conv.weight", "g", "b", "m", "v", "w", "bias", "half"}
    assert [n.SerializeToString() for i, n in enumerate(made.graph.node) if i != 5] == [
        n.SerializeToString() for i, n in enumerate(written.graph.node) if i != 5
    ]


def test_half_precision_is_delivered_as_it_came():
    made = vet((DATA / "models" / "squeezenet1.1_fp16.onnx").read_bytes())
    network = network_of(made)
    with torch.no_grad():
        for parameter in network.module.parameters():
            parameter.mul_(2)
    before, after = stored_tensors(made), stored_tensors(write_back(made, network))
    for source in network.sources.values():
        assert after[source.tensor].data_type == TensorProto.FLOAT16
        doubled = numpy_helper.to_array(before[source.tensor]) * np.float16(2)
        assert np.array_equal(numpy_helper.to_array(after[source.tensor]), doubled)


@pytest.mark.parametrize("name", ["lenet5", "resnet20"])
def test_real_nets(name):
    content = (DATA / f"{name}.onnx").read_bytes()
    analysis, _ = analyse(vet(content))
    known = {"lenet5": (430_500, 2_293_000, 4), "resnet20": (268_336, 40_551_040, 20)}
    assert (analysis.weights, analysis.multiply_adds, len(analysis.layers)) == known[name]
    assert analysis.agrees_max_abs < 1e-4
    made = vet(content)
    written = write_back(made, network_of(made))
    for m in (made, written):
        for t in m.graph.initializer:
            values = numpy_helper.to_array(t)
            t.CopyFrom(numpy_helper.from_array(values, t.name))
    assert written.SerializeToString() == made.SerializeToString()


def test_a_batch_written_into_the_graph_is_freed():
    made = model([node("Reshape", "h", "s")], [ints("s", 1, -1)], shape=(1, CHANNELS, 8, 8))
    network = network_of(vet(made.SerializeToString()))
    assert network.module(torch.zeros(7, CHANNELS, 8, 8)).shape == (7, 256)
    x = np.random.default_rng(0).random((7, CHANNELS, 8, 8), np.float32)
    assert check_agreement(made, network, {"x": x}).max_abs < 1e-5


@pytest.mark.parametrize(
    ("end", "gives"), [("Softmax", "probabilities"), ("LogSoftmax", "log_probabilities"), ("Relu", "logits")]
)
def test_the_loss_knows_what_the_graph_gives(end, gives):
    assert network_of(vet(model([node(end)]).SerializeToString())).gives == {"y": gives}


def test_scores_with_axes_of_length_one_are_a_row_of_scores():
    content = (DATA / "models" / "squeezenet1.1_fp16.onnx").read_bytes()
    split = Split(examples=2, shape=(3, 224, 224), dtype="float32")
    summary = DatasetSummary(format="npz", splits={"train": split}, classes=10)
    assert check_fit(analyse(vet(content))[0], summary).kind == "classes"


def test_vectors_that_an_exporter_merged_are_trained_apart(rng):
    """Two BatchNormalizations share zeros and ones: their statistics must not overwrite each other."""
    zeros, ones = (numpy_helper.from_array(np.full(4, v, np.float32), n) for n, v in (("zero", 0), ("one", 1)))
    nodes = [
        helper.make_node("BatchNormalization", ["h", "one", "zero", "zero", "one"], ["a"], "bn1"),
        helper.make_node("Relu", ["a"], ["r"]),
        helper.make_node("BatchNormalization", ["r", "one", "zero", "zero", "one"], ["y"], "bn2"),
    ]
    made = unshare(vet(model(nodes, [zeros, ones]).SerializeToString()))
    network = network_of(made)
    x = rng.standard_normal((16, CHANNELS, 8, 8)).astype(np.float32)
    assert check_agreement(made, network, {"x": x}).max_abs < 1e-4
    network.module.train()(torch.from_numpy(x))
    network.module.eval()
    with torch.no_grad():
        expected = network.module(torch.from_numpy(x)).numpy()
    written = write_back(made, network)
    assert np.allclose(run(session(written.SerializeToString()), {"x": x})["y"], expected, atol=1e-4)
    assert len({t.name for t in written.graph.initializer}) == 9


def test_nothing_is_copied_where_nothing_is_shared():
    made = vet((DATA / "resnet20.onnx").read_bytes())
    assert unshare(made) is made
