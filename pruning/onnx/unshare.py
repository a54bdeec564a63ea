"""Exporters merge equal vectors (zeros, ones) into one tensor; training must not tie them."""

from collections import Counter
from collections.abc import Mapping

from onnx import ModelProto, TensorProto

FLOATING = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16}


def unshare(model: ModelProto) -> ModelProto:
    """The model with a copy of its own for every further reader of a one-dimensional float tensor.

    Vectors may stand in initializers or Constant nodes, and be read through Identity nodes.
    Matrices stay shared: tied weights are meant. A model without such tensors is returned as it is.
    """
    vectors = _vectors(model)
    names = _aliases(model, vectors)
    readers = Counter(
        names[n] for node in model.graph.node if node.op_type != "Identity" for n in node.input if n in names
    )
    if not any(n > 1 for n in readers.values()):
        return model
    result = ModelProto()
    result.CopyFrom(model)
    seen: Counter[str] = Counter()
    for node in result.graph.node:
        for i, name in enumerate(node.input):
            vector = names.get(name)
            if vector is None or node.op_type == "Identity":
                continue
            seen[vector] += 1
            if seen[vector] > 1:
                copy = result.graph.initializer.add()
                copy.CopyFrom(vectors[vector])
                copy.name = node.input[i] = f"{vector}__{seen[vector]}"
    return result


def _vectors(model: ModelProto) -> dict[str, TensorProto]:
    constants = {
        node.output[0]: a.t
        for node in model.graph.node
        if node.op_type == "Constant"
        for a in node.attribute
        if a.name == "value"
    }
    tensors = {t.name: t for t in model.graph.initializer} | constants
    return {k: t for k, t in tensors.items() if len(t.dims) == 1 and t.data_type in FLOATING}


def _aliases(model: ModelProto, vectors: Mapping[str, TensorProto]) -> dict[str, str]:
    """Names by which a vector is read, through Identity nodes too."""
    names = {k: k for k in vectors}
    for node in model.graph.node:
        if node.op_type == "Identity" and node.input[0] in names:
            names[node.output[0]] = names[node.input[0]]
    return names
