"""Stored tensors of a model: how often they are read, and others added or put in their place."""

from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from pruning.onnx.graphs import graphs_of
from pruning.onnx.names import free

INITIALIZERS_ARE_INPUTS = 4  # before this IR version


def uses(model: ModelProto) -> Counter[str]:
    """How often each value is read, by nodes and as an output."""
    graphs = list(graphs_of(model.graph))
    found = Counter(name for graph in graphs for node in graph.node for name in node.input if name)
    found.update(port.name for graph in graphs for port in graph.output)
    for node in reversed(model.graph.node):  # pruning.onnx.unshare leaves aliases behind that nothing reads
        if node.op_type == "Identity" and not found[node.output[0]]:
            found[node.input[0]] -= 1
    return found


def add_tensors(model: ModelProto, tensors: Iterable[TensorProto]) -> None:
    """Store new ones, whose names are taken by nothing else."""
    for tensor in tensors:
        model.graph.initializer.append(tensor)
        if model.ir_version < INITIALIZERS_ARE_INPUTS:
            model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))


def add_tensor(model: ModelProto, name: str, values: np.ndarray, taken: set[str]) -> str:
    """Store a new one. Args: taken: names, to which its own is added. Returns: its name."""
    name = free(name, taken)
    add_tensors(model, [numpy_helper.from_array(values, name)])
    return name


def replace_values(tensor: TensorProto, values: np.ndarray) -> None:
    """All but the name, type and description."""
    new = numpy_helper.from_array(np.ascontiguousarray(values), tensor.name)
    new.data_type, new.doc_string = tensor.data_type, tensor.doc_string
    tensor.CopyFrom(new)


def put(model: ModelProto, stored: Mapping[str, TensorProto], values: Mapping[str, np.ndarray]) -> None:
    """Values of other shapes, which the graph may have said too, for stored tensors. Args: stored, values: by name."""
    for name, new in values.items():
        replace_values(stored[name], new)
    for port in (*model.graph.input, *model.graph.value_info):
        if port.name in values:
            kind = stored[port.name].data_type
            port.CopyFrom(helper.make_tensor_value_info(port.name, kind, values[port.name].shape))


def set_input(node: NodeProto, place: int, name: str) -> None:
    """Let a node read this."""
    node.input.extend([""] * (place + 1 - len(node.input)))
    node.input[place] = name
