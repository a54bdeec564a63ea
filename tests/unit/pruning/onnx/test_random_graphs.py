"""Random small graphs: what is imported computes what ONNX Runtime does, before training and after."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from benchmarks.verdicts import blank
from pruning.onnx.agree import compare
from pruning.onnx.analyse import analyse
from pruning.onnx.unshare import unshare
from pruning.onnx.vet import vet
from pruning.onnx.writeback import write_back

EXAMPLES = 3
LARGEST_RELATIVE = 1e-4
SMALL = settings(
    derandomize=True,
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
Draw = Callable[[st.SearchStrategy], Any]


@dataclass
class Sketch:
    """A graph under construction; shapes are without the batch. Weights are seeded and scaled by their fan-in."""

    draw: Draw
    opset: int
    batch: str | int
    nodes: list[NodeProto] = field(default_factory=list)
    tensors: list[TensorProto] = field(default_factory=list)
    weights: dict[tuple[str, tuple[int, ...]], str] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def one_of(self, *choices: Any) -> Any:
        return self.draw(st.sampled_from(choices))

    def number(self, least: int, most: int) -> int:
        return self.draw(st.integers(least, most))

    def add(self, op: str, inputs: list[str], shape: tuple[int, ...], **attributes) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], f"{op}_{len(self.nodes)}", **attributes))
        self.shapes[name] = shape
        return name

    def store(self, values: np.ndarray) -> str:
        """As an initializer, or as a Constant node."""
        name = f"t{len(self.tensors)}_{len(self.nodes)}"
        tensor = numpy_helper.from_array(values, name)
        if self.one_of(True, True, False):
            self.tensors.append(tensor)
        else:
            self.nodes.append(helper.make_node("Constant", [], [name], f"Constant_{name}", value=tensor))
        return name

    def weight(self, *shape: int, role: str, least: float | None = None) -> str:
        """A trainable tensor: a new one, or sometimes that of an earlier node with the same role and shape."""
        if (role, shape) in self.weights and self.one_of(True, False, False):
            return self.weights[role, shape]
        values = np.random.default_rng(len(self.nodes)).standard_normal(shape)
        values = values / max(np.prod(shape[1:]), 1) ** 0.5 if least is None else np.abs(values) + least
        self.weights[role, shape] = self.store(values.astype(np.float32))
        return self.weights[role, shape]

    def ints(self, *values: int) -> str:
        return self.store(np.array(values, np.int64))

    def model(self, shape: tuple[int, ...], output: str) -> ModelProto:
        graph = helper.make_graph(
            self.nodes,
            "random",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [self.batch, *shape])],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, [self.batch, *self.shapes[output]])],
            self.tensors,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)


def conv(s: Sketch, x: str) -> str:
    channels, *sides = s.shapes[x]
    group = s.one_of(*(g for g in (1, 2, channels) if channels % g == 0))
    out = group * s.number(1, 3)
    pads = [s.number(0, 2) for _ in range(4)]
    dilations, strides, kernel, found = [1, 1], [s.number(1, 2), s.number(1, 2)], [1, 1], []
    for i, side in enumerate(sides):
        room = side + pads[i] + pads[i + 2]
        kernel[i] = s.number(1, min(3, room))
        dilations[i] = s.number(1, 2) if 2 * kernel[i] <= room else 1
        found.append((room - (kernel[i] - 1) * dilations[i] - 1) // strides[i] + 1)
    inputs = [x, s.weight(out, channels // group, *kernel, role=f"conv{group}")]
    if s.one_of(True, False):
        inputs.append(s.weight(out, role="bias"))
    more = {"pads": pads, "strides": strides, "dilations": dilations, "group": group}
    return s.add("Conv", inputs, (out, *found), **more)


def batch_norm(s: Sketch, x: str) -> str:
    channels = s.shapes[x][0]
    vectors = [s.weight(channels, role=role) for role in ("scale", "shift", "mean")]
    variance = s.weight(channels, role="variance", least=0.5)
    return s.add("BatchNormalization", [x, *vectors, variance], s.shapes[x], epsilon=1e-4, momentum=0.8)


def activation(s: Sketch, x: str) -> str:
    op = s.one_of("Relu", "Sigmoid", "Tanh", "LeakyRelu", "Clip")
    inputs = [x]
    if op == "Clip":
        inputs += [s.store(np.array(v, np.float32)) for v in (-0.5, 1.5)]
    return s.add(op, inputs, s.shapes[x], **({"alpha": 0.1} if op == "LeakyRelu" else {}))


def branch(s: Sketch, x: str) -> str:
    """X beside what is made of it, added or multiplied where it keeps its shape, else concatenated with itself."""
    y = s.one_of(activation, batch_norm if len(s.shapes[x]) == 3 else activation)(s, x)
    op = s.one_of("Add", "Mul", "Sub", "Concat")
    if op != "Concat":
        return s.add(op, [x, y] if s.one_of(True, False) else [y, x], s.shapes[x])
    return s.add("Concat", [x, y], (2 * s.shapes[x][0], *s.shapes[x][1:]), axis=s.one_of(1, 1 - 1 - len(s.shapes[x])))


def scale(s: Sketch, x: str) -> str:
    """Each channel times, or plus, a number."""
    channels, *rest = s.shapes[x]
    values = np.random.default_rng(1).uniform(0.5, 1.5, (channels, *(1 for _ in rest))).astype(np.float32)
    return s.add(s.one_of("Mul", "Add", "Div"), [x, s.store(values)], s.shapes[x])


def pool(s: Sketch, x: str) -> str:
    if s.nodes[-1].op_type == "Pad":
        return x  # ONNX Runtime 1.31 fuses both, then refuses padding as wide as its own kernel
    channels, *sides = s.shapes[x]
    kernel = [s.number(1, min(3, side)) for side in sides]
    strides = [s.number(1, 2) for _ in sides]
    found = [(side - k) // stride + 1 for side, k, stride in zip(sides, kernel, strides, strict=True)]
    op = s.one_of("MaxPool", "AveragePool")
    return s.add(op, [x], (channels, *found), kernel_shape=kernel, strides=strides)


def pad(s: Sketch, x: str) -> str:
    channels, *sides = s.shapes[x]
    before, after = ([s.number(0, 2) for _ in sides] for _ in range(2))
    found = [side + b + a for side, b, a in zip(sides, before, after, strict=True)]
    return s.add("Pad", [x, s.ints(0, 0, *before, 0, 0, *after)], (channels, *found))


def turn(s: Sketch, x: str) -> str:
    channels, height, width = s.shapes[x]
    return s.add("Transpose", [x], (channels, width, height), perm=[0, 1, 3, 2])


def shuffle(s: Sketch, x: str) -> str:
    """Channels of two groups in turn, as in ShuffleNet."""
    channels, *sides = s.shapes[x]
    if channels % 2:
        return x
    batch = s.batch if isinstance(s.batch, int) and s.one_of(True, False) else 0
    split = s.add("Reshape", [x, s.ints(batch, 2, channels // 2, *sides)], (2, channels // 2, *sides))
    turned = s.add("Transpose", [split], (channels // 2, 2, *sides), perm=[0, 2, 1, 3, 4])
    return s.add("Reshape", [turned, s.ints(0, -1, *sides)], (channels, *sides))


def to_vector(s: Sketch, x: str) -> str:
    """From (C, H, W) to (F,) in one of the ways of exporters."""
    channels, height, width = s.shapes[x]
    features = channels * height * width
    way = s.one_of("Flatten", "Reshape", "ReduceMean", "GlobalAveragePool", "Squeeze")
    if way == "Flatten":
        return s.add("Flatten", [x], (features,), axis=1)
    if way == "Reshape":
        batch = s.batch if isinstance(s.batch, int) and s.one_of(True, False) else s.one_of(0, -1)
        return s.add("Reshape", [x, s.ints(batch, features if batch == -1 else -1)], (features,))
    if way == "ReduceMean":
        return reduced(s, "ReduceMean", x, (channels,), [2, 3] if s.one_of(True, False) else [-2, -1], keepdims=0)
    y = s.add("GlobalAveragePool", [x], (channels, 1, 1))
    if way == "Squeeze":
        return with_axes(s, "Squeeze", y, (channels,), [2, 3], since=13)
    return s.add("Flatten", [y], (channels,))


def reduced(s: Sketch, op: str, x: str, shape: tuple[int, ...], axes: list[int], **more) -> str:
    return with_axes(s, op, x, shape, axes, since=18, **more)


def with_axes(s: Sketch, op: str, x: str, shape: tuple[int, ...], axes: list[int], since: int, **more) -> str:
    """Axes are an attribute before an opset, an input since."""
    if s.opset >= since:
        return s.add(op, [x, s.ints(*axes)], shape, **more)
    return s.add(op, [x], shape, axes=axes, **more)


def gemm(s: Sketch, x: str) -> str:
    features, out = s.shapes[x][0], s.number(2, 5)
    transposed = s.one_of(0, 1)
    shape = (out, features) if transposed else (features, out)
    inputs = [x, s.weight(*shape, role=f"gemm{transposed}")]
    if s.one_of(True, False):
        inputs.append(s.weight(out, role="bias"))
    return s.add("Gemm", inputs, (out,), **({"transB": 1} if transposed else {}))


def matmul(s: Sketch, x: str) -> str:
    features, out = s.shapes[x][0], s.number(2, 5)
    y = s.add("MatMul", [x, s.weight(features, out, role="matmul")], (out,))
    bias = s.weight(out, role="bias")
    return s.add("Add", [y, bias] if s.one_of(True, False) else [bias, y], (out,))


def softmax(s: Sketch, x: str) -> str:
    return s.add(s.one_of("Softmax", "LogSoftmax"), [x], s.shapes[x], axis=s.one_of(1, -1))


ON_IMAGES = (conv, batch_norm, activation, branch, scale, pool, pad, turn, shuffle)
ON_VECTORS = (gemm, matmul, activation, branch, scale)


@st.composite
def models(draw: Draw) -> ModelProto:
    """A convolution, up to five operators on images, a vector, up to three on vectors, a dense layer."""
    s = Sketch(draw, draw(st.integers(11, 21)), draw(st.sampled_from(("N", "N", 1))))
    shape = (s.number(1, 4), s.number(4, 7), s.number(4, 7))
    s.shapes["x"] = shape
    x = conv(s, "x")
    for _ in range(s.number(0, 5)):
        x = s.one_of(*ON_IMAGES)(s, x)
    x = to_vector(s, x)
    for _ in range(s.number(0, 3)):
        x = s.one_of(*ON_VECTORS)(s, x)
    x = s.one_of(gemm, matmul)(s, x)
    return s.model(shape, softmax(s, x) if s.one_of(True, False, False) else x)


def feeds_of(model: ModelProto) -> dict[str, np.ndarray]:
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim][1:]
    return {"x": np.random.default_rng(2).standard_normal((EXAMPLES, *shape)).astype(np.float32)}


@SMALL
@given(models())
def test_imported_equals_onnx_runtime(model: ModelProto):
    _, network = analyse(unshare(vet(model.SerializeToString())))
    agreement = compare(model.SerializeToString(), network, feeds_of(model))
    assert agreement is not None and agreement.relative <= LARGEST_RELATIVE


@SMALL
@given(models())
def test_written_back_equals_what_was_trained(model: ModelProto):
    model = unshare(vet(model.SerializeToString()))
    _, network = analyse(model)
    feeds = feeds_of(model)
    network.module.train()
    output = network({"x": torch.from_numpy(feeds["x"])})[network.outputs[0]]
    output.square().mean().backward()
    torch.optim.SGD(network.module.parameters(), 0.05).step()
    written = write_back(model, network)
    assert blank(written) == blank(model)
    agreement = compare(vet(written.SerializeToString()).SerializeToString(), network, feeds)
    assert agreement is not None and agreement.relative <= LARGEST_RELATIVE
