"""Exporters merge equal vectors (zeros, ones) into one tensor; training must not tie them."""

from collections.abc import Iterator, Mapping

import numpy as np
from onnx import ModelProto, TensorProto, ValueInfoProto, numpy_helper

from pruning.onnx.convert import stored_tensors
from pruning.onnx.dtypes import FLOATS
from pruning.onnx.names import free

# Inputs that are trained vectors, by operator; of Add where it follows a layer: its bias then.
VECTORS = {
    "Add": (0, 1),
    "BatchNormalization": (1, 2, 3, 4),
    "Conv": (2,),
    "ConvTranspose": (2,),
    "Gemm": (2,),
    "GroupNormalization": (1, 2),
    "InstanceNormalization": (1, 2),
    "LayerNormalization": (1, 2),
    "PRelu": (1,),
    "RMSNormalization": (1,),
}
SHARED = "all"
LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def unshare(model: ModelProto) -> ModelProto:
    """The model with a copy of its own for every layer that reads one and the same vector.

    A vector of different numbers is shared because its layer is applied twice, and so is one that is read with the
    same matrix: these stay shared, but for running statistics, which belong to a BatchNormalization with all that it
    reads. Vectors may stand in initializers or Constant nodes, and be read through Identity nodes.
    A model without such vectors is returned as it is.
    """
    vectors = _vectors(model)
    names = _aliases(model, vectors)
    owners: dict[str, list[str]] = {name: [] for name in vectors}
    changes: list[tuple[int, int, str, int]] = []
    for place, i, vector, owner in _reads(model, vectors, names):
        if owner not in owners[vector]:
            owners[vector].append(owner)
        if owners[vector].index(owner):
            changes.append((place, i, vector, owners[vector].index(owner)))
    return _with_copies(model, vectors, changes) if changes else model


def _reads(
    model: ModelProto, vectors: Mapping[str, TensorProto], names: Mapping[str, str]
) -> Iterator[tuple[int, int, str, str]]:
    """Wherever a trained vector is read: the node's place, the input, the vector, and whose it is there."""
    uniform = {name for name, tensor in vectors.items() if _is_uniform(tensor)}
    made = {name: node for node in model.graph.node for name in node.output}
    for place, node in enumerate(model.graph.node):
        for i in (i for i in VECTORS.get(node.op_type, ()) if i < len(node.input) and node.input[i] in names):
            vector = names[node.input[i]]
            layer = made.get(node.input[1 - i]) if node.op_type == "Add" else node
            if layer is None or (node.op_type == "Add" and layer.op_type not in LAYERS):
                continue
            if node.op_type == "BatchNormalization":
                four = [names.get(n, n) for n in node.input[1:5]]
                alone = f"{place}.{i}" if uniform >= set(four) else "|".join(four)
                yield place, i, vector, alone if vector in uniform or i > 2 else SHARED
            else:
                alone = layer.input[1] if layer.op_type in LAYERS else f"{place}.{i}"
                yield place, i, vector, alone if vector in uniform else SHARED


def _with_copies(
    model: ModelProto, vectors: Mapping[str, TensorProto], changes: list[tuple[int, int, str, int]]
) -> ModelProto:
    result = ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    taken = {name for node in graph.node for name in (*node.input, *node.output)} | {t.name for t in graph.initializer}
    made: dict[tuple[str, int], str] = {}
    for place, i, vector, number in changes:
        if (vector, number) not in made:
            name = free(f"{vector}__{number + 1}", taken)
            made[vector, number] = name
            copy = graph.initializer.add()
            copy.CopyFrom(vectors[vector])
            copy.name = name
            if model.ir_version < 4:  # initializers had to be inputs then
                graph.input.append(_as_input(copy))
        graph.node[place].input[i] = made[vector, number]
    return result


def _as_input(tensor: TensorProto) -> ValueInfoProto:
    value = ValueInfoProto(name=tensor.name)
    value.type.tensor_type.elem_type = tensor.data_type
    for n in tensor.dims:
        value.type.tensor_type.shape.dim.add(dim_value=n)
    return value


def _vectors(model: ModelProto) -> dict[str, TensorProto]:
    tensors = stored_tensors(model)
    return {k: t for k, t in tensors.items() if len(t.dims) == 1 and t.data_type in FLOATS}


def _is_uniform(tensor: TensorProto) -> bool:
    values = numpy_helper.to_array(tensor).astype(np.float64)
    return bool((values == values[:1]).all())


def _aliases(model: ModelProto, vectors: Mapping[str, TensorProto]) -> dict[str, str]:
    """Names by which a vector is read, through Identity nodes too."""
    names = {k: k for k in vectors}
    for node in model.graph.node:
        if node.op_type == "Identity" and node.input[0] in names:
            names[node.output[0]] = names[node.input[0]]
    return names
