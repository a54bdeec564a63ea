"""BatchNormalization that stands in the user's graph, folded into the layer before it."""

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from pruning.onnx.convert import stored_tensors
from pruning.onnx.dtypes import FLOATS
from pruning.onnx.graphs import graphs_of
from pruning.onnx.names import free, names_of
from pruning.onnx.vet import STANDARD, opset_of

OLDEST_OPSET = 7  # before it BatchNormalization has other forms
LAYERS = ("Conv", "ConvTranspose", "Gemm")
ELSEWHERE = -1


def fold_batch_norms(model: ModelProto) -> ModelProto:
    """A copy in which every BatchNormalization directly behind a Conv, ConvTranspose or Gemm is part of that layer.

    Computed in double precision, kept in the type of the layer's weights; the layer's output takes the name of the
    BatchNormalization's. One stays where it uses its batch's statistics, where anybody else reads the layer's output
    or a tensor of either, and where what comes out is not finite.
    """
    result = ModelProto()
    result.CopyFrom(model)
    if opset_of(model) >= OLDEST_OPSET:
        graph = _Graph(result)
        for place in range(len(graph.nodes)):
            if (layer := graph.layer_before(place)) is not None and (folded := _folded(graph, layer, place)):
                graph.fold(layer, place, *folded)
        graph.remove_unread()
    return result


class _Graph:
    """Who makes and who reads what; nodes go by their places."""

    def __init__(self, model: ModelProto) -> None:
        self.model = model
        self.nodes = list(model.graph.node)
        self.tensors = stored_tensors(model)
        self.made = {name: place for place, node in enumerate(self.nodes) for name in node.output}
        self.taken = names_of(model)
        self.folded: set[int] = set()
        self.readers: dict[str, list[int]] = defaultdict(list)
        for place, name in _reads(model):
            self.readers[name].append(place)

    def layer_before(self, place: int) -> int | None:
        """Of a BatchNormalization that may be folded: the layer whose output it alone reads."""
        norm = self.nodes[place]
        if norm.op_type != "BatchNormalization" or not _is_fixed(norm):
            return None
        at = self.made.get(norm.input[0])
        if at is None or self.nodes[at].op_type not in LAYERS or self.nodes[at].domain not in STANDARD:
            return None
        own = [name for name in self.nodes[at].input[1:] if name]
        alone = self.readers[norm.input[0]] == [place] and all(self.readers[name] == [at] for name in own)
        alone = alone and all(set(self.readers[name]) == {place} for name in norm.input[1:])
        stored = all(n in self.tensors and self.tensors[n].data_type in FLOATS for n in (*own, *norm.input[1:]))
        return at if alone and stored else None

    def fold(self, at: int, place: int, W: np.ndarray, bias: np.ndarray) -> None:
        """The layer has these weights and biases from now on, and gives what the BatchNormalization gave."""
        layer, output = self.nodes[at], self.nodes[place].output[0]
        _set(self.tensors[layer.input[1]], W)
        if _has_bias(layer):
            _set(self.tensors[layer.input[2]], bias)
        else:
            self._add_bias(at, bias)
        for attribute in (a for a in layer.attribute if a.name == "beta"):
            attribute.f = 1.0
        layer.output[0] = output
        self.made[output] = at
        self.folded.add(place)

    def remove_unread(self) -> None:
        """What was folded, the tensors that only it read, and what was said of values that are gone."""
        graph = self.model.graph
        tensors = {name for place in self.folded for name in self.nodes[place].input[1:]}
        gone = tensors | {self.nodes[place].input[0] for place in self.folded}
        constants = {self.made[name] for name in tensors if name in self.made}
        for place in sorted(self.folded | constants, reverse=True):
            del graph.node[place]
        for named in (graph.initializer, graph.input, graph.value_info):
            for i in reversed(range(len(named))):
                if named[i].name in gone:
                    del named[i]

    def _add_bias(self, at: int, bias: np.ndarray) -> None:
        layer, graph = self.nodes[at], self.model.graph
        name = free(layer.input[1].removesuffix(".weight") + ".bias", self.taken)
        graph.initializer.append(numpy_helper.from_array(bias, name))
        self.tensors[name] = graph.initializer[-1]
        self.readers[name] = [at]
        if self.model.ir_version < 4:  # initializers had to be inputs then
            graph.input.append(helper.make_tensor_value_info(name, self.tensors[name].data_type, bias.shape))
        del layer.input[2:]
        layer.input.append(name)


def _folded(graph: _Graph, at: int, place: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Weights and biases of the layer with the BatchNormalization in it; None where they cannot be had."""
    layer, norm = graph.nodes[at], graph.nodes[place]
    weight, *rest = (graph.tensors[name] for name in layer.input[1:] if name)
    values = _values(weight)
    groups, inputs, outputs, positions = _axes(layer, values.shape)
    gain, offset, mean, var = (_values(graph.tensors[name]) for name in norm.input[1:])
    one_each = {v.shape for v in (gain, offset, mean, var)} == {(groups * outputs,)}
    if not one_each or any(tuple(b.dims[-1:]) != (groups * outputs,) for b in rest):
        return None
    dtype = helper.tensor_dtype_to_np_dtype(weight.data_type)
    with np.errstate(all="ignore"):
        scale = gain / np.sqrt(var + _attribute(norm, "epsilon", 1e-5))
        W = values.reshape(groups, inputs, outputs, positions) * scale.reshape(groups, 1, outputs, 1)
        bias = _attribute(layer, "beta", 1.0) * _values(rest[0]) if rest else np.zeros(len(scale))
        result = W.reshape(values.shape).astype(dtype), (bias * scale + offset - mean * scale).astype(dtype)
    return result if all(np.isfinite(x.astype(np.float64)).all() for x in result) else None


def _axes(layer: NodeProto, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """The weights' shape as (groups, inputs, outputs of a group, positions): ConvTranspose has inputs first."""
    if layer.op_type == "Conv" or (layer.op_type == "Gemm" and _attribute(layer, "transB", 0)):
        return 1, 1, shape[0], int(np.prod(shape[1:]))
    groups = int(_attribute(layer, "group", 1))
    return groups, shape[0] // groups, shape[1], int(np.prod(shape[2:]))


def _is_fixed(norm: NodeProto) -> bool:
    """Whether it is one function for every batch, with a number for each channel."""
    by_channel = not _attribute(norm, "training_mode", 0) and _attribute(norm, "spatial", 1)
    return bool(by_channel) and norm.domain in STANDARD and len([name for name in norm.output if name]) == 1


def _has_bias(layer: NodeProto) -> bool:
    return len(layer.input) > 2 and bool(layer.input[2])


def _attribute(node: NodeProto, name: str, default: float) -> float:
    return next((helper.get_attribute_value(a) for a in node.attribute if a.name == name), default)


def _values(tensor: TensorProto) -> np.ndarray:
    return numpy_helper.to_array(tensor).astype(np.float64)


def _set(tensor: TensorProto, values: np.ndarray) -> None:
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def _reads(model: ModelProto) -> Iterator[tuple[int, str]]:
    """By which node each value is read; the graph's outputs and graphs inside nodes are elsewhere."""
    outer, *inner = graphs_of(model.graph)
    yield from ((place, name) for place, node in enumerate(outer.node) for name in node.input)
    yield from ((ELSEWHERE, port.name) for graph in (outer, *inner) for port in graph.output)
    yield from ((ELSEWHERE, name) for graph in inner for node in graph.node for name in node.input)
