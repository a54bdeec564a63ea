"""Nets whose weights have columns of zeros: convolutions of every form, and any file with some made zero."""

from typing import Any

import numpy as np
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper, numpy_helper

from pruning.onnx.columns import OPERATORS
from pruning.onnx.convert import stored_tensors
from tests.unit.pruning.onnx.test_random_graphs import Draw
from tests.unit.pruning.onnx.test_weights import made, node, port


def convolution(W: np.ndarray, sizes: list, groups: int = 1, bias: bool = True, opset: int = 17, **attributes: Any):
    """A net of one convolution and a Relu."""
    dtype = helper.np_dtype_to_tensor_dtype(W.dtype)
    b = np.random.default_rng(3).standard_normal(len(W)).astype(W.dtype)
    nodes = [node("Conv", ["x", "w", *(["b"] if bias else [])], ["c"], group=groups, **attributes)]
    tensors = [numpy_helper.from_array(W, "w"), *([numpy_helper.from_array(b, "b")] if bias else [])]
    x = port("x", "N", W.shape[1] * groups, *sizes, dtype=dtype)
    y = port("y", "N", len(W), *[None] * len(sizes), dtype=dtype)
    return made([*nodes, node("Relu", ["c"], ["y"])], tensors, [x], [y], opset=opset)


@st.composite
def convolutions(draw: Draw) -> ModelProto:
    """Any padding, stride, dilation and number of groups, one or two axes, some columns zero, often at the border."""
    rank, groups = draw(st.integers(1, 2)), draw(st.sampled_from([1, 1, 2]))
    many = lambda least, most: [draw(st.integers(least, most)) for _ in range(rank)]  # noqa: E731
    shape = [draw(st.integers(1, 4)) * groups, draw(st.integers(1, 20)), *many(1, 4)]
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    W = rng.standard_normal(shape).astype(np.float32)
    W[:, rng.random(shape[1:]) < draw(st.sampled_from([0.3, 0.6, 0.9]))] = 0
    W[:, :, : draw(st.integers(0, 1))] = 0
    W[..., shape[-1] - draw(st.integers(0, 1)) :] = 0
    options: dict[str, Any] = {"strides": many(1, 3), "dilations": many(1, 2)}
    mode = draw(st.sampled_from(["NOTSET", "pads", "pads", "SAME_UPPER", "SAME_LOWER", "VALID"]))
    if mode == "pads":
        options["pads"] = many(0, 3) + many(0, 3)
    elif mode != "NOTSET":
        options["auto_pad"] = mode
    if mode.startswith("SAME"):  # ONNX Runtime takes no others
        options["dilations"] = [1] * rank
    opset, bias = draw(st.sampled_from([7, 9, 10, 11, 13, 17, 21])), draw(st.booleans())
    return convolution(W, many(7, 10), groups, bias, opset, **options)


def without_columns(model: ModelProto, share: float, seed: int = 0) -> ModelProto:
    """That share of the columns of every weight made zero."""
    result = ModelProto()
    result.CopyFrom(model)
    rng, stored = np.random.default_rng(seed), stored_tensors(result)
    for layer in (n for n in result.graph.node if n.op_type in OPERATORS and n.input[1] in stored):
        tensor = stored[layer.input[1]]
        values = numpy_helper.to_array(tensor).copy()
        if values.ndim >= 2:
            rows = any(a.name == "transB" and a.i for a in layer.attribute) or layer.op_type == "Conv"
            columns = values if rows else np.moveaxis(values, 1, 0)
            columns[:, rng.random(columns.shape[1:]) < share] = 0
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return result


def kept(model: ModelProto) -> dict[str, int]:
    """Weights that are not zero, by tensor."""
    floats = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)
    stored = {k: t for k, t in stored_tensors(model).items() if t.data_type in floats and len(t.dims) > 1}
    return {name: int(np.count_nonzero(numpy_helper.to_array(tensor))) for name, tensor in stored.items()}
