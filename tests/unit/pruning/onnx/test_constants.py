"""A unit that is one number whatever is fed moves into biases, and then nothing reads it."""

from collections.abc import Mapping

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper, numpy_helper

from pruning.onnx.constants import move_constants
from pruning.onnx.convert import stored_tensors
from pruning.onnx.shrink import shrink
from pruning.onnx.unshare import unshare
from tests.unit.pruning.onnx.test_random_graphs import (
    SMALL,
    Draw,
    Sketch,
    activation,
    batch_norm,
    branch,
    feeds_of,
    gemm,
    models,
    pad,
    to_vector,
)
from tests.unit.pruning.onnx.test_random_graphs import conv as random_conv
from tests.unit.pruning.onnx.test_shrink import (
    CASES as ZEROS,
)
from tests.unit.pruning.onnx.test_shrink import (
    HEAD,
    TOLERANCE,
    Case,
    conv,
    difference,
    norm,
    normed,
    outputs,
    shapes,
)
from tests.unit.pruning.onnx.test_weights import ints, made, node, port, tensor

A = {"a": (6, 3, 3, 3), "a.b": (6,), "b": (4, 6, 3, 3), "b.b": (4,), "v": (4, 4)}
FEWER = {"a": (4, 3, 3, 3), "a.b": (4,), "b": (4, 4, 3, 3)}
ONE_LEFT = {"a": (5, 3, 3, 3), "a.b": (5,), "b": (4, 5, 3, 3)}
GONE = {"a": (0, [1, 4])}
SCALAR = numpy_helper.from_array(np.array(0.5, np.float32), "half")


def through(*nodes, weights: Mapping = {}, left: Mapping = FEWER, constants=(), **more) -> Case:
    """Two filters of a convolution are zero but for their biases; nodes lead from h to i, which a convolution reads."""
    ends = [conv("x", "a a.b", "h"), *nodes, conv("i", "b b.b", "z", pad=0), *HEAD]
    return Case(ends, A | dict(weights), dict(left), GONE, constants, **more)


CASES = {
    "relu": through(node("Relu", ["h"], ["i"])),
    "sigmoid, doubled": through(node("Sigmoid", ["h"], ["s"]), node("Add", ["s", "s"], ["i"])),
    "hard swish": through(node("HardSwish", ["h"], ["i"])),
    "gelu": through(node("Gelu", ["h"], ["i"], approximate="tanh"), opset=20),
    "clipped": through(node("Clip", ["h", "half"], ["i"]), constants=[SCALAR]),
    "scaled": through(
        node("Mul", ["h", "m"], ["j"]), node("Sub", ["half", "j"], ["i"]), weights={"m": (6, 1, 1)},
        left=FEWER | {"m": (4, 1, 1)}, constants=[SCALAR],
    ),
    "batch norm": through(normed("h", "n", "i"), weights=norm("n", 6), left=FEWER | norm("n", 4)),
    "prelu": through(
        node("Neg", ["h"], ["j"]), node("PRelu", ["j", "s"], ["i"]), weights={"s": (6, 1, 1)},
        left=FEWER | {"s": (4, 1, 1)},
    ),
    "pooled": through(
        node("AveragePool", ["h"], ["j"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        node("MaxPool", ["j"], ["i"], kernel_shape=[2, 2], pads=[1, 0, 0, 1]),
    ),
    "pooled with zeros around": through(
        node("AveragePool", ["h"], ["i"], kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1), left={}
    ),
    "mirrored around": through(
        node("Pad", ["h", "p"], ["i"], mode="reflect"), constants=[ints("p", 0, 0, 1, 1, 0, 0, 1, 1)]
    ),
    "zeros around": through(node("Pad", ["h", "p"], ["i"]), constants=[ints("p", 0, 0, 1, 1, 0, 0, 1, 1)], left={}),
    "rounded": through(node("Floor", ["h"], ["i"]), left={}),
    "normed by its own statistics": through(
        node("InstanceNormalization", ["h", "s", "t"], ["i"]), weights={"s": (6,), "t": (6,)}, left={}
    ),
    "normed across channels": through(node("LRN", ["h"], ["i"], size=3), left={}),
    "another of the same place": through(
        node("Add", ["h", "p"], ["i"]), weights={"p": (6, 8, 8)}, left={}
    ),
    "concatenated with what is made of it": Case(
        [
            conv("x", "a a.b", "h"), node("Sigmoid", ["h"], ["s"]), node("Relu", ["h"], ["r"]),
            node("Concat", ["h", "s", "r"], ["i"], axis=1), conv("i", "b b.b", "z", pad=0), *HEAD,
        ],
        A | {"b": (4, 18, 3, 3)}, FEWER | {"b": (4, 12, 3, 3)}, GONE,
    ),
    "concatenated along rows": Case(
        [
            conv("x", "a a.b", "h"), node("Relu", ["h"], ["r"]), node("Neg", ["h"], ["s"]),
            node("Concat", ["h", "r"], ["i"], axis=2), conv("i", "b b.b", "y", pad=0),
        ],
        {k: v for k, v in A.items() if k != "v"}, FEWER, GONE, y=("N", 4, 14, 6),
    ),
    "different along rows": Case(
        [
            conv("x", "a a.b", "h"), node("Neg", ["h"], ["s"]),
            node("Concat", ["h", "s"], ["i"], axis=2), conv("i", "b b.b", "y", pad=0),
        ],
        {k: v for k, v in A.items() if k != "v"}, {}, GONE, y=("N", 4, 14, 6),
    ),
    "residual": Case(
        [
            conv("x", "a a.b", "h"), conv("h", "r r.b", "j"),
            node("Add", ["h", "j"], ["k"]), node("Relu", ["k"], ["i"]),
            conv("i", "b b.b", "z", pad=0), *HEAD,
        ],
        A | {"r": (6, 6, 3, 3), "r.b": (6,)},
        {"a": (5, 3, 3, 3), "a.b": (5,), "r": (5, 5, 3, 3), "r.b": (5,), "b": (4, 5, 3, 3)},
        GONE | {"r": (0, [1, 4])},
    ),
    "of constants": Case(
        [conv("x", "a a.b", "h", pad=0), conv("h", "r r.b", "i", pad=0), conv("i", "b b.b", "z", pad=0), *HEAD],
        A | {"r": (6, 6, 3, 3), "r.b": (6,)},
        {"a": (1, 3, 3, 3), "a.b": (1,), "r": (1, 1, 3, 3), "r.b": (1,), "b": (1, 1, 3, 3), "b.b": (1,)}
        | {"v": (1, 4)},
        {"a": (0, range(6))},
    ),
    "zeros around the reader": Case(
        [conv("x", "a a.b", "h"), conv("h", "b b.b", "z"), *HEAD], A, ONE_LEFT, GONE
    ),
    "one with zeros around the reader": Case(
        [conv("x", "a a.b", "h"), conv("h", "b b.b", "z"), *HEAD], A, {}, {"a": (0, [2])}
    ),
    "two readers": Case(
        [
            conv("x", "a a.b", "h"), conv("h", "b b.b", "i"), node("Sigmoid", ["h"], ["s"]), conv("s", "c", "j"),
            node("Add", ["i", "j"], ["z"]), *HEAD,
        ],
        A | {"c": (4, 6, 3, 3)}, ONE_LEFT | {"c": (4, 5, 3, 3)}, GONE,
    ),
    "zeros around a grouped reader": Case(
        [conv("x", "a a.b", "h"), conv("h", "b b.b", "z", group=2), *HEAD],
        A | {"b": (4, 3, 3, 3)},
        {"a": (4, 3, 3, 3), "a.b": (4,), "b": (4, 2, 3, 3)},
        {"a": (0, [0, 1, 3, 4])},
    ),
    "transposed reader": Case(
        [conv("x", "a a.b", "h"), node("ConvTranspose", ["h", "b", "b.b"], ["z"], strides=[2, 2]), *HEAD],
        A | {"b": (6, 4, 3, 3)}, ONE_LEFT | {"b": (5, 4, 3, 3)}, GONE,
    ),
    "no biases": Case(
        [
            conv("x", "a a.b", "h"), conv("h", "b", "i", pad=0), node("GlobalAveragePool", ["i"], ["g"]),
            node("Flatten", ["g"], ["f"]), node("Gemm", ["f", "c"], ["j"], alpha=0.5), node("Relu", ["j"], ["k"]),
            node("MatMul", ["k", "v"], ["y"]),
        ],
        {"a": (6, 3, 3, 3), "a.b": (6,), "b": (4, 6, 3, 3), "c": (4, 5), "v": (5, 4)},
        FEWER | {"b": (3, 4, 3, 3), "c": (3, 4), "v": (4, 4)},
        GONE | {"b": (0, [2]), "c": (1, [0])},
    ),
    "half of a bias": Case(
        [node("Gemm", ["x", "a", "a.b"], ["h"], beta=0.5), node("Tanh", ["h"], ["i"]),
         node("Gemm", ["i", "b", "b.b"], ["y"], beta=2.0, transB=1)],
        {"a": (5, 6), "a.b": (6,), "b": (4, 6), "b.b": (1, 4)},
        {"a": (5, 4), "a.b": (4,), "b": (4, 4)},
        {"a": (1, [0, 5])}, x=("N", 5),
    ),
    "matmul": Case(
        [node("MatMul", ["x", "a"], ["h"]), node("Add", ["h", "a.b"], ["i"]), node("Relu", ["i"], ["j"]),
         node("MatMul", ["j", "b"], ["k"]), node("Add", ["half", "k"], ["l"]), node("MatMul", ["l", "c"], ["y"])],
        {"a": (5, 6), "a.b": (6,), "b": (6, 4), "c": (4, 4)},
        {"a": (5, 4), "a.b": (4,), "b": (4, 4)},
        {"a": (1, [0, 5])}, [SCALAR], x=("N", 7, 5), y=("N", 7, 4),
    ),
    "flattened": Case(
        [conv("x", "a a.b", "h"), node("Relu", ["h"], ["i"]), node("Transpose", ["i"], ["j"], perm=[0, 2, 3, 1]),
         node("Flatten", ["j"], ["f"]), node("Gemm", ["f", "v", "b.b"], ["y"])],
        {"a": (6, 3, 3, 3), "a.b": (6,), "v": (384, 4), "b.b": (4,)},
        {"a": (4, 3, 3, 3), "a.b": (4,), "v": (256, 4)},
        GONE,
    ),
    "an output": Case(
        [conv("x", "a a.b", "y")], {"a": (4, 3, 3, 3), "a.b": (4,)}, {}, {"a": (0, [1])}, y=("N", 4, 8, 8)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_constant_units_go_and_outputs_stay(name):
    model = CASES[name].model()
    moved = move_constants(model)
    onnx.checker.check_model(moved, full_check=True)
    smaller = shrink(moved)
    onnx.checker.check_model(smaller, full_check=True)
    before, after = shapes(model), shapes(smaller)
    assert {k: v for k, v in after.items() if k in before and v != before[k]} == CASES[name].left
    assert difference(model, moved) <= TOLERANCE
    assert difference(model, smaller) <= TOLERANCE


@pytest.mark.parametrize("name", CASES)
def test_what_has_moved_does_not_move_again(name):
    moved = shrink(move_constants(CASES[name].model()))
    assert shapes(shrink(move_constants(moved))) == shapes(moved)


@pytest.mark.parametrize("cases", [CASES, ZEROS], ids=["constants", "zeros"])
def test_without_constants_nothing_changes(cases):
    for case in cases.values():
        model = Case(**{**vars(case), "zeros": {}}).model()
        assert move_constants(model).SerializeToString() == model.SerializeToString()


@pytest.mark.parametrize("name", CASES)
def test_values_of_weights_stay_where_they_may_not_be_gathered(name):
    model = CASES[name].model()
    for tensor_name, before in stored_tensors(model).items():
        W = numpy_helper.to_array(before)
        after = numpy_helper.to_array(stored_tensors(move_constants(model, padded=False))[tensor_name])
        if W.ndim > 1 and W.shape[0] > 1:
            assert np.isin(after, [0, *W.reshape(-1)]).all()


def test_a_sum_that_is_too_large_for_its_type_stays():
    """In half precision: the constant is 60,000, and its weight 2."""
    a, v = tensor("a", 3, 2, dtype=np.float16), tensor("v", 2, 2, dtype=np.float16)
    a.raw_data = np.array([[1, 0], [1, 0], [1, 0]], np.float16).tobytes()
    v.raw_data = np.array([[1, 1], [2, -2]], np.float16).tobytes()
    b = numpy_helper.from_array(np.array([0, 60_000], np.float16), "b")
    nodes = [node("Gemm", ["x", "a", "b"], ["h"]), node("Gemm", ["h", "v"], ["y"])]
    ports = [port("x", "N", 3, dtype=TensorProto.FLOAT16)], [port("y", "N", 2, dtype=TensorProto.FLOAT16)]
    model = made(nodes, [a, b, v], *ports)
    assert move_constants(model).SerializeToString() == model.SerializeToString()


def upsampled(s: Sketch, x: str) -> str:
    """By a transposed convolution, or by interpolation."""
    channels, height, width = s.shapes[x]
    if s.one_of(True, False):
        out = s.number(1, 3)
        W = s.weight(channels, out, 2, 2, role="transposed")
        return s.add("ConvTranspose", [x, W, s.weight(out, role="bias")], (out, height + 1, width + 1))
    scales = s.store(np.array([1, 1, 2, 2], np.float32))
    mode = s.one_of("nearest", "linear")
    return s.add("Resize", [x, "", scales], (channels, 2 * height, 2 * width), mode=mode)


def parted(s: Sketch, x: str) -> str:
    """Cut, one part made into something else, and put together in another order."""
    channels, *sides = s.shapes[x]
    if channels < 2:
        return x
    first = s.number(1, channels - 1)
    name = f"v{len(s.nodes)}"
    sizes = s.ints(first, channels - first)
    s.nodes.append(helper.make_node("Split", [x, sizes], [name, name + "b"], axis=1))
    s.shapes |= {name: (first, *sides), name + "b": (channels - first, *sides)}
    y = activation(s, name)
    return s.add("Concat", [name + "b", y], (channels, *sides), axis=1)


def sliced(s: Sketch, x: str) -> str:
    channels, *sides = s.shapes[x]
    first = s.number(0, channels - 1)
    return s.add("Slice", [x, s.ints(first), s.ints(2**31), s.ints(1)], (channels - first, *sides))


def padded_pool(s: Sketch, x: str) -> str:
    if s.nodes[-1].op_type == "Pad" or min(s.shapes[x][1:]) < 2:
        return x
    how = s.one_of(("MaxPool", {}), ("AveragePool", {}), ("AveragePool", {"count_include_pad": 1}))
    return s.add(how[0], [x], s.shapes[x], kernel_shape=[3, 3], pads=[1, 1, 1, 1], **how[1])


def other_activation(s: Sketch, x: str) -> str:
    op = s.one_of("PRelu", "Softplus", "Elu", "Softsign", "Floor", "Cos", "Exp", "HardSigmoid", "Abs")
    slope = [s.store(np.random.default_rng(3).uniform(-1, 1, (s.shapes[x][0], 1, 1)).astype(np.float32))]
    return s.add(op, [x, *(slope if op == "PRelu" else [])], s.shapes[x])


def normed_by_itself(s: Sketch, x: str) -> str:
    n = s.shapes[x][0]
    return s.add("InstanceNormalization", [x, s.weight(n, role="scale"), s.weight(n, role="bias")], s.shapes[x])


MORE = (random_conv, random_conv, batch_norm, branch, pad, parted, sliced, upsampled)
MORE += (padded_pool, other_activation, normed_by_itself)


@st.composite
def other_models(draw: Draw) -> ModelProto:
    """Convolutions and what their channels may go through."""
    s = Sketch(draw, draw(st.integers(13, 21)), "N")
    shape = (s.number(1, 3), s.number(4, 6), s.number(4, 6))
    s.shapes["x"] = shape
    x = random_conv(s, "x")
    for _ in range(s.number(1, 6)):
        if min(s.shapes[x][1:]) < 12:
            x = s.one_of(*MORE)(s, x)
    x = to_vector(s, random_conv(s, x))
    return s.model(shape, gemm(s, x))


def with_constants(model: ModelProto, seed: int) -> ModelProto:
    """A share of all filters made zero, but not their biases, and sometimes the same ones everywhere."""
    rng = np.random.default_rng(seed)
    result = ModelProto()
    result.CopyFrom(model)
    for node_ in result.graph.node:
        axis = int(
            node_.op_type == "MatMul"
            or (node_.op_type == "Gemm" and not any(a.name == "transB" for a in node_.attribute))
        )
        if node_.op_type in ("Conv", "Gemm", "MatMul"):
            stored = stored_tensors(result)[node_.input[1]]
            values = numpy_helper.to_array(stored).copy()
            drawn = np.random.default_rng(seed) if rng.random() < 0.5 else rng
            np.moveaxis(values, axis, 0)[drawn.random(values.shape[axis]) < 0.6] = 0
            stored.CopyFrom(numpy_helper.from_array(values, stored.name))
    return result


@SMALL
@given(models() | other_models(), st.integers(0, 99), st.booleans(), st.integers(1, 3))
def test_random_graphs_keep_their_outputs(dense: ModelProto, seed: int, padded: bool, multiple: int):
    model = with_constants(unshare(dense), seed)
    smaller = shrink(move_constants(model, padded), multiple)
    feeds = feeds_of(model)
    if model.graph.input[0].type.tensor_type.shape.dim[0].dim_value:
        feeds = {k: v[:1] for k, v in feeds.items()}
    y, z = (outputs(m, feeds)[0] for m in (model, smaller))
    finite = np.isfinite(y)
    assert np.array_equal(finite, np.isfinite(z))
    assert np.abs(y - z)[finite].max(initial=0) <= TOLERANCE * np.abs(y[finite]).max(initial=1e-6)
