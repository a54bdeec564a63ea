"""What is taken out of a graph changes no output, and nothing that could be taken out stays."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from pruning.measure import session
from pruning.onnx.channels import label
from pruning.onnx.convert import inputs_of, stored_tensors
from pruning.onnx.shrink import idle, readers, shrink, variants
from pruning.onnx.steps import Product
from pruning.onnx.unshare import unshare
from tests.conftest import DATA
from tests.unit.pruning.onnx.test_random_graphs import SMALL, feeds_of, models
from tests.unit.pruning.onnx.test_weights import ints, made, node, port

TOLERANCE = 1e-5
IMAGE = ("N", 3, 8, 8)
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Case:
    """A net with zeros, and what is left of its tensors.

    weights: shapes; zeros: indices along axis 0, or along another, by tensor; left: shapes that change.
    """

    nodes: Sequence[NodeProto]
    weights: dict[str, Shape]
    left: dict[str, Shape]
    zeros: Mapping[str, tuple[int, Sequence[int]]] = field(default_factory=dict)
    constants: Sequence[TensorProto] = ()
    x: tuple = IMAGE
    y: tuple = ("N", 4)
    opset: int = 17

    def model(self) -> ModelProto:
        rng = np.random.default_rng(0)
        tensors = []
        for name, shape in self.weights.items():
            values = rng.uniform(0.3, 1, shape) * (rng.choice([-1, 1], shape) if len(shape) > 1 else 1)
            if name in self.zeros:
                axis, indices = self.zeros[name]
                np.moveaxis(values, axis, 0)[list(indices)] = 0
            tensors.append(numpy_helper.from_array(values.astype(np.float32), name))
        ports = [port("x", *self.x)], [port("y", *self.y)]
        return made(self.nodes, [*tensors, *self.constants], *ports, opset=self.opset)


def conv(x, w, y, pad=1, **attributes):
    return node("Conv", [x, *w.split()], [y], pads=[pad] * 4, **attributes)


def normed(x, name, y):
    return node("BatchNormalization", [x, *(f"{name}.{v}" for v in ("scale", "bias", "mean", "var"))], [y])


def norm(name, n):
    return {f"{name}.{v}": (n,) for v in ("scale", "bias", "mean", "var")}


HEAD = [node("GlobalAveragePool", ["z"], ["g"]), node("Flatten", ["g"], ["f"]), node("Gemm", ["f", "v"], ["y"])]


def in_parts(**attributes):
    return [
        conv("x", "a", "h"),
        node("Split", ["h"], ["i", "j"], axis=1, **attributes),
        conv("i", "b", "k"),
        node("Concat", ["k", "j"], ["l"], axis=1),
        conv("l", "c", "z"),
        *HEAD,
    ]


SPLIT_WEIGHTS = {"a": (7, 3, 3, 3), "b": (2, 3, 3, 3), "c": (4, 6, 3, 3), "v": (4, 4)}
SPLIT_LEFT = {"a": (5, 3, 3, 3), "b": (2, 2, 3, 3), "c": (4, 5, 3, 3)}
CASES = {
    "flatten": Case(
        [
            conv("x", "a a.b", "h"),
            node("Relu", ["h"], ["r"]),
            conv("r", "b b.b", "s"),
            node("MaxPool", ["s"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
            node("Flatten", ["p"], ["f"]),
            node("Gemm", ["f", "c", "c.b"], ["t"], transB=1),
            node("Relu", ["t"], ["u"]),
            node("Gemm", ["u", "d", "d.b"], ["y"]),
        ],
        {"a": (8, 3, 3, 3), "a.b": (8,), "b": (6, 8, 3, 3), "b.b": (6,), "c": (5, 96), "c.b": (5,), "d": (5, 4)}
        | {"d.b": (4,)},
        {"a": (6, 3, 3, 3), "a.b": (6,), "b": (5, 6, 3, 3), "b.b": (5,), "c": (4, 80), "c.b": (4,), "d": (4, 4)},
        {"a": (0, [1, 7]), "a.b": (0, [1, 7]), "b": (0, [3]), "b.b": (0, [3]), "d": (0, [2])},
    ),
    "a filter whose inputs are zero": Case(
        [conv("x", "a", "h"), conv("h", "b", "i"), conv("i", "c c.b", "z"), *HEAD],
        {"a": (2, 3, 3, 3), "b": (3, 2, 3, 3), "c": (4, 3, 3, 3), "c.b": (4,), "v": (4, 4)},
        {"a": (1, 3, 3, 3), "b": (1, 1, 3, 3), "c": (4, 1, 3, 3)},
        {"a": (0, [0]), "b": (1, [1])},
    ),
    "a constant stays": Case(
        [conv("x", "a a.b", "h"), conv("h", "b", "z"), *HEAD],
        {"a": (5, 3, 3, 3), "a.b": (5,), "b": (4, 5, 3, 3), "v": (4, 4)},
        {},
        {"a": (0, [0])},
    ),
    "batch norm": Case(
        [conv("x", "a", "h"), normed("h", "n", "i"), node("LeakyRelu", ["i"], ["j"]), conv("j", "b", "z"), *HEAD],
        {"a": (5, 3, 3, 3), "b": (4, 5, 3, 3), "v": (4, 4)} | norm("n", 5),
        {"a": (3, 3, 3, 3), "b": (4, 3, 3, 3)} | norm("n", 3),
        {"a": (0, [0, 1]), "n.mean": (0, [0]), "n.bias": (0, [0, 2, 3]), "n.scale": (0, [2])},
    ),
    "residual": Case(
        [conv("x", "a", "h"), conv("h", "b", "i"), node("Add", ["h", "i"], ["j"]), conv("j", "c", "z"), *HEAD],
        {"a": (6, 3, 3, 3), "b": (6, 6, 3, 3), "c": (4, 6, 3, 3), "v": (4, 4)},
        {"a": (5, 3, 3, 3), "b": (5, 5, 3, 3), "c": (4, 5, 3, 3)},
        {"a": (0, [0, 1]), "b": (0, [1, 2])},
    ),
    "channels that a shortcut adds": Case(
        [
            conv("x", "a", "h"),
            node("Pad", ["h", "pads"], ["p"]),
            conv("h", "b", "i"),
            node("Add", ["p", "i"], ["j"]),
            conv("j", "c", "z"),
            *HEAD,
        ],
        {"a": (4, 3, 3, 3), "b": (6, 4, 3, 3), "c": (4, 6, 3, 3), "v": (4, 4)},
        {"a": (3, 3, 3, 3), "b": (4, 3, 3, 3), "c": (4, 4, 3, 3)},
        {"a": (0, [1]), "b": (0, [0, 2])},
        [ints("pads", 0, 1, 0, 0, 0, 1, 0, 0)],
    ),
    "concat": Case(
        [
            conv("x", "a", "h"),
            node("Concat", ["x", "h"], ["i"], axis=1),
            normed("i", "n", "j"),
            conv("j", "b", "k"),
            node("Concat", ["i", "k"], ["l"], axis=1),
            conv("l", "c", "z"),
            *HEAD,
        ],
        {"a": (4, 3, 3, 3), "b": (2, 7, 3, 3), "c": (4, 9, 3, 3), "v": (4, 4)} | norm("n", 7),
        {"a": (3, 3, 3, 3), "b": (2, 6, 3, 3), "c": (4, 8, 3, 3)} | norm("n", 6),
        {"a": (0, [2]), "n.bias": (0, [5]), "n.mean": (0, [5])},
    ),
    "depthwise": Case(
        [conv("x", "a", "h"), conv("h", "d d.b", "i", group=4), conv("i", "b", "z"), *HEAD],
        {"a": (4, 3, 3, 3), "d": (8, 1, 3, 3), "d.b": (8,), "b": (4, 8, 3, 3), "v": (4, 4)},
        {"a": (2, 3, 3, 3), "d": (4, 1, 3, 3), "d.b": (4,), "b": (4, 4, 3, 3)},
        {"a": (0, [0, 1]), "d": (0, [4, 5]), "d.b": (0, [0, 1, 2, 4, 5])},
    ),
    "grouped": Case(
        [conv("x", "a", "h"), conv("h", "d", "i", group=2), conv("i", "b", "z"), *HEAD],
        {"a": (6, 3, 3, 3), "d": (8, 3, 3, 3), "b": (4, 8, 3, 3), "v": (4, 4)},
        {"a": (4, 3, 3, 3), "d": (6, 2, 3, 3), "b": (4, 6, 3, 3)},
        {"a": (0, [0, 1, 3]), "d": (0, [2, 6, 7])},
    ),
    "transposed": Case(
        [
            conv("x", "a", "h"),
            node("ConvTranspose", ["h", "t", "t.b"], ["i"], strides=[2, 2]),
            conv("i", "b", "z"),
            *HEAD,
        ],
        {"a": (5, 3, 3, 3), "t": (5, 6, 2, 2), "t.b": (6,), "b": (4, 6, 3, 3), "v": (4, 4)},
        {"a": (4, 3, 3, 3), "t": (4, 4, 2, 2), "t.b": (4,), "b": (4, 4, 3, 3)},
        {"a": (0, [2]), "t": (1, [0, 5]), "t.b": (0, [0, 5])},
    ),
    "transposed in groups": Case(
        [
            conv("x", "a", "h"),
            node("ConvTranspose", ["h", "t"], ["i"], strides=[2, 2], group=2),
            conv("i", "b", "z"),
            *HEAD,
        ],
        {"a": (4, 3, 3, 3), "t": (4, 3, 2, 2), "b": (4, 6, 3, 3), "v": (4, 4)},
        {"a": (2, 3, 3, 3), "t": (2, 2, 2, 2), "b": (4, 4, 3, 3)},
        {"a": (0, [0, 2]), "t": (1, [1])},
    ),
    "matmul": Case(
        [
            node("MatMul", ["x", "a"], ["h"]),
            node("Add", ["a.b", "h"], ["i"]),
            node("PRelu", ["i", "s"], ["j"]),
            node("MatMul", ["j", "b"], ["k"]),
            node("Add", ["k", "b.b"], ["y"]),
        ],
        {"a": (6, 5), "a.b": (5,), "s": (5,), "b": (5, 4), "b.b": (4,)},
        {"a": (6, 3), "a.b": (3,), "s": (3,), "b": (3, 4)},
        {"a": (1, [0]), "a.b": (0, [0, 1]), "b": (0, [4])},
        x=("N", 6),
    ),
    "sigmoid": Case(
        [conv("x", "a", "h"), node("Sigmoid", ["h"], ["s"]), conv("s", "b", "z"), *HEAD],
        {"a": (5, 3, 3, 3), "b": (4, 5, 3, 3), "v": (4, 4)},
        {"a": (4, 3, 3, 3), "b": (4, 4, 3, 3)},
        {"a": (0, [0, 1]), "b": (1, [3])},
    ),
    "hard swish in parts": Case(
        [
            conv("x", "a", "h"),
            node("Add", ["h", "three"], ["i"]),
            node("Clip", ["i", "none", "six"], ["j"]),
            node("Mul", ["h", "j"], ["k"]),
            node("Div", ["k", "six"], ["l"]),
            conv("l", "b", "z"),
            *HEAD,
        ],
        {"a": (5, 3, 3, 3), "b": (4, 5, 3, 3), "v": (4, 4)},
        {"a": (4, 3, 3, 3), "b": (4, 4, 3, 3)},
        {"a": (0, [2])},
        [numpy_helper.from_array(np.array(v, np.float32), n) for n, v in (("none", 0), ("three", 3), ("six", 6))],
    ),
    "split": Case(
        [
            conv("x", "a", "h"),
            node("Split", ["h", "sizes"], ["i", "j"], axis=1),
            conv("i", "b", "k"),
            node("Concat", ["k", "j"], ["l"], axis=1),
            conv("l", "c", "z"),
            *HEAD,
        ],
        {"a": (7, 3, 3, 3), "b": (2, 3, 3, 3), "c": (4, 6, 3, 3), "v": (4, 4)},
        {"a": (5, 3, 3, 3), "b": (2, 2, 3, 3), "c": (4, 5, 3, 3)},
        {"a": (0, [1, 6])},
        [ints("sizes", 3, 4)],
    ),
    "slice": Case(
        [
            conv("x", "a", "h"),
            node("Slice", ["h", "from", "to", "axis"], ["i"]),
            conv("i", "b", "z"),
            *HEAD,
        ],
        {"a": (7, 3, 3, 3), "b": (4, 4, 3, 3), "v": (4, 4)},
        {"a": (3, 3, 3, 3), "b": (4, 3, 3, 3)},
        {"a": (0, [1, 3])},
        [ints("from", 2), ints("to", -1), ints("axis", 1)],
    ),
    "split by an attribute": Case(
        in_parts(split=[3, 4]), SPLIT_WEIGHTS, SPLIT_LEFT, {"a": (0, [1, 6])}, opset=11
    ),
    "split in equal parts": Case(
        in_parts(), SPLIT_WEIGHTS | {"a": (8, 3, 3, 3), "b": (2, 4, 3, 3)},
        {"a": (6, 3, 3, 3), "b": (2, 2, 3, 3)}, {"a": (0, [1, 2])}, opset=11,
    ),
    "split in a number of parts": Case(
        in_parts(num_outputs=2), SPLIT_WEIGHTS | {"b": (2, 4, 3, 3), "c": (4, 5, 3, 3)},
        SPLIT_LEFT | {"b": (2, 3, 3, 3), "c": (4, 4, 3, 3)}, {"a": (0, [1, 6])}, opset=18,
    ),
    "slices that share their numbers": Case(
        [
            conv("x", "a", "h"), node("Slice", ["h", "two", "six", "axis"], ["i"]),
            conv("h", "b", "j"), node("Slice", ["j", "two", "six", "axis"], ["k"]),
            node("Concat", ["i", "k"], ["l"], axis=1), conv("l", "c", "z"), *HEAD,
        ],
        {"a": (7, 3, 3, 3), "b": (6, 7, 3, 3), "c": (4, 8, 3, 3), "v": (4, 4)},
        {"a": (5, 3, 3, 3), "b": (3, 5, 3, 3), "c": (4, 6, 3, 3)},
        {"a": (0, [1, 3]), "b": (0, [5])},
        [ints("two", 2), ints("six", 6), ints("axis", 1)],
    ),
    "slice by attributes": Case(
        [conv("x", "a", "h"), node("Slice", ["h"], ["i"], axes=[1, 2], starts=[2, 1], ends=[-1, 7]),
         conv("i", "b", "z"), *HEAD[:2], node("Gemm", ["f", "v", "v.b"], ["y"])],
        {"a": (7, 3, 3, 3), "b": (4, 4, 3, 3), "v": (4, 4), "v.b": (4,)},
        {"a": (3, 3, 3, 3), "b": (4, 3, 3, 3)},
        {"a": (0, [1, 3])}, opset=9,
    ),
    "resized to known sizes": Case(
        [conv("x", "a", "h"), node("Resize", ["h", "", "", "to"], ["i"]), conv("i", "b", "z"), *HEAD],
        {"a": (3, 3, 3, 3), "b": (4, 3, 3, 3), "v": (4, 4)},
        {"a": (2, 3, 3, 3), "b": (4, 2, 3, 3)},
        {"a": (0, [0])}, [ints("to", 2, 3, 5, 5)], x=(2, 3, 8, 8), y=(2, 4),
    ),
    "resized with channels counted at run time": Case(
        [
            conv("x", "a", "h"), node("Shape", ["h"], ["s"]), node("Slice", ["s", "nil", "two"], ["n"]),
            node("Cast", ["n"], ["c"], to=TensorProto.INT64), node("Concat", ["c", "five", "five"], ["to"], axis=0),
            node("Resize", ["h", "", "", "to"], ["i"]), conv("i", "b", "z"), *HEAD,
        ],
        {"a": (3, 3, 3, 3), "b": (4, 3, 3, 3), "v": (4, 4)},
        {"a": (2, 3, 3, 3), "b": (4, 2, 3, 3)},
        {"a": (0, [0])}, [ints("nil", 0), ints("two", 2), ints("five", 5)],
    ),
    "resized like another": Case(
        [
            conv("x", "a", "h"), conv("x", "c", "j"),
            node("Shape", ["j"], ["s"]), node("Resize", ["h", "", "", "s"], ["i"]),
            conv("i", "b", "k"), conv("j", "d", "l"), node("Add", ["k", "l"], ["z"]), *HEAD,
        ],
        {"a": (3, 3, 3, 3), "b": (4, 3, 3, 3), "c": (3, 3, 3, 3), "d": (4, 3, 3, 3), "v": (4, 4)},
        {},
        {"a": (0, [0]), "c": (0, [1])},
    ),
    "squeeze and excitation counted at run time": Case(
        [
            conv("x", "a", "h"), node("Shape", ["h"], ["s"]),
            node("Gather", ["s", "nil"], ["n"]), node("Gather", ["s", "one"], ["c"]),
            node("GlobalAveragePool", ["h"], ["i"]), node("Concat", ["n", "c"], ["to"], axis=0),
            node("Reshape", ["i", "to"], ["j"]), node("Gemm", ["j", "e"], ["k"]), node("Relu", ["k"], ["l"]),
            node("Gemm", ["l", "u"], ["m"]), node("Sigmoid", ["m"], ["o"]),
            node("Concat", ["n", "c", "one", "one"], ["back"], axis=0), node("Reshape", ["o", "back"], ["q"]),
            node("Mul", ["h", "q"], ["p"]), conv("p", "b", "z"), *HEAD,
        ],
        {"a": (6, 3, 3, 3), "e": (6, 3), "u": (3, 6), "b": (4, 6, 3, 3), "v": (4, 4)},
        {"a": (5, 3, 3, 3), "e": (5, 2), "u": (2, 5), "b": (4, 5, 3, 3)},
        {"a": (0, [4]), "u": (0, [1])},
        [ints("nil", 0), ints("one", 1)],
    ),
    "a slice from as many as there are": Case(
        [
            conv("x", "a", "h"), node("Shape", ["h"], ["s"]), node("Gather", ["s", "one"], ["c"]),
            node("Slice", ["numbers", "c", "six"], ["n"]), node("Cast", ["n"], ["m"], to=TensorProto.FLOAT),
            node("ReduceSum", ["m"], ["q"]), conv("h", "b", "i"), node("Mul", ["i", "q"], ["z"]), *HEAD,
        ],
        {"a": (4, 3, 3, 3), "b": (4, 4, 3, 3), "v": (4, 4)}, {}, {"a": (0, [1])},
        [ints("numbers", 9, 5, 3, 2, 7, 1), ints("one", 1), ints("six", 6)],
    ),
    "squeeze and excitation": Case(
        [
            conv("x", "a", "h"),
            node("GlobalAveragePool", ["h"], ["i"]),
            node("Flatten", ["i"], ["j"]),
            node("Gemm", ["j", "e"], ["k"]),
            node("Relu", ["k"], ["l"]),
            node("Gemm", ["l", "u"], ["m"]),
            node("Sigmoid", ["m"], ["n"]),
            node("Reshape", ["n", "shape"], ["o"]),
            node("Mul", ["h", "o"], ["p"]),
            conv("p", "b", "z"),
            *HEAD,
        ],
        {"a": (6, 3, 3, 3), "e": (6, 3), "u": (3, 6), "b": (4, 6, 3, 3), "v": (4, 4)},
        {"a": (5, 3, 3, 3), "e": (5, 2), "u": (2, 5), "b": (4, 5, 3, 3)},
        {"a": (0, [4]), "u": (0, [1])},
        [ints("shape", -1, 6, 1, 1)],
    ),
    "channels last": Case(
        [
            conv("x", "a", "h"),
            node("Transpose", ["h"], ["i"], perm=[0, 2, 3, 1]),
            node("Reshape", ["i", "rows"], ["j"], allowzero=1),
            node("Gemm", ["j", "c"], ["y"]),
        ],
        {"a": (3, 3, 3, 3), "c": (192, 4)},
        {"a": (2, 3, 3, 3), "c": (128, 4)},
        {"a": (0, [1])},
        [ints("rows", -1, 192)],
    ),
    "rows counted at run time": Case(
        [
            conv("x", "a", "h"),
            node("Shape", ["h"], ["s"]),
            node("Gather", ["s", "zero"], ["n"], axis=0),
            node("Unsqueeze", ["n", "nil"], ["m"]),
            node("Concat", ["m", "rest"], ["t"], axis=0),
            node("Reshape", ["h", "t"], ["j"]),
            node("Gemm", ["j", "c"], ["k"]),
            normed("k", "n", "l"),
            node("Gemm", ["l", "d"], ["y"]),
        ],
        {"a": (3, 3, 3, 3), "c": (192, 5), "d": (5, 4)} | norm("n", 5),
        {"a": (2, 3, 3, 3), "c": (128, 4), "d": (4, 4)} | norm("n", 4),
        {"a": (0, [1]), "d": (0, [3])},
        [numpy_helper.from_array(np.array(0), "zero"), ints("nil", 0), ints("rest", -1)],
    ),
    "twice as large": Case(
        [conv("x", "a", "h"), node("Resize", ["h", "", "by"], ["i"], mode="linear"), conv("i", "b", "z"), *HEAD],
        {"a": (3, 3, 3, 3), "b": (4, 3, 3, 3), "v": (4, 4)},
        {"a": (2, 3, 3, 3), "b": (4, 2, 3, 3)},
        {"a": (0, [0])},
        [numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "by")],
    ),
    "channels that are counted": Case(
        [
            conv("x", "a", "h"),
            node("Shape", ["h"], ["s"]),
            node("Gather", ["s", "one"], ["n"], axis=0),
            node("Cast", ["n"], ["m"], to=TensorProto.FLOAT),
            conv("h", "b", "i"),
            node("Mul", ["i", "m"], ["z"]),
            *HEAD,
        ],
        {"a": (3, 3, 3, 3), "b": (4, 3, 3, 3), "v": (4, 4)},
        {},
        {"a": (0, [1])},
        [numpy_helper.from_array(np.array(1), "one")],
    ),
    "an operator without a rule": Case(
        [conv("x", "a", "h"), node("LRN", ["h"], ["i"], size=3), conv("i", "b", "j"), conv("j", "c", "z"), *HEAD],
        {"a": (5, 3, 3, 3), "b": (4, 5, 3, 3), "c": (4, 4, 3, 3), "v": (4, 4)},
        {"b": (3, 5, 3, 3), "c": (4, 3, 3, 3)},
        {"a": (0, [1]), "b": (0, [1])},
    ),
    "a shared weight": Case(
        [conv("x", "a", "h"), conv("h", "b", "i"), conv("i", "b", "z"), *HEAD],
        {"a": (4, 3, 3, 3), "b": (4, 4, 3, 3), "v": (4, 4)},
        {},
        {"a": (0, [1]), "b": (0, [1])},
    ),
    "an alias that nothing reads": Case(
        [node("Identity", ["a"], ["unused"]), conv("x", "a", "h"), conv("h", "b", "z"), *HEAD],
        {"a": (4, 3, 3, 3), "b": (4, 4, 3, 3), "v": (4, 4)},
        {"a": (3, 3, 3, 3), "b": (4, 3, 3, 3)},
        {"a": (0, [1])},
    ),
    "an output": Case(
        [conv("x", "a", "y")], {"a": (4, 3, 3, 3)}, {}, {"a": (0, [1])}, y=("N", 4, 8, 8)
    ),
    "nothing left": Case(
        [conv("x", "a", "h"), conv("h", "b", "i"), conv("i", "c c.b", "z"), *HEAD],
        {"a": (4, 3, 3, 3), "b": (5, 4, 3, 3), "c": (4, 5, 3, 3), "c.b": (4,), "v": (4, 4)},
        {"a": (1, 3, 3, 3), "b": (1, 1, 3, 3), "c": (4, 1, 3, 3)},
        {"a": (0, range(4))},
    ),
    "opset 9": Case(
        [
            conv("x", "a", "h"),
            node("Slice", ["h"], ["i"], axes=[2], starts=[1], ends=[7]),
            node("Pad", ["i"], ["j"], pads=[0, 0, 1, 0, 0, 0, 1, 0]),
            node("Clip", ["j"], ["k"], min=0.0, max=6.0),
            node("Dropout", ["k"], ["l"]),
            node("ReduceMean", ["l"], ["m"], axes=[2, 3], keepdims=0),
            node("Unsqueeze", ["m"], ["n"], axes=[2, 3]),
            node("Squeeze", ["n"], ["o"], axes=[2, 3]),
            node("Gemm", ["o", "v", "v.b"], ["y"], transB=1),
        ],
        {"a": (5, 3, 3, 3), "v": (4, 5), "v.b": (4,)},
        {"a": (4, 3, 3, 3), "v": (4, 4)},
        {"a": (0, [1])},
        opset=9,
    ),
}  # fmt: skip

# no Relu, behind which a unit may be silent for other reasons
SMOOTH = ["a filter whose inputs are zero", "batch norm", "concat", "depthwise", "grouped", "matmul", "residual"]
SMOOTH += ["sigmoid", "split", "transposed", "transposed in groups"]


def shapes(model: ModelProto) -> dict[str, Shape]:
    return {t.name: tuple(t.dims) for t in model.graph.initializer}


def fed(model: ModelProto) -> dict[str, np.ndarray]:
    rng, found = np.random.default_rng(1), {}
    for p in inputs_of(model.graph):
        dtype = np.float16 if p.type.tensor_type.elem_type == TensorProto.FLOAT16 else np.float32
        found[p.name] = rng.standard_normal([d.dim_value or 3 for d in p.type.tensor_type.shape.dim]).astype(dtype)
    return found


def outputs(model: ModelProto, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    return [np.asarray(y) for y in session(model.SerializeToString()).run(None, feeds)]


def difference(model: ModelProto, other: ModelProto) -> float:
    """Largest, relative to the model's largest output."""
    pairs = zip(outputs(model, fed(model)), outputs(other, fed(model)), strict=True)
    return max(float(np.abs(y - z).max() / max(np.abs(y).max(), 1e-6)) for y, z in pairs)


@pytest.mark.parametrize("name", CASES)
def test_what_is_dead_goes_and_outputs_stay(name):
    model = CASES[name].model()
    smaller = shrink(model)
    onnx.checker.check_model(smaller, full_check=True)
    before, after = shapes(model), shapes(smaller)
    assert {k: v for k, v in after.items() if k in before and v != before[k]} == CASES[name].left
    assert difference(model, smaller) <= TOLERANCE


@pytest.mark.parametrize("name", CASES)
def test_what_has_been_shrunk_does_not_shrink_again(name):
    smaller = shrink(CASES[name].model())
    assert shapes(shrink(smaller)) == shapes(smaller)


@pytest.mark.parametrize("name", CASES)
def test_without_zeros_nothing_changes(name):
    model = Case(**{**vars(CASES[name]), "zeros": {}}).model()
    if "slice" not in name:  # what it leaves out is read by nothing
        assert shrink(model).SerializeToString() == model.SerializeToString()


@pytest.mark.parametrize("name", SMOOTH)
def test_idle_weights_are_those_that_change_nothing(name):
    """By brute force, one weight after the other."""
    model = CASES[name].model()
    feeds, stored, rng = fed(model), stored_tensors(model), np.random.default_rng(2)
    expected = outputs(model, feeds)[0]
    for tensor, mask in idle(model).items():
        original = numpy_helper.to_array(stored[tensor])
        assert mask.shape == original.shape
        for place in rng.permutation(mask.size)[:40]:
            values = original.copy()
            values.reshape(-1)[place] += 3.0
            stored[tensor].CopyFrom(numpy_helper.from_array(values, tensor))
            assert np.array_equal(outputs(model, feeds)[0], expected) == mask.reshape(-1)[place], (tensor, place)
        stored[tensor].CopyFrom(numpy_helper.from_array(original, tensor))


@pytest.mark.parametrize("name", CASES)
def test_idle_weights_may_be_anything(name):
    """Those of one tensor at a time: two tensors may wait for each other."""
    model = CASES[name].model()
    for tensor, mask in idle(model).items():
        other = ModelProto()
        other.CopyFrom(model)
        stored = stored_tensors(other)[tensor]
        values = numpy_helper.to_array(stored) + mask.astype(np.float32)
        stored.CopyFrom(numpy_helper.from_array(values, tensor))
        assert difference(model, other) <= TOLERANCE, tensor


@pytest.mark.parametrize("name", CASES)
def test_filters_stay_in_multiples(name):
    model = CASES[name].model()
    rounded = shrink(model, 3)
    assert difference(model, rounded) <= TOLERANCE
    before, least, after = shapes(model), shapes(shrink(model)), shapes(rounded)
    transposed = {n.input[1] for n in model.graph.node if n.op_type == "ConvTranspose"}
    for k, shape in before.items():
        if len(shape) == 4 and k not in transposed:
            assert least[k][0] <= after[k][0] <= shape[0]
            assert after[k][0] % 3 == 0 or after[k][0] == shape[0]


def test_no_more_filters_stay_than_are_needed():
    """5 of 8 live: 6 are the next multiple of 2 and of 3, 8 of 4; and the flattened reader follows."""
    case = CASES["flatten"]
    model = Case(**{**vars(case), "zeros": {k: (0, [1, 4, 7]) for k in ("a", "a.b")}}).model()
    left = {m: shapes(shrink(model, m)) for m in (1, 2, 3, 4)}
    assert {m: found["a"][0] for m, found in left.items()} == {1: 5, 2: 6, 3: 6, 4: 8}
    assert shrink(model, 4).SerializeToString() == model.SerializeToString()
    assert variants(model, (1, 2, 3, 4)) == [shrink(model, 1), shrink(model, 2), shrink(model, 4)]


def files() -> list[Path]:
    named = ["lenet5.onnx", "resnet20.onnx"]
    return [p for p in [*(DATA / n for n in named), *sorted((DATA / "models").glob("*.onnx"))] if p.exists()]


@pytest.mark.parametrize("path", files(), ids=lambda p: p.stem)
def test_files_without_half_of_their_filters(path):
    model = unshare(onnx.load(path))
    half = without(model, lambda n: np.arange(n) % 2 == 0)
    smaller = shrink(half)
    before, after = (sum(int(np.prod(s)) for s in shapes(m).values()) for m in (half, smaller))
    assert after < 0.95 * before or not any(readers(model).values())
    if "silero" not in path.stem:  # it takes whole numbers too, and nothing of it has a rule
        assert difference(half, smaller) <= (1e-2 if "fp16" in path.stem else TOLERANCE)


def without(model: ModelProto, chosen: Callable[[int], np.ndarray]) -> ModelProto:
    """Filters made zero in every layer that has readers, with all vectors along them."""
    result = ModelProto()
    result.CopyFrom(model)
    labels, stored, read = label(model), stored_tensors(result), readers(model)
    classes = labels.classes()
    for p in (s for s in labels.steps if isinstance(s, Product) and read[s.weight]):
        gone = classes[p.outputs[chosen(len(p.outputs))]]
        vectors = [name for name, axes in labels.axes.items() if len(axes) == 1 and max(stored[name].dims) > 0]
        for name, axis in [(p.weight, int(p.by_input)), *((v, next(iter(labels.axes[v]))) for v in vectors)]:
            values = numpy_helper.to_array(stored[name]).copy()
            np.moveaxis(values, axis, 0)[np.isin(classes[labels.axes[name][axis]], gone)] = 0
            stored[name].CopyFrom(numpy_helper.from_array(values, name))
    return result


def with_zeros(model: ModelProto, seed: int) -> ModelProto:
    """A share of all rows and columns of the stored tensors made zero, sometimes in the same places."""
    rng = np.random.default_rng(seed)
    result = ModelProto()
    result.CopyFrom(model)
    for name, stored in stored_tensors(result).items():
        if stored.data_type == TensorProto.FLOAT and stored.dims and not name.endswith("var"):
            values = numpy_helper.to_array(stored).copy()
            for axis, n in enumerate(values.shape[:2]):
                drawn = np.random.default_rng(seed) if rng.random() < 0.7 else rng
                np.moveaxis(values, axis, 0)[drawn.random(n) < (0.5 if axis == 0 else 0.2)] = 0
            stored.CopyFrom(numpy_helper.from_array(values, name))
    return result


@SMALL
@given(models(), st.integers(0, 99))
def test_random_graphs_keep_their_outputs(dense: ModelProto, seed: int):
    model = with_zeros(unshare(dense), seed)
    smaller = shrink(model)
    feeds = feeds_of(model)
    if model.graph.input[0].type.tensor_type.shape.dim[0].dim_value:
        feeds = {k: v[:1] for k, v in feeds.items()}
    y, z = (outputs(m, feeds)[0] for m in (model, smaller))
    finite = np.isfinite(y)
    assert np.array_equal(finite, np.isfinite(z))
    assert np.abs(y - z)[finite].max(initial=0) <= TOLERANCE * np.abs(y[finite]).max(initial=1e-6)
