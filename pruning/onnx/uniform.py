"""Channels that are one number everywhere, whatever is fed: which, and what number."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from pruning.onnx.dtypes import FLOATS
from pruning.onnx.labels import Channels, Labels, Tracer, Unknown
from pruning.onnx.shapes import evaluated
from pruning.onnx.steps import Mask, Product

Numbers = NDArray[np.float64]  # one for each channel of a value; NaN where it depends on what is fed, or on the place


@dataclass
class Known:
    """Numbers found so far. zero: (labels,) always zero; live: by weight tensor of a layer where it is not zero."""

    tracer: Tracer
    zero: Mask
    live: Mapping[str, Mask]
    layers: Mapping[str, Product]
    numbers: dict[str, Numbers] = field(default_factory=dict)

    @property
    def labels(self) -> Labels:
        """Of the graph's channels."""
        return self.tracer.found

    def of(self, name: str, count: int) -> Numbers:
        """Of a value with so many channels."""
        return self.numbers.get(name, np.full(count, np.nan))

    def meets(self, name: str, to: Channels) -> Numbers:
        """What each channel of a value meets in one that is broadcast to it, computed or stored."""
        if name in self.labels.values:
            return self.numbers[name]
        values = self.vector(name) if name in self.tracer.stored else self.tracer.constant(name).astype(np.float64)
        axis = values.ndim + to.axis
        n = len(to.labels)
        along = axis >= 0 and values.shape[axis] == n
        rows = np.moveaxis(values, axis, 0).reshape(n, -1) if along else values.reshape(1, -1)
        same = (rows == rows[:, :1]).all(1)
        return np.broadcast_to(np.where(same, rows[:, 0], np.nan), (n,))

    def vector(self, name: str) -> np.ndarray:
        """A stored tensor in double precision."""
        return numpy_helper.to_array(self.tracer.stored[name]).astype(np.float64)


def uniform(tracer: Tracer, zero: Mask, live: Mapping[str, Mask]) -> dict[str, Numbers]:
    """By value that has labels the number that each of its channels is, computed in double precision.

    NaN where it is none, or not known: operators that jump between numbers have no rule, as rounding decides there.
    Args: zero, live: as pruning.onnx.shrink finds them.
    """
    steps = [step for step in tracer.found.steps if isinstance(step, Product)]
    known = Known(tracer, zero, live, {step.weight: step for step in steps})
    for node in tracer.model.graph.node:
        for name in node.output:
            if name in tracer.found.values:
                known.numbers[name] = _numbers(known, node, tracer.found.values[name])
    return known.numbers


def _numbers(known: Known, node: NodeProto, y: Channels) -> Numbers:
    found = np.full(len(y.labels), np.nan)
    if node.op_type in NUMBERS and (node.op_type in MAKERS or any(_any_known(known, name) for name in node.input)):
        try:
            with np.errstate(all="ignore"):
                found = np.broadcast_to(NUMBERS[node.op_type](known, node, y), found.shape)
        except Exception:  # noqa: BLE001  # Unknown, or a form that nobody thought of: as in Tracer.follow
            return np.where(known.zero[y.labels], 0.0, found)
    return np.where(known.zero[y.labels], 0.0, np.where(np.isfinite(found), found, np.nan))


def _any_known(known: Known, name: str) -> bool:
    return name in known.numbers and not np.isnan(known.numbers[name]).all()


def is_even(node: NodeProto, rank: int) -> bool:
    """Whether a layer gives the same everywhere where it reads the same everywhere. Args: rank: of its weight."""
    if node.op_type == "ConvTranspose":
        return False
    given = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    padding = given.get("auto_pad", b"NOTSET")
    if padding.startswith(b"SAME"):
        return given.get("kernel_shape") == [1] * (rank - 2)
    return padding == b"VALID" or not any(given.get("pads", ()))


def weighed(step: Product, W: np.ndarray, x: Numbers) -> Numbers:
    """(groups, out / groups, positions) what a layer's filters make of a number for each input.

    Args: W: its weight; x: (in,).
    """
    if W.dtype.kind != "f":  # bfloat16
        W = W.astype(np.float32)
    by_group = W.reshape(step.groups, -1, W.shape[1], math.prod(W.shape[2:]))
    return np.einsum("giop,gi->gop" if step.by_input else "goip,gi->gop", by_group, _grouped(step, x))


def _grouped(step: Product, x: Numbers) -> Numbers:
    return np.nan_to_num(x).reshape(step.groups, -1)


def _layer(known: Known, node: NodeProto, y: Channels) -> Numbers:
    t, step = known.tracer, known.layers[node.input[1]]
    x = known.of(node.input[0], len(step.inputs))
    stored = t.stored[node.input[1]]
    lit = np.isnan(x) if is_even(node, len(stored.dims)) else x != 0
    still = ~(known.live[step.weight] & lit.reshape(step.groups, 1, -1)).any(-1).reshape(-1)
    bias = _bias(known, node, y)
    if not still.any() or not np.nan_to_num(x).any():
        return np.where(still, bias, np.nan)
    moved = t.attribute(node, "alpha", 1.0) * weighed(step, numpy_helper.to_array(stored), x).sum(-1)
    return np.where(still, bias + moved.reshape(-1), np.nan)


def _bias(known: Known, node: NodeProto, y: Channels) -> Numbers:
    name = node.input[2] if len(node.input) > 2 else ""
    if not name:
        return np.zeros(len(y.labels))
    if node.op_type == "Gemm":
        return known.meets(name, y) * known.tracer.attribute(node, "beta", 1.0)
    return known.vector(name)


def _same(known: Known, node: NodeProto, y: Channels) -> Numbers:
    return known.numbers[node.input[0]]


def _elementwise(known: Known, node: NodeProto, y: Channels) -> Numbers:
    t, x = known.tracer, known.numbers[node.input[0]]
    others = {name: t.constant(name).astype(np.float64) for name in node.input[1:] if name}
    found = evaluated(t.model, node, {node.input[0]: np.nan_to_num(x)} | others)
    if found is None:
        raise Unknown
    return np.where(np.isnan(x), np.nan, found[0].astype(np.float64))


def _cast(known: Known, node: NodeProto, y: Channels) -> Numbers:
    if known.tracer.attribute(node, "to") not in FLOATS - {TensorProto.BFLOAT16}:
        raise Unknown
    return _elementwise(known, node, y)


def _average_pool(known: Known, node: NodeProto, y: Channels) -> Numbers:
    t = known.tracer
    padded = any(t.attribute(node, "pads", ())) or t.attribute(node, "auto_pad", b"").startswith(b"SAME")
    if t.attribute(node, "ceil_mode", 0) or (padded and t.attribute(node, "count_include_pad", 0)):
        raise Unknown
    return known.numbers[node.input[0]]


def _arithmetic(known: Known, node: NodeProto, y: Channels) -> Numbers:
    first, *others = (known.meets(name, y) for name in node.input)
    for other in others:
        first = ARITHMETIC[node.op_type](first, other)
    return first


def _batch_norm(known: Known, node: NodeProto, y: Channels) -> Numbers:
    scale, bias, mean, var = (known.vector(name) for name in node.input[1:5])
    epsilon = known.tracer.attribute(node, "epsilon", 1e-5)
    return (known.numbers[node.input[0]] - mean) * scale / np.sqrt(var + epsilon) + bias


def _prelu(known: Known, node: NodeProto, y: Channels) -> Numbers:
    x = known.numbers[node.input[0]]
    return np.where(x < 0, x * known.meets(node.input[1], y), x)


def _concat(known: Known, node: NodeProto, y: Channels) -> Numbers:
    values, n = known.labels.values, len(y.labels)
    counts = {name: len(values[name].labels) for name in node.input if name in values}
    if len(node.input) > 1 and n in counts.values():  # along another axis
        first, *others = (known.numbers[name] for name in node.input)
        return np.where(np.all([first == other for other in others], axis=0), first, np.nan)
    absent = [name for name in node.input if name not in counts]
    if len({*absent}) > 1:
        raise Unknown
    rest = (n - sum(counts.get(name, 0) for name in node.input)) // max(len(absent), 1)
    return np.concatenate([known.of(name, counts.get(name, rest)) for name in node.input])


def _moved(known: Known, node: NodeProto, y: Channels) -> Numbers:
    """Values of one operator that moves channels about; where a label stands twice, both must be one number."""
    x, source = known.numbers[node.input[0]], known.labels.values[node.input[0]].labels
    if np.array_equal(source, y.labels):
        return x
    order = np.argsort(source, kind="stable")
    names, starts = np.unique(source[order], return_index=True)
    low, high = (ufunc.reduceat(x[order], starts) for ufunc in (np.minimum, np.maximum))
    place = np.searchsorted(names, y.labels).clip(max=len(names) - 1)
    return np.where((names[place] == y.labels) & (low == high)[place], low[place], np.nan)


def _pad(known: Known, node: NodeProto, y: Channels) -> Numbers:
    t = known.tracer
    rank = t.rank(node.input[0])
    pads, value = t.option(node, 1, "pads"), t.option(node, 2, "value")
    if pads is None:
        raise Unknown
    found = _moved(known, node, y)
    around = np.delete(pads.reshape(2, rank), rank + y.axis, 1)
    if t.attribute(node, "mode", b"constant") != b"constant" or not (around > 0).any():
        return found
    return np.where(found == (0 if value is None else value.reshape(-1)[0]), found, np.nan)


Rule = Callable[[Known, NodeProto, Channels], Numbers]
ARITHMETIC = {"Add": np.add, "Div": np.divide, "Mul": np.multiply, "Sub": np.subtract, "Sum": np.add}
MAKERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def _all(rule: Rule, operators: str) -> dict[str, Rule]:
    return dict.fromkeys(operators.split(), rule)


NUMBERS: dict[str, Rule] = {
    **_all(_layer, " ".join(MAKERS)),
    **_all(_same, "Dropout GlobalAveragePool GlobalMaxPool Identity MaxPool ReduceMax ReduceMean ReduceMin"),
    **_all(_elementwise, "Abs Asin Asinh Atan Atanh Celu Clip Cos Cosh Elu Erf Exp Gelu HardSigmoid HardSwish"),
    **_all(_elementwise, "LeakyRelu Mish Neg Relu Selu Sigmoid Sin Sinh Softplus Softsign Sqrt Swish Tan Tanh"),
    **_all(_arithmetic, " ".join(ARITHMETIC)),
    **_all(_moved, "Flatten Reshape Resize Slice Split Squeeze Transpose Unsqueeze Upsample"),
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "Concat": _concat,
    "Pad": _pad,
    "PRelu": _prelu,
}
