"""How each operator passes the channels of its inputs on, and with them the labels of a whole graph."""

import numpy as np
from onnx import ModelProto, NodeProto

from pruning.onnx import attention, moves
from pruning.onnx.counted import settle
from pruning.onnx.labels import Channels, Labels, Rule, Tracer, Unknown
from pruning.onnx.steps import Product

Found = tuple[Channels, ...]


def label(model: ModelProto) -> Labels:
    """Labels of every value of the graph that has them; the model is as it came, or with its functions inlined."""
    return trace(model).found


def trace(model: ModelProto) -> Tracer:
    """All that was found out on the way through the graph; label has the model's form."""
    tracer = Tracer(model)
    for node in model.graph.node:
        tracer.follow(node, RULES)
    attention.settle(tracer)
    tracer.finish()
    settle(tracer)
    return tracer


def _same(t: Tracer, node: NodeProto) -> Found:
    """Zero gives zero, and every channel stays by itself."""
    if any(t.uses[name] for name in node.output[1:]):
        raise Unknown
    return (t.channels(node.input[0]),)


def _dropout(t: Tracer, node: NodeProto) -> Found:
    if len(node.input) > 2 and node.input[2] and t.constant(node.input[2]).any():
        raise Unknown
    return _same(t, node)


def _pooled(t: Tracer, node: NodeProto) -> Found:
    t.images(node.input[0])
    return _same(t, node)


def _lit(t: Tracer, node: NodeProto) -> Found:
    """Zero gives something else, such as the half of Sigmoid."""
    return (t.mapped(t.channels(node.input[0]), True, False, may_rest=False),)


def _clip(t: Tracer, node: NodeProto) -> Found:
    low, high = t.option(node, 1, "min"), t.option(node, 2, "max")
    if (low is None or (low <= 0).all()) and (high is None or (high >= 0).all()):
        return _same(t, node)
    return _lit(t, node)


def _conv(t: Tracer, node: NodeProto) -> Found:
    """Channels of a grouped convolution go together across its groups, those of a depthwise one with its filters."""
    form, groups = t.form(node.input[1]), t.attribute(node, "group", 1)
    by_input = node.op_type == "ConvTranspose"
    ways = [form[0], form[1] * groups]
    count_in, count_out = ways if by_input else ways[::-1]
    bias = t.parameter(node.input[2]) if len(node.input) > 2 and node.input[2] else np.zeros(count_out)
    x, y = t.reads(node.input[0], 1 - len(form), count_in), t.fresh(count_out)
    t.found.steps.append(Product(node.input[1], x, y, bias == 0, groups, by_input))
    t.found.parts.append(y)
    if len(node.input) > 2 and node.input[2]:
        t.found.axes[node.input[2]] = {0: y}
    whole, part = (x, y) if by_input else (y, x)
    t.found.axes[node.input[1]] = {0: whole, 1: part.reshape(groups, -1)[0]}
    if groups > 1 and groups == count_in:
        t.tie(np.repeat(x, count_out // count_in), y)
        t.found.groups[node.output[0]] = x
        t.found.axes[node.input[1]] = {0: whole}
    else:
        for labels in (x.reshape(groups, -1), y.reshape(groups, -1)):
            for other in labels[1:]:
                t.tie(labels[0], other)
    return (Channels(1 - len(form), y),)


def _gemm(t: Tracer, node: NodeProto) -> Found:
    form = t.form(node.input[1])
    if t.attribute(node, "transA", 0) or t.attribute(node, "alpha", 1.0) == 0 or len(form) != 2:
        raise Unknown
    by_input = not t.attribute(node, "transB", 0)
    bias = node.input[2] if len(node.input) > 2 else ""
    count_out = form[int(by_input)]
    if bias and (bias not in t.stored or t.stored[bias].dims[:-1] not in ([], [1])):
        raise Unknown
    return _dense(t, node, by_input, bias, count_out)


def _matmul(t: Tracer, node: NodeProto) -> Found:
    form = t.form(node.input[1])
    if len(form) != 2:
        raise Unknown
    return _dense(t, node, True, "", form[1])


def _dense(t: Tracer, node: NodeProto, by_input: bool, bias: str, count_out: int) -> Found:
    count_in = t.form(node.input[1])[int(not by_input)]
    x, y = t.reads(node.input[0], -1, count_in), Channels(-1, t.fresh(count_out))
    if node.input[0] in t.shapes:
        t.shapes.setdefault(node.output[0], (*t.shapes[node.input[0]][:-1], count_out))
    rests = (t.along(bias, y) == 0).all(1) if bias else np.ones(count_out, dtype=bool)
    t.found.steps.append(Product(node.input[1], x, y.labels, rests, 1, by_input))
    t.found.parts.append(y.labels)
    t.found.axes[node.input[1]] = {0: x, 1: y.labels} if by_input else {0: y.labels, 1: x}
    return (y,)


def _batch_norm(t: Tracer, node: NodeProto) -> Found:
    x = t.images(node.input[0])
    scale, bias, mean, var = (t.parameter(name).astype(np.float64) for name in node.input[1:5])
    flags = t.attribute(node, "training_mode", 0), 1 - t.attribute(node, "spatial", 1)
    if any(flags) or any(t.uses[name] for name in node.output[1:]) or scale.shape != x.labels.shape:
        raise Unknown
    t.found.axes.update({name: {0: x.labels} for name in node.input[1:5]})
    at_zero = bias - scale * mean / np.sqrt(var + t.attribute(node, "epsilon", 1e-5))
    return (t.mapped(x, scale != 0, at_zero == 0),)


def _instance_norm(t: Tracer, node: NodeProto) -> Found:
    x = t.images(node.input[0])
    scale, bias = (t.parameter(name) for name in node.input[1:3])
    t.found.axes.update({name: {0: x.labels} for name in node.input[1:3]})
    return (t.mapped(x, scale != 0, bias == 0),)


def _prelu(t: Tracer, node: NodeProto) -> Found:
    x = t.channels(node.input[0])
    t.along(node.input[1], x)
    return (x,)


def _arithmetic(t: Tracer, node: NodeProto) -> Found:
    """With a stored tensor, or channel by channel with other values."""
    scales = node.op_type in ("Mul", "Div")
    stored = [name for name in node.input if name in t.stored or name in t.constants]
    if stored and len(node.input) == 2:
        other = stored[-1]
        if len(stored) == 2 or (node.op_type == "Div" and node.input[0] == other):
            raise Unknown
        x = t.channels(node.input[1 - list(node.input).index(other)])
        values = t.along(other, x)
        if node.op_type == "Div":
            return (t.mapped(x, True, True),)
        passes = (values != 0).any(1) if scales else True
        own = other in t.found.axes
        return (t.mapped(x, passes, True if scales else (values == 0).all(1), scales or own),)
    if node.op_type == "Div":
        raise Unknown
    return (t.joined([t.channels(name) for name in node.input], gate=scales),)


def _all(rule: Rule, operators: str) -> dict[str, Rule]:
    return dict.fromkeys(operators.split(), rule)


RULES: dict[str, Rule] = {
    **_all(_same, "Abs Asin Asinh Atan Atanh Cast Ceil Celu Elu Erf Floor Gelu HardSwish Identity LeakyRelu Mish Neg"),
    **_all(_same, "Relu Round Selu Sign Sin Sinh Softsign Sqrt Swish Tan Tanh ThresholdedRelu"),
    **_all(_lit, "Cos Cosh Exp HardSigmoid Sigmoid Softplus"),
    **_all(_pooled, "AveragePool GlobalAveragePool GlobalMaxPool LpPool MaxPool"),
    **_all(moves.reduce, "ReduceL1 ReduceL2 ReduceMax ReduceMean ReduceMin ReduceSum ReduceSumSquare"),
    **_all(_arithmetic, "Add Div Mul Sub Sum"),
    **_all(_conv, "Conv ConvTranspose"),
    **_all(moves.resize, "Resize Upsample"),
    "BatchNormalization": _batch_norm,
    "Clip": _clip,
    "Concat": moves.concat,
    "Dropout": _dropout,
    "Flatten": moves.flatten,
    "Gemm": _gemm,
    "InstanceNormalization": _instance_norm,
    "MatMul": _matmul,
    "Pad": moves.pad,
    "PRelu": _prelu,
    "Reshape": moves.reshape,
    "Shape": moves.shape_of,
    "Slice": moves.part,
    "Split": moves.split,
    "Squeeze": moves.squeeze,
    "Transpose": moves.transpose,
    "Unsqueeze": moves.unsqueeze,
}
RULES |= attention.beside(RULES)
