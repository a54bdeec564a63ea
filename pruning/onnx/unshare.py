"""Exporters merge equal vectors (zeros, ones) into one tensor; training must not tie them."""

from collections import Counter

from onnx import ModelProto

FLOATING = {1, 10, 11}  # float32, float16, float64


def unshare(model: ModelProto) -> ModelProto:
    """The model with a copy of its own for every further reader of a one-dimensional float initializer.

    Matrices stay shared: tied weights are meant. A model without such tensors is returned as it is.
    """
    readers = Counter(name for node in model.graph.node for name in node.input)
    shared = {
        t.name: t
        for t in model.graph.initializer
        if len(t.dims) == 1 and t.data_type in FLOATING and readers[t.name] > 1
    }
    if not shared:
        return model
    result = ModelProto()
    result.CopyFrom(model)
    seen: Counter[str] = Counter()
    for node in result.graph.node:
        for i, name in enumerate(node.input):
            if name in shared:
                seen[name] += 1
                if seen[name] > 1:
                    copy = result.graph.initializer.add()
                    copy.CopyFrom(shared[name])
                    copy.name = node.input[i] = f"{name}__{seen[name]}"
    return result
