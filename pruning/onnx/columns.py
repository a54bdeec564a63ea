"""Layers whose weights could be stored in another form, as without columns of zeros, and graphs with those in place."""

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from pruning.onnx.convert import stored_tensors
from pruning.onnx.names import names_of
from pruning.onnx.normalise import OLDEST_CONVERTED
from pruning.onnx.shapes import enforced_shapes
from pruning.onnx.tensors import add_tensors, put, uses
from pruning.onnx.vet import STANDARD, opset_of

OPERATORS = {"Conv", "Gemm", "MatMul"}
TYPES = {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16}
PAD_READS_INPUTS = 11


@dataclass(frozen=True)
class Layer:
    """A node of the graph and its stored weight, which nothing else reads.

    W: as it is stored; stem: what names of new values begin with; no name of the graph does; sizes: of the image that
    a convolution reads, none where one of them is known only at run time.
    """

    node: NodeProto
    W: np.ndarray
    opset: int
    stem: str
    sizes: tuple[int, ...] = ()

    @property
    def weight(self) -> str:
        """The weight tensor's name."""
        return self.node.input[1]

    @cached_property
    def live(self) -> NDArray[np.bool_]:
        """(in / groups, *kernel) of a convolution: columns that are not zero in all filters."""
        return (self.W != 0).any(0)

    @property
    def channels(self) -> int:
        """The axis of its input along which the weight reads."""
        return -1 if self.node.op_type == "MatMul" else 1

    @property
    def inputs(self) -> int:
        """Channels that it reads."""
        if self.node.op_type == "Conv":
            return self.W.shape[1] * self.attribute("group", 1)
        return self.W.shape[1] if self.attribute("transB", 0) else self.W.shape[-2]

    def attribute(self, name: str, default: Any = None) -> Any:
        """Of the node; strings decoded."""
        value = next((helper.get_attribute_value(a) for a in self.node.attribute if a.name == name), default)
        return value.decode() if isinstance(value, bytes) else value


@dataclass(frozen=True)
class Rewrite:
    """What computes a layer's output in the place of its node: nodes in their order, and the tensors they read.

    W: the layer's weight from now on, without columns that are zero; it keeps its name.
    """

    nodes: Sequence[NodeProto]
    W: np.ndarray
    tensors: Sequence[TensorProto] = ()


@dataclass
class Draft:
    """A rewrite in the making."""

    layer: Layer
    nodes: list[NodeProto] = field(default_factory=list)
    tensors: list[TensorProto] = field(default_factory=list)

    def tensor(self, values: np.ndarray) -> str:
        """The name of a new stored tensor."""
        name = f"{self.layer.stem}.{len(self.nodes)}.{len(self.tensors)}"
        self.tensors.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def node(self, op: str, inputs: Iterable[str], **attributes: Any) -> str:
        """The name of what a new node gives."""
        name = f"{self.layer.stem}.{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], name, **attributes))
        return name

    def last(self, op: str, inputs: Iterable[str], **attributes: Any) -> None:
        """A node that gives what the layer's own node did."""
        self.node(op, inputs, **attributes)
        self.nodes[-1].output[0] = self.layer.node.output[0]

    def gather(self, x: str, indices: np.ndarray, axis: int) -> str:
        """The indices of x along an axis."""
        return self.node("Gather", [x, self.tensor(indices.astype(np.int32))], axis=axis)

    def pad(self, x: str, pads: Sequence[int]) -> str:
        """With zeros around x, or without its border. Args: pads: before each axis, then behind each."""
        if not any(pads):
            return x
        if self.layer.opset < PAD_READS_INPUTS:
            return self.node("Pad", [x], pads=list(pads))
        return self.node("Pad", [x, self.tensor(np.array(pads, np.int64))])

    def ended(self, x: str, W: np.ndarray, **attributes: Any) -> Rewrite:
        """By the layer's own node, which reads x with this weight; attributes that are None are dropped."""
        last = NodeProto()
        last.CopyFrom(self.layer.node)
        last.input[0] = x
        stays = [a for a in last.attribute if a.name not in attributes]
        del last.attribute[:]
        last.attribute.extend(stays)
        last.attribute.extend(helper.make_attribute(k, v) for k, v in attributes.items() if v is not None)
        return Rewrite([*self.nodes, last], W, self.tensors)


def layers(model: ModelProto) -> list[Layer]:
    """Those of the graph whose weight is read by nothing else, in the graph's order."""
    if opset_of(model) < OLDEST_CONVERTED:
        return []
    stored, taken = stored_tensors(model), sorted(names_of(model))
    own = {name for name, times in uses(model).items() if times == 1 and name in stored}
    shapes, found = enforced_shapes(model), []
    for node in model.graph.node:
        if node.op_type in OPERATORS and node.domain in STANDARD and len(node.input) > 1 and node.input[1] in own:
            tensor = stored[node.input[1]]
            W = numpy_helper.to_array(tensor) if tensor.data_type in TYPES else np.ones(1)
            if W.ndim >= 2:
                stem, shape = _stem(node.output[0], taken), shapes.get(node.input[0], ())
                sizes = shape[2:] if node.op_type == "Conv" and min(shape[2:], default=0) > 0 else ()
                found.append(Layer(node, W, opset_of(model), stem, sizes))
    return found


def rewritten(model: ModelProto, changes: Mapping[str, Rewrite]) -> ModelProto:
    """A copy of the model with other nodes for some layers. Args: changes: by weight."""
    result = ModelProto()
    result.CopyFrom(model)
    graph, stored, last = result.graph, stored_tensors(result), len(result.graph.node)
    nodes = []
    for node in graph.node:
        change = changes.get(node.input[1]) if node.op_type in OPERATORS and len(node.input) > 1 else None
        nodes += [node] if change is None else change.nodes
    for change in changes.values():
        add_tensors(result, change.tensors)
    put(result, stored, {name: change.W for name, change in changes.items()})
    graph.node.extend(nodes)
    del graph.node[:last]
    return result


def narrowed(layer: Layer, W: np.ndarray, **attributes: Any) -> Layer:
    """The same layer with another kernel."""
    change = Draft(layer).ended(layer.node.input[0], W, **attributes)
    return replace(layer, node=change.nodes[0], W=W)


def taps(W: np.ndarray) -> int:
    """Positions of a convolution's kernel."""
    return math.prod(W.shape[2:])


def _stem(output: str, taken: Sequence[str]) -> str:
    """Args: taken: in order, so that what begins alike stands together."""
    stem = f"{output}.live"
    while (at := bisect_left(taken, stem)) < len(taken) and taken[at].startswith(stem):
        stem += "_"
    return stem
