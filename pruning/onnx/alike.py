"""Layers with the same levels, for which one table of them does.

What a layer with max pooling or ReLU gives is as many times larger as its weights and biases are, so that factors can
move from layer to layer while those of a chain multiply to one. Outputs change by rounding only.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper

from pruning.onnx.thin import LINEAR, owned, readers, store
from pruning.onnx.vet import STANDARD

MOST, SAME = 16, 5  # levels; digits in which they agree
HOMOGENEOUS = {
    *("AveragePool", "Flatten", "GlobalAveragePool", "GlobalMaxPool", "Identity", "LeakyRelu", "MaxPool", "Relu"),
    *("Reshape", "Squeeze", "Transpose", "Unsqueeze"),
}


def alike(model: ModelProto) -> ModelProto:
    """A copy in which layers of a chain have the same levels where these were in proportion."""
    result = ModelProto()
    result.CopyFrom(model)
    for chain in [] if result.functions else _chains(result.graph):
        _level(result.graph, chain)
    return result


def _level(graph: GraphProto, chain: Sequence[NodeProto]) -> None:
    stored = owned(graph)
    weights = [numpy_helper.to_array(stored[layer.input[1]]) for layer in chain]
    ratios = [_ratios(W) for W in weights]
    (common, times), *_ = Counter(r for r in ratios if r).most_common(1) or [((), 0)]
    if times < 2:
        return
    table, factors = _shared(weights, [at for at, r in enumerate(ratios) if r == common])
    total = 1.0
    for at, layer in enumerate(chain):
        total *= factors[at]
        W = (weights[at] * factors[at]).astype(np.float32)
        store(stored[layer.input[1]], table[np.abs(W[..., None] - table).argmin(-1)] if ratios[at] == common else W)
        if at < len(chain) - 1:
            _multiply([stored[name] for name in layer.input[2:]], total)


def _shared(weights: Sequence[np.ndarray], same: Sequence[int]) -> tuple[np.ndarray, list[float]]:
    """The levels of those that are the same in proportion, and a factor for each layer; their product is one."""
    largest = [float(np.abs(W).max()) for W in weights]
    size = math.exp(sum(math.log(largest[at]) for at in same) / len(same))
    table = np.unique(weights[same[0]]) * (size / largest[same[0]])
    return table.astype(np.float32), [size / one if at in same else 1.0 for at, one in enumerate(largest)]


def _ratios(W: np.ndarray) -> tuple[float, ...] | None:
    """The levels in parts of the largest; None where they are too many."""
    levels = np.unique(W)
    if len(levels) > MOST or not np.isfinite(levels).all() or not levels.any():
        return None
    return tuple(np.round(levels.astype(np.float64) / np.abs(levels).max(), SAME).tolist())


def _multiply(biases: Sequence[TensorProto], by: float) -> None:
    for bias in biases:
        store(bias, (numpy_helper.to_array(bias) * by).astype(np.float32))


def _chains(graph: GraphProto) -> list[list[NodeProto]]:
    """Layers that follow each other with nothing but homogeneous nodes between them."""
    stored = owned(graph)
    layers = {n.output[0]: n for n in graph.node if _is_layer(n, stored)}
    following = {name: _next(graph, name, layers) for name in layers}
    before = defaultdict(int, Counter(name for name in following.values() if name))
    chains = []
    for name in layers:
        if not before[name]:
            chain: list[NodeProto] = []
            at: str | None = name
            while at:
                chain.append(layers[at])
                at = following[at]
            chains.append(chain)
    return chains


def _next(graph: GraphProto, value: str, layers: dict[str, NodeProto]) -> str | None:
    """The output of the layer that alone takes this value."""
    while len(found := readers(graph, value)) == 1 and found[0].input[0] == value and found[0].domain in STANDARD:
        node = found[0]
        if layers.get(node.output[0]) is node:
            return node.output[0]
        if node.op_type not in HOMOGENEOUS or len(node.output) > 1:
            return None
        value = node.output[0]
    return None


def _is_layer(node: NodeProto, stored: dict[str, TensorProto]) -> bool:
    if node.op_type not in LINEAR or node.domain not in STANDARD or len(node.input) < 2 or "" in node.input:
        return False
    scaled = [a.name for a in node.attribute if a.name in ("alpha", "beta") and a.f != 1]
    kinds = [stored[name].data_type for name in node.input[1:] if name in stored]
    return not scaled and kinds == [TensorProto.FLOAT] * (len(node.input) - 1) and node.input[0] not in stored
