"""The same net in fewer nodes and attributes: what counts in a file of a few kilobytes."""

from collections import Counter
from collections.abc import Iterator

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper

from pruning.onnx.graphs import graphs_of
from pruning.onnx.vet import STANDARD

LINEAR = ("Conv", "Gemm", "MatMul")


def thin(model: ModelProto) -> ModelProto:
    """A copy that computes the same to the bit.

    Matrices of Gemm are stored the way round that needs no attribute; powers of two by which the input of layers is
    multiplied go into their weights.
    """
    result = ModelProto()
    result.CopyFrom(model)
    if not result.functions:
        _turn(result.graph)
        _scale(result.graph)
    return result


def _turn(graph: GraphProto) -> None:
    """Transposed matrices are stored as they are multiplied."""
    own = owned(graph)
    for node in graph.node:
        turned = [a for a in node.attribute if a.name == "transB" and a.i == 1]
        if node.op_type == "Gemm" and node.domain in STANDARD and turned and node.input[1] in own:
            store(own[node.input[1]], numpy_helper.to_array(own[node.input[1]]).T)
            node.attribute.remove(turned[0])


def _scale(graph: GraphProto) -> None:
    """A product by a power of two is exact, before a layer as well as in its weights."""
    own = owned(graph)
    for node in [n for n in graph.node if n.op_type == "Mul" and n.domain in STANDARD]:
        for at in (0, 1):
            factor, value = own.get(node.input[at]), node.input[1 - at]
            layers = readers(graph, node.output[0])
            if factor is None or factor.dims or not layers or not all(_is_layer(n, node.output[0]) for n in layers):
                continue
            weights = [own.get(n.input[1]) for n in layers]
            scaled = [None if W is None else _scaled(W, factor) for W in weights]
            if any(one is None for one in scaled):
                continue
            for W, values, layer in zip(weights, scaled, layers, strict=True):
                assert W is not None and values is not None
                store(W, values)
                layer.input[0] = value
            graph.node.remove(node)
            graph.initializer.remove(factor)
            break


def _scaled(W: TensorProto, factor: TensorProto) -> np.ndarray | None:
    """None where that would not be exact."""
    values, by = numpy_helper.to_array(W), numpy_helper.to_array(factor)
    if values.dtype != np.float32 or by.dtype != np.float32 or not by > 0 or np.frexp(by)[0] != 0.5:
        return None
    found = values * by
    normal = (found == 0) | (np.abs(found) > 2.0**-64)
    return found if normal.all() and np.array_equal(found / by, values) else None


def _is_layer(node: NodeProto, name: str) -> bool:
    if node.op_type not in LINEAR or node.domain not in STANDARD or list(node.input).count(name) > 1:
        return False
    return node.input[0] == name and all(a.i == 0 for a in node.attribute if a.name == "transA")


def readers(graph: GraphProto, name: str) -> list[NodeProto]:
    """Nodes that take this value; none where it is also an output, or read by a graph inside a node."""
    if name in {port.name for port in graph.output} | set(_inner(graph)):
        return []
    return [n for n in graph.node if name in n.input]


def owned(graph: GraphProto) -> dict[str, TensorProto]:
    """Initializers that a single node takes, and nothing else."""
    times = Counter(name for n in graph.node for name in n.input)
    times.update(port.name for port in (*graph.input, *graph.output))
    times.update(_inner(graph))
    return {t.name: t for t in graph.initializer if times[t.name] == 1}


def _inner(graph: GraphProto) -> Iterator[str]:
    _, *graphs = graphs_of(graph)
    for one in graphs:
        yield from (name for node in one.node for name in (*node.input, *node.output))
        yield from (port.name for port in one.output)


def store(tensor: TensorProto, values: np.ndarray) -> None:
    """Put values in the place of those of a stored tensor."""
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values), tensor.name))
